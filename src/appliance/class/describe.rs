//! `postern describe`: prints the class in the requested format.

use super::{Class, Property, TEXT, class};
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

/// The format of the class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// As declared, with comments.
    Toml,
    /// For programs.
    Json,
    /// docs/class.md.
    Markdown,
}

/// Prints the class on standard output.
pub fn run(format: Format) -> ExitCode {
    match std::io::stdout().write_all(describe(format).as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// The class as text.
pub fn describe(format: Format) -> String {
    match format {
        Format::Toml => TEXT.to_owned(),
        // Strings, flags and lists: they can always be written as JSON.
        Format::Json => serde_json::to_string_pretty(class()).unwrap_or_default() + "\n",
        Format::Markdown => markdown(class()),
    }
}

/// All tables. Each is between two marks with its name, and other pages contain copies of some.
fn markdown(class: &Class) -> String {
    let mut text = format!(
        "# Class {}\n\n{}. Made of `appliance/mta.toml` by `make tables`.\n",
        class.class.name, class.class.summary
    );
    section(&mut text, "At a glance", ["", ""], head(class));
    let about = &class.class;
    let version = [about.name.clone(), about.version.clone(), about.os.clone(), code(&about.base)];
    section(&mut text, "Version", ["Name", "Latest version", "OS", "Base image"], [version]);
    let resources = class.resource.iter().map(|one| {
        [
            one.name.clone(),
            one.minimum.clone(),
            one.maximum.clone(),
            one.default.clone(),
            one.tested.clone(),
        ]
    });
    section(
        &mut text,
        "Resources",
        ["Resource", "Minimum", "Maximum", "Default", "Tested"],
        resources,
    );
    let terminals = class.terminal.iter().map(|terminal| {
        let property = terminal.property.as_deref().map_or_else(|| "always there".to_owned(), code);
        [
            code(&terminal.name),
            terminal.direction.clone(),
            terminal.protocol.clone(),
            property,
            terminal.help.clone(),
        ]
    });
    section(
        &mut text,
        "Terminals",
        ["Terminal", "Direction", "Protocol", "Property", "What it is for"],
        terminals,
    );
    let volumes = class.volume.iter().map(|volume| {
        let need = if volume.mandatory { "mandatory" } else { "optional" };
        [
            code(&volume.name),
            volume.access.clone(),
            need.to_owned(),
            code(&volume.property),
            volume.help.clone(),
        ]
    });
    section(
        &mut text,
        "Volumes",
        ["Volume", "Access", "Need", "Property", "What lives there"],
        volumes,
    );
    section(
        &mut text,
        "Properties",
        ["Variable", "Type", "Default", "What it does"],
        properties(class),
    );
    let counters = class.counter.iter().map(|counter| {
        let label = counter.label.as_deref().map(code).unwrap_or_default();
        [
            code(&counter.name),
            counter.kind.clone(),
            label,
            counter.founding.clone().unwrap_or_default(),
            counter.help.clone(),
        ]
    });
    section(
        &mut text,
        "Counters",
        ["Counter", "Type", "Label", "Name in 3Tera", "What it counts"],
        counters,
    );
    let errors = class.error.iter().map(|error| {
        let codes = error.exit.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
        [code(&error.line), codes, error.meaning.clone(), error.action.clone()]
    });
    section(&mut text, "Errors", ["Line", "Exit code", "What it means", "What to do"], errors);
    let alerts = class.alert.iter().map(|alert| {
        [code(&alert.line), alert.severity.clone(), alert.meaning.clone(), alert.action.clone()]
    });
    section(&mut text, "Alerts", ["Line", "Severity", "What it means", "What to do"], alerts);
    let software = class.software.iter().map(|one| {
        [code(&one.name), one.version.clone(), yes_no(one.modified), one.license.clone()]
    });
    section(&mut text, "Software", ["Package", "Version", "Modified", "Licence"], software);
    text
}

fn head(class: &Class) -> Vec<[String; 2]> {
    let about = &class.class;
    let memory = class.resource.iter().find(|resource| resource.name == "Memory");
    [
        ("Catalog", about.catalog.clone()),
        ("Category", about.category.clone()),
        ("User volumes", yes_no(about.user_volumes)),
        ("Min. memory", memory.map(|memory| memory.minimum.clone()).unwrap_or_default()),
        ("OS", about.os.clone()),
        ("Constraints", about.constraints.clone()),
    ]
    .map(|(name, value)| [name.to_owned(), value])
    .to_vec()
}

fn properties(class: &Class) -> Vec<[String; 4]> {
    let row = |property: &Property| {
        let default = match (&property.default_note, property.default.as_str()) {
            (Some(note), _) => note.clone(),
            (None, "") => "(empty)".to_owned(),
            (None, value) => code(value),
        };
        [code(&property.variable()), property.kind.clone(), default, property.help.clone()]
    };
    class.property.iter().map(row).collect()
}

fn section<const N: usize>(
    text: &mut String,
    title: &str,
    heads: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) {
    let mark = title.to_lowercase().replace(' ', "_");
    let table = table(heads, rows);
    let _ = write!(text, "\n## {title}\n\n<!-- {mark} -->\n{table}<!-- /{mark} -->\n");
}

fn table<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut text = format!("| {} |\n|{}\n", head.join(" | "), "---|".repeat(N));
    for row in rows {
        let _ = writeln!(text, "| {} |", row.join(" | "));
    }
    text
}

fn code(text: &str) -> String {
    format!("`{text}`")
}

fn yes_no(flag: bool) -> String {
    if flag { "yes" } else { "no" }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_tells_everything() {
        let class = class();
        let mut told: Vec<&str> =
            class.property.iter().map(|property| property.name.as_str()).collect();
        told.extend(class.counter.iter().map(|counter| counter.name.as_str()));
        told.extend(class.terminal.iter().map(|terminal| terminal.help.as_str()));
        told.extend(class.volume.iter().map(|volume| volume.help.as_str()));
        told.extend(class.resource.iter().flat_map(|one| {
            [&one.minimum, &one.maximum, &one.default, &one.tested].map(String::as_str)
        }));
        told.extend(
            class
                .error
                .iter()
                .flat_map(|error| [&error.line, &error.meaning, &error.action].map(String::as_str)),
        );
        told.extend(
            class
                .alert
                .iter()
                .flat_map(|alert| [&alert.line, &alert.meaning, &alert.action].map(String::as_str)),
        );
        told.extend(
            class
                .software
                .iter()
                .flat_map(|one| [&one.name, &one.version, &one.license].map(String::as_str)),
        );
        let about = &class.class;
        told.extend(
            [
                &about.catalog,
                &about.category,
                &about.version,
                &about.os,
                &about.base,
                &about.constraints,
            ]
            .map(String::as_str),
        );
        for format in [Format::Toml, Format::Json, Format::Markdown] {
            let text = describe(format);
            for word in &told {
                assert!(
                    text.contains(word) || text.contains(&word.to_uppercase()),
                    "{word} in {format:?}"
                );
            }
        }
        let json: serde_json::Value = serde_json::from_str(&describe(Format::Json)).unwrap();
        assert_eq!(json["property"][0]["name"], "hostname");
        assert_eq!(json["error"][0]["exit"][0], 66);
    }

    #[test]
    fn tables_have_as_many_cells_as_heads() {
        let text = describe(Format::Markdown);
        let mut cells = None;
        for line in text.lines() {
            let found = line.matches('|').count();
            match cells {
                _ if !line.starts_with('|') => cells = None,
                None => cells = Some(found),
                Some(wanted) => assert_eq!(found, wanted, "{line}"),
            }
        }
    }
}

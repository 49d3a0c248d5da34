//! `postern describe`: the class in the form that the reader wants.

use super::{Class, TEXT, class};
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

/// How the class is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// As it is declared, comments included.
    Toml,
    /// For programs.
    Json,
    /// The tables of README.md.
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
        // Strings, flags and lists: nothing of it can fail to become JSON.
        Format::Json => serde_json::to_string_pretty(class()).unwrap_or_default() + "\n",
        Format::Markdown => markdown(class()),
    }
}

fn markdown(class: &Class) -> String {
    let mut text = format!("# Class {}\n\n{}.\n\n## Properties\n\n", class.class.name, class.class.summary);
    let _ = write!(text, "<!-- properties -->\n{}<!-- /properties -->\n", properties_markdown());
    let terminals = class.terminal.iter().map(|terminal| {
        let property = terminal.property.as_deref().map_or_else(|| "always there".to_owned(), code);
        [code(&terminal.name), terminal.direction.clone(), terminal.protocol.clone(), property, terminal.help.clone()]
    });
    section(&mut text, "Terminals", ["Terminal", "Direction", "Protocol", "Property", "What it is for"], terminals);
    let volumes = class.volume.iter().map(|volume| {
        let need = if volume.mandatory { "mandatory" } else { "optional" };
        [code(&volume.name), volume.access.clone(), need.to_owned(), code(&volume.property), volume.help.clone()]
    });
    section(&mut text, "Volumes", ["Volume", "Access", "Need", "Property", "What lives there"], volumes);
    let counters = class.counter.iter().map(|counter| {
        let label = counter.label.as_deref().map(code).unwrap_or_default();
        [code(&counter.name), counter.kind.clone(), label, counter.founding.clone().unwrap_or_default(), counter.help.clone()]
    });
    section(&mut text, "Counters", ["Counter", "Type", "Label", "Name in 3Tera", "What it counts"], counters);
    let resources = class
        .resource
        .iter()
        .map(|resource| [resource.name.clone(), resource.minimum.clone(), resource.maximum.clone(), resource.default.clone()]);
    section(&mut text, "Resources", ["Resource", "Minimum", "Maximum", "Default"], resources);
    text
}

/// The table of properties, as it stands in README.md between its two marks.
pub fn properties_markdown() -> String {
    let rows = class().property.iter().map(|property| {
        let default = match (&property.default_note, property.default.as_str()) {
            (Some(note), _) => note.clone(),
            (None, "") => "(empty)".to_owned(),
            (None, value) => code(value),
        };
        [code(&property.variable()), property.kind.clone(), default, property.help.clone()]
    });
    table(["Variable", "Type", "Default", "What it does"], rows)
}

fn section<const N: usize>(text: &mut String, title: &str, head: [&str; N], rows: impl Iterator<Item = [String; N]>) {
    let _ = write!(text, "\n## {title}\n\n{}", table(head, rows));
}

fn table<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let mut text = format!("| {} |\n|{}\n", head.join(" | "), "---|".repeat(N));
    for row in rows {
        let _ = writeln!(text, "| {} |", row.join(" | "));
    }
    text
}

fn code(text: &str) -> String {
    format!("`{text}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_tells_every_name() {
        let names = class().property.iter().map(|property| property.name.clone());
        let names: Vec<_> = names.chain(class().counter.iter().map(|counter| counter.name.clone())).collect();
        for format in [Format::Toml, Format::Json, Format::Markdown] {
            let text = describe(format);
            for name in &names {
                assert!(text.contains(name) || text.contains(&name.to_uppercase()), "{name} in {format:?}");
            }
        }
        let json: serde_json::Value = serde_json::from_str(&describe(Format::Json)).unwrap();
        assert_eq!(json["property"][0]["name"], "hostname");
    }

    #[test]
    fn tables_have_as_many_cells_as_heads() {
        for line in properties_markdown().lines() {
            assert_eq!(line.matches('|').count(), 5, "{line}");
        }
    }
}

//! Errors, alerts, software and tables in `appliance/mta.toml`, compared with the sources, the lock
//! file and the pages.

use crate::root;
use crate::source::{Source, sources};
use postern::appliance::class::{Format, class, describe};
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// The lines fixed by the contract: operators' scripts search for them, so a change here is a
/// change for operators.
const PROMISED: [&str; 13] = [
    "Error: failed to mount key volume.",
    "Error: failed to mount log share.",
    "Error: logs are enabled but the 'log' terminal is not connected.",
    "Error: failed to preconfigure the MTA",
    "Error: failed to start the MTA server. Please see the /var/log/appliance/log log file in MTA \
    for more details on the failure",
    "Error: failed to initialize the UI backend",
    "Error: ui_port value must be between 1 and 65535",
    "Error: couldn't find ssl keys on the key volume!",
    "Error: ssl_disabled=no, but ssl key files are not defined!",
    "Error: both the key volume and the 'fs' terminal are connected; use one of them.",
    "Error: failed to mount the 'fs' terminal.",
    "Error: failed to mount data volume.",
    "Error: maillog_filename must stay inside the log share",
];

/// Composed of a property's name and its error, so it is in no literal as a whole.
const COMPOSED: &str = "Error: ui_port value must be between 1 and 65535";

/// A wrong value is reported by the property reader, in lines that contain the property's name.
fn is_told_by_name(line: &str) -> bool {
    line.contains('{')
}

#[test]
fn every_promised_line_is_in_the_class() {
    let told: BTreeSet<&str> = class().error.iter().map(|error| error.line.as_str()).collect();
    for line in PROMISED {
        assert!(told.contains(line), "appliance/mta.toml has no [[error]] for: {line}");
    }
}

#[test]
fn the_errors_of_the_class_are_the_errors_of_the_code() {
    let told: BTreeSet<&str> = class()
        .error
        .iter()
        .map(|error| error.line.as_str())
        .filter(|line| *line != COMPOSED)
        .collect();
    let mut code = BTreeMap::new();
    for source in sources().iter().filter(|source| stops_the_start(source)) {
        for line in literals_of(source)
            .into_iter()
            .filter(|text| text.starts_with("Error: ") && !is_told_by_name(text))
        {
            code.insert(line, source.path.clone());
        }
    }
    for (line, path) in &code {
        assert!(
            told.contains(line.as_str()),
            "{path} says this, and appliance/mta.toml has no [[error]] for it: {line}"
        );
    }
    for line in told {
        assert!(code.contains_key(line), "no code says: {line}");
    }
    let (property, complaint) = COMPOSED.trim_start_matches("Error: ").split_once(' ').unwrap();
    assert!(class().property(property).is_some());
    assert!(
        sources().iter().any(|source| literals_of(source).iter().any(|text| text == complaint)),
        "{complaint}"
    );
}

/// The supervisor and the composition root; `postern sink` and `postern queue` have errors of their
/// own.
fn stops_the_start(source: &Source) -> bool {
    let module = source.module.as_str();
    module == "init"
        || module == "core"
        || module.starts_with("core::")
        || (module.starts_with("appliance::") && !module.ends_with("::tests"))
}

#[test]
fn the_alerts_of_the_class_are_the_alerts_of_the_code() {
    let code: BTreeSet<String> = sources().iter().flat_map(literals_of).collect();
    assert_eq!(class().alert.len(), 2);
    for alert in &class().alert {
        assert!(code.contains(&alert.line), "no code says: {}", alert.line);
        assert!(["warning", "critical"].contains(&alert.severity.as_str()), "{alert:?}");
    }
}

#[test]
fn the_alert_rules_speak_of_counters_of_the_class() {
    let counters: BTreeSet<&str> =
        class().counter.iter().map(|counter| counter.name.as_str()).collect();
    let rules = std::fs::read_to_string(root().join("appliance/monitor/rules.yml")).unwrap();
    let words = rules
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("mta_"));
    let mut seen = BTreeSet::new();
    for word in words {
        let name =
            ["_bucket", "_count"].iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word);
        assert!(
            counters.contains(name),
            "appliance/monitor/rules.yml speaks of {word}, which is no counter of the class"
        );
        seen.insert(name);
    }
    assert!(seen.len() >= 7, "only {seen:?} were found");
}

#[test]
fn the_software_of_the_class_is_what_cargo_builds_in() {
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--format-version", "1"])
        .current_dir(root())
        .output()
        .expect("cargo tells its metadata");
    assert!(metadata.status.success(), "{}", String::from_utf8_lossy(&metadata.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let list = |value: &serde_json::Value| value.as_array().unwrap().clone();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let packages: BTreeMap<String, serde_json::Value> = list(&metadata["packages"])
        .into_iter()
        .map(|package| (text(&package["id"]), package))
        .collect();
    let own = list(&metadata["resolve"]["nodes"])
        .into_iter()
        .find(|node| packages[&text(&node["id"])]["name"] == "postern");
    let built: BTreeSet<_> = list(&own.unwrap()["deps"])
        .iter()
        .filter(|dependency| {
            list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"].is_null())
        })
        .map(|dependency| {
            let package = &packages[&text(&dependency["pkg"])];
            let modified = !text(&package["source"]).starts_with("registry+");
            (text(&package["name"]), text(&package["version"]), modified, text(&package["license"]))
        })
        .collect();
    let told: BTreeSet<_> = class()
        .software
        .iter()
        .map(|one| (one.name.clone(), one.version.clone(), one.modified, one.license.clone()))
        .collect();
    assert_eq!(told, built, "appliance/mta.toml is stale; run: make tables");
    // Every one in Cargo.toml, and no other.
    let manifest: toml::Table =
        std::fs::read_to_string(root().join("Cargo.toml")).unwrap().parse().unwrap();
    let named: BTreeSet<_> = manifest["dependencies"].as_table().unwrap().keys().cloned().collect();
    assert_eq!(told.into_iter().map(|(name, ..)| name).collect::<BTreeSet<_>>(), named);
}

#[test]
fn the_image_stands_on_the_base_of_the_class() {
    let dockerfile = std::fs::read_to_string(root().join("Dockerfile")).unwrap();
    let last = dockerfile.lines().filter_map(|line| line.strip_prefix("FROM ")).next_back();
    assert_eq!(last, Some(class().class.base.as_str()));
}

#[test]
fn the_pages_say_what_the_class_says() {
    let fresh = describe(Format::Markdown);
    let read = |name: &str| std::fs::read_to_string(root().join(name)).unwrap();
    assert!(read("docs/class.md") == fresh, "docs/class.md is stale; run: make tables");
    for (page, mark) in [
        ("docs/terminals.md", "terminals"),
        ("docs/terminals.md", "volumes"),
        ("docs/properties.md", "properties"),
        ("docs/exit-codes.md", "errors"),
    ] {
        let block = |text: &str| {
            let (_, rest) = text
                .split_once(&format!("<!-- {mark} -->\n"))
                .unwrap_or_else(|| panic!("no mark <!-- {mark} -->"));
            rest.split_once(&format!("<!-- /{mark} -->"))
                .unwrap_or_else(|| panic!("no mark <!-- /{mark} -->"))
                .0
                .to_owned()
        };
        assert!(
            block(&read(page)) == block(&fresh),
            "the table of {mark} in {page} is stale; run: make tables"
        );
    }
}

/// The string literals of a source file above its tests.
fn literals_of(source: &Source) -> Vec<String> {
    let text = std::fs::read_to_string(root().join(&source.path)).unwrap();
    literals(text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default())
}

/// The string literals in Rust code, with the breaks of long ones removed. Comments and characters
/// are skipped.
fn literals(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(at) = rest.find(['"', '/', '\'']) {
        let here = &rest[at..];
        let passed = if here.starts_with("//") {
            here.find('\n').unwrap_or(here.len())
        } else if let Some(character) =
            ["'\"'", "'\\\"'", "'\\''"].iter().find(|text| here.starts_with(**text))
        {
            character.len()
        } else if let Some(behind) = here.strip_prefix('"') {
            let (text, length) = literal(behind);
            found.push(text);
            length + 1
        } else {
            1
        };
        rest = &here[passed..];
    }
    found
}

/// The literal that begins here, and the length of the code up to its closing quote.
fn literal(code: &str) -> (String, usize) {
    let mut text = String::new();
    let mut characters = code.char_indices().peekable();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return (text, at + 1),
            '\\' => match characters.next() {
                Some((_, '\n')) => {
                    while characters.next_if(|(_, c)| c.is_whitespace()).is_some() {}
                }
                Some((_, other)) => text.push(other),
                None => {}
            },
            other => text.push(other),
        }
    }
    (text, code.len())
}

#[test]
fn the_reader_of_literals_knows_comments_characters_and_breaks() {
    let code = "let a = \"Error: one\"; // \"none\n let q = '\"'; f(\"two \\\n      halves\", \
    '\\'', \"a \\\"quoted\\\" http://word\");";
    assert_eq!(literals(code), ["Error: one", "two halves", "a \"quoted\" http://word"]);
}

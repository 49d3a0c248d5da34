//! The limit of a function's length.

use crate::source::{Source, sources};
use std::collections::BTreeMap;

/// Lines of a function's body.
const LINES_MAX: usize = 60;

/// Functions that are longer, and by how many lines they may be. A number may only shrink, and a
/// row goes when its function fits; most of them are one table or one text.
const LONGER: [(&str, &str, usize); 11] = [
    ("src/appliance/class/describe.rs", "markdown", 91),
    ("src/cli/queries.rs", "history", 64),
    ("src/cli/mod.rs", "stats", 71),
    ("src/cli/volume.rs", "report", 76),
    ("src/init.rs", "run_appliance", 75),
    ("src/mail/deliver/exchange.rs", "converse", 87),
    ("src/mail/deliver/exchange.rs", "exchange", 68),
    ("src/mail/spool/recover.rs", "recover", 67),
    ("src/mail/transfer.rs", "import", 72),
    ("src/monitor/alerts.rs", "all", 112),
    ("src/sink.rs", "serve", 62),
];

#[test]
fn a_function_can_be_seen_at_once() {
    let known: BTreeMap<_, _> =
        LONGER.iter().map(|(path, name, lines)| ((*path, *name), *lines)).collect();
    let (mut found, mut seen) = (BTreeMap::new(), 0);
    let all = sources();
    for source in all.iter().filter(|source| !is_test(source)) {
        for (name, lines) in functions(&source.code) {
            seen += 1;
            if lines > LINES_MAX {
                found.insert((source.path.as_str(), name), lines);
            }
        }
    }
    assert!(seen > 1500, "only {seen} functions were found: the reader of functions is broken");
    let mut wrong = Vec::new();
    for ((path, name), lines) in &found {
        let most = known.get(&(*path, *name)).copied().unwrap_or(LINES_MAX);
        if *lines > most {
            wrong.push(format!("{path}: {name} has {lines} lines, at most {most} are allowed"));
        }
    }
    for (path, name) in known.keys().filter(|row| !found.contains_key(*row)) {
        wrong.push(format!("{path}: {name} is not longer than others any more; take its row out"));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_reader_of_functions_counts_bodies() {
    let code = "impl A {\n    pub async fn one(\n        &self,\n    ) -> Result<(), \
    E>\n    where\n        \
                A: B,\n    {\n        if x {\n            y();\n        }\n    }\n}\nfn two() {}\n\
                trait C {\n    fn three(&self);\n    fn four() -> u8 {\n        4\n    }\n}\n";
    let expected = [("one", 3), ("two", 0), ("four", 1)];
    assert_eq!(functions(code), expected);
}

fn is_test(source: &Source) -> bool {
    source.path.ends_with("tests.rs") || source.path.contains("/tests/")
}

/// Every function with a body that is not a test, and the lines between its braces as formatted by
/// rustfmt: the closing brace has the same indentation as the function.
fn functions(code: &str) -> Vec<(&str, usize)> {
    let lines: Vec<&str> = code.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let Some(name) = name(line) else { continue };
        if start > 0 && lines[start - 1].trim() == "#[test]" {
            continue;
        }
        let margin = &line[..line.len() - line.trim_start().len()];
        let head = lines[start..].iter().position(|line| line.ends_with(['{', ';', '}']));
        let opening = start + head.unwrap_or_default();
        if lines[opening].ends_with('}') {
            found.push((name, 0));
        }
        if lines[opening].ends_with('{') {
            let end = format!("{margin}}}");
            let body = lines[opening + 1..].iter().position(|line| *line == end);
            found.push((name, body.expect("a function ends where it begins")));
        }
    }
    found
}

/// The name in the line that begins a function.
fn name(line: &str) -> Option<&str> {
    let (before, after) = line.split_once("fn ")?;
    let words = before.split_whitespace().all(|word| {
        matches!(word, "async" | "const" | "default" | "extern" | "unsafe")
            || word.starts_with("pub")
            || word.starts_with('"')
            || word.ends_with(')')
    });
    let end = after.find(['(', '<'])?;
    (words && end > 0).then_some(&after[..end])
}

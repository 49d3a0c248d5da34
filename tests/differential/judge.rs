//! Compares the tables of differences with the results.

use std::collections::BTreeMap;
use std::fmt::Write;

/// A table of differences: `# ` and the first cell of a row of docs/differences.md, below it names
/// of inputs, and below each of them, after four blanks, the differences.
#[derive(Debug, Default)]
pub struct Table {
    /// The named rows, in their order.
    pub rows: Vec<String>,
    /// The differences, by the name of the input.
    pub lines: BTreeMap<String, Vec<String>>,
}

impl Table {
    /// Reads one.
    pub fn read(text: &str) -> Self {
        let (mut table, mut name) = (Self::default(), None);
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(row) = line.strip_prefix("# ") {
                table.rows.push(row.to_owned());
            } else if let Some(difference) = line.strip_prefix("    ") {
                let name: &String =
                    name.as_ref().unwrap_or_else(|| panic!("{difference} stands below no input"));
                table.lines.entry(name.clone()).or_default().push(difference.to_owned());
            } else {
                assert!(!table.rows.is_empty(), "{line} stands below no row");
                name = Some(line.to_owned());
            }
        }
        table
    }
}

/// Compares the results with a Postfix of this version, by the name of the input, with a table.
///
/// # Panics
/// Something differs that is not listed, or something is listed that does not differ.
pub fn judge(version: &str, table: &str, found: &[(&str, Vec<String>)]) {
    let (mut table, mut report) = (Table::read(table), String::new());
    for (name, found) in found {
        let mut listed = table.lines.remove(*name).unwrap_or_default();
        let mut unlisted = found.clone();
        unlisted.retain(|line| match listed.iter().position(|listed| listed == line) {
            Some(at) => {
                listed.remove(at);
                false
            }
            None => true,
        });
        tell(&mut report, name, "differs, and is not listed", &unlisted);
        tell(&mut report, name, "is listed, and does not differ", &listed);
    }
    table
        .lines
        .iter()
        .for_each(|(name, lines)| tell(&mut report, name, "is no input, and is listed", lines));
    assert!(
        report.is_empty(),
        "{} inputs, with Postfix {version} (the table is that of 3.7); `a | b` is Postfix and this \
        relay, `-` only Postfix, `+` only this relay:\n{report}",
        found.len()
    );
}

fn tell(report: &mut String, name: &str, what: &str, lines: &[String]) {
    if !lines.is_empty() {
        writeln!(report, "-- {what}:\n{name}").unwrap();
        lines.iter().for_each(|line| writeln!(report, "    {line}").unwrap());
    }
}

#[test]
fn a_table_must_say_what_was_found() {
    let table = "# a row\none\n    a: 250 | 501\n    - x\n";
    let judged = |name: &'static str, lines: &[&str]| {
        let found = [(name, lines.iter().map(|line| (*line).to_owned()).collect())];
        std::panic::catch_unwind(|| judge("3.7", table, &found)).is_ok()
    };
    assert!(judged("one", &["a: 250 | 501", "- x"]));
    assert!(!judged("one", &["a: 250 | 501"]), "a listed difference is gone");
    assert!(!judged("one", &["a: 250 | 501", "- x", "+ y"]), "a difference is not listed");
    assert!(!judged("one", &["a: 250 | 553", "- x"]), "it differs otherwise");
    assert!(!judged("two", &[]), "there is no such input");
}

//! The blocks of docs/applications.md. Each follows a mark with the name of its file.

use std::fs;
use std::path::Path;

/// The text of the block with that name.
pub fn block(name: &str) -> String {
    let page = page();
    let (_, rest) = page
        .split_once(&mark(name))
        .unwrap_or_else(|| panic!("docs/applications.md has no block {name}"));
    let (fence, rest) = rest.split_once('\n').expect("a line");
    assert!(fence.starts_with("```"), "the block {name} begins with {fence}");
    rest.split_once("```").expect("the block ends").0.to_owned()
}

/// The same, with one piece of it replaced by another that the page mentions.
pub fn changed(name: &str, from: &str, to: &str) -> String {
    assert!(page().contains(&format!("`{to}`")), "docs/applications.md does not say {to}");
    let block = block(name);
    assert!(block.contains(from), "{from} is not in {name}");
    block.replace(from, to)
}

/// The names of all blocks.
pub fn files() -> Vec<String> {
    let page = page();
    let named: Vec<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix("<!-- file: ")?.strip_suffix(" -->"))
        .map(str::to_owned)
        .collect();
    assert_eq!(
        page.matches("\n```").count(),
        named.len() * 2,
        "a block of code has no mark above it"
    );
    named
}

fn mark(name: &str) -> String {
    format!("<!-- file: {name} -->\n")
}

fn page() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/applications.md")).unwrap()
}

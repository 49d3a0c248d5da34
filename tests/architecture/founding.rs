//! docs/founding.md, row by row: the named files exist, the named tests exist, and nothing of the
//! class that comes from the founding document is missing.

use crate::root;
use postern::appliance::class::{PropertyGroup, class};
use std::fs;
use std::path::{Path, PathBuf};

/// The text of a row without a test.
const NOTHING: &str = "nothing to test: ";

struct Row {
    says: String,
    lives: Vec<String>,
    shown: String,
}

fn page() -> String {
    fs::read_to_string(root().join("docs/founding.md")).unwrap()
}

fn rows() -> Vec<Row> {
    let page = page();
    let lines = page
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| The document says |"));
    let rows = lines.map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [says, lives, shown] = cells[..] else { panic!("three cells: {line}") };
        Row { says: says.to_owned(), lives: quoted(lives), shown: shown.to_owned() }
    });
    rows.collect()
}

/// The texts between backquotes.
fn quoted(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn every_place_is_there() {
    let rows = rows();
    assert!(rows.len() > 80, "only {} rows", rows.len());
    for row in rows {
        assert!(!row.lives.is_empty(), "no place: {}", row.says);
        for place in &row.lives {
            let is_property = class().property.iter().any(|property| property.variable() == *place);
            assert!(
                is_property || root().join(place).exists(),
                "'{place}' is no file and no property: {}",
                row.says
            );
        }
    }
}

#[test]
fn every_test_exists() {
    let mut missing = Vec::new();
    for row in rows().iter().filter(|row| !row.shown.starts_with(NOTHING)) {
        let tests = quoted(&row.shown);
        assert!(!tests.is_empty(), "no test: {}", row.says);
        missing.extend(tests.into_iter().filter(|test| !exists(test)));
    }
    assert!(missing.is_empty(), "docs/founding.md names tests that are not there: {missing:#?}");
}

#[test]
fn nothing_of_the_founding_document_is_left_out() {
    let page = page();
    let class = class();
    let founding =
        class.property.iter().filter(|property| property.group == PropertyGroup::Founding);
    let mut names: Vec<String> =
        founding.map(|property| format!("| `{}`: ", property.name)).collect();
    assert_eq!(names.len(), 13);
    names.extend(class.terminal.iter().map(|terminal| format!("| `{}`", terminal.name)));
    names.extend(class.volume.iter().map(|volume| format!("| `{}`, ", volume.name)));
    names.extend(
        class
            .counter
            .iter()
            .filter_map(|counter| counter.founding.as_ref())
            .map(|name| format!("| {name}: ")),
    );
    names.extend(class.resource.iter().map(|one| {
        format!("| {}: {} to {}, default {}", one.name, one.minimum, one.maximum, one.default)
    }));
    names.extend(class.alert.iter().map(|alert| format!("| `{}` ", alert.line)));
    for name in names {
        assert!(page.contains(&name), "no row begins with: {name}");
    }
}

/// `suite::name` in `tests/suite`, `lib::module::tests::name` beside the code, `rules::name` among
/// promtool's, `machine::name` for a scenario of the virtual machine.
fn exists(test: &str) -> bool {
    let Some((suite, rest)) = test.split_once("::") else { return false };
    match suite {
        "rules" => {
            let rules =
                fs::read_to_string(root().join("appliance/monitor/rules_test.yml")).unwrap();
            rules.lines().any(|line| line.trim() == format!("- name: {rest}"))
        }
        // The scenarios of the virtual machine run in one boot, by the list in its source.
        "machine" => {
            let list = fs::read_to_string(root().join("tests/machine/main.rs")).unwrap();
            let script = format!("tests/machine/guest/scenarios/{rest}.sh");
            root().join(script).exists() && list.contains(&format!("\"{rest}\""))
        }
        "lib" => {
            let Some((module, name)) = rest.rsplit_once("::tests::") else { return false };
            let module = root().join("src").join(module.replace("::", "/"));
            let files =
                [module.with_extension("rs"), module.join("mod.rs"), module.join("tests.rs")];
            files.iter().any(|file| has_test(file, name))
        }
        _ => sources_of(&root().join("tests").join(suite)).iter().any(|file| has_test(file, rest)),
    }
}

fn sources_of(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { sources_of(&path) } else { vec![path] }).collect()
}

/// Whether a file has a function of that name that is marked as a test.
fn has_test(file: &Path, name: &str) -> bool {
    let text = fs::read_to_string(file).unwrap_or_default();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let heads = [format!("fn {name}()"), format!("async fn {name}()")];
    lines.iter().enumerate().any(|(at, line)| {
        let above = lines[..at]
            .iter()
            .rev()
            .take_while(|line| line.starts_with("#[") || line.starts_with("//"));
        heads.iter().any(|head| line.starts_with(head))
            && above.into_iter().any(|line| line.contains("test]") || line.contains("test("))
    })
}

#[test]
fn the_reader_of_test_names_tells_tests_from_other_functions() {
    assert!(exists("architecture::every_test_exists"));
    assert!(exists("lib::http::login::tests::it_never_shows_the_password"));
    for wrong in [
        "architecture::exists",
        "architecture::no_such_test",
        "nowhere::every_test_exists",
        "lib::http::login::tests::x",
        "rules::x",
        "machine::x",
        "x",
    ] {
        assert!(!exists(wrong), "{wrong}");
    }
}

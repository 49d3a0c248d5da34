//! One name, one meaning: no two public types of the tree share a name.

use crate::names::{below, module_of};
use crate::source::texts;
use crate::words::{without_tests, words};
use std::collections::{BTreeMap, BTreeSet};

/// The files that define each public type, by its name.
type Types = BTreeMap<String, Vec<String>>;

#[test]
fn a_name_stands_for_one_type() {
    let types = types_of(&texts());
    assert!(types.len() > 400, "only {} types were found", types.len());
    let shared = shared(&types);
    assert!(
        shared.is_empty(),
        "each of these names stands for several types; call all but one of them by what they \
        are:\n{}",
        shared.join("\n")
    );
}

#[test]
fn two_types_of_one_name_are_found() {
    let file = |path: &str, text: &str| (path.to_owned(), text.to_owned());
    let types = types_of(&[
        file("src/lib.rs", "pub mod a; mod b; #[cfg(test)] mod c;"),
        file("src/a.rs", "pub struct Reply; struct Own; pub enum Kind {} fn f() -> Reply {}"),
        file("src/b.rs", "mod d { pub(super) type Reply = u8; struct Own; } // pub struct Kind"),
        file("src/c.rs", "pub struct Kind;"),
        file("src/e.rs", "#[cfg(test)] mod tests { pub trait Kind {} }"),
    ]);
    assert_eq!(shared(&types), ["Reply: src/a.rs, src/b.rs"]);
}

/// Names with more than one type behind them.
fn shared(types: &Types) -> Vec<String> {
    let shared = types.iter().filter(|(_, files)| files.len() > 1);
    shared.map(|(name, files)| format!("{name}: {}", files.join(", "))).collect()
}

/// Those of these files (path from the root of the tree, and text) without their tests.
fn types_of(texts: &[(String, String)]) -> Types {
    let (mut found, mut tests) = (Vec::new(), BTreeSet::new());
    for (path, text) in texts {
        let module = module_of(path);
        let (words, apart) = without_tests(&words(text));
        tests.extend(apart.into_iter().map(|name| below(&module, &[name])));
        found.push((path, module, words));
    }
    let mut types = Types::new();
    for (path, module, words) in found {
        if !tests.iter().any(|test| module.starts_with(test)) {
            for name in public_types(&words) {
                types.entry(name).or_default().push(path.clone());
            }
        }
    }
    types
}

/// What stands behind `pub struct`, `pub(super) enum` and the like.
fn public_types(words: &[String]) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in words.iter().enumerate().filter(|(_, word)| *word == "pub") {
        let rest = &words[at + 1..];
        let behind = match rest.first().map(String::as_str) {
            Some("(") => rest.iter().position(|word| word == ")").map_or(0, |end| end + 1),
            _ => 0,
        };
        if let [kind, name, ..] = &rest[behind..]
            && matches!(kind.as_str(), "struct" | "enum" | "union" | "trait" | "type")
            && name.starts_with(char::is_alphabetic)
        {
            names.push(name.clone());
        }
    }
    names
}

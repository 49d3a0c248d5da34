//! No two files import each other, directly or through others.

use crate::names::{Arrows, Names};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

#[test]
fn no_two_files_import_each_other() {
    let arrows = Names::of_the_tree().arrows();
    let count = arrows.values().map(BTreeMap::len).sum::<usize>();
    assert!(count > 500, "only {count} imports were found: the reader of names is broken");
    let told: Vec<_> = circles(&arrows).iter().map(|circle| tell(circle, &arrows)).collect();
    assert!(told.is_empty(), "{} circles of files:\n{}", told.len(), told.join("\n"));
}

/// The circles: files from each of which every other one can be reached.
fn circles(arrows: &Arrows) -> BTreeSet<BTreeSet<String>> {
    let reached: BTreeMap<_, _> =
        arrows.keys().map(|file| (file.as_str(), reached_from(file, arrows))).collect();
    let circle = |file: &str| {
        let there = &reached[file];
        let back = there.iter().filter(|other| reached[**other].contains(file));
        back.map(|other| (*other).to_owned()).collect::<BTreeSet<_>>()
    };
    arrows.keys().map(|file| circle(file)).filter(|circle| !circle.is_empty()).collect()
}

fn reached_from<'a>(file: &str, arrows: &'a Arrows) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<&str> = arrows[file].keys().map(String::as_str).collect();
    while let Some(other) = next.pop() {
        if reached.insert(other) {
            next.extend(arrows[other].keys().map(String::as_str));
        }
    }
    reached
}

/// A circle as its files, and the names that cause it.
fn tell(circle: &BTreeSet<String>, arrows: &Arrows) -> String {
    let mut told = format!("a circle of {} files:\n", circle.len());
    for file in circle {
        for (other, names) in arrows[file].iter().filter(|(other, _)| circle.contains(*other)) {
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            let _ = writeln!(told, "  {file} takes from {other}: {}", names.join(", "));
        }
    }
    told
}

fn circles_of(texts: &[(&str, &str)]) -> Vec<Vec<String>> {
    let texts: Vec<_> =
        texts.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
    let circles = circles(&Names::of(&texts).arrows());
    circles.into_iter().map(|circle| circle.into_iter().collect()).collect()
}

#[test]
fn a_circle_is_found_straight_and_around_a_corner() {
    let lib = ("src/lib.rs", "pub mod a; pub mod b; pub mod c;");
    let straight = [
        lib,
        ("src/a.rs", "use crate::b::B; pub struct A(B);"),
        ("src/b.rs", "pub struct B; fn f() { super::a::A::new() }"),
        ("src/c.rs", "use crate::{a::A, b::B};"),
    ];
    assert_eq!(circles_of(&straight), [["src/a.rs", "src/b.rs"]]);
    let corner = [
        lib,
        ("src/a.rs", "use crate::b; fn f() { b::g() }"),
        ("src/b.rs", "use super::c::{self, H as I}; pub fn g() {}"),
        ("src/c.rs", "pub struct H; fn h(a: crate::a::A) {}"),
    ];
    assert_eq!(circles_of(&corner), [["src/a.rs", "src/b.rs", "src/c.rs"]]);
    let only_in_tests = [
        lib,
        ("src/a.rs", "use crate::b::B;"),
        ("src/b.rs", "pub struct B; #[cfg(test)] mod tests { use crate::a::A; }"),
        ("src/c.rs", ""),
    ];
    assert!(circles_of(&only_in_tests).is_empty());
}

#[test]
fn a_name_is_followed_to_the_file_that_defines_it() {
    let lib = ("src/lib.rs", "pub mod a;");
    // The first file only re-exports what the other one defines.
    let passed_on = [
        lib,
        ("src/a/mod.rs", "mod b; mod c; pub use b::B; pub use c::C;"),
        ("src/a/b.rs", "use super::C; pub struct B(C);"),
        ("src/a/c.rs", "pub struct C;"),
    ];
    assert!(circles_of(&passed_on).is_empty());
    let between = [
        lib,
        ("src/a/mod.rs", "mod b; mod c; pub use b::B; pub use c::C;"),
        ("src/a/b.rs", "use super::C; pub struct B(C);"),
        ("src/a/c.rs", "pub struct C(super::B);"),
    ];
    assert_eq!(circles_of(&between), [["src/a/b.rs", "src/a/c.rs"]]);
    // What it defines itself does not count.
    let defined = [
        lib,
        ("src/a/mod.rs", "mod b; pub struct C; fn f() { b::g() }"),
        ("src/a/b.rs", "use super::C; pub fn g() {}"),
    ];
    assert_eq!(circles_of(&defined), [["src/a/b.rs", "src/a/mod.rs"]]);
    // And what it re-exports and uses counts.
    let used = [
        lib,
        ("src/a/mod.rs", "mod b; pub use b::B; pub struct C; fn f(b: B) {}"),
        ("src/a/b.rs", "use super::C; pub struct B;"),
    ];
    assert_eq!(circles_of(&used), [["src/a/b.rs", "src/a/mod.rs"]]);
}

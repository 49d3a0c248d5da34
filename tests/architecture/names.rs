//! What each file below `src/` uses of which other one: every path in it, followed through `use`
//! and `pub use` to the defining file.

use crate::source::texts;
use crate::words::{starts_with, without_tests, words};
use std::collections::{BTreeMap, BTreeSet};

/// Re-exports that are followed from one name.
const LINKS_MAX: usize = 32;

/// A path in a file, and the inline modules around it.
struct Named {
    inside: Vec<String>,
    path: Vec<String>,
}

/// One file.
struct File {
    path: String,
    module: Vec<String>,
    /// The names that its `use` declarations bring, with their paths.
    uses: BTreeMap<String, Named>,
    /// Every other path in it, and its private imports.
    named: Vec<Named>,
}

/// All files, by module; `[]` is `lib.rs`.
pub struct Names {
    files: Vec<File>,
    by_module: BTreeMap<Vec<String>, usize>,
}

/// For each file the files that it uses, with the names.
pub type Arrows = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

impl Names {
    /// Those of the files below `src/`.
    pub fn of_the_tree() -> Self {
        Self::of(&texts())
    }

    /// Those of these files: path from the root of the tree, and text.
    pub fn of(texts: &[(String, String)]) -> Self {
        let mut files = Vec::new();
        let mut tests = BTreeSet::new();
        for (path, text) in texts {
            let module = module_of(path);
            let (words, apart) = without_tests(&words(text));
            tests.extend(apart.into_iter().map(|name| below(&module, &[name])));
            files.push(read(path, module, &words));
        }
        files.retain(|file| !tests.iter().any(|test| file.module.starts_with(test)));
        let by_module =
            files.iter().enumerate().map(|(n, file)| (file.module.clone(), n)).collect();
        Self { files, by_module }
    }

    /// The uses of all files.
    pub fn arrows(&self) -> Arrows {
        let mut arrows = Arrows::new();
        for file in &self.files {
            let taken = arrows.entry(file.path.clone()).or_default();
            for named in &file.named {
                let Some(path) = self.path_from_the_crate(file, named, 0) else { continue };
                if let Some((other, name)) = self.definition(&path, 0)
                    && other.path != file.path
                {
                    taken.entry(other.path.clone()).or_default().insert(name);
                }
            }
        }
        arrows
    }

    /// The path from the root of the crate; `None` for a path outside of this crate.
    fn path_from_the_crate(&self, file: &File, named: &Named, links: usize) -> Option<Vec<String>> {
        let (first, rest) = named.path.split_first()?;
        let here = below(&file.module, &named.inside);
        match first.as_str() {
            "crate" | "postern" => Some(rest.to_vec()),
            "self" => Some(below(&here, rest)),
            "super" => {
                let above = named.path.iter().take_while(|word| *word == "super").count();
                let parent = &here[..here.len().saturating_sub(above)];
                Some(below(parent, &named.path[above..]))
            }
            _ if self.by_module.contains_key(&below(&here, std::slice::from_ref(first))) => {
                Some(below(&here, &named.path))
            }
            _ => {
                let meant = file.uses.get(first).filter(|_| links < LINKS_MAX)?;
                // `use tokio::{self}` is not a name of this crate.
                let start = Some(meant).filter(|meant| meant.path.first() != Some(first))?;
                Some(below(&self.path_from_the_crate(file, start, links + 1)?, rest))
            }
        }
    }

    /// The file that defines a path from the root of the crate, and its name there. `None` for a
    /// module, and for an import from another crate.
    fn definition(&self, path: &[String], links: usize) -> Option<(&File, String)> {
        let length = (0..=path.len()).rev().find(|n| self.by_module.contains_key(&path[..*n]))?;
        let file = &self.files[self.by_module[&path[..length]]];
        let (name, rest) = path[length..].split_first()?;
        match file.uses.get(name).filter(|_| links < LINKS_MAX) {
            Some(meant) => {
                let path = below(&self.path_from_the_crate(file, meant, 0)?, rest);
                self.definition(&path, links + 1)
            }
            None => Some((file, name.clone())),
        }
    }
}

/// `["mail", "spool"]` for `src/mail/spool/mod.rs`.
pub fn module_of(path: &str) -> Vec<String> {
    let module = path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    let module = if module == "lib" { "" } else { module };
    module.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

pub fn below(module: &[String], path: &[String]) -> Vec<String> {
    module.iter().chain(path).cloned().collect()
}

fn read(path: &str, module: Vec<String>, words: &[String]) -> File {
    let mut file = File { path: path.to_owned(), module, uses: BTreeMap::new(), named: Vec::new() };
    let mut inside: Vec<(String, usize)> = Vec::new();
    let mut passed_on = Vec::new();
    let mut own_words = BTreeSet::new();
    let (mut depth, mut at) = (0, 0);
    while let Some(word) = words.get(at) {
        let modules = || inside.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        match word.as_str() {
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                inside.retain(|(_, outside)| *outside < depth);
            }
            "mod" if words.get(at + 2).is_some_and(|next| next == "{") => {
                inside.push((words[at + 1].clone(), depth));
            }
            "use" if words.get(at + 1).is_some_and(|next| next != "<") => {
                let end = at + words[at..].iter().position(|word| word == ";").unwrap_or(0);
                for (name, path) in expand(&words[at + 1..end]) {
                    if is_public(&words[..at]) {
                        passed_on
                            .push((name.clone(), Named { inside: modules(), path: path.clone() }));
                    } else {
                        file.named.push(Named { inside: modules(), path: path.clone() });
                    }
                    file.uses.insert(name, Named { inside: modules(), path });
                }
                at = end;
            }
            _ if is_first_of_path(words, at) => {
                let path = path_at(&words[at..]);
                own_words.insert(word.clone());
                if path.len() > 1 {
                    at += 2 * (path.len() - 1);
                    file.named.push(Named { inside: modules(), path });
                }
            }
            _ => {}
        }
        at += 1;
    }
    // A name that is only re-exported is not used, unless the file uses it too.
    let used = passed_on.into_iter().filter(|(name, _)| own_words.contains(name));
    file.named.extend(used.map(|(_, named)| named));
    file
}

fn is_public(before: &[String]) -> bool {
    let start = match before.last().map(String::as_str) {
        Some(")") => before.iter().rposition(|word| word == "(").unwrap_or(0),
        _ => before.len(),
    };
    before[..start].last().is_some_and(|word| word == "pub")
}

fn is_first_of_path(words: &[String], at: usize) -> bool {
    let is_name = words[at].starts_with(|c: char| c.is_alphabetic() || c == '_');
    let before = at.checked_sub(1).map(|before| words[before].as_str());
    is_name && !matches!(before, Some("::" | "." | "mod" | "fn"))
}

/// `a::b::c`, up to the first bracket.
fn path_at(words: &[String]) -> Vec<String> {
    let mut path = vec![words[0].clone()];
    let mut rest = &words[1..];
    while let [mark, name, ..] = rest
        && mark == "::"
        && name.starts_with(|c: char| c.is_alphabetic() || c == '_')
    {
        path.push(name.clone());
        rest = &rest[2..];
    }
    path
}

/// A `use` tree as its names and their paths.
fn expand(tree: &[String]) -> Vec<(String, Vec<String>)> {
    let tree = if starts_with(tree, &["::"]) { &tree[1..] } else { tree };
    let path: Vec<String> = tree
        .iter()
        .take_while(|word| !matches!(word.as_str(), "{" | "as" | "*"))
        .filter(|word| *word != "::")
        .cloned()
        .collect();
    match tree.iter().position(|word| word == "{") {
        Some(open) => branches(&tree[open + 1..tree.len() - 1])
            .into_iter()
            .flat_map(expand)
            .map(|(name, rest)| match rest.as_slice() {
                [own] if own == "self" => {
                    let name = if name == "self" { path.last().cloned() } else { Some(name) };
                    (name.unwrap_or_default(), path.clone())
                }
                rest => (name, below(&path, rest)),
            })
            .collect(),
        None => {
            let renamed = tree.iter().position(|word| word == "as").map(|at| at + 1);
            let name = renamed.and_then(|at| tree.get(at)).or(path.last());
            name.map(|name| (name.clone(), path.clone())).into_iter().collect()
        }
    }
}

fn branches(words: &[String]) -> Vec<&[String]> {
    let mut depth = 0;
    let parts = words.split(|word| {
        match word.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        depth == 0 && word == ","
    });
    parts.filter(|part| !part.is_empty()).collect()
}

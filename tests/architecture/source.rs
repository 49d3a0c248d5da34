//! Source files in the form for the architecture rules: their module, their code without comments,
//! their imports.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// One file below `src/`.
pub struct Source {
    /// From the root of the tree.
    pub path: String,
    /// `mail::spool` for `src/mail/spool/mod.rs`.
    pub module: String,
    /// Without comments and without its tests.
    pub code: String,
}

/// All source files.
pub fn sources() -> Vec<Source> {
    texts().into_iter().map(|(path, text)| read(path, &text)).collect()
}

/// Path from the root of the tree and text of each file below `src/`.
pub fn texts() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    collect(&root.join("src"), &mut files);
    assert!(files.len() > 50, "only {} files were found", files.len());
    let path = |file: &Path| file.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
    files.iter().map(|file| (path(file), std::fs::read_to_string(file).unwrap())).collect()
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn read(path: String, text: &str) -> Source {
    let module = path
        .trim_start_matches("src/")
        .trim_end_matches(".rs")
        .trim_end_matches("/mod")
        .replace('/', "::");
    // Tests are at the bottom and may import anything.
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let code = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n");
    Source { path, module, code }
}

impl Source {
    /// Every path of this crate that the file names, from `crate` on, in `use` trees and elsewhere.
    pub fn imports(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut rest = self.code.as_str();
        while let Some((start, base)) = next_path(rest) {
            let tree = &rest[start..];
            let end = end_of_tree(tree);
            let above = base.split("::").filter(|word| *word == "super").count();
            for path in expand(&tree[..end]) {
                let path = path.trim_start_matches(base).trim_start_matches("::").to_owned();
                let path =
                    if above == 0 { path } else { join(&parent(&self.module, above), &path) };
                found.insert(path);
            }
            rest = &rest[start + end.max(1)..];
        }
        found
    }
}

/// The start of the next `crate::…` or `super::…`, and which of both it is.
fn next_path(text: &str) -> Option<(usize, &str)> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == ':' || c == '$';
    ["crate::", "super::"]
        .iter()
        .flat_map(|mark| text.match_indices(mark))
        .filter(|(at, _)| !text[..*at].ends_with(is_word))
        .min_by_key(|(at, _)| *at)
        .map(|(at, _)| {
            let words =
                text[at..].split("::").take_while(|word| matches!(*word, "crate" | "super"));
            let length = words.map(|word| word.len() + 2).sum::<usize>();
            (at, &text[at..at + length])
        })
}

fn end_of_tree(text: &str) -> usize {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            _ if depth > 0 || c.is_alphanumeric() || c == '_' || c == ':' => {}
            _ => return at,
        }
        if depth == 0 && c == '}' {
            return at + 1;
        }
    }
    text.len()
}

/// `a::{b, c::{d, e}}` as `a::b`, `a::c::d`, `a::c::e`.
fn expand(tree: &str) -> Vec<String> {
    let Some(open) = tree.find('{') else {
        return vec![tree.trim().trim_end_matches("::").to_owned()];
    };
    let (prefix, inner) = (tree[..open].trim(), tree[open + 1..].trim_end().trim_end_matches('}'));
    let inner = if tree.trim_end().ends_with('}') {
        &tree[open + 1..tree.trim_end().len() - 1]
    } else {
        inner
    };
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0, 0);
    for (at, c) in inner.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&inner[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&inner[start..]);
    let name = |part: &str| part.trim().split(" as ").next().unwrap_or_default().to_owned();
    parts
        .iter()
        .filter(|part| !part.trim().is_empty())
        .flat_map(|part| expand(&name(part)))
        .map(|path| {
            if path == "self" {
                prefix.trim_end_matches("::").to_owned()
            } else {
                format!("{prefix}{path}")
            }
        })
        .collect()
}

fn parent(module: &str, above: usize) -> String {
    let words: Vec<&str> = module.split("::").collect();
    words[..words.len().saturating_sub(above)].join("::")
}

fn join(parent: &str, path: &str) -> String {
    if parent.is_empty() { path.to_owned() } else { format!("{parent}::{path}") }
}

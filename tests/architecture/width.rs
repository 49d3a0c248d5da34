//! The limit of a line's width in Rust.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Characters, as in rustfmt.
const WIDTH_MAX: usize = 100;

/// Files with wider lines, and how many: values that are one text, and macros that rustfmt does not
/// break. A number may only shrink, and a row goes when all lines of its file fit.
const WIDER: [(&str, usize); 21] = [
    ("benches/load/main.rs", 3),
    ("src/appliance/property/account.rs", 2),
    ("src/appliance/property/trim_value.rs", 1),
    ("src/appliance/property/tests.rs", 1),
    ("src/appliance/resources.rs", 1),
    ("src/appliance/terminal/export.rs", 2),
    ("src/appliance/terminal/share.rs", 1),
    ("src/ground/credential/password.rs", 1),
    ("src/ground/log/mod.rs", 2),
    ("src/ground/text.rs", 1),
    ("src/mail/spool/offline.rs", 1),
    ("src/ui/history.rs", 1),
    ("src/ui/log_line.rs", 2),
    ("tests/applications/tomcat.rs", 4),
    ("tests/dialogue/main.rs", 6),
    ("tests/grid/engine.rs", 1),
    ("tests/grid/main.rs", 1),
    ("tests/http/sending.rs", 1),
    ("tests/moving/journey.rs", 1),
    ("tests/moving/strangers.rs", 1),
    ("tests/moving/unheard.rs", 1),
];

#[test]
fn a_line_fits_its_width() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let known: BTreeMap<_, _> = WIDER.into_iter().collect();
    let (mut files, mut wrong) = (Vec::new(), Vec::new());
    for directory in ["src", "tests", "benches", "fuzz/fuzz_targets"] {
        collect(&root.join(directory), &mut files);
    }
    assert!(files.len() > 400, "only {} files were found", files.len());
    for file in files {
        let path = file.strip_prefix(root).unwrap().to_str().unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        let wide = text.lines().filter(|line| line.chars().count() > WIDTH_MAX).count();
        let allowed = known.get(path).copied().unwrap_or(0);
        if wide != allowed {
            wrong.push(format!("{path}: {wide} lines of more than {WIDTH_MAX}, not {allowed}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
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

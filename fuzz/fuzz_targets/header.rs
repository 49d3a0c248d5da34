#![no_main]
//! For any content: pieces of any size make no difference, dropped fields are gone, missing ones
//! are there once, and the body is unchanged. The first octet defines how the rest is cut.

use libfuzzer_sys::fuzz_target;
use postern::mail::rewrite::{HeaderSection, Missing};

const ADDED: [&str; 3] = ["from", "date", "message-id"];

fuzz_target!(|input: (u8, &[u8])| {
    let (size, content) = input;
    let drop = ["bcc".to_owned(), "return-path".to_owned()];
    let submitted = |missing: bool, size| {
        let missing = missing.then(|| Missing {
            from: "root@a.example".to_owned(),
            date: "Thu, 26 Nov 2026 12:00:00 +0000".to_owned(),
            message_id: "<1@mta.example>".to_owned(),
        });
        pass(HeaderSection::submitted(&drop, missing), content, size)
    };
    let (whole, foreign) =
        (submitted(true, usize::MAX), pass(HeaderSection::foreign(), content, usize::MAX));
    assert_eq!(submitted(true, usize::from(size) + 1), whole);
    assert_eq!(pass(HeaderSection::foreign(), content, usize::from(size) + 1), foreign);

    let names = names(&whole);
    assert!(!names.iter().any(|name| drop.contains(name)), "{names:?}");
    let resent = names.iter().any(|name| name.starts_with("resent-"));
    for field in ADDED {
        let field = if resent { format!("resent-{field}") } else { field.to_owned() };
        assert!(names.contains(&field), "{field}: {names:?}");
    }
    assert_eq!(body(&submitted(false, usize::MAX)), body(&whole));
    assert_eq!(body(&foreign), body(&whole));
    assert!(content.ends_with(body(&whole)));
});

fn pass(mut section: HeaderSection<'_>, content: &[u8], size: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in content.chunks(size) {
        let rest = section.take(piece, &mut out);
        out.extend_from_slice(rest);
    }
    section.finish(&mut out);
    out
}

/// Names of the fields of the header section, in lower case, read line by line.
fn names(content: &[u8]) -> Vec<String> {
    let head = &content[..content.len() - body(content).len()];
    let mut names = Vec::new();
    for line in head.split_inclusive(|octet| *octet == b'\n') {
        if line.starts_with(b" ") || line.starts_with(b"\t") || line == b"\r\n" {
            continue;
        }
        let name = line.split(|octet| *octet == b':').next().unwrap_or_default();
        names
            .push(String::from_utf8_lossy(name).trim_end_matches([' ', '\t']).to_ascii_lowercase());
    }
    names
}

/// The text after the first empty line.
fn body(content: &[u8]) -> &[u8] {
    if let Some(body) = content.strip_prefix(b"\r\n") {
        return body;
    }
    // An empty line follows a line's end, which may be an LF alone here.
    let end = content.windows(3).position(|window| window == b"\n\r\n");
    end.map_or(&[], |end| &content[end + 3..])
}

//! Mails as sent and as received.

use super::appliance::HOSTNAME;
use std::fs;
use std::path::Path;

/// A mail that `postern sink` kept.
#[derive(Debug, Clone)]
pub struct Letter {
    /// The reverse-path; empty for the null sender.
    pub from: String,
    /// The forward-paths.
    pub to: Vec<String>,
    /// The received content, without the relay's Received field and the lines above it.
    pub content: Vec<u8>,
}

impl Letter {
    /// All mails of a directory.
    pub fn all(directory: &Path) -> Vec<Self> {
        fs::read_dir(directory)
            .unwrap()
            .map(|entry| Self::read(&fs::read(entry.unwrap().path()).unwrap()))
            .collect()
    }

    fn read(kept: &[u8]) -> Self {
        let mut rest = kept;
        let mut field = |name: &str| {
            let value = rest.strip_prefix(name.as_bytes())?;
            let end = value.windows(2).position(|two| two == b"\r\n").unwrap();
            rest = &value[end + 2..];
            Some(String::from_utf8(value[..end].to_vec()).unwrap())
        };
        let from = field("Return-Path: ").expect("the sink's Return-Path");
        let from = from.trim_start_matches('<').trim_end_matches('>').to_owned();
        let mut to = Vec::new();
        while let Some(recipient) = field("X-Original-To: ") {
            to.push(recipient);
        }
        // A notification of the relay itself has no Received field.
        let content =
            if rest.starts_with(b"Received:") { below_received(rest) } else { rest }.to_vec();
        Self { from, to, content }
    }

    /// The content as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.content).into_owned()
    }
}

/// What follows the Received field of the appliance, which must be the first field.
pub fn below_received(content: &[u8]) -> &[u8] {
    let mut end = 0;
    loop {
        let line =
            content[end..].windows(2).position(|two| two == b"\r\n").expect("a whole line") + 2;
        end += line;
        if !matches!(content.get(end), Some(b' ' | b'\t')) {
            break;
        }
    }
    let field = String::from_utf8_lossy(&content[..end]);
    assert!(
        field.starts_with("Received: ") && field.contains(&format!("by {HOSTNAME} (Postern")),
        "{field}"
    );
    &content[end..]
}

/// Mails of every form that RFC 5321 allows, by name. Their header section has all fields that a
/// server might add, so that none is added. The last line of `long lines` is as long as RFC 5321
/// §4.5.3.1.6 allows.
pub fn shapes() -> Vec<(&'static str, Vec<u8>)> {
    let mut long = Vec::new();
    for length in [76, 500, 900, 990, 998] {
        long.extend_from_slice("l".repeat(length).as_bytes());
        long.extend_from_slice(b"\r\n");
    }
    let many: Vec<u8> =
        (0..20_000).flat_map(|line| format!(".{line} of a large mail\r\n").into_bytes()).collect();
    let bodies: [(&str, Vec<u8>); 7] = [
        ("plain", b"Hello.\r\n".to_vec()),
        ("empty body", Vec::new()),
        ("blank lines", b"\r\n\r\n\r\n".to_vec()),
        (
            "dots",
            b".\r\n..\r\n...\r\n.leading\r\n..two\r\nin the . middle\r\nat the end.\r\n. \r\n.\r\n"
                .to_vec(),
        ),
        ("long lines", long),
        ("8-bit", "Gr\u{fc}n und \u{df}, \u{65e5}\u{672c}\r\n".as_bytes().to_vec()),
        ("large", many),
    ];
    bodies
        .into_iter()
        .map(|(name, body)| {
            let id = name.replace(' ', "-");
            let head = format!(
                "From: sender@here.example\r\nTo: box@there.example\r\nDate: Sun, 22 Nov 2026 \
                12:00:00 +0000\r\n\
                 Message-ID: <{id}@here.example>\r\nSubject: {name}\r\n\
                 MIME-Version: 1.0\r\nContent-Type: text/plain; \
                 charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
            );
            (name, [head.into_bytes(), body].concat())
        })
        .collect()
}

/// Asserts that two contents are equal, octet by octet, or shows the first difference.
pub fn assert_same(name: &str, expected: &[u8], found: &[u8]) {
    if expected == found {
        return;
    }
    let at = expected
        .iter()
        .zip(found)
        .position(|(a, b)| a != b)
        .unwrap_or(expected.len().min(found.len()));
    let near = |bytes: &[u8]| {
        let piece = &bytes[at.saturating_sub(30).min(bytes.len())..(at + 30).min(bytes.len())];
        String::from_utf8_lossy(piece).escape_debug().to_string()
    };
    panic!(
        "{name}: {} octets went in, {} came out; they part at {at}: {:?} became {:?}",
        expected.len(),
        found.len(),
        near(expected),
        near(found)
    );
}

/// Asserts that mails from another sender are the forms; it adds a Received field of its own.
pub fn assert_shapes_came(mails: &[Letter]) {
    let expected = shapes();
    assert_eq!(mails.len(), expected.len());
    for (name, content) in expected {
        let subject = format!("Subject: {name}\r\n");
        let with_subject: Vec<_> =
            mails.iter().filter(|mail| mail.text().contains(&subject)).collect();
        let [mail] = with_subject[..] else { panic!("{name}: {} times", with_subject.len()) };
        assert_eq!(
            (mail.from.as_str(), &mail.to[..]),
            ("sender@here.example", &["box@there.example".to_owned()][..])
        );
        let start = mail.content.windows(6).position(|six| six == b"From: ").unwrap();
        assert!(mail.content.starts_with(b"Received: "), "the sender's own field");
        assert_same(name, &content, &mail.content[start..]);
    }
}

//! The converted message is the same in 7 bits. Python's `email` as an independent reader:
//! `tests/peer_out/seven_bit.rs`.

use super::*;
use crate::mail::model::StoredContent;
use mail_parser::{MessageParser, MimeHeaders, PartType};
use proptest::prelude::*;

fn converted(content: &[u8]) -> Vec<u8> {
    convert_bytes(content).unwrap().unwrap_or_else(|| content.to_vec())
}

fn text(content: &str) -> String {
    String::from_utf8(converted(content.as_bytes())).unwrap()
}

#[test]
fn text_without_mime_gets_what_it_lacks() {
    let out = text("Subject: \u{fc}\r\n\r\nGr\u{fc}\u{df}e = \t\r\n-- \r\n");
    assert_eq!(
        out,
        "Subject: \u{fc}\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=unknown-8bit\r\n\
         Content-Transfer-Encoding: quoted-printable\r\n\r\nGr=C3=BC=C3=9Fe =3D =09\r\n--=20\r\n"
    );
    // Without a header section: added fields must not become text.
    assert!(text("\r\n\u{fc}bung macht den Meister\r\n").starts_with("MIME-Version: 1.0\r\n"));
    assert!(
        text("\u{fc}bung macht den Meister\r\n")
            .ends_with("\r\n\r\n=C3=BCbung macht den Meister\r\n")
    );
}

#[test]
fn a_bare_subject_passes_as_it_is() {
    for content in
        ["Subject: \u{fc}\r\n\r\nplain\r\n", "Subject: \u{fc}\r\n", "Subject: \u{fc}", ""]
    {
        assert_eq!(convert_bytes(content.as_bytes()), Ok(None), "{content}");
    }
}

#[test]
fn labels_are_replaced_where_they_stand() {
    let head = "MIME-Version: 1.0\r\ncontent-transfer-ENCODING:\r\n 8bit\r\nContent-Type: \
    text/plain; charset=utf-8\r\n\r\n";
    assert_eq!(
        text(&format!("{head}a \u{fc} and more of it\r\n")),
        "MIME-Version: 1.0\r\nContent-Transfer-Encoding: quoted-printable\r\nContent-Type: \
        text/plain; charset=utf-8\r\n\r\n\
         a =C3=BC and more of it\r\n"
    );
    assert!(text(&format!("{head}plain\r\n")).contains("\r\nContent-Transfer-Encoding: 7bit\r\n"));
    // Much of it: base64 is shorter. The last line end is part of the text.
    let out = text(&format!("{head}{}\r\n", "\u{44f}".repeat(30)));
    let encoded = "0Y/Rj9GP0Y/Rj9GP0Y/Rj9GP0Y/Rj9GP0Y/Rj9GP0Y/Rj9GP0Y/Rj9GP0Y/Rj9GP0Y/Rj9GP0Y/R\r\n\
    j9GPDQo=\r\n";
    assert!(
        out.contains("Encoding: base64\r\n") && out.ends_with(&format!("\r\n\r\n{encoded}")),
        "{out}"
    );
}

#[test]
fn parts_are_rewritten_one_by_one() {
    let out = text(
        "Content-Type: multipart/mixed; boundary=\"a\"\r\nMIME-Version: \
        1.0\r\nContent-Transfer-Encoding: 8bit\r\n\r\npre\r\n\
         --a\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: \
         8bit\r\n\r\neine L\u{fc}cke hier\r\n\
         --a\r\n\r\nplain\r\n\
         --a\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: \
         binary\r\n\r\n\u{fc}\r\n\
         --a\r\nContent-Type: message/rfc822\r\n\r\nSubject: \u{e4}\r\n\r\ninnen \u{f6}, weiter im \
         Text\r\n\
         --a--\r\nend\r\n",
    );
    assert_eq!(
        out,
        "Content-Type: multipart/mixed; boundary=\"a\"\r\nMIME-Version: \
        1.0\r\nContent-Transfer-Encoding: 7bit\r\n\r\npre\r\n\
         --a\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: \
         quoted-printable\r\n\r\neine L=C3=BCcke hier\r\n\
         --a\r\n\r\nplain\r\n\
         --a\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: \
         base64\r\n\r\nw7w=\r\n\
         --a\r\nContent-Type: message/rfc822\r\n\r\nSubject: \u{e4}\r\nMIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=unknown-8bit\r\nContent-Transfer-Encoding: \
         quoted-printable\r\n\r\n\
         innen =C3=B6, weiter im Text\r\n\
         --a--\r\nend\r\n"
    );
}

#[test]
fn signatures_are_not_broken() {
    let signed = |inner: &str, signature: &str| {
        format!(
            "Content-Type: multipart/signed; boundary=s\r\nContent-Transfer-Encoding: \
            8bit\r\n\r\n--s\r\n{inner}\r\n--s\r\n\
             Content-Type: application/pgp-signature\r\n\r\n{signature}\r\n--s--\r\n"
        )
    };
    let inner = "Content-Type: text/plain\r\nContent-Transfer-Encoding: 8bit\r\n\r\n";
    let nested = format!(
        "Content-Type: multipart/mixed; boundary=n\r\n\r\n--n\r\n{inner}\u{fc}\r\n--n--\r\n"
    );
    for content in [signed(&format!("{inner}\u{fc}\r\n"), "x"), signed(&nested, "x")] {
        assert_eq!(convert_bytes(content.as_bytes()), Err(EncodingRefusal::Signed), "{content}");
    }
    // A signed part stays as it is, to the octet; the parts next to it may change.
    let content = signed(&format!("{inner}plain\r\n"), "\u{fc}");
    let out = text(&content);
    assert!(
        out.contains(&format!("--s\r\n{inner}plain\r\n\r\n--s\r\n"))
            && out.contains("base64\r\n\r\nw7w=\r\n--s--"),
        "{out}"
    );
    // Encryption covers the decoded form.
    assert!(
        convert_bytes(content.replace("multipart/signed", "multipart/encrypted").as_bytes())
            .unwrap()
            .is_some()
    );
}

#[test]
fn what_must_not_be_encoded_is_not() {
    let with = |head: &str| {
        format!("MIME-Version: 1.0\r\n{head}\r\n\r\nDiagnostic-Code: smtp; \u{fc}\r\n")
    };
    for head in [
        "Content-Type: message/delivery-status",
        "Content-Type: multipart/mixed",
        "Content-Transfer-Encoding: x-uuencode",
        "Content-Transfer-Encoding: base64",
    ] {
        assert_eq!(convert_bytes(with(head).as_bytes()), Ok(None), "{head}");
    }
    assert_eq!(
        convert_bytes(with("Content-Type: message/partial; id=x").as_bytes()),
        Err(EncodingRefusal::Partial)
    );
    let out = text(&with("Content-Transfer-Encoding: quoted-printable"));
    assert!(out.ends_with("\r\n\r\nDiagnostic-Code: smtp; =C3=BC\r\n"), "{out}");
}

#[test]
fn depth_and_number_are_limited() {
    let mut deep = String::new();
    for n in 0..=DEPTH_MAX {
        deep += &format!("Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n");
    }
    assert_eq!(
        convert_bytes((deep.clone() + "\r\n\u{fc}").as_bytes()),
        Err(EncodingRefusal::TooDeep)
    );
    let messages = "Content-Type: message/rfc822\r\n\r\n".repeat(DEPTH_MAX + 1) + "\r\n\u{fc}";
    assert_eq!(convert_bytes(messages.as_bytes()), Err(EncodingRefusal::TooDeep));
    let many = String::from("Content-Type: multipart/mixed; boundary=b\r\n\r\n")
        + &"--b\r\n".repeat(PARTS_MAX)
        + "\r\n\u{fc}";
    assert_eq!(convert_bytes(many.as_bytes()), Err(EncodingRefusal::TooManyParts));
}

#[test]
fn a_broken_line_is_no_boundary() {
    let line = format!("\u{fc}{}--b--", "x".repeat(69));
    let out = text(&format!(
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n{line}\r\n--b--\r\n"
    ));
    assert!(out.contains("=\r\n=2D-b--") && out.matches("\r\n--b--").count() == 1, "{out}");
}

#[test]
fn long_lines_are_broken_only_where_something_changes() {
    let long = "x".repeat(LINE_LONGEST + 1);
    let out = text(&format!(
        "Content-Type: multipart/mixed; \
        boundary=b\r\n\r\n--b\r\n\r\n{long}\r\n--b\r\n\r\n\u{fc}\r\n--b--\r\n"
    ));
    assert!(out.lines().all(|line| line.len() <= LINE_SENT), "{out}");
}

/// All decoded parts, in order, as mail-parser reads them.
fn parts(content: &[u8]) -> Vec<(String, Vec<u8>)> {
    fn collect(message: &mail_parser::Message<'_>, found: &mut Vec<(String, Vec<u8>)>) {
        for part in &message.parts {
            let kind = part
                .content_type()
                .map(|t| format!("{}/{}", t.ctype(), t.subtype().unwrap_or_default()))
                .unwrap_or_default();
            match &part.body {
                PartType::Message(inner) => collect(inner, found),
                PartType::Multipart(_) => found.push((kind, Vec::new())),
                _ => found.push((kind.replace("text/plain", ""), part.contents().to_vec())),
            }
        }
    }
    let mut found = Vec::new();
    if let Some(message) = MessageParser::default().parse(content) {
        collect(&message, &mut found);
    }
    found
}

/// A leaf or a composite, well-formed.
fn part() -> impl Strategy<Value = String> {
    let word = "(a|b |=|\u{fc}|\u{44f}|-|--b|\\.|\t| |\u{0}|x{30})";
    let body = format!("({word}{{0,6}}\r\n){{0,4}}");
    let leaf = (
        prop_oneof![
            Just(""),
            Just("Content-Type: text/html; charset=utf-8\r\n"),
            Just("Content-Type: application/octet-stream\r\n"),
            Just("Content-Type: application/pkcs7-mime\r\n"),
        ],
        prop_oneof![
            Just(""),
            Just("Content-Transfer-Encoding: 8bit\r\n"),
            Just("Content-Transfer-Encoding: binary\r\n"),
            Just("Content-Transfer-Encoding: 7bit\r\n"),
        ],
        proptest::string::string_regex(&body).unwrap(),
    )
        .prop_map(|(kind, encoding, body)| format!("{kind}{encoding}\r\n{body}"));
    leaf.prop_recursive(4, 16, 3, |inner| {
        prop_oneof![
            (prop::collection::vec(inner.clone(), 1..4), 0u32..1_000_000).prop_map(
                |(parts, number)| {
                    let mut text =
                        format!("Content-Type: multipart/mixed; boundary=\"={number}_\"\r\n\r\n");
                    parts.iter().for_each(|part| text += &format!("--={number}_\r\n{part}\r\n"));
                    text + &format!("--={number}_--\r\n")
                }
            ),
            // A message directly in a message directly in a multipart is not supported by
            // mail-parser 0.11.
            inner
                .prop_filter("one message", |part| !part.starts_with("Content-Type: message"))
                .prop_map(|part| format!(
                    "Content-Type: message/rfc822\r\n\r\nSubject: \u{fc}\r\n{part}"
                )),
        ]
    })
}

/// Input that may look like a message to the parser.
fn garbage() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"\r\n".to_vec()),
        Just(b"--b".to_vec()),
        Just(b"--b--".to_vec()),
        Just(b"Content-Type: multipart/mixed; boundary=b\r\n".to_vec()),
        Just(b"Content-Type: multipart/signed; boundary=b\r\n".to_vec()),
        Just(b"Content-Type: message/rfc822\r\n".to_vec()),
        Just(b"Content-Transfer-Encoding: quoted-printable\r\n".to_vec()),
        Just(b"Content-Transfer-Encoding: 8bit\r\n".to_vec()),
        Just(b"\r".to_vec()),
        Just(b"\n".to_vec()),
        Just(b" =".to_vec()),
        Just(vec![b'x'; 1000]),
        prop::collection::vec(any::<u8>(), 0..6),
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

/// Content that is read in small pieces.
struct Rest(Vec<u8>);

impl StoredContent for Rest {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = &self.0[usize::try_from(offset).unwrap().min(self.0.len())..];
        let length = rest.len().min(buffer.len()).min(7);
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }
}

#[test]
fn a_line_that_is_no_field_stays_body_when_it_is_encoded() {
    let content = b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; \
    boundary=b\r\n\x80Content-Type: text/plain\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n";
    let out = convert_bytes(content).unwrap().unwrap();
    assert!(
        out.windows(20).any(|window| window == b"boundary=b\r\n\r\n=80Con"),
        "{}",
        out.escape_ascii()
    );
    assert_eq!(convert_bytes(&out), Ok(None));
}

proptest! {
    /// Every decoded part is unchanged; only the label of a text may be new.
    #[test]
    fn parts_decode_to_what_they_were(part in part()) {
        let content = format!("From: a@b.example\r\nMIME-Version: 1.0\r\n{part}").into_bytes();
        let out = converted(&content);
        prop_assert_eq!(parts(&out), parts(&content), "{}", String::from_utf8_lossy(&out));
        let body = out.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(0);
        let lines = out[body..].split(|octet| *octet == b'\n');
        let raw = lines.filter(|line| !line.is_ascii() && !line.starts_with(b"Subject: "));
        prop_assert_eq!(raw.count(), 0, "{}", String::from_utf8_lossy(&out));
        prop_assert_eq!(convert_bytes(&out), Ok(None), "{}", String::from_utf8_lossy(&out));
    }

    /// For any input: no panic, a second conversion changes nothing, only labels and encoded octets
    /// are new, and stored content gives the same as content in memory.
    #[test]
    fn any_octets_stay_in_bounds(content in garbage(), from in 0u64..300) {
        match convert_bytes(&content) {
            Ok(None) => {}
            Ok(Some(out)) => {
                prop_assert_eq!(convert_bytes(&out), Ok(None), "{}", String::from_utf8_lossy(&out));
                let stored = Arc::new(Rest(content.clone()));
                let view = convert(&Body::Stored(stored, content.len() as u64)).unwrap().unwrap();
                prop_assert_eq!(view.len(), out.len() as u64);
                prop_assert_eq!(&view.head(usize::MAX).unwrap()[..], &out[..]);
                // Reading from the start again, as a second attempt does.
                let Body::Stored(view, _) = view else { panic!("not at rest") };
                let mut octet = [0];
                let got = view.read_at(from, &mut octet).unwrap();
                let rest = out.get(usize::try_from(from).unwrap()..).unwrap_or_default();
                prop_assert_eq!(&octet[..got], &rest[..rest.len().min(1)]);
            }
            Err(_) => {}
        }
    }
}

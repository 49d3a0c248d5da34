#![no_main]
//! A signature of any content: pieces of any size make no difference, lines of the prefix are mail,
//! and nothing of the content comes into them. Any key file is read or refused. The first octet is
//! the size of a piece, the second decides what the rest is.

use libfuzzer_sys::fuzz_target;
use postern::mail::sign::{
    Algorithm, ContentDigest, KeyRing, Lookup, Rotations, SelectorFile, SigningDomain, SigningKey,
    generate, signature_fields,
};
use std::sync::LazyLock;

static RING: LazyLock<KeyRing> = LazyLock::new(|| {
    let key = generate(Algorithm::Ed25519).unwrap();
    let file = SelectorFile::read("a.example", "postern-ed25519", false, Ok(&key));
    KeyRing::new(&[SigningDomain::new("a.example", None)], &[file], &Rotations::default())
});

fn prefix(content: &[u8], size: usize) -> (Option<String>, Option<Vec<u8>>) {
    let mut digest = ContentDigest::default();
    content.chunks(size).for_each(|piece| digest.take(piece));
    let content = digest.finish();
    let author = content.header.author.clone();
    let Lookup::Signs(keys) = RING.lookup("a.example") else { panic!("it signs") };
    (author, signature_fields(&content, &keys, 1).ok())
}

fuzz_target!(|input: &[u8]| {
    let [size, kind, rest @ ..] = input else { return };
    if *kind == 0 {
        if let Ok(key) = SigningKey::from_pem(rest) {
            assert!(key.record().starts_with("v=DKIM1; k="));
        }
        return;
    }
    let (author, whole) = prefix(rest, rest.len().max(1));
    // Ed25519 is deterministic.
    assert_eq!((author.clone(), whole.clone()), prefix(rest, 1 + usize::from(*size)));
    if let Some(domain) = author {
        assert!(domain.len() <= 253 && !domain.is_empty());
        assert!(domain.bytes().all(|octet| octet.is_ascii_graphic() && octet != b'@'));
    }
    let Some(whole) = whole else { return };
    let text = String::from_utf8(whole).unwrap();
    assert!(text.is_ascii() && text.starts_with("DKIM-Signature: ") && text.ends_with("\r\n"));
    let mut lines = text.trim_end().split("\r\n").skip(1);
    assert!(lines.all(|line| line.starts_with('\t') && line.len() < 100));
});

#![no_main]
//! The chunks of BDAT, and how they are cut: the cuts make no difference, the content is what the
//! chunks hold, and what is taken has no bare CR, no bare LF, no NUL and no more than the limit.

use libfuzzer_sys::fuzz_target;
use postern::mail::parse::{Command, ContentError, ContentParser};

const LIMIT: u64 = 200;

fuzz_target!(|input: (u8, &[u8])| {
    let (size, octets) = input;
    let whole = read(octets, usize::MAX);
    let cut = read(octets, usize::from(size) + 1);
    assert_eq!((whole.0, whole.1.is_some(), whole.2), (cut.0, cut.1.is_some(), cut.2));
    let (end, error, length) = whole;
    let content = [octets, end].concat();
    assert_eq!(length, content.len() as u64);
    if error.is_none() {
        let text = content.iter().map(|octet| char::from(*octet)).collect::<String>();
        assert!(content.is_empty() || text.ends_with("\r\n"));
        assert!(!text.replace("\r\n", "").contains(['\r', '\n', '\0']));
        assert!(octets.len() as u64 <= LIMIT);
    }
    // The command itself: it is a size, or the end of the session.
    let line = [b"BDAT ", octets].concat();
    match Command::parse(&line) {
        Ok(command) => assert!(matches!(command, Command::Bdat(_))),
        Err(error) => assert!(error.reply().code / 100 == 5),
    }
});

fn read(octets: &[u8], size: usize) -> (&'static [u8], Option<ContentError>, u64) {
    let mut content = ContentParser::chunked(LIMIT);
    for chunk in octets.chunks(size) {
        content.announce(chunk.len() as u64);
        content.next_chunk(chunk);
    }
    let end = content.end_chunks();
    (end, content.error(), content.size())
}

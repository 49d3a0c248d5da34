#![no_main]
//! Any pieces give the same as an octet-by-octet reading of the RFC. The first octets define how
//! the rest is cut.

use libfuzzer_sys::fuzz_target;
use postern::mail::parse::{ContentError, ContentParser};

const LIMIT: u64 = 200;

type Read = Option<(Vec<u8>, usize, Option<ContentError>)>;

fn read(input: &[u8], sizes: &[u8]) -> Read {
    let (mut content, mut out, mut done) = (ContentParser::new(LIMIT), Vec::new(), 0);
    let mut sizes = sizes.iter().cycle();
    while done < input.len() {
        let size = sizes
            .next()
            .map_or(input.len(), |size| 1 + usize::from(size % 16))
            .min(input.len() - done);
        let end_of_piece = done + size;
        while done < end_of_piece {
            let step = content.next(&input[done..end_of_piece]);
            assert!(step.taken > 0);
            done += step.taken;
            out.extend_from_slice(step.piece);
            if step.end {
                return Some((out, done, content.error()));
            }
        }
    }
    None
}

/// RFC 5321 §4.5.2, implemented literally.
fn by_the_letter(input: &[u8]) -> Option<(Vec<u8>, usize)> {
    let framed = [b"\r\n", input].concat();
    let end = framed.windows(5).position(|window| window == b"\r\n.\r\n")?;
    let (mut out, mut line_start) = (Vec::new(), true);
    for (place, byte) in framed[2..end + 2].iter().enumerate() {
        if !(line_start && *byte == b'.') {
            out.push(*byte);
        }
        line_start = framed[..place + 3].ends_with(b"\r\n");
    }
    Some((out, end + 3))
}

/// Whether a CR or an LF stands alone, or a NUL anywhere.
fn is_flawed(content: &[u8]) -> bool {
    let text: Vec<u8> = content.to_vec();
    let pairs = text.windows(2).filter(|pair| pair == b"\r\n").count();
    let count = |octet| text.iter().filter(|byte| **byte == octet).count();
    count(b'\r') != pairs || count(b'\n') != pairs || count(0) > 0
}

fuzz_target!(|data: &[u8]| {
    let (sizes, input) = data.split_at(data.len().min(4));
    let (wholly, cut, letter) = (read(input, &[]), read(input, sizes), by_the_letter(input));
    let ends = |read: &Read| read.as_ref().map(|read| read.1);
    assert_eq!(ends(&wholly), letter.as_ref().map(|letter| letter.1));
    assert_eq!(ends(&cut), ends(&wholly));
    let (Some(wholly), Some(cut), Some((letter, end))) = (wholly, cut, letter) else { return };
    assert_eq!(wholly.2.is_some(), cut.2.is_some());
    assert_eq!(wholly.2.is_some(), is_flawed(&input[..end]) || letter.len() as u64 > LIMIT);
    if wholly.2.is_none() {
        assert_eq!((&wholly.0, &cut.0), (&letter, &letter));
    }
});

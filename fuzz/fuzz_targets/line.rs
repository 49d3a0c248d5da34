#![no_main]
//! Pieces of any size give the same lines. The first octets define how the rest is cut.

use libfuzzer_sys::fuzz_target;
use postern::mail::parse::{InputLine, LineError, LineSplitter};

fn cut(input: &[u8], sizes: &[u8]) -> Vec<Result<Vec<u8>, LineError>> {
    let (mut lines, mut buffer, mut out, mut rest) =
        (LineSplitter::default(), Vec::new(), Vec::new(), input);
    let mut sizes = sizes.iter().cycle();
    loop {
        match lines.next(&buffer) {
            InputLine::Complete { text, taken } => {
                assert!(
                    !text.contains(&b'\r')
                        && !text.contains(&b'\n')
                        && text.len() + 2 <= LineSplitter::LIMIT
                );
                out.push(Ok(text.to_vec()));
                buffer.drain(..taken);
            }
            InputLine::Flawed { error, taken } => {
                out.push(Err(error));
                if error != LineError::TooLong {
                    return out;
                }
                buffer.drain(..taken);
            }
            InputLine::More { taken } => {
                buffer.drain(..taken);
                assert!(buffer.len() <= LineSplitter::LIMIT);
                if rest.is_empty() {
                    return out;
                }
                let size = sizes
                    .next()
                    .map_or(rest.len(), |size| 1 + usize::from(*size) * 8)
                    .min(rest.len());
                buffer.extend_from_slice(&rest[..size]);
                rest = &rest[size..];
            }
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let (sizes, input) = data.split_at(data.len().min(4));
    // A fuzzer rarely makes long lines: some octets are repeated many times.
    let input: Vec<u8> =
        input.iter().flat_map(|byte| vec![*byte; if *byte == b'X' { 1000 } else { 1 }]).collect();
    assert_eq!(cut(&input, sizes), cut(&input, &[]));
});

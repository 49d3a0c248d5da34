#![no_main]
//! For any message: a second conversion changes nothing, no changed line is too long, and reading
//! in pieces gives the same as reading at once.

use libfuzzer_sys::fuzz_target;
use postern::mail::model::{Body, StoredContent};
use postern::mail::rewrite::seven_bit::{convert, convert_bytes};
use std::io;
use std::sync::Arc;

/// Content that gives a few octets at a time.
struct Rest(Vec<u8>);

impl StoredContent for Rest {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = &self.0[(offset as usize).min(self.0.len())..];
        let length = rest.len().min(buffer.len()).min(13);
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }
}

fuzz_target!(|data: &[u8]| {
    let Ok(Some(out)) = convert_bytes(data) else { return };
    assert_eq!(convert_bytes(&out), Ok(None), "twice");
    let stored = Body::Stored(Arc::new(Rest(data.to_vec())), data.len() as u64);
    let view = convert(&stored).expect("readable").expect("something to change");
    assert_eq!(view.len(), out.len() as u64);
    assert_eq!(view.head(usize::MAX).expect("readable"), out);
});

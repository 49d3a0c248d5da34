#![no_main]
//! For any mail, the displayed parts stay within their limits, and its text contains no markup of
//! its HTML alternative.

use libfuzzer_sys::fuzz_target;
use postern::api::read_text;

fuzz_target!(|mail: &[u8]| {
    let view = read_text(mail);
    assert!(view.text.chars().count() <= 100_000);
    assert!(view.headers.len() <= 100 && view.parts.len() <= 100);
    assert!(view.headers.iter().all(|header| header.value.chars().count() <= 2000));
    assert_eq!(view, read_text(mail), "the same mail says the same");
});

//! Escapes untrusted text: one rule for terminals, pages, log lines and JSON.
//!
//! Source: Unicode 16 (general categories Cc, Cf, Zl, Zp, and letters that are invisible); UAX #9
//! (reading direction); RFC 8259 §7 (escapes of JSON).

use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use std::fmt::Write as _;

/// Base64 (RFC 4648 §4) that is read with or without padding, because people and programs omit it.
pub const ANY_PADDING: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Whether a character controls a terminal, breaks a line, changes the reading direction, or is
/// invisible: with it one text can look like another.
pub fn is_tricky(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

/// The text with U+FFFD instead of each such character.
pub fn harmless(text: &str) -> String {
    text.chars().map(|c| if is_tricky(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// JSON in which such characters in strings are escaped; a JSON parser gets the same values.
pub fn harmless_json(json: String) -> String {
    // In ASCII, JSON's own rules escape all such characters except one; all others can be only in
    // strings, too.
    if !json.contains(is_tricky_in_json) {
        return json;
    }
    let mut harmless = String::with_capacity(json.len() + 64);
    for c in json.chars() {
        if is_tricky_in_json(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a string cannot fail.
                let _ = write!(harmless, "\\u{unit:04x}");
            }
        } else {
            harmless.push(c);
        }
    }
    harmless
}

/// Line ends and tabs are between values in indented JSON.
fn is_tricky_in_json(c: char) -> bool {
    !matches!(c, '\n' | '\r' | '\t') && is_tricky(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRICKY: &str = "\u{7f}\u{85}\u{ad}\u{61c}\u{200b}\u{200f}\u{2028}\u{2029}\u{202a}\u{202e}\u{2066}\u{2069}\u{feff}\u{e0001}\u{e0041}\u{e01ef}";

    #[test]
    fn base_64_is_read_with_and_without_padding() {
        use base64::Engine;
        for (coded, plain) in [("", ""), ("Zg==", "f"), ("Zg", "f"), ("Zm9vYmFy", "foobar")] {
            assert_eq!(ANY_PADDING.decode(coded).as_deref(), Ok(plain.as_bytes()), "{coded}");
        }
        for bad in ["a", "====", "Zm9v!", "Zg===", "Zm 9v", "-_8"] {
            assert!(ANY_PADDING.decode(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn invisible_and_turning_characters_become_marks_and_letters_stay() {
        assert!(TRICKY.chars().all(is_tricky));
        assert_eq!(
            harmless("a\u{1b}[2Jb\r\nc\u{202e}d"),
            "a\u{fffd}[2Jb\u{fffd}\u{fffd}c\u{fffd}d"
        );
        let letters = "Grüße, Ελλάδα, привет, שלום, مرحبا, 你好, नमस्ते, 👋🏽 ❤\u{fe0f}";
        assert_eq!(harmless(letters), letters);
    }

    #[test]
    fn json_says_the_same_in_escapes() {
        for value in
            [serde_json::json!({ "a": TRICKY, "é": "x\"\\\n" }), serde_json::json!(["plain"])]
        {
            let json = harmless_json(serde_json::to_string_pretty(&value).unwrap());
            assert!(!json.contains(is_tricky_in_json), "{json}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap(), value);
        }
        assert_eq!(harmless_json("\"\u{e0041}\u{202e}\"".to_owned()), "\"\\udb40\\udc41\\u202e\"");
    }
}

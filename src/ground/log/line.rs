//! An event as a line: plain for people, JSON for collectors. Untrusted text cannot leave its
//! field.

use super::EventFields;
use crate::ground::clock;
use crate::ground::text::{harmless_json, is_tricky};
use serde_json::{Map, Value};
use std::fmt::Write as _;
use tracing::Level;

/// Octets of a delivery's line: memory for it is allocated at once, since there is one for every
/// mail.
const LINE_USUAL: usize = 512;

/// `TIME LEVEL message name=value …`; a value with blanks or quotes is quoted.
pub(super) fn plain(level: Level, said: &EventFields) -> String {
    let mut line = String::with_capacity(LINE_USUAL);
    put_now(&mut line);
    line.push(' ');
    line.push_str(level.as_str());
    line.push(' ');
    escape(&mut line, &said.message, false);
    put_fields(&mut line, said);
    line.push('\n');
    line
}

/// Appends ` name=value` for each field.
pub fn put_fields(line: &mut String, said: &EventFields) {
    for (name, value) in &said.fields {
        line.push(' ');
        line.push_str(name);
        line.push('=');
        match value {
            // Most values: an address, a host, a number. The rules below give the same result for
            // them.
            Value::String(text) if !text.is_empty() && text.bytes().all(is_bare) => {
                line.push_str(text)
            }
            Value::String(text) => {
                let quoted =
                    text.is_empty() || text.contains(|c: char| c.is_whitespace() || is_special(c));
                if quoted {
                    line.push('"');
                }
                escape(line, text, quoted);
                if quoted {
                    line.push('"');
                }
            }
            Value::Bool(yes) => line.push_str(if *yes { "true" } else { "false" }),
            // Numbers.
            value => drop(write!(line, "{value}")),
        }
    }
}

/// One flat object.
pub(super) fn json(level: Level, target: &str, said: EventFields) -> String {
    let mut map = Map::with_capacity(said.fields.len() + 4);
    map.insert("time".to_owned(), now().into());
    map.insert("level".to_owned(), level.as_str().into());
    map.insert("target".to_owned(), target.into());
    map.insert("message".to_owned(), said.message.into());
    for (name, value) in said.fields {
        // A field cannot replace the four above.
        map.entry(name).or_insert(value);
    }
    // JSON's own rules do not escape characters that change a terminal's direction; its strings may
    // contain any escape.
    let mut line = harmless_json(Value::Object(map).to_string());
    line.push('\n');
    line
}

/// Visible ASCII that needs neither quotes nor an escape.
fn is_bare(octet: u8) -> bool {
    octet.is_ascii_graphic() && !is_special(char::from(octet))
}

/// Characters that require quotes, in addition to blanks.
fn is_special(c: char) -> bool {
    matches!(c, '"' | '\\' | '=')
}

/// Appends untrusted text; `quoted` means that it is inside quotes.
fn escape(line: &mut String, text: &str, quoted: bool) {
    if text.bytes().all(|octet| is_bare(octet) || matches!(octet, b' ' | b'=')) {
        line.push_str(text);
        return;
    }
    for c in text.chars() {
        match c {
            '"' | '\\' if quoted => line.extend(['\\', c]),
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            c if is_tricky(c) => drop(write!(line, "\\u{{{:x}}}", u32::from(c))),
            c => line.push(c),
        }
    }
}

/// RFC 3339 with milliseconds, in the zone of the appliance.
fn now() -> String {
    let mut text = String::new();
    put_now(&mut text);
    text
}

fn put_now(line: &mut String) {
    let micros = clock::now_micros();
    let seconds = u32::try_from(micros / 1_000_000).unwrap_or(u32::MAX);
    let text = clock::rfc3339(seconds);
    match text.split_at_checked("0000-00-00T00:00:00".len()) {
        Some((moment, zone)) => drop(write!(line, "{moment}.{:03}{zone}", micros / 1000 % 1000)),
        None => line.push_str(&text),
    }
}

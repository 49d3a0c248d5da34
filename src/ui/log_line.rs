//! A line of the log in columns: time, level, event, message, and the other fields.
//!
//! In: a line of `ground::log`, plain or JSON; a line in another format is shown as one text.
//! Limits: [`FIELDS`] fields of [`VALUE_SHOWN`] characters.

use crate::ground::display_text::{harmless, shorten};
use serde_json::{Map, Value};

/// Fields that are shown of a line, at most.
const FIELDS: usize = 32;

/// Characters of a value, and of the event.
const VALUE_SHOWN: usize = 300;
const MESSAGE_SHOWN: usize = 200;

/// Characters of a status.
const WORD_SHOWN: usize = 20;

/// Characters of the subject of a line.
const ABOUT_SHOWN: usize = 70;

/// The fields of which the first existing one is the subject of a line.
const ABOUT: [&str; 9] =
    ["to", "destination", "client", "host", "relay", "from", "order", "cause", "name"];

/// A line in columns. All texts are untrusted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct LogLine {
    /// RFC 3339; empty if the line has none.
    pub(super) time: String,
    /// `ERROR`, `WARN`, `INFO`.
    pub(super) level: String,
    /// The event.
    pub(super) message: String,
    /// The status; empty if the line has none.
    pub(super) status: String,
    /// The queue id; empty if it has none.
    pub(super) id: String,
    /// The subject: an address, a host or the like.
    pub(super) about: String,
    /// `name=value`, one on each line.
    pub(super) fields: String,
}

impl LogLine {
    /// From any line.
    pub(super) fn of(line: &str) -> Self {
        let read = of_json(line).or_else(|| of_plain(line));
        let (mut found, fields) = read.unwrap_or_else(|| {
            (Self { message: harmless(line.trim_end()), ..Self::default() }, Vec::new())
        });
        found.message = shorten(&found.message, MESSAGE_SHOWN);
        let value = |name: &str| fields.iter().find(|(known, _)| known == name).map(|(_, v)| v);
        let id = value("queue_id").filter(|id| is_id(id));
        found.id = id.cloned().unwrap_or_default();
        let about = ABOUT.iter().find_map(|name| value(name)).map_or("", String::as_str);
        found.about = shorten(about.trim_matches(['<', '>']), ABOUT_SHOWN);
        found.status = value("status").map(|word| shorten(word, WORD_SHOWN)).unwrap_or_default();
        let told = fields.iter().take(FIELDS);
        let told = told.map(|(name, value)| format!("{name}={}", shorten(value, VALUE_SHOWN)));
        found.fields = told.collect::<Vec<_>>().join("\n");
        found
    }

    /// The CSS class of its level.
    pub(super) fn class(&self) -> &'static str {
        match self.level.as_str() {
            "ERROR" => "bad",
            "WARN" => "warn",
            _ => "",
        }
    }
}

/// Whether it is a queue id, which becomes a link.
fn is_id(text: &str) -> bool {
    text.len() == 13 && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

type Fields = Vec<(String, String)>;

fn of_json(line: &str) -> Option<(LogLine, Fields)> {
    let object: Map<String, Value> = serde_json::from_str(line.trim_end()).ok()?;
    let text = |value: &Value| match value {
        Value::String(text) => harmless(text),
        other => harmless(&other.to_string()),
    };
    let part = |name: &str| object.get(name).map(text).unwrap_or_default();
    let others = object
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "time" | "level" | "target" | "message"));
    let fields = others.map(|(name, value)| (harmless(name), text(value))).collect();
    let (time, level, message) = (part("time"), part("level"), part("message"));
    Some((LogLine { time, level, message, ..LogLine::default() }, fields))
}

/// `TIME LEVEL words name=value …`
fn of_plain(line: &str) -> Option<(LogLine, Fields)> {
    let mut parts = line.trim_end().splitn(3, ' ');
    let (time, level) = (parts.next()?, parts.next()?);
    let rest = parts.next().unwrap_or_default();
    if !matches!(level, "ERROR" | "WARN" | "INFO" | "DEBUG" | "TRACE") {
        return None;
    }
    let (words, mut rest) = rest.split_at(first_field(rest));
    let mut fields = Fields::new();
    while let Some((name, behind)) = rest.trim_start().split_once('=') {
        let (value, after) = value_of(behind);
        fields.push((harmless(name), harmless(value)));
        rest = after;
    }
    let (time, level, message) = (harmless(time), harmless(level), harmless(words.trim_end()));
    Some((LogLine { time, level, message, ..LogLine::default() }, fields))
}

/// The start of the first word of the form `name=…`; the end if there is none.
fn first_field(text: &str) -> usize {
    let mut place = 0;
    for word in text.split(' ') {
        let name = word.split_once('=').map_or("", |(name, _)| name);
        let is_name =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.".contains(&byte);
        if !name.is_empty() && name.bytes().all(is_name) {
            return place;
        }
        place += word.len() + 1;
    }
    text.len()
}

/// A value and the text after it; one in quotes ends at a quote without a backslash before it.
fn value_of(text: &str) -> (&str, &str) {
    let Some(inside) = text.strip_prefix('"') else {
        return text.split_once(' ').unwrap_or((text, ""));
    };
    let mut escaped = false;
    for (place, c) in inside.char_indices() {
        match c {
            '"' if !escaped => return (&inside[..place], &inside[place + 1..]),
            _ => escaped = c == '\\' && !escaped,
        }
    }
    (inside, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_line_and_json_say_the_same() {
        let plain = LogLine::of(
            "2026-11-27T09:30:32.123+00:00 INFO mail in time queue_id=001K17TV2WKV0 \
            to=<a@b.example> status=sent reply=\"250 \\\"ok\\\" x=y\" size=5\n",
        );
        let json = LogLine::of(
            r#"{"time":"2026-11-27T09:30:32.123+00:00","level":"INFO","target":"mta",
            "message":"mail in time","queue_id":"001K17TV2WKV0","status":"sent","to":"<a@b.example>"}"#,
        );
        for line in [&plain, &json] {
            assert_eq!((line.level.as_str(), line.class()), ("INFO", ""));
            assert_eq!(
                (line.message.as_str(), line.id.as_str()),
                ("mail in time", "001K17TV2WKV0")
            );
            assert_eq!((line.about.as_str(), line.status.as_str()), ("a@b.example", "sent"));
        }
        assert!(plain.time.starts_with("2026-11-27T"));
        assert_eq!(
            plain.fields,
            "queue_id=001K17TV2WKV0\nto=<a@b.example>\nstatus=sent\nreply=250 \\\"ok\\\" x=y\nsize=5"
        );
    }

    #[test]
    fn a_line_in_another_form_is_shown_as_it_is() {
        let line = LogLine::of("something <b>\u{202e}else=here");
        assert_eq!(
            (line.message.as_str(), line.level.as_str()),
            ("something <b>\u{fffd}else=here", "")
        );
        assert_eq!(LogLine::of(""), LogLine::default());
        assert_eq!(LogLine::of("t WARN two").class(), "warn");
    }

    proptest::proptest! {
        #[test]
        fn any_line_is_read(rest in "[a-c= \"\\\\é]{0,40}") {
            let line = LogLine::of(&format!("t INFO {rest}"));
            proptest::prop_assert_eq!(line.level, "INFO");
        }
    }
}

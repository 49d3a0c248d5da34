//! The content of a log event: its message and its fields, as values.

use serde_json::Value;
use std::fmt::{self, Write as _};
use tracing::Event;
use tracing::field::{Field, Visit};

/// Characters of one value; the rest is cut off and marked.
pub const VALUE_MAX: usize = 1024;

/// Fields of one event, at most.
pub const FIELDS_MAX: usize = 32;

/// Fields of a delivery's event: memory for them is allocated at once, since there is one for every
/// mail.
const FIELDS_USUAL: usize = 16;

/// Octets of a value that is composed of pieces, as most are.
const VALUE_USUAL: usize = 48;

/// The content of an event. Texts may be untrusted.
#[derive(Debug, Default)]
pub struct EventFields {
    /// Its message.
    pub message: String,
    /// Its fields in their order.
    pub fields: Vec<(&'static str, Value)>,
    /// Caused by an untrusted client, which can do so in any number: the field `stranger`, which is
    /// not shown.
    pub stranger: bool,
}

impl EventFields {
    /// The content of `event`.
    pub(super) fn by(event: &Event<'_>) -> Self {
        let mut said = Self { fields: Vec::with_capacity(FIELDS_USUAL), ..Self::default() };
        event.record(&mut said);
        said
    }

    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            (name, value) if self.fields.len() < FIELDS_MAX => self.fields.push((name, value)),
            _ => {}
        }
    }
}

impl Visit for EventFields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = Bounded { text: String::with_capacity(VALUE_USUAL), characters: 0 };
        // A text that is full refuses the rest.
        let _ = write!(text, "{value:?}");
        self.put(field, Value::String(text.text));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let mut text = Bounded::default();
        let _ = text.write_str(value);
        self.put(field, Value::String(text.text));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        if field.name() == "stranger" {
            self.stranger = value;
            return;
        }
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }
}

/// A text of at most [`VALUE_MAX`] characters, with a mark if it was cut.
#[derive(Default)]
struct Bounded {
    text: String,
    characters: usize,
}

impl fmt::Write for Bounded {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        // Nearly every value fits: it is copied at once, not by characters.
        let characters = self.characters + piece.chars().count();
        if characters <= VALUE_MAX {
            self.text.push_str(piece);
            self.characters = characters;
            return Ok(());
        }
        for c in piece.chars() {
            if self.characters == VALUE_MAX {
                self.text.push('…');
                self.characters += 1;
            }
            if self.characters > VALUE_MAX {
                return Err(fmt::Error);
            }
            self.text.push(c);
            self.characters += 1;
        }
        Ok(())
    }
}

//! One alert before it is shown.

use crate::ground::display_text::counted;

/// Characters of a name or a cause.
pub(super) const SHOWN: usize = 120;

/// Something that is wrong.
pub(super) struct Alert {
    pub(super) grave: bool,
    /// Identifies the alert although its text changes.
    pub(super) key: String,
    pub(super) text: String,
    /// The text without names, if it differs.
    pub(super) nameless: Option<String>,
    /// When it began, if that is known.
    pub(super) began: Option<u32>,
}

impl Alert {
    pub(super) fn new(grave: bool, key: &str, text: String) -> Self {
        Self { grave, key: key.to_owned(), text, nameless: None, began: None }
    }

    pub(super) fn with_nameless(self, text: String) -> Self {
        Self { nameless: Some(text), ..self }
    }
}

/// `77 messages wait`, `1 message waits`.
pub(super) fn messages(number: u64) -> String {
    format!("{} {}", counted(number, "message"), if number == 1 { "waits" } else { "wait" })
}

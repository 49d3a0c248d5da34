//! Why a demo fails.

use crate::appliance::failure::Exit;

/// An exit code, and a text.
pub(super) struct DemoError {
    pub(super) exit: Exit,
    pub(super) words: String,
}

impl DemoError {
    pub(super) fn new(exit: Exit, words: impl Into<String>) -> Self {
        Self { exit, words: words.into() }
    }
}

//! A value that no log, page, transcript or `Debug` output shows.

use std::fmt;

/// A secret value: masked in every output.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// The text that replaces a secret.
pub const MASK: &str = "********";

impl Secret {
    /// Wraps the value.
    pub fn new(value: String) -> Self {
        Self(value)
    }

    /// The value itself, for its single comparison.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

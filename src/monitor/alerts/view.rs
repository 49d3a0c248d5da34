//! An alert for display.

use serde::{Deserialize, Serialize};

/// An alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertView {
    /// Whether mail is not accepted, or will not be soon.
    pub grave: bool,
    /// Its text.
    pub text: String,
    /// When it began if that is known, else when it was first seen, RFC 3339.
    pub since: String,
    /// Identifies the alert although its text changes.
    #[serde(skip)]
    pub key: String,
    /// The text for users who are not logged in, if the full one names a host, an address or a
    /// mail.
    #[serde(skip)]
    pub nameless: Option<String>,
}

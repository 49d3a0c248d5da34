//! An alert as it is shown.

use serde::{Deserialize, Serialize};

/// Something is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertView {
    /// Whether mail is not taken, or will not be soon.
    pub grave: bool,
    /// What it is.
    pub text: String,
    /// When it began as far as that is known, else when it was first seen, RFC 3339.
    pub since: String,
    /// What makes it the same alert although its words change.
    #[serde(skip)]
    pub key: String,
    /// The same for those whom nobody knows, where the words name a host, an address or a mail.
    #[serde(skip)]
    pub nameless: Option<String>,
}

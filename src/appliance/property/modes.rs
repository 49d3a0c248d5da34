//! The modes of a relay for staging: what `postern check`, the log and every page say about them,
//! so that nobody forgets that one is on.
//!
//! In: [`Settings`]. Out: a [`StagingMode`] for each mode that is on.

use super::settings::Settings;

/// A mode that is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StagingMode {
    /// What it does and how to end it, with addresses.
    pub words: String,
    /// The same without addresses, for visitors who may see numbers only.
    pub public: String,
}

impl Settings {
    /// The modes that are on.
    pub fn staging_modes(&self) -> Vec<StagingMode> {
        self.redirection().into_iter().collect()
    }

    fn redirection(&self) -> Option<StagingMode> {
        let to = self.redirect_all_to.as_ref()?;
        let words = |address: &str| {
            format!(
                "ALL MAIL IS REDIRECTED: whatever its recipients, it goes to {address} only; unset \
                MTA_REDIRECT_ALL_TO to send mail to its recipients"
            )
        };
        Some(StagingMode { words: words(to), public: words("one address") })
    }
}

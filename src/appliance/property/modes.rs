//! The modes of a relay for staging: what `postern check`, the log and every page say about them,
//! so that nobody forgets that one is on.
//!
//! In: [`Settings`]. Out: a [`StagingMode`] for each mode that is on.

use super::choice::OtherRecipients;
use super::settings::Settings;
use super::to_text::Written;

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
        [self.redirection(), self.captures(), self.allowed()].into_iter().flatten().collect()
    }

    fn captures(&self) -> Option<StagingMode> {
        let words = "EVERY MAIL IS HELD: capture=yes accepts it and sends it only when an operator \
        releases it (postern queue release ID, or the button of its page); unset MTA_CAPTURE to \
        send mail";
        let (words, public) = (words.to_owned(), words.to_owned());
        self.capture.then_some(StagingMode { words, public })
    }

    fn allowed(&self) -> Option<StagingMode> {
        if self.recipient_allow.is_empty() {
            return None;
        }
        let others = match self.recipient_others {
            OtherRecipients::Capture => "is accepted and held",
            OtherRecipients::Refuse => "is refused",
        };
        let words = |allowed: &str| {
            format!(
                "ONLY {allowed} GET MAIL: mail to others {others} (recipient_others), and held \
                where it was in the queue before or is a bounce; unset MTA_RECIPIENT_ALLOW to \
                send to all"
            )
        };
        let public = words("SOME RECIPIENTS");
        Some(StagingMode { words: words(&self.recipient_allow.join(", ")), public })
    }

    /// Who may send at `device_port`; `None` = nobody.
    pub fn devices(&self) -> Option<String> {
        if self.device_port == 0 {
            return None;
        }
        let rate = match self.device_rate {
            Some(rate) => format!("at most {rate} together"),
            None => "at any rate".to_owned(),
        };
        let (port, networks) = (self.device_port, self.device_networks.to_text());
        Some(format!("Devices in {networks} may send at port {port} without a login, {rate}."))
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

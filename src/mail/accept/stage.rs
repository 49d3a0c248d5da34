//! How far a session has come, and what was agreed on, in the words of SMTP.

use crate::ground::net::{Milestone, TlsParameters};
use crate::mail::model::Encryption;

/// How far a session has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpStage {
    /// It is connected.
    Connected,
    /// It has sent EHLO or HELO.
    Greeted,
    /// MAIL was accepted.
    Mail,
    /// A recipient was accepted: from here on it does not give way to others.
    Recipient,
}

impl From<SmtpStage> for Milestone {
    fn from(stage: SmtpStage) -> Self {
        match stage {
            SmtpStage::Connected => Self::Connected,
            SmtpStage::Greeted => Self::Identified,
            SmtpStage::Mail => Self::Begun,
            SmtpStage::Recipient => Self::Established,
        }
    }
}

impl From<TlsParameters> for Encryption {
    fn from(TlsParameters { version, cipher }: TlsParameters) -> Self {
        Self { version, cipher }
    }
}

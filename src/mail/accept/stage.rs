//! The stage of a session in SMTP's terms, and its TLS parameters as the mail model has them.

use crate::ground::net::{Milestone, TlsParameters};
use crate::mail::model::Encryption;

/// The stage of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpStage {
    /// It is connected.
    Connected,
    /// It has sent EHLO or HELO.
    Greeted,
    /// MAIL was accepted.
    Mail,
    /// A recipient was accepted: from here on the session is not disconnected to free its slot.
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

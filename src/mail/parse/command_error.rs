//! The errors in a command, and the replies to them.

use super::line::LineError;
use crate::mail::model::{AddressError, Refusal, Reply};

/// Why a line is not a valid command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandError {
    /// AUTH without the name of a mechanism, or with more than an initial response.
    Auth,
    /// BDAT without the size of its chunk. The session ends: the chunk would be read as commands.
    Chunk,
    /// An HTTP request: a third party makes a browser or a proxy talk to the relay. The session
    /// ends.
    Foreign,
    /// Not a valid line.
    Line(LineError),
    /// MAIL or RCPT with a parameter that was not announced.
    Parameter,
    /// The header of the PROXY protocol from a client that is not listed as a proxy: the connection
    /// is that of an unknown client.
    ProxyHeader,
    /// The forward-path is not a valid mailbox.
    Recipient(AddressError),
    /// The reverse-path is not a valid mailbox.
    Sender(AddressError),
    /// The verb is known, the rest is not valid; the text gives the correct form.
    Syntax(&'static str),
    /// Control characters, or octets that are not UTF-8.
    Text,
    /// An unknown verb.
    Unknown,
    /// A verb of SMTP that is not offered here.
    Unsupported,
    /// XCLIENT with attributes that are not valid; the text says which are.
    Xclient(&'static str),
}

impl CommandError {
    /// The reply to the client.
    pub fn reply(&self) -> Reply {
        match self {
            Self::Auth => Reply::new(501, (5, 5, 4), "Write AUTH and the name of a mechanism"),
            Self::Chunk => {
                Reply::new(501, (5, 5, 4), "Write BDAT and the number of octets, or that and LAST")
            }
            Self::Foreign => Reply::new(421, (4, 7, 0), "This is SMTP, not HTTP; closing"),
            Self::Line(LineError::BareCr) => Reply::new(
                500,
                (5, 5, 2),
                "A CR without LF is not allowed in SMTP; end lines with CR LF; closing",
            ),
            Self::Line(LineError::BareLf) => Reply::new(
                500,
                (5, 5, 2),
                "An LF without CR is not allowed in SMTP; end lines with CR LF; closing",
            ),
            Self::Line(LineError::TooLong) => Reply::new(500, (5, 5, 2), "Line too long"),
            Self::Line(LineError::Endless) => {
                Reply::new(500, (5, 5, 2), "Line without end; closing")
            }
            Self::Parameter => {
                Reply::new(555, (5, 5, 4), "Parameter not known; EHLO lists those that are")
            }
            Self::ProxyHeader => Reply::new(
                500,
                (5, 5, 2),
                "A PROXY header is read only from proxies that are listed in proxy_networks",
            ),
            Self::Recipient(error) => Reply::new(553, (5, 1, 3), error.to_string()),
            Self::Sender(error) => Reply::new(553, (5, 1, 7), error.to_string()),
            Self::Syntax(form) | Self::Xclient(form) => Reply::new(501, (5, 5, 4), *form),
            Self::Text => {
                Reply::new(500, (5, 5, 2), "Control characters or octets that are no UTF-8")
            }
            Self::Unknown => Reply::new(500, (5, 5, 2), "Command not known"),
            Self::Unsupported => Reply::new(502, (5, 5, 1), "Command not offered here"),
        }
    }

    /// The counter for it.
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::Line(LineError::BareCr | LineError::BareLf) => Refusal::BareLine,
            Self::Line(LineError::TooLong | LineError::Endless) => Refusal::Limit,
            _ => Refusal::Syntax,
        }
    }

    /// Whether the following input cannot be trusted, so that the session ends.
    pub fn is_fatal(&self) -> bool {
        matches!(
            self,
            Self::Chunk
                | Self::Foreign
                | Self::Line(LineError::BareCr | LineError::BareLf | LineError::Endless)
        )
    }
}

impl From<LineError> for CommandError {
    fn from(error: LineError) -> Self {
        Self::Line(error)
    }
}

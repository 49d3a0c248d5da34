//! All limits of sessions and time.

#[cfg(doc)]
use super::Conduct;
use crate::ground::net::ConnectionLimits;
use std::time::Duration;

/// For the next command (RFC 5321 §4.5.3.2.7: 5 min).
const COMMAND: Duration = Duration::from_secs(300);

/// All limits of SMTP sessions. The defaults are for production; tests shorten them.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Those that do not depend on the protocol.
    pub connection: ConnectionLimits,
    /// Delay of the reply to an error, for each recent error of the same untrusted client beyond
    /// [`Conduct::ERRORS_FREE`].
    pub tarpit_step: Duration,
    /// The longest of these delays.
    pub tarpit_max: Duration,
    /// Until the next octets of content arrive (§4.5.3.2.5: 3 min).
    pub content: Duration,
    /// A mail's content may take this long, and a second more for each [`Limits::content_rate`]
    /// octets that have arrived.
    pub content_grace: Duration,
    /// Octets a second that a client must send after the grace time.
    pub content_rate: u64,
    /// How long content with a bare CR or LF may pause before it is rejected: its sender thinks
    /// that the data has ended.
    pub flawed_content: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connection: ConnectionLimits::new(COMMAND),
            tarpit_step: Duration::from_millis(100),
            tarpit_max: Duration::from_secs(5),
            content: Duration::from_secs(180),
            content_grace: Duration::from_secs(600),
            content_rate: 512,
            flawed_content: Duration::from_secs(10),
        }
    }
}

impl From<ConnectionLimits> for Limits {
    /// The other limits are those for production. Take what stays unchanged in `connection` from
    /// [`Limits::default`]: its limit for commands is that of SMTP.
    fn from(connection: ConnectionLimits) -> Self {
        Self { connection, ..Self::default() }
    }
}

//! Every limit on sessions and on time.

#[cfg(doc)]
use super::Conduct;
use crate::ground::memory::Gauge;
use std::sync::Arc;
use std::time::Duration;

/// Octets that the inputs of all connections may have together beyond their size at rest, where
/// memory is ample: a crowd that pours content must not cost more memory than a few that do. Beyond
/// it inputs stay small, which costs system calls.
pub const WIDE_MAX: usize = 8 << 20;

/// The input buffer at rest where memory is ample, in octets.
const INPUT: usize = 8 * 1024;

/// Every limit on sessions and on time. The defaults are for production; tests shorten them.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Sessions at the same time, in all.
    pub sessions: usize,
    /// Whether these are fewer than an operator wants, because there is memory for no more.
    pub scarce: bool,
    /// Whether memory is short at the moment: then strangers get no place but that of another one,
    /// and where it is critical nobody does.
    pub memory: Arc<Gauge>,
    /// Of these, so many are kept for trusted clients.
    pub reserve: usize,
    /// Sessions at the same time from one address (IPv4) or one network of 64 bits (IPv6).
    pub sessions_per_address: usize,
    /// How long a stranger may make no progress before it gives way to any other stranger, where
    /// places are short.
    pub stranger_grace: Duration,
    /// Octets of a session's input buffer at rest.
    pub input: usize,
    /// Octets that all inputs may have together beyond their size at rest, at most [`WIDE_MAX`].
    pub wide: usize,
    /// For the next command of a stranger that has not begun a mail.
    pub stranger: Duration,
    /// The same, and a handshake of TLS, while strangers have more than half of their places.
    pub stranger_busy: Duration,
    /// What the answer to an error waits for each recent error of the same stranger beyond
    /// [`Conduct::ERRORS_FREE`].
    pub tarpit_step: Duration,
    /// The longest of these waits.
    pub tarpit_max: Duration,
    /// How long a session that gives way may take to hear so.
    pub farewell: Duration,
    /// For a whole TLS handshake of a stranger.
    pub handshake: Duration,
    /// The same for a client that may relay. As long as for a command: a busy client, or a relay
    /// with a twentieth of a processor, is no reason to lose its mail.
    pub handshake_trusted: Duration,
    /// From the end of one reply to the end of the next command line, however it dribbles in (RFC
    /// 5321 §4.5.3.2.7: 5 min).
    pub command: Duration,
    /// Until the next octets of content arrive (§4.5.3.2.5: 3 min).
    pub content: Duration,
    /// A mail's content may take this long, and a second more for each [`Limits::content_rate`]
    /// octets that have arrived.
    pub content_grace: Duration,
    /// Octets a second that a client must keep up after the grace.
    pub content_rate: u64,
    /// How long content with a bare CR or LF may pause before it is refused: its sender believes
    /// that the data has ended.
    pub flawed_content: Duration,
    /// Until the peer takes the octets of a reply.
    pub write: Duration,
    /// How long a closed session still reads, so that its last reply is not lost with the
    /// connection.
    pub linger: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sessions: 1000,
            scarce: false,
            memory: Gauge::shared(),
            input: INPUT,
            wide: WIDE_MAX,
            reserve: 0,
            sessions_per_address: 200,
            stranger_grace: Duration::from_secs(10),
            stranger: Duration::from_secs(60),
            stranger_busy: Duration::from_secs(10),
            tarpit_step: Duration::from_millis(100),
            tarpit_max: Duration::from_secs(5),
            farewell: Duration::from_secs(1),
            handshake: Duration::from_secs(30),
            handshake_trusted: Duration::from_secs(300),
            command: Duration::from_secs(300),
            content: Duration::from_secs(180),
            content_grace: Duration::from_secs(600),
            content_rate: 512,
            flawed_content: Duration::from_secs(10),
            write: Duration::from_secs(60),
            linger: Duration::from_secs(2),
        }
    }
}

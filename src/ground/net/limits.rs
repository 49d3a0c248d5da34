//! Limits on sessions, on memory for their octets, and on time.

use crate::ground::memory::Gauge;
use std::sync::Arc;
use std::time::Duration;

/// Octets that the inputs of all connections may have together beyond their size at rest, where
/// memory is ample: a crowd that pours content must not cost more memory than a few that do. Beyond
/// it inputs stay small, which costs system calls.
pub const WIDE_MAX: usize = 8 << 20;

/// The input buffer at rest where memory is ample, in octets.
const INPUT: usize = 8 * 1024;

/// The limits of all connections of one protocol. The defaults are for production; tests shorten
/// them.
#[derive(Debug, Clone)]
pub struct ConnectionLimits {
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
    /// For the next command of a stranger that has not begun what the protocol is for.
    pub stranger: Duration,
    /// The same, and a handshake of TLS, while strangers have more than half of their places.
    pub stranger_busy: Duration,
    /// How long a session that gives way may take to hear so.
    pub farewell: Duration,
    /// For a whole TLS handshake of a stranger.
    pub handshake: Duration,
    /// The same for a trusted client. As long as for a command: a busy client, or a machine with a
    /// twentieth of a processor, is no reason to lose what it brings.
    pub handshake_trusted: Duration,
    /// From the end of one reply to the end of the next command, however it dribbles in.
    pub command: Duration,
    /// Until the peer takes the octets of a reply.
    pub write: Duration,
    /// How long a closed session still reads, so that its last reply is not lost with the
    /// connection.
    pub linger: Duration,
}

impl Default for ConnectionLimits {
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
            farewell: Duration::from_secs(1),
            handshake: Duration::from_secs(30),
            handshake_trusted: Duration::from_secs(300),
            command: Duration::from_secs(300),
            write: Duration::from_secs(60),
            linger: Duration::from_secs(2),
        }
    }
}

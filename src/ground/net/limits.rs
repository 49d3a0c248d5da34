//! Limits on sessions, on memory for their octets, and on time.

use crate::ground::memory::Gauge;
use std::sync::Arc;
use std::time::Duration;

/// Octets by which the input buffers of all connections together may grow, where memory is ample:
/// many clients that send content must not take more memory than a few. Beyond it buffers stay
/// small, which costs system calls.
pub const WIDE_MAX: usize = 8 << 20;

/// The idle input buffer where memory is ample, in octets.
const INPUT: usize = 8 * 1024;

/// The limits of all connections of one protocol.
#[derive(Debug, Clone)]
pub struct ConnectionLimits {
    /// Sessions at the same time, in total.
    pub sessions: usize,
    /// Whether these are fewer than configured, because of too little memory.
    pub scarce: bool,
    /// The memory pressure: if memory is short, an untrusted client gets only the slot of another
    /// untrusted session; if it is critical, so does a trusted client.
    pub memory: Arc<Gauge>,
    /// Of these, reserved for trusted clients.
    pub reserve: usize,
    /// Sessions at the same time from one IPv4 address or one IPv6 /64 prefix.
    pub sessions_per_address: usize,
    /// How long an untrusted client may make no progress before it may be disconnected for any
    /// other untrusted one, where slots are short.
    pub stranger_grace: Duration,
    /// Octets of a session's idle input buffer.
    pub input: usize,
    /// Octets by which all input buffers together may grow, at most [`WIDE_MAX`].
    pub wide: usize,
    /// For the next command of an untrusted client that has not begun a transaction of the
    /// protocol.
    pub stranger: Duration,
    /// The same, and for a TLS handshake, while untrusted clients use more than half of their
    /// slots.
    pub stranger_busy: Duration,
    /// How long a session that is disconnected to free a slot may take to receive its last reply.
    pub farewell: Duration,
    /// For a whole TLS handshake of an untrusted client.
    pub handshake: Duration,
    /// The same for a trusted client. As long as for a command: a busy client, or a machine with a
    /// twentieth of a processor, must not be turned away for being slow.
    pub handshake_trusted: Duration,
    /// From the end of one reply to the end of the next command, even if its octets arrive slowly.
    pub command: Duration,
    /// Until the peer accepts the octets of a reply.
    pub write: Duration,
    /// How long a closed session is still read, so that its last reply is not lost with the
    /// connection.
    pub linger: Duration,
}

impl ConnectionLimits {
    /// Limits for production, with the protocol's time limit for the next command; tests shorten
    /// them.
    pub fn new(command: Duration) -> Self {
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
            handshake_trusted: command,
            command,
            write: Duration::from_secs(60),
            linger: Duration::from_secs(2),
        }
    }
}

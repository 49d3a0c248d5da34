//! A mail that comes from another queue, with everything that happened to it there.

use super::{Envelope, Kind, MessageId, Origin, Progress};
use bytes::Bytes;
use std::future::Future;
use std::io;
use std::pin::Pin;

/// What is known of a mail before its content comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportedMessage {
    /// Its id in the queue that it comes from, if that was one of ours; it gets a new one.
    pub was: Option<MessageId>,
    /// When it was accepted there, seconds since 1970.
    pub arrived: u32,
    /// From outside, or made there.
    pub kind: Kind,
    /// Who to whom.
    pub envelope: Envelope,
    /// By whose hands.
    pub origin: Origin,
    /// Where its targets stand: the recipients in their order, then the copy if there is one. At
    /// least one is pending.
    pub progress: Vec<Progress>,
    /// An operator holds it back.
    pub held: bool,
    /// The delay notice is out.
    pub delay_told: bool,
    /// Octets of its content.
    pub size: u64,
    /// CRC-32 of its content.
    pub crc: u32,
}

/// Content on its way into a queue, piece by piece.
pub trait ContentPieces: Send {
    /// The next piece; `None` at the end.
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Option<io::Result<Bytes>>> + Send + '_>>;
}

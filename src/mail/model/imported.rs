//! A mail that is imported from another queue, with its past there.

use super::{Envelope, MessageId, MessageKind, Origin, TargetProgress};
use bytes::Bytes;
use std::future::Future;
use std::io;
use std::pin::Pin;

/// The data of a mail that precede its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportedMessage {
    /// Its id in the other queue, if that was a Postern; it gets a new one.
    pub was: Option<MessageId>,
    /// When it was accepted there, seconds since 1970.
    pub arrived: u32,
    /// From a client, or generated there.
    pub kind: MessageKind,
    /// Sender and recipients.
    pub envelope: Envelope,
    /// Where it came from: client and HELO name.
    pub origin: Origin,
    /// The progress of its targets: the recipients in their order, then the copy if there is one.
    /// At least one is pending.
    pub progress: Vec<TargetProgress>,
    /// Held by an operator.
    pub held: bool,
    /// The delay warning was sent.
    pub delay_warning_sent: bool,
    /// Octets of its content.
    pub size: u64,
    /// CRC-32 of its content.
    pub crc: u32,
}

/// Content that is imported piece by piece.
pub trait ContentPieces: Send {
    /// The next piece; `None` at the end.
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Option<io::Result<Bytes>>> + Send + '_>>;
}

//! The input and output of one connection, all with limits.

use super::limits::ConnectionLimits;
use super::sessions::SessionSlot;
use super::stream::{Stream, TlsParameters};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};

/// Octets of [`ConnectionLimits::wide`] in use by the whole process.
static WIDE: AtomicUsize = AtomicUsize::new(0);

/// One connection's part of it, returned when it is dropped.
#[derive(Debug)]
struct Wide(usize);

/// A stream with its buffers. The input buffer is small during commands and grows, up to
/// [`Wire::INPUT_MAX`], for content.
#[derive(Debug)]
pub struct Wire {
    stream: Stream,
    input: Vec<u8>,
    start: usize,
    end: usize,
    wide: Wide,
    wide_max: usize,
    rest: usize,
    output: Vec<u8>,
    write: Duration,
    linger: Duration,
    farewell: Duration,
    slot: Option<Arc<SessionSlot>>,
}

/// Why nothing more can be read or written.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The peer closed.
    #[error("closed by the client")]
    Closed,
    /// The peer closed the connection below TLS without close_notify (RFC 8446 §6.1): somebody else
    /// may have cut off the end of its data. A protocol that marks the end of its data itself may
    /// treat this as [`WireError::Closed`].
    #[error("closed by the client without close_notify")]
    Truncated,
    /// The time limit was reached.
    #[error("timeout")]
    Timeout,
    /// The session must end to free its slot for another one.
    #[error("closed to make room for another client")]
    Displaced,
    /// The peer did not read the replies.
    #[error("the client does not read")]
    Unread,
    /// The connection broke.
    #[error(transparent)]
    Broken(#[from] io::Error),
}

impl Wire {
    /// Octets that are read before they are parsed, at most.
    pub const INPUT_MAX: usize = 32 * 1024;
    /// Replies are sent when so many octets of them wait, even while more commands are available.
    pub const OUTPUT_MAX: usize = 16 * 1024;
    /// Octets that are read and dropped after a close.
    const LINGER_MAX: usize = 1024 * 1024;

    /// A new connection.
    pub fn new(stream: Stream, limits: &ConnectionLimits, slot: Option<Arc<SessionSlot>>) -> Self {
        Self {
            stream,
            input: vec![0; limits.input],
            start: 0,
            end: 0,
            wide: Wide(0),
            wide_max: limits.wide,
            rest: limits.input,
            output: Vec::new(),
            write: limits.write,
            linger: limits.linger,
            farewell: limits.farewell,
            slot,
        }
    }

    /// The session's slot, if there are slots.
    pub fn slot(&self) -> Option<&Arc<SessionSlot>> {
        self.slot.as_ref()
    }

    /// The session has another slot from now on.
    pub fn set_slot(&mut self, slot: Arc<SessionSlot>) {
        self.slot = Some(slot);
    }

    /// The stream, for a handshake. Unread input is dropped.
    pub(super) fn into_stream(self) -> (Stream, Option<Arc<SessionSlot>>) {
        (self.stream, self.slot)
    }

    /// The port of ours that the client has connected to.
    pub fn local_port(&self) -> Option<u16> {
        self.stream.local_port()
    }

    /// The TLS parameters of the session.
    pub fn tls(&self) -> Option<TlsParameters> {
        self.stream.tls()
    }

    /// The input that was read and not consumed.
    pub fn input(&self) -> &[u8] {
        &self.input[self.start..self.end]
    }

    /// Drops the first `count` octets of the input.
    pub fn take(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
    }

    /// The output for the next [`Wire::flush`].
    pub fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// Reads once, and appends to the input. It can be cancelled in a `select!` without loss.
    ///
    /// # Errors
    /// [`WireError::Timeout`] at `until`, [`WireError::Closed`] or [`WireError::Truncated`] at the
    /// end of the stream, [`WireError::Displaced`] when the session must end to free its slot.
    pub async fn fill(&mut self, until: Instant) -> Result<(), WireError> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        if self.end == self.input.len() {
            if self.start > 0 {
                self.input.copy_within(self.start.., 0);
                (self.start, self.end) = (0, self.end - self.start);
            } else {
                // A caller that needs more than this must consume something first.
                let size = (2 * self.input.len()).min(Self::INPUT_MAX);
                if size == self.end {
                    return Err(WireError::Broken(io::ErrorKind::OutOfMemory.into()));
                }
                self.wide.take(size - self.end);
                self.input.resize(size, 0);
            }
        }
        let space = &mut self.input[self.end..];
        let read = tokio::select! {
            biased;
            // First: a client that sends without a pause would never be checked otherwise.
            () = displaced(self.slot.as_deref()) => return Err(WireError::Displaced),
            read = timeout_at(until, self.stream.read(space)) => read,
        };
        match read.map_err(|_| WireError::Timeout)? {
            Ok(0) => Err(WireError::Closed),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(WireError::Truncated),
            Err(error) => Err(error.into()),
            Ok(count) => {
                self.end += count;
                Ok(())
            }
        }
    }

    /// Lets the input buffer grow if the last read filled it, and there is memory for it.
    pub fn widen(&mut self) {
        let len = self.input.len();
        if self.end == len && len < Self::INPUT_MAX && self.wide.may_take(len, self.wide_max) {
            self.input.resize(2 * len, 0);
        }
    }

    /// Frees the memory of a widened buffer.
    pub fn narrow(&mut self) {
        if self.input.len() > self.rest && self.end - self.start <= self.rest {
            let mut input = vec![0; self.rest];
            let rest = self.end - self.start;
            input[..rest].copy_from_slice(&self.input[self.start..self.end]);
            (self.input, self.start, self.end) = (input, 0, rest);
            self.wide = Wide(0);
        }
    }

    /// Sends the pending output.
    ///
    /// # Errors
    /// [`WireError::Unread`] when the peer does not accept it in time.
    pub async fn flush(&mut self) -> Result<(), WireError> {
        if self.output.is_empty() {
            return Ok(());
        }
        let writing = async {
            self.stream.write_all(&self.output).await?;
            self.stream.flush().await
        };
        let written = tokio::select! {
            biased;
            () = displaced(self.slot.as_deref()) => None,
            written = timeout(self.write, writing) => Some(written),
        };
        self.output.clear();
        let Some(written) = written else { return Err(WireError::Displaced) };
        Ok(written.map_err(|_| WireError::Unread)??)
    }

    /// Sends the last reply, then reads on for a moment: a connection that is closed with unread
    /// input is reset, and the reset may overtake the reply with the reason.
    pub async fn close(mut self) {
        if self.slot.take().is_some_and(|slot| slot.is_displaced()) {
            // Its slot already belongs to another session.
            (self.write, self.linger) =
                (self.write.min(self.farewell), self.linger.min(self.farewell));
        }
        if self.flush().await.is_err() {
            return;
        }
        let until = Instant::now() + self.linger;
        let mut left = Self::LINGER_MAX;
        if !matches!(timeout_at(until, self.stream.shutdown()).await, Ok(Ok(()))) {
            return;
        }
        // Below TLS: it is not decrypted any more.
        while let Ok(Ok(count @ 1..)) =
            timeout_at(until, self.stream.tcp().read(&mut self.input)).await
        {
            match left.checked_sub(count) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    }
}

/// Waits until the session must end to free its slot.
pub(super) async fn displaced(slot: Option<&SessionSlot>) {
    match slot {
        Some(slot) => slot.displaced().await,
        None => std::future::pending().await,
    }
}

impl Wide {
    /// Takes memory that is required.
    fn take(&mut self, octets: usize) {
        WIDE.fetch_add(octets, Ordering::Relaxed);
        self.0 += octets;
    }

    /// Takes memory that is useful, if there is any left.
    fn may_take(&mut self, octets: usize, max: usize) -> bool {
        let fits = WIDE.load(Ordering::Relaxed) + octets <= max;
        if fits {
            self.take(octets);
        }
        fits
    }
}

impl Drop for Wide {
    fn drop(&mut self) {
        WIDE.fetch_sub(self.0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::super::limits::WIDE_MAX;
    use super::*;

    #[test]
    fn a_crowd_gets_no_more_than_there_is_and_gives_it_back() {
        let (mut crowd, mut one) = (Wide(0), Wide(0));
        crowd.take(WIDE_MAX);
        assert!(!one.may_take(1, WIDE_MAX));
        drop(crowd);
        assert!(one.may_take(1, WIDE_MAX));
    }
}

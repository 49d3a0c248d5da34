//! One connection: octets in, octets out, none of it without a limit.

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

/// One connection's part of it, given back at its drop.
#[derive(Debug)]
struct Wide(usize);

/// A stream with its buffers. The input buffer is small while a client talks and grows, up to
/// [`Wire::INPUT_MAX`], while it pours content.
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

/// Why there is no more to read, or nobody to write to.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The peer closed.
    #[error("closed by the client")]
    Closed,
    /// The time was up.
    #[error("timeout")]
    Timeout,
    /// The session has to give way to another one.
    #[error("closed to make room for another client")]
    Displaced,
    /// The peer did not take what we said.
    #[error("the client does not read")]
    Unread,
    /// The connection broke.
    #[error(transparent)]
    Broken(#[from] io::Error),
}

impl Wire {
    /// The most octets that are read before somebody looks at them.
    pub const INPUT_MAX: usize = 32 * 1024;
    /// Replies are sent when so many octets of them wait, even while more commands do.
    pub const OUTPUT_MAX: usize = 16 * 1024;
    /// How much is read and dropped after a close.
    const LINGER_MAX: usize = 1024 * 1024;

    /// A fresh connection.
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

    /// The session's place, where there are places to be had.
    pub fn slot(&self) -> Option<&Arc<SessionSlot>> {
        self.slot.as_ref()
    }

    /// The stream, for a handshake. What was read and not taken is dropped.
    pub(super) fn into_stream(self) -> (Stream, Option<Arc<SessionSlot>>) {
        (self.stream, self.slot)
    }

    /// What the session agreed on, inside TLS.
    pub fn tls(&self) -> Option<TlsParameters> {
        self.stream.tls()
    }

    /// What has been read and not been taken.
    pub fn input(&self) -> &[u8] {
        &self.input[self.start..self.end]
    }

    /// Drops the first `count` octets of the input.
    pub fn take(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
    }

    /// What is to be said with the next [`Wire::flush`].
    pub fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// Reads once, behind what is there. Losing the race in a `select!` loses nothing.
    ///
    /// # Errors
    /// [`WireError::Timeout`] at `until`, [`WireError::Closed`] at the end of the stream,
    /// [`WireError::Displaced`] when the session has to give way.
    pub async fn fill(&mut self, until: Instant) -> Result<(), WireError> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        if self.end == self.input.len() {
            if self.start > 0 {
                self.input.copy_within(self.start.., 0);
                (self.start, self.end) = (0, self.end - self.start);
            } else {
                // Whoever waits for more than this must take something first.
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
            // First: a client that sends without a pause would never be asked.
            () = displaced(self.slot.as_deref()) => return Err(WireError::Displaced),
            read = timeout_at(until, self.stream.read(space)) => read,
        };
        match read.map_err(|_| WireError::Timeout)? {
            Ok(0) => Err(WireError::Closed),
            // The same without the farewell that TLS wants. Mail cannot be cut short by it: its end
            // is a dot.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(WireError::Closed),
            Err(error) => Err(error.into()),
            Ok(count) => {
                self.end += count;
                Ok(())
            }
        }
    }

    /// Lets the input buffer grow when the last read filled it, and there is memory for it: the
    /// peer has more than fits.
    pub fn widen(&mut self) {
        let len = self.input.len();
        if self.end == len && len < Self::INPUT_MAX && self.wide.may_take(len, self.wide_max) {
            self.input.resize(2 * len, 0);
        }
    }

    /// Gives the memory of a widened buffer back.
    pub fn narrow(&mut self) {
        if self.input.len() > self.rest && self.end - self.start <= self.rest {
            let mut input = vec![0; self.rest];
            let rest = self.end - self.start;
            input[..rest].copy_from_slice(&self.input[self.start..self.end]);
            (self.input, self.start, self.end) = (input, 0, rest);
            self.wide = Wide(0);
        }
    }

    /// Sends what is to be said.
    ///
    /// # Errors
    /// [`WireError::Unread`] when the peer does not take it in time.
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

    /// Says the last words, then reads on for a moment: a connection that is closed with unread
    /// input is reset, and the reset may overtake the reply that told why.
    pub async fn close(mut self) {
        if self.slot.take().is_some_and(|slot| slot.is_displaced()) {
            // Somebody else has its place already.
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
        // Below TLS: nobody looks at it any more.
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

/// Waits until the session has to give way.
pub(super) async fn displaced(slot: Option<&SessionSlot>) {
    match slot {
        Some(slot) => slot.displaced().await,
        None => std::future::pending().await,
    }
}

impl Wide {
    /// Takes what must be had.
    fn take(&mut self, octets: usize) {
        WIDE.fetch_add(octets, Ordering::Relaxed);
        self.0 += octets;
    }

    /// Takes what would be good to have, if there is any left.
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

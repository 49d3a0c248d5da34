//! The input and output of one connection: commands out, replies in, each within its time limit.

use super::AttemptObserver;
use super::reply::{MalformedReply, ReplyParser};
use super::transcript::Transcript;
use crate::ground::credential::secret::MASK;
use crate::mail::model::{Outcome, Reply};
use bytes::{Buf, BytesMut};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;

/// How much buffer is reserved before each read.
const READ: usize = 4096;

/// A stream, plain or TLS.
pub(super) trait SmtpStream: AsyncRead + AsyncWrite + Unpin + Send + Sync {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + Sync> SmtpStream for T {}

/// Why the connection to the peer cannot be used further.
#[derive(Debug)]
pub(super) enum SmtpError {
    /// It closed the connection.
    Closed,
    /// It did not reply, or did not accept input, within this time.
    Slow(Duration),
    /// It sent something that is not a reply.
    Malformed(MalformedReply),
    /// A network error.
    Io(io::Error),
    /// It sent a reply without a command.
    Unasked,
}

impl SmtpError {
    /// Whether the connection was lost, as one that was idle for too long is.
    pub fn is_loss(&self) -> bool {
        matches!(self, Self::Closed | Self::Io(_))
    }

    /// The reply text for it: temporary, since the same peer may work later. `doing` says when it
    /// happened, as in "while waiting for the answer to DATA"; `unanswered` is the detail of the
    /// enhanced code for a peer that sent nothing.
    pub fn outcome(&self, relay: &str, doing: &str, unanswered: u16) -> Outcome {
        let (detail, text) = match self {
            Self::Closed => ((4, 4, 2), format!("{relay} closed the connection {doing}")),
            Self::Slow(time) => {
                ((4, 4, unanswered), format!("{relay} did not answer within {time:?} {doing}"))
            }
            Self::Malformed(malformed) => {
                ((4, 5, 0), format!("{relay} sent an invalid reply {doing}: {malformed}"))
            }
            Self::Unasked => ((4, 5, 0), format!("{relay} sent data out of turn {doing}")),
            Self::Io(error) => (
                (4, 4, 2),
                format!("lost the connection with {relay} {doing}: {}", error_text(error)),
            ),
        };
        Outcome::own(Reply::new(451, detail, text))
    }
}

impl From<io::Error> for SmtpError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof { Self::Closed } else { Self::Io(error) }
    }
}

/// A network error as text, without the number.
pub(super) fn error_text(error: &io::Error) -> String {
    let mut text = error.to_string();
    if let Some(number) = text.find(" (os error ") {
        text.truncate(number);
    }
    text
}

/// Shorter parts are replaced where they are a word of their own: within words they would hide what
/// the peer has to say, and tell nothing.
const WITHIN_WORDS_MIN: usize = 4;

/// Octets of the beginning of a part that are replaced at the end of a text, at least. Texts are
/// cut to a length, and access tokens are longer than that.
const CUT_MIN: usize = 16;

/// A text with some parts replaced.
fn masked(text: &str, parts: &[String]) -> String {
    let mut text = parts.iter().fold(text.to_owned(), |text, part| match part.len() {
        0 => text,
        WITHIN_WORDS_MIN.. => text.replace(part.as_str(), MASK),
        _ => without_word(&text, part),
    });
    if let Some(length) = parts.iter().filter_map(|part| cut_off(&text, part)).max() {
        text.truncate(text.len() - length);
        text.push_str(MASK);
    }
    text
}

/// How much of the beginning of a part the end of a text is.
fn cut_off(text: &str, part: &str) -> Option<usize> {
    let is_end = |length: &usize| part.get(..*length).is_some_and(|part| text.ends_with(part));
    (CUT_MIN..part.len()).rev().find(is_end)
}

/// A text with a word replaced.
fn without_word(text: &str, word: &str) -> String {
    let (mut out, mut done) = (String::with_capacity(text.len()), 0);
    for (start, found) in text.match_indices(word) {
        let end = start + found.len();
        let is_before = text[..start].chars().next_back().is_some_and(char::is_alphanumeric);
        let is_after = text[end..].chars().next().is_some_and(char::is_alphanumeric);
        if is_before || is_after {
            continue;
        }
        out.push_str(&text[done..start]);
        out.push_str(MASK);
        done = end;
    }
    out.push_str(&text[done..]);
    out
}

/// A stream, and the input that was read and not yet parsed.
pub(super) struct SmtpWire {
    stream: Box<dyn SmtpStream>,
    /// Never more than one unfinished line and one read.
    input: BytesMut,
    parser: ReplyParser,
    pub(super) transcript: Transcript,
    /// Texts that are replaced in what is shown of replies.
    masked: Vec<String>,
    witness: Option<Arc<dyn AttemptObserver>>,
}

impl SmtpWire {
    pub fn new(
        stream: impl SmtpStream + 'static,
        witness: Option<Arc<dyn AttemptObserver>>,
    ) -> Self {
        let (parser, transcript) = (ReplyParser::default(), Transcript::default());
        let (input, masked) = (BytesMut::new(), Vec::new());
        Self { stream: Box::new(stream), input, parser, transcript, masked, witness }
    }

    fn heard(&self) {
        if let Some(witness) = &self.witness {
            witness.heard();
        }
    }

    /// Waits for a whole reply and gives its code.
    pub async fn reply(&mut self, limit: Duration) -> Result<u16, SmtpError> {
        let code =
            timeout(limit, self.read_reply()).await.unwrap_or(Err(SmtpError::Slow(limit)))?;
        let mut lines = self.parser.lines().peekable();
        while let Some(line) = lines.next() {
            let last = lines.peek().is_none();
            if self.masked.is_empty() {
                self.transcript.received(code, last, line);
            } else {
                let line = masked(&String::from_utf8_lossy(line), &self.masked);
                self.transcript.received(code, last, line.as_bytes());
            }
        }
        self.heard();
        Ok(code)
    }

    /// Writes commands, and records them in the transcript.
    pub async fn say(&mut self, commands: &[u8], limit: Duration) -> Result<(), SmtpError> {
        for line in commands.split(|octet| *octet == b'\n').filter(|line| !line.is_empty()) {
            self.transcript.sent(line);
        }
        self.write(commands, limit).await
    }

    /// Writes a line of which the transcript has `shown`. What is `secret` of it is masked from now
    /// on, as by [`SmtpWire::mask`].
    pub async fn say_secret(
        &mut self,
        (line, secret): (&str, &str),
        shown: &str,
        limit: Duration,
    ) -> Result<(), SmtpError> {
        // Base 64 has four digits at least; fewer mean that there is nothing.
        let is_secret = secret.len() >= WITHIN_WORDS_MIN;
        if is_secret && !self.masked.iter().any(|known| known == secret) {
            // Before its own parts, which else would be replaced first and leave the rest of it.
            self.masked.insert(0, secret.to_owned());
        }
        self.transcript.sent(shown.as_bytes());
        self.write(format!("{line}\r\n").as_bytes(), limit).await
    }

    /// From now on these texts are masked in the transcript and in [`SmtpWire::last_reply`].
    pub fn mask(&mut self, texts: Vec<String>) {
        self.masked = texts;
    }

    /// A text with these masked.
    pub fn masked(&self, text: &str) -> String {
        masked(text, &self.masked)
    }

    async fn read_reply(&mut self) -> Result<u16, SmtpError> {
        loop {
            if !self.input.is_empty() {
                let fed = self.parser.feed(&self.input).map_err(SmtpError::Malformed)?;
                self.input.advance(fed.used);
                if let Some(code) = fed.code {
                    return Ok(code);
                }
            }
            self.input.reserve(READ);
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(SmtpError::Closed);
            }
        }
    }

    /// The last reply, for people.
    pub fn last_reply(&self) -> Reply {
        let reply = self.parser.reply();
        if self.masked.is_empty() {
            return reply;
        }
        Reply { text: masked(&reply.text, &self.masked).into(), ..reply }
    }

    /// The lines of the last reply.
    pub fn last_lines(&self) -> impl Iterator<Item = &[u8]> {
        self.parser.lines()
    }

    pub async fn write(&mut self, octets: &[u8], limit: Duration) -> Result<(), SmtpError> {
        let writing = async {
            self.stream.write_all(octets).await?;
            self.stream.flush().await
        };
        timeout(limit, writing)
            .await
            .map_err(|_| SmtpError::Slow(limit))?
            .map_err(SmtpError::from)?;
        if octets.len() >= super::PIECE {
            self.heard();
        }
        Ok(())
    }

    /// Whether an unexpected reply was read.
    pub fn has_leftover(&self) -> bool {
        !self.input.is_empty()
    }

    /// Whether the peer closed the connection or sent something without a command. TLS's own
    /// records do not count.
    pub fn is_stale(&mut self) -> bool {
        let mut octet = [0];
        let mut buffer = ReadBuf::new(&mut octet);
        let mut context = Context::from_waker(Waker::noop());
        self.has_leftover()
            || !matches!(
                Pin::new(&mut self.stream).poll_read(&mut context, &mut buffer),
                Poll::Pending
            )
    }

    /// The stream alone, for a TLS handshake on it, and a wire without one, which has the
    /// transcript and the masks.
    pub fn take_stream(&mut self) -> Box<dyn SmtpStream> {
        let gone = Box::new(tokio::io::join(tokio::io::empty(), tokio::io::sink()));
        std::mem::replace(&mut self.stream, gone)
    }

    /// The stream after the handshake. What came before it counts no more (RFC 3207 §4.2).
    pub fn put_stream(&mut self, stream: impl SmtpStream + 'static) {
        self.stream = Box::new(stream);
        self.input.clear();
        self.parser = ReplyParser::default();
    }

    /// Drops the stream; from now on the connection counts as closed by the peer.
    pub fn drop_stream(&mut self) {
        self.stream = Box::new(tokio::io::join(tokio::io::empty(), tokio::io::sink()));
        self.input.clear();
    }

    /// Closes the stream properly; errors do not matter any more.
    pub async fn close(&mut self, limit: Duration) {
        let _ = timeout(limit, self.stream.shutdown()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_of_any_length_is_masked_and_words_stay() {
        let masked = |text: &str, secret: &str| masked(text, &[secret.to_owned()]);
        let hidden = |text: &str| text.replace('*', MASK);
        assert_eq!(masked("no, abcd is not abcde", "abcd"), hidden("no, * is not *e"));
        assert_eq!(masked("535 a: bad login 'a' (a)", "a"), hidden("535 *: bad login '*' (*)"));
        assert_eq!(masked("abc abcd xabc abc", "abc"), hidden("* abcd xabc *"));
        assert_eq!(masked("nothing", ""), "nothing");
        let long = "0123456789abcdefghij";
        assert_eq!(masked("not 0123456789abcdefg", long), hidden("not *"));
        assert_eq!(masked("not 0123456789", long), "not 0123456789");
    }
}

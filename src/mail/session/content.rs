//! The content of a mail in a session: after DATA, or in the chunks of BDAT.
//!
//! In: octets of the wire. Out: the mail in the queue, and the reply. Limits: [`SURPLUS_MAX`] on
//! octets of rejected content, [`content_deadline`] on their time. Security: content is read to its
//! end, also after an error; a client that sends more than that is disconnected. Source: RFC 5321
//! §4.5.2; RFC 3030 §2 (octets of a refused chunk are read and thrown away).

use super::{SURPLUS_MAX, Session, SessionAbort};
use crate::ground::net::WireError;
use crate::mail::accept::Limits;
use crate::mail::authentication::LoginState;
use crate::mail::events::CommandSummary;
use crate::mail::incoming_message::{IncomingMessage, MailSource};
use crate::mail::model::{BodyType, Envelope, Origin, Refusal, Reply};
use crate::mail::parse::{ChunkHeader, ContentError, ContentParser, NextStep};
use crate::mail::spool::Spool;
use tokio::time::{Duration, Instant};

impl<'a, S: Spool> Session<'a, S> {
    /// Reads the content of a mail to its end, and replies with the result.
    pub(super) async fn content(&mut self, envelope: Envelope) -> Result<NextStep, SessionAbort> {
        self.wire.flush().await?;
        let intake = self.intake;
        let content = ContentParser::new(intake.rules.size_limit);
        let mut message = self.incoming(&envelope, content);
        let mut out_of_time = false;
        'reading: loop {
            while !self.wire.input().is_empty() {
                let (taken, end) = message.take(self.wire.input()).await;
                self.wire.take(taken);
                if end {
                    break 'reading;
                }
            }
            if message.content.size() > intake.rules.size_limit.saturating_add(SURPLUS_MAX) {
                out_of_time = true;
                break;
            }
            self.wire.widen();
            let until = content_deadline(&message.content, &intake.limits, message.start);
            match self.read(until, true).await {
                // A client that ends lines with bare LF thinks that its data have ended. It gets
                // the error reply, and the session ends: its next octets could not be understood.
                Err(SessionAbort::Wire(WireError::Timeout))
                    if message.content.error().is_some() =>
                {
                    out_of_time = true;
                    break;
                }
                read => read?,
            }
        }
        self.wire.narrow();
        let asked = CommandSummary::at_the_end(&envelope);
        let result = match message.finish().await {
            (Ok(writer), content) => self.commit(envelope, writer, &content).await,
            (Err(refused), _) => Err(refused),
        };
        let result = self.dialogue.end(result, self.wire.output());
        self.note(&result, &asked);
        Ok(if out_of_time { NextStep::Close } else { result.next })
    }

    /// Reads a chunk to its end, and replies with the result; the last one ends the mail.
    pub(super) async fn chunk(
        &mut self,
        chunk: ChunkHeader,
        accepted: Result<(), (Reply, Refusal)>,
    ) -> Result<NextStep, SessionAbort> {
        let envelope = self.dialogue.mail().filter(|_| accepted.is_ok());
        let asked = envelope.map(CommandSummary::at_the_end);
        let asked = asked.unwrap_or(CommandSummary { command: "BDAT", from: None, to: None });
        let mut message = match (self.chunked.take(), envelope) {
            (Some(message), _) => Some(message),
            (None, Some(envelope)) => {
                let content = ContentParser::chunked(self.intake.rules.size_limit);
                Some(Box::new(self.incoming(envelope, content)))
            }
            (None, None) => None,
        };
        if let Some(message) = &mut message {
            message.content.announce(chunk.size);
        }
        let before = message.as_ref().map_or(0, |message| message.content.size());
        if before.saturating_add(chunk.size) > self.surplus() {
            // Nobody reads so much to throw it away.
            let (reply, reason) = (ContentError::Size.reply(), ContentError::Size.refusal());
            let result = self.dialogue.end(Err((reply, reason)), self.wire.output());
            self.note(&result, &asked);
            return Ok(NextStep::Close);
        }
        self.read_chunk(chunk.size, message.as_deref_mut()).await?;
        let (result, repeated) = match message {
            None => (accepted.map(|()| received(chunk.size)), false),
            Some(message) if chunk.last => self.end_chunks(*message).await,
            Some(mut message) => {
                let refused = message.refusal();
                let repeated = refused.is_some() && std::mem::replace(&mut message.told, true);
                self.chunked = Some(message);
                (refused.map_or(Ok(received(chunk.size)), Err), repeated)
            }
        };
        let result = self.dialogue.end_chunk(chunk, result, repeated, self.wire.output());
        self.note(&result, &asked);
        Ok(result.next)
    }

    /// Reads the octets of a chunk, for a mail or for nobody.
    async fn read_chunk(
        &mut self,
        mut left: u64,
        mut message: Option<&mut IncomingMessage<'a, S>>,
    ) -> Result<(), SessionAbort> {
        let start = Instant::now();
        let mut taken = 0;
        while left > 0 {
            if self.wire.input().is_empty() {
                self.wire.flush().await?;
                self.wire.widen();
                let until = chunk_deadline(taken, &self.intake.limits, start);
                self.read(until, true).await?;
            }
            let input = self.wire.input();
            let here = input.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            if let Some(message) = &mut message {
                message.take_chunk(&input[..here]).await;
            }
            self.wire.take(here);
            left -= here as u64;
            taken += here as u64;
        }
        self.wire.narrow();
        Ok(())
    }

    /// The mail after its last chunk, and whether its error was told before.
    async fn end_chunks(
        &mut self,
        mut message: IncomingMessage<'a, S>,
    ) -> (Result<Reply, (Reply, Refusal)>, bool) {
        message.end_chunks().await;
        let told = message.told;
        let envelope = self.dialogue.take_mail();
        let result = match (message.finish().await, envelope) {
            ((Ok(writer), content), Ok(envelope)) => self.commit(envelope, writer, &content).await,
            ((Err(refused), _), _) | (_, Err(refused)) => Err(refused),
        };
        (result, told)
    }

    /// Octets of content that are read, at most, good or not.
    fn surplus(&self) -> u64 {
        self.intake.rules.size_limit.saturating_add(SURPLUS_MAX)
    }

    fn incoming(&self, envelope: &Envelope, content: ContentParser) -> IncomingMessage<'a, S> {
        let source = MailSource {
            hello: self.dialogue.hello(),
            address: self.peer.address,
            encryption: self.encryption(),
            may_relay: self.may_relay(),
            login: self.login.clone(),
        };
        IncomingMessage::new(self.intake, envelope, &source, content)
    }

    /// Makes the mail durable.
    async fn commit(
        &mut self,
        mut envelope: Envelope,
        writer: S::Writer,
        content: &ContentParser,
    ) -> Result<Reply, (Reply, Refusal)> {
        let intake = self.intake;
        // The content decides, not the BODY parameter of MAIL: plain text must not fail at a next
        // hop without 8BITMIME.
        envelope.body =
            if content.eight_bit() { BodyType::EightBitMime } else { BodyType::SevenBit };
        let origin = Origin {
            peer: Some(self.peer.address),
            helo: self.dialogue.hello().0.into(),
            may_relay: self.may_relay(),
        };
        let entry = intake.entry(envelope, origin);
        let (size, port) = (content.size(), self.peer.port);
        let login = self.login.as_ref().map(LoginState::event);
        let encryption = self.encryption();
        let id = intake.queue(entry, writer, size, Some(port), encryption, login).await?;
        self.registered.sent(size);
        Ok(Reply::new(250, (2, 0, 0), format!("Ok: queued as {id}")))
    }
}

/// The reply to a chunk that is not the last one (RFC 3030 §4.2).
fn received(octets: u64) -> Reply {
    Reply::new(250, (2, 0, 0), format!("Ok: {octets} octets received"))
}

/// Until when the next octets of content must arrive.
fn content_deadline(content: &ContentParser, limits: &Limits, start: Instant) -> Instant {
    let earned = Duration::from_secs(content.size() / limits.content_rate.max(1));
    let pause = match content.error() {
        Some(ContentError::BareCr | ContentError::BareLf) => {
            limits.flawed_content.min(limits.content)
        }
        _ => limits.content,
    };
    (Instant::now() + pause).min(start + limits.content_grace + earned)
}

/// Until when the next octets of a chunk must arrive, of which so many have.
fn chunk_deadline(taken: u64, limits: &Limits, start: Instant) -> Instant {
    let earned = Duration::from_secs(taken / limits.content_rate.max(1));
    (Instant::now() + limits.content).min(start + limits.content_grace + earned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_content_earns_its_time_by_its_octets() {
        let limits = Limits {
            content: Duration::from_secs(180),
            content_grace: Duration::from_secs(10),
            content_rate: 100,
            ..Limits::default()
        };
        let start = Instant::now();
        let mut content = ContentParser::new(1_000_000);
        assert_eq!(content_deadline(&content, &limits, start), start + Duration::from_secs(10));
        content.next(&b"0123456789abcdefgh\r\n".repeat(100));
        assert_eq!(content_deadline(&content, &limits, start), start + Duration::from_secs(30));
        content.next(b"bare\n");
        assert!(
            content_deadline(&content, &limits, start) <= Instant::now() + limits.flawed_content
        );
    }
}

//! Submission of a mail by HTTP, by the rules of an SMTP session.
//!
//! In: an envelope and a content in the form of a file. Out: a message in the queue, or the reply
//! that a session would have got. The content goes through the parser of DATA
//! (`parse::ContentParser`), encoded as a client would send it: dot-stuffed, with CR LF. So the
//! same content is rejected here as there. Source: RFC 5321 §4.5.2 (stuffing), §4.5.3 (limits).

use super::author_fields::AuthorFields;
use super::intake::{Intake, PendingContent, log_unread_sender, store};
use super::model::{
    Address, AddressError, BodyType, ContentPieces, Envelope, MailEvent, MessageId, Origin,
    Protocol, Refusal, Rejection, Reply, Resubmission, SessionClient, Submission, Submitted,
    SubmittedEnvelope, Verdict,
};
use super::parse::{ContentParser, lenient_mailbox};
use super::received::{ReceivedFrom, header_field};
use super::rewrite::HeaderSection;
use super::spool::{IncomingContent, Spool};
use crate::ground::clock;
use std::net::{IpAddr, Ipv4Addr};

impl<S: Spool> Submission for Intake<S> {
    fn mailbox(&self, text: &str) -> Result<Address, AddressError> {
        lenient_mailbox(text, &self.rewriting.origin_domain)
    }

    fn submit(
        &self,
        submitted: SubmittedEnvelope,
        content: Box<dyn ContentPieces>,
    ) -> Submitted<'_> {
        Box::pin(async move {
            let taken = self.take(&submitted, content).await;
            if let Err((reply, reason)) = &taken {
                self.note_refusal(&submitted, reply, *reason);
            }
            taken
        })
    }

    fn resubmit(&self, again: Resubmission) -> Submitted<'_> {
        Box::pin(self.send_again(again))
    }
}

impl<S: Spool> Intake<S> {
    async fn take(
        &self,
        submitted: &SubmittedEnvelope,
        content: Box<dyn ContentPieces>,
    ) -> Result<MessageId, (Reply, Refusal)> {
        self.ready(|| false)?;
        if submitted.recipients.len() > self.rules.recipients_limit {
            let words = format!("More than {} recipients", self.rules.recipients_limit);
            return Err((Reply::new(452, (4, 5, 3), words), Refusal::Limit));
        }
        if let Some(sender) = &submitted.sender {
            self.may_send_as(sender)?;
        }
        if let Some(sender) = &submitted.sender {
            self.may_send_as(sender)?;
        }
        let address = address(submitted);
        for recipient in &submitted.recipients {
            let verdict = self.may_send(submitted.authenticated, address, recipient);
            if let Verdict::Refuse(reply, reason) = verdict {
                return Err((reply, reason));
            }
        }
        let name = literal(address);
        let smtputf8 = !submitted.sender.iter().chain(&submitted.recipients).all(Address::is_ascii);
        let mut envelope = Envelope {
            sender: submitted.sender.clone(),
            recipients: submitted.recipients.clone(),
            body: BodyType::SevenBit,
            smtputf8,
            dsn: None,
        };
        let writer = self.spool.begin();
        let (id, date) = (writer.id(), clock::rfc5322(clock::now()));
        let client = ReceivedFrom::without_tls(&name, Protocol::Http, address);
        let trace = header_field(&envelope, &client, &self.rules.hostname, id, &date);
        let mut pending = Ok(writer);
        store(&mut pending, trace.as_bytes()).await;
        let mut section = self.header_section(&envelope, id, &date);
        let mut from = (!self.allowed_senders.is_empty()).then(AuthorFields::default);
        let limits = (self.rules.size_limit, from.as_mut());
        let judge = store_checked(&mut pending, &mut section, content, limits).await;
        log_unread_sender(&section, &pending);
        for (_, author) in from
            .map_or(Ok(Vec::new()), |from| from.authors())
            .map_err(|words| (Reply::new(550, (5, 7, 1), words), Refusal::Sender))?
        {
            self.may_send_as(&author)?;
        }
        let writer = pending?;
        if judge.eight_bit() {
            envelope.body = BodyType::EightBitMime;
        }
        let origin = Origin { peer: submitted.client, helo: name.into(), may_relay: true };
        let entry = self.entry(envelope, origin);
        self.queue(entry, writer, judge.size(), None, None, None).await
    }

    fn note_refusal(&self, submitted: &SubmittedEnvelope, reply: &Reply, reason: Refusal) {
        let address = address(submitted);
        self.counters.refused_total.with_label_values(&[reason.as_str()]).inc();
        self.events.emit(MailEvent::Rejected(Rejection {
            client: SessionClient { address, port: None, stranger: false },
            helo: &literal(address),
            protocol: Protocol::Http,
            command: COMMAND,
            from: submitted.sender.as_ref(),
            to: submitted.recipients.first(),
            reason,
            reply,
            in_sum: false,
        }));
    }
}

/// The command name for rejected mails in logs and metrics.
const COMMAND: &str = "POST";

/// Writes the content to the queue as long as there is no error in it.
async fn store_checked<W: IncomingContent>(
    pending: &mut PendingContent<W>,
    section: &mut HeaderSection<'_>,
    mut content: Box<dyn ContentPieces>,
    (size_limit, mut from): (u64, Option<&mut AuthorFields>),
) -> ContentParser {
    let mut ahead = Vec::new();
    let mut judge = ContentParser::new(size_limit);
    let (mut stuffer, mut octets, mut ended) = (DotStuffer::default(), Vec::new(), false);
    while !ended && pending.is_ok() {
        octets.clear();
        match content.next().await {
            Some(Ok(piece)) => stuffer.encode(&piece, &mut octets),
            Some(Err(error)) => {
                let words = format!("The content was cut off: {error}");
                *pending = Err((Reply::new(451, (4, 4, 2), words), Refusal::Limit));
            }
            None => {
                ended = true;
                stuffer.finish(&mut octets);
            }
        }
        let mut rest = &octets[..];
        while !rest.is_empty() && pending.is_ok() {
            let step = judge.next(rest);
            rest = &rest[step.taken..];
            match judge.error() {
                Some(error) => *pending = Err((error.reply(), error.refusal())),
                None => {
                    if let Some(from) = &mut from {
                        from.take(step.piece);
                    }
                    let rest = section.take(step.piece, &mut ahead);
                    store(pending, &ahead).await;
                    ahead.clear();
                    store(pending, rest).await;
                }
            }
        }
    }
    section.finish(&mut ahead);
    store(pending, &ahead).await;
    if ended && judge.size() == 0 && pending.is_ok() {
        *pending = Err((Reply::new(554, (5, 6, 0), "The mail is empty"), Refusal::Syntax));
    }
    judge
}

/// Encodes a file as a client would send it: CR LF where there was only LF, a second dot where a
/// line begins with one, and the end of data (RFC 5321 §4.5.2).
struct DotStuffer {
    line_start: bool,
    after_cr: bool,
}

impl Default for DotStuffer {
    fn default() -> Self {
        Self { line_start: true, after_cr: false }
    }
}

impl DotStuffer {
    fn encode(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        out.reserve(piece.len() + piece.len() / 16);
        for octet in piece {
            match octet {
                b'\n' if !self.after_cr => out.push(b'\r'),
                b'.' if self.line_start => out.push(b'.'),
                _ => {}
            }
            out.push(*octet);
            self.line_start = *octet == b'\n';
            self.after_cr = *octet == b'\r';
        }
    }

    fn finish(&self, out: &mut Vec<u8>) {
        if !self.line_start {
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b".\r\n");
    }
}

/// A client of the control socket is on this machine.
fn address(submitted: &SubmittedEnvelope) -> IpAddr {
    submitted.client.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)).to_canonical()
}

/// The address as a literal in SMTP (RFC 5321 §4.1.3).
fn literal(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => format!("[{address}]"),
        IpAddr::V6(address) => format!("[IPv6:{address}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A content after it was encoded and decoded again, whatever its pieces.
    fn through(content: &[u8]) -> Result<Vec<u8>, String> {
        let mut results = (1..5).map(|piece| {
            let (mut stuffer, mut octets) = (DotStuffer::default(), Vec::new());
            content.chunks(piece).for_each(|piece| stuffer.encode(piece, &mut octets));
            stuffer.finish(&mut octets);
            let (mut judge, mut rest, mut kept) =
                (ContentParser::new(1000), &octets[..], Vec::new());
            let mut end = false;
            while !rest.is_empty() {
                let step = judge.next(rest);
                kept.extend_from_slice(step.piece);
                end = step.end;
                rest = &rest[step.taken..];
            }
            assert!(end, "{content:?}");
            judge.error().map_or(Ok(kept), |error| Err(error.reply().to_string()))
        });
        let first = results.next().unwrap();
        assert!(results.all(|other| other == first), "{content:?} depends on its pieces");
        first
    }

    #[test]
    fn a_content_arrives_as_it_was_with_the_line_ends_of_mail() {
        for (content, wanted) in [
            (&b"a: b\r\n\r\nc\r\n"[..], &b"a: b\r\n\r\nc\r\n"[..]),
            (b"a: b\n\nc\n", b"a: b\r\n\r\nc\r\n"),
            (b"a: b\n\nc", b"a: b\r\n\r\nc\r\n"),
            (b".\n..\n.a\n", b".\r\n..\r\n.a\r\n"),
            (b"a\r\n.\r\nMAIL FROM:<x@y>\r\n", b"a\r\n.\r\nMAIL FROM:<x@y>\r\n"),
            (b"\n.\n", b"\r\n.\r\n"),
        ] {
            assert_eq!(through(content).as_deref(), Ok(wanted), "{content:?}");
        }
    }

    #[test]
    fn what_could_smuggle_is_refused() {
        for content in [&b"a\rb\n"[..], b"a\r.\r\n", b"a\r\r\n", b"a\0\n", b"a\r"] {
            assert!(through(content).is_err(), "{content:?}");
        }
    }
}

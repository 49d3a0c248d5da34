//! Writes the report.

use super::encode::{ascii_line, final_recipient, is_plain, line, quoted_printable};
use crate::ground::clock;
use crate::mail::model::{
    Address, Body, BodyType, DsnNotify, Enhanced, Message, Outcome, ReplyClass, ReturnedContent,
    xtext_decoded,
};
use bytes::Bytes;
use memchr::memmem;

/// Octets of the original's header section that are returned, at most.
pub const HEADERS_MAX: usize = 64 * 1024;

/// Octets of an original that is returned whole, at most; of a larger one the header section is
/// (Postfix' `bounce_size_limit`). Only so much of it is ever in memory.
pub const CONTENT_MAX: u64 = 50_000;

/// Octets of a server's reply that are quoted, at most.
pub const DIAGNOSTIC_MAX: usize = 500;

/// Octets of a line of mail without its end, at most (RFC 5322 §2.1.1).
const LINE_MAX: usize = 998;

/// The kind of a report.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ReportKind {
    Failed,
    /// It was passed on to a host that does not report success.
    Relayed,
    /// What failed is itself a bounce; the operator is notified.
    Undeliverable,
    Delayed {
        give_up_at: u32,
    },
}

impl ReportKind {
    /// The event of NOTIFY that it reports; `None`: it goes to the operator, who is not asked.
    pub(super) fn event(self) -> Option<DsnNotify> {
        match self {
            Self::Failed => Some(DsnNotify::FAILURE),
            Self::Relayed => Some(DsnNotify::SUCCESS),
            Self::Delayed { .. } => Some(DsnNotify::DELAY),
            Self::Undeliverable => None,
        }
    }
}

/// One recipient and its outcome.
pub(super) struct ReportedRecipient<'a> {
    pub recipient: &'a Address,
    /// Its place in the envelope.
    pub place: usize,
    pub outcome: &'a Outcome,
}

/// The contents of a report.
pub(super) struct StatusNotification<'a> {
    pub message: &'a Message,
    pub sender: &'a Address,
    pub entries: Vec<ReportedRecipient<'a>>,
    pub relay: &'a str,
    pub fate: ReportKind,
    pub hostname: &'a str,
    pub now: u32,
}

/// What is returned of the original.
struct ReturnedPart {
    content_type: &'static str,
    description: &'static str,
    encoding: Encoding,
    content: Bytes,
}

/// How a part is on the wire.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Encoding {
    /// As it is if it can be, else quoted-printable.
    Ascii,
    /// As it is, with octets above 127.
    EightBit,
    QuotedPrintable,
}

impl StatusNotification<'_> {
    /// The whole notification, and whether it has octets above 127. `token` makes its boundary and
    /// its Message-ID.
    pub fn body(&self, token: &str) -> (Body, BodyType) {
        let boundary = format!("report-{token}");
        let (subject, action) = match self.fate {
            ReportKind::Failed => ("Your mail could not be delivered", "failed"),
            ReportKind::Relayed => ("Your mail was passed on", "relayed"),
            ReportKind::Undeliverable => ("A bounce could not be delivered", "failed"),
            ReportKind::Delayed { .. } => {
                ("Your mail is delayed, no need to send it again", "delayed")
            }
        };
        let mut out = format!(
            "From: Mail Delivery System <MAILER-DAEMON@{host}>\r\n\
             To: <{to}>\r\n\
             Subject: {subject}\r\n\
             Date: {date}\r\n\
             Message-ID: <{token}@{host}>\r\n\
             Auto-Submitted: auto-replied\r\n\
             MIME-Version: 1.0\r\n\
             Content-Type: multipart/report; \
             report-type=delivery-status;\r\n\tboundary=\"{boundary}\"\r\n\
             \r\n\
             This is a delivery report in several parts (RFC 3464).\r\n",
            host = self.hostname,
            to = self.sender,
            date = clock::rfc5322(self.now),
        )
        .into_bytes();
        part(
            &mut out,
            &boundary,
            "text/plain; charset=utf-8",
            "Notification",
            Encoding::Ascii,
            self.words().as_bytes(),
        );
        part(
            &mut out,
            &boundary,
            "message/delivery-status",
            "Delivery report",
            Encoding::Ascii,
            self.status(action).as_bytes(),
        );
        let ReturnedPart { content_type, description, encoding, content } = self.returned();
        part(&mut out, &boundary, content_type, description, encoding, &content);
        // The line end before a boundary belongs to it (RFC 2046 §5.1.1): a whole mail keeps its
        // own.
        if content_type.starts_with("message/") {
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
        let body = match encoding {
            Encoding::EightBit => BodyType::EightBitMime,
            Encoding::Ascii | Encoding::QuotedPrintable => BodyType::SevenBit,
        };
        (Body::Memory(out.into()), body)
    }

    /// All of the original where its sender has asked for that (RFC 3461 §4.3: of mail that
    /// failed), and it is small enough; else its header section.
    fn returned(&self) -> ReturnedPart {
        let ret = self.message.envelope.dsn.as_ref().and_then(|dsn| dsn.ret);
        let is_full = ret == Some(ReturnedContent::Full) && self.fate == ReportKind::Failed;
        is_full.then(|| self.whole()).flatten().unwrap_or_else(|| ReturnedPart {
            content_type: "text/rfc822-headers; charset=utf-8",
            description: match self.fate {
                ReportKind::Relayed => "Headers of the mail",
                _ => "Headers of the undelivered mail",
            },
            encoding: Encoding::Ascii,
            content: self.headers().into(),
        })
    }

    /// The whole original; `None`: it is too large, cannot be read, or has lines that no mail may
    /// have.
    fn whole(&self) -> Option<ReturnedPart> {
        let body = &self.message.body;
        if body.len() > CONTENT_MAX {
            return None;
        }
        let content = body.head(usize::try_from(CONTENT_MAX).ok()?).ok()?;
        if content.len() as u64 != body.len() || !has_lines_of_mail(&content) {
            return None;
        }
        let end = memmem::find(&content, b"\r\n\r\n").unwrap_or(content.len());
        // RFC 2046 §5.2.1: message/rfc822 may not be encoded, and its header section is ASCII; RFC
        // 6532 §3.7: message/global may be encoded.
        let (content_type, encoding) = match () {
            () if !content[..end].is_ascii() => ("message/global", Encoding::QuotedPrintable),
            () if content.is_ascii() => ("message/rfc822", Encoding::Ascii),
            () => ("message/rfc822", Encoding::EightBit),
        };
        Some(ReturnedPart { content_type, description: "Undelivered mail", encoding, content })
    }

    /// The part for people.
    fn words(&self) -> String {
        let arrived = clock::rfc5322(self.message.arrived);
        let mut text = match self.fate {
            ReportKind::Failed => format!(
                "This is the mail system at {}.\r\n\r\n\
                 Your mail of {arrived} did not reach the recipients below, and no\r\n\
                 further attempt will be made. Each one is followed by the reason.\r\n",
                self.hostname
            ),
            ReportKind::Relayed => format!(
                "This is the mail system at {}.\r\n\r\n\
                 Your mail of {arrived} was passed on for the recipients below to\r\n\
                 a server that does not report deliveries. You asked for this report; you\r\n\
                 hear again only if the mail is returned.\r\n",
                self.hostname
            ),
            ReportKind::Undeliverable => format!(
                "This is the mail system at {}.\r\n\r\n\
                 A bounce of {arrived} did not reach the addresses below. No\r\n\
                 other notification is sent. Its header section is attached.\r\n",
                self.hostname
            ),
            ReportKind::Delayed { give_up_at } => format!(
                "This is the mail system at {}.\r\n\r\n\
                 Your mail of {arrived} has not reached the recipients below yet.\r\n\
                 There is nothing you need to do: it will be attempted again until\r\n\
                 {}. You will hear again only if that fails.\r\n",
                self.hostname,
                clock::rfc5322(give_up_at)
            ),
        };
        for ReportedRecipient { recipient, outcome, .. } in &self.entries {
            let said = line(&outcome.words(), DIAGNOSTIC_MAX);
            let who = match (outcome.remote, self.relay) {
                (true, "") => "The receiving server said:".to_owned(),
                (true, relay) => format!("The server {} said:", line(relay, DIAGNOSTIC_MAX)),
                (false, _) => "This mail system could not deliver it:".to_owned(),
            };
            text.push_str(&format!("\r\n<{recipient}>\r\n    {who}\r\n    {said}\r\n"));
            if self.fate == ReportKind::Failed && outcome.class() != ReplyClass::Permanent {
                text.push_str("    Delivery was attempted until the time limit of the queue.\r\n");
            }
        }
        if self.fate == ReportKind::Failed {
            text.push_str(
                "\r\nWhat you can do: look for a mistyped address; if the address is right, \
                reach\r\n\
                 the recipient another way and pass this report on. Whoever runs the receiving\r\n\
                 server can tell more from the words above. Asking for help here, give the\r\n",
            );
        } else {
            text.push_str("\r\nAsking for help, give the\r\n");
        }
        text.push_str(&format!("queue id {}.\r\n", self.message.id));
        text
    }

    /// The part for programs (RFC 3464 §2.2, §2.3).
    fn status(&self, action: &str) -> String {
        let dsn = self.message.envelope.dsn.as_deref();
        let envelope_id = dsn.and_then(|dsn| xtext_decoded(dsn.envelope_id.as_deref()?));
        let mut text = match envelope_id {
            Some(id) => format!("Original-Envelope-Id: {id}\r\n"),
            None => String::new(),
        };
        text.push_str(&format!(
            "Reporting-MTA: dns; {}\r\nArrival-Date: {}\r\n",
            self.hostname,
            clock::rfc5322(self.message.arrived)
        ));
        for ReportedRecipient { recipient, place, outcome } in &self.entries {
            let Enhanced(class, subject, detail) = status_code(outcome);
            text.push_str("\r\n");
            let original = dsn.and_then(|dsn| dsn.recipients.get(*place)?.original_text());
            if let Some(original) = original {
                text.push_str(&format!("Original-Recipient: {original}\r\n"));
            }
            text.push_str(&format!(
                "Final-Recipient: {}\r\nAction: {action}\r\nStatus: \
                {class}.{subject}.{detail}\r\n",
                final_recipient(recipient)
            ));
            if outcome.remote && !self.relay.is_empty() {
                let host = self
                    .relay
                    .split(['[', ']'])
                    .find(|part| !part.is_empty())
                    .unwrap_or(self.relay);
                text.push_str(&format!("Remote-MTA: dns; {}\r\n", ascii_line(host, 255)));
            }
            // A local failure is not an SMTP reply; RFC 3464 §2.3.6 lets private types begin with
            // x-.
            let kind = if outcome.remote { "smtp" } else { "x-postern" };
            text.push_str(&format!(
                "Diagnostic-Code: {kind}; {}\r\n",
                ascii_line(&outcome.words(), DIAGNOSTIC_MAX)
            ));
            text.push_str(&format!("Last-Attempt-Date: {}\r\n", clock::rfc5322(self.now)));
            if let ReportKind::Delayed { give_up_at } = self.fate {
                text.push_str(&format!("Will-Retry-Until: {}\r\n", clock::rfc5322(give_up_at)));
            }
        }
        text
    }

    /// The header section of the original up to its empty line, or as much of it as is allowed,
    /// whole lines only.
    fn headers(&self) -> Vec<u8> {
        let Ok(head) = self.message.body.head(HEADERS_MAX) else {
            return b"X-Note: the mail itself could not be read when this report was written\r\n"
                .to_vec();
        };
        if head.starts_with(b"\r\n") {
            return Vec::new();
        }
        let end = match memmem::find(&head, b"\r\n\r\n") {
            Some(end) => end + 2,
            None => memmem::rfind(&head, b"\r\n").map_or(0, |end| end + 2),
        };
        head[..end].to_vec()
    }
}

/// The server's enhanced code, else one derived from the reply code (RFC 3464 §2.3.4).
fn status_code(outcome: &Outcome) -> Enhanced {
    let class = match outcome.class() {
        ReplyClass::Success => 2,
        ReplyClass::Temporary => 4,
        ReplyClass::Permanent => 5,
    };
    outcome.reply.enhanced.filter(|enhanced| enhanced.0 == class).unwrap_or(Enhanced(class, 0, 0))
}

/// Whether octets are lines of a mail (RFC 5322 §2.1.1, RFC 5321 §2.3.8), in 7 or in 8 bits.
fn has_lines_of_mail(content: &[u8]) -> bool {
    content.split(|octet| *octet == b'\n').all(|line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        line.len() <= LINE_MAX && !line.iter().any(|octet| matches!(octet, 0 | b'\r'))
    })
}

fn part(
    out: &mut Vec<u8>,
    boundary: &str,
    content_type: &str,
    description: &str,
    encoding: Encoding,
    content: &[u8],
) {
    let is_coded = match encoding {
        Encoding::Ascii => !is_plain(content),
        Encoding::EightBit => false,
        Encoding::QuotedPrintable => true,
    };
    let coded = is_coded.then(|| quoted_printable(content));
    let name = match encoding {
        _ if is_coded => "quoted-printable",
        Encoding::EightBit => "8bit",
        _ => "7bit",
    };
    let head = format!(
        "\r\n--{boundary}\r\nContent-Type: {content_type}\r\nContent-Description: {description}\r\n\
         Content-Transfer-Encoding: {name}\r\n\r\n"
    );
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(coded.as_deref().unwrap_or(content));
    if !out.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
}

//! Mail that goes to one address, whatever its recipients (property `redirect_all_to`).
//!
//! In: a message and the targets of one attempt. Out: the form that is sent to the address: it is
//! its only recipient, and a field `X-Original-To` on top names the recipients of the attempt. What
//! the next hop replies is the outcome of each target. It is decided at each attempt, so mail that
//! was queued before, bounces and carbon copies are redirected too; what is stored stays the
//! decision for the real recipients, and counts again once the property is unset. Limits: the field
//! names all recipients of an envelope, a line each. Security: mailboxes have no line ends. One
//! that is not ASCII and has no other form is written with question marks, so that the field never
//! needs SMTPUTF8. Source: `X-Original-To` as Postfix writes it; RFC 5322 §2.2.3 (folding).

use crate::mail::model::{Address, Envelope, Message, Outcome, Reply, Target, TransactionReport};
use bytes::Bytes;

/// The target of a redirected message: it has one recipient.
pub(super) const ONLY: [Target; 1] = [Target::Recipient(0)];

/// The form of a message that goes to `to` instead of these targets.
pub(super) fn redirected(message: &Message, targets: &[Target], to: &Address) -> Message {
    let field = Bytes::from(original_recipients(message, targets));
    let envelope = Envelope {
        recipients: vec![to.clone()],
        smtputf8: message.envelope.smtputf8 || !to.is_ascii(),
        // The notifications that were asked for are about others.
        dsn: None,
        ..message.envelope.clone()
    };
    Message { envelope, body: message.body.behind(&field), ..message.clone() }
}

/// Gives each target the outcome of the only recipient, whose text says where the mail went.
pub(super) fn share(report: &mut TransactionReport, targets: &[Target], to: &Address) {
    let Some((_, outcome)) = report.outcomes.first() else { return };
    let Reply { code, enhanced, text } = &outcome.reply;
    let text = format!("redirected to <{to}> by redirect_all_to: {text}");
    let reply = Reply { text: text.into(), code: *code, enhanced: *enhanced };
    let outcome = Outcome { reply, remote: outcome.remote };
    report.outcomes = targets.iter().map(|target| (*target, outcome.clone())).collect();
}

/// The field with its CR LF. A carbon copy alone stands for all recipients.
fn original_recipients(message: &Message, targets: &[Target]) -> String {
    let mut named: Vec<&Address> =
        targets.iter().filter_map(|target| message.recipient(*target)).collect();
    if named.is_empty() {
        named.extend(&message.envelope.recipients);
    }
    let names: Vec<String> = named.into_iter().map(in_ascii).collect();
    format!("X-Original-To: {}\r\n", names.join(",\r\n "))
}

fn in_ascii(address: &Address) -> String {
    match address.ascii_form() {
        Some(form) => form.into_owned(),
        None => {
            let ascii = |c: char| if c.is_ascii() { c } else { '?' };
            address.as_str().chars().map(ascii).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::model::{Body, BodyType, MessageId, MessageKind, Origin, StoredContent};
    use std::io;
    use std::sync::Arc;

    fn message(recipients: &[&str], body: Body) -> Message {
        let recipients = recipients.iter().map(|to| Address::parse(to).unwrap()).collect();
        Message {
            id: MessageId(1),
            arrived: 0,
            envelope: Envelope {
                sender: None,
                recipients,
                body: BodyType::SevenBit,
                smtputf8: true,
                dsn: None,
            },
            origin: Origin { peer: None, helo: "".into(), may_relay: false },
            kind: MessageKind::Mail,
            progress: Vec::new(),
            held: false,
            delay_warning_sent: false,
            body,
        }
    }

    struct Letters;

    impl StoredContent for Letters {
        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
            let rest = b"a: b\r\n\r\nc\r\n".get(usize::try_from(offset).unwrap()..).unwrap_or(b"");
            // Never more than three at once, as a disk may do.
            let count = rest.len().min(buffer.len()).min(3);
            buffer[..count].copy_from_slice(&rest[..count]);
            Ok(count)
        }
    }

    #[test]
    fn the_field_names_the_recipients_of_the_attempt() {
        let to = Address::parse("staging@here.example").unwrap();
        let all = ["a@one.example", "é@two.example", "c@b\u{fc}cher.example"];
        for (targets, field) in [
            (&[Target::Recipient(0)][..], "X-Original-To: a@one.example\r\n"),
            (
                &[Target::Recipient(1), Target::Recipient(2), Target::Copy],
                "X-Original-To: ?@two.example,\r\n c@xn--bcher-kva.example\r\n",
            ),
            (
                &[Target::Copy],
                "X-Original-To: a@one.example,\r\n ?@two.example,\r\n c@xn--bcher-kva.example\r\n",
            ),
        ] {
            for body in
                [Body::Memory(b"a: b\r\n\r\nc\r\n"[..].into()), Body::Stored(Arc::new(Letters), 11)]
            {
                let sent = redirected(&message(&all, body), targets, &to);
                assert_eq!(sent.envelope.recipients, std::slice::from_ref(&to));
                assert_eq!(sent.body.len(), field.len() as u64 + 11);
                let content = sent.body.head(usize::MAX).unwrap();
                assert_eq!(content, format!("{field}a: b\r\n\r\nc\r\n"));
            }
        }
    }
}

//! The notification of a failure in a form that every next hop can take.

use crate::mail::bounce;
use crate::mail::model::{
    BodyType, DsnRequest, Message, NewMessage, Outcome, ReturnedContent, Target,
};
use crate::mail::rewrite::seven_bit::convert;

/// [`bounce::failed`] with the whole original only where that can be converted to 7 bits, else with
/// its header section. A notification that a next hop without 8BITMIME refuses would be lost, and
/// the sender would hear nothing. Blocks.
pub(super) fn compose(
    message: &Message,
    failures: &[(Target, Outcome)],
    relay: &str,
    hostname: &str,
    now: u32,
) -> Option<NewMessage> {
    let draft = bounce::failed(message, failures, relay, hostname, now)?;
    if draft.envelope.body == BodyType::SevenBit || convert(&draft.body).is_ok() {
        return Some(draft);
    }
    let mut message = message.clone();
    let dsn = message.envelope.dsn.take().unwrap_or_default();
    let dsn = DsnRequest { ret: Some(ReturnedContent::Headers), ..*dsn };
    message.envelope.dsn = Some(Box::new(dsn));
    bounce::failed(&message, failures, relay, hostname, now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::model::{
        Address, Body, Envelope, MessageId, MessageKind, Origin, Reply, TargetProgress,
    };
    use crate::mail::rewrite::seven_bit::DEPTH_MAX;

    /// The notification for a sender who wants the whole of this mail back: its text, and whether
    /// it is in 8 bits.
    fn returned(content: &str) -> (String, bool) {
        let target = Target::Recipient(0);
        let dsn = DsnRequest { ret: Some(ReturnedContent::Full), ..DsnRequest::default() };
        let message = Message {
            id: MessageId(1),
            arrived: 0,
            envelope: Envelope {
                sender: Some(Address::parse("anna@here.example").unwrap()),
                recipients: vec![Address::parse("r@there.example").unwrap()],
                body: BodyType::EightBitMime,
                smtputf8: false,
                dsn: Some(Box::new(dsn)),
            },
            origin: Origin { peer: None, helo: "".into(), may_relay: false },
            kind: MessageKind::Mail,
            progress: vec![TargetProgress::new(target)],
            held: false,
            delay_warning_sent: false,
            body: Body::Memory(content.to_owned().into()),
        };
        let failures = [(target, Outcome::said(Reply::new(550, (5, 1, 1), "no such user")))];
        let draft = compose(&message, &failures, "hop", "mta.example", 1).unwrap();
        assert!(convert(&draft.body).is_ok(), "a next hop without 8BITMIME would refuse it");
        let Body::Memory(octets) = &draft.body else { panic!("a notification is in memory") };
        let text = String::from_utf8(octets.to_vec()).unwrap();
        (text, draft.envelope.body == BodyType::EightBitMime)
    }

    /// A mail with parts so deep in each other; the innermost one is in 8 bits.
    fn nested(depth: usize) -> String {
        let head = "MIME-Version: 1.0\r\n".to_owned();
        head + &"Content-Type: message/rfc822\r\n\r\n".repeat(depth)
            + "Subject: a\r\n\r\nw\u{f6}\r\n"
    }

    #[test]
    fn an_original_that_cannot_be_converted_gives_its_headers() {
        let part = |kind: &str| {
            format!("MIME-Version: 1.0\r\nContent-Type: {kind}\r\n\r\n\r\nw\u{f6}rds\r\n")
        };
        for whole in [part("text/plain"), nested(2)] {
            let (text, eight) = returned(&whole);
            assert!(eight && text.contains("Content-Type: message/rfc822\r\n"), "{text}");
            assert!(text.contains(&whole), "{text}");
        }
        let partial = "message/partial; id=x; number=1; total=2";
        // By itself the last one is not too deep, in the notification it is.
        for refused in [part(partial), nested(DEPTH_MAX + 1), nested(DEPTH_MAX - 1)] {
            let (text, eight) = returned(&refused);
            assert!(!eight && text.contains("Content-Type: text/rfc822-headers"), "{text}");
            assert!(!text.contains("w\u{f6}"), "{text}");
            assert!(text.contains("Action: failed\r\n"), "{text}");
        }
        assert!(convert(&Body::Memory(nested(DEPTH_MAX - 1).into())).is_ok());
    }
}

//! A message with 8-bit content and a next hop that accepts only 7-bit: the message is converted
//! (RFC 6152 §3) in the same attempt, and signed anew.

use crate::mail::deliver::{Connection, RecipientOutcomes, overlay};
use crate::mail::model::{
    Body, BodyType, Enhanced, Message, Outcome, Reply, Target, TransactionReport,
};
use crate::mail::outbound::counters::OutboundCounters;
use crate::mail::outbound::signing::{ContentForm, MailSigner};
use crate::mail::rewrite::seven_bit::{EncodingError, convert};
use bytes::Bytes;

/// Content up to this size is converted at once; larger content is converted on a thread that may
/// block.
const SMALL: u64 = 64 * 1024;

/// Sends a message. Targets that the next hop rejects because of 8-bit content are attempted again
/// with the content in 7 bits; this includes hosts that announced 8BITMIME. A caller that aborts
/// this finds in `known` the results of both attempts. `signatures`: who signs, and the prefix
/// for the content as it is.
pub(super) async fn send(
    connection: &mut Connection,
    message: &Message,
    targets: &[Target],
    (signer, prefix): (&MailSigner, Option<&Bytes>),
    counters: &OutboundCounters,
    known: &mut RecipientOutcomes,
) -> TransactionReport {
    let signed = prefix.map(|prefix| with_body(message, message.body.behind(prefix)));
    let mut report = connection.send(signed.as_ref().unwrap_or(message), targets, known).await;
    drop(signed);
    let again = std::mem::take(&mut report.eight_bit_refused);
    if again.is_empty() {
        return report;
    }
    known.expect_again(&message.envelope, &report.outcomes, &again);
    match rewritten(&message.body).await {
        Ok(body) => {
            tracing::debug!(
                target: "mta", queue_id = %message.id, relay = %report.relay,
                changed = body.is_some(), "content in 7 bits"
            );
            if body.is_some() {
                counters.seven_bit_total.inc();
            }
            let prefix = match &body {
                Some(body) => signer.prefix(message, body, ContentForm::SevenBit).await,
                None => Ok(prefix.cloned()),
            };
            let prefix = match prefix {
                Ok(prefix) => prefix,
                Err(outcome) => {
                    replace(&mut report, &again, &outcome);
                    return report;
                }
            };
            let body = body.unwrap_or_else(|| message.body.clone());
            let body = prefix.map(|prefix| body.behind(&prefix)).unwrap_or(body);
            let mut message = with_body(message, body);
            message.envelope.body = BodyType::SevenBit;
            // On a broken connection a late reply to the first attempt would be read as the reply
            // to the second.
            let reopened = if report.reusable { Ok(()) } else { connection.reopen().await };
            match reopened {
                Ok(()) => {
                    let second = connection.send(&message, &again, known).await;
                    merge(&mut report, second);
                }
                Err(outcome) => replace(&mut report, &again, &outcome),
            }
        }
        Err(trouble) => {
            let outcome = refused(&report.relay, &trouble);
            // All other replies of the next hop stand: only a rejection of 8-bit content is
            // answered by a conversion.
            let by_letter =
                |outcome: &Outcome| matches!(outcome.reply.enhanced, Some(Enhanced(5, 6, 1 | 3)));
            for (_, old) in report
                .outcomes
                .iter_mut()
                .filter(|(target, old)| again.contains(target) && by_letter(old))
            {
                *old = outcome.clone();
            }
        }
    }
    report
}

/// The message with another form of its content.
fn with_body(message: &Message, body: Body) -> Message {
    Message { body, ..message.clone() }
}

/// Gives targets another outcome.
fn replace(report: &mut TransactionReport, targets: &[Target], outcome: &Outcome) {
    let these = report.outcomes.iter_mut().filter(|(target, _)| targets.contains(target));
    these.for_each(|(_, old)| *old = outcome.clone());
}

async fn rewritten(body: &Body) -> Result<Option<Body>, EncodingError> {
    if matches!(body, Body::Memory(_)) && body.len() <= SMALL {
        return convert(body);
    }
    let body = body.clone();
    let rewriting = tokio::task::spawn_blocking(move || convert(&body));
    rewriting
        .await
        .unwrap_or_else(|error| Err(EncodingError::Unreadable(std::io::Error::other(error))))
}

fn refused(relay: &str, trouble: &EncodingError) -> Outcome {
    Outcome::own(match trouble {
        EncodingError::Refused(refusal) => {
            let text = format!(
                "{relay} does not accept 8-bit content, and the message cannot be converted: \
                {refusal}"
            );
            Reply::new(554, (5, 6, 3), text)
        }
        EncodingError::Unreadable(error) => Reply::new(
            451,
            (4, 3, 0),
            format!("the content could not be read from the data volume: {error}"),
        ),
    })
}

/// The result of the second attempt replaces the first for its targets and for the connection.
fn merge(report: &mut TransactionReport, second: TransactionReport) {
    overlay(&mut report.outcomes, second.outcomes);
    report.relay = second.relay;
    report.tls = second.tls;
    report.security = second.security;
    report.transcript = if second.transcript.is_empty() {
        String::new()
    } else {
        report.transcript.clone() + &second.transcript
    };
    report.reusable = second.reusable;
    report.refused_session = second.refused_session;
    report.elsewhere &= second.elsewhere;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::deliver::counters::DeliverCounters;
    use crate::mail::deliver::{DeliverConfig, SmtpClient, Timeouts};
    use crate::mail::model::{
        Address, Destination, Envelope, MailHost, MessageId, MessageKind, Origin, Route,
        StoredContent, TargetProgress,
    };
    use crate::mail::outbound::signing::SigningConfig;
    use crate::mail::rewrite::seven_bit::EncodingRefusal;
    use crate::mail::sign::counters::SignCounters;
    use std::io;
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::time::Duration;
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    use tokio::net::TcpListener;

    fn report(outcomes: &[(u16, u16)], transcript: &str, reusable: bool) -> TransactionReport {
        let outcome = |code| Outcome::said(Reply::plain(code, "said"));
        TransactionReport {
            outcomes: outcomes
                .iter()
                .map(|(place, code)| (Target::Recipient(*place), outcome(*code)))
                .collect(),
            relay: "mx".into(),
            tls: false,
            security: String::new(),
            transcript: transcript.into(),
            reusable,
            elsewhere: false,
            refused_session: None,
            eight_bit_refused: Vec::new(),
            dsn: false,
        }
    }

    #[test]
    fn the_second_try_counts_for_its_own_targets() {
        let mut first = report(&[(0, 554), (1, 550), (2, 554)], "one\n", true);
        merge(&mut first, report(&[(0, 250), (2, 452)], "two\n", false));
        let codes: Vec<u16> =
            first.outcomes.iter().map(|(_, outcome)| outcome.reply.code).collect();
        assert_eq!(
            (codes.as_slice(), first.transcript.as_str(), first.reusable),
            ([250, 550, 452].as_slice(), "one\ntwo\n", false)
        );
    }

    #[test]
    fn what_cannot_be_read_now_is_tried_later() {
        let outcome = refused("mx", &EncodingError::Unreadable(io::Error::other("no")));
        assert_eq!((outcome.reply.code, outcome.remote), (451, false));
        assert_eq!(refused("mx", &EncodingError::Refused(EncodingRefusal::Signed)).reply.code, 554);
    }

    async fn connected(
        address: SocketAddr,
        timeouts: Timeouts,
    ) -> (Connection, Arc<OutboundCounters>) {
        let config = DeliverConfig {
            hostname: "relay.example".into(),
            timeouts,
            bind: None,
            recipients_max: 100,
        };
        let client = SmtpClient::new(config, DeliverCounters::alone().unwrap()).unwrap();
        let destination = Destination::domain("there.example").unwrap();
        let hosts = vec![MailHost {
            host: "peer.example".into(),
            addresses: vec![address],
            upstream: None,
        }];
        let connection =
            client.connect(&Route { destination, hosts, shared: false }).await.unwrap();
        (connection, OutboundCounters::alone().unwrap())
    }

    /// Nothing is signed.
    fn unsigned() -> Arc<MailSigner> {
        MailSigner::new(SigningConfig::default(), SignCounters::alone().unwrap())
    }

    fn eight_bit(body: Body) -> Message {
        Message {
            id: MessageId(1),
            arrived: 0,
            envelope: Envelope {
                sender: None,
                recipients: vec![Address::parse("r@there.example").unwrap()],
                body: BodyType::EightBitMime,
                smtputf8: false,
                dsn: None,
            },
            origin: Origin { peer: None, helo: "".into(), may_relay: false },
            kind: MessageKind::Mail,
            progress: vec![TargetProgress::new(Target::Recipient(0))],
            held: false,
            delay_warning_sent: false,
            body,
        }
    }

    /// Content on a volume that fails.
    struct Lost;

    impl StoredContent for Lost {
        fn read_at(&self, _: u64, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("no such sector"))
        }
    }

    /// A read error of the own volume says nothing about the peer; the peer's reply to MAIL does.
    #[tokio::test]
    async fn content_that_cannot_be_read_is_no_refusal_of_the_peer() {
        for (extension, at_mail) in [("HELP", ""), ("8BITMIME", "550 5.7.25 no reverse name\r\n")] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let peer = tokio::spawn(async move {
                let mut lines = BufReader::new(listener.accept().await.unwrap().0);
                lines.write_all(b"220 peer\r\n").await.unwrap();
                let mut line = String::new();
                while lines.read_line(&mut line).await.is_ok_and(|read| read > 0) {
                    let reply = if line.starts_with("EHLO") {
                        format!("250-peer\r\n250 {extension}\r\n")
                    } else {
                        at_mail.to_owned()
                    };
                    let _ = lines.write_all(reply.as_bytes()).await;
                    line.clear();
                }
            });
            let (mut connection, counters) = connected(address, Timeouts::default()).await;
            let message = eight_bit(Body::Stored(Arc::new(Lost), 1000));
            let report = send(
                &mut connection,
                &message,
                &[Target::Recipient(0)],
                (&unsigned(), None),
                &counters,
                &mut RecipientOutcomes::default(),
            )
            .await;
            let (outcome, refused) = (&report.outcomes[0].1, report.refused_session.is_some());
            assert_eq!(
                (outcome.reply.code, outcome.remote, report.reusable),
                (451, false, true),
                "{report:?}"
            );
            assert_eq!(refused, !at_mail.is_empty(), "{report:?}");
            drop(connection);
            peer.await.unwrap();
        }
    }

    /// A peer that wants 7 bits and sends its last reply late: it must not be read as a reply to
    /// the second attempt.
    #[tokio::test]
    async fn the_second_try_has_a_connection_that_is_sound() {
        const END: Duration = Duration::from_millis(500);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let peer = tokio::spawn(async move {
            for session in 0..2 {
                let mut lines = BufReader::new(listener.accept().await.unwrap().0);
                lines.write_all(b"220 peer\r\n").await.unwrap();
                let mut line = String::new();
                while lines.read_line(&mut line).await.is_ok_and(|read| read > 0) {
                    let reply: &[u8] = match (session, line.trim_end()) {
                        (_, line) if line.starts_with("EHLO") => {
                            b"250-peer\r\n250-PIPELINING\r\n250 8BITMIME\r\n"
                        }
                        (0, line) if line.starts_with("MAIL") => {
                            b"554 5.6.3 seven bits, please\r\n"
                        }
                        (0, ".") => {
                            tokio::time::sleep(4 * END).await;
                            b"554 5.5.1 no valid recipients\r\n"
                        }
                        (_, "DATA") => b"354 go on\r\n",
                        (_, line)
                            if line.starts_with("MAIL")
                                || line.starts_with("RCPT")
                                || line == "." =>
                        {
                            b"250 yes\r\n"
                        }
                        _ => b"",
                    };
                    // A client that has disconnected is no failure.
                    let _ = lines.write_all(reply).await;
                    line.clear();
                }
            }
        });
        let timeouts = Timeouts { end: END, ..Timeouts::default() };
        let (mut connection, counters) = connected(address, timeouts).await;
        let target = Target::Recipient(0);
        let text = "MIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n\u{fc}\r\n";
        let message = eight_bit(Body::Memory(text.into()));
        let report = send(
            &mut connection,
            &message,
            &[target],
            (&unsigned(), None),
            &counters,
            &mut RecipientOutcomes::default(),
        )
        .await;
        assert_eq!(report.outcomes[0].1.reply.code, 250, "{report:?}");
        assert!(report.reusable);
        assert_eq!(connection.transactions(), 2, "both count for the rate");
        drop(connection);
        peer.await.unwrap();
    }
}

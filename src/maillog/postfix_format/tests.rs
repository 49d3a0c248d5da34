use super::*;
use crate::mail::model::{
    Body, BodyType, Delays, DeliveryAttempt, Destination, Envelope, MessageKind, Origin, Outcome,
    Refusal, Reply,
};
use proptest::prelude::*;
use serde_json::Value;

const ID: &str = "0D2RKZ1C3ABCD";

const CLIENT: SessionClient = SessionClient {
    address: std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7)),
    port: Some(4711),
    stranger: true,
};

/// The lines without their time, with `PID` instead of the process id.
fn trimmed(lines: &str) -> Vec<String> {
    assert!(lines.is_empty() || lines.ends_with('\n'), "{lines:?}");
    let own = format!("[{}]: ", std::process::id());
    let without_time = |line: &str| {
        assert!(line.get(15..16) == Some(" ") && line.as_bytes()[9] == b':', "{line}");
        line[16..].replace(&own, "[PID]: ")
    };
    lines.lines().map(without_time).collect()
}

fn shaped(event: &MailEvent<'_>) -> Vec<String> {
    trimmed(&PostfixFormat::new("postfix", "relay.example").lines(event))
}

fn other(level: Level, message: &str, fields: &[(&'static str, Value)]) -> Vec<String> {
    let said =
        EventFields { message: message.to_owned(), fields: fields.to_vec(), stranger: false };
    trimmed(&PostfixFormat::new("postfix", "relay.example").other(level, &said))
}

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

/// A message from a client, or generated locally if the sender is null.
fn message(sender: Option<Address>, recipients: Vec<Address>, content: &str) -> Message {
    Message {
        id: ID.parse().unwrap(),
        arrived: 0,
        origin: Origin {
            peer: sender.as_ref().map(|_| CLIENT.address),
            helo: "x".into(),
            may_relay: false,
        },
        envelope: Envelope {
            sender,
            recipients,
            body: BodyType::SevenBit,
            smtputf8: false,
            dsn: None,
        },
        kind: MessageKind::Mail,
        progress: Vec::new(),
        held: false,
        delay_warning_sent: false,
        body: Body::Memory(content.to_owned().into()),
    }
}

/// The lines of an attempt with this outcome.
fn tried(message: &Message, target: Target, outcome: &Outcome, relay: &str) -> Vec<String> {
    let attempt = DeliveryAttempt {
        message,
        destination: &Destination::domain("d.example").unwrap(),
        outcomes: &[(target, outcome.clone())],
        relay,
        tls: false,
        security: "",
        transcript: "",
        at: 0,
        due: 0,
        delays: Delays {
            total: Duration::from_millis(12_345),
            attempt: Duration::from_millis(344),
            connecting: Duration::from_millis(204),
        },
        progress: None,
        over: false,
    };
    assert!(shaped(&MailEvent::Attempted(attempt)).is_empty(), "each recipient has a line");
    let delivery = Delivery { attempt: &attempt, target, outcome };
    shaped(&delivery.event(false))
}

fn delivery(outcome: &Outcome, relay: &str) -> String {
    let to = vec![address("c@d.example")];
    let message = message(Some(address("a@b.example")), to, "");
    let [line] = &tried(&message, Target::Recipient(0), outcome, relay)[..] else {
        panic!("one line")
    };
    line.strip_prefix(&format!("relay.example postfix/smtp[PID]: {ID}: to=<c@d.example>, "))
        .unwrap()
        .to_owned()
}

#[test]
fn a_mail_has_the_lines_of_the_field() {
    let to = || (0..3).map(|number| address(&format!("r{number}@d.example"))).collect();
    let content = "Message-ID: <x.y@b.example>\r\n\r\n";
    let mail = message(Some(address("a@b.example")), to(), content);
    let login = Authentication { user: "anna", mechanism: "PLAIN" };
    let accepted = |port| MailEvent::Accepted {
        message: &mail,
        port,
        size: 1234,
        encryption: None,
        login: Some(login),
    };
    let expected = [
        format!(
            "relay.example postfix/smtpd[4711]: {ID}: client=unknown[192.0.2.7], \
            sasl_method=PLAIN, sasl_username=anna"
        ),
        format!("relay.example postfix/cleanup[PID]: {ID}: message-id=<x.y@b.example>"),
        format!(
            "relay.example postfix/qmgr[PID]: {ID}: from=<a@b.example>, size=1234, nrcpt=3 (queue \
            active)"
        ),
    ];
    assert_eq!(shaped(&accepted(CLIENT.port)), expected);
    assert_eq!(shaped(&accepted(None)), expected[1..], "by HTTP");
    let again = expected[2].replace("size=1234", &format!("size={}", content.len()));
    assert_eq!(shaped(&MailEvent::Activated(&mail)), [again]);

    let own = Message { id: MessageId(7), ..message(None, to(), content) };
    let told = |kind| {
        let about = mail.id;
        shaped(&MailEvent::Notified { notification: &own, about, kind, size: 9 })
    };
    let [message_id, active, about] = &told(NotificationKind::Failed)[..] else { panic!("three") };
    let id = own.id;
    assert!(message_id.ends_with(&format!("cleanup[PID]: {id}: message-id=<x.y@b.example>")));
    assert!(active.contains(&format!("qmgr[PID]: {id}: from=<>, size=9, nrcpt=3 ")), "{active}");
    let expected =
        format!("relay.example postfix/bounce[PID]: {ID}: sender non-delivery notification: {id}");
    assert_eq!(*about, expected);
    assert_eq!(
        told(NotificationKind::Delayed)[2],
        expected.replace("non-delivery notification", "delay notification")
    );
    for (by_operator, program) in [(false, "qmgr"), (true, "postsuper")] {
        let removed = MailEvent::Removed { id: mail.id, by_operator };
        let expected = format!("relay.example postfix/{program}[PID]: {ID}: removed");
        assert_eq!(shaped(&removed), [expected]);
    }
}

#[test]
fn a_session_has_a_start_and_an_end() {
    let line = |words: &str| [format!("relay.example postfix/smtpd[4711]: {words}")];
    assert_eq!(shaped(&MailEvent::Connected(CLIENT)), line("connect from unknown[192.0.2.7]"));
    assert_eq!(
        shaped(&MailEvent::Disconnected(CLIENT)),
        line("disconnect from unknown[192.0.2.7]")
    );
    let turned_away = |count| MailEvent::TurnedAway {
        client: CLIENT,
        limit: "all",
        reason: "Too many sessions; try again later",
        reply: "421 4.7.0 relay.example Too many sessions; try again later",
        count,
    };
    let expected = "relay.example postfix/smtpd[PID]: warning: 7 sessions turned away so far, the \
                    last from unknown[192.0.2.7]: Too many sessions; try again later";
    assert_eq!(shaped(&turned_away(Some(7))), [expected]);
    assert!(shaped(&turned_away(None)).is_empty());
}

#[test]
fn deliveries_end_as_the_next_hop_said() {
    let said = |code, enhanced: Option<(u8, u16, u16)>, text: &'static str| {
        Outcome::said(match enhanced {
            Some(enhanced) => Reply::new(code, enhanced, text),
            None => Reply::plain(code, text),
        })
    };
    assert_eq!(
        delivery(&said(250, Some((2, 6, 0)), "Ok: queued as 7"), "mx.d.example[192.0.2.1]:25"),
        "relay=mx.d.example[192.0.2.1]:25, delay=12, delays=12/0/0.2/0.14, dsn=2.6.0, status=sent \
        (250 2.6.0 Ok: queued as 7)"
    );
    assert_eq!(
        delivery(&said(550, None, "no <c@d.example> here"), "mx.d.example[192.0.2.1]:25"),
        "relay=mx.d.example[192.0.2.1]:25, delay=12, delays=12/0/0.2/0.14, dsn=5.0.0, \
        status=bounced \
         (host mx.d.example[192.0.2.1] said: 550 no <c@d.example> here)"
    );
    assert!(
        delivery(&said(250, None, "ok"), "[192.0.2.1]:25")
            .starts_with("relay=192.0.2.1[192.0.2.1]:25, ")
    );
    let own = Reply::new(451, (4, 4, 1), "connect to mx[192.0.2.1]:25: Connection refused");
    assert_eq!(
        delivery(&Outcome::own(own), ""),
        "relay=none, delay=12, delays=12/0/0.2/0.14, dsn=4.4.1, status=deferred (connect to \
        mx[192.0.2.1]:25: Connection refused)"
    );
}

#[test]
fn a_rejection_names_who_asked_for_what() {
    let to = address("c@d.example");
    let rejected = |to, reply: &Reply, in_sum| {
        shaped(&MailEvent::Rejected(Rejection {
            client: CLIENT,
            helo: "[192.0.2.7]",
            protocol: Protocol::Esmtp,
            command: "RCPT",
            from: None,
            to,
            reason: Refusal::Relay,
            reply,
            in_sum,
        }))
    };
    let reply = Reply::new(554, (5, 7, 1), "Relay access denied");
    let expected = "relay.example postfix/smtpd[4711]: NOQUEUE: reject: RCPT from \
    unknown[192.0.2.7]: 554 5.7.1 <c@d.example>: \
                    Relay access denied; from=<> to=<c@d.example> proto=ESMTP helo=<[192.0.2.7]>";
    assert_eq!(rejected(Some(&to), &reply, false), [expected]);
    let twice = Reply::new(554, (5, 7, 1), "<c@d.example>: Relay access denied");
    assert_eq!(rejected(Some(&to), &twice, false), [expected]);
    assert!(rejected(Some(&to), &reply, true).is_empty(), "told in a sum");
    let expected = "relay.example postfix/smtpd[4711]: NOQUEUE: reject: RCPT from \
    unknown[192.0.2.7]: 554 5.7.1 \
                    Relay access denied; from=<> proto=ESMTP helo=<[192.0.2.7]>";
    assert_eq!(rejected(None, &reply, false), [expected]);
}

#[test]
fn the_rest_is_told_too_and_trouble_is_told_as_trouble() {
    for (level, expected) in [
        (Level::INFO, "relay.example postfix/postern[PID]: ready hostname=relay"),
        (Level::WARN, "relay.example postfix/postern[PID]: warning: ready hostname=relay"),
        (Level::ERROR, "relay.example postfix/postern[PID]: warning: ready hostname=relay"),
    ] {
        assert_eq!(other(level, "ready", &[("hostname", "relay".into())]), [expected]);
    }
    let panic = other(Level::ERROR, "panic: index out of bounds", &[("place", "x.rs:1".into())]);
    let expected = "relay.example postfix/postern[PID]: panic: index out of bounds place=x.rs:1";
    assert_eq!(panic, [expected]);
}

#[test]
fn a_copy_is_no_delivery_to_anybody() {
    let message = message(Some(address("a@b.example")), vec![address("c@d.example")], "");
    let ok = Outcome::said(Reply::plain(250, "ok"));
    let lines = tried(&message, Target::Copy, &ok, "mx[192.0.2.1]:25");
    assert!(lines[0].contains(": carbon copy, relay=") && !lines[0].contains("to=<"), "{lines:?}");
}

#[test]
fn times_have_two_digits_that_count() {
    for (text, expected) in [
        ("0.000", "0"),
        ("0.004", "0"),
        ("0.120", "0.12"),
        ("1.26", "1.3"),
        ("9.0", "9"),
        ("12.3", "12"),
        ("3600.7", "3601"),
    ] {
        let time = Duration::from_secs_f64(text.parse().unwrap());
        assert_eq!(seconds(time), expected, "{text}");
    }
}

/// Text that tries to look like another part of a line.
fn hostile() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "from=<evil@x>, size=99",
        "to=<evil@x>, relay=none, delay=1, delays=1/0/0, dsn=2.0.0, status=sent (250 ok)",
        "[1]: EVIL: client=evil[6.6.6.6]",
        "\r\nNov  4 17:22:14 relay postfix/smtpd[1]: EVIL: client=evil[6.6.6.6]",
        "; from=<evil@x> to=<evil@x> proto=ESMTP helo=<evil>",
        "NOQUEUE: reject: RCPT from evil[6.6.6.6]: ",
        "<",
        ">",
        "=",
        "]",
        ": ",
        "(",
        ")",
        ",",
        "\n",
        "\r",
        "\0",
        "\u{2028}",
        "\u{202e}",
        "\u{1b}[2J",
        "é",
        " ",
        "]:",
    ]);
    prop::collection::vec(prop_oneof![pieces.prop_map(str::to_owned), ".{0,8}"], 0..8)
        .prop_map(|parts| parts.concat())
}

/// The text between the first two marks.
fn between<'a>(line: &'a str, open: &str, close: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(open)?;
    rest.split_once(close).map(|(inner, _)| inner)
}

/// An address whose local part is that text, as far as an address can contain it (RFC 5321 §4.1.2).
fn hostile_address(text: &str) -> Address {
    let is_safe = |c: &char| *c == ' ' || c.is_ascii_graphic() && !matches!(c, '"' | '\\');
    let local: String = text.chars().filter(is_safe).take(60).collect();
    address(&format!("\"{local}\"@x.example"))
}

proptest! {
    #[test]
    fn no_text_breaks_a_line_or_forges_a_part(
        a in hostile(), b in hostile(), c in hostile(), d in hostile()
    ) {
        let (from, to) = (hostile_address(&a), hostile_address(&b));
        let content = format!("Message-ID: {c}\r\n\r\n");
        let mail = message(Some(from.clone()), vec![to.clone()], &content);
        let login = Authentication { user: &a, mechanism: "PLAIN" };
        let accepted = MailEvent::Accepted {
            message: &mail,
            port: Some(7),
            size: 1,
            encryption: None,
            login: Some(login),
        };
        let rejected = MailEvent::Rejected(Rejection {
            client: CLIENT,
            helo: &a,
            protocol: Protocol::Esmtp,
            command: "RCPT",
            from: Some(&from),
            to: Some(&to),
            reason: Refusal::Relay,
            reply: &Reply::new(554, (5, 7, 1), d),
            in_sum: false,
        });
        let outcome = Outcome::said(Reply::plain(451, c.clone()));
        let queued = shaped(&accepted);
        let deferred = tried(&mail, Target::Recipient(0), &outcome, &b);
        let fields = [("field", b.as_str().into()), ("another", c.as_str().into())];
        let rest = other(Level::WARN, &a, &fields);
        for (lines, count) in [(&queued, 3), (&shaped(&rejected), 1), (&deferred, 1), (&rest, 1)] {
            prop_assert_eq!(lines.len(), count, "{:?}", lines);
            for line in lines {
                prop_assert!(line.len() < LINE_MAX && !line.contains(is_tricky), "{}", line);
                // One program, one beginning of each part.
                prop_assert_eq!(line.matches("]: EVIL: ").count(), 0, "{}", line);
                let count = |part: &str| line.matches(part).count();
                prop_assert!(count("from=<") <= 1 && count("to=<") <= 1, "{}", line);
            }
        }
        let user = queued[0].split_once(": client=unknown[192.0.2.7], sasl_method=PLAIN, ");
        let user = user.and_then(|(_, rest)| rest.strip_prefix("sasl_username="));
        prop_assert!(user.is_some_and(|user| !user.contains([',', ' ', '<'])), "{}", queued[0]);
        prop_assert!(queued[2].ends_with(">, size=1, nrcpt=1 (queue active)"));
        let line = &deferred[0];
        if line.len() < LINE_MAX - 100 {
            let relay = between(line, ">, relay=", ",").unwrap();
            prop_assert!(line.contains(&format!("relay={relay}, delay=12, \
            delays=12/0/0.2/0.14, dsn=")), "{}", line);
            prop_assert_eq!(between(line, ", status=", " "), Some("deferred"), "{}", line);
            prop_assert!(!between(line, "to=<", ">").unwrap().contains([',', ' ']), "{}", line);
        }
    }
}

#[test]
fn mail_that_waits_with_its_destination_is_deferred_for_the_same_reason() {
    let suspended = |to: &str, status: Enhanced, reason: &str| {
        let recipients = vec![address(if to.is_empty() { "c@d.example" } else { to })];
        let message = &message(Some(address("a@b.example")), recipients, "");
        let target = if to.is_empty() { Target::Copy } else { Target::Recipient(0) };
        let delay = Duration::from_millis(11);
        shaped(&MailEvent::Suspended { message, target, delay, status, reason })
    };
    let line = |what: &str, dsn: &str, why: &str| {
        [format!(
            "relay.example postfix/error[PID]: {ID}: {what}, relay=none, delay=0.01, \
            delays=0.01/0/0/0, dsn={dsn}, \
             status=deferred (delivery temporarily suspended: {why})"
        )]
    };
    let why = "connect to mx.d.example[192.0.2.9]:25: Connection refused";
    assert_eq!(
        suspended("c@d.example", Enhanced(4, 4, 1), why),
        line("to=<c@d.example>", "4.4.1", why)
    );
    let why = "an operator has paused the destination";
    assert_eq!(suspended("", Enhanced(4, 3, 2), why), line("carbon copy", "4.3.2", why));
    assert_eq!(
        suspended("\"c,d>\"@e.example", Enhanced(4, 3, 2), "x to=<y>"),
        line("to=<\"c?d?\"@e.example>", "4.3.2", "x to=?y>")
    );
}

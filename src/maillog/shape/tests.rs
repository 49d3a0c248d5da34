use super::*;
use proptest::prelude::*;
use serde_json::Value;

const ID: &str = "0D2RKZ1C3ABCD";

fn said(message: &str, fields: &[(&'static str, Value)]) -> Said {
    Said { message: message.to_owned(), fields: fields.to_vec(), stranger: false }
}

/// The lines without their time, with `PID` for our own number.
fn shaped(level: Level, said: &Said) -> Vec<String> {
    let shape = Shape::new("postfix", "relay.example");
    let lines = shape.lines(level, said);
    assert!(lines.is_empty() || lines.ends_with('\n'), "{lines:?}");
    let own = format!("[{}]: ", std::process::id());
    let without_time = |line: &str| {
        assert!(line.get(15..16) == Some(" ") && line.as_bytes()[9] == b':', "{line}");
        line[16..].replace(&own, "[PID]: ")
    };
    lines.lines().map(without_time).collect()
}

fn delivery(status: &str, remote: bool, relay: &str, reply: &str) -> String {
    let fields = [
        ("queue_id", ID.into()),
        ("from", "<a@b.example>".into()),
        ("to", "<c@d.example>".into()),
        ("relay", relay.into()),
        ("delay", "12.345".into()),
        ("delays", "12.001/0.204/0.14".into()),
        ("status", status.into()),
        ("copy", false.into()),
        ("remote", remote.into()),
        ("reply", reply.into()),
    ];
    let [line] = &shaped(Level::INFO, &said("delivery", &fields))[..] else { panic!("one line") };
    line.strip_prefix(&format!("relay.example postfix/smtp[PID]: {ID}: to=<c@d.example>, "))
        .unwrap()
        .to_owned()
}

#[test]
fn a_mail_has_the_lines_of_the_field() {
    let queued = [
        ("queue_id", ID.into()),
        ("client", "192.0.2.7".into()),
        ("port", 4711.into()),
        ("from", "<a@b.example>".into()),
        ("recipients", 3.into()),
        ("size", 1234.into()),
        ("message_id", "<x.y@b.example>".into()),
    ];
    let expected = [
        format!("relay.example postfix/smtpd[4711]: {ID}: client=unknown[192.0.2.7]"),
        format!("relay.example postfix/cleanup[PID]: {ID}: message-id=<x.y@b.example>"),
        format!(
            "relay.example postfix/qmgr[PID]: {ID}: from=<a@b.example>, size=1234, nrcpt=3 (queue \
            active)"
        ),
    ];
    assert_eq!(shaped(Level::DEBUG, &said("queued", &queued)), expected);
    let own: Vec<_> =
        queued.iter().filter(|(name, _)| !["client", "port"].contains(name)).cloned().collect();
    assert_eq!(shaped(Level::DEBUG, &said("queued", &own)), expected[1..]);
    assert_eq!(shaped(Level::DEBUG, &said("active", &own)), expected[2..]);
    let about = [
        ("queue_id", "N2".into()),
        ("about", ID.into()),
        ("kind", "failed".into()),
        ("status", "queued".into()),
    ];
    let expected =
        format!("relay.example postfix/bounce[PID]: {ID}: sender non-delivery notification: N2");
    assert_eq!(shaped(Level::INFO, &said("notification", &about)), [expected]);
    let removed = said("removed", &[("queue_id", ID.into())]);
    assert_eq!(
        shaped(Level::DEBUG, &removed),
        [format!("relay.example postfix/qmgr[PID]: {ID}: removed")]
    );
}

#[test]
fn deliveries_end_as_the_next_hop_said() {
    assert_eq!(
        delivery("sent", true, "mx.d.example[192.0.2.1]:25", "250 2.6.0 Ok: queued as 7"),
        "relay=mx.d.example[192.0.2.1]:25, delay=12, delays=12/0/0.2/0.14, dsn=2.6.0, status=sent \
        (250 2.6.0 Ok: queued as 7)"
    );
    assert_eq!(
        delivery("bounced", true, "mx.d.example[192.0.2.1]:25", "550 no <c@d.example> here"),
        "relay=mx.d.example[192.0.2.1]:25, delay=12, delays=12/0/0.2/0.14, dsn=5.0.0, \
        status=bounced \
         (host mx.d.example[192.0.2.1] said: 550 no <c@d.example> here)"
    );
    assert!(
        delivery("sent", true, "[192.0.2.1]:25", "250 ok")
            .starts_with("relay=192.0.2.1[192.0.2.1]:25, ")
    );
    assert_eq!(
        delivery(
            "deferred",
            false,
            "none",
            "451 4.4.1 connect to mx[192.0.2.1]:25: Connection refused"
        ),
        "relay=none, delay=12, delays=12/0/0.2/0.14, dsn=4.4.1, status=deferred (connect to \
        mx[192.0.2.1]:25: Connection refused)"
    );
}

#[test]
fn a_refusal_names_who_asked_for_what() {
    let fields = [
        ("client", "192.0.2.7".into()),
        ("port", 4711.into()),
        ("helo", "[192.0.2.7]".into()),
        ("proto", "ESMTP".into()),
        ("command", "RCPT".into()),
        ("from", "<>".into()),
        ("to", "<c@d.example>".into()),
        ("reply", "554 5.7.1 Relay access denied".into()),
        ("status", "refused".into()),
    ];
    let expected = "relay.example postfix/smtpd[4711]: NOQUEUE: reject: RCPT from \
    unknown[192.0.2.7]: 554 5.7.1 <c@d.example>: \
                    Relay access denied; from=<> to=<c@d.example> proto=ESMTP helo=<[192.0.2.7]>";
    assert_eq!(shaped(Level::INFO, &said("command", &fields)), [expected]);
    let mut twice = fields.clone();
    twice[7].1 = "554 5.7.1 <c@d.example>: Relay access denied".into();
    assert_eq!(shaped(Level::INFO, &said("command", &twice)), [expected]);
    let fields: Vec<_> = fields.into_iter().filter(|(name, _)| *name != "to").collect();
    let expected = "relay.example postfix/smtpd[4711]: NOQUEUE: reject: RCPT from \
    unknown[192.0.2.7]: 554 5.7.1 \
                    Relay access denied; from=<> proto=ESMTP helo=<[192.0.2.7]>";
    assert_eq!(shaped(Level::INFO, &said("command", &fields)), [expected]);
}

#[test]
fn the_rest_is_told_too_and_trouble_is_told_as_trouble() {
    let other = said("ready", &[("hostname", "relay".into())]);
    for (level, expected) in [
        (Level::INFO, Some("relay.example postfix/postern[PID]: ready hostname=relay")),
        (Level::WARN, Some("relay.example postfix/postern[PID]: warning: ready hostname=relay")),
        (Level::ERROR, Some("relay.example postfix/postern[PID]: warning: ready hostname=relay")),
        (Level::DEBUG, None),
    ] {
        assert_eq!(shaped(level, &other).first().map(String::as_str), expected);
    }
    let panic = said("panic: index out of bounds", &[("place", "x.rs:1".into())]);
    let expected = "relay.example postfix/postern[PID]: panic: index out of bounds place=x.rs:1";
    assert_eq!(shaped(Level::ERROR, &panic), [expected]);
}

#[test]
fn a_copy_is_no_delivery_to_anybody() {
    let fields = [
        ("queue_id", ID.into()),
        ("copy", true.into()),
        ("status", "sent".into()),
        ("reply", "250 ok".into()),
    ];
    let lines = shaped(Level::INFO, &said("delivery", &fields));
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
        assert_eq!(seconds(text), expected, "{text}");
    }
}

/// What strangers would write to be taken for something else.
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

/// What stands between two marks, the first ones.
fn between<'a>(line: &'a str, open: &str, close: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(open)?;
    rest.split_once(close).map(|(inner, _)| inner)
}

proptest! {
    #[test]
    fn no_text_breaks_a_line_or_forges_a_part(a in hostile(), b in hostile(), c in hostile(), d in hostile()) {
        let bracketed = |text: &str| Value::from(format!("<{text}>"));
        let common = [("queue_id", Value::from(ID)), ("client", "192.0.2.7".into()), ("port", 7.into()), ("size", 1.into())];
        let fields = |more: &[(&'static str, Value)]| [&common[..], more].concat();
        let queued = said("queued", &fields(&[("from", bracketed(&a)), ("recipients", 1.into()), ("message_id", c.as_str().into())]));
        let refused = said("command", &fields(&[
            ("helo", a.as_str().into()), ("proto", "ESMTP".into()), ("command", "RCPT".into()), ("from", bracketed(&b)),
            ("to", bracketed(&c)), ("reply", format!("554 5.7.1 {d}").into()), ("status", "refused".into()),
        ]));
        let deferred = said("delivery", &fields(&[
            ("to", bracketed(&a)), ("relay", b.as_str().into()), ("status", "deferred".into()), ("remote", true.into()),
            ("delay", "1".into()), ("delays", "1/0/0".into()), ("reply", format!("451 {c}").into()),
        ]));
        let other = said(&a, &[("field", b.as_str().into()), ("another", c.as_str().into())]);
        for (level, event, count) in
            [(Level::DEBUG, &queued, 3), (Level::INFO, &refused, 1), (Level::INFO, &deferred, 1), (Level::WARN, &other, 1)]
        {
            let lines = shaped(level, event);
            prop_assert_eq!(lines.len(), count, "{:?}", lines);
            for line in &lines {
                prop_assert!(line.len() < LINE_MAX && !line.contains(is_tricky), "{}", line);
                // One program, one beginning of each part.
                prop_assert_eq!(line.matches("]: EVIL: ").count(), 0, "{}", line);
                prop_assert!(line.matches("from=<").count() <= 1 && line.matches("to=<").count() <= 1, "{}", line);
            }
        }
        let [client, _, active] = &shaped(Level::DEBUG, &queued)[..] else { panic!("three lines") };
        prop_assert!(client.ends_with(": client=unknown[192.0.2.7]"));
        prop_assert!(active.ends_with(">, size=1, nrcpt=1 (queue active)"));
        let line = &shaped(Level::INFO, &deferred)[0];
        if line.len() < LINE_MAX - 100 {
            let relay = between(line, ">, relay=", ",").unwrap();
            prop_assert!(line.contains(&format!("relay={relay}, delay=1, \
            delays=1/0/0/0, dsn=")), "{}", line);
            prop_assert_eq!(between(line, ", status=", " "), Some("deferred"), "{}", line);
            prop_assert!(!between(line, "to=<", ">").unwrap().contains([',', ' ']), "{}", line);
        }
    }
}

#[test]
fn mail_that_waits_with_its_destination_is_deferred_for_the_same_reason() {
    let suspended = |to: &str, reply: &str| {
        let fields = [
            ("queue_id", ID.into()),
            ("to", to.into()),
            ("delay", "0.011".into()),
            ("dsn", "4.3.2".into()),
            ("reply", reply.into()),
        ];
        shaped(Level::DEBUG, &said("suspended", &fields))
    };
    let line = |what: &str, dsn: &str, why: &str| {
        [format!(
            "relay.example postfix/error[PID]: {ID}: {what}, relay=none, delay=0.01, \
            delays=0.01/0/0/0, dsn={dsn}, \
             status=deferred (delivery temporarily suspended: {why})"
        )]
    };
    let refused = "451 4.4.1 connect to mx.d.example[192.0.2.9]:25: Connection refused";
    let why = "connect to mx.d.example[192.0.2.9]:25: Connection refused";
    assert_eq!(suspended("<c@d.example>", refused), line("to=<c@d.example>", "4.4.1", why));
    let why = "an operator has paused the destination";
    assert_eq!(suspended("", why), line("carbon copy", "4.3.2", why));
    assert_eq!(
        suspended("<c,d@e.example>", "x to=<y>"),
        line("to=<c?d@e.example>", "4.3.2", "x to=?y>")
    );
}

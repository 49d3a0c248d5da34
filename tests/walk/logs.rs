//! The log for operators and for programs: one line for each event, no secrets.

use crate::mx::{host, mx, next_hop, send};
use crate::support::appliance::Appliance;
use crate::support::client::Client;
use crate::support::names::Names;
use serde_json::{Map, Value};

const PASSWORD: &str = "correct-horse-battery";

/// One mail of every result, then the whole log: delivered to one and rejected by another, deferred
/// and deleted, from the null sender.
fn every_fate(format: &str) -> (Vec<String>, String) {
    let (good, bad, busy) = (next_hop(""), next_hop("rcpt=550"), next_hop("rcpt=451"));
    let names = Names::serve(&[
        host("mx-good", good.address.ip()),
        mx("good", "mx-good", 10),
        host("mx-bad", bad.address.ip()),
        mx("bad", "mx-bad", 10),
        host("mx-busy", busy.address.ip()),
        mx("busy", "mx-busy", 10),
    ]);
    let servers = names.servers();
    let mut appliance = Appliance::start(&[
        ("MTA_DNS_SERVERS", &servers),
        ("MTA_LOCAL_MAIL_HOSTS", "127.0.0.0/8"),
        ("MTA_LOG_FORMAT", format),
        ("MTA_USERNAME", "operator"),
        ("MTA_PASSWORD", PASSWORD),
    ]);
    let mut client = Client::hello(appliance.smtp);
    let to = ["one@good.example", "two@bad.example", "three@busy.example"];
    let reply = client.mail(
        "sender@good.example",
        &to,
        b"Subject: a private matter\r\n\r\nprivate words\r\n",
    );
    let id = reply.rsplit(' ').next().unwrap().to_owned();
    client.ask("VRFY <somebody@good.example>", "252 ");
    client.ask("MAIL FROM:<sender@good.example> SIZE=99999999999", "552 ");
    // The mail and the report of its failure.
    good.mails(2);
    crate::support::patience::until_true("the deferral is in the log", || {
        appliance.log().iter().any(|line| line.contains(&id) && line.contains("deferred"))
    });
    appliance.queue(&["delete", &id]);
    assert_eq!(appliance.stop(), 143);
    (appliance.log(), id)
}

/// What a line of each format must contain, read from either.
fn check(events: &[Map<String, Value>], id: &str) {
    let text = |event: &Map<String, Value>, name: &str| match event.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => panic!("no {name} in {event:?}"),
    };
    let of = |status: &str| -> Vec<&Map<String, Value>> {
        let has = |event: &&Map<String, Value>, name: &str, value: &str| {
            event.get(name).is_some_and(|found| found == value)
        };
        events
            .iter()
            .filter(|event| has(event, "queue_id", id) && has(event, "status", status))
            .collect()
    };
    let [accepted] = of("accepted")[..] else { panic!("accepted: {:?}", of("accepted")) };
    assert_eq!(text(accepted, "client"), "127.0.0.1");
    assert_eq!(text(accepted, "helo"), "client.example");
    assert_eq!(text(accepted, "from"), "<sender@good.example>");
    assert_eq!(text(accepted, "to"), "<one@good.example>,<two@bad.example>,<three@busy.example>");
    assert_eq!(text(accepted, "recipients"), "3");
    text(accepted, "size").parse::<u64>().unwrap();
    for (status, to, relay, reply) in [
        ("sent", "one@good.example", "mx-good.example[", "250 2.0.0 "),
        ("bounced", "two@bad.example", "mx-bad.example[", "550 5.0.0 As --fail asks"),
        ("deferred", "three@busy.example", "mx-busy.example[", "451 4.0.0 As --fail asks"),
    ] {
        let [event] = of(status)[..] else { panic!("{status}: {:?}", of(status)) };
        assert_eq!(text(event, "from"), "<sender@good.example>");
        assert_eq!(text(event, "to"), format!("<{to}>"));
        assert!(
            text(event, "relay").starts_with(relay) && text(event, "relay").ends_with("]:25"),
            "{event:?}"
        );
        assert!(text(event, "reply").starts_with(reply), "{event:?}");
        let delay: f64 = text(event, "delay").parse().unwrap();
        assert!((0.0..60.0).contains(&delay), "{event:?}");
    }
    let [deleted] = of("deleted")[..] else { panic!("deleted: {:?}", of("deleted")) };
    assert_eq!(text(deleted, "to"), "<three@busy.example>");
    let reports: Vec<_> =
        events.iter().filter(|event| event.get("about").is_some_and(|about| about == id)).collect();
    let [report] = reports[..] else { panic!("one report: {reports:?}") };
    assert_eq!(
        (text(report, "status").as_str(), text(report, "kind").as_str()),
        ("queued", "failed")
    );
    assert_eq!(text(report, "to"), "<sender@good.example>");
    let refused: Vec<_> = events
        .iter()
        .filter(|event| event.get("status").is_some_and(|status| status == "refused"))
        .collect();
    let [refused] = refused[..] else { panic!("one refusal: {refused:?}") };
    assert!(
        text(refused, "reply").starts_with("552 5.3.4 ") && text(refused, "client") == "127.0.0.1"
    );
    text(refused, "reason");
}

fn nothing_private(lines: &[String]) {
    for line in lines {
        assert!(!line.contains(PASSWORD) && !line.contains("private"), "{line}");
    }
}

/// `name=value` and `name="a value"`, after the time, the level and the message.
fn fields(line: &str) -> Map<String, Value> {
    let mut found = Map::new();
    let mut rest = line;
    while let Some(equals) = rest.find('=') {
        let name = rest[..equals].rsplit(' ').next().unwrap().to_owned();
        let value = &rest[equals + 1..];
        let end = if let Some(quoted) = value.strip_prefix('"') {
            let mut escaped = false;
            let closing = quoted.find(|c| {
                let is_end = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                is_end
            });
            closing.map(|at| at + 2).unwrap_or_else(|| panic!("no closing quote: {line}"))
        } else {
            value.find(' ').unwrap_or(value.len())
        };
        found.insert(name, value[..end].trim_matches('"').into());
        rest = &value[end..];
    }
    found
}

#[test]
fn plain_lines() {
    let (lines, id) = every_fate("plain");
    nothing_private(&lines);
    for line in &lines {
        let mut words = line.split(' ');
        let time = words.next().unwrap_or_default();
        let level = words.next().unwrap_or_else(|| panic!("no line of the log: {line:?}"));
        assert!(time.len() > 19 && time.as_bytes()[10] == b'T', "{line}");
        assert!(["INFO", "WARN", "ERROR"].contains(&level), "{line}");
    }
    let events: Vec<_> = lines.iter().map(|line| fields(line)).collect();
    check(&events, &id);
}

#[test]
fn json_lines() {
    let (lines, id) = every_fate("json");
    nothing_private(&lines);
    let parse = |line: &String| -> Map<String, Value> {
        let event: Map<String, Value> =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        for name in ["time", "level", "message"] {
            assert!(event.get(name).is_some_and(Value::is_string), "no {name} in {line}");
        }
        event
    };
    let events: Vec<_> = lines.iter().map(parse).collect();
    check(&events, &id);
}

/// A client's text cannot make a line or a field.
#[test]
fn hostile_words_stay_in_their_field() {
    let mut appliance = Appliance::start(&[("MTA_SMART_RELAY", "127.0.0.1:9")]);
    let mut client = Client::connect(appliance.smtp);
    client.expect("220 ");
    client.ask("EHLO evil\u{1b}[2J\"status=sent", "");
    let mut other = Client::hello(appliance.smtp);
    other.ask("MAIL FROM:<\"a status=sent b\"@here.example>", "250 ");
    other.ask("RCPT TO:<\"x\\\" queue_id=FORGED\"@there.example>", "250 ");
    other.ask("DATA", "354 ");
    other.send("Subject: x\r\n\r\n.\r\n");
    other.expect("250 ");
    send(&appliance, "sender@here.example", "box@there.example");
    appliance.deferral();
    assert_eq!(appliance.stop(), 143);
    let lines = appliance.log();
    assert!(lines.iter().all(|line| !line.contains('\u{1b}')), "{lines:#?}");
    for line in &lines {
        let fields = fields(line);
        assert!(
            fields.get("queue_id").is_none_or(|id| id != "FORGED")
                && fields.get("status").is_none_or(|s| s != "sent"),
            "{line}"
        );
    }
}

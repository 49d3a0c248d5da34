//! Webhooks about mail.

use crate::support::appliance::{Appliance, Sink};
use crate::support::hook::Hook;
use crate::support::keys::{Authority, EC, read};
use crate::support::patience::until;
use crate::support::program::open_directory;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

const SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const ENVELOPE: &str = "/api/v1/messages?from=shop%40example.org&to=anna%40example.net";
const KIND: &str = "Content-Type: message/rfc822\r\n";

/// As appliance/examples/slack-alert.yaml has it.
#[test]
fn an_alert_is_a_line_in_the_format_of_slack() {
    let (people, sink, directory) = (Hook::start(&[]), Sink::start(""), open_directory());
    let file = directory.path().join("webhook_url");
    let url = format!("slack+http://127.0.0.1:{}/services/T0/B0/s3cret\n", people.port);
    std::fs::write(&file, url).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let mut appliance = Appliance::start(&[
        ("MTA_SMART_RELAY", &sink.relay()),
        // The sink has no TLS, so the mail waits.
        ("MTA_SMART_RELAY_TLS", "required"),
        ("MTA_WEBHOOK_URL_FILE", &file.display().to_string()),
        ("MTA_WEBHOOK_EVENTS", "alert"),
        ("MTA_WEBHOOK_ALLOW", "127.0.0.1"),
    ]);
    let (status, body) = appliance.post(ENVELOPE, KIND, b"Subject: x\n\nx\n");
    assert_eq!(status, "201", "{body}");
    loop {
        let told = people.next();
        assert_eq!(told["path"], "/services/T0/B0/s3cret");
        let content = told["event"].as_object().unwrap();
        assert!(content.keys().eq(["text"]), "{told}");
        let text = content["text"].as_str().unwrap();
        assert!(text.contains("postern.example"), "{text}");
        if text.contains("TLS with upstream default fails") {
            break;
        }
    }
    appliance.stop();
    assert!(!appliance.log().join("\n").contains("s3cret"));
}

#[test]
fn a_bounce_is_told_signed_inside_tls_and_again_until_it_is_taken() {
    let (authority, directory) = (Authority::new(), open_directory());
    let issued = authority.issue("hook", EC, "localhost");
    let root = directory.path().join("root.pem");
    std::fs::write(&root, read(&authority.root())).unwrap();
    std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o644)).unwrap();
    let (chain, key) = (issued.chain.display().to_string(), issued.key.display().to_string());
    let (program, people) = (Hook::start(&["2", SECRET, &chain, &key]), Hook::start(&[]));
    let urls = format!(
        "https://localhost:{}/s3cret?a=b slack+http://127.0.0.1:{}/",
        program.port, people.port
    );
    let sink = Sink::start("rcpt=550");
    let mut appliance = Appliance::start(&[
        ("MTA_SMART_RELAY", &sink.relay()),
        ("MTA_WEBHOOK_URL", &urls),
        ("MTA_WEBHOOK_SECRET", SECRET),
        ("MTA_WEBHOOK_ALLOW", "127.0.0.1, ::1"),
        ("MTA_WEBHOOK_CA", &root.display().to_string()),
        ("MTA_ADDRESS_MASKING", "smart"),
    ]);
    let (status, body) = appliance.post(ENVELOPE, KIND, b"Subject: x\n\nx\n");
    assert_eq!(status, "201", "{body}");
    let tries = [program.next(), program.next(), program.next()];
    assert_eq!(tries.each_ref().map(|one| one["status"].as_u64().unwrap()), [500, 500, 204]);
    for one in &tries {
        assert!(
            one["signed"] == true && one["path"] == "/s3cret?a=b" && one["id"] == tries[0]["id"],
            "{one}"
        );
        let (kind, data) = (&one["event"]["type"], &one["event"]["data"]);
        assert!(kind == "mail.bounced" && data["hostname"] == "postern.example", "{one}");
        assert!(
            data["recipient"] == "a***@example.net" && data["sender"] == "s***@example.org",
            "{one}"
        );
        assert!(data["reply"].as_str().unwrap().starts_with("550"), "{one}");
    }
    let line = people.next()["event"]["text"].as_str().unwrap().to_owned();
    assert!(
        line.starts_with("*postern.example*: mail ")
            && line.contains("`a***@example.net` bounced: `550"),
        "{line}"
    );

    // The bounce goes back to the shop, and is rejected too.
    assert_eq!(program.next()["event"]["data"]["recipient"], "s***@example.org");
    until("all events are sent", || {
        match appliance.counter("mta_webhook_total{status=\"sent\"}") {
            4 => Ok(()),
            other => Err(other.to_string()),
        }
    });
    assert_eq!(appliance.counter("mta_webhook_total{status=\"retried\"}"), 2);
    appliance.stop();
    let log = appliance.log().join("\n");
    assert!(!log.contains("s3cret") && !log.contains("whsec_"), "{log}");
    assert!(
        log.contains("webhook receiver does not accept events")
            && log.contains("webhook receiver accepts events again"),
        "{log}"
    );
}

#[test]
fn a_house_address_hears_nothing_unless_it_is_allowed() {
    let (hook, sink) = (Hook::start(&[]), Sink::start(""));
    let url = format!("http://127.0.0.1:{}/", hook.port);
    let events = [
        ("MTA_SMART_RELAY", sink.relay()),
        ("MTA_WEBHOOK_URL", url),
        ("MTA_WEBHOOK_EVENTS", "delivered".to_owned()),
        ("MTA_WEBHOOK_ALLOW", "10.0.0.0/8".to_owned()),
    ];
    let events = events.each_ref().map(|(name, value)| (*name, value.as_str()));
    let mut appliance = Appliance::start(&events);
    appliance.post(ENVELOPE, KIND, b"Subject: x\n\nx\n");
    appliance.until_empty();
    until("it is tried again", || {
        match appliance.counter("mta_webhook_total{status=\"retried\"}") {
            0 | 1 => Err("not yet".to_owned()),
            _ => Ok(()),
        }
    });
    assert!(hook.is_silent(Duration::ZERO));
    assert!(appliance.log().join("\n").contains("MTA_WEBHOOK_ALLOW"));
    appliance.set(&[("MTA_WEBHOOK_ALLOW", "127.0.0.0/8")]);
    appliance.stop();
    appliance.boot();
    appliance.post(ENVELOPE, KIND, b"Subject: x\n\nx\n");
    let event = hook.next();
    assert!(event["event"]["type"] == "mail.delivered" && event["signed"] == false, "{event}");
}

#[test]
fn a_receiver_that_nobody_vouches_for_hears_nothing() {
    let authority = Authority::new();
    let issued = authority.issue("hook", EC, "localhost");
    let (chain, key) = (issued.chain.display().to_string(), issued.key.display().to_string());
    let (hook, sink) = (Hook::start(&["0", SECRET, &chain, &key]), Sink::start(""));
    let url = format!("https://localhost:{}/", hook.port);
    let appliance = Appliance::start(&[
        ("MTA_SMART_RELAY", &sink.relay()),
        ("MTA_WEBHOOK_URL", &url),
        ("MTA_WEBHOOK_EVENTS", "delivered"),
        ("MTA_WEBHOOK_ALLOW", "127.0.0.1 ::1"),
    ]);
    appliance.post(ENVELOPE, KIND, b"Subject: x\n\nx\n");
    until("it is refused", || match appliance.log().iter().find(|line| line.contains("no TLS")) {
        Some(line) if line.contains("UnknownIssuer") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert!(hook.is_silent(Duration::ZERO));
}

//! `capture` and `recipient_allow`: what is held, why, and what an operator releases.

use crate::support::appliance::{Appliance, Sink};
use crate::support::client::Client;
use crate::support::patience::until;
use crate::support::postfix::Postfix;
use crate::support::program::free_port;
use crate::{check, post, send, swaks};
use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddr};

const CAPTURE: (&str, &str) = ("MTA_CAPTURE", "yes");
const NO_CAPTURE: (&str, &str) = ("MTA_CAPTURE", "");
const ALLOW: (&str, &str) = ("MTA_RECIPIENT_ALLOW", "anna@one.example, *.team.example");

/// Waits until the queue has so many messages and all of them are held, and gives them.
fn held(appliance: &Appliance, count: usize) -> Vec<Value> {
    until(&format!("{count} messages are held"), || {
        let messages = appliance.messages();
        let all = messages.iter().all(|message| message["held"] == true);
        if all && messages.len() == count { Ok(()) } else { Err(format!("{messages:#?}")) }
    });
    appliance.messages()
}

fn reason(message: &Value) -> &str {
    message["recipients"][0]["last_reply"].as_str().unwrap()
}

fn nowhere() -> String {
    SocketAddr::from((Ipv4Addr::LOCALHOST, free_port())).to_string()
}

#[test]
fn every_mail_is_held_and_released_one_by_one() {
    let sink = Sink::start("");
    let mut appliance = Appliance::start(&[("MTA_SMART_RELAY", &sink.relay()), CAPTURE]);
    let first = send(&appliance, "app@here.example", &["a@real.example"], "first");
    swaks(&appliance, &["--from", "app@here.example", "--to", "b@real.example"]);
    post(&appliance, "web@here.example", "c@real.example");
    let messages = held(&appliance, 3);
    for message in &messages {
        assert!(reason(message).contains("captured by capture=yes"), "{message}");
    }
    // Loudly, wherever an operator looks, with a way out on the page.
    let loud = "EVERY MAIL IS HELD";
    assert!(check(&appliance).contains(&format!("WARNING: {loud}")));
    let (_, page) = appliance.get_as("/queue", "Accept: text/html\r\n");
    assert!(page.contains(loud), "{page}");
    let (_, page) = appliance.get_as(&format!("/queue/{first}"), "Accept: text/html\r\n");
    assert!(page.contains("captured by capture=yes"), "{page}");
    let shown = appliance.queue_in_words(&["show", &first]);
    assert!(shown.contains("captured by capture=yes"), "{shown}");
    // A kill -9 lets nothing out, whatever the properties say then.
    appliance.kill();
    appliance.set(&[NO_CAPTURE]);
    appliance.boot();
    held(&appliance, 3);
    assert_eq!(appliance.stop(), 143);
    appliance.set(&[CAPTURE]);
    appliance.boot();
    held(&appliance, 3);
    appliance.queue(&["release", &first]);
    assert_eq!(sink.mails(1)[0].to, ["a@real.example"]);
    held(&appliance, 2);
}

#[test]
fn what_was_released_and_deferred_is_not_held_again_at_a_start() {
    let mut appliance = Appliance::start(&[("MTA_SMART_RELAY", &nowhere()), CAPTURE]);
    let id = send(&appliance, "app@here.example", &["a@real.example"], "released");
    held(&appliance, 1);
    appliance.queue(&["release", &id]);
    until("it was tried", || {
        let said = appliance.deferral();
        if said.contains("refused") { Ok(()) } else { Err(said) }
    });
    let other = send(&appliance, "app@here.example", &["b@real.example"], "not released");
    assert_eq!(appliance.stop(), 143);
    let sink = Sink::start("");
    appliance.set(&[("MTA_SMART_RELAY", &sink.relay())]);
    appliance.boot();
    appliance.queue(&["retry", &id]);
    assert_eq!(sink.mails(1)[0].to, ["a@real.example"]);
    assert_eq!(held(&appliance, 1)[0]["id"], other.as_str());
    // Who holds it again means it.
    appliance.queue(&["release", &other]);
    sink.mails(2);
    appliance.until_empty();
}

#[test]
fn queued_mail_bounces_and_copies_are_held_too() {
    let real = Sink::start("rcpt=550@real.example");
    let copies = Sink::start("");
    let mut appliance = Appliance::start(&[("MTA_SMART_RELAY", &nowhere())]);
    let id = send(&appliance, "shop@app.example", &["a@real.example"], "queued before");
    appliance.deferral();
    assert_eq!(appliance.stop(), 143);
    appliance.set(&[("MTA_SMART_RELAY", &real.relay()), ("MTA_CC_MTA", &copies.relay()), CAPTURE]);
    appliance.boot();
    let messages = held(&appliance, 1);
    assert!(reason(&messages[0]).contains("captured by capture=yes"), "{messages:?}");
    // Its bounce is held as well, and goes out when it is released.
    appliance.queue(&["release", &id]);
    until("the bounce is there", || {
        let messages = appliance.messages();
        let bounce = messages.iter().any(|message| message["id"] != id.as_str());
        if bounce { Ok(()) } else { Err(format!("{messages:?}")) }
    });
    let bounce = held(&appliance, 1).remove(0);
    assert_eq!(bounce["recipients"][0]["address"], "shop@app.example");
    assert_eq!((real.count(), copies.count()), (0, 0));
    appliance.queue(&["release", bounce["id"].as_str().unwrap()]);
    assert_eq!(real.mails(1)[0].to, ["shop@app.example"]);
    appliance.until_empty();
}

#[test]
fn copies_for_cc_mta_are_held_with_their_mail() {
    let copies = Sink::start("");
    let appliance = Appliance::start(&[("MTA_CC_MTA", &copies.relay()), CAPTURE]);
    let id = send(&appliance, "app@here.example", &["a@[192.0.2.1]"], "copied");
    let message = held(&appliance, 1).remove(0);
    assert!(message["copy"]["last_reply"].as_str().unwrap().contains("capture=yes"), "{message}");
    assert_eq!(copies.count(), 0);
    appliance.queue(&["release", &id]);
    copies.mails(1);
}

#[test]
fn others_are_refused_at_rcpt_and_by_http() {
    let sink = Sink::start("");
    let appliance = Appliance::start(&[("MTA_SMART_RELAY", &sink.relay()), ALLOW]);
    let mut client = Client::hello(appliance.smtp);
    client.ask("MAIL FROM:<app@here.example>", "250 ");
    let said = client.ask("RCPT TO:<x@real.example>", "550 5.7.1 ");
    for words in ["<x@real.example>", "recipient_allow", "recipient_others=capture"] {
        assert!(said.contains(words), "{said}");
    }
    client.ask("RCPT TO:<x@team.example>", "550 5.7.1 ");
    client.ask("RCPT TO:<Anna@One.example>", "250 ");
    client.ask("RCPT TO:<x@a.team.example>", "250 ");
    client.ask("DATA", "354 ");
    client.ask("Subject: x\r\n\r\nx\r\n.", "250 ");
    assert_eq!(sink.mails(1)[0].to, ["Anna@One.example", "x@a.team.example"]);
    let path = "/api/v1/messages?from=web@here.example&to=x@real.example";
    let (status, said) =
        appliance.post(path, "Content-Type: message/rfc822\r\n", b"Subject: x\r\n\r\nx\r\n");
    assert_eq!(status, "403", "{said}");
    assert!(said.contains("recipient_allow"), "{said}");
    appliance.until_empty();
    assert!(check(&appliance).contains("WARNING: ONLY anna@one.example, *.team.example GET MAIL"));
}

#[test]
fn others_are_captured_and_those_allowed_get_theirs_through_postfix() {
    let postfix = Postfix::next_hop();
    let relay = postfix.address.to_string();
    let mut appliance = Appliance::start(&[
        ("MTA_SMART_RELAY", &relay),
        ("MTA_RECIPIENT_ALLOW", "box@there.example"),
        ("MTA_RECIPIENT_OTHERS", "capture"),
    ]);
    let large = format!("Subject: large\r\n\r\n{}", "0123456789abcdef\r\n".repeat(20_000));
    for content in ["Subject: small\r\n\r\nx\r\n", &large] {
        let to = ["box@there.example", "sender@there.example", "x@real.example"];
        Client::hello(appliance.smtp).mail("app@here.example", &to, content.as_bytes());
    }
    let stored = crate::stored(&postfix.mailbox("box"), 2);
    assert!(stored.iter().any(|mail| mail.matches("0123456789abcdef\n").count() == 20_000));
    let messages = held(&appliance, 2);
    for message in &messages {
        let to = message["recipients"].as_array().unwrap();
        let to: Vec<_> = to.iter().map(|to| to["address"].as_str().unwrap()).collect();
        assert_eq!(to, ["sender@there.example", "x@real.example"]);
        assert!(reason(message).contains("<sender@there.example> is not in recipient_allow"));
    }
    assert_eq!(appliance.stop(), 143);
    appliance.set(&[("MTA_RECIPIENT_ALLOW", "sender@there.example")]);
    appliance.boot();
    held(&appliance, 2);
    assert_eq!(std::fs::read_dir(postfix.mailbox("sender")).map_or(0, Iterator::count), 0);
}

#[test]
fn queued_mail_and_bounces_to_others_are_held_where_others_are_refused() {
    let mut appliance = Appliance::start(&[("MTA_SMART_RELAY", &nowhere())]);
    send(&appliance, "app@here.example", &["anna@one.example"], "allowed");
    send(&appliance, "app@here.example", &["x@real.example"], "other");
    until("both were tried", || {
        let said: Vec<_> = appliance.messages().iter().map(|it| reason(it).to_owned()).collect();
        let all = said.len() == 2 && said.iter().all(|said| !said.is_empty());
        if all { Ok(()) } else { Err(format!("{said:?}")) }
    });
    assert_eq!(appliance.stop(), 143);
    let sink = Sink::start("rcpt=550@one.example");
    appliance.set(&[("MTA_SMART_RELAY", &sink.relay()), ALLOW]);
    appliance.boot();
    appliance.queue(&["retry", "--all", "--yes"]);
    // The refused mail becomes a bounce, whose recipient is not allowed either.
    let messages = held(&appliance, 2);
    let reasons: Vec<_> = messages.iter().map(reason).collect();
    for to in ["<x@real.example>", "<app@here.example>"] {
        let words = format!("{to} is not in recipient_allow");
        assert!(reasons.iter().any(|reason| reason.contains(&words)), "{reasons:?}");
    }
    assert_eq!(sink.count(), 0);
}

#[test]
fn wrong_lists_and_words_stop_the_start() {
    let appliance = Appliance::start(&[]);
    for (name, value, words) in [
        ("MTA_RECIPIENT_ALLOW", "a@b@", "which is neither an address nor a domain"),
        ("MTA_RECIPIENT_OTHERS", "drop", "recipient_others must be capture or refuse"),
        ("MTA_CAPTURE", "some", "capture value must be yes or no"),
    ] {
        let output = appliance.command(&["check"]).env(name, value).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(64) && said.contains(words), "{name}: {said}");
    }
}

//! `redirect_all_to`: whatever the recipients, one address gets the mail.

use crate::support::appliance::{Appliance, Sink};
use crate::support::client::Client;
use crate::support::patience::until;
use crate::support::postfix::Postfix;
use crate::support::program::free_port;
use crate::{check, post, send, swaks};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};

const STAGING: (&str, &str) = ("MTA_REDIRECT_ALL_TO", "staging@team.example");

/// A mail that the sink stored: it writes `Return-Path` on top, and `X-Original-To` for each
/// recipient of the envelope, of which a redirected mail has one.
struct Redirected {
    from: String,
    to: String,
    /// The relay's own field; empty without one.
    original_to: String,
    content: String,
}

/// Waits for so many mails, each with one recipient of its envelope.
fn redirected(sink: &Sink, count: usize) -> Vec<Redirected> {
    until(&format!("{count} mails"), || {
        if sink.count() < count { Err(format!("{} mails", sink.count())) } else { Ok(()) }
    });
    let files = fs::read_dir(sink.maildir()).unwrap();
    let all: Vec<_> = files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect();
    assert_eq!(all.len(), count, "too many mails");
    let read = |content: &String| {
        let mut fields = content.splitn(3, "\r\n");
        let value = |line: Option<&str>, name| line.unwrap().strip_prefix(name).unwrap().to_owned();
        let from = value(fields.next(), "Return-Path: ");
        let to = value(fields.next(), "X-Original-To: ");
        let content = fields.next().unwrap().to_owned();
        let own = content.replace("\r\n ", " ");
        let own = own.strip_prefix("X-Original-To: ").and_then(|own| own.split("\r\n").next());
        Redirected { from, to, original_to: own.unwrap_or_default().to_owned(), content }
    };
    all.iter().map(read).collect()
}

#[test]
fn five_recipients_are_one_mail_to_one_address() {
    let sink = Sink::start("");
    let appliance = Appliance::start(&[("MTA_SMART_RELAY", &sink.relay()), STAGING]);
    let to: Vec<String> = (0..5).map(|number| format!("r{number}@real{number}.example")).collect();
    let id = send(
        &appliance,
        "app@here.example",
        &to.iter().map(String::as_str).collect::<Vec<_>>(),
        "five",
    );
    let mail = redirected(&sink, 1).remove(0);
    assert_eq!((mail.to.as_str(), mail.original_to), ("staging@team.example", to.join(", ")));
    appliance.until_empty();
    assert_eq!(appliance.counter("mta_delivered_total"), 5);
    // Each recipient has the outcome, in the log and in the history.
    let words = "redirected to <staging@team.example> by redirect_all_to";
    let log = appliance.log();
    for to in &to {
        let sent = log
            .iter()
            .find(|line| line.contains(&format!("to=<{to}>")) && line.contains("status=sent"));
        assert!(sent.is_some_and(|line| line.contains(words)), "{to}: {log:#?}");
    }
    until("the history tells it", || {
        let shown = appliance.queue_in_words(&["show", &id]);
        if shown.matches(words).count() == 5 { Ok(()) } else { Err(shown) }
    });
    // Loudly, wherever an operator looks.
    let loud = "ALL MAIL IS REDIRECTED";
    assert!(check(&appliance).contains(&format!("WARNING: {loud}")), "{}", check(&appliance));
    assert!(log.iter().any(|line| line.contains(loud)), "{log:#?}");
    for page in ["/", "/queue", "/history"] {
        let (_, page) = appliance.get_as(page, "Accept: text/html\r\n");
        assert!(page.contains(loud) && page.contains("staging@team.example"), "{page}");
    }
    let modes = appliance.api("status")["modes"].clone();
    assert!(modes[0].as_str().unwrap().contains(loud), "{modes}");
}

#[test]
fn visitors_without_a_login_see_the_mode_and_not_the_address() {
    let appliance = Appliance::start(&[("MTA_UI_PUBLIC", "no"), STAGING]);
    let (_, page) = appliance.get_as("/", "Accept: text/html\r\n");
    assert!(page.contains("ALL MAIL IS REDIRECTED") && !page.contains("staging@"), "{page}");
    assert!(!appliance.get("/api/v1/status").contains("staging@"));
}

#[test]
fn mail_that_was_queued_before_is_redirected_and_off_is_off_for_the_rest() {
    let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let mut appliance = Appliance::start(&[("MTA_SMART_RELAY", &nowhere.to_string())]);
    send(&appliance, "app@here.example", &["a@real.example", "b@other.example"], "before");
    appliance.deferral();
    assert_eq!(appliance.stop(), 143);
    let staging = Sink::start("rcpt=450@team.example");
    appliance.set(&[STAGING, ("MTA_SMART_RELAY", &staging.relay())]);
    appliance.boot();
    appliance.queue(&["retry", "--all", "--yes"]);
    until("it was tried at the new address", || {
        let said = appliance.deferral();
        if said.contains("redirected to <staging@team.example>") { Ok(()) } else { Err(said) }
    });
    // A restart, and it is still redirected.
    assert_eq!(appliance.stop(), 143);
    let address = staging.address;
    staging.stop("failures");
    let staging = Sink::at(address, "rcpt=450@team.example");
    appliance.boot();
    send(&appliance, "app@here.example", &["c@third.example"], "later");
    until("all was tried", || {
        let tried = appliance.messages().iter().all(|message| {
            message["recipients"][0]["last_reply"]
                .as_str()
                .is_some_and(|it| it.contains("redirected"))
        });
        if tried && appliance.messages().len() == 2 { Ok(()) } else { Err("not yet".to_owned()) }
    });
    assert_eq!(staging.count(), 0);
    assert_eq!(appliance.stop(), 143);
    // Off: the rest goes to its recipients.
    let real = Sink::start("");
    appliance.set(&[("MTA_REDIRECT_ALL_TO", ""), ("MTA_SMART_RELAY", &real.relay())]);
    appliance.boot();
    appliance.queue(&["retry", "--all", "--yes"]);
    let mut to: Vec<String> = real.mails(2).into_iter().flat_map(|mail| mail.to).collect();
    to.sort();
    assert_eq!(to, ["a@real.example", "b@other.example", "c@third.example"]);
    appliance.until_empty();
}

#[test]
fn bounces_and_mail_by_http_are_redirected() {
    let real = start_two_failures();
    let mut appliance = Appliance::start(&[("MTA_SMART_RELAY", &real.relay())]);
    send(&appliance, "shop@app.example", &["a@real.example"], "bounces");
    until("the bounce waits for its sender's server", || {
        let waits: Vec<String> = appliance.messages().iter().map(ToString::to_string).collect();
        let bounce = waits.len() == 1 && waits[0].contains("shop@app.example");
        if bounce && waits[0].contains("450") { Ok(()) } else { Err(format!("{waits:?}")) }
    });
    assert_eq!(appliance.stop(), 143);
    let staging = Sink::start("");
    appliance.set(&[STAGING, ("MTA_SMART_RELAY", &staging.relay())]);
    appliance.boot();
    appliance.queue(&["retry", "--all", "--yes"]);
    let report = redirected(&staging, 1).remove(0);
    assert_eq!((report.from.as_str(), report.to.as_str()), ("<>", "staging@team.example"));
    assert!(report.content.contains("a@real.example"), "{}", report.content);
    assert_eq!(report.original_to, "shop@app.example");
    post(&appliance, "web@here.example", "b@real.example");
    let mails = redirected(&staging, 2);
    assert!(mails.iter().all(|mail| mail.to == "staging@team.example"));
    assert!(mails.iter().any(|mail| mail.original_to == "b@real.example"));
    appliance.until_empty();
}

/// It refuses one domain for good and defers another.
fn start_two_failures() -> Sink {
    Sink::start("rcpt=550@real.example,rcpt=450@app.example")
}

#[test]
fn an_address_that_refuses_the_mail_and_its_bounce_makes_no_loop() {
    let staging = Sink::start("rcpt=550@team.example");
    let appliance = Appliance::start(&[("MTA_SMART_RELAY", &staging.relay()), STAGING]);
    send(&appliance, "shop@app.example", &["a@real.example", "b@real.example"], "refused");
    until("the bounce was refused, too", || {
        match appliance.counter("mta_undeliverable_bounces_total") {
            1 => Ok(()),
            other => Err(format!("{other}")),
        }
    });
    appliance.until_empty();
    assert_eq!(appliance.counter("mta_bounced_total"), 3, "two recipients and the bounce");
}

#[test]
fn copies_go_to_the_address_too() {
    // By domain, with copies: an address literal is the only domain that needs no name server.
    let copies = Sink::start("");
    let mut appliance = Appliance::start(&[("MTA_CC_MTA", &copies.relay())]);
    let to = "box@[192.0.2.1]";
    send(&appliance, "app@here.example", &[to], "copied");
    copies.mails(1);
    assert_eq!(appliance.stop(), 143);
    let staging = Sink::start("");
    appliance.set(&[STAGING, ("MTA_SMART_RELAY", &staging.relay())]);
    appliance.boot();
    appliance.queue(&["retry", "--all", "--yes"]);
    let mail = redirected(&staging, 1).remove(0);
    assert_eq!((mail.to.as_str(), mail.original_to.as_str()), ("staging@team.example", to));
    appliance.until_empty();
    assert_eq!(copies.count(), 1);
}

#[test]
fn postfix_gets_a_large_mail_of_swaks_with_its_field() {
    let postfix = Postfix::next_hop();
    let appliance = Appliance::start(&[
        ("MTA_SMART_RELAY", &postfix.address.to_string()),
        ("MTA_REDIRECT_ALL_TO", "box@there.example"),
    ]);
    let file = appliance.path("large");
    fs::write(&file, "0123456789abcdef\n".repeat(60_000)).unwrap();
    swaks(
        &appliance,
        &[
            "--from",
            "app@here.example",
            "--to",
            "a@real.example,b@real.example",
            "--body",
            &format!("@{}", file.display()),
        ],
    );
    let mailbox = postfix.mailbox("box");
    until("Postfix has it", || {
        let count = fs::read_dir(&mailbox).map_or(0, Iterator::count);
        if count == 1 { Ok(()) } else { Err(format!("{count} mails")) }
    });
    let file = fs::read_dir(&mailbox).unwrap().next().unwrap().unwrap().path();
    let content = fs::read_to_string(file).unwrap();
    assert!(
        content.contains("\nX-Original-To: a@real.example,\n b@real.example\n"),
        "{}",
        &content[..800]
    );
    assert_eq!(content.matches("0123456789abcdef\n").count(), 60_000);
    appliance.until_empty();
}

#[test]
fn an_address_that_is_none_stops_the_start() {
    let appliance = Appliance::start(&[]);
    let output = appliance.command(&["check"]).env("MTA_REDIRECT_ALL_TO", "team").output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("redirect_all_to contains 'team', which is not an address"), "{said}");
    Client::hello(appliance.smtp);
}

//! Next hops that fail: the queue's state, operator actions, notifications, and that other mail is
//! not delayed.

use crate::mx::{appliance, host, mx, next_hop, send};
use crate::support::appliance::{Appliance, Sink};
use crate::support::client::Client;
use crate::support::letter::assert_same;
use crate::support::names::Names;
use crate::support::patience::until;
use crate::support::report::Report;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Short times, so that a test sees the end of a mail's lifetime.
const HURRY: [(&str, &str); 2] =
    [("MTA_MINIMAL_BACKOFF_TIME", "1s"), ("MTA_MAXIMAL_BACKOFF_TIME", "1s")];

fn queue_id(reply: &str) -> String {
    reply.rsplit(' ').next().unwrap().to_owned()
}

/// The ids in the queue.
fn ids(appliance: &Appliance) -> Vec<String> {
    appliance.messages().iter().map(|message| message["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_deferral_is_shown_and_an_order_retries() {
    let sink = Sink::start("rcpt=451");
    let appliance = Appliance::start(&[("MTA_SMART_RELAY", &sink.relay())]);
    let mut client = Client::hello(appliance.smtp);
    let id = queue_id(&client.mail(
        "sender@here.example",
        &["a@there.example", "b@there.example"],
        b"Subject: again\r\n\r\n",
    ));
    assert_eq!(appliance.deferral(), "451 4.0.0 As --fail asks");

    let [listed] = &appliance.queue(&["list"])[..] else { panic!("one message is in the queue") };
    let expected = [
        ("id", json!(id)),
        ("sender", json!("sender@here.example")),
        ("kind", json!("mail")),
        ("held", json!(false)),
        ("client", json!("127.0.0.1")),
        ("helo", json!("client.example")),
        ("recipients_total", json!(2)),
        ("recipients_pending", json!(2)),
    ];
    for (name, value) in expected {
        assert_eq!(listed[name], value, "{name} in {listed}");
    }
    for (place, address) in ["a@there.example", "b@there.example"].into_iter().enumerate() {
        let recipient = &listed["recipients"][place];
        assert_eq!(recipient["address"], address);
        assert_eq!((&recipient["status"], &recipient["attempts"]), (&json!("pending"), &json!(1)));
        assert_eq!(recipient["last_reply"], "451 4.0.0 As --fail asks");
        // Five minutes, and up to a quarter more or less.
        let next = recipient["next_try_seconds"].as_u64().unwrap();
        assert!((200..=375).contains(&next), "{next}");
    }
    // The API says the same; only ages move.
    let still = |message: &Value| {
        let mut message = message.clone();
        for moving in ["age_seconds", "next_try_seconds"] {
            message[moving] = Value::Null;
        }
        for recipient in message["recipients"].as_array_mut().unwrap() {
            recipient["next_try_seconds"] = Value::Null;
        }
        message
    };
    assert_eq!(still(&appliance.messages()[0]), still(listed));
    assert_eq!(appliance.api(&format!("queue/{id}"))["subject"], "again");
    let destinations = appliance.api("destinations");
    let destination = &destinations["destinations"][0];
    assert_eq!((&destination["name"], &destination["messages"]), (&json!(sink.relay()), &json!(1)));
    assert_eq!(destination["last_error"], "451 4.0.0 As --fail asks");
    assert_eq!(appliance.counter("mta_deferred_total"), 2);
    assert_eq!(appliance.counter("mta_mqueue_deferred_messages"), 1);
    for words in [appliance.queue_in_words(&["list"]), appliance.queue_in_words(&["show", &id])] {
        assert!(words.contains(&id) && words.contains("As --fail asks"), "{words}");
    }
    assert!(appliance.queue_in_words(&["body", &id]).contains("Subject: again"));

    // The next hop works again; the operator need not wait five minutes.
    let address = sink.address;
    sink.stop("failures");
    let sink = Sink::at(address, "");
    assert_eq!(appliance.queue(&["retry", &id]), [json!({"messages": 1})]);
    assert_eq!(sink.mails(1)[0].to, ["a@there.example", "b@there.example"]);
    appliance.until_empty();
}

#[test]
fn a_mended_next_hop_gets_the_mail_by_itself() {
    let sink = Sink::start("rcpt=451");
    let relay = sink.relay();
    let appliance =
        Appliance::start(&[&[("MTA_SMART_RELAY", relay.as_str())][..], &HURRY].concat());
    send(&appliance, "sender@here.example", "box@there.example");
    appliance.deferral();
    let address = sink.address;
    sink.stop("failures");
    // There is no listener for a while: another kind of failure, which the queue shows.
    until("the refused connection is shown", || {
        let said = appliance.deferral();
        if said.contains("onnection refused") { Ok(()) } else { Err(said) }
    });
    let sink = Sink::at(address, "");
    assert_eq!(sink.mails(1)[0].to, ["box@there.example"]);
    appliance.until_empty();
    assert_eq!(sink.count(), 1);
}

/// A next hop that is gone, with mail that was attempted and mail that waits for it.
#[test]
fn each_state_is_one_number_wherever_it_is_told() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let appliance =
        Appliance::start(&[("MTA_SMART_RELAY", &format!("[127.0.0.1]:{}", gone.port()))]);
    let mut client = Client::hello(appliance.smtp);
    let sent: Vec<String> = (0..7)
        .map(|number| {
            let to = [format!("a{number}@one.example"), format!("b{number}@two.example")];
            let to: Vec<&str> = to.iter().take(1 + number % 2).map(String::as_str).collect();
            queue_id(&client.mail("sender@here.example", &to, b"Subject: states\r\n\r\n"))
        })
        .collect();
    appliance.queue(&["hold", &sent[0]]);
    let counted = || {
        let stats = &appliance.queue(&["stats"])[0]["queue"];
        let listed = |state: &str| appliance.queue(&["list", "--state", state]).len() as u64;
        let told = ["active", "deferred", "held"].map(|state| stats[state].as_u64().unwrap());
        let waiting = stats["messages"].as_u64().unwrap() - told.iter().sum::<u64>();
        let lists = ["active", "deferred", "held", "waiting"].map(listed);
        ([told[0], told[1], told[2], waiting], lists)
    };
    until("all of it is deferred", || match counted() {
        (told, lists) if told == lists && told == [0, 6, 1, 0] => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert_eq!(appliance.counter("mta_mqueue_deferred_messages"), 6);
}

#[test]
fn orders_hold_release_and_delete() {
    let sink = Sink::start("mail=450");
    let mut appliance = Appliance::start(&[("MTA_SMART_RELAY", &sink.relay())]);
    let mut client = Client::hello(appliance.smtp);
    let mut mail = |name: &str| {
        let content = format!("Subject: {name}\r\n\r\n");
        queue_id(&client.mail(
            "sender@here.example",
            &[&format!("{name}@there.example")],
            content.as_bytes(),
        ))
    };
    let (held, deleted, usual, other) =
        (mail("held"), mail("deleted"), mail("usual"), mail("other"));
    until("all were tried", || match appliance.counter("mta_deferred_total") {
        tried if tried >= 4 => Ok(()),
        tried => Err(format!("{tried} tries")),
    });
    assert_eq!(ids(&appliance), [&*held, &deleted, &usual, &other], "the oldest first");
    assert_eq!(appliance.queue(&["hold", &held]), [json!({"messages": 1})]);
    assert_eq!(appliance.queue(&["hold", &other]), [json!({"messages": 1})]);
    assert_eq!(appliance.queue(&["delete", &deleted]), [json!({"messages": 1})]);
    assert_eq!(appliance.counter("mta_mqueue_held_messages"), 2);
    assert_eq!(ids(&appliance), [&*held, &usual, &other]);

    let address = sink.address;
    sink.stop("failures");
    let sink = Sink::at(address, "");
    appliance.queue(&["retry", "--all", "--yes"]);
    assert_eq!(sink.mails(1)[0].to, ["usual@there.example"]);
    // Orders survive the process.
    assert_eq!(appliance.stop(), 143);
    appliance.boot();
    appliance.queue(&["retry", "--all", "--yes"]);
    let messages = appliance.messages();
    assert_eq!(ids(&appliance), [&*held, &other]);
    assert!(
        messages
            .iter()
            .all(|message| message["held"] == true && message["next_try_seconds"].is_null()),
        "{messages:?}"
    );
    assert_eq!(sink.count(), 1);
    assert_eq!(appliance.queue(&["release", &held]), [json!({"messages": 1})]);
    assert!(sink.mails(2).iter().any(|mail| mail.to == ["held@there.example"]));
    assert_eq!(
        appliance.queue(&["release", "--domain", "there.example", "--yes"]),
        [json!({"messages": 1})]
    );
    assert!(sink.mails(3).iter().any(|mail| mail.to == ["other@there.example"]));
    appliance.until_empty();
    assert_eq!(appliance.counter("mta_notifications_total{kind=\"failed\"}"), 0);
}

/// One definition of the next attempt in every view.
#[test]
fn mail_of_a_paused_destination_says_so_everywhere() {
    let sink = Sink::start("rcpt=451");
    let relay = sink.relay();
    let appliance = Appliance::start(&[("MTA_SMART_RELAY", &relay)]);
    send(&appliance, "a@here.example", "tried@there.example");
    appliance.deferral();
    appliance.queue(&["pause", &relay]);
    send(&appliance, "a@here.example", "new@there.example");
    let said = appliance.queue_in_words(&["list"]);
    assert_eq!(said.lines().filter(|line| line.contains(" paused ")).count(), 2, "{said}");
    for message in appliance.messages() {
        assert!(message["paused"] == true && message["next_try_seconds"].is_null(), "{message}");
        let id = message["id"].as_str().unwrap();
        let said = appliance.queue_in_words(&["show", id]);
        assert!(
            said.contains("Next attempt paused") && said.matches("paused").count() == 2,
            "{said}"
        );
        let page = appliance.get(&format!("/queue/{id}"));
        assert!(page.contains("data-name=\"Next attempt\">paused<"), "{page}");
    }
    for view in ["stats", "destinations"] {
        let said = appliance.queue_in_words(&[view]);
        assert!(
            said.lines().any(|line| line.contains(&relay) && line.contains(" paused ")),
            "{said}"
        );
    }
    let page = appliance.get("/queue");
    assert_eq!(page.matches("destination paused").count(), 2, "{page}");
    let row = appliance.api("destinations")["destinations"][0].clone();
    assert!(row["paused"] == true && row["next_try_seconds"].is_null(), "{row}");
    // A hold has precedence; after the end of the pause each has its own time again.
    appliance.queue(&["hold", "--all", "--yes"]);
    assert!(appliance.queue_in_words(&["list"]).contains(" held "));
    appliance.queue(&["release", "--all", "--yes"]);
    appliance.queue(&["resume", &relay]);
    assert!(!appliance.queue_in_words(&["list"]).contains("paused"));
}

#[test]
fn a_dead_destination_delays_no_other() {
    const EACH: usize = 100;
    let (dead, alive) = (next_hop("connect=hang"), next_hop(""));
    let names = Names::serve(&[
        host("mx-dead", dead.address.ip()),
        mx("dead", "mx-dead", 10),
        host("mx-alive", alive.address.ip()),
        mx("alive", "mx-alive", 10),
    ]);
    let appliance = appliance(&names, &[]);
    let mut client = Client::hello(appliance.smtp);
    for number in 0..EACH {
        client.mail(
            "sender@here.example",
            &[&format!("box{number}@dead.example")],
            b"Subject: dead\r\n\r\n",
        );
    }
    until("delivery agents stand before the dead host", || {
        match appliance.counter("mta_connections_out_active") {
            0 => Err("none".to_owned()),
            _ => Ok(()),
        }
    });
    let start = Instant::now();
    for number in 0..EACH {
        // One mail to both: the working recipient must not wait for the failing one.
        let to = [format!("both{number}@alive.example"), format!("both{number}@dead.example")];
        client.mail("sender@here.example", &[&to[0], &to[1]], b"Subject: both\r\n\r\n");
    }
    assert_eq!(alive.mails(EACH).len(), EACH);
    eprintln!("{EACH} mails to the living host in {:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    assert_eq!(
        appliance.counter("mta_mqueue_messages"),
        2 * EACH as u64,
        "all of them still have a dead half"
    );
    let destinations = appliance.api("destinations");
    let names: Vec<&str> = destinations["destinations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["dead.example"]);
}

#[test]
fn the_sender_hears_of_the_delay_once_and_of_the_end_once() {
    let (home, busy) = (next_hop(""), next_hop("rcpt=451"));
    // An address without a listener.
    let closed = crate::support::program::own_address();
    let names = Names::serve(&[
        host("mx-here", home.address.ip()),
        mx("here", "mx-here", 10),
        host("mx-busy", busy.address.ip()),
        mx("busy", "mx-busy", 10),
        host("mx-closed", closed.into()),
        mx("closed", "mx-closed", 10),
    ]);
    let short = [("MTA_QUEUE_LIFETIME", "5s"), ("MTA_DELAY_WARNING_TIME", "2s")];
    let appliance = appliance(&names, &[&HURRY[..], &short].concat());
    send(&appliance, "one@here.example", "box@busy.example");
    send(&appliance, "other@here.example", "box@closed.example");
    // No notification about this one.
    send(&appliance, "", "box@closed.example");
    appliance.until_empty();
    let mut told: BTreeMap<String, Vec<(String, String, String)>> = BTreeMap::new();
    for mail in home.mails(4) {
        let Report { to, about, action, status } = Report::read(&mail);
        told.entry(to).or_default().push((about, action, status));
    }
    told.values_mut().for_each(|reports| reports.sort());
    let expected = |domain: &str, delayed: &str| {
        [("delayed", delayed), ("failed", "5.4.7")]
            .map(|(action, status)| {
                (format!("box@{domain}.example"), action.to_owned(), status.to_owned())
            })
            .to_vec()
    };
    assert_eq!(told["one@here.example"], expected("busy", "4.0.0"));
    assert_eq!(told["other@here.example"], expected("closed", "4.4.1"));
    assert_eq!(appliance.counter("mta_notifications_total{kind=\"delayed\"}"), 2);
    assert_eq!(appliance.counter("mta_notifications_total{kind=\"failed\"}"), 2);
    assert_eq!(appliance.counter("mta_bounced_total"), 3);
}

#[test]
fn copies_arrive_and_their_failures_are_nobodys_business() {
    let (home, there, copies, refusing) =
        (next_hop(""), next_hop(""), Sink::start(""), Sink::start("rcpt=550"));
    let names = Names::serve(&[
        host("mx-here", home.address.ip()),
        mx("here", "mx-here", 10),
        host("mx-there", there.address.ip()),
        mx("there", "mx-there", 10),
    ]);
    let content = b"Subject: twice\r\n\r\nthe same words\r\n";
    let to = ["a@there.example", "b@there.example"];
    let mut with_copies = appliance(&names, &[("MTA_CC_MTA", &copies.relay())]);
    Client::hello(with_copies.smtp).mail("sender@here.example", &to, content);
    for sink in [&there, &copies] {
        let mail = sink.mails(1).remove(0);
        assert_same("the copy", content, &mail.content);
        assert_eq!(
            (mail.from.as_str(), &mail.to[..]),
            ("sender@here.example", &to.map(str::to_owned)[..])
        );
    }
    with_copies.until_empty();
    assert_eq!(with_copies.counter("mta_copies_total{status=\"delivered\"}"), 1);

    // The copy of a mail that fails is still a copy; the report to its sender is not copied.
    send(&with_copies, "sender@here.example", "box@missing.example");
    copies.mails(2);
    assert_eq!(Report::read(&home.mails(1)[0]).about, "box@missing.example");
    with_copies.until_empty();
    assert_eq!(copies.count(), 2);

    // A copy that is rejected: the mail arrives, and there is no notification.
    assert_eq!(with_copies.stop(), 143);
    with_copies.set(&[("MTA_CC_MTA", &refusing.relay())]);
    with_copies.boot();
    send(&with_copies, "sender@here.example", "box@there.example");
    there.mails(2);
    with_copies.until_empty();
    assert_eq!(with_copies.counter("mta_copies_total{status=\"failed\"}"), 1);
    assert_eq!(with_copies.counter("mta_notifications_total{kind=\"failed\"}"), 0);
    assert_eq!(with_copies.counter("mta_bounced_total"), 0);

    // A smart relay ends all copies, as in 3Tera.
    assert_eq!(with_copies.stop(), 143);
    with_copies.set(&[("MTA_CC_MTA", &copies.relay()), ("MTA_SMART_RELAY", &there.relay())]);
    with_copies.boot();
    send(&with_copies, "sender@here.example", "box@there.example");
    there.mails(3);
    with_copies.until_empty();
    assert_eq!((copies.count(), home.count()), (2, 1));
}

#[test]
fn a_copy_that_is_deleted_has_a_line() {
    let (there, copies) = (next_hop(""), Sink::start("mail=450"));
    let names = Names::serve(&[host("mx-there", there.address.ip()), mx("there", "mx-there", 10)]);
    let appliance = appliance(&names, &[("MTA_CC_MTA", &copies.relay())]);
    send(&appliance, "sender@there.example", "box@there.example");
    until("only the copy waits", || match &appliance.messages()[..] {
        [message] if message["recipients_pending"] == 0 && message["copy"]["attempts"] == 1 => {
            Ok(())
        }
        other => Err(format!("{other:?}")),
    });
    appliance.queue(&["delete", "--all", "--yes"]);
    until("the log has its line", || {
        let lines = appliance.log();
        let line = lines.iter().find(|line| line.contains(" status=deleted")).ok_or("none yet")?;
        assert!(line.contains(" to=\"(all recipients)\" copy=true "), "{line}");
        Ok(())
    });
}

#[test]
fn a_copy_that_waits_holds_up_nothing() {
    let (there, copies) = (next_hop(""), Sink::start("mail=450"));
    let names = Names::serve(&[host("mx-there", there.address.ip()), mx("there", "mx-there", 10)]);
    let short = [
        ("MTA_QUEUE_LIFETIME", "4s"),
        ("MTA_DELAY_WARNING_TIME", "2s"),
        ("MTA_CC_MTA", &copies.relay()),
    ];
    let appliance = appliance(&names, &[&HURRY[..], &short].concat());
    send(&appliance, "sender@there.example", "box@there.example");
    there.mails(1);
    until("the copy waits", || {
        let messages = appliance.messages();
        let copy = messages
            .first()
            .map(|message| message["copy"]["last_reply"].clone())
            .unwrap_or_default();
        if copy == "450 4.0.0 As --fail asks" { Ok(()) } else { Err(copy.to_string()) }
    });
    appliance.until_empty();
    assert_eq!(there.count(), 1, "neither a notice of delay nor a bounce");
    assert_eq!(appliance.counter("mta_copies_total{status=\"failed\"}"), 1);
}

/// Every recipient of every mail exactly once, whatever is deferred on the way.
#[test]
fn a_moody_next_hop_gets_everything_once() {
    const MAILS: usize = 200;
    let sink =
        Sink::start("ehlo=500:10,mail=451:10,rcpt=450:30,data=452:10,dot=451:10,greeting=421:5");
    let relay = sink.relay();
    let appliance =
        Appliance::start(&[&[("MTA_SMART_RELAY", relay.as_str())][..], &HURRY].concat());
    let mut client = Client::hello(appliance.smtp);
    for number in 0..MAILS {
        let to: Vec<String> =
            ["a", "b", "c"].map(|name| format!("{name}{number}@there.example")).into();
        let to: Vec<&str> = to.iter().map(String::as_str).collect();
        client.mail("sender@here.example", &to, format!("Subject: {number}\r\n\r\n").as_bytes());
    }
    appliance.until_empty();
    let mails = sink.mails(sink.count());
    let mut to: Vec<&String> = mails.iter().flat_map(|mail| &mail.to).collect();
    assert_eq!(to.len(), 3 * MAILS, "in {} transactions", mails.len());
    to.sort();
    to.dedup();
    assert_eq!(to.len(), 3 * MAILS, "nobody twice");
    assert!(
        appliance.counter("mta_deferred_total") > 0 && appliance.counter("mta_bounced_total") == 0
    );
}

//! A finished message that an operator sends again.

use crate::support::appliance::{Appliance, HOSTNAME, Sink};
use crate::support::client::Client;
use crate::support::patience::until;
use serde_json::json;

const CONTENT: &[u8] = b"Subject: once more\r\nFrom: a@here.example\r\n\r\n.The text\r\n";

#[test]
fn a_finished_message_is_sent_again_to_those_that_did_not_get_it() {
    let sink = Sink::start("rcpt=550@full.example");
    let appliance = Appliance::start(&[
        ("MTA_SMART_RELAY", &sink.relay()),
        ("MTA_HISTORY_CONTENT", "1d"),
        ("MTA_ADDRESS_MASKING", "smart"),
    ]);
    let to = ["a@there.example", "b@full.example"];
    let reply = Client::hello(appliance.smtp).mail("sender@here.example", &to, CONTENT);
    let id = reply.rsplit(' ').next().unwrap().to_owned();
    appliance.until_empty();
    let address = sink.address;
    let before = sink.mails(2);
    let first = before.iter().find(|mail| mail.to == ["a@there.example"]).unwrap();
    sink.stop("failures");
    let sink = Sink::at(address, "");
    let sent = appliance.queue(&["resend", &id]);
    let new = sent[0]["id"].as_str().unwrap();
    assert_eq!(sent[0]["repeated"], json!(false));
    let again = &sink.mails(1)[0];
    assert_eq!((again.from.as_str(), again.to[0].as_str()), ("sender@here.example", to[1]));
    assert_eq!(again.to.len(), 1);
    let kept = std::fs::read_dir(sink.maildir()).unwrap().next().unwrap().unwrap().path();
    let kept = std::fs::read_to_string(kept).unwrap();
    let field = format!("Received: by {HOSTNAME} (Postern, resent from {id}) id {new};\r\n\t");
    assert!(kept.contains(&field), "{kept}");
    // Below it stands the field of the first time, and then what it was.
    let text = again.text();
    assert!(text.starts_with("Received: from client.example ("), "{text}");
    assert!(text.ends_with(&format!("\r\n{}", first.text())), "{text}");

    // To somebody else, and to all.
    appliance.queue(&["resend", &id, "--to", "c@there.example"]);
    assert_eq!(sink.mails(2).iter().filter(|mail| mail.to == ["c@there.example"]).count(), 1);
    appliance.queue(&["resend", &id, "--all"]);
    assert_eq!(sink.mails(3).iter().filter(|mail| mail.to.len() == 2).count(), 1);
    appliance.until_empty();

    let told = |id: &str, words: &str| {
        until("the history tells it", || {
            let shown = appliance.queue_in_words(&["show", id]);
            if shown.contains(words) { Ok(()) } else { Err(shown) }
        });
    };
    told(&id, &format!("* sent again as {new} by operator, to 1 recipient"));
    told(new, &format!("* sent again from {id} by operator"));
    let log = appliance.log();
    let line = log.iter().find(|line| line.contains("order=resend")).expect("an audit line");
    assert!(line.contains(&format!("selection={id} queue_id={new}")), "{line}");
}

#[test]
fn without_kept_content_the_tool_says_what_to_set() {
    let sink = Sink::start("");
    let appliance = Appliance::start(&[("MTA_SMART_RELAY", &sink.relay())]);
    let reply = Client::hello(appliance.smtp).mail("s@here.example", &["a@b.example"], CONTENT);
    let id = reply.rsplit(' ').next().unwrap();
    appliance.until_empty();
    let output = appliance.command(&["queue", "resend", id]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(66) && said.contains("set history_content=1d"), "{said}");
    assert!(!appliance.path("data/history_content").exists());
}

//! Line by line: a real Postfix writes the same for the same mails.

use crate::share::{Share, appliance, until_carried};
use crate::support::appliance::Sink;
use crate::support::client::Client;
use crate::support::patience::until_true;
use crate::support::postfix::Postfix;
use std::collections::BTreeSet;
use std::net::SocketAddr;

/// A mail for each result, and a rejection.
fn talk(server: SocketAddr) {
    let mut client = Client::hello(server);
    for (from, to) in [("a@here.example", "box@there.example"), ("", "box@there.example")] {
        let content = "Message-ID: <7.x@here.example>\r\nSubject: x\r\n\r\nwords\r\n";
        client.mail(from, &[to], content.as_bytes());
    }
    client.ask("MAIL FROM:<a@here.example> SIZE=99999999999", "552 ");
    client.ask("QUIT", "221 ");
}

/// A line as log tools see it: the program, and the rest without everything that differs from mail
/// to mail.
fn shape(line: &str) -> String {
    let (_, rest) = line.split_once(" postfix/").unwrap_or_else(|| panic!("{line}"));
    let (program, rest) = rest.split_once('[').unwrap_or_else(|| panic!("{line}"));
    let (_, rest) = rest.split_once("]: ").unwrap_or_else(|| panic!("{line}"));
    let mut shape = format!("{program}: ");
    let mut rest = match rest.split_once(": ") {
        Some((id, rest))
            if id.len() > 8 && id.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit()) =>
        {
            shape.push_str("ID: ");
            rest
        }
        _ => rest,
    };
    // The next hop's reply, the client's commands in total, and the text of a rejection are each
    // server's own.
    rest = rest.split_once("status=").map_or(rest, |(before, _)| &rest[..before.len() + 11]);
    rest = rest.split_once(" notification: ").map_or(rest, |(before, _)| before);
    rest = rest.split_once(" commands=").map_or(rest, |(before, _)| before);
    rest = rest.split_once(" ehlo=").map_or(rest, |(before, _)| before);
    let words = rest
        .split_once(": 552 5.3.4 ")
        .and_then(|(_, words)| words.split_once("; from="))
        .map(|(words, _)| words);
    let rest = words.map_or(rest.to_owned(), |words| rest.replace(words, "WORDS"));
    let rest = rest.replace("localhost[", "unknown[");
    let mut depth = false;
    for c in rest.chars() {
        match c {
            '<' | '[' => (depth, _) = (true, shape.push(c)),
            '>' | ']' => (depth, _) = (false, shape.push(c)),
            _ if depth => {}
            '0'..='9' | '.' if shape.ends_with('0') => {}
            '0'..='9' => shape.push('0'),
            c => shape.push(c),
        }
    }
    shape
}

fn shapes<'a>(lines: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    lines.map(shape).collect()
}

fn sort(log: &str, mark: &str) -> BTreeSet<String> {
    shapes(log.lines().filter(|line| line.contains(mark)))
}

/// The kinds of lines that both must have, by a word of theirs.
const KINDS: [&str; 10] = [
    "]: connect from ",
    ": client=",
    ": message-id=",
    ": from=<",
    "status=sent",
    "status=deferred",
    "status=bounced",
    ": removed",
    ": sender ",
    "NOQUEUE: reject: ",
];

#[test]
fn each_kind_of_line_has_the_shape_that_postfix_gives_it() {
    let (mut ours, mut theirs) = (String::new(), String::new());
    for (fail, mark) in
        [("", "status=sent"), ("rcpt=451", "status=deferred"), ("rcpt=550", "status=bounced")]
    {
        let (share, sink) = (Share::new(), Sink::start(fail));
        let mut appliance = appliance(&share, &sink, &[]);
        let postfix = Postfix::sender(sink.address);
        talk(appliance.smtp);
        talk(postfix.address);
        until_true("Postfix has tried both", || postfix.log().matches(mark).count() >= 2);
        until_carried(&appliance);
        until_true("both were tried here", || share.log().matches(mark).count() >= 2);
        // Its lines are written later, not at once.
        if fail != "rcpt=451" {
            until_true("Postfix has removed both", || {
                postfix.log().matches(": removed").count() >= 2
            });
        }
        assert_eq!(appliance.stop(), 143);
        (ours, theirs) = (ours + &share.log(), theirs + &postfix.log());
    }
    for kind in KINDS {
        let (mine, peer) = (sort(&ours, kind), sort(&theirs, kind));
        assert!(!mine.is_empty() && !peer.is_empty(), "nobody says{kind}\n{ours}\n{theirs}");
        assert_eq!(mine, peer, "{kind}");
    }
    // The end of a session: Postfix adds its number of commands.
    assert_eq!(sort(&ours, "]: disconnect from "), sort(&theirs, "]: disconnect from "));
}

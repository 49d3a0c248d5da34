//! Numbered mails with two recipients each, sent by several sessions; and how often each arrived.

use crate::support::appliance::{Appliance, Sink};
use crate::support::client::Client;
use crate::support::letter::{Letter, assert_same, below_received};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// The content of a mail: dots, 8-bit text, and sometimes more than the log stores together with
/// the envelope.
pub fn content(number: usize) -> Vec<u8> {
    let head = format!(
        "From: a@here.example\r\nSubject: number {number}\r\nMessage-ID: \
        <{number}@here.example>\r\n\r\n"
    );
    let lines = if number.is_multiple_of(50) { 12_000 } else { number % 60 };
    let body: String = (0..lines)
        .map(|line| {
            format!("{}line {line} of {number}, grün\r\n", if line % 7 == 0 { "." } else { "" })
        })
        .collect();
    [head.into_bytes(), body.into_bytes()].concat()
}

pub fn recipients(number: usize) -> [String; 2] {
    [0, 1].map(|place| format!("n{number}-{place}@there{}.example", place))
}

/// Sends mails over a few sessions; every one is answered 250.
pub fn send(appliance: &Appliance, numbers: std::ops::Range<usize>) {
    const SESSIONS: usize = 8;
    std::thread::scope(|scope| {
        for session in 0..SESSIONS {
            let numbers = numbers.clone();
            scope.spawn(move || {
                let mut client = Client::hello(appliance.smtp);
                for number in numbers.filter(|number| number % SESSIONS == session) {
                    let to = recipients(number);
                    client.mail(
                        "a@here.example",
                        &to.each_ref().map(String::as_str),
                        &content(number),
                    );
                }
            });
        }
    });
}

/// How often each recipient got a mail. Every content is compared with what was sent.
pub fn arrivals(sinks: &[&Sink]) -> BTreeMap<String, usize> {
    let mut arrivals = BTreeMap::new();
    for letter in sinks.iter().flat_map(|sink| Letter::all(&sink.maildir())) {
        assert_eq!(letter.from, "a@here.example");
        let number = number(&letter.to[0]);
        assert_same(&format!("mail {number}"), &content(number), &letter.content);
        for recipient in letter.to {
            *arrivals.entry(recipient).or_insert(0) += 1;
        }
    }
    arrivals
}

fn number(recipient: &str) -> usize {
    recipient.strip_prefix('n').and_then(|rest| rest.split_once('-')).unwrap().0.parse().unwrap()
}

/// Every recipient of these mails has its mail, and none more often than `most`. Gives how many
/// arrived more than once.
pub fn assert_arrived(sinks: &[&Sink], numbers: std::ops::Range<usize>, most: usize) -> usize {
    let arrivals = arrivals(sinks);
    let wanted: Vec<String> = numbers.flat_map(recipients).collect();
    let missing: Vec<&String> =
        wanted.iter().filter(|recipient| !arrivals.contains_key(*recipient)).collect();
    assert!(
        missing.is_empty(),
        "{} recipients lack their mail: {:?}",
        missing.len(),
        &missing[..missing.len().min(5)]
    );
    assert_eq!(arrivals.len(), wanted.len(), "somebody got mail that was not for them");
    let often: Vec<_> = arrivals.iter().filter(|(_, times)| **times > most).collect();
    assert!(often.is_empty(), "more than {most} times: {:?}", &often[..often.len().min(5)]);
    arrivals.values().filter(|times| **times > 1).count()
}

/// Every content of a directory of pairs is what was sent.
pub fn assert_pairs(directory: &Path) -> usize {
    let mut pairs = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let view: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let eml = fs::read(path.with_extension("eml")).unwrap();
        assert_eq!(view["content"]["size"], eml.len());
        let number = number(view["recipients"][0]["address"].as_str().unwrap());
        assert_same(&path.display().to_string(), &content(number), below_received(&eml));
        pairs += 1;
    }
    pairs
}

/// The tool, with an exit code that is not always 0.
pub fn tool(appliance: &Appliance, arguments: &[&str]) -> Output {
    let words: Vec<&str> = ["queue"].iter().chain(arguments).copied().collect();
    appliance.command(&words).output().unwrap()
}

/// Exit code, standard output and standard error.
pub fn said(output: &Output) -> (i32, String, String) {
    let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// The last line of `--json`, the totals.
pub fn sum(command: &mut Command) -> serde_json::Value {
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

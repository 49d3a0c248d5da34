//! Golden sessions: every `.smtp` file here is a dialogue with the receiving side on a real port,
//! compared octet by octet.
//!
//! ```text
//! # a remark
//! ! setting value        before the dialogue: size_limit, recipients_limit, errors_limit, mails_limit, idle_commands_limit,
//! !                      trusted (networks, or none), xclient (networks), trouble (full, write, sync), flawed_content (milliseconds),
//! !                      tls (offered, or inside: the session begins with the handshake)
//! C: text                the client sends the text and CR LF; lines that follow each other go out in one write
//! c: text                the same without CR LF; \r \n \0 \\ and \xNN are octets, \{300*ab} is ab 300 times
//! S: text                the server says exactly this line
//! ^                      client and server do the handshake of TLS
//! ~                      the server closes; every file ends so, hence nothing it says can go unseen
//! = <from> <to> <to> …   afterwards: the next message in the queue has this envelope (then 8BIT, SMTPUTF8 where so)
//! | text                 and this content, line by line, below the Received field
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on must fail")]

#[path = "../support/mod.rs"]
mod support;

use postern::mail::model::{BodyType, Message};
use std::fs;
use std::path::Path;
use std::time::Duration;
use support::client::Client;
use support::receiver::{Receiver, Setup};
use support::spool::Trouble;
use support::tls::pair;

#[test]
fn every_golden_session_is_spoken_to_the_letter() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogue");
    let mut failures = Vec::new();
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "smtp") {
            count += 1;
            let text = fs::read_to_string(&path).unwrap();
            if let Err(failure) = speak(&text) {
                failures.push(format!("{}: {failure}", path.file_name().unwrap().display()));
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {count} sessions differ:\n{}",
        failures.len(),
        failures.join("\n")
    );
    assert!(count >= 25, "only {count} sessions were found");
}

/// Plays one file's dialogue.
fn speak(text: &str) -> Result<(), String> {
    let mut setup = Setup::default();
    for line in text.lines().filter_map(|line| line.strip_prefix("! ")) {
        set(&mut setup, line);
    }
    let tls = text.lines().find_map(|line| line.strip_prefix("! tls "));
    let (made, believing) = pair();
    let pair = tls.is_some().then_some(made);
    let receiver = Receiver::start(Setup { pair, ..setup });
    let mut client = match tls {
        Some("inside") => Client::connect_inside_tls(receiver.smtps.unwrap(), &believing),
        _ => Client::connect(receiver.address),
    };
    let (mut saying, mut closed) = (Vec::new(), false);
    let mut expected: Vec<(&str, Vec<&str>)> = Vec::new();
    for (number, line) in text.lines().enumerate().map(|(number, line)| (number + 1, line)) {
        let (kind, rest) = line.split_at_checked(3).unwrap_or((line, ""));
        match kind {
            "C: " => saying.extend_from_slice(&[rest.as_bytes(), b"\r\n"].concat()),
            "c: " => saying.extend_from_slice(&octets(rest)),
            "S: " => {
                client.send(std::mem::take(&mut saying));
                let heard = client.line();
                if heard.as_deref() != Some(rest) {
                    return Err(format!("line {number}: {heard:?} instead of {rest:?}"));
                }
            }
            "^" => {
                client.send(std::mem::take(&mut saying));
                client = client.secure(&believing);
            }
            "~" => {
                client.send(std::mem::take(&mut saying));
                if let Some(more) = client.line() {
                    return Err(format!("line {number}: {more:?} instead of the close"));
                }
                closed = true;
            }
            _ if line.starts_with("= ") => expected.push((&line[2..], Vec::new())),
            _ if line.starts_with('|') => match expected.last_mut() {
                Some((_, content)) => {
                    content.push(line[1..].strip_prefix(' ').unwrap_or(&line[1..]))
                }
                None => return Err(format!("line {number}: content before an envelope")),
            },
            _ if line.is_empty() || line.starts_with(['#', '!']) => {}
            _ => return Err(format!("line {number} means nothing: {line:?}")),
        }
    }
    if !closed {
        return Err("the session is not followed to its close".to_owned());
    }
    let stored: Vec<_> = receiver.spool.messages();
    let found: Vec<_> = stored
        .iter()
        .map(|(message, content)| (envelope(message), below_received(content)))
        .collect();
    let expected: Vec<_> = expected
        .into_iter()
        .map(|(envelope, lines)| {
            (
                envelope.to_owned(),
                lines.iter().flat_map(|line| [octets(line), b"\r\n".to_vec()].concat()).collect(),
            )
        })
        .collect();
    if found != expected {
        return Err(format!(
            "the queue holds {:?}\ninstead of {:?}",
            shown(&found),
            shown(&expected)
        ));
    }
    if receiver.onward.lock().unwrap().len() != found.len() {
        return Err("not every message went onward once".to_owned());
    }
    Ok(())
}

fn set(setup: &mut Setup, line: &str) {
    let (name, value) = line.split_once(' ').expect("a setting and its value");
    let number = || value.parse::<usize>().expect("a number");
    match name {
        "size_limit" => setup.rules.size_limit = number() as u64,
        "recipients_limit" => setup.rules.recipients_limit = number(),
        "errors_limit" => setup.rules.errors_limit = number(),
        "mails_limit" => setup.rules.mails_limit = number(),
        "idle_commands_limit" => setup.rules.idle_commands_limit = number(),
        "flawed_content" => setup.limits.flawed_content = Duration::from_millis(number() as u64),
        "tls" => assert!(["offered", "inside"].contains(&value), "no such TLS: {value}"),
        "trusted" if value == "none" => setup.trusted.clear(),
        "trusted" => setup.trusted = value.split(' ').map(str::to_owned).collect(),
        "xclient" => setup.xclient = value.split(' ').map(str::to_owned).collect(),
        "trouble" => {
            setup.trouble = Some(match value {
                "full" => Trouble::Full,
                "write" => Trouble::WriteAfter(1000),
                "sync" => Trouble::Sync,
                other => panic!("no such trouble: {other}"),
            });
        }
        other => panic!("no such setting: {other}"),
    }
}

/// Octets of a text with escapes.
fn octets(text: &str) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), text);
    while let Some(place) = rest.find('\\') {
        out.extend_from_slice(&rest.as_bytes()[..place]);
        let (escape, after) = rest[place + 1..].split_at(1);
        rest = after;
        match escape {
            "r" => out.push(b'\r'),
            "n" => out.push(b'\n'),
            "0" => out.push(0),
            "\\" => out.push(b'\\'),
            "x" => {
                out.push(u8::from_str_radix(&rest[..2], 16).expect("two hexadecimal digits"));
                rest = &rest[2..];
            }
            "{" => {
                let (inner, after) = rest.split_once('}').expect("a closing brace");
                let (count, what) = inner.split_once('*').expect("a count and a text");
                out.extend(octets(what).repeat(count.parse().expect("a count")));
                rest = after;
            }
            other => panic!("no such escape: \\{other}"),
        }
    }
    out.extend_from_slice(rest.as_bytes());
    out
}

fn envelope(message: &Message) -> String {
    let envelope = &message.envelope;
    let mut text = format!("<{}>", envelope.sender_text());
    for recipient in &envelope.recipients {
        text += &format!(" <{recipient}>");
    }
    if envelope.body == BodyType::EightBitMime {
        text += " 8BIT";
    }
    if envelope.smtputf8 {
        text += " SMTPUTF8";
    }
    text
}

/// The content without the Received field that the relay adds.
fn below_received(content: &[u8]) -> Vec<u8> {
    assert!(content.starts_with(b"Received: from "), "{}", content.escape_ascii());
    let mut lines = content.split_inclusive(|byte| *byte == b'\n');
    let field = 1 + lines.by_ref().skip(1).take_while(|line| line.starts_with(b"\t")).count();
    content.split_inclusive(|byte| *byte == b'\n').skip(field).flatten().copied().collect()
}

fn shown(messages: &[(String, Vec<u8>)]) -> Vec<(String, String)> {
    messages
        .iter()
        .map(|(envelope, content)| (envelope.clone(), content.escape_ascii().to_string()))
        .collect()
}

//! The results of an input at both relays, and their differences, line by line.
//!
//! `what was said: 250 | 501` is a reply, Postfix's first. `- line` and `+ line` is what only
//! Postfix and what only this relay gave to the next hop. Values that every server generates for
//! each mail are left out or replaced by `*`: the trace field on top, the size in MAIL, the values
//! of added Message-ID and Date fields.

use crate::hop::Mail;
use crate::session::{Heard, shortened};

/// The result of an input.
#[derive(Debug)]
pub struct Outcome {
    pub heard: Vec<Heard>,
    /// What the next hop got of the queued mails, in their order; `None` did not arrive.
    pub mails: Vec<Option<Mail>>,
}

/// The differences between the relays; `theirs` is Postfix's. After replies of different classes
/// the sessions are different, so the rest is not compared.
pub fn differences(theirs: &Outcome, ours: &Outcome) -> Vec<String> {
    let mut lines = Vec::new();
    for (their, our) in theirs.heard.iter().zip(&ours.heard) {
        if their.code != our.code {
            lines.push(format!("{}: {} | {}", their.said, their.code, our.code));
        }
        if their.code.chars().next() != our.code.chars().next() {
            return lines;
        }
    }
    for (their, our) in theirs.mails.iter().zip(&ours.mails) {
        match (their, our) {
            (Some(their), Some(our)) => lines.extend(between(&written(their), &written(our))),
            (their, our) => {
                let came =
                    |mail: &Option<Mail>| if mail.is_some() { "came" } else { "did not come" };
                if their.is_some() != our.is_some() {
                    lines.push(format!("the mail: {} | {}", came(their), came(our)));
                }
            }
        }
    }
    lines
}

/// Extensions that only one of them announces in its reply to EHLO.
pub fn announced(theirs: &Heard, ours: &Heard) -> Vec<String> {
    let sorted = |heard: &Heard| {
        // The first line is its name.
        let mut keywords: Vec<String> = heard.lines.iter().skip(1).cloned().collect();
        keywords.sort_unstable();
        keywords
    };
    between(&sorted(theirs), &sorted(ours))
}

/// A mail as lines for the comparison.
pub fn written(mail: &Mail) -> Vec<String> {
    let mut lines = vec![parameters_in_order(&mail.mail)];
    // Their order does not matter.
    let mut recipients = mail.recipients.clone();
    recipients.sort_unstable();
    lines.extend(recipients);
    let content = without_trace(&mail.content);
    lines.extend(
        content
            .split_inclusive(|octet| *octet == b'\n')
            .map(|line| masked(shortened(line.strip_suffix(b"\r\n").unwrap_or(line)))),
    );
    lines
}

/// The size of the content differs because of the trace field.
fn parameters_in_order(mail: &str) -> String {
    let (path, parameters) = mail.split_at(mail.rfind('>').map_or(mail.len(), |end| end + 1));
    let mut parameters: Vec<&str> =
        parameters.split(' ').filter(|one| !one.is_empty() && !one.starts_with("SIZE=")).collect();
    parameters.sort_unstable();
    [&[path][..], &parameters].concat().join(" ")
}

/// The content below the Received field that the relay has put on top.
fn without_trace(content: &[u8]) -> &[u8] {
    if !content.starts_with(b"Received: ") {
        return content;
    }
    let mut end = 0;
    for line in content.split_inclusive(|octet| *octet == b'\n') {
        if end > 0 && !line.starts_with(b" ") && !line.starts_with(b"\t") {
            break;
        }
        end += line.len();
    }
    &content[end..]
}

fn masked(line: String) -> String {
    let Some((name, value)) = line.split_once(": ") else { return line };
    let lower = name.to_ascii_lowercase();
    let prefix = if lower.starts_with("resent-") { "Resent-" } else { "" };
    match lower.trim_start_matches("resent-") {
        "message-id" if value.ends_with("@mx.example>") => format!("{prefix}Message-ID: *"),
        "date" if value.contains(" 20") && !value.contains("26 Nov 2026 12:00:00 +0000") => {
            format!("{prefix}Date: *")
        }
        _ => line,
    }
}

/// The lines that only one side has, in the order of a longest common subsequence.
pub fn between(theirs: &[String], ours: &[String]) -> Vec<String> {
    let start = theirs.iter().zip(ours).take_while(|(a, b)| a == b).count();
    let (theirs, ours) = (&theirs[start..], &ours[start..]);
    let end = theirs.iter().rev().zip(ours.iter().rev()).take_while(|(a, b)| a == b).count();
    let (theirs, ours) = (&theirs[..theirs.len() - end], &ours[..ours.len() - end]);
    // The length of the longest common subsequence of the rest after each pair of positions.
    let mut length = vec![vec![0_usize; ours.len() + 1]; theirs.len() + 1];
    for a in (0..theirs.len()).rev() {
        for b in (0..ours.len()).rev() {
            length[a][b] = if theirs[a] == ours[b] {
                length[a + 1][b + 1] + 1
            } else {
                length[a + 1][b].max(length[a][b + 1])
            };
        }
    }
    let (mut a, mut b, mut lines) = (0, 0, Vec::new());
    while a < theirs.len() || b < ours.len() {
        if a < theirs.len() && b < ours.len() && theirs[a] == ours[b] {
            (a, b) = (a + 1, b + 1);
        } else if b == ours.len() || (a < theirs.len() && length[a + 1][b] >= length[a][b + 1]) {
            lines.push(format!("- {}", theirs[a]));
            a += 1;
        } else {
            lines.push(format!("+ {}", ours[b]));
            b += 1;
        }
    }
    lines
}

#[test]
fn lines_of_one_side_are_told_in_order() {
    let lines = |text: &str| text.chars().map(String::from).collect::<Vec<_>>();
    assert_eq!(between(&lines("abcd"), &lines("abcd")), [""; 0]);
    assert_eq!(between(&lines("abcd"), &lines("axcy")), ["- b", "+ x", "- d", "+ y"]);
    assert_eq!(between(&lines(""), &lines("ab")), ["+ a", "+ b"]);
}

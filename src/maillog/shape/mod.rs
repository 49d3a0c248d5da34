//! Our events in the shape that log tools of the field read: that of Postfix.
//!
//! In: what the rooms say. Out: lines such as `Nov  4 17:22:14 relay postfix/smtp[71]: 0D2R…:
//! to=<a@b>, relay=…, status=sent (…)`. What Postfix would not say becomes a line of the program
//! `postern`, which its readers pass over; trouble is a `warning:` and a defect a `panic:`, which
//! they count. The number in brackets is our process, and for a client's session the client's port:
//! all lines of a session have the same.
//! Limits: a line has at most [`LINE_MAX`] octets.
//! Security: texts come from strangers. None can begin a line, and none can look like another part
//! of its line: what separates parts becomes `?` inside them ([`Word`], [`Phrase`]). A carbon copy
//! has no `to=`, so that nobody counts it as a delivery.
//! Source: the log messages of Postfix 3.7; RFC 3164 §4.1.2 (time); RFC 3463 (dsn).

use crate::ground::clock;
use crate::ground::lock::{self, Lock};
use crate::ground::log::{Said, put_fields};
use crate::ground::text::is_tricky;
use crate::mail::model::Enhanced;
use std::fmt::{self, Write};
use tracing::Level;

/// Octets of one line with its end.
pub const LINE_MAX: usize = 2048;

/// Makes lines.
pub struct Shape {
    syslog_name: String,
    hostname: String,
    pid: u32,
    /// The second that was written last, and how.
    stamp: Lock<(u32, String)>,
}

impl Shape {
    /// `syslog_name` stands before each program's name, and `hostname` before that.
    pub fn new(syslog_name: &str, hostname: &str) -> Self {
        Self {
            syslog_name: syslog_name.to_owned(),
            hostname: hostname.to_owned(),
            pid: std::process::id(),
            stamp: Lock::new(lock::Level::Log, Default::default()),
        }
    }

    /// The lines of an event; none where others of the same mail say it all.
    pub fn lines(&self, level: Level, said: &Said) -> String {
        let mut lines = String::new();
        let (id, client) = (Word(said.text("queue_id")), Client(said.text("client")));
        let session = said.number("port");
        match (said.message.as_str(), said.text("status")) {
            ("connect", _) => {
                self.put(&mut lines, "smtpd", session, format_args!("connect from {client}"))
            }
            ("disconnect", _) => {
                self.put(&mut lines, "smtpd", session, format_args!("disconnect from {client}"))
            }
            ("command", "refused") => self.refusal(&mut lines, said),
            ("session", "refused") => {
                let (count, reason) = (said.number("count"), Phrase(said.text("reason")));
                let words = format_args!(
                    "warning: {count} sessions turned away so far, the last from {client}: {reason}"
                );
                self.put(&mut lines, "smtpd", session, words);
            }
            // The same again is said by "queued", with more.
            ("message", "accepted") => {}
            ("queued", _) => {
                // A notification of our own has none.
                if !said.text("client").is_empty() {
                    self.put(&mut lines, "smtpd", session, format_args!("{id}: client={client}"));
                }
                let message_id = Word(within_brackets(said.text("message_id")));
                self.put(&mut lines, "cleanup", 0, format_args!("{id}: message-id=<{message_id}>"));
                self.active(&mut lines, said);
            }
            ("active", _) => self.active(&mut lines, said),
            ("suspended", _) => self.suspended(&mut lines, said),
            // Told by "removed".
            ("delivery", "deleted" | "moved") => {}
            ("delivery", _) => self.delivery(&mut lines, said),
            ("notification", _) => {
                let what = if said.text("kind") == "delayed" { "delay" } else { "non-delivery" };
                let about = Word(said.text("about"));
                self.put(
                    &mut lines,
                    "bounce",
                    0,
                    format_args!("{about}: sender {what} notification: {id}"),
                );
            }
            ("removed", _) if said.flag("operator") => {
                self.put(&mut lines, "postsuper", 0, format_args!("{id}: removed"))
            }
            ("removed", _) => self.put(&mut lines, "qmgr", 0, format_args!("{id}: removed")),
            ("held", _) => {
                self.put(&mut lines, "postsuper", 0, format_args!("{id}: placed on hold"))
            }
            ("released", _) => {
                self.put(&mut lines, "postsuper", 0, format_args!("{id}: released from hold"))
            }
            _ => self.other(&mut lines, level, said),
        }
        lines
    }

    /// A warning of the mail log's own.
    pub fn warning(&self, words: &str) -> String {
        let mut line = String::new();
        self.put(&mut line, "postern", 0, format_args!("warning: {}", Phrase(words)));
        line
    }

    fn active(&self, lines: &mut String, said: &Said) {
        let (id, from) = (Word(said.text("queue_id")), Word(within_brackets(said.text("from"))));
        let (size, recipients) = (said.number("size"), said.number("recipients"));
        self.put(
            lines,
            "qmgr",
            0,
            format_args!("{id}: from=<{from}>, size={size}, nrcpt={recipients} (queue active)"),
        );
    }

    /// As error(8) says it of mail whose destination is left alone.
    fn suspended(&self, lines: &mut String, said: &Said) {
        let (id, reply) = (Word(said.text("queue_id")), said.text("reply"));
        let what = match said.text("to") {
            "" => "carbon copy".to_owned(),
            to => format!("to=<{}>", Word(within_brackets(to))),
        };
        let own =
            reply.get(4..).and_then(Enhanced::parse).or_else(|| Enhanced::parse(said.text("dsn")));
        let (delay, dsn, why) =
            (seconds(said.text("delay")), own.unwrap_or(Enhanced(4, 0, 0)), Phrase(codes(reply).1));
        let words = format_args!(
            "{id}: {what}, relay=none, delay={delay}, delays={delay}/0/0/0, dsn={dsn}, \
            status=deferred (delivery temporarily \
             suspended: {why})"
        );
        self.put(lines, "error", 0, words);
    }

    /// The recipient stands before the words of a refused RCPT, as Postfix has it and its readers
    /// need it.
    fn refusal(&self, lines: &mut String, said: &Said) {
        let (client, command) = (Client(said.text("client")), Word(said.text("command")));
        let (from, to) =
            (Word(within_brackets(said.text("from"))), Word(within_brackets(said.text("to"))));
        let (codes, words) = codes(said.text("reply"));
        // Some replies name the recipient by themselves.
        let words = words
            .strip_prefix(said.text("to"))
            .and_then(|words| words.strip_prefix(": "))
            .unwrap_or(words);
        let words = Phrase(words);
        let about = if said.text("to").is_empty() { String::new() } else { format!("<{to}>: ") };
        let mut line = format!("NOQUEUE: reject: {command} from {client}: {codes}{about}{words};");
        // Writing to a string cannot fail.
        let _ = match said.text("to") {
            "" => write!(line, " from=<{from}>"),
            _ => write!(line, " from=<{from}> to=<{to}>"),
        };
        let _ =
            write!(line, " proto={} helo=<{}>", Word(said.text("proto")), Word(said.text("helo")));
        self.put(lines, "smtpd", said.number("port"), format_args!("{line}"));
    }

    fn delivery(&self, lines: &mut String, said: &Said) {
        let (id, relay) = (Word(said.text("queue_id")), named(said.text("relay")));
        let relay = Word(&relay);
        let (status, reply) = (said.text("status"), said.text("reply"));
        let words = match (said.flag("remote"), status) {
            (true, "sent") => format!("{}", Phrase(reply)),
            (true, _) => {
                let host = relay.0.rsplit_once(':').map_or(relay.0, |(host, _)| host);
                format!("host {} said: {}", Word(host), Phrase(reply))
            }
            // Our own words; their codes are for the sender.
            (false, _) => format!("{}", Phrase(codes(reply).1)),
        };
        let what = match said.flag("copy") {
            true => "carbon copy".to_owned(),
            false => format!("to=<{}>", Word(within_brackets(said.text("to")))),
        };
        // Our own words have no codes in front of them.
        let dsn = Enhanced::parse(said.text("dsn")).unwrap_or_else(|| dsn(reply, status));
        let delay = seconds(said.text("delay"));
        // Ours are three: a courier takes a mail from the queue when it has time for it, so nothing
        // waits in between.
        let delays: Vec<String> = said.text("delays").split('/').map(seconds).collect();
        let delays = delays.join("/").replacen('/', "/0/", 1);
        let status = Word(status);
        let words = format_args!(
            "{id}: {what}, relay={relay}, delay={delay}, delays={delays}, dsn={dsn}, \
            status={status} ({words})"
        );
        self.put(lines, "smtp", 0, words);
    }

    fn other(&self, lines: &mut String, level: Level, said: &Said) {
        let mut words = said.message.clone();
        put_fields(&mut words, said);
        let words = match words.strip_prefix("panic: ") {
            Some(words) => format!("panic: {}", Phrase(words)),
            None if level <= Level::WARN => format!("warning: {}", Phrase(&words)),
            None if level == Level::INFO => Phrase(&words).to_string(),
            // Fine events are for their own lines alone.
            None => return,
        };
        self.put(lines, "postern", 0, format_args!("{words}"));
    }

    /// Appends one line; `number` stands in brackets, 0 = that of our process.
    fn put(&self, lines: &mut String, program: &str, number: u64, words: fmt::Arguments<'_>) {
        let start = lines.len();
        let number = if number == 0 { u64::from(self.pid) } else { number };
        {
            let mut stamp = self.stamp.lock();
            let now = clock::now();
            if stamp.0 != now {
                *stamp = (now, clock::rfc3164(now));
            }
            lines.push_str(&stamp.1);
        }
        let _ =
            write!(lines, " {} {}/{program}[{number}]: {words}", self.hostname, self.syslog_name);
        if lines.len() - start >= LINE_MAX {
            lines.truncate(lines.floor_char_boundary(start + LINE_MAX - 1));
        }
        lines.push('\n');
    }
}

/// A hostile text without blanks and without whatever separates the parts of a line: an address, a
/// host's name.
struct Word<'a>(&'a str);

impl fmt::Display for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separates = |c: char| {
            is_tricky(c) || c.is_whitespace() || matches!(c, ',' | ';' | '<' | '>' | '(' | ')')
        };
        self.0.chars().try_for_each(|c| f.write_char(if separates(c) { '?' } else { c }))
    }
}

/// Hostile words at the end of a line: they may hold anything but `=<`, with which a part begins,
/// and `]: `, which ends the name of a program.
struct Phrase<'a>(&'a str);

impl fmt::Display for Phrase<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before = [' '; 2];
        self.0.chars().try_for_each(|c| {
            let forges = (c == '<' && before[1] == '=') || (c == ' ' && before == [']', ':']);
            let c = if forges || is_tricky(c) { '?' } else { c };
            before = [before[1], c];
            f.write_char(c)
        })
    }
}

/// A client as Postfix names one whose name it has not looked up.
struct Client<'a>(&'a str);

impl fmt::Display for Client<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown[{}]", Word(self.0))
    }
}

/// A next hop that is known by its address alone has that for its name: `192.0.2.1[192.0.2.1]:25`.
fn named(relay: &str) -> String {
    let address = relay
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
        .map_or("", |(address, _)| address);
    format!("{address}{relay}")
}

fn within_brackets(text: &str) -> &str {
    text.strip_prefix('<').and_then(|text| text.strip_suffix('>')).unwrap_or(text)
}

/// The codes of a reply, each with a blank behind it, and its words.
fn codes(reply: &str) -> (&str, &str) {
    let is_code = |text: &str| text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
    let Some((_, words)) = reply.split_once(' ').filter(|(code, _)| is_code(code)) else {
        return ("", reply);
    };
    let words = match (Enhanced::parse(words), words.split_once(' ')) {
        (Some(_), Some((_, words))) => words,
        _ => words,
    };
    reply.split_at(reply.len() - words.len())
}

/// The status code of a reply; one without says the same by its first digit.
fn dsn(reply: &str, status: &str) -> Enhanced {
    let words = reply.get(4..).unwrap_or_default();
    Enhanced::parse(words).unwrap_or(match status {
        "sent" => Enhanced(2, 0, 0),
        "bounced" => Enhanced(5, 0, 0),
        _ => Enhanced(4, 0, 0),
    })
}

/// Two digits that count, and never finer than a hundredth.
fn seconds(text: &str) -> String {
    let seconds: f64 = text.parse().unwrap_or_default();
    let places = match seconds {
        s if s < 1.0 => 2,
        s if s < 10.0 => 1,
        _ => 0,
    };
    let text = format!("{seconds:.places$}");
    if places == 0 { text } else { text.trim_end_matches('0').trim_end_matches('.').to_owned() }
}

#[cfg(test)]
mod tests;

//! The mails of a demo, and a small SMTP client that sends them.

use std::io::{self, BufRead, BufReader, Error, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Mail for this domain is deferred.
pub(super) const BUSY: &str = "busy.example";
/// Mail for this domain is rejected permanently.
pub(super) const GONE: &str = "gone.example";
/// Samples that stay in the queue: two deferred, one held.
pub(super) const WAITING: usize = 3;

/// How long the relay may take for a reply.
const REPLY_MAX: Duration = Duration::from_secs(30);

struct Sample {
    sender: &'static str,
    recipient: (&'static str, &'static str),
    subject: &'static str,
    text: &'static str,
}

/// The last one is held.
const SAMPLES: [Sample; 6] = [
    Sample {
        sender: "orders@shop.example",
        recipient: ("ann", "customers.example"),
        subject: "Your order 1001",
        text: "Thank you. It is on its way.",
    },
    Sample {
        sender: "orders@shop.example",
        recipient: ("ben", "customers.example"),
        subject: "Your order 1002",
        text: "Thank you. It is on its way.",
    },
    Sample {
        sender: "orders@shop.example",
        recipient: ("cleo", GONE),
        subject: "Your order 1003",
        text: "This host refuses the recipient, so the shop gets a bounce.",
    },
    Sample {
        sender: "orders@shop.example",
        recipient: ("dan", BUSY),
        subject: "Your order 1004",
        text: "This host is busy, so this mail waits for the next attempt.",
    },
    Sample {
        sender: "news@shop.example",
        recipient: ("eve", BUSY),
        subject: "What is new in the shop",
        text: "This host is busy, so this mail waits for the next attempt.",
    },
    Sample {
        sender: "accounts@shop.example",
        recipient: ("fred", BUSY),
        subject: "Invoice 1005",
        text: "An operator holds this mail: it is not tried until it is released.",
    },
];

/// Sends all samples; gives the queue id of the one that will be held.
///
/// # Errors
/// The relay cannot be reached, or rejects one of them.
pub(super) fn send(relay: SocketAddr) -> io::Result<String> {
    let stream = TcpStream::connect(relay)?;
    stream.set_read_timeout(Some(REPLY_MAX))?;
    let mut client = Client { replies: BufReader::new(stream.try_clone()?), stream };
    client.reply()?;
    client.say("EHLO shop.example\r\n")?;
    let mut last = String::new();
    for Sample { sender, recipient: (mailbox, domain), subject, text } in &SAMPLES {
        client.say(&format!("MAIL FROM:<{sender}>\r\n"))?;
        client.say(&format!("RCPT TO:<{mailbox}@{domain}>\r\n"))?;
        client.say("DATA\r\n")?;
        last = client.say(&format!(
            "From: <{sender}>\r\nTo: <{mailbox}@{domain}>\r\nSubject: \
            {subject}\r\n\r\n{text}\r\n.\r\n"
        ))?;
    }
    client.say("QUIT\r\n")?;
    // "250 2.0.0 Ok: queued as ID"
    Ok(last.rsplit(' ').next().unwrap_or_default().to_owned())
}

struct Client {
    replies: BufReader<TcpStream>,
    stream: TcpStream,
}

impl Client {
    /// Sends a command; gives the last line of the reply.
    fn say(&mut self, words: &str) -> io::Result<String> {
        self.stream.write_all(words.as_bytes())?;
        self.reply()
    }

    /// A reply (RFC 5321 §4.2.1): the lines before the last have a hyphen after the code.
    fn reply(&mut self) -> io::Result<String> {
        loop {
            let mut line = String::new();
            if self.replies.read_line(&mut line)? == 0 {
                return Err(Error::from(io::ErrorKind::UnexpectedEof));
            }
            let line = line.trim_end();
            match line.as_bytes() {
                [b'2' | b'3', _, _, b'-', ..] => {}
                [b'2' | b'3', ..] => return Ok(line.to_owned()),
                _ => return Err(Error::other(line.to_owned())),
            }
        }
    }
}

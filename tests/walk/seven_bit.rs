//! 8-bit mail and next hops that accept 7 bits: some announce it, some reject it too late.

use super::postfix::stored;
use crate::support::appliance::Appliance;
use crate::support::client::Client;
use crate::support::patience::until;
use crate::support::postfix::Postfix;
use crate::support::program::{Program, find, free_port, open_directory};
use mail_parser::{MessageParser, MimeHeaders};
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

/// Postfix's sink, which announces no 8BITMIME and stores what it gets.
pub struct SevenBitSink {
    _program: Program,
    directory: TempDir,
    address: SocketAddr,
}

impl SevenBitSink {
    /// On a free port of the loopback.
    pub fn start() -> Self {
        let (directory, port) = (open_directory(), free_port());
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mails = directory.path().join("mails");
        std::fs::create_dir(&mails).unwrap();
        std::fs::set_permissions(&mails, std::os::unix::fs::PermissionsExt::from_mode(0o777))
            .unwrap();
        let mut command = Command::new(find("smtp-sink"));
        command.args(["-8", "-u", "nobody", "-R"]).arg(&mails).args([
            "-d",
            "mail.",
            &address.to_string(),
            "100",
        ]);
        let program = Program::start(directory.path(), "smtp-sink", command).listening(address);
        Self { _program: program, directory, address }
    }

    /// The property that makes it the smart relay.
    pub fn relay(&self) -> String {
        self.address.to_string()
    }

    fn mails(&self) -> PathBuf {
        self.directory.path().join("mails")
    }

    /// The one with this Message-ID.
    pub fn mail(&self, id: &str, count: usize) -> Vec<u8> {
        let is_it = |mail: &Vec<u8>| {
            String::from_utf8_lossy(mail).contains(&format!("<{id}@here.example>"))
        };
        // The sink makes a file first, and fills it when it has all of the mail.
        until(&format!("mail {id}"), || {
            stored(&self.mails(), count)
                .into_iter()
                .find(is_it)
                .ok_or_else(|| "not there".to_owned())
        })
    }
}

fn mail(id: &str, rest: &str) -> Vec<u8> {
    let head = "From: sender@here.example\r\nTo: box@there.example\r\nDate: Thu, 26 Nov 2026 \
    08:00:00 +0000\r\n";
    format!("{head}Message-ID: <{id}@here.example>\r\n{rest}").into_bytes()
}

/// Mail in MIME form, so that Postfix converts it too.
fn labelled() -> Vec<(&'static str, Vec<u8>)> {
    let text = "MIME-Version: 1.0\r\nContent-Type: text/plain; \
    charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n";
    let part = "Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n";
    let data = "Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: 8bit\r\n";
    let mixed = "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; \
    boundary=b\r\nContent-Transfer-Encoding: 8bit\r\n";
    vec![
        (
            "text",
            mail(
                "text",
                &format!(
                    "Subject: a\r\n{text}\r\nGr\u{fc}\u{df}e = \r\n.\r\n-- \r\nJ\u{fc}rgen\r\n"
                ),
            ),
        ),
        (
            "dkim",
            mail(
                "dkim",
                &format!(
                    "DKIM-Signature: v=1; d=here.example; b=AAAA\r\nSubject: \
                    a\r\n{text}\r\nGr\u{fc}\u{df}e\r\n"
                ),
            ),
        ),
        (
            "cyrillic",
            mail("cyrillic", &format!("Subject: a\r\n{text}\r\n{}\r\n", "\u{44f}".repeat(300))),
        ),
        (
            "mixed",
            mail(
                "mixed",
                &format!(
                    "{mixed}\r\npre\r\n--b\r\n{part}\r\n<p>\u{fc}\r\n--b\r\n{data}\r\n\u{fc}\t\r\n\
                    --b\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: \
                    8bit\r\n\r\n{text}\r\n\u{e4} inside\r\n--b--\r\n"
                ),
            ),
        ),
    ]
}

fn parts(mail: &[u8]) -> Vec<(String, Vec<u8>)> {
    let text = String::from_utf8_lossy(mail).replace("\r\n", "\n");
    let start = text.find("From: sender@").unwrap();
    let message = MessageParser::default().parse(&text.as_bytes()[start..]).unwrap();
    let kind = |part: &mail_parser::MessagePart<'_>| {
        part.content_type().map(|kind| format!("{}/{:?}", kind.ctype(), kind.subtype()))
    };
    message
        .parts
        .iter()
        .map(|part| match part.message() {
            Some(inner) => (
                "message".to_owned(),
                inner.body_text(0).unwrap_or_default().trim_end().as_bytes().to_vec(),
            ),
            None if part.is_multipart() => (kind(part).unwrap_or_default(), Vec::new()),
            None => {
                let content = String::from_utf8_lossy(part.contents()).replace("\r\n", "\n");
                (kind(part).unwrap_or_default(), content.trim_end_matches('\n').as_bytes().to_vec())
            }
        })
        .collect()
}

#[test]
fn a_hop_without_8bitmime_gets_7_bits_as_from_postfix() {
    let (sink, sink_of_postfix) = (SevenBitSink::start(), SevenBitSink::start());
    let appliance = Appliance::start(&[("MTA_SMART_RELAY", &sink.address.to_string())]);
    let postfix = Postfix::sender(sink_of_postfix.address);
    let count = labelled().len();
    for address in [appliance.smtp, postfix.address] {
        let mut client = Client::hello(address);
        for (_, content) in labelled() {
            client.ask("MAIL FROM:<sender@here.example> BODY=8BITMIME", "250 ");
            client.ask("RCPT TO:<box@there.example>", "250 ");
            client.ask("DATA", "354 ");
            client.send(crate::support::client::stuffed(&content));
            client.expect("250 ");
        }
    }
    for (id, content) in labelled() {
        let (ours, theirs) = (sink.mail(id, count), sink_of_postfix.mail(id, count));
        assert!(ours.is_ascii() && theirs.is_ascii(), "{id}: {}", String::from_utf8_lossy(&ours));
        assert_eq!(parts(&ours), parts(&content), "{id}: {}", String::from_utf8_lossy(&ours));
        assert_eq!(
            parts(&theirs),
            parts(&content),
            "Postfix, {id}: {}",
            String::from_utf8_lossy(&theirs)
        );
    }
    appliance.until_empty();
    assert_eq!(appliance.counter("mta_bounced_total"), 0);
    assert_eq!(appliance.counter("mta_seven_bit_total"), count as u64);
}

#[test]
fn bare_headers_pass_and_signed_parts_come_back() {
    let sink = SevenBitSink::start();
    let appliance = Appliance::start(&[("MTA_SMART_RELAY", &sink.address.to_string())]);
    let signed = "MIME-Version: 1.0\r\nContent-Type: multipart/signed; \
    boundary=s\r\n\r\n--s\r\nContent-Type: text/plain\r\n\
                  Content-Transfer-Encoding: 8bit\r\n\r\n\u{fc}\r\n--s\r\nContent-Type: \
                  application/pgp-signature\r\n\r\nx\r\n--s--\r\n";
    let mut client = Client::hello(appliance.smtp);
    for (id, rest) in [
        ("subject", "Subject: \u{fc}\r\n\r\nplain\r\n"),
        ("bare", "Subject: \u{fc}\r\n\r\nGr\u{fc}\u{df}e\r\n"),
        ("signed", signed),
    ] {
        client.mail("sender@here.example", &["box@there.example"], &mail(id, rest));
    }
    // Stored with LF.
    let came = |id| String::from_utf8(sink.mail(id, 3)).unwrap().replace("\r\n", "\n");
    assert!(came("subject").contains("\nSubject: \u{fc}\n\nplain\n"), "{}", came("subject"));
    let bare = came("bare");
    assert!(
        bare.contains("charset=unknown-8bit\n") && bare.contains("\n\nGr=C3=BC=C3=9Fe\n"),
        "{bare}"
    );
    let report = came("signed");
    assert!(report.contains("Status: 5.6.3") && report.contains("multipart/signed"), "{report}");
    appliance.until_empty();
    assert_eq!(appliance.counter("mta_bounced_total"), 1);
}

/// A server that announces 8BITMIME and rejects it: at MAIL, or after the content.
fn forgetful(at_mail: bool) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, lines) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
    let seen = lines.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            // The sender may disconnect at any time.
            let _ = talk(stream.unwrap(), at_mail, &seen);
        }
    });
    (address, lines)
}

fn talk(mut stream: TcpStream, at_mail: bool, seen: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let reader = BufReader::new(stream.try_clone()?);
    let (mut content, mut eight_bit) = (false, false);
    stream.write_all(b"220 forgetful ESMTP\r\n")?;
    for line in reader.split(b'\n') {
        let line = String::from_utf8_lossy(&line?).trim_end().to_owned();
        seen.lock().unwrap().push(line.clone());
        let answer = match line.split(' ').next().unwrap_or_default() {
            "." if content => {
                content = false;
                if eight_bit { "554 5.6.1 Eight bit data not supported" } else { "250 2.0.0 taken" }
            }
            _ if content => {
                eight_bit |= !line.is_ascii();
                continue;
            }
            "EHLO" => "250-forgetful\r\n250 8BITMIME",
            "MAIL" if at_mail && line.contains("BODY=8BITMIME") => {
                "555 5.5.4 Unsupported option: BODY=8BITMIME"
            }
            "DATA" => {
                (content, eight_bit) = (true, false);
                "354 go on"
            }
            "QUIT" => "221 bye",
            _ => "250 2.0.0 Ok",
        };
        stream.write_all(format!("{answer}\r\n").as_bytes())?;
    }
    Ok(())
}

#[test]
fn a_hop_that_announces_8bitmime_and_refuses_it_gets_7_bits_in_the_same_attempt() {
    for at_mail in [true, false] {
        let (address, lines) = forgetful(at_mail);
        let appliance = Appliance::start(&[("MTA_SMART_RELAY", &address.to_string())]);
        let content = mail("x", "Subject: plain\r\n\r\nGr\u{fc}\u{df}e\r\n");
        Client::hello(appliance.smtp).mail(
            "sender@here.example",
            &["box@there.example", "other@there.example"],
            &content,
        );
        until("both are delivered", || match appliance.counter("mta_delivered_total") {
            2 => Ok(()),
            n => Err(format!(
                "{n} delivered, {} failed: {:#?}",
                appliance.counter("mta_bounced_total"),
                lines.lock().unwrap()
            )),
        });
        let lines = lines.lock().unwrap();
        assert!(lines.contains(&"Gr=C3=BC=C3=9Fe".to_owned()), "{lines:#?}");
        assert_eq!(lines.iter().filter(|line| line.starts_with("MAIL")).count(), 2, "{lines:#?}");
        assert_eq!(appliance.counter("mta_deferred_total"), 0);
    }
}

#[test]
fn large_mail_is_rewritten_from_the_disk() {
    let sink = SevenBitSink::start();
    let appliance = Appliance::start(&[
        ("MTA_SMART_RELAY", &sink.address.to_string()),
        ("MTA_MESSAGE_SIZE_LIMIT", "40M"),
    ]);
    let line = format!("{}\u{fc}{}\r\n", "a".repeat(40), "b".repeat(300));
    let text = "MIME-Version: 1.0\r\nContent-Type: text/plain; \
    charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n";
    let content = mail(
        "large",
        &format!("Subject: large\r\n{text}\r\n{}", line.repeat((26 << 20) / line.len())),
    );
    let before = appliance.memory_peak();
    Client::hello(appliance.smtp).mail("sender@here.example", &["box@there.example"], &content);
    appliance.until_empty();
    let came = sink.mail("large", 1);
    assert!(came.is_ascii() && came.len() > content.len());
    let decoded = parts(&came);
    assert_eq!(decoded[0].1.len(), parts(&content)[0].1.len());
    assert!(decoded == parts(&content), "the text differs");
    let grown = appliance.memory_peak().saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} octets of memory for a mail of 26 MB");
}

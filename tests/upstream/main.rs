//! The relay logs in to upstreams: the real program, and Postfix, which asks Dovecot for
//! the password. One file for each topic; replies that no real server gives are in `peer_out`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on must fail")]

#[path = "../support/mod.rs"]
mod support;

mod groups;
mod login;
mod oauth;
mod refusals;
mod secrets;
mod servers;
mod testing;
mod tls;
mod token_server;

use crate::support::appliance::Appliance;
use crate::support::dovecot::DovecotAuth;
use crate::support::keys::{Authority, EC};
use crate::support::patience::until;
use crate::support::postfix::Postfix;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::PathBuf;

/// The account of the tests.
pub const USER: &str = "relay";
/// Its password: with characters that a shell, base 64 or SASL could damage.
pub const PASSWORD: &str = "planted-S3cret,=%&\u{fc} x";

/// A Postfix that wants a login, and all that it needs.
pub struct Submission {
    /// Where it delivers.
    pub postfix: Postfix,
    /// Whom it asks for passwords.
    pub dovecot: DovecotAuth,
    /// Who signed its certificate.
    pub authority: Authority,
}

impl Submission {
    /// One with these mechanisms and a certificate for 127.0.0.1.
    pub fn start(mechanisms: &str) -> Self {
        let authority = Authority::new();
        let issued = authority.issue("mx", EC, "mx.example");
        let dovecot = DovecotAuth::start(mechanisms, USER, PASSWORD);
        let postfix = Postfix::submission(&dovecot.socket(), &issued.chain, &issued.key);
        Self { postfix, dovecot, authority }
    }

    /// `smart_relay` for it.
    pub fn relay(&self) -> String {
        self.postfix.address.to_string()
    }

    /// The file of its authority.
    pub fn ca(&self) -> String {
        self.authority.root().display().to_string()
    }

    /// The mails in its mailbox.
    pub fn mails(&self) -> Vec<PathBuf> {
        let folder = fs::read_dir(self.postfix.mailbox("box"));
        folder.map(|all| all.map(|one| one.unwrap().path()).collect()).unwrap_or_default()
    }

    /// Waits until it has so many mails.
    pub fn until_mails(&self, count: usize, appliance: &Appliance) {
        until("the mail is there", || match self.mails().len() {
            found if found == count => Ok(()),
            found => Err(format!("{found} mails; {:#?}", appliance.log().last())),
        });
    }
}

/// Gives the appliance a mail for the mailbox.
pub fn send(appliance: &Appliance, from: &str) {
    let mut stream = TcpStream::connect(appliance.smtp).unwrap();
    let mut replies = BufReader::new(stream.try_clone().unwrap());
    let mut expect = |code: &str| {
        let mut line = String::new();
        loop {
            line.clear();
            replies.read_line(&mut line).unwrap();
            assert!(line.starts_with(code), "{line}");
            if line.as_bytes().get(3) == Some(&b' ') {
                return;
            }
        }
    };
    expect("220");
    for (command, code) in [
        ("EHLO client.example", "250"),
        (&*format!("MAIL FROM:<{from}>"), "250"),
        ("RCPT TO:<box@there.example>", "250"),
        ("DATA", "354"),
        ("Subject: test\r\n\r\nsome words\r\n.", "250"),
        ("QUIT", "221"),
    ] {
        stream.write_all(format!("{command}\r\n").as_bytes()).unwrap();
        expect(code);
    }
}

/// The properties of an appliance with a login there.
pub fn properties<'a>(
    relay: &'a str,
    ca: &'a str,
    password: &'a str,
) -> Vec<(&'static str, &'a str)> {
    vec![
        ("MTA_SMART_RELAY", relay),
        ("MTA_SMART_RELAY_CA", ca),
        ("MTA_SMART_RELAY_USERNAME", USER),
        ("MTA_SMART_RELAY_PASSWORD", password),
    ]
}

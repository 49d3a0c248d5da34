//! Modes for staging and devices, from outside: the real program, real peers on both sides, one
//! file for each mode.
//!
//! The peers are the programs of scripts/install-peers.sh; a test that lacks its peer fails and
//! names the package.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on must fail")]

#[path = "../support/mod.rs"]
mod support;

mod capture;
mod devices;
mod redirect;
mod senders;

use support::appliance::Appliance;
use support::client::Client;
use support::program::{find, run};

/// A mail, after which the queue id is known.
pub fn send(appliance: &Appliance, from: &str, to: &[&str], subject: &str) -> String {
    let content =
        format!("Subject: {subject}\r\nFrom: {from}\r\nTo: list@there.example\r\n\r\nx\r\n");
    let reply = Client::hello(appliance.smtp).mail(from, to, content.as_bytes());
    reply.rsplit(' ').next().unwrap().to_owned()
}

/// Sends a mail with swaks.
pub fn swaks(appliance: &Appliance, arguments: &[&str]) -> String {
    let mut command = std::process::Command::new(find("swaks"));
    command.args(["--server", "127.0.0.1", "--port", &appliance.smtp.port().to_string()]);
    let output = run(command.args(["--helo", "swaks.example"]).args(arguments));
    String::from_utf8(output.stdout).unwrap()
}

/// The output of `postern check`, with everything that it says.
pub fn check(appliance: &Appliance) -> String {
    let output = appliance.command(&["check"]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Submits a mail by HTTP, and expects that it is taken.
pub fn post(appliance: &Appliance, from: &str, to: &str) {
    let path = format!("/api/v1/messages?from={from}&to={to}");
    let content = format!("Subject: by HTTP\r\nFrom: {from}\r\n\r\nx\r\n");
    let media = "Content-Type: message/rfc822\r\n";
    let (status, said) = appliance.post(&path, media, content.as_bytes());
    assert_eq!(status, "201", "{said}");
}

/// Waits for so many files of a maildir, and reads them.
pub fn stored(maildir: &std::path::Path, count: usize) -> Vec<String> {
    support::patience::until(&format!("{count} mails in {}", maildir.display()), || {
        let found = std::fs::read_dir(maildir).map_or(0, Iterator::count);
        if found < count { Err(format!("{found} mails")) } else { Ok(()) }
    });
    let files = std::fs::read_dir(maildir).unwrap();
    files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()).collect()
}

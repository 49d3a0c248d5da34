//! Many mails, and large ones: each is delivered once, and memory does not grow with them.

use crate::support::appliance::{Appliance, Sink};
use crate::support::client::Client;
use crate::support::letter::assert_same;
use crate::support::patience::until;
use crate::support::program::{
    Program, find, free_port, need_root, open_directory, open_folder, run,
};
use std::collections::HashSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Instant;

const MAILS: usize = 10_000;
const SESSIONS: usize = 20;
const MIB: u64 = 1024 * 1024;

/// The content of a mail by its number: no two are equal, about two kilobytes, of every form.
fn content(number: usize) -> Vec<u8> {
    let head = format!("From: sender@here.example\r\nSubject: {number}\r\n\r\n");
    let body = match number % 5 {
        0 => format!("{number} some words in a line\r\n").repeat(80),
        1 => format!(".{number}\r\n..{number}\r\n.\r\n").repeat(100),
        2 => format!("{number} gr\u{fc}n \u{65e5}\u{672c}\r\n").repeat(100),
        3 => format!("{number} {}\r\n", "l".repeat(950)).repeat(2),
        _ => String::new(),
    };
    (head + &body).into_bytes()
}

fn waits_for_empty(appliance: &Appliance, start: Instant) {
    let accepted = start.elapsed();
    appliance.until_empty();
    let (all, rate) = (start.elapsed(), MAILS as f64 / start.elapsed().as_secs_f64());
    eprintln!(
        "{MAILS} mails accepted in {accepted:.1?}, delivered in {all:.1?}: {rate:.0} a second with \
        this build"
    );
}

#[test]
fn ten_thousand_numbered_mails_come_out_once_each() {
    let sink = Sink::start("");
    let appliance = Appliance::start(&[("MTA_SMART_RELAY", &sink.relay())]);
    let start = Instant::now();
    std::thread::scope(|scope| {
        for session in 0..SESSIONS {
            let address = appliance.smtp;
            scope.spawn(move || {
                let mut client = Client::hello(address);
                for number in (session..MAILS).step_by(SESSIONS) {
                    client.mail(
                        "sender@here.example",
                        &[&format!("box{number}@there.example")],
                        &content(number),
                    );
                }
                client.ask("QUIT", "221 ");
            });
        }
    });
    waits_for_empty(&appliance, start);
    let mut seen = HashSet::new();
    for mail in sink.mails(MAILS) {
        let [to] = &mail.to[..] else { panic!("{:?}", mail.to) };
        let number =
            to.strip_prefix("box").and_then(|rest| rest.strip_suffix("@there.example")).unwrap();
        let number: usize = number.parse().unwrap();
        assert!(seen.insert(number), "{number} came twice");
        assert_same(to, &content(number), &mail.content);
    }
    assert_eq!(seen.len(), MAILS);
    assert_eq!(appliance.counter("mta_accepted_total"), MAILS as u64);
    assert_eq!(appliance.counter("mta_delivered_total"), MAILS as u64);
    let peak = appliance.memory_peak() / MIB;
    assert!(peak < 128, "the core needed {peak} MiB; the appliance's default is 128");
}

#[test]
fn smtp_source_to_smtp_sink() {
    need_root("smtp-sink changes to the user nobody");
    let directory = open_directory();
    let folder = open_folder(&directory, "mail");
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let mut command = Command::new(find("smtp-sink"));
    command.args(["-u", "nobody", "-R"]).arg(&folder).args([
        "-d",
        "mail.",
        &address.to_string(),
        "1000",
    ]);
    let _sink = Program::start(directory.path(), "smtp-sink", command).listening(address);
    let appliance = Appliance::start(&[("MTA_SMART_RELAY", &address.to_string())]);
    let start = Instant::now();
    // A number goes before each recipient; half of the mails on connections that are kept, half
    // with one each.
    for (to, kept) in [("kept@there.example", true), ("single@there.example", false)] {
        let mut command = Command::new(find("smtp-source"));
        command.args([
            "-N",
            "-l",
            "2048",
            "-f",
            "sender@here.example",
            "-M",
            "source.example",
            "-t",
            to,
        ]);
        command.args(["-s", &SESSIONS.to_string(), "-m", &(MAILS / 2).to_string()]);
        if kept {
            command.arg("-d");
        }
        run(command.arg(appliance.smtp.to_string()));
    }
    waits_for_empty(&appliance, start);
    until("smtp-sink has written all", || {
        let found = fs::read_dir(&folder).unwrap().count();
        if found < MAILS { Err(format!("{found} mails")) } else { Ok(()) }
    });
    let mut seen = HashSet::new();
    let mut bodies = HashSet::new();
    for entry in fs::read_dir(&folder).unwrap() {
        let mail = fs::read_to_string(entry.unwrap().path()).unwrap();
        let recipients: Vec<&str> =
            mail.lines().filter_map(|line| line.strip_prefix("X-Rcpt-Args: ")).collect();
        let [to] = recipients[..] else { panic!("{recipients:?}") };
        assert!(seen.insert(to.to_owned()), "{to} came twice");
        let (head, body) = mail.split_once("\n\n").unwrap();
        assert_eq!(head.matches("(Postern)").count(), 1, "{head}");
        bodies.insert(body.trim_end().to_owned());
    }
    assert_eq!(seen.len(), MAILS);
    // smtp-source sends the same content in every mail.
    assert_eq!(bodies.len(), 1);
    assert!(bodies.iter().all(|body| body.len() > 1900), "{bodies:?}");
}

#[test]
fn the_largest_mails_pass_without_being_held_in_memory() {
    const AT_ONCE: usize = 3;
    let sink = Sink::start("");
    let appliance = Appliance::start(&[("MTA_SMART_RELAY", &sink.relay())]);
    // One small mail first, so that the measurement is of the size and not of the first use of
    // anything.
    Client::hello(appliance.smtp).mail(
        "sender@here.example",
        &["box@there.example"],
        b"Subject: small\r\n\r\n",
    );
    appliance.until_empty();
    let before = appliance.memory_peak();
    let large = |number: usize| {
        let mut content = format!("Subject: large\r\nX-Number: {number}\r\n\r\n").into_bytes();
        let mut line = 0;
        while content.len() as u64 <= 25 * MIB - 100 {
            content.extend_from_slice(
                format!(".{line} of mail {number}, which goes on and on\r\n").as_bytes(),
            );
            line += 1;
        }
        content
    };
    std::thread::scope(|scope| {
        for number in 0..AT_ONCE {
            let address = appliance.smtp;
            let content = large(number);
            scope.spawn(move || {
                Client::hello(address).mail(
                    "sender@here.example",
                    &[&format!("box{number}@there.example")],
                    &content,
                );
            });
        }
    });
    appliance.until_empty();
    let growth = appliance.memory_peak() - before;
    eprintln!(
        "{AT_ONCE} mails of 25 MiB at once: memory grew by {} KiB to {} KiB",
        growth / 1024,
        appliance.memory_peak() / 1024
    );
    for mail in sink.mails(AT_ONCE + 1) {
        if let Some(number) =
            (0..AT_ONCE).find(|number| mail.to == [format!("box{number}@there.example")])
        {
            assert_same("large", &large(number), &mail.content);
        }
    }
    assert!(
        growth < 16 * MIB,
        "memory follows the mails: {growth} octets more for {AT_ONCE} mails"
    );

    // One octet too many is rejected, by the declared size and by the received octets.
    let mut client = Client::hello(appliance.smtp);
    client.ask(&format!("MAIL FROM:<a@here.example> SIZE={}", 25 * MIB + 1), "552 5.3.4 ");
}

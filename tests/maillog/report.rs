//! Log tools: pflogsumm, unmodified, counts what really happened.

use crate::share::{FILE, Share, until_carried};
use crate::support::appliance::{Appliance, Sink};
use crate::support::client::Client;
use crate::support::names::Names;
use crate::support::patience::until;
use crate::support::program::{find, need_root, own_address, run};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

fn next_hop(fail: &str) -> Sink {
    need_root("MX records lead to port 25");
    Sink::at(SocketAddr::from((own_address(), 25)), fail)
}

/// The report, with all its parts.
fn pflogsumm(log: &Path) -> String {
    String::from_utf8(run(Command::new(find("pflogsumm")).arg(log)).stdout).unwrap()
}

/// A number of its grand totals: `   12   received`, `  345   bytes received`.
fn total(report: &str, name: &str) -> u64 {
    let line = report.lines().find(|line| {
        let rest = line
            .trim_start()
            .trim_start_matches(|c: char| c.is_ascii_digit() || c == 'k' || c == 'm')
            .trim_start();
        rest == name
            || rest.strip_prefix(name).is_some_and(|rest| rest.trim_start().starts_with('('))
    });
    let line = line.unwrap_or_else(|| panic!("no {name} in\n{report}"));
    let number = line.split_whitespace().next().unwrap();
    number.parse().unwrap_or_else(|_| panic!("{line}"))
}

/// Whether a part of the report has a line with all these words.
fn says(report: &str, part: &str, words: &[&str]) -> bool {
    let (_, rest) =
        report.split_once(part).unwrap_or_else(|| panic!("no part {part} in\n{report}"));
    rest.lines().skip(1).any(|line| words.iter().all(|word| line.contains(word)))
}

#[test]
fn pflogsumm_counts_what_happened() {
    let (good, bad, busy) = (next_hop(""), next_hop("rcpt=550"), next_hop("rcpt=451"));
    let place = |name: &str, sink: &Sink| {
        [
            format!("host-record=mx-{name}.example,{}", sink.address.ip()),
            format!("mx-host={name}.example,mx-{name}.example,10"),
        ]
    };
    let names =
        Names::serve(&[place("good", &good), place("bad", &bad), place("busy", &busy)].concat());
    let (share, servers) = (Share::new(), names.servers());
    let path = share.path.display().to_string();
    let mut appliance = Appliance::start(&[
        ("MTA_DNS_SERVERS", &servers),
        ("MTA_LOCAL_MAIL_HOSTS", "127.0.0.0/8"),
        ("MTA_LOGS_ENABLED", "yes"),
        ("MTA_TERMINAL_LOG", &path),
        ("MTA_MAILLOG_FILENAME", FILE),
    ]);
    let mut client = Client::hello(appliance.smtp);
    let mut octets = 0;
    let mut mail = |from: &str, to: &[&str], size: usize| {
        let content = format!(
            "Subject: x\r\nMessage-ID: <{octets}@good.example>\r\n\r\n{}\r\n",
            "x".repeat(70).repeat(size / 70)
        );
        octets += content.len() as u64;
        client.mail(from, to, content.as_bytes());
    };
    mail("anna@good.example", &["one@good.example"], 100);
    mail("anna@good.example", &["one@good.example"], 1000);
    mail("bert@good.example", &["one@good.example", "two@good.example", "three@good.example"], 500);
    mail("bert@Good.Example", &["two@good.example"], 900);
    // One of three is rejected permanently, one temporarily, and anna gets a bounce for the first.
    mail(
        "anna@good.example",
        &["one@good.example", "nobody@bad.example", "later@busy.example"],
        300,
    );
    mail("", &["one@good.example"], 200);
    client.ask("MAIL FROM:<anna@good.example> SIZE=99999999999", "552 ");
    // From an address that may not relay.
    let mut swaks = Command::new(find("swaks"));
    swaks.args([
        "--server",
        &appliance.smtp.to_string(),
        "--local-interface",
        "127.0.0.77",
        "--helo",
        "evil.example",
    ]);
    swaks.args(["--from", "eve@evil.example", "--to", "one@good.example"]);
    let denied = String::from_utf8(swaks.output().unwrap().stdout).unwrap();
    assert!(denied.contains("554 5.7.1 "), "{denied}");
    client.ask("QUIT", "221 ");
    // Eight deliveries, and the notification to anna.
    until("all is delivered", || match appliance.counter("mta_delivered_total") {
        9 => Ok(()),
        count => Err(format!("{count} deliveries")),
    });
    until("one waits", || match appliance.counter("mta_deferred_total") {
        1 => Ok(()),
        count => Err(format!("{count} deferrals")),
    });
    until_carried(&appliance);
    assert_eq!(appliance.stop(), 143);

    let report = pflogsumm(&share.path.join(FILE.trim_start_matches('/')));
    println!("{report}");
    for (name, expected) in [
        ("received", 6),
        ("delivered", 9),
        ("forwarded", 0),
        ("deferred", 1),
        ("bounced", 1),
        ("rejected", 2),
        ("reject warnings", 0),
        ("held", 0),
        ("discarded", 0),
        ("bytes received", octets),
        ("senders", 3),
        ("sending hosts/domains", 2),
        ("recipients", 4),
        ("recipient hosts/domains", 1),
    ] {
        assert_eq!(total(&report, name), expected, "{name} in\n{report}");
    }
    for (part, words) in [
        ("Senders by message count", &["3", "anna@good.example"][..]),
        ("Senders by message count", &["2", "bert@good.example"]),
        ("Senders by message count", &["1", "from=<>"]),
        ("Recipients by message count", &["5", "one@good.example"]),
        ("Recipients by message count", &["2", "two@good.example"]),
        ("Recipients by message count", &["1", "three@good.example"]),
        ("message deferral detail", &["1", "4.0.0 As --fail asks"]),
        ("message bounce detail", &["1", "5.0.0 As --fail asks"]),
        ("message reject detail", &["Message too large (total: 1)"]),
        ("message reject detail", &["Relay access denied (total: 1)"]),
        // The client's address is used instead of a name, since there is no reverse lookup.
        ("message reject detail", &["1", "127.0.0.77"]),
    ] {
        assert!(says(&report, part, words), "{words:?} under {part} in\n{report}");
    }
    for none in
        ["Warnings: none", "Fatal Errors: none", "Panics: none", "Master daemon messages: none"]
    {
        assert!(report.contains(none), "{none} is missing in\n{report}");
    }
    assert!(!report.contains("Messages with no size data"), "{report}");
}

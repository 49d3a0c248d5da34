//! The listener for devices: who may connect, and how much they may send.

use crate::support::appliance::{Appliance, Sink};
use crate::support::client::Client;
use crate::support::patience::until;
use crate::support::postfix::Postfix;
use crate::support::program::{find, free_port, run};
use crate::{check, stored};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

fn device(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

#[test]
fn a_device_sends_without_a_login_and_hears_when_it_may_again() {
    let sink = Sink::start("");
    let port = free_port();
    let appliance = Appliance::start(&[
        ("MTA_SMART_RELAY", &sink.relay()),
        // Nobody may relay at the other port.
        ("MTA_SMTPD_TRUSTED_NETWORKS", "192.0.2.1"),
        ("MTA_DEVICE_PORT", &port.to_string()),
        ("MTA_DEVICE_NETWORKS", "127.0.0.1"),
        ("MTA_DEVICE_USER", "printers"),
        ("MTA_DEVICE_RATE", "2/h"),
    ]);
    let mut client = Client::hello(device(port));
    // As printers write it: a blank behind the colon, and no domain.
    client.ask("MAIL FROM: <scanner@lan>", "250 ");
    client.ask("RCPT TO: <a@real.example>", "250 ");
    client.ask("DATA", "354 ");
    let id = client.ask("Subject: scan\r\n\r\nx\r\n.", "250 ");
    let id = id.rsplit(' ').next().unwrap().to_owned();
    run(Command::new(find("swaks"))
        .args(["--server", "127.0.0.1", "--port", &port.to_string()])
        .args(["--helo", "printer", "--from", "p@lan.example", "--to", "b@real.example"]));
    sink.mails(2);
    let said = client.ask("MAIL FROM:<scanner@lan>", "450 4.7.1 ");
    assert!(said.contains("2/1h (device_rate); try again in ") && said.ends_with(" s"), "{said}");
    let log = appliance.log();
    let line = log.iter().find(|line| line.contains("device mail") && line.contains(&id));
    assert!(line.is_some_and(|line| line.contains("user=printers")), "{log:#?}");
    let mut other = Client::hello(appliance.smtp);
    other.ask("MAIL FROM:<x@y.example>", "250 ");
    other.ask("RCPT TO:<a@real.example>", "554 5.7.1 ");
    let told = check(&appliance);
    let words =
        format!("Devices in 127.0.0.1 may send at port {port} without a login, at most 2/1h");
    assert!(told.contains(&words), "{told}");
}

#[test]
fn everybody_else_is_refused_before_the_greeting() {
    let port = free_port();
    let appliance = Appliance::start(&[
        ("MTA_SMTPD_TRUSTED_NETWORKS", "0.0.0.0/0"),
        ("MTA_DEVICE_PORT", &port.to_string()),
        ("MTA_DEVICE_NETWORKS", "192.0.2.0/24"),
    ]);
    let mut client = Client::connect(device(port));
    let said = client.expect("554 5.7.1 ");
    assert!(said.contains("is not in device_networks of this relay"), "{said}");
    client.expect_close();
    until("the log tells it", || {
        let log = appliance.log();
        let told = log.iter().any(|line| line.contains("command=CONNECT"));
        if told { Ok(()) } else { Err(format!("{log:#?}")) }
    });
    assert_eq!(appliance.counter("mta_refused_total{reason=\"relay\"}"), 1);
}

#[test]
fn postfix_hands_mail_of_a_device_to_postfix() {
    let postfix = Postfix::next_hop();
    let port = free_port();
    let appliance = Appliance::start(&[
        ("MTA_SMART_RELAY", &postfix.address.to_string()),
        ("MTA_SMTPD_TRUSTED_NETWORKS", "192.0.2.1"),
        ("MTA_DEVICE_PORT", &port.to_string()),
        ("MTA_DEVICE_NETWORKS", "127.0.0.0/8"),
    ]);
    let sender = Postfix::sender(device(port));
    sender.sendmail("sender@here.example", "box@there.example", b"Subject: x\r\n\r\nx\r\n");
    let mail = stored(&postfix.mailbox("box"), 1).remove(0);
    assert!(mail.contains("\nSubject: x\n"), "{mail}");
    appliance.until_empty();
}

#[test]
fn a_port_without_networks_or_of_another_listener_stops_the_start() {
    let appliance = Appliance::start(&[]);
    let smtp = appliance.smtp.port().to_string();
    for (vars, words) in [
        (&[("MTA_DEVICE_PORT", "2525")][..], "Error: device_port needs device_networks"),
        (
            &[("MTA_DEVICE_PORT", smtp.as_str()), ("MTA_DEVICE_NETWORKS", "10.0.0.0/8")],
            "Error: device_port must differ from the other ports",
        ),
        (&[("MTA_DEVICE_PORT", "70000")], "Error: device_port value must be between 0 and 65535"),
        (&[("MTA_DEVICE_RATE", "fast")], "'fast' is not a rate"),
    ] {
        let output = appliance.command(&["check"]).envs(vars.iter().copied()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(64) && said.contains(words), "{words}: {said}");
    }
    let open = [("MTA_DEVICE_PORT", "2525"), ("MTA_DEVICE_NETWORKS", "0.0.0.0/0")];
    let output = appliance.command(&["check"]).envs(open).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("makes an OPEN RELAY at port 2525"), "{said}");
}

/// The same rule as at the other ports: a listed proxy names its client, and is none itself.
#[test]
fn a_device_behind_a_proxy_is_the_device() {
    let sink = Sink::start("");
    let port = free_port();
    let _appliance = Appliance::start(&[
        ("MTA_SMART_RELAY", &sink.relay()),
        ("MTA_PROXY_NETWORKS", "127.0.0.9"),
        ("MTA_XCLIENT_NETWORKS", "127.0.0.8"),
        ("MTA_DEVICE_PORT", &port.to_string()),
        ("MTA_DEVICE_NETWORKS", "10.7.0.0/16, 127.0.0.8"),
    ]);
    let behind = |client: &str| {
        let mut session = Client::connect_from("127.0.0.9", device(port));
        session.send(format!("PROXY TCP4 {client} 192.0.2.1 4711 25\r\n"));
        session
    };
    let mut printer = behind("10.7.1.1");
    printer.expect("220 ");
    printer.ask("HELO printer", "250 ");
    printer.mail("scanner@lan", &["a@real.example"], b"Subject: x\r\n\r\nx\r\n");
    behind("192.0.2.7").expect("554 5.7.1 This port is for devices only, and [192.0.2.7]");
    Client::connect_from("127.0.0.9", device(port)).ask("HELO printer", "421 4.7.0");
    // The client that XCLIENT names must be a device, too.
    let mut proxy = Client::hello_from("127.0.0.8", device(port));
    proxy.ask("XCLIENT ADDR=192.0.2.7", "554 5.7.1 This port is for devices only");
    proxy.expect_close();
    sink.mails(1);
}

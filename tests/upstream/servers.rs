//! Another server that asks for a login: Dovecot's submission service, which passes mail on.

use crate::support::appliance::Appliance;
use crate::support::keys::{Authority, EC};
use crate::support::patience::until;
use crate::support::postfix::Postfix;
use crate::support::program::{Program, find, free_port, open_directory, open_folder};
use crate::{PASSWORD, USER, properties, send};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

/// Gives a mail to an appliance, and waits until the server there has taken it.
fn deliver(authority: &Authority, address: SocketAddr) -> Appliance {
    let (relay, ca) = (address.to_string(), authority.root().display().to_string());
    let appliance = Appliance::start(&properties(&relay, &ca, PASSWORD));
    send(&appliance, "anna@here.example");
    appliance.until_empty();
    assert_eq!(appliance.counter("mta_delivered_total"), 1);
    appliance
}

#[test]
fn dovecots_submission_service_takes_the_login_and_passes_mail_on() {
    let authority = Authority::new();
    let issued = authority.issue("mx", EC, "mx.example");
    let next = Postfix::next_hop();
    for mechanism in ["plain", "login", "scram-sha-256"] {
        let directory = open_directory();
        open_folder(&directory, "home");
        let (path, port) = (directory.path().display(), free_port());
        fs::write(directory.path().join("users"), format!("{USER}:{{PLAIN}}{PASSWORD}\n")).unwrap();
        let conf = format!(
            "base_dir = {path}/run\nlog_path = {path}/log\nprotocols = submission\n\
             listen = 127.0.0.1\nhostname = mx.example\nssl = required\nssl_cert = <{}\n\
             ssl_key = <{}\nauth_mechanisms = {mechanism}\nauth_failure_delay = 0\n\
             mail_location = maildir:{path}/home/%u\n\
             submission_relay_host = 127.0.0.1\nsubmission_relay_port = {}\n\
             passdb {{\n driver = passwd-file\n args = scheme=PLAIN {path}/users\n}}\n\
             userdb {{\n driver = static\n args = uid=65534 gid=65534 home={path}/home\n}}\n\
             service submission-login {{\n inet_listener submission {{\n  port = {port}\n }}\n}}\n",
            issued.chain.display(),
            issued.key.display(),
            next.address.port()
        );
        let file = directory.path().join("dovecot.conf");
        fs::write(&file, conf).unwrap();
        let mut command = Command::new(find("dovecot"));
        command.arg("-F").arg("-c").arg(&file);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let _dovecot = Program::start(directory.path(), "dovecot", command).listening(address);
        let appliance = deliver(&authority, address);
        let log = || fs::read_to_string(directory.path().join("log")).unwrap_or_default();
        let words = format!("user=<{USER}>, method={}", mechanism.to_uppercase());
        until("Dovecot logs the login", || match log() {
            log if log.contains(&words) => Ok(()),
            log => Err(log),
        });
        drop(appliance);
    }
    let mails = fs::read_dir(next.mailbox("box")).unwrap().count();
    assert_eq!(mails, 3, "{}", next.log());
}

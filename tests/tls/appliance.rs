//! The whole appliance with a key volume: both SMTP ports, and a certificate that is renewed at run
//! time.

use crate::support::appliance::{Appliance, Sink};
use crate::support::client::Client;
use crate::support::keys::{Authority, EC, Issued, RSA, read};
use crate::support::patience::until;
use crate::support::program::open_directory;
use crate::support::tls::believing;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

/// How soon a renewal must be noticed.
const WITHIN: Duration = Duration::from_secs(60);

/// Replaces a file atomically, readable for the appliance.
pub fn put(volume: &Path, name: &str, content: &[u8]) {
    let new = volume.join(".new");
    fs::write(&new, content).unwrap();
    fs::set_permissions(&new, Permissions::from_mode(0o644)).unwrap();
    fs::rename(new, volume.join(name)).unwrap();
}

fn logged(appliance: &Appliance, words: &str) -> String {
    until(&format!("the log says {words:?}"), || {
        let log = appliance.log();
        log.iter()
            .find(|line| line.contains(words))
            .cloned()
            .ok_or_else(|| log.last().cloned().unwrap_or_default())
    })
}

#[test]
fn mail_by_both_doors_and_a_renewal_that_goes_wrong_and_then_right() {
    let (authority, volume, sink) = (Authority::new(), open_directory(), Sink::start(""));
    let believing = believing(&read(&authority.root()));
    let first = authority.issue("first", EC, "mail.example");
    put(volume.path(), "server.key", &read(&first.key));
    put(volume.path(), "server.pem", &read(&first.chain));
    let volume_key = volume.path().display().to_string();
    let properties = [
        ("MTA_SMART_RELAY", &sink.relay()[..]),
        ("MTA_SSL_DISABLED", "no"),
        ("MTA_VOLUME_KEY", &volume_key),
    ];
    let appliance = Appliance::start(&properties);
    logged(&appliance, "TLS: certificate for mail.example, 127.0.0.1, valid until 2049-01-01T");

    let hello_direct = || {
        let mut client = Client::connect_inside_tls(appliance.smtps, &believing);
        client.expect("220 ");
        client.ask("EHLO client.example", "250 ");
        client
    };
    let mut old = Client::hello_inside_tls(appliance.smtp, &believing);
    old.mail("sender@here.example", &["box@there.example"], b"Subject: one\r\n\r\n");
    hello_direct().mail("sender@here.example", &["box@there.example"], b"Subject: two\r\n\r\n");
    sink.mails(2);
    assert!(
        logged(&appliance, "status=accepted").contains(" tls=TLSv1.3:TLS_"),
        "{:?}",
        appliance.log()
    );
    assert_eq!(appliance.counter("mta_tls_sessions_total{version=\"TLSv1.3\"}"), 2);
    assert_eq!(appliance.counter("mta_tls_certificate_expiry_seconds"), 2_493_072_000);
    let door = appliance.api("status")["terminals"][0].clone();
    assert_eq!(door["name"], "in");
    let state = door["state"].as_str().unwrap();
    let ports = format!(
        "STARTTLS on port {}, SMTPS (implicit TLS) on port {}",
        appliance.smtp.port(),
        appliance.smtps.port()
    );
    assert!(
        state.contains(&ports) && state.contains("certificate valid until 2049-01-01T"),
        "{state}"
    );

    // The new certificate is there, its key is not yet: nothing changes, and that is logged.
    let second =
        authority.issue_for("second", RSA, "mail.example", "20200101000000Z", "20480101000000Z");
    put(volume.path(), "server.pem", &read(&second.chain));
    logged(&appliance, "the private key does not belong to the certificate");
    assert_eq!(hello_direct().certificate(), old.certificate());

    put(volume.path(), "server.key", &read(&second.key));
    logged(&appliance, "certificate renewed: certificate for mail.example");
    assert_eq!(appliance.counter("mta_tls_certificate_expiry_seconds"), 2_461_449_600);
    let mut renewed = hello_direct();
    assert_ne!(renewed.certificate(), old.certificate());
    renewed.mail("sender@here.example", &["box@there.example"], b"Subject: three\r\n\r\n");
    old.mail("sender@here.example", &["box@there.example"], b"Subject: four\r\n\r\n");
    sink.mails(4);
}

/// Key and certificate as Kubernetes mounts a secret: the names lead through a link, which is
/// swapped for both at once.
fn put_secret(volume: &Path, issue: &str, issued: &Issued) {
    let directory = volume.join(issue);
    fs::create_dir(&directory).unwrap();
    put(&directory, "server.key", &read(&issued.key));
    put(&directory, "server.pem", &read(&issued.chain));
    symlink(issue, volume.join("..data_tmp")).unwrap();
    fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
}

#[test]
fn a_secret_that_is_swapped_by_its_link_and_files_written_over_in_place_are_seen() {
    let (authority, volume) = (Authority::new(), open_directory());
    let believing = believing(&read(&authority.root()));
    put_secret(volume.path(), "..first", &authority.issue("first", EC, "mail.example"));
    for name in ["server.key", "server.pem"] {
        symlink(format!("..data/{name}"), volume.path().join(name)).unwrap();
    }
    let volume_key = volume.path().display().to_string();
    let appliance =
        Appliance::start(&[("MTA_SSL_DISABLED", "no"), ("MTA_VOLUME_KEY", &volume_key)]);
    let shown = || Client::hello_inside_tls(appliance.smtp, &believing).certificate();
    let first = shown();

    let start = Instant::now();
    put_secret(volume.path(), "..second", &authority.issue("second", RSA, "mail.example"));
    let second = until("the swapped certificate is shown", || {
        Some(shown()).filter(|now| *now != first).ok_or_else(String::new)
    });
    assert!(start.elapsed() < WITHIN, "{:?}", start.elapsed());

    // An expired pair is not used, even if its files belong together.
    let expired =
        authority.issue_for("expired", EC, "mail.example", "20200101000000Z", "20210101000000Z");
    put_secret(volume.path(), "..third", &expired);
    let told = logged(&appliance, "the loaded key and certificate stay in use");
    assert!(told.contains("the certificate expired at 2021-01-01T"), "{told}");
    assert_eq!(shown(), second);

    let third = authority.issue("third", EC, "mail.example");
    fs::write(volume.path().join("..third/server.key"), read(&third.key)).unwrap();
    fs::write(volume.path().join("..third/server.pem"), read(&third.chain)).unwrap();
    let last = until("the certificate written over is shown", || {
        Some(shown()).filter(|now| *now != second).ok_or_else(String::new)
    });
    assert_ne!(last, first);
}

#[test]
fn without_keys_there_is_no_tls_to_see() {
    let appliance = Appliance::start(&[]);
    let mut client = Client::hello(appliance.smtp);
    client.ask("STARTTLS", "502 5.5.1");
    assert!(std::net::TcpStream::connect(appliance.smtps).is_err());
    assert!(!appliance.get("/metrics").contains("mta_tls_certificate_expiry_seconds"));
}

//! TLS with an upstream: verified, or no mail and no password at all.

use crate::support::appliance::{Appliance, ORDINARY};
use crate::support::keys::{Authority, EC};
use crate::support::postfix::Postfix;
use crate::{PASSWORD, Submission, properties, send};
use std::os::unix::fs::chown;

#[test]
fn a_certificate_of_an_unknown_authority_stops_mail_before_the_password() {
    let server = Submission::start("plain");
    let (relay, other) = (server.relay(), Authority::new());
    let ca = other.root().display().to_string();
    let appliance = Appliance::start(&properties(&relay, &ca, PASSWORD));
    send(&appliance, "anna@here.example");
    let told = appliance.deferral();
    assert!(told.contains("its certificate is of no known authority"), "{told}");
    assert!(told.contains("name its file in smart_relay_ca;"), "{told}");
    assert!(told.contains("smart_relay_tls=required permits no plain text"), "{told}");
    assert!(!server.postfix.log().contains("sasl_method"), "{}", server.postfix.log());
    assert_eq!(server.mails().len(), 0);
}

#[test]
fn a_certificate_for_another_name_stops_mail() {
    let server = Submission::start("plain");
    let relay = format!("[localhost]:{}", server.postfix.address.port());
    let ca = server.ca();
    let appliance = Appliance::start(&properties(&relay, &ca, PASSWORD));
    send(&appliance, "anna@here.example");
    let told = appliance.deferral();
    assert!(told.contains("its certificate is for another name"), "{told}");
    assert_eq!(server.mails().len(), 0);
}

#[test]
fn a_server_without_starttls_gets_neither_password_nor_mail() {
    let server = Submission::start("plain");
    let issued = server.authority.issue("plain", EC, "plain.example");
    let lines = format!(
        "smtpd_sasl_type = dovecot\nsmtpd_sasl_path = {}\nsmtpd_tls_security_level = none\n\
         smtpd_tls_auth_only = no\n",
        server.dovecot.socket().display()
    );
    let plain = Postfix::submission_with(&issued.chain, &issued.key, &lines);
    let (relay, ca) = (plain.address.to_string(), server.ca());
    let appliance = Appliance::start(&properties(&relay, &ca, PASSWORD));
    send(&appliance, "anna@here.example");
    let told = appliance.deferral();
    assert!(told.contains("it does not offer STARTTLS"), "{told}");
    assert!(!plain.log().contains("sasl_method"), "{}", plain.log());
}

#[test]
fn implicit_tls_is_spoken_from_the_first_octet() {
    let server = Submission::start("plain");
    let issued = server.authority.issue("implicit", EC, "implicit.example");
    let postfix = Postfix::submissions(&server.dovecot.socket(), &issued.chain, &issued.key);
    let (relay, ca) = (postfix.address.to_string(), server.ca());
    let mut all = properties(&relay, &ca, PASSWORD);
    all.push(("MTA_SMART_RELAY_TLS", "implicit"));
    let appliance = Appliance::start(&all);
    send(&appliance, "anna@here.example");
    appliance.until_empty();
    assert!(postfix.log().contains("sasl_method=PLAIN"), "{}", postfix.log());
    assert_eq!(appliance.counter("mta_delivered_total"), 1);
}

/// A relay that knows its clients by their certificates, as a connector of Microsoft 365 does.
#[test]
fn a_client_certificate_is_shown_where_a_server_asks_for_one() {
    let authority = Authority::new();
    let issued = authority.issue("mx", EC, "mx.example");
    let ours = authority.issue("client", EC, "relay.here.example");
    // The appliance is an ordinary user in these tests.
    chown(&ours.key, Some(ORDINARY), Some(ORDINARY)).unwrap();
    let told =
        authority.openssl(&["x509", "-in", "client.pem", "-noout", "-fingerprint", "-sha256"]);
    let fingerprint = told.trim().split_once('=').unwrap().1;
    let lines = format!(
        "smtpd_tls_ask_ccert = yes\nsmtpd_tls_security_level = encrypt\n\
         smtpd_tls_fingerprint_digest = sha256\nrelay_clientcerts = inline:{{ \
         {fingerprint}=ours }}\nsmtpd_client_restrictions = permit_tls_clientcerts, reject\n\
         smtpd_relay_restrictions = permit_tls_clientcerts, reject\nsmtpd_sasl_auth_enable = no\n"
    );
    let postfix = Postfix::submission_with(&issued.chain, &issued.key, &lines);
    let (relay, ca) = (postfix.address.to_string(), authority.root().display().to_string());
    let (cert, key) = (ours.chain.display().to_string(), ours.key.display().to_string());
    let properties = [
        ("MTA_SMART_RELAY", &*relay),
        ("MTA_SMART_RELAY_TLS", "required"),
        ("MTA_SMART_RELAY_CA", &*ca),
        ("MTA_SMART_RELAY_CERT_FILE", &*cert),
        ("MTA_SMART_RELAY_KEY_FILE", &*key),
    ];
    let appliance = Appliance::start(&properties);
    send(&appliance, "anna@here.example");
    appliance.until_empty();
    assert_eq!(appliance.counter("mta_delivered_total"), 1);
}

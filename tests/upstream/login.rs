//! The login itself: every mechanism, and a wrong password.

use crate::support::appliance::Appliance;
use crate::support::postfix::Postfix;
use crate::{PASSWORD, Submission, USER, properties, send};
use std::fs;

/// Whether Postfix logged a login by this mechanism.
#[track_caller]
fn logged_in(postfix: &Postfix, mechanism: &str) {
    let log = postfix.log();
    let words = format!("sasl_method={mechanism}, sasl_username={USER}");
    assert!(log.contains(&words), "{mechanism}: {log}");
}

#[test]
fn mail_goes_to_a_postfix_that_asks_dovecot_by_every_mechanism() {
    for mechanism in ["plain", "login", "cram-md5", "scram-sha-1", "scram-sha-256"] {
        let server = Submission::start(mechanism);
        let (relay, ca) = (server.relay(), server.ca());
        let appliance = Appliance::start(&properties(&relay, &ca, PASSWORD));
        send(&appliance, "anna@here.example");
        server.until_mails(1, &appliance);
        logged_in(&server.postfix, &mechanism.to_uppercase());
        let mail = fs::read_to_string(&server.mails()[0]).unwrap();
        assert!(mail.contains("with ESMTPSA id"), "{mail}");
        assert_eq!(appliance.counter("mta_delivered_total"), 1);
    }
}

#[test]
fn of_several_mechanisms_the_best_is_used() {
    let server = Submission::start("login plain cram-md5 scram-sha-1 scram-sha-256");
    let (relay, ca) = (server.relay(), server.ca());
    let appliance = Appliance::start(&properties(&relay, &ca, PASSWORD));
    send(&appliance, "anna@here.example");
    server.until_mails(1, &appliance);
    logged_in(&server.postfix, "SCRAM-SHA-256");
}

#[test]
fn a_wrong_password_lets_mail_wait_and_says_so() {
    for mechanism in ["plain", "scram-sha-256"] {
        let server = Submission::start(mechanism);
        let (relay, ca) = (server.relay(), server.ca());
        let appliance = Appliance::start(&properties(&relay, &ca, "planted-wrong-word"));
        send(&appliance, "anna@here.example");
        let told = appliance.deferral();
        assert!(
            told.contains("refuses the login of smart_relay_username: 535 5.7.8"),
            "{mechanism}: {told}"
        );
        assert_eq!(appliance.messages().len(), 1, "it waits, and nobody gets a bounce");
        assert_eq!(appliance.counter("mta_bounced_total"), 0);
        assert_eq!(server.mails().len(), 0);
    }
}

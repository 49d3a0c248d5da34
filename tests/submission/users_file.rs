//! The file of the users changes while the relay runs, and what is wrong with it is told.

use crate::support::patience::until;
use crate::support::program::open_directory;
use crate::{Submission, USERS, plain, put};
use std::process::Command;

fn logged(relay: &Submission, words: &str) {
    until(&format!("the log says {words:?}"), || match relay.has_logged(&[words]) {
        true => Ok(()),
        false => Err(relay.appliance.log().last().cloned().unwrap_or_default()),
    });
}

#[test]
fn a_new_file_counts_without_a_restart_and_a_wrong_one_does_not() {
    let relay = Submission::start(&format!("{USERS}dora:{{PLAIN}}d"), &[]);
    let mut before = relay.logged_in("ben", "s3cret");
    let mut changed = relay.logged_in("anna", "s3cret-of-anna");
    let mut stays = relay.logged_in("dora", "d");
    put(
        &relay.users,
        b"anna:{PLAIN}another\ncarla:{PLAIN}new-here\ndora:{PLAIN}d;senders=a@b.example\n",
    );
    logged(&relay, "smtp_users has changed");
    relay.logged_in("carla", "new-here").finish();
    relay.logged_in("anna", "another").finish();
    relay.hello().ask(&plain("anna", "s3cret-of-anna"), "535 5.7.8");
    relay.hello().ask(&plain("ben", "s3cret"), "535 5.7.8");
    // Who had logged in does not go on without a user, or with the former password.
    let words = "User 'ben' is gone or has another password; connect and log in again";
    before.ask("MAIL FROM:<a@b.example>", &format!("421 4.7.0 {words}"));
    assert_eq!(before.line(), None, "the session is over");
    changed.ask("MAIL FROM:<a@b.example>", "421 4.7.0 User 'anna' is gone or has another password");

    // Others go on, with what the new file says of them.
    stays.mail("a@b.example", &["box@there.example"], b"Subject: x\r\n\r\nHello\r\n");
    stays.ask("MAIL FROM:<c@b.example>", "550 5.7.1 <c@b.example>: user 'dora' may not send as");

    put(&relay.users, b"anna:hunter2-in-plain\n");
    logged(&relay, "the new file of smtp_users cannot be used, the former users stay");
    let alert = "The new file of smtp_users cannot be used, the former users stay: see the log";
    until("there is an alert", || match relay.appliance.api("status").to_string() {
        alerts if alerts.contains(alert) => Ok(()),
        alerts => Err(alerts),
    });
    relay.logged_in("anna", "another").finish();
    // The relay goes on, and so it is healthy.
    let mut health = relay.appliance.command(&["health"]);
    let health = health.env("MTA_SMTP_USERS_FILE", &relay.users).output().unwrap();
    assert!(health.status.success(), "{health:?}");
    assert!(!relay.has_logged(&["hunter2-in-plain"]), "{:?}", relay.appliance.log());
    put(&relay.users, b"anna:{PLAIN}third\n");
    until("the third file counts", || {
        let mut client = relay.hello();
        client.send(plain("anna", "third") + "\r\n");
        client.line().filter(|line| line.starts_with("235 ")).ok_or_else(String::new)
    });
    assert!(!relay.appliance.api("status").to_string().contains(alert));
}

/// Exit 64, with everything that is wrong.
#[test]
fn users_without_tls_and_wrong_entries_stop_the_start() {
    let directory = open_directory();
    let check = |properties: &[(&str, &str)]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postern"));
        command.arg("check").env_clear().env("MTA_VOLUME_DATA", directory.path());
        let output = command.envs(properties.iter().copied()).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    let (code, text) = check(&[("MTA_SMTP_USERS", "anna:{PLAIN}hunter2")]);
    assert!(code == Some(64) && text.contains("Error: smtp_users needs TLS"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
    let (code, text) = check(&[("MTA_SMTP_USERS", "anna:hunter2")]);
    assert!(code == Some(64) && text.contains("the hash of 'anna'"), "{text}");
    let plaintext = ("MTA_PLAINTEXT_AUTH_NETWORKS", "10.0.0.0/8");
    let users = ("MTA_SMTP_USERS", "anna:{PLAIN}hunter2 ben:{PLAIN}x");
    let port = ("MTA_SUBMISSION_PORT", "25");
    let (code, text) = check(&[users, plaintext, port]);
    assert!(code == Some(64) && text.contains("submission_port must differ"), "{text}");
    let (_, text) = check(&[users, plaintext]);
    assert!(text.contains("Who may log in: anna, ben on port 587 and 25; 10.0.0.0/8 also without"));
    assert!(text.contains("WARNING: plaintext_auth_networks") && !text.contains("hunter2"));
    let (_, text) = check(&[]);
    assert!(text.contains("Who may log in: nobody"), "{text}");
}

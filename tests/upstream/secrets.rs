//! Passwords: where they are, where they are not, and how a new one is used.

use crate::support::appliance::{Appliance, ORDINARY};
use crate::support::patience::{until, until_within};
use crate::support::program::open_directory;
use crate::token_server::{CLIENT_SECRET, REFRESH_TOKEN, TokenServer};
use crate::{PASSWORD, Submission, USER, properties, send};
use serde_json::json;
use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;
use std::time::Duration;

/// The forms in which the password could show.
pub fn forms(password: &str) -> Vec<String> {
    use base64::Engine;
    let coded = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    vec![password.to_owned(), coded(password), coded(&format!("\0{USER}\0{password}"))]
}

fn write(file: &Path, text: &str) {
    fs::write(file, text).unwrap();
    chown(file, Some(ORDINARY), Some(ORDINARY)).unwrap();
}

#[test]
fn a_new_password_is_used_without_a_restart() {
    let server = Submission::start("plain");
    let directory = open_directory();
    let file = directory.path().join("password");
    write(&file, "planted-first\n");
    let (relay, ca, path) = (server.relay(), server.ca(), file.display().to_string());
    let mut all = properties(&relay, &ca, "");
    all.retain(|(name, _)| *name != "MTA_SMART_RELAY_PASSWORD");
    all.push(("MTA_SMART_RELAY_PASSWORD_FILE", &path));
    let appliance = Appliance::start(&all);
    send(&appliance, "anna@here.example");
    assert!(appliance.deferral().contains("535"), "{}", appliance.deferral());
    let core = appliance.child("core");
    write(&file, &format!("{PASSWORD}\r\n"));
    until_within(Duration::from_secs(60), "the new file is seen", || {
        let log = appliance.log();
        let told = log.iter().any(|line| line.contains("the files of upstreams have changed"));
        if told { Ok(()) } else { Err(format!("{:?}", log.last())) }
    });
    // The pause of a minute ends with the new password; nobody has to give an order.
    server.until_mails(1, &appliance);
    assert!(
        appliance.log().iter().any(|line| line.contains("order=retry")),
        "{:?}",
        appliance.log()
    );
    assert_eq!(appliance.child("core"), core, "the same process");

    // A file that is empty for a moment, or gone, changes nothing.
    write(&file, "\n");
    until_within(Duration::from_secs(60), "the empty file is told", || {
        let log = appliance.log();
        let told = log.iter().any(|line| line.contains("their former content stays in use"));
        if told { Ok(()) } else { Err(format!("{:?}", log.last())) }
    });
    send(&appliance, "anna@here.example");
    server.until_mails(2, &appliance);
    server.dovecot.set_password(USER, "planted-third");
    write(&file, "planted-third");
    until_within(Duration::from_secs(60), "mail goes with the third", || {
        send(&appliance, "anna@here.example");
        let log = appliance.log();
        match log.iter().filter(|line| line.contains("files of upstreams have changed")).count() {
            2 => Ok(()),
            _ => Err(format!("{:?}", log.last())),
        }
    });
    appliance.queue(&["retry", "--all", "--yes"]);
    appliance.until_empty();
}

#[test]
fn a_password_is_shown_nowhere() {
    let server = Submission::start("plain login");
    let (relay, ca) = (server.relay(), server.ca());
    for password in [PASSWORD, "planted-wrong-word"] {
        let login = [("MTA_USERNAME", "operator"), ("MTA_PASSWORD", "open sesame")];
        let appliance =
            Appliance::start(&[&properties(&relay, &ca, password)[..], &login].concat());
        send(&appliance, "anna@here.example");
        if password == PASSWORD {
            server.until_mails(1, &appliance);
        } else {
            until("the login is refused", || match appliance.log().join("\n") {
                log if log.contains("refuses the login") => Ok(()),
                log => Err(log),
            });
        }
        let places = places(&appliance);
        for (place, text) in places {
            for form in forms(password) {
                assert!(!text.contains(&form), "{place} has {form}: {text}");
            }
        }
    }
}

/// With OAuth2: the refresh token that the endpoint gave is in its file, and nothing else is
/// anywhere.
#[test]
fn secrets_of_oauth2_are_shown_nowhere() {
    let login = [("MTA_USERNAME", "operator"), ("MTA_PASSWORD", "open sesame")];
    let refresh = [("MTA_SMART_RELAY_OAUTH_REFRESH_TOKEN", REFRESH_TOKEN)];
    for (control, more) in [
        (json!({}), &refresh[..]),
        (json!({ "dead": 1000 }), &[]),
        (json!({ "mode": "echo" }), &refresh),
    ] {
        let server = TokenServer::start("XOAUTH2");
        server.control(&control);
        let appliance = server.appliance(&[&login[..], more].concat());
        send(&appliance, "box@here.example");
        if control == json!({}) {
            server.until_mails(1, &appliance);
        } else {
            until("the attempt has failed", || match appliance.log().join("\n") {
                log if log.contains("oken") && log.contains("efuse") => Ok(()),
                log => Err(log),
            });
        }
        let mut secrets = vec![CLIENT_SECRET.to_owned(), REFRESH_TOKEN.to_owned()];
        secrets.extend(server.events("granted").iter().map(|line| line["granted ".len()..].into()));
        let stored = appliance.path("data").join("oauth-default");
        let stored = fs::read_to_string(stored).unwrap_or_default();
        assert_eq!(stored.contains("planted-rotated-"), control == json!({}), "{stored}");
        let places = places(&appliance).into_iter().filter(|(_, text)| *text != stored);
        for (place, text) in places {
            assert!(!text.contains("planted-rotated-"), "{place}: {text}");
            for form in secrets.iter().flat_map(|secret| forms(secret)) {
                assert!(!text.contains(&form), "{place} has {form}: {text}");
            }
        }
    }
}

/// Every place where a secret could show.
fn places(appliance: &Appliance) -> Vec<(&'static str, String)> {
    let mut places = vec![("the log", appliance.log().join("\n"))];
    for path in
        ["/", "/queue", "/upstreams", "/settings", "/history", "/log", "/metrics", "/status"]
    {
        places.push(("a page", seen(appliance, path)));
    }
    for path in ["settings", "status", "queue", "upstreams", "history", "destinations"] {
        places.push(("the API", seen(appliance, &format!("/api/v1/{path}"))));
    }
    for message in appliance.queue(&["list"]) {
        let id = message["id"].as_str().unwrap();
        places.push(("a message", seen(appliance, &format!("/queue/{id}"))));
        places.push(("a message", appliance.queue_in_words(&["show", id])));
    }
    let check = appliance.command(&["check"]).output().unwrap();
    places.push(("check", String::from_utf8_lossy(&check.stdout).into_owned()));
    places.push(("check", String::from_utf8_lossy(&check.stderr).into_owned()));
    let core = appliance.child("core").unwrap();
    for file in ["environ", "cmdline"] {
        let octets = fs::read(format!("/proc/{core}/{file}")).unwrap();
        places.push(("the core's environment", String::from_utf8_lossy(&octets).into_owned()));
    }
    for folder in ["data", "run"] {
        for text in files_of(&appliance.path(folder)) {
            places.push(("the volume", text));
        }
    }
    places
}

/// What the operator sees there.
fn seen(appliance: &Appliance, path: &str) -> String {
    // operator:open sesame
    const LOGIN: &str = "Authorization: Basic b3BlcmF0b3I6b3BlbiBzZXNhbWU=\r\n";
    let (status, text) = appliance.get_as(path, LOGIN);
    assert_eq!(status, "200", "{path}: {text}");
    text
}

fn files_of(folder: &Path) -> Vec<String> {
    let mut texts = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            texts.extend(files_of(&entry.path()));
        } else if kind.is_file() {
            let octets = fs::read(entry.path()).unwrap_or_default();
            texts.push(String::from_utf8_lossy(&octets).into_owned());
        }
    }
    texts
}

/// What stops the start, or is told by `postern check`.
#[test]
fn check_says_what_is_missing() {
    let server = Submission::start("plain");
    let (relay, ca) = (server.relay(), server.ca());
    let appliance = Appliance::start(&properties(&relay, &ca, PASSWORD));
    for (set, unset, code, words) in [
        (("MTA_SMART_RELAY_TLS", "none"), "", 64, "would send the password without verified TLS"),
        (("MTA_SMART_RELAY_TLS", "opportunistic"), "", 64, "would send the password without"),
        (("MTA_LISTEN", "127.0.0.1"), "MTA_SMART_RELAY_PASSWORD", 64, "needs smart_relay_password"),
        (("MTA_SMART_RELAY_CA", "/nowhere/ca.pem"), "", 1, "/nowhere/ca.pem (smart_relay_ca): No"),
        (("MTA_SMART_RELAY", "smtp.postmarkapp.com:465"), "", 0, "Postmark has no port with TLS"),
        (("MTA_SMART_RELAY", "smtp.sendgrid.net:587"), "", 0, "is the word apikey"),
    ] {
        let mut command = appliance.command(&["check"]);
        command.env(set.0, set.1);
        command.env_remove(unset);
        let output = command.output().unwrap();
        let told = [output.stdout, output.stderr].concat();
        let told = String::from_utf8_lossy(&told);
        assert!(told.contains(words), "{words}: {told}");
        assert_eq!(output.status.code(), Some(code), "{words}: {told}");
        assert!(!told.contains(PASSWORD), "{told}");
    }
}

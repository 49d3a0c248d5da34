//! `postern upstream list` and `test`: what they say of an upstream in each state, and that nothing
//! secret is in it.

use crate::secrets::forms;
use crate::support::appliance::Appliance;
use crate::support::keys::{Authority, EC};
use crate::support::patience::until;
use crate::support::postfix::Postfix;
use crate::support::program::free_port;
use crate::{PASSWORD, Submission, USER, properties, send};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

const LOGIN: [(&str, &str); 2] = [("MTA_USERNAME", "operator"), ("MTA_PASSWORD", "open sesame")];

/// `postern upstream` with these arguments: exit code and output.
fn upstream(appliance: &Appliance, arguments: &[&str]) -> (i32, String) {
    let done = appliance.command(&[&["upstream"], arguments].concat()).output().unwrap();
    let words = String::from_utf8([done.stdout, done.stderr].concat()).unwrap();
    (done.status.code().unwrap(), words)
}

fn listed(appliance: &Appliance) -> Value {
    let (_, words) = upstream(appliance, &["list", "--json"]);
    let view: Value = serde_json::from_str(&words).unwrap_or_else(|e| panic!("{e}: {words}"));
    view["upstreams"][0].clone()
}

/// An appliance with a login at this server, by other properties where needed.
fn appliance(server: &Submission, more: &[(&str, &str)]) -> Appliance {
    let (relay, ca) = (server.relay(), server.ca());
    let mut all = properties(&relay, &ca, PASSWORD);
    for (name, _) in more {
        all.retain(|(known, _)| known != name);
    }
    let more = more.iter().map(|(name, value)| (*name, *value));
    let all: Vec<(&str, &str)> = all.into_iter().chain(more).collect();
    Appliance::start(&all)
}

/// Fails, and says this of what is wrong and of what to do; the password is nowhere.
#[track_caller]
fn fails(appliance: &Appliance, arguments: &[&str], words: &[&str]) -> String {
    let (code, told) = upstream(appliance, &[&["test", "default"], arguments].concat());
    assert_eq!(code, 1, "{told}");
    for words in words {
        assert!(told.contains(words), "{words}: {told}");
    }
    assert_clean(&told);
    assert_clean(&appliance.log().join("\n"));
    told
}

#[track_caller]
fn assert_clean(told: &str) {
    for password in [PASSWORD, "planted-wrong-word"] {
        for form in forms(password) {
            assert!(!told.contains(&form), "{form} in {told}");
        }
    }
}

#[test]
fn a_good_upstream_is_listed_and_tested_without_a_mail() {
    let server = Submission::start("plain scram-sha-256");
    let appliance = appliance(&server, &[]);
    let (code, words) = upstream(&appliance, &["list"]);
    assert_eq!(code, 0, "{words}");
    assert!(words.contains("not used yet") && words.contains(USER), "{words}");

    let (code, told) = upstream(
        &appliance,
        &["test", "default", "--from", "anna@here.example", "--to", "box@there.example"],
    );
    assert_eq!(code, 0, "{told}");
    let steps = [
        "* looking up ",
        "* connected to ",
        "< 220 ",
        "> EHLO postern.example",
        "> STARTTLS",
        ", certificate verified",
        "* certificate for mx.example, 127.0.0.1, issued by CN=",
        "> AUTH SCRAM-SHA-256 ********",
        "< 235 ",
        "> MAIL FROM:<anna@here.example>",
        "> RCPT TO:<box@there.example>",
        "> RSET",
        "> QUIT",
        "default takes mail: all steps went well.",
    ];
    let mut rest = told.as_str();
    for step in steps {
        let at = rest.find(step).unwrap_or_else(|| panic!("{step} in its place: {told}"));
        rest = &rest[at..];
    }
    assert_clean(&told);
    assert!(server.mails().is_empty() && appliance.messages().is_empty());

    send(&appliance, "anna@here.example");
    server.until_mails(1, &appliance);
    let known = listed(&appliance);
    assert_eq!(known["state"], "good");
    assert_eq!(known["last_hour"]["sent"], 1);
    assert_eq!(known["login"]["username"], USER);
    assert_eq!(known["login"]["mechanism"], "SCRAM-SHA-256");
    assert_eq!(known["tls"]["verified"], true);
    assert_eq!(known["tls"]["certificate"]["names"][0], "mx.example");
    let metrics = appliance.get("/metrics");
    assert!(metrics.contains("mta_upstream_mails_total{upstream=\"default\"} 1"), "{metrics}");
    let ends = "mta_upstream_certificate_expiry_seconds{upstream=\"default\"} ";
    let end = metrics.lines().find_map(|line| line.strip_prefix(ends)).unwrap();
    assert!(end.parse::<u64>().unwrap() > 1_700_000_000, "{end}");
    let (code, told) = upstream(&appliance, &["test", "nobody"]);
    assert_eq!((code, told.contains("there is no upstream of that name")), (66, true), "{told}");
}

#[test]
fn a_wrong_password_is_found_without_stopping_the_mail_and_a_right_one_ends_the_pause() {
    let server = Submission::start("plain");
    let appliance = appliance(&server, &[("MTA_SMART_RELAY_PASSWORD", "planted-wrong-word")]);
    let words = [
        "> AUTH PLAIN ********",
        "refuses the login of smart_relay_username: 535 5.7.8",
        "Check smart_relay_username and smart_relay_password;",
    ];
    fails(&appliance, &[], &words);
    assert_eq!(listed(&appliance)["state"], "unused", "a test says nothing about deliveries");

    send(&appliance, "anna@here.example");
    appliance.deferral();
    let known = listed(&appliance);
    assert_eq!(known["state"], "refused");
    assert!(known["last_error"].as_str().unwrap().starts_with("535 5.7.8"), "{known}");
    assert!(known["paused_until"].is_string() && known["since"].is_string(), "{known}");
    let (code, told) = upstream(&appliance, &["list"]);
    assert_eq!((code, told.contains("refuses us")), (1, true), "{told}");
    // The account works again; the mail would wait for the rest of a minute.
    server.dovecot.set_password(USER, "planted-wrong-word");
    let (code, told) = upstream(&appliance, &["test", "default"]);
    assert_eq!(code, 0, "{told}");
    server.until_mails(1, &appliance);
    until("all is well", || match listed(&appliance) {
        known if known["state"] == "good" => Ok(()),
        known => Err(known.to_string()),
    });
}

#[test]
fn a_certificate_that_cannot_be_verified_is_shown() {
    let server = Submission::start("plain");
    let other = Authority::new();
    let ca = other.root().display().to_string();
    let appliance = appliance(&server, &[("MTA_SMART_RELAY_CA", &ca)]);
    let words = [
        "* what it showed: certificate for mx.example, 127.0.0.1, issued by CN=",
        "its certificate is of no known authority",
        "name it in smart_relay_ca.",
    ];
    let told = fails(&appliance, &[], &words);
    assert!(!told.contains("AUTH PLAIN *"), "{told}");

    send(&appliance, "anna@here.example");
    appliance.deferral();
    let known = listed(&appliance);
    assert_eq!(known["state"], "tls_failed", "{known}");
    let metrics = appliance.get("/metrics");
    assert!(metrics.contains("mta_upstream_tls_failing{upstream=\"default\"} 1"), "{metrics}");
    until("the alert", || match appliance.api("status").to_string() {
        told if told.contains("TLS with upstream default fails") => Ok(()),
        told => Err(told),
    });
}

#[test]
fn missing_starttls_and_mixed_up_ports_are_named() {
    let server = Submission::start("plain");
    let issued = server.authority.issue("plain", EC, "plain.example");
    let lines = format!(
        "smtpd_sasl_type = dovecot\nsmtpd_sasl_path = {}\nsmtpd_tls_security_level = none\n\
         smtpd_tls_auth_only = no\n",
        server.dovecot.socket().display()
    );
    let plain = Postfix::submission_with(&issued.chain, &issued.key, &lines);
    let relay = plain.address.to_string();
    let at_plain = appliance(&server, &[("MTA_SMART_RELAY", &relay)]);
    fails(&at_plain, &[], &["it does not offer STARTTLS", "This port has no STARTTLS"]);
    drop(at_plain);

    let speaks_first = appliance(&server, &[("MTA_SMART_RELAY_TLS", "implicit")]);
    let words = ["it does not speak TLS there", "set smart_relay_tls=required"];
    fails(&speaks_first, &[], &words);
    drop(speaks_first);

    let implicit = Postfix::submissions(&server.dovecot.socket(), &issued.chain, &issued.key);
    let relay = implicit.address.to_string();
    let waits = appliance(&server, &[("MTA_SMART_RELAY", &relay)]);
    fails(&waits, &[], &["before its greeting", "set smart_relay_tls=implicit"]);
}

#[test]
fn a_host_that_is_down_or_unknown_is_named() {
    let server = Submission::start("plain");
    let relay = format!("127.0.0.1:{}", free_port());
    let down = appliance(&server, &[("MTA_SMART_RELAY", &relay)]);
    fails(&down, &[], &["Connection refused", "Nothing listens at port"]);
    send(&down, "anna@here.example");
    down.deferral();
    assert_eq!(listed(&down)["state"], "unreachable");
}

/// What no real server does: it repeats the password in every reply.
#[test]
fn a_peer_that_repeats_the_password_is_masked() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let relay = listener.local_addr().unwrap().to_string();
    let all = forms(PASSWORD);
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        write!(stream, "220 {}\r\n", all.join(" ")).unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let _ = lines.next();
        write!(stream, "250-{}\r\n250 AUTH PLAIN\r\n", all.join(" ")).unwrap();
        let _ = lines.next();
    });
    let upstream_server = Submission::start("plain");
    let appliance = appliance(&upstream_server, &[("MTA_SMART_RELAY", &relay)]);
    let told = fails(&appliance, &[], &["< 220 ********", "it does not offer STARTTLS"]);
    assert!(told.contains("< 250-********"), "{told}");
    server.join().unwrap();
}

#[test]
fn the_page_tests_with_a_form_of_its_own() {
    let server = Submission::start("plain");
    let appliance = appliance(&server, &LOGIN);
    // operator:open sesame
    let login = "Authorization: Basic b3BlcmF0b3I6b3BlbiBzZXNhbWU=\r\n";
    let (status, page) = appliance.get_as("/upstreams", login);
    assert_eq!(status, "200", "{page}");
    let token = page.split("name=\"csrf\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let form = format!("{login}Content-Type: application/x-www-form-urlencoded\r\n");
    let path = "/upstreams/default/test";
    let (status, shown) = appliance.post(path, &form, format!("csrf={token}").as_bytes());
    assert_eq!(status, "200", "{shown}");
    assert!(shown.contains("It takes mail") && shown.contains("AUTH PLAIN ********"), "{shown}");
    assert_clean(&shown);
    let (status, shown) = appliance.post(path, &form, b"csrf=wrong");
    assert_eq!((status.as_str(), shown.contains("It takes mail")), ("400", false), "{shown}");
    let bad = format!("csrf={token}&to=nobody");
    let (_, shown) = appliance.post(path, &form, bad.as_bytes());
    assert!(shown.contains("to: "), "{shown}");
    // A token of a program may send, and not order.
    let json = "Content-Type: application/json\r\n";
    let (status, told) = appliance.post("/api/v1/upstreams/default/test", json, b"");
    assert_eq!(status, "403", "{told}");
}

#[test]
fn upstreams_with_names_are_listed_and_tested() {
    let server = Submission::start("plain");
    let (relay, ca) = (server.relay(), server.ca());
    let down = format!("127.0.0.1:{}", free_port());
    let appliance = Appliance::start(&[
        ("MTA_UPSTREAM_SECOND_HOST", &relay),
        ("MTA_UPSTREAM_SECOND_CA", &ca),
        ("MTA_UPSTREAM_SECOND_USERNAME", USER),
        ("MTA_UPSTREAM_SECOND_PASSWORD", PASSWORD),
        ("MTA_UPSTREAM_SECOND_SENDERS", "here.example"),
        ("MTA_UPSTREAM_FIRST_HOST", &down),
    ]);
    let (code, told) = upstream(&appliance, &["test", "second"]);
    assert_eq!((code, told.contains("> AUTH PLAIN ********")), (0, true), "{told}");
    let (code, told) = upstream(&appliance, &["test", "first"]);
    assert_eq!((code, told.contains("Is the port in upstream_first_host right?")), (1, true));
    assert_clean(&told);
    let (_, words) = upstream(&appliance, &["list", "--json"]);
    let view: Value = serde_json::from_str(&words).unwrap();
    let all = view["upstreams"].as_array().unwrap();
    let rules = all.iter().find(|one| one["name"] == "second").unwrap()["rules"].as_str().unwrap();
    assert!(rules.starts_with("mail of here.example"), "{words}");
}

//! The login by OAuth2: a real token endpoint, a mail server that knows its tokens, and what each
//! of them can refuse.

use crate::send;
use crate::support::appliance::Appliance;
use crate::support::dovecot::DovecotAuth;
use crate::support::keys::{Authority, EC};
use crate::support::patience::{until, until_within};
use crate::support::postfix::Postfix;
use crate::token_server::{CLIENT_SECRET, REFRESH_TOKEN, TokenServer};
use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

#[track_caller]
fn alerted(appliance: &Appliance, words: &str) {
    until("the alert", || {
        let alerts = appliance.api("status").to_string();
        if alerts.contains(words) { Ok(()) } else { Err(alerts) }
    });
}

fn tokens(appliance: &Appliance, status: &str) -> String {
    let name = format!("mta_oauth_tokens_total{{status=\"{status}\"}}");
    let metrics = appliance.get("/metrics");
    let line = metrics.lines().find(|line| line.starts_with(&name));
    line.unwrap_or_else(|| panic!("{name}: {metrics}")).rsplit(' ').next().unwrap().to_owned()
}

#[test]
fn mail_goes_by_both_mechanisms_with_one_token_for_all_connections() {
    for (mechanism, length, when) in [
        ("XOAUTH2", 40, "at-once"),
        ("OAUTHBEARER", 40, "at-once"),
        // As long as Microsoft's: they do not fit into the line of a command.
        ("XOAUTH2", 4096, "asked"),
        ("OAUTHBEARER", 4096, "asked"),
    ] {
        let server = TokenServer::start(mechanism);
        server.control(&json!({ "length": length }));
        let appliance = server.appliance(&[]);
        (0..5).for_each(|_| send(&appliance, "box@here.example"));
        server.until_mails(5, &appliance);
        appliance.until_empty();
        let logins = server.events("login");
        let wanted = format!("login {mechanism} accepted {when}");
        assert!(!logins.is_empty() && logins.iter().all(|login| *login == wanted), "{logins:?}");
        assert_eq!(server.events("granted").len(), 1, "{mechanism}");
        assert_eq!(tokens(&appliance, "granted"), "1");
        assert!(!appliance.path("data").join("oauth-default").exists(), "nothing to be kept");
    }
}

#[test]
fn a_token_that_has_expired_is_replaced_once_and_the_mail_does_not_wait() {
    for at_once in [false, true] {
        let server = TokenServer::start("XOAUTH2,OAUTHBEARER");
        server.control(&json!({ "dead": 1, "at_once": at_once }));
        let appliance = server.appliance(&[]);
        send(&appliance, "box@here.example");
        server.until_mails(1, &appliance);
        let logins = server.events("login");
        assert_eq!(logins, ["login XOAUTH2 refused at-once", "login XOAUTH2 accepted at-once"]);
        assert!(server.events("wrong answer").is_empty());
        assert_eq!(tokens(&appliance, "granted"), "2");
        assert_eq!(appliance.counter("mta_deferred_total"), 0);
        let alerts = appliance.api("status").to_string();
        assert!(!alerts.contains("Upstream default"), "{alerts}");
    }
}

#[test]
fn tokens_that_are_always_refused_let_mail_wait_and_say_why() {
    for (mechanism, reason) in [("XOAUTH2", "\"401\""), ("OAUTHBEARER", "invalid_token")] {
        let server = TokenServer::start(mechanism);
        server.control(&json!({ "dead": 100 }));
        let appliance = server.appliance(&[]);
        send(&appliance, "box@here.example");
        let told = appliance.deferral();
        for words in ["refuses the login of smart_relay_username: 535 5.7.3", reason] {
            assert!(told.contains(words), "{told}");
        }
        assert!(!told.contains("planted"), "{told}");
        alerted(&appliance, "Upstream default refuses this relay, its mail waits: 535 5.7.3");
        assert_eq!(server.events("granted").len(), 2, "one more, and no third");
        assert_eq!(server.events("login").len(), 2);
        assert_eq!(appliance.counter("mta_bounced_total"), 0);
        server.control(&json!({}));
        appliance.queue(&["retry", "--all", "--yes"]);
        server.until_mails(1, &appliance);
    }
}

#[test]
fn a_wrong_client_secret_is_told_and_a_new_one_in_its_file_is_used() {
    let server = TokenServer::start("XOAUTH2");
    let file = server.secret_file("secret", "planted-wrong-secret");
    let appliance = server.appliance(&[("MTA_SMART_RELAY_OAUTH_CLIENT_SECRET_FILE", &file)]);
    send(&appliance, "box@here.example");
    let told = appliance.deferral();
    let words = "refuses an access token (400): invalid_client: The client cannot authenticate";
    assert!(told.contains("no login for smart_relay_username: https://127.0.0.1:"), "{told}");
    assert!(told.contains(words), "{told}");
    alerted(&appliance, "Upstream default refuses this relay, its mail waits: 535 5.7.8 https://");
    assert_eq!(tokens(&appliance, "refused"), "1");
    assert_eq!(server.events("login").len(), 0);
    until("the log says so", || {
        let log = appliance.log().join("\n");
        if log.contains("there is no access token") { Ok(()) } else { Err(log) }
    });
    let log = appliance.log().join("\n");
    assert!(!log.contains("planted"), "{log}");
    server.secret_file("secret", &format!("{CLIENT_SECRET}\n"));
    until_within(Duration::from_secs(60), "the new file is seen", || {
        let log = appliance.log();
        let told = log.iter().any(|line| line.contains("the files of upstreams have changed"));
        if told { Ok(()) } else { Err(format!("{:?}", log.last())) }
    });
    appliance.queue(&["retry", "--all", "--yes"]);
    server.until_mails(1, &appliance);
}

#[test]
fn an_endpoint_that_is_down_slow_busy_or_somebody_else_lets_mail_wait() {
    let mut server = TokenServer::prepare("XOAUTH2");
    let appliance = server.appliance(&[]);
    send(&appliance, "box@here.example");
    let down = appliance.deferral();
    assert!(down.contains("cannot connect: Connection refused"), "{down}");
    alerted(&appliance, "Upstream default takes no more mail for now, its mail waits: 454 4.7.0");
    server.run();
    for (mode, words) in [
        ("busy", "(503): server_error: come back"),
        ("slow", "it did not answer within 10 s"),
        ("echo", "(400): invalid_request: grant_type=client_credentials&client_id=client&"),
    ] {
        server.control(&json!({ "mode": mode }));
        appliance.queue(&["retry", "--all", "--yes"]);
        until("the endpoint's words are told", || match appliance.deferral() {
            told if told.contains(words) => {
                assert!(!told.contains("planted"), "{told}");
                Ok(())
            }
            told => Err(told),
        });
    }
    server.control(&json!({}));
    appliance.queue(&["retry", "--all", "--yes"]);
    server.until_mails(1, &appliance);
    let (log, ca) = (appliance.log().join("\n"), Authority::new());
    assert!(!log.contains("planted"), "{log}");

    let ca = ca.root().display().to_string();
    let stranger = server.appliance(&[("MTA_SMART_RELAY_CA", &ca)]);
    send(&stranger, "box@here.example");
    let told = stranger.deferral();
    assert!(told.contains("no TLS: invalid peer certificate"), "{told}");
    assert_eq!(server.events("granted").len(), 1);
}

#[test]
fn a_rotated_refresh_token_survives_a_restart_and_yields_to_a_newer_one_in_its_file() {
    let server = TokenServer::start("XOAUTH2");
    let file = server.secret_file("refresh", REFRESH_TOKEN);
    let mut appliance = server.appliance(&[("MTA_SMART_RELAY_OAUTH_REFRESH_TOKEN_FILE", &file)]);
    send(&appliance, "box@here.example");
    server.until_mails(1, &appliance);
    let stored = appliance.path("data").join("oauth-default");
    let first = fs::read_to_string(&stored).unwrap();
    assert!(first.contains("planted-rotated-") && !first.contains(REFRESH_TOKEN), "{first}");
    assert_eq!(stored.metadata().unwrap().permissions().mode() & 0o777, 0o600);

    // The endpoint takes each refresh token once: only the kept one is good.
    for (mails, is_killed) in [(2, false), (3, true)] {
        if is_killed {
            appliance.kill();
        } else {
            assert_eq!(appliance.stop(), 143, "ended by the signal");
        }
        appliance.boot();
        send(&appliance, "box@here.example");
        server.until_mails(mails, &appliance);
    }
    assert_ne!(fs::read_to_string(&stored).unwrap(), first);
    assert!(server.events("refused").is_empty());

    server.control(&json!({ "refresh": "planted-refresh-second" }));
    server.secret_file("refresh", "planted-refresh-second");
    until_within(Duration::from_secs(60), "the new file is seen", || {
        let log = appliance.log();
        let told = log.iter().any(|line| line.contains("the files of upstreams have changed"));
        if told { Ok(()) } else { Err(format!("{:?}", log.last())) }
    });
    let granted = server.events("granted").len();
    until("the new token is used", || {
        send(&appliance, "box@here.example");
        match server.events("granted").len() {
            now if now > granted => Ok(()),
            now => Err(format!("{now} tokens")),
        }
    });
    appliance.until_empty();
    assert!(server.events("refused").is_empty());
}

#[test]
fn postfix_takes_tokens_that_dovecot_asks_the_endpoint_about() {
    for mechanism in ["xoauth2", "oauthbearer"] {
        let server = TokenServer::start("XOAUTH2");
        let issued = server.authority.issue("postfix", EC, "postfix.example");
        let ca = server.authority.root();
        let dovecot = DovecotAuth::asking(mechanism, &server.introspection(), &ca);
        let postfix = Postfix::submission(&dovecot.socket(), &issued.chain, &issued.key);
        server.control(&json!({ "dead": 1 }));
        let appliance = server.appliance_at(&postfix.address.to_string(), &[]);
        send(&appliance, "box@here.example");
        appliance.until_empty();
        let log = postfix.log();
        let words =
            format!("sasl_method={}, sasl_username=box@here.example", mechanism.to_uppercase());
        assert!(log.contains(&words), "{log} {}", dovecot.log());
        assert!(log.contains("authentication failed"), "the first token is dead: {log}");
        assert_eq!(appliance.counter("mta_delivered_total"), 1);
    }
}

//! Upstreams that take TLS, a login, or both in another way than they should.

use crate::support::{
    Do, Peer, UPSTREAM, all_delivered, code, message, route, say, send, upstream_route,
    with_access, with_authority, with_health,
};
use postern::ground::credential::sasl::ClientCredentials;
use postern::ground::credential::secret::Secret;
use postern::ground::tls::TlsLevel;
use postern::mail::deliver::Connection;
use postern::mail::model::{Outcome, UpstreamMonitor, UpstreamRefusal};

const PASSWORD: &str = "planted-hunter2";
/// The same as PLAIN and LOGIN send it.
const CODED: [&str; 2] = ["AGFubmEAcGxhbnRlZC1odW50ZXIy", "cGxhbnRlZC1odW50ZXIy"];

fn credentials() -> Option<ClientCredentials> {
    Some(ClientCredentials {
        name: "anna".to_owned(),
        password: Some(Secret::new(PASSWORD.to_owned())),
        ..ClientCredentials::default()
    })
}

async fn connect(peer: &Peer) -> Result<Connection, Outcome> {
    let client = with_access(TlsLevel::Required, credentials());
    client.connect(&upstream_route(UPSTREAM, peer)).await
}

/// No mail and no password came to this peer; gives the reason why not.
#[track_caller]
fn kept_back(peer: &Peer, outcome: &Outcome) -> String {
    let lines = peer.lines();
    let bad = lines.iter().find(|line| {
        line.starts_with("AUTH") || line.starts_with("MAIL") || CODED.contains(&line.as_str())
    });
    assert_eq!(bad, None, "{lines:?}");
    assert!(code(outcome).starts_with("451 4."), "{outcome:?}");
    outcome.reply.text.to_string()
}

fn plain(step: &crate::support::Step<'_>) -> Do {
    match step.line {
        line if line.starts_with("AUTH PLAIN ") => say("235 2.7.0 yes"),
        _ => Do::Usual,
    }
}

#[tokio::test(crate = "crate::with_threads")]
async fn the_login_is_sent_once_tls_is_verified_and_is_in_no_transcript() {
    let peer = Peer::start(&["STARTTLS", "AUTH PLAIN"], |step| match step.line {
        line if line.starts_with("RCPT") => say("450 4.2.0 later"),
        _ => plain(&step),
    })
    .await;
    let (_, report) = send(connect(&peer).await.unwrap(), &message(1, "a\r\n")).await;
    let lines = peer.lines();
    assert_eq!(lines[..3], ["EHLO relay.example", "STARTTLS", "EHLO relay.example"]);
    assert_eq!(lines[3], format!("AUTH PLAIN {}", CODED[0]));
    assert!(report.tls);
    let said = &report.transcript;
    assert!(said.contains("> AUTH PLAIN ********\n< 235 2.7.0 yes"), "{said}");
    assert!(said.contains("certificate verified"), "{said}");
    assert!(!said.contains(PASSWORD) && !CODED.iter().any(|coded| said.contains(coded)), "{said}");
}

#[tokio::test(crate = "crate::with_threads")]
async fn each_connection_logs_in_and_a_reopened_one_too() {
    let peer = Peer::start(&["STARTTLS", "AUTH PLAIN", "PIPELINING"], |step| plain(&step)).await;
    let (mut connection, report) = send(connect(&peer).await.unwrap(), &message(1, "a\r\n")).await;
    assert!(all_delivered(&report));
    connection.reopen().await.unwrap();
    let (_, report) = send(connection, &message(1, "b\r\n")).await;
    assert!(all_delivered(&report));
    let logins = peer.lines().iter().filter(|line| line.starts_with("AUTH")).count();
    assert_eq!((logins, peer.seen(|seen| seen.handshakes)), (2, 2));
}

#[tokio::test(crate = "crate::with_threads")]
async fn starttls_that_somebody_removed_ends_the_attempt() {
    let peer = Peer::good(&["AUTH PLAIN LOGIN"]).await;
    let outcome = connect(&peer).await.unwrap_err();
    let told = kept_back(&peer, &outcome);
    assert!(told.contains("it does not offer STARTTLS; mail waits"), "{told}");
    assert_eq!(peer.seen(|seen| seen.sessions), 1, "no second try in plain text");
}

#[tokio::test(crate = "crate::with_threads")]
async fn no_trouble_with_tls_leads_to_plain_text() {
    for (script, words) in [
        (say("454 4.7.0 no TLS today"), "it refuses STARTTLS: 454"),
        (say("220 go\r\n250 AUTH PLAIN"), "plain text after its reply to STARTTLS"),
        (Do::SayAndClose(b"220 go\r\n".to_vec()), "TLS with upstream.example"),
        (Do::SayAndClose(b"220 go\r\nHTTP/1.1 400 no TLS\r\n".to_vec()), "upstream.example"),
        (Do::Close, "closed the connection in reply to STARTTLS"),
    ] {
        let script = std::sync::Mutex::new(Some(script));
        let peer = Peer::start(&["STARTTLS", "AUTH PLAIN"], move |step| match step.line {
            "STARTTLS" => script.lock().unwrap().take().unwrap_or(Do::Close),
            _ => Do::Usual,
        })
        .await;
        let outcome = connect(&peer).await.unwrap_err();
        let told = kept_back(&peer, &outcome);
        assert!(told.contains(words), "{words}: {told}");
        assert_eq!(peer.seen(|seen| seen.sessions), 1, "{words}");
    }
}

#[tokio::test(crate = "crate::with_threads")]
async fn a_certificate_that_cannot_be_verified_ends_the_attempt() {
    let other = rcgen::generate_simple_self_signed([UPSTREAM.to_owned()]).unwrap().cert.pem();
    for (client, name, words) in [
        (with_authority(TlsLevel::Required, credentials(), &other), UPSTREAM, "no known authority"),
        (with_access(TlsLevel::Required, credentials()), "mx0.example", "is for another name"),
        (with_access(TlsLevel::Required, None), "mx0.example", "is for another name"),
    ] {
        let peer = Peer::good(&["STARTTLS", "AUTH PLAIN"]).await;
        let outcome = client.connect(&upstream_route(name, &peer)).await.unwrap_err();
        let told = kept_back(&peer, &outcome);
        assert!(told.contains(words), "{words}: {told}");
        assert_eq!(peer.seen(|seen| seen.sessions), 1, "{words}");
    }
}

/// Whatever was configured by mistake: credentials do not go where nothing is verified.
#[tokio::test(crate = "crate::with_threads")]
async fn no_login_is_sent_at_a_level_that_verifies_nothing() {
    for level in [TlsLevel::Plain, TlsLevel::Opportunistic] {
        let peer = Peer::good(&["STARTTLS", "AUTH PLAIN"]).await;
        let client = with_access(level, credentials());
        let outcome = client.connect(&upstream_route(UPSTREAM, &peer)).await.unwrap_err();
        let told = kept_back(&peer, &outcome);
        assert!(told.contains("not encrypted and verified"), "{told}");
    }
}

#[tokio::test(crate = "crate::with_threads")]
async fn a_route_to_an_upstream_that_is_gone_is_not_used() {
    let peer = Peer::good(&["STARTTLS"]).await;
    let mut route = upstream_route(UPSTREAM, &peer);
    route.hosts[0].upstream = Some("another".into());
    let outcome = with_access(TlsLevel::Required, None).connect(&route).await.unwrap_err();
    assert!(outcome.reply.text.contains("there is no upstream another"), "{outcome:?}");
    assert_eq!(peer.seen(|seen| seen.sessions), 0);
}

#[tokio::test(crate = "crate::with_threads")]
async fn what_a_server_offers_and_we_cannot_do_is_named() {
    for (keywords, words) in [
        (&["STARTTLS"][..], "it offers no login (AUTH)"),
        (&["STARTTLS", "AUTH GSSAPI NTLM"], "it offers the mechanisms GSSAPI NTLM, and"),
    ] {
        let peer = Peer::good(keywords).await;
        let outcome = connect(&peer).await.unwrap_err();
        let told = kept_back(&peer, &outcome);
        assert!(told.contains(words), "{told}");
    }
}

#[tokio::test(crate = "crate::with_threads")]
async fn a_mechanism_that_is_only_listed_is_followed_by_the_next() {
    let peer = Peer::start(&["STARTTLS", "AUTH CRAM-MD5 PLAIN"], |step| match step.line {
        "AUTH CRAM-MD5" => say("504 5.5.4 Unrecognized authentication type"),
        _ => plain(&step),
    })
    .await;
    assert!(connect(&peer).await.is_ok());
}

#[tokio::test(crate = "crate::with_threads")]
async fn a_server_that_repeats_the_password_does_not_bring_it_into_our_texts() {
    let peer = Peer::start(&["STARTTLS", "AUTH LOGIN"], |step| match step.line {
        "AUTH LOGIN" => say("334 VXNlcm5hbWU6"),
        "YW5uYQ==" => say("334 UGFzc3dvcmQ6"),
        line if line == CODED[1] => {
            say(&format!("535-5.7.8 bad {PASSWORD}\r\n535 5.7.8 command was {line}"))
        }
        _ => Do::Usual,
    })
    .await;
    let outcome = connect(&peer).await.unwrap_err();
    let told = outcome.reply.text.to_string();
    assert_eq!(code(&outcome), "451 4.7.8");
    assert!(
        told.contains("refuses the login of smart_relay_username: 535 5.7.8 bad ****"),
        "{told}"
    );
    assert!(!told.contains(PASSWORD) && !told.contains(CODED[1]), "{told}");
}

/// Whatever the mechanism sends, the whole of it is masked.
#[tokio::test(crate = "crate::with_threads")]
async fn a_server_that_repeats_our_lines_does_not_bring_them_into_our_texts() {
    for mechanism in ["PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256", "XOAUTH2", "OAUTHBEARER"] {
        let offer = format!("AUTH {mechanism}");
        let peer = Peer::start(&["STARTTLS", &offer], |step| match step.line {
            "" | "STARTTLS" | "QUIT" => Do::Usual,
            line if line.starts_with("EHLO") => Do::Usual,
            "AUTH LOGIN" => say("334 VXNlcm5hbWU6"),
            "YW5uYQ==" => say("334 UGFzc3dvcmQ6"),
            "AUTH CRAM-MD5" => say("334 PDFAaGVyZT4="),
            "AUTH XOAUTH2" | "AUTH OAUTHBEARER" => say("334 "),
            line => say(&format!("554-5.7.8 not '{line}'\r\n554 5.7.8 nor ({line})")),
        })
        .await;
        let client = with_access(TlsLevel::Required, of_mechanism(mechanism));
        let outcome = client.connect(&upstream_route(UPSTREAM, &peer)).await.unwrap_err();
        let told = outcome.reply.text.to_string();
        let lines = peer.lines();
        let sent = lines.iter().skip_while(|line| !line.starts_with("AUTH "));
        let sent: Vec<_> = sent.filter_map(|line| line.split(' ').next_back()).collect();
        let secrets: Vec<_> = sent.iter().filter(|word| **word != mechanism).collect();
        assert!(!secrets.is_empty(), "{lines:?}");
        assert!(told.contains("****") && told.contains("5.7.8"), "{told}");
        for secret in secrets {
            assert!(!told.contains(*secret), "{mechanism}: {secret} in {told}");
            // No piece of it either.
            let piece = &secret[..secret.len().min(8)];
            assert!(!told.contains(piece), "{mechanism}: {piece} in {told}");
        }
    }
}

/// Credentials for which this mechanism is chosen.
fn of_mechanism(mechanism: &str) -> Option<ClientCredentials> {
    let mut all = credentials();
    if let Some(one) = all.as_mut().filter(|_| mechanism.contains("OAUTH")) {
        one.password = None;
        // Longer than what is kept of a reply.
        one.token = Some(Secret::new("planted-token".repeat(100)));
    }
    all
}

#[tokio::test(crate = "crate::with_threads")]
async fn a_login_that_does_not_end_or_proves_nothing_is_ended() {
    for (offer, reply, words) in [
        ("AUTH LOGIN", "334 VXNlcm5hbWU6", "the server asks once more"),
        ("AUTH SCRAM-SHA-256", "235 2.7.0 welcome", "did not prove that it knows this account"),
        ("AUTH SCRAM-SHA-256", "334 bm9uc2Vuc2U=", "no login at upstream.example"),
        ("AUTH CRAM-MD5", "334 %%%", "not base 64"),
        ("AUTH PLAIN", "250 fine", "it answered AUTH with 250"),
        ("AUTH PLAIN", "421 4.7.0 too many logins", "421 4.7.0 too many logins"),
    ] {
        let peer = Peer::start(&["STARTTLS", offer], move |step| {
            let ours = ["EHLO", "STARTTLS", "QUIT"].iter().any(|verb| step.line.starts_with(verb));
            if ours || step.line.is_empty() { Do::Usual } else { say(reply) }
        })
        .await;
        let outcome = connect(&peer).await.unwrap_err();
        let told = outcome.reply.text.to_string();
        assert!(told.contains(words), "{offer} {reply}: {told}");
        assert!(!peer.lines().iter().any(|line| line.starts_with("MAIL")));
    }
}

/// A peer that answers one command, or the end of data (`.`), so.
async fn answering(verb: &'static str, reply: &'static str) -> Peer {
    Peer::start(&["STARTTLS", "AUTH PLAIN"], move |step| match step.line {
        line if line == verb || line.starts_with(&format!("{verb} ")) => say(reply),
        _ => plain(&step),
    })
    .await
}

/// Replies of providers: the mail waits, the upstream or the sender is left alone, nothing bounces.
#[tokio::test(crate = "crate::with_threads")]
async fn a_refusal_of_us_is_not_a_refusal_of_the_mail() {
    use UpstreamRefusal::{Relay, Throttle};
    for (verb, reply, words, refusal, senders) in [
        (
            ".",
            "454 Throttling failure: Maximum sending rate exceeded.",
            "no more",
            Some(Throttle),
            0,
        ),
        ("MAIL", "554 Access denied: User is not authorized", "refuses this", Some(Relay), 0),
        ("MAIL", "550 5.4.5 Daily user sending limit exceeded.", "no more", Some(Throttle), 0),
        ("RCPT", "550 5.7.30 Basic authentication is not supported", "refuses", Some(Relay), 0),
        ("RCPT", "530 5.7.57 Client not authenticated", "refuses this", Some(Relay), 0),
        (".", "554 5.2.0 STOREDRV; SubmissionQuotaExceededException", "no more", Some(Throttle), 0),
        (".", "554 Message rejected: Email address is not verified.", "the sender", None, 1),
        (".", "554 5.2.0 STOREDRV; SendAsDeniedException", "the sender", None, 1),
        ("RCPT", "553 5.7.1 Sender address rejected: not owned by user x", "the sender", None, 1),
        ("MAIL", "403 You are not authorized to send from that email address", "sender", None, 1),
    ] {
        let peer = answering(verb, reply).await;
        let (client, health) = with_health(TlsLevel::Required, credentials());
        let connection = client.connect(&upstream_route(UPSTREAM, &peer)).await.unwrap();
        let (connection, report) = send(connection, &message(2, "a\r\n")).await;
        for (_, outcome) in &report.outcomes {
            assert!(code(outcome).starts_with("451 4."), "{reply}: {outcome:?}");
            assert!(outcome.reply.text.contains(words), "{reply}: {outcome:?}");
            assert!(outcome.reply.text.contains(&reply[..3]), "{reply}: {outcome:?}");
        }
        let status = &health.list()[0];
        assert_eq!((status.refusal, status.senders), (refusal, senders), "{reply}");
        assert_eq!(health.paused("default").is_some(), refusal.is_some(), "{reply}");
        // The sender is not offered again; mail of others is.
        let before = peer.lines().len();
        let (_, report) = send(connection, &message(1, "b\r\n")).await;
        let waits = report.outcomes[0].1.reply.text.contains("waits");
        assert_eq!(waits, senders == 1, "{reply}: {report:?}");
        assert_eq!(peer.lines().len() == before, senders == 1, "{reply}");
    }
}

#[tokio::test(crate = "crate::with_threads")]
async fn a_refusal_of_the_mail_stays_one_and_shows_that_all_is_well() {
    let (client, health) = with_health(TlsLevel::Required, credentials());
    let throttled = answering("MAIL", "454 4.7.0 Too many login attempts").await;
    let connection = client.connect(&upstream_route(UPSTREAM, &throttled)).await.unwrap();
    send(connection, &message(1, "a\r\n")).await;
    assert!(health.paused("default").is_some());
    let waiting = client.connect(&upstream_route(UPSTREAM, &throttled)).await;
    assert!(waiting.unwrap_err().reply.text.contains("waits: 454 4.7.0"), "it is left alone");
    health.ask_again();
    let refusing = answering("RCPT", "550 5.1.1 no such user").await;
    let connection = client.connect(&upstream_route(UPSTREAM, &refusing)).await.unwrap();
    let (_, report) = send(connection, &message(1, "a\r\n")).await;
    assert_eq!(code(&report.outcomes[0].1), "550 5.1.1");
    assert!(health.paused("default").is_none() && health.list()[0].refusal.is_none());
}

/// The catalogue is for upstreams: hosts of a domain are judged as before.
#[tokio::test(crate = "crate::with_threads")]
async fn hosts_of_a_domain_are_not_judged_by_the_catalogue() {
    let peer = Peer::start(&[], |step| match step.line {
        "." => say("554 Message rejected: Email address is not verified."),
        _ => Do::Usual,
    })
    .await;
    let (client, health) = with_health(TlsLevel::Required, credentials());
    let connection = client.connect(&route(&[peer.address])).await.unwrap();
    let (_, report) = send(connection, &message(1, "a\r\n")).await;
    assert_eq!(report.outcomes[0].1.reply.code, 554);
    assert_eq!(health.list()[0].senders, 0);
}

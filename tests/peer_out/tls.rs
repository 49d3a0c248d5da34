//! Next hops with TLS, and with something else in its place.

use crate::support::{
    Do, Peer, all_delivered, client, code, codes, connect, message, patient, refused, route, say,
    send,
};
use postern::mail::deliver::Timeouts;
use std::time::Duration;

#[tokio::test(crate = "crate::with_threads")]
async fn mail_is_encrypted_where_it_can_be() {
    let peer = Peer::good(&["STARTTLS", "PIPELINING", "8BITMIME"]).await;
    let (connection, report) = send(connect(&peer).await, &message(2, "a\r\n.b\r\n")).await;
    assert!(all_delivered(&report) && report.tls && report.reusable);
    connection.quit().await;
    assert_eq!(peer.mails(), [b"a\r\n.b\r\n"]);
    assert_eq!(peer.seen(|seen| (seen.sessions, seen.handshakes)), (1, 1));
    assert_eq!(peer.lines()[..3], ["EHLO relay.example", "STARTTLS", "EHLO relay.example"]);
}

#[tokio::test(crate = "crate::with_threads")]
async fn a_large_mail_is_encrypted() {
    let content = "line of text\r\n".repeat(500_000);
    let peer = Peer::good(&["STARTTLS"]).await;
    let (_, report) = send(connect(&peer).await, &message(1, &content)).await;
    assert!(all_delivered(&report) && report.tls);
    assert!(peer.mails()[0] == content.as_bytes());
}

#[tokio::test(crate = "crate::with_threads")]
async fn tls_that_fails_ends_in_plain_text() {
    for broken in [
        // Garbage in place of the handshake, a closed connection, a server that hangs up while
        // asked.
        &b"220 go\r\n"[..],
        b"220 go\r\n \x15\x03\x01\x00\x02\x02\x28",
    ] {
        let peer = Peer::start(&["STARTTLS", "PIPELINING"], move |step| match step.line {
            "STARTTLS" if broken.len() > 8 => Do::Slowly(broken.to_vec(), Duration::from_millis(5)),
            "STARTTLS" => Do::SayAndClose(broken.to_vec()),
            _ => Do::Usual,
        })
        .await;
        let (_, report) = send(connect(&peer).await, &message(1, "a\r\n")).await;
        assert!(all_delivered(&report) && !report.tls, "{report:?}");
        assert_eq!(peer.seen(|seen| (seen.sessions, seen.handshakes)), (2, 0));
    }
    let peer =
        Peer::start(
            &["STARTTLS"],
            |step| if step.line == "STARTTLS" { Do::Close } else { Do::Usual },
        )
        .await;
    assert!(!send(connect(&peer).await, &message(1, "a\r\n")).await.1.tls);
}

#[tokio::test(crate = "crate::with_threads")]
async fn a_handshake_that_hangs_ends_in_plain_text() {
    // The peer accepts STARTTLS and then waits for commands in plain text that never come.
    let peer =
        Peer::start(
            &["STARTTLS"],
            |step| if step.line == "STARTTLS" { say("220 go") } else { Do::Usual },
        )
        .await;
    let timeouts = Timeouts { handshake: Duration::from_millis(200), ..patient() };
    let connection = client(timeouts).connect(&route(&[peer.address])).await.unwrap();
    let (_, report) = send(connection, &message(1, "a\r\n")).await;
    assert!(all_delivered(&report) && !report.tls);
}

#[tokio::test(crate = "crate::with_threads")]
async fn starttls_that_is_refused_changes_nothing() {
    let peer = Peer::start(&["STARTTLS"], |step| {
        if step.line == "STARTTLS" { say("454 4.7.0 no") } else { Do::Usual }
    })
    .await;
    let (_, report) = send(connect(&peer).await, &message(1, "a\r\n")).await;
    assert!(all_delivered(&report) && !report.tls);
    assert_eq!(peer.seen(|seen| seen.sessions), 1);
}

#[tokio::test(crate = "crate::with_threads")]
async fn plain_text_behind_starttls_is_an_attack() {
    let peer = Peer::start(&["STARTTLS"], |step| match step.line {
        "STARTTLS" => Do::Say(b"220 go\r\n250-evil.example\r\n250 SIZE 1\r\n".to_vec()),
        _ => Do::Usual,
    })
    .await;
    let outcome = refused(patient(), &peer).await;
    assert_eq!(code(&outcome), "451 4.7.0");
    assert_eq!(peer.seen(|seen| seen.sessions), 1, "no second try in plain text");
}

#[tokio::test(crate = "crate::with_threads")]
async fn a_failed_handshake_is_no_reason_to_bounce() {
    let peer = Peer::start(&["STARTTLS"], |step| match step.line {
        "STARTTLS" => Do::SayAndClose(b"220 go\r\n".to_vec()),
        line if line.starts_with("MAIL") => say("530 5.7.0 Must issue a STARTTLS command first"),
        _ => Do::Usual,
    })
    .await;
    let (_, report) = send(connect(&peer).await, &message(1, "a\r\n")).await;
    assert_eq!(codes(&report), ["451 4.7.5"], "{report:?}");
    assert!(report.outcomes[0].1.reply.text.contains("530 5.7.0"), "{report:?}");
}

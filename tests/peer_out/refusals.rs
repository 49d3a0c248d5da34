//! Next hops that say no, or not now.

use crate::support::{Do, Peer, all_delivered, codes, connect, message, say, send};
use postern::mail::model::Target;

#[tokio::test]
async fn each_recipient_has_its_own_answer() {
    for keywords in [&["PIPELINING"][..], &[]] {
        let peer = Peer::start(keywords, |step| match step.line {
            "RCPT TO:<r1@there.example>" => say("550 5.1.1 unknown"),
            "RCPT TO:<r2@there.example>" => say("450 4.2.1 busy"),
            _ => Do::Usual,
        })
        .await;
        let (connection, report) = send(connect(&peer).await, &message(4, "a\r\n")).await;
        assert_eq!(codes(&report), ["250 2.0.0", "550 5.1.1", "450 4.2.1", "250 2.0.0"]);
        assert!(report.reusable);
        assert!(all_delivered(&send(connection, &message(1, "b\r\n")).await.1));
        assert_eq!(peer.mails(), [b"a\r\n", b"b\r\n"]);
        assert!(!peer.lines().contains(&"RSET".to_owned()), "no RSET after content");
    }
}

#[tokio::test]
async fn too_many_recipients_in_mid_batch() {
    for (said, expected) in
        [("452 4.5.3 too many", "452 4.5.3"), ("552 too many recipients", "452 4.5.3"), ("552 5.2.2 full", "552 5.2.2")]
    {
        let peer = Peer::start(&["PIPELINING"], move |step| {
            let place = step.line.strip_prefix("RCPT TO:<r").and_then(|rest| rest.split('@').next()?.parse().ok());
            if place.is_some_and(|place: u32| place >= 100) { say(said) } else { Do::Usual }
        })
        .await;
        let (_, report) = send(connect(&peer).await, &message(150, "a\r\n")).await;
        assert!(codes(&report)[..100].iter().all(|code| code == "250 2.0.0"));
        assert!(codes(&report)[100..].iter().all(|code| code == expected), "{:?}", codes(&report));
        assert_eq!(peer.mails().len(), 1);
    }
}

#[tokio::test]
async fn all_recipients_refused_with_data_on_its_way() {
    for (data, keywords) in [("354 go", &["PIPELINING"][..]), ("554 no valid recipients", &["PIPELINING"]), ("354 go", &[])] {
        let peer = Peer::start(keywords, move |step| match step.line {
            line if step.session == 0 && line.starts_with("RCPT TO:<r0@") => say("550 5.1.1 unknown"),
            line if step.session == 0 && line.starts_with("RCPT TO:<r1@") => say("451 4.3.0 later"),
            "DATA" => say(data),
            "." => say("554 5.5.1 no valid recipients"),
            _ => Do::Usual,
        })
        .await;
        let (connection, report) = send(connect(&peer).await, &message(2, "secret\r\n")).await;
        assert_eq!(codes(&report), ["550 5.1.1", "451 4.3.0"]);
        assert!(report.reusable);
        // With 354 said, nothing is sent and ended (RFC 2920 §3.1); the content never is.
        let expected: &[&[u8]] = if keywords.is_empty() || data.starts_with('5') { &[] } else { &[b""] };
        assert_eq!(peer.mails(), expected);
        // The transaction is taken back before the next one begins.
        let (_, report) = send(connection, &message(1, "b\r\n")).await;
        assert_eq!(codes(&report), ["550 5.1.1"]);
        let lines = peer.lines();
        let reset = lines.iter().position(|line| line == "RSET").unwrap();
        assert!(lines[reset + 1].starts_with("MAIL"), "{lines:?}");
    }
}

#[tokio::test]
async fn the_sender_is_refused() {
    for keywords in [&["PIPELINING"][..], &[]] {
        let peer = Peer::start(keywords, |step| match step.line {
            line if line.starts_with("MAIL") => say("550 5.7.1 not you"),
            line if line.starts_with("RCPT") || line == "DATA" => say("503 5.5.1 MAIL first"),
            _ => Do::Usual,
        })
        .await;
        let (_, report) = send(connect(&peer).await, &message(2, "a\r\n")).await;
        assert_eq!(codes(&report), ["550 5.7.1"; 2]);
        assert!(report.reusable && peer.mails().is_empty());
        assert_eq!(peer.lines().iter().any(|line| line.starts_with("RCPT")), !keywords.is_empty());
    }
}

#[tokio::test]
async fn data_or_the_content_is_refused() {
    for (state, said, expected) in [
        ("DATA", "451 4.3.0 later", "451 4.3.0"),
        ("DATA", "554 5.7.1 never", "554 5.7.1"),
        (".", "452 4.3.1 disk full", "452 4.3.1"),
        (".", "550 spam", "550"),
    ] {
        let peer = Peer::start(&["PIPELINING"], move |step| match step.line {
            "RCPT TO:<r1@there.example>" => say("550 5.1.1 unknown"),
            line if line == state => say(said),
            _ => Do::Usual,
        })
        .await;
        let (_, report) = send(connect(&peer).await, &message(2, "a\r\n")).await;
        assert_eq!(codes(&report), [expected, "550 5.1.1"], "{state}: {report:?}");
        assert!(report.reusable && report.outcomes[0].1.remote);
    }
}

#[tokio::test]
async fn the_server_leaves_in_mid_session() {
    for state in ["MAIL", "RCPT TO:<r1", "DATA", "."] {
        let peer = Peer::start(&["PIPELINING"], move |step| match step.line {
            line if !line.is_empty() && line.starts_with(state) => Do::SayAndClose(b"421 4.3.2 shutting down\r\n".to_vec()),
            _ => Do::Usual,
        })
        .await;
        let (_, report) = send(connect(&peer).await, &message(2, "a\r\n")).await;
        assert_eq!(codes(&report), ["421 4.3.2"; 2], "{state}: {report:?}");
        assert!(!report.reusable, "{state}");
    }
}

#[tokio::test]
async fn a_copy_counts_as_taken_when_anybody_gets_it() {
    let peer = Peer::start(&["PIPELINING"], |step| match step.line {
        "RCPT TO:<r0@there.example>" => say("550 5.1.1 unknown"),
        _ => Do::Usual,
    })
    .await;
    let report = connect(&peer).await.send(&message(2, "a\r\n"), &[Target::Copy]).await;
    assert_eq!(codes(&report), ["250 2.0.0"]);
    let peer = Peer::start(&["PIPELINING"], |step| match step.line {
        "RCPT TO:<r0@there.example>" => say("550 5.1.1 unknown"),
        "RCPT TO:<r1@there.example>" => say("450 4.2.1 later"),
        _ => Do::Usual,
    })
    .await;
    let report = connect(&peer).await.send(&message(2, "a\r\n"), &[Target::Copy]).await;
    assert_eq!(codes(&report), ["450 4.2.1"]);
}

#[tokio::test]
async fn a_refused_sender_stays_refused_when_the_server_closes() {
    let peer = Peer::start(&["PIPELINING"], |step| match step.line {
        line if line.starts_with("MAIL") => say("550 5.7.1 not you"),
        "." => Do::Close,
        _ => Do::Usual,
    })
    .await;
    let (_, report) = send(connect(&peer).await, &message(2, "a\r\n")).await;
    assert_eq!(codes(&report), ["550 5.7.1"; 2]);
    assert!(!report.reusable);
    assert_eq!(peer.mails(), [b""]);
}

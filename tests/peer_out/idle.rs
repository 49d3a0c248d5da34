//! Connections that are kept idle, and what happens to them meanwhile.

use crate::support::{Do, Peer, all_delivered, codes, connect, message, send};
use postern::mail::deliver::Connection;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Waits until the connection is seen to be stale.
async fn stale(connection: &mut Connection) -> bool {
    for _ in 0..500 {
        if connection.is_stale() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    false
}

#[tokio::test(crate = "crate::with_threads")]
async fn a_quiet_connection_is_fresh() {
    for keywords in [&[][..], &["STARTTLS"]] {
        let peer = Peer::good(keywords).await;
        let (mut connection, report) = send(connect(&peer).await, &message(1, "a\r\n")).await;
        assert!(all_delivered(&report) && report.tls != keywords.is_empty());
        assert!(!connection.is_stale() && !connection.is_stale());
        assert!(all_delivered(&send(connection, &message(1, "b\r\n")).await.1));
        assert_eq!(peer.seen(|seen| seen.sessions), 1);
    }
}

#[tokio::test(crate = "crate::with_threads")]
async fn a_closed_connection_is_seen() {
    for parting in [&b""[..], b"421 4.4.2 idle too long\r\n"] {
        let peer = Peer::start(&[], move |step| match step.line {
            "." => Do::SayAndClose([b"250 ok\r\n", parting].concat()),
            _ => Do::Usual,
        })
        .await;
        let (mut connection, report) = send(connect(&peer).await, &message(1, "a\r\n")).await;
        assert!(all_delivered(&report));
        assert!(stale(&mut connection).await);
    }
}

#[tokio::test(crate = "crate::with_threads")]
async fn a_connection_that_died_unseen_is_opened_anew() {
    for parting in [&b""[..], b"421 4.4.2 idle too long\r\n"] {
        let peer = Peer::start(&["PIPELINING"], move |step| match step.line {
            "." => Do::SayAndClose([b"250 ok\r\n", parting].concat()),
            _ => Do::Usual,
        })
        .await;
        let mut connection = connect(&peer).await;
        for n in 1..=3 {
            let (back, report) = send(connection, &message(1, "a\r\n")).await;
            connection = back;
            assert!(all_delivered(&report), "{report:?}");
            assert_eq!(peer.seen(|seen| (seen.sessions, seen.mails.len())), (n, n));
        }
    }
}

#[tokio::test(crate = "crate::with_threads")]
async fn a_peer_that_stays_away_is_asked_once() {
    let away = Arc::new(AtomicBool::new(false));
    let gone = away.clone();
    let peer = Peer::start(&[], move |step| match step.line {
        "." => {
            gone.store(true, Ordering::SeqCst);
            Do::SayAndClose(b"250 ok\r\n".to_vec())
        }
        "" if gone.load(Ordering::SeqCst) => Do::SayAndClose(b"421 4.3.2 busy\r\n".to_vec()),
        _ => Do::Usual,
    })
    .await;
    let (connection, _) = send(connect(&peer).await, &message(1, "a\r\n")).await;
    let (_, report) = send(connection, &message(1, "b\r\n")).await;
    assert_eq!(codes(&report), ["421 4.3.2"]);
    assert!(!report.reusable && away.load(Ordering::SeqCst));
    assert_eq!(peer.seen(|seen| seen.sessions), 2);
}

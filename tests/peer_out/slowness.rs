//! Slow next hops.

use crate::support::{
    Do, Peer, all_delivered, client, code, codes, connect, message, patient, refused, route, send,
};
use postern::mail::deliver::Timeouts;
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_millis(200);

#[tokio::test(crate = "crate::with_threads")]
async fn silence_ends_in_each_state() {
    let outcome =
        refused(Timeouts { greeting: SHORT, ..patient() }, &Peer::start(&[], |_| Do::Hang).await)
            .await;
    assert_eq!(code(&outcome), "451 4.4.1", "{outcome:?}");

    let silent_at = |state: &'static str| {
        Peer::start(&["PIPELINING"], move |step| match step.line {
            line if !line.is_empty() && line.starts_with(state) => Do::Hang,
            _ => Do::Usual,
        })
    };
    let outcome = refused(Timeouts { hello: SHORT, ..patient() }, &silent_at("EHLO").await).await;
    assert_eq!(code(&outcome), "451 4.4.2", "{outcome:?}");
    for (state, timeouts) in [
        ("MAIL", Timeouts { mail: SHORT, ..patient() }),
        ("RCPT", Timeouts { recipient: SHORT, ..patient() }),
        ("DATA", Timeouts { data: SHORT, ..patient() }),
        (".", Timeouts { end: SHORT, ..patient() }),
    ] {
        let peer = silent_at(state).await;
        let connection = client(timeouts).connect(&route(&[peer.address])).await.unwrap();
        let (_, report) = send(connection, &message(1, "a\r\n")).await;
        assert_eq!(codes(&report), ["451 4.4.2"], "{state}: {report:?}");
        assert!(
            !report.reusable && report.outcomes[0].1.reply.text.contains("200ms"),
            "{report:?}"
        );
    }
}

#[tokio::test(crate = "crate::with_threads")]
async fn slow_octets_do_not_stretch_the_time() {
    let peer = Peer::start(&[], |step| match step.line {
        "" => Do::Slowly(
            b"220 hello there, this will take a while\r\n".to_vec(),
            Duration::from_millis(50),
        ),
        _ => Do::Usual,
    })
    .await;
    let begun = Instant::now();
    let outcome = refused(Timeouts { greeting: SHORT, ..patient() }, &peer).await;
    assert_eq!(code(&outcome), "451 4.4.1");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[tokio::test(crate = "crate::with_threads")]
async fn slow_octets_that_arrive_are_understood() {
    let peer = Peer::start(&[], |step| match step.line {
        "" => Do::Slowly(b"220-slow\r\n220 greeting\r\n".to_vec(), Duration::from_millis(2)),
        line if line.starts_with("EHLO") => Do::Slowly(
            b"250-a\r\n250-PIPELINING\r\n250 SIZE\r\n".to_vec(),
            Duration::from_millis(2),
        ),
        _ => Do::Usual,
    })
    .await;
    let (_, report) = send(connect(&peer).await, &message(1, "a\r\n")).await;
    assert!(all_delivered(&report), "{report:?}");
    assert!(peer.lines().iter().any(|line| line.ends_with("SIZE=3")));
}

#[tokio::test(crate = "crate::with_threads")]
async fn content_that_nobody_reads_is_given_up() {
    // The peer replies 354 and stops reading; what the sockets cannot buffer is blocked.
    let peer = Peer::start(&[], |step| match step.line {
        "DATA" => Do::SayAndHang(b"354 go\r\n".to_vec()),
        _ => Do::Usual,
    })
    .await;
    let timeouts = Timeouts { piece: SHORT, ..patient() };
    let connection = client(timeouts).connect(&route(&[peer.address])).await.unwrap();
    let (_, report) = send(connection, &message(1, "x".repeat(60 << 20))).await;
    assert_eq!(codes(&report), ["451 4.4.2"], "{report:?}");
    assert!(
        report.outcomes[0].1.reply.text.ends_with("accepted the content too slowly"),
        "{report:?}"
    );
}

#[tokio::test(crate = "crate::with_threads")]
async fn a_peer_that_dawdles_over_each_recipient_is_given_up() {
    for keywords in [&["PIPELINING"][..], &[]] {
        let peer = Peer::start(keywords, |step| match step.line {
            line if line.starts_with("RCPT") => Do::Slowly(b"250 ok\r\n".to_vec(), SHORT / 10),
            _ => Do::Usual,
        })
        .await;
        let timeouts = Timeouts { envelope: SHORT * 2, ..patient() };
        let connection = client(timeouts).connect(&route(&[peer.address])).await.unwrap();
        let begun = Instant::now();
        let (_, report) = send(connection, &message(200, "a\r\n")).await;
        assert!(codes(&report).iter().all(|code| code == "451 4.4.2"), "{report:?}");
        assert!(
            report.outcomes[0].1.reply.text.ends_with("took more than 400ms for the envelope"),
            "{report:?}"
        );
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    }
}

#[tokio::test(crate = "crate::with_threads")]
async fn quit_waits_only_a_moment() {
    let peer =
        Peer::start(&[], |step| if step.line == "QUIT" { Do::Hang } else { Do::Usual }).await;
    let timeouts = Timeouts { quit: SHORT, ..patient() };
    let connection = client(timeouts).connect(&route(&[peer.address])).await.unwrap();
    let begun = Instant::now();
    connection.quit().await;
    assert!(
        begun.elapsed() >= SHORT && begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
}

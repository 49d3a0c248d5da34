//! The received content is what was sent, octet by octet, at low cost.

use crate::support::{Peer, Stored, all_delivered, connect, message, send, with_body};
use postern::mail::deliver::RecipientOutcomes;
use postern::mail::model::{Body, BodyType, Target};
use std::io::Write;
use std::sync::Arc;

#[tokio::test(crate = "crate::with_threads")]
async fn every_octet_arrives() {
    let long = "x".repeat(100_000);
    let tricky: &[&[u8]] = &[
        b"",
        b"\r\n",
        b".",
        b".\r\n",
        b"..\r\n.\r\n\r\n.\r\n",
        b"Subject: a\r\n\r\n.leading\r\nmiddle . dot\r\n..two\r\n",
        b"no end of line",
        b"\xff\xfe\x80\xc3\xbc\r\n",
        long.as_bytes(),
    ];
    for keywords in [&["PIPELINING", "8BITMIME", "SIZE"][..], &["8BITMIME"]] {
        let peer = Peer::good(keywords).await;
        let mut connection = connect(&peer).await;
        for content in tricky {
            let mut mail = message(1, content);
            mail.envelope.body = BodyType::EightBitMime;
            let (back, report) = send(connection, &mail).await;
            connection = back;
            assert!(all_delivered(&report) && report.reusable && !report.tls, "{report:?}");
            let mut expected = content.to_vec();
            if !content.is_empty() && !content.ends_with(b"\r\n") {
                expected.extend_from_slice(b"\r\n");
            }
            assert_eq!(peer.mails().last(), Some(&expected));
        }
        assert_eq!(peer.seen(|seen| seen.sessions), 1);
        connection.quit().await;
        assert_eq!(peer.lines().last().map(String::as_str), Some("QUIT"));
    }
}

#[tokio::test(crate = "crate::with_threads")]
async fn twenty_five_megabytes_come_from_the_disk() {
    // Lines of all lengths, many with leading dots, and line ends across every border between
    // pieces.
    let mut content = Vec::new();
    for n in 0usize.. {
        if content.len() >= 25 << 20 {
            break;
        }
        content.extend(std::iter::repeat_n(b'.', n % 3));
        content.extend(std::iter::repeat_n(b'a' + u8::try_from(n % 26).unwrap(), n % 997));
        content.extend_from_slice(b"\r\n");
    }
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&content).unwrap();
    let body = Body::Stored(Arc::new(Stored(file)), content.len() as u64);
    let peer = Peer::good(&["PIPELINING", "SIZE 30000000"]).await;
    let (_, report) = send(connect(&peer).await, &with_body(2, body)).await;
    assert!(all_delivered(&report), "{report:?}");
    assert!(peer.mails()[0] == content, "the content differs");
    assert!(peer.lines().contains(&format!("MAIL FROM:<s@here.example> SIZE={}", content.len())));
}

#[tokio::test(crate = "crate::with_threads")]
async fn content_that_cannot_be_read_is_not_half_delivered() {
    let file = tempfile::tempfile().unwrap();
    file.set_len(100_000).unwrap();
    let peer = Peer::good(&["PIPELINING"]).await;
    let body = Body::Stored(Arc::new(Stored(file)), 200_000);
    let (_, report) = send(connect(&peer).await, &with_body(1, body)).await;
    let outcome = &report.outcomes[0].1;
    assert_eq!(
        (outcome.reply.code, outcome.remote, report.reusable),
        (451, false, false),
        "{report:?}"
    );
    assert!(outcome.reply.text.contains("could not be read"), "{report:?}");
    assert!(peer.mails().is_empty());
}

#[tokio::test(crate = "crate::with_threads")]
async fn a_small_mail_costs_two_writes() {
    let peer = Peer::good(&["PIPELINING", "8BITMIME", "SIZE"]).await;
    let mut connection = connect(&peer).await;
    for _ in 0..3 {
        let before = peer.seen(|seen| seen.chunks.len());
        let (back, report) = send(connection, &message(3, "Subject: a\r\n\r\nb\r\n")).await;
        connection = back;
        assert!(all_delivered(&report));
        let chunks = peer.seen(|seen| seen.chunks[before..].to_vec());
        assert_eq!(chunks.len(), 2, "{chunks:?}");
        assert!(
            chunks[0].starts_with(b"MAIL FROM:<s@here.example> SIZE=17\r\nRCPT TO:<r0@"),
            "{chunks:?}"
        );
        assert!(chunks[0].ends_with(b"\r\nDATA\r\n"), "{chunks:?}");
        assert_eq!(chunks[1], b"Subject: a\r\n\r\nb\r\n.\r\n");
    }
}

#[tokio::test(crate = "crate::with_threads")]
async fn a_thousand_recipients_go_in_groups() {
    for keywords in [&["PIPELINING"][..], &[]] {
        let peer = Peer::good(keywords).await;
        let (_, report) = send(connect(&peer).await, &message(1000, "")).await;
        assert!(all_delivered(&report) && report.outcomes.len() == 1000);
        let largest = peer.seen(|seen| {
            seen.chunks.iter().map(|chunk| chunk.iter().filter(|o| **o == b'\n').count()).max()
        });
        let expected = if keywords.is_empty() { 1 } else { postern::mail::deliver::GROUP_MAX };
        assert_eq!(largest, Some(expected));
    }
}

#[tokio::test(crate = "crate::with_threads")]
async fn a_copy_goes_to_everybody_and_counts_once() {
    let peer = Peer::good(&["PIPELINING"]).await;
    let mail = message(3, "a\r\n");
    let report =
        connect(&peer).await.send(&mail, &[Target::Copy], &mut RecipientOutcomes::default()).await;
    assert_eq!(report.outcomes.len(), 1);
    assert!(all_delivered(&report) && report.outcomes[0].0 == Target::Copy);
    assert_eq!(peer.lines().iter().filter(|line| line.starts_with("RCPT")).count(), 3);
}

#[tokio::test(crate = "crate::with_threads")]
async fn the_null_sender_is_empty() {
    let peer = Peer::good(&[]).await;
    let mut mail = message(1, "a\r\n");
    mail.envelope.sender = None;
    assert!(all_delivered(&send(connect(&peer).await, &mail).await.1));
    assert!(peer.lines().contains(&"MAIL FROM:<>".to_owned()));
}

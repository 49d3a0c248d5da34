//! Next hops that lack what the message needs.

use crate::support::{Do, Peer, all_delivered, codes, connect, message, say, send};
use postern::mail::model::{Address, BodyType};
use std::sync::atomic::{AtomicBool, Ordering};

#[tokio::test(crate = "crate::with_threads")]
async fn no_eight_bit_content() {
    let mut mail = message(2, "Subject: a\r\n\r\nü\r\n");
    mail.envelope.body = BodyType::EightBitMime;
    let peer = Peer::good(&["PIPELINING"]).await;
    let (connection, report) = send(connect(&peer).await, &mail).await;
    assert_eq!(codes(&report), ["554 5.6.3"; 2]);
    assert!(report.reusable && !report.outcomes[0].1.remote);
    // Nothing was sent, and the connection can still be used.
    assert!(all_delivered(&send(connection, &message(1, "a\r\n")).await.1));
    assert_eq!(peer.lines().iter().filter(|line| line.starts_with("MAIL")).count(), 1);

    let peer = Peer::good(&["8bitmime"]).await;
    assert!(all_delivered(&send(connect(&peer).await, &mail).await.1));
    assert!(peer.lines().contains(&"MAIL FROM:<s@here.example> BODY=8BITMIME".to_owned()));
}

#[tokio::test(crate = "crate::with_threads")]
async fn no_internationalised_mail() {
    let with = |sender: &str, recipients: &[&str], content: &str| {
        let mut mail = message(recipients.len(), content);
        mail.envelope.sender = Some(Address::parse(sender).unwrap());
        mail.envelope.recipients =
            recipients.iter().map(|text| Address::parse(text).unwrap()).collect();
        mail.envelope.smtputf8 = true;
        mail
    };
    let plain = "Subject: a\r\n\r\nb\r\n";
    let peer = Peer::good(&["PIPELINING"]).await;
    let mut connection = connect(&peer).await;
    for (mail, expected) in [
        (with("ä@here.example", &["a@there.example"], plain), vec!["553 5.6.7"]),
        (
            with("a@here.example", &["a@there.example"], "Subject: ü\r\n\r\nb\r\n"),
            vec!["553 5.6.7"],
        ),
        (
            with("a@here.example", &["ä@there.example", "a@there.example"], plain),
            vec!["553 5.6.7", "250 2.0.0"],
        ),
        // A domain has another form; recipients for which that suffices are not blocked by the
        // others.
        (
            with("a@bücher.example", &["a@BÜCHER.example", "ä@bücher.example"], plain),
            vec!["250 2.0.0", "553 5.6.7"],
        ),
        // Requested, but not needed.
        (with("a@here.example", &["a@there.example"], plain), vec!["250 2.0.0"]),
    ] {
        let (back, report) = send(connection, &mail).await;
        connection = back;
        assert_eq!(codes(&report), expected, "{:?}", mail.envelope);
        assert!(report.reusable);
    }
    assert!(!peer.lines().iter().any(|line| line.contains("SMTPUTF8") || !line.is_ascii()));
    for line in ["MAIL FROM:<a@xn--bcher-kva.example>", "RCPT TO:<a@xn--bcher-kva.example>"] {
        assert!(peer.lines().contains(&line.to_owned()), "{:?}", peer.lines());
    }

    let peer = Peer::good(&["PIPELINING", "SMTPUTF8"]).await;
    let (_, report) =
        send(connect(&peer).await, &with("ä@here.example", &["ü@bücher.example"], plain)).await;
    assert!(all_delivered(&report));
    assert_eq!(
        peer.lines()[1..3],
        ["MAIL FROM:<ä@here.example> SMTPUTF8", "RCPT TO:<ü@bücher.example>"]
    );
}

/// A recipient's reply counts, though the server's next session supports less.
#[tokio::test(crate = "crate::with_threads")]
async fn a_server_that_takes_less_in_its_second_session() {
    let taken = AtomicBool::new(false);
    let peer = Peer::start(&["SMTPUTF8"], move |step| match (step.session, step.line) {
        (0, ".") => {
            taken.store(true, Ordering::Relaxed);
            Do::Usual
        }
        (0, line) if line.starts_with("MAIL") && taken.load(Ordering::Relaxed) => Do::Close,
        (0, "RCPT TO:<b@there.example>") => say("452 4.5.3 one at a time"),
        (1, line) if line.starts_with("EHLO") => say("250 peer.example"),
        _ => Do::Usual,
    })
    .await;
    let mut mail = message(2, "Subject: a\r\n\r\nb\r\n");
    mail.envelope.recipients = ["ä@there.example", "b@there.example"]
        .iter()
        .map(|text| Address::parse(text).unwrap())
        .collect();
    mail.envelope.smtputf8 = true;
    let (_, report) = send(connect(&peer).await, &mail).await;
    assert_eq!(peer.seen(|seen| seen.sessions), 2);
    assert!(all_delivered(&report), "{report:?}");
}

#[tokio::test(crate = "crate::with_threads")]
async fn a_message_that_is_too_large() {
    let peer = Peer::good(&["SIZE 1000"]).await;
    let (connection, report) = send(connect(&peer).await, &message(1, "x".repeat(1001))).await;
    assert_eq!(codes(&report), ["552 5.3.4"]);
    assert!(report.reusable);
    let (_, report) = send(connection, &message(1, "x".repeat(1000))).await;
    assert!(all_delivered(&report));
    for no_limit in ["SIZE", "SIZE 0"] {
        let peer = Peer::good(&[no_limit]).await;
        assert!(all_delivered(&send(connect(&peer).await, &message(1, "x".repeat(1001))).await.1));
    }
}

#[tokio::test(crate = "crate::with_threads")]
async fn a_server_that_knows_only_helo() {
    let peer = Peer::start(&["PIPELINING", "SIZE"], |step| match step.line {
        line if line.starts_with("EHLO") => say("502 5.5.1 what?"),
        _ => Do::Usual,
    })
    .await;
    let (_, report) = send(connect(&peer).await, &message(1, "a\r\n")).await;
    assert!(all_delivered(&report));
    let lines = [
        "EHLO relay.example",
        "HELO relay.example",
        "MAIL FROM:<s@here.example>",
        "RCPT TO:<r0@there.example>",
        "DATA",
    ];
    assert_eq!(peer.lines(), lines);
}

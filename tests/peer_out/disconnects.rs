//! Next hops that close the connection, in every state.

use crate::support::{Do, Peer, code, codes, connect, message, patient, refused, send};

#[tokio::test(crate = "crate::with_threads")]
async fn before_mail_is_asked_for() {
    for state in ["", "EHLO"] {
        let peer =
            Peer::start(
                &[],
                move |step| if step.line.starts_with(state) { Do::Close } else { Do::Usual },
            )
            .await;
        let outcome = refused(patient(), &peer).await;
        assert_eq!(
            (code(&outcome).as_str(), outcome.remote),
            ("451 4.4.2", false),
            "{state}: {outcome:?}"
        );
        assert!(
            outcome.reply.text.contains(&format!("mx0.example[127.0.0.1]:{}", peer.address.port())),
            "{outcome:?}"
        );
    }
}

#[tokio::test(crate = "crate::with_threads")]
async fn in_each_state_of_a_transaction() {
    for keywords in [&["PIPELINING"][..], &[]] {
        for state in ["MAIL", "RCPT TO:<r0", "RCPT TO:<r1", "DATA", "."] {
            let peer = Peer::start(keywords, move |step| match step.line {
                line if !line.is_empty() && line.starts_with(state) => Do::Close,
                _ => Do::Usual,
            })
            .await;
            let (_, report) = send(connect(&peer).await, &message(2, "a\r\n")).await;
            assert_eq!(codes(&report), ["451 4.4.2"; 2], "{state}: {report:?}");
            assert!(!report.reusable);
            // The first transaction of a connection is not repeated: the peer does not want it.
            assert_eq!(peer.seen(|seen| seen.sessions), 1, "{state}");
        }
    }
}

#[tokio::test(crate = "crate::with_threads")]
async fn in_the_middle_of_content() {
    let peer = Peer::start(&[], |step| match step.line {
        "DATA" => Do::SayAndClose(b"354 go on\r\n".to_vec()),
        _ => Do::Usual,
    })
    .await;
    let (_, report) = send(connect(&peer).await, &message(1, "x".repeat(30 << 20))).await;
    assert_eq!(codes(&report), ["451 4.4.2"], "{report:?}");
}

#[tokio::test(crate = "crate::with_threads")]
async fn with_a_last_word_in_the_middle_of_content() {
    let peer = Peer::start(&[], |step| match step.line {
        "DATA" => Do::SayAndClose(b"354 go on\r\n552 5.3.4 enough\r\n".to_vec()),
        _ => Do::Usual,
    })
    .await;
    let (_, report) = send(connect(&peer).await, &message(1, "a\r\n")).await;
    assert_eq!(codes(&report), ["552 5.3.4"], "{report:?}");
}

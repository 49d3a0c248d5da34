//! Next hops with invalid replies.

use crate::support::{
    Do, Peer, all_delivered, code, codes, connect, message, patient, refused, send,
};

fn garbage() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("ten thousand lines", "250-more\r\n".repeat(10_000).into_bytes()),
        ("an endless line", vec![b'2'; 1 << 20]),
        ("no code", b"hello\r\n".to_vec()),
        ("a web server", b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
        ("a code of no class", b"999 a\r\n".to_vec()),
        ("octets of all kinds", (0..=255).collect::<Vec<u8>>()),
        ("nothing but line ends", b"\r\n\r\n".to_vec()),
    ]
}

#[tokio::test(crate = "crate::with_threads")]
async fn garbage_for_a_greeting() {
    for (name, octets) in garbage() {
        let peer = Peer::start(&[], move |_| Do::Say(octets.clone())).await;
        let outcome = refused(patient(), &peer).await;
        assert_eq!(
            (code(&outcome).as_str(), outcome.remote),
            ("451 4.5.0", false),
            "{name}: {outcome:?}"
        );
    }
}

#[tokio::test(crate = "crate::with_threads")]
async fn garbage_in_each_state() {
    for keywords in [&["PIPELINING"][..], &[]] {
        for state in ["MAIL", "RCPT", "DATA", "."] {
            for (name, octets) in garbage() {
                let peer = Peer::start(keywords, move |step| match step.line {
                    line if !line.is_empty() && line.starts_with(state) => Do::Say(octets.clone()),
                    _ => Do::Usual,
                })
                .await;
                let (_, report) = send(connect(&peer).await, &message(2, "a\r\n")).await;
                assert_eq!(codes(&report), ["451 4.5.0"; 2], "{state}, {name}: {report:?}");
                assert!(!report.reusable);
            }
        }
    }
}

#[tokio::test(crate = "crate::with_threads")]
async fn the_last_code_counts_and_all_words_are_kept() {
    let blocked = b"220-hello\r\n521 5.7.1 blocked using bl.example\r\n";
    let peer = Peer::start(&[], |_| Do::SayAndClose(blocked.to_vec())).await;
    let outcome = refused(patient(), &peer).await;
    assert!(
        outcome.reply.to_string().contains("521 5.7.1 hello blocked using bl.example"),
        "{outcome:?}"
    );
    for (state, said, expected) in [
        (
            "RCPT",
            "250-who is that\r\n550 5.1.1 nobody here\r\n",
            "550 5.1.1 who is that nobody here",
        ),
        (
            ".",
            "250-looked at it\r\n554-5.7.1 and found\r\n554 5.7.1 spam\r\n",
            "554 5.7.1 looked at it and found spam",
        ),
        (".", "250-\r\n450\r\n", "450 "),
        ("RCPT", "550-4.7.1 odd\r\n550 no\r\n", "550 4.7.1 odd no"),
    ] {
        let peer = Peer::start(&["PIPELINING"], move |step| match step.line {
            line if !line.is_empty() && line.starts_with(state) => {
                Do::Say(said.as_bytes().to_vec())
            }
            _ => Do::Usual,
        })
        .await;
        let (_, report) = send(connect(&peer).await, &message(1, "a\r\n")).await;
        assert_eq!(report.outcomes[0].1.reply.to_string(), expected, "{state}");
        assert!(report.outcomes[0].1.remote);
    }
}

#[tokio::test(crate = "crate::with_threads")]
async fn a_reply_with_a_line_that_is_too_long_is_understood() {
    let peer = Peer::start(&[], |step| match step.line {
        line if line.starts_with("RCPT") => {
            Do::Say(format!("550 5.7.1 see {}\r\n", "x".repeat(30_000)).into_bytes())
        }
        _ => Do::Usual,
    })
    .await;
    let (_, report) = send(connect(&peer).await, &message(1, "a\r\n")).await;
    assert_eq!(codes(&report), ["550 5.7.1"]);
    assert!(report.reusable && report.outcomes[0].1.reply.text.starts_with("see xxx"));
}

#[tokio::test(crate = "crate::with_threads")]
async fn codes_that_mean_nothing_there() {
    for (state, said) in [("MAIL", "354 x"), ("RCPT", "354 x"), ("DATA", "250 x"), (".", "354 x")] {
        let peer = Peer::start(&["PIPELINING"], move |step| match step.line {
            line if !line.is_empty() && line.starts_with(state) => {
                Do::Say(format!("{said}\r\n").into_bytes())
            }
            _ => Do::Usual,
        })
        .await;
        let (_, report) = send(connect(&peer).await, &message(1, "a\r\n")).await;
        assert_eq!(codes(&report), ["451 4.5.0"], "{state}: {report:?}");
        assert!(!report.reusable, "{state}");
    }
}

#[tokio::test(crate = "crate::with_threads")]
async fn hostile_words_are_tamed() {
    let peer = Peer::start(&[], |step| match step.line {
        line if line.starts_with("RCPT") => Do::Say(
            [b"550-5.1.1 \x1b[2J\x00evil\xff\r\n550 5.1.1 ", "y".repeat(1500).as_bytes(), b"\r\n"]
                .concat(),
        ),
        _ => Do::Usual,
    })
    .await;
    let (_, report) = send(connect(&peer).await, &message(1, "a\r\n")).await;
    let text = &report.outcomes[0].1.reply.text;
    assert_eq!(codes(&report), ["550 5.1.1"]);
    assert!(
        !text.contains(|c: char| c.is_control()) && text.len() <= 1000 && text.contains("evil"),
        "{text:?}"
    );
}

#[tokio::test(crate = "crate::with_threads")]
async fn a_final_word_before_the_content_is_not_believed() {
    for keywords in [&["PIPELINING"][..], &[]] {
        let peer = Peer::start(keywords, |step| match step.line {
            "DATA" => Do::Say(b"354 go\r\n250 2.0.0 taken\r\n".to_vec()),
            _ => Do::Usual,
        })
        .await;
        let (_, report) = send(connect(&peer).await, &message(1, "a\r\n")).await;
        assert_eq!(codes(&report), ["451 4.5.0"], "{report:?}");
        assert!(!report.reusable && peer.mails().is_empty());
    }
}

#[tokio::test(crate = "crate::with_threads")]
async fn a_server_out_of_step_is_left() {
    let peer = Peer::start(&["PIPELINING"], |step| match step.line {
        "." => Do::Say(b"250 2.0.0 taken\r\n250 2.0.0 and taken\r\n".to_vec()),
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

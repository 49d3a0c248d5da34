//! Next hops that reject or defer.

use crate::support::{
    Do, Peer, all_delivered, bounce, codes, connect, counted, message, patient, route, say, send,
};
use postern::mail::deliver::RecipientOutcomes;
use postern::mail::model::Target;
use std::sync::atomic::{AtomicUsize, Ordering};

#[tokio::test(crate = "crate::with_threads")]
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

/// A server that accepts `limit` recipients of each transaction and replies `said` to the others.
async fn limited(keywords: &[&str], limit: usize, said: &'static str) -> Peer {
    let taken = AtomicUsize::new(0);
    Peer::start(keywords, move |step| {
        if step.line.starts_with("MAIL") {
            taken.store(0, Ordering::Relaxed);
        }
        // The script is called twice for each command.
        let full = || taken.fetch_add(1, Ordering::Relaxed) / 2 >= limit;
        if step.line.starts_with("RCPT") && full() { say(said) } else { Do::Usual }
    })
    .await
}

/// How many recipients each transaction named.
fn transactions(peer: &Peer) -> Vec<usize> {
    let mut counts = Vec::new();
    for line in peer.lines() {
        match line.split(' ').next() {
            Some("MAIL") => counts.push(0),
            Some("RCPT") => *counts.last_mut().unwrap() += 1,
            _ => {}
        }
    }
    counts
}

#[tokio::test(crate = "crate::with_threads")]
async fn recipients_beyond_the_limit_of_a_transaction_follow_at_once() {
    for keywords in [&["PIPELINING"][..], &[]] {
        for said in [
            "452 4.5.3 too many",
            "452 too many",
            "552 too many",
            "552 5.5.3 too many",
            "451 4.5.3 too many",
        ] {
            let peer = limited(keywords, 30, said).await;
            let (connection, report) = send(connect(&peer).await, &message(250, "a\r\n")).await;
            assert!(all_delivered(&report) && report.reusable, "{said}: {report:?}");
            // The limit is learned from the first, for this message and for the next on the same
            // connection.
            assert_eq!(transactions(&peer), [100, 30, 30, 30, 30, 30, 30, 30, 10], "{said}");
            assert!(all_delivered(&send(connection, &message(31, "b\r\n")).await.1));
            assert_eq!(transactions(&peer)[9..], [30, 1], "{said}");
            assert_eq!(peer.seen(|seen| (seen.sessions, seen.mails.len())), (1, 11));
        }
    }
}

#[tokio::test(crate = "crate::with_threads")]
async fn a_server_that_leaves_when_it_has_enough_recipients_gets_fewer() {
    for keywords in [&["PIPELINING"][..], &[]] {
        let taken = AtomicUsize::new(0);
        let peer = Peer::start(keywords, move |step| {
            if step.line.starts_with("MAIL") {
                taken.store(0, Ordering::Relaxed);
            }
            // The script is called twice for each command.
            let full = || taken.fetch_add(1, Ordering::Relaxed) / 2 >= 10;
            let enough = || Do::SayAndClose(b"421 4.7.0 too many recipients\r\n".to_vec());
            if step.line.starts_with("RCPT") && full() { enough() } else { Do::Usual }
        })
        .await;
        let (_, report) = send(connect(&peer).await, &message(30, "a\r\n")).await;
        assert!(all_delivered(&report), "{report:?}");
        assert_eq!(transactions(&peer)[1..], [10, 10, 10]);
        assert_eq!(peer.seen(|seen| (seen.sessions, seen.mails.len())), (2, 3));
    }
}

#[tokio::test(crate = "crate::with_threads")]
async fn no_transaction_names_more_recipients_than_configured() {
    let peer = Peer::good(&["PIPELINING"]).await;
    let (_, report) = send(connect(&peer).await, &message(250, "a\r\n")).await;
    assert!(all_delivered(&report));
    assert_eq!(transactions(&peer), [100, 100, 50]);
}

#[tokio::test(crate = "crate::with_threads")]
async fn a_server_for_which_any_recipient_is_too_many_is_asked_once() {
    for said in ["452 4.5.3 too many", "552 too many"] {
        let peer = limited(&["PIPELINING"], 0, said).await;
        let (_, report) = send(connect(&peer).await, &message(3, "a\r\n")).await;
        assert_eq!(codes(&report), ["452 4.5.3"; 3]);
        assert_eq!(transactions(&peer), [3]);
    }
}

#[tokio::test(crate = "crate::with_threads")]
async fn a_full_disk_or_mailbox_is_no_limit_of_recipients() {
    for (said, expected) in [
        ("452 4.3.1 disk full", "452 4.3.1"),
        ("552 5.2.2 full", "552 5.2.2"),
        ("452 4.2.2 full", "452 4.2.2"),
    ] {
        let peer = limited(&["PIPELINING"], 2, said).await;
        let (_, report) = send(connect(&peer).await, &message(4, "a\r\n")).await;
        assert_eq!(codes(&report), ["250 2.0.0", "250 2.0.0", expected, expected]);
        assert_eq!(transactions(&peer), [4]);
    }
}

#[tokio::test(crate = "crate::with_threads")]
async fn later_transactions_fail_for_their_own_recipients_alone() {
    // The third transaction's content is rejected permanently, then the server closes.
    let ends = AtomicUsize::new(0);
    let peer = Peer::start(&["PIPELINING"], move |step| match step.line {
        "." => match ends.fetch_add(1, Ordering::Relaxed) {
            2 => say("550 5.7.1 not for these"),
            3 => Do::SayAndClose(b"421 4.3.2 bye\r\n".to_vec()),
            _ => Do::Usual,
        },
        _ => Do::Usual,
    })
    .await;
    let (_, report) = send(connect(&peer).await, &message(500, "a\r\n")).await;
    let codes = codes(&report);
    assert!(codes[..200].iter().all(|code| code == "250 2.0.0"));
    assert!(codes[200..300].iter().all(|code| code == "550 5.7.1"));
    assert!(codes[300..].iter().all(|code| code == "421 4.3.2"));
    assert_eq!(report.retryable_elsewhere().len(), 200);
    assert!(!report.reusable);
}

#[tokio::test(crate = "crate::with_threads")]
async fn mail_refused_because_of_us_waits_and_is_counted() {
    for (said, expected) in [
        ("530 5.7.57 Client not authenticated", "451 4.7.57"),
        ("530 5.7.0 Must issue a STARTTLS command first", "451 4.7.0"),
        ("554 5.7.1 <a.example[192.0.2.1]>: Client host rejected: Access denied", "451 4.7.1"),
        ("503 5.5.1 HELO first", "451 4.5.1"),
        ("521 no mail here", "451 4.3.2"),
    ] {
        let peer =
            Peer::start(
                &[],
                move |step| if step.line.starts_with("MAIL") { say(said) } else { Do::Usual },
            )
            .await;
        let (client, counters) = counted(patient());
        let connection = client.connect(&route(&[peer.address])).await.unwrap();
        let (_, report) = send(connection, &message(2, "a\r\n")).await;
        assert_eq!(codes(&report), [expected; 2], "{said}");
        assert!(report.outcomes[0].1.reply.text.ends_with(said) && report.reusable);
        assert_eq!(report.retryable_elsewhere().len(), 2);
        assert_eq!(counters.next_hop_refusals_total.with_label_values(&["mail"]).get(), 1);
    }
}

#[tokio::test(crate = "crate::with_threads")]
async fn mail_refused_because_of_its_sender_has_failed() {
    for (said, expected) in [
        ("552 5.3.4 too large", "552 5.3.4"),
        ("553 5.1.8 no such sender", "553 5.1.8"),
        ("501 5.1.7 bad sender address syntax", "501 5.1.7"),
        ("550 sender unknown", "550"),
        ("553 5.7.1 sender not owned by user", "553 5.7.1"),
    ] {
        let peer =
            Peer::start(
                &[],
                move |step| if step.line.starts_with("MAIL") { say(said) } else { Do::Usual },
            )
            .await;
        let (_, report) = send(connect(&peer).await, &message(1, "a\r\n")).await;
        assert_eq!(codes(&report), [expected], "{said}");
        assert!(report.outcomes[0].1.remote);
    }
}

#[tokio::test(crate = "crate::with_threads")]
async fn a_null_sender_that_is_refused_has_failed_unless_all_mail_would_be() {
    for (said, expected) in [
        ("501 invalid MAIL FROM", "501"),
        ("550 5.7.1 no bounces here", "550 5.7.1"),
        ("554 5.7.1 no", "554 5.7.1"),
        ("530 5.7.0 authentication required", "451 4.7.0"),
    ] {
        let peer =
            Peer::start(
                &[],
                move |step| if step.line == "MAIL FROM:<>" { say(said) } else { Do::Usual },
            )
            .await;
        let (_, report) = send(connect(&peer).await, &bounce(1)).await;
        assert_eq!(codes(&report), [expected], "{said}");
    }
}

#[tokio::test(crate = "crate::with_threads")]
async fn a_login_that_is_asked_for_late_is_no_verdict_either() {
    for state in ["RCPT", "DATA"] {
        let peer = Peer::start(&["PIPELINING"], move |step| match step.line {
            line if line.starts_with(state) => say("530 5.7.0 authentication required"),
            _ => Do::Usual,
        })
        .await;
        let (_, report) = send(connect(&peer).await, &message(1, "a\r\n")).await;
        assert_eq!(codes(&report), ["451 4.7.0"], "{state}");
    }
}

#[tokio::test(crate = "crate::with_threads")]
async fn all_recipients_refused_with_data_on_its_way() {
    for (data, keywords) in [
        ("354 go", &["PIPELINING"][..]),
        ("554 no valid recipients", &["PIPELINING"]),
        ("354 go", &[]),
    ] {
        let peer = Peer::start(keywords, move |step| match step.line {
            line if step.session == 0 && line.starts_with("RCPT TO:<r0@") => {
                say("550 5.1.1 unknown")
            }
            line if step.session == 0 && line.starts_with("RCPT TO:<r1@") => say("451 4.3.0 later"),
            "DATA" => say(data),
            "." => say("554 5.5.1 no valid recipients"),
            _ => Do::Usual,
        })
        .await;
        let (connection, report) = send(connect(&peer).await, &message(2, "secret\r\n")).await;
        assert_eq!(codes(&report), ["550 5.1.1", "451 4.3.0"]);
        assert!(report.reusable);
        // After 354 an empty content is sent and ended (RFC 2920 §3.1), never the real one.
        let expected: &[&[u8]] =
            if keywords.is_empty() || data.starts_with('5') { &[] } else { &[b""] };
        assert_eq!(peer.mails(), expected);
        // The transaction is reset before the next one begins.
        let (_, report) = send(connection, &message(1, "b\r\n")).await;
        assert_eq!(codes(&report), ["550 5.1.1"]);
        let lines = peer.lines();
        let reset = lines.iter().position(|line| line == "RSET").unwrap();
        assert!(lines[reset + 1].starts_with("MAIL"), "{lines:?}");
    }
}

#[tokio::test(crate = "crate::with_threads")]
async fn the_sender_is_refused() {
    for keywords in [&["PIPELINING"][..], &[]] {
        let peer = Peer::start(keywords, |step| match step.line {
            line if line.starts_with("MAIL") => say("550 5.1.8 not you"),
            line if line.starts_with("RCPT") || line == "DATA" => say("503 5.5.1 MAIL first"),
            _ => Do::Usual,
        })
        .await;
        let (_, report) = send(connect(&peer).await, &message(2, "a\r\n")).await;
        assert_eq!(codes(&report), ["550 5.1.8"; 2]);
        assert!(report.reusable && peer.mails().is_empty());
        assert_eq!(peer.lines().iter().any(|line| line.starts_with("RCPT")), !keywords.is_empty());
    }
}

/// The same if DATA is rejected, or comes too late to be sent: recipients that the peer accepted
/// are reset before the next mail.
#[tokio::test(crate = "crate::with_threads")]
async fn recipients_behind_a_sender_that_was_refused_are_taken_back() {
    let peer = Peer::start(&["PIPELINING"], |step| match step.line {
        line if line.starts_with("MAIL") => say("451 4.3.0 busy"),
        "DATA" => say("503 5.5.1 MAIL first"),
        _ => Do::Usual,
    })
    .await;
    let (connection, report) = send(connect(&peer).await, &message(1, "a\r\n")).await;
    assert_eq!((codes(&report), report.reusable), (vec!["451 4.3.0".to_owned()], true));
    send(connection, &message(1, "b\r\n")).await;
    let lines = peer.lines();
    let data = lines.iter().position(|line| line == "DATA").unwrap();
    assert_eq!(lines[data + 1], "RSET", "{lines:?}");
}

/// A peer that recovers between MAIL and RCPT, and does not check their order, would take an empty
/// end of data for an empty mail.
#[tokio::test(crate = "crate::with_threads")]
async fn recipients_are_taken_behind_a_sender_that_was_refused() {
    for refused in ["451 4.3.0 busy", "550 5.1.8 not you"] {
        let peer = Peer::start(&["PIPELINING"], move |step| match step.line {
            line if line.starts_with("MAIL") => say(refused),
            _ => Do::Usual,
        })
        .await;
        let (_, report) = send(connect(&peer).await, &message(2, "a\r\n")).await;
        assert_eq!(codes(&report), [&refused[..9]; 2]);
        assert!(!report.reusable && peer.mails().is_empty(), "{:?}", peer.lines());
    }
}

#[tokio::test(crate = "crate::with_threads")]
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

#[tokio::test(crate = "crate::with_threads")]
async fn the_server_leaves_in_mid_session() {
    for state in ["MAIL", "RCPT TO:<r1", "DATA", "."] {
        let peer = Peer::start(&["PIPELINING"], move |step| match step.line {
            line if !line.is_empty() && line.starts_with(state) => {
                Do::SayAndClose(b"421 4.3.2 shutting down\r\n".to_vec())
            }
            _ => Do::Usual,
        })
        .await;
        let (_, report) = send(connect(&peer).await, &message(2, "a\r\n")).await;
        // One that closes at the second recipient is tried again with only the first one.
        let first = if state.starts_with("RCPT") { "250 2.0.0" } else { "421 4.3.2" };
        assert_eq!(codes(&report), [first, "421 4.3.2"], "{state}: {report:?}");
        assert!(!report.reusable, "{state}");
    }
}

#[tokio::test(crate = "crate::with_threads")]
async fn a_copy_counts_as_taken_when_anybody_gets_it() {
    let peer = Peer::start(&["PIPELINING"], |step| match step.line {
        "RCPT TO:<r0@there.example>" => say("550 5.1.1 unknown"),
        _ => Do::Usual,
    })
    .await;
    let report = connect(&peer)
        .await
        .send(&message(2, "a\r\n"), &[Target::Copy], &mut RecipientOutcomes::default())
        .await;
    assert_eq!(codes(&report), ["250 2.0.0"]);
    let peer = Peer::start(&["PIPELINING"], |step| match step.line {
        "RCPT TO:<r0@there.example>" => say("550 5.1.1 unknown"),
        "RCPT TO:<r1@there.example>" => say("450 4.2.1 later"),
        _ => Do::Usual,
    })
    .await;
    let report = connect(&peer)
        .await
        .send(&message(2, "a\r\n"), &[Target::Copy], &mut RecipientOutcomes::default())
        .await;
    assert_eq!(codes(&report), ["450 4.2.1"]);
}

#[tokio::test(crate = "crate::with_threads")]
async fn a_refused_sender_stays_refused_when_the_server_closes() {
    let peer = Peer::start(&["PIPELINING"], |step| match step.line {
        line if line.starts_with("MAIL") => say("550 5.1.8 not you"),
        line if line.starts_with("RCPT") => say("503 5.5.1 MAIL first"),
        "." => Do::Close,
        _ => Do::Usual,
    })
    .await;
    let (_, report) = send(connect(&peer).await, &message(2, "a\r\n")).await;
    assert_eq!(codes(&report), ["550 5.1.8"; 2]);
    assert!(!report.reusable);
    assert_eq!(peer.mails(), [b""]);
}

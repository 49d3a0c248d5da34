//! Next hops that announce LIMITS (RFC 9422), and keep to it.

use crate::support::{Peer, all_delivered, codes, connect, message, send};
use postern::mail::model::Address;

/// How many lines begin with `counted` between two that begin with `between`.
fn counts(peer: &Peer, between: &str, counted: &str) -> Vec<usize> {
    let lines = peer.lines();
    let parts = lines.split(|line| line.starts_with(between)).skip(1);
    parts.map(|part| part.iter().filter(|line| line.starts_with(counted)).count()).collect()
}

#[tokio::test(crate = "crate::with_threads")]
async fn no_transaction_has_more_recipients_than_announced() {
    let peer = Peer::good(&["PIPELINING", "LIMITS RCPTMAX=3"]).await;
    let (connection, report) = send(connect(&peer).await, &message(7, "a\r\n")).await;
    assert!(all_delivered(&report), "{report:?}");
    assert!(all_delivered(&send(connection, &message(4, "a\r\n")).await.1));
    assert_eq!(counts(&peer, "MAIL", "RCPT"), [3, 3, 1, 3, 1]);
    assert_eq!(peer.seen(|seen| seen.sessions), 1);
}

#[tokio::test(crate = "crate::with_threads")]
async fn no_session_has_more_mails_than_announced() {
    let peer = Peer::good(&["LIMITS MAILMAX=2"]).await;
    let mut connection = connect(&peer).await;
    for _ in 0..5 {
        let (back, report) = send(connection, &message(1, "a\r\n")).await;
        assert!(all_delivered(&report), "{:?}", codes(&report));
        connection = back;
    }
    assert_eq!(counts(&peer, "EHLO", "MAIL"), [2, 2, 1]);
    assert_eq!(counts(&peer, "EHLO", "QUIT"), [1, 1, 0], "the others were ended regularly");
}

#[tokio::test(crate = "crate::with_threads")]
async fn no_transaction_has_more_domains_than_announced() {
    let peer = Peer::good(&["PIPELINING", "LIMITS RCPTDOMAINMAX=2"]).await;
    let mut mail = message(6, "a\r\n");
    let addresses = ["a@one", "b@two", "c@three", "d@ONE", "e@four", "f@two"];
    let parse = |text: &&str| Address::parse(&format!("{text}.example")).unwrap();
    mail.envelope.recipients = addresses.iter().map(parse).collect();
    assert!(all_delivered(&send(connect(&peer).await, &mail).await.1));
    assert_eq!(counts(&peer, "MAIL", "RCPT"), [4, 2], "{:?}", peer.lines());
}

#[tokio::test(crate = "crate::with_threads")]
async fn values_that_are_no_limit_limit_nothing() {
    let limits = "LIMITS RCPTMAX=0 MAILMAX=many RCPTDOMAINMAX=-1";
    let peer = Peer::good(&["PIPELINING", limits]).await;
    let (connection, report) = send(connect(&peer).await, &message(50, "a\r\n")).await;
    assert!(all_delivered(&report));
    assert!(all_delivered(&send(connection, &message(1, "a\r\n")).await.1));
    assert_eq!(
        (counts(&peer, "MAIL", "RCPT"), counts(&peer, "EHLO", "MAIL")),
        (vec![50, 1], vec![2])
    );
}

//! Whole sessions with TLS: their trace, many at once, and a certificate that is renewed meanwhile.

use crate::support::client::Client;
use crate::support::eventually;
use crate::support::tls::{Channel, pair};
use crate::{only_mail, receiver};
use postern::ground::net::{self, Stream, TlsAcceptor, Wire, WireError};
use postern::ground::tls::CertificatePresenter;
use postern::mail::accept::Limits;
use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tokio::time::Instant;

#[test]
fn mail_says_how_it_came_and_sessions_are_counted() {
    let (receiver, believing) = receiver();
    let mut client = Client::hello_inside_tls(receiver.address, &believing);
    client.mail("sender@here.example", &["box@there.example"], b"Subject: x\r\n\r\n");
    client.ask("QUIT", "221 ");
    // close_notify: without it the library would report an error.
    client.expect_close();
    let mail = only_mail(&receiver);
    let trace =
        "Received: from client.example ([127.0.0.1])\r\n\t(using TLSv1.3 with cipher TLS_AES_";
    assert!(mail.starts_with(trace), "{mail}");
    assert!(mail.contains("\r\n\tby mta.example (Postern) with ESMTPS id "), "{mail}");
    let mut client = Client::connect_inside_tls(receiver.smtps.unwrap(), &believing);
    client.expect("220 mta.example ESMTP");
    client.ask("QUIT", "221 ");
    assert_eq!(receiver.counters.tls_sessions_total.with_label_values(&["TLSv1.3"]).get(), 2);
    assert_eq!(receiver.counters.tls_sessions_total.with_label_values(&["TLSv1.2"]).get(), 0);
    assert_eq!(receiver.counters.tls_handshake_failures_total.get(), 0);
}

#[test]
fn two_hundred_sessions_at_once() {
    let (receiver, believing) = receiver();
    let content = format!("Subject: one of many\r\n\r\n{}", "0123456789abcdef\r\n".repeat(2_000));
    thread::scope(|scope| {
        for number in 0..200 {
            let (receiver, believing, content) = (&receiver, &believing, &content);
            scope.spawn(move || {
                let mut client = if number % 2 == 0 {
                    Client::hello_inside_tls(receiver.address, believing)
                } else {
                    let mut client = Client::connect_inside_tls(receiver.smtps.unwrap(), believing);
                    client.expect("220 ");
                    client.ask("EHLO client.example", "250 ");
                    client
                };
                // All are open before the first one is done.
                eventually("200 sessions are open", || {
                    receiver.counters.smtp_sessions_total.get() == 200
                });
                client.mail("sender@here.example", &["box@there.example"], content.as_bytes());
                client.ask("QUIT", "221 ");
                client.expect_close();
            });
        }
    });
    let mails = receiver.spool.messages();
    assert_eq!(mails.len(), 200);
    assert!(mails.iter().all(|(_, mail)| mail.ends_with(content.as_bytes())));
    eventually("every session has ended", || receiver.sessions() == 0);
}

#[test]
fn a_large_mail_passes_whole() {
    let (receiver, believing) = receiver();
    let content = "Subject: large\r\n\r\n".to_owned()
        + &"line of text that goes on and on\r\n".repeat(280_000);
    let mut client = Client::hello_inside_tls(receiver.address, &believing);
    client.mail("sender@here.example", &["box@there.example"], content.as_bytes());
    assert!(only_mail(&receiver).ends_with(&content));
}

#[test]
fn a_renewed_certificate_is_shown_to_the_next_client_and_disturbs_nobody() {
    let (receiver, old) = receiver();
    let mut waiting = Client::hello_inside_tls(receiver.address, &old);
    let mut sending = Client::connect_inside_tls(receiver.smtps.unwrap(), &old);
    sending.expect("220 ");
    sending.ask("EHLO client.example", "250 ");
    sending.begin();
    sending.send("Subject: half\r\n");
    // Greeted in plain text before, and encrypted after.
    let mut between = Client::hello(receiver.address);

    let (renewed, new) = pair();
    receiver.presenter.as_ref().unwrap().replace(renewed).unwrap();
    between.ask("STARTTLS", "220 ");
    let between = between.secure(&new);
    let direct = Client::connect_inside_tls(receiver.smtps.unwrap(), &new);
    assert_eq!(between.certificate(), direct.certificate());
    assert_ne!(between.certificate(), waiting.certificate());

    sending.send("\r\nother half\r\n.\r\n");
    sending.expect("250 2.0.0");
    waiting.mail("sender@here.example", &["box@there.example"], b"Subject: x\r\n\r\n");
    assert_eq!(receiver.spool.messages().len(), 2);
}

#[test]
fn a_session_is_resumed_but_not_across_a_renewal() {
    let (receiver, config) = receiver();
    let kind = || {
        let mut client = Client::connect_inside_tls(receiver.smtps.unwrap(), &config);
        // The ticket comes with the first reply.
        client.expect("220 ");
        client.resumed()
    };
    assert_eq!([kind(), kind()], [false, true]);
    let (renewed, _) = pair();
    receiver.presenter.as_ref().unwrap().replace(renewed).unwrap();
    // This client has a ticket of the old pair, and trusts only the old certificate: it gets the
    // new one.
    assert!(!Client::connect(receiver.smtps.unwrap()).can_secure(&config));
}

#[test]
fn the_stop_waits_for_no_handshake() {
    let (mut receiver, _) = receiver();
    let silent = Client::connect(receiver.smtps.unwrap());
    let mut asked = Client::hello(receiver.address);
    asked.ask("STARTTLS", "220 ");
    eventually("both sessions are open", || receiver.sessions() == 2);
    let start = std::time::Instant::now();
    receiver.stop(Duration::from_secs(60));
    receiver.wait();
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    drop((silent, asked));
}

/// A client that does the handshake and ends its side, with close_notify or without.
fn ends(address: SocketAddr, believing: Arc<rustls::ClientConfig>, notify: bool) {
    let stream = TcpStream::connect(address).unwrap();
    let Ok(Channel::Tls(mut stream)) = Channel::secure(stream, believing) else {
        panic!("no handshake");
    };
    if notify {
        stream.conn.send_close_notify();
        stream.flush().unwrap();
    }
    stream.sock.shutdown(Shutdown::Write).unwrap();
    // The server's session tickets are read: otherwise the close would be a reset.
    let _ = io::copy(&mut stream.sock, &mut io::sink());
}

#[test]
fn an_end_without_close_notify_is_reported_as_truncated() {
    let (pair, believing) = pair();
    let acceptor = TlsAcceptor::new(Arc::new(CertificatePresenter::new(pair).unwrap()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let end_of_session = |notify| {
        runtime.block_on(async {
            let listener = net::bind("127.0.0.1:0".parse().unwrap()).unwrap();
            let address = listener.local_addr().unwrap();
            let believing = Arc::clone(&believing);
            let client = thread::spawn(move || ends(address, believing, notify));
            let (stream, _) = listener.accept().await.unwrap();
            let until = Instant::now() + Duration::from_secs(60);
            let stream = Stream::Tls(acceptor.accept(stream, until).await.unwrap());
            let mut wire = Wire::new(stream, &Limits::default().connection, None);
            let end = wire.fill(until).await.unwrap_err();
            drop(wire);
            client.join().unwrap();
            end
        })
    };
    let end = end_of_session(true);
    assert!(matches!(end, WireError::Closed), "{end:?}");
    let end = end_of_session(false);
    assert!(matches!(end, WireError::Truncated), "{end:?}");
}

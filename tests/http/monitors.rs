//! Monitors with every kind of fault: each costs a counter, and nothing else.

use crate::pushes::{start, until};
use crate::support::TestUi;
use postern::monitor::push::FAREWELL_PATIENCE;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// What a monitor does after its answer.
#[derive(Clone, Copy, PartialEq)]
enum End {
    /// Closes the connection properly.
    Closes,
    /// Holds it for ever.
    Holds,
    /// Resets it (RST), the request half read.
    Resets,
    /// Never completes its answer: an octet now and then.
    Trickles,
}

/// A monitor that reads a little, sends `answer` and ends so; and how many connections it has had.
async fn monitor(answer: Vec<u8>, end: End) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let visits = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&visits);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            seen.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(serve(stream, answer.clone(), end));
        }
    });
    (address, visits)
}

async fn serve(mut stream: TcpStream, answer: Vec<u8>, end: End) {
    let mut request = [0; 512];
    let _ = stream.read(&mut request).await;
    if end == End::Trickles {
        for octet in answer {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let _ = stream.write_all(&[octet]).await;
        }
        return;
    }
    let _ = stream.write_all(&answer).await;
    match end {
        End::Holds => while matches!(stream.read(&mut request).await, Ok(1..)) {},
        End::Resets => {
            nix::sys::socket::setsockopt(&stream, nix::sys::socket::sockopt::Linger, &at_once())
                .unwrap()
        }
        End::Closes | End::Trickles => {}
    }
}

/// Closing a socket with this sends RST and drops what is unsent (socket(7), SO_LINGER).
fn at_once() -> nix::libc::linger {
    nix::libc::linger { l_onoff: 1, l_linger: 0 }
}

#[tokio::test]
async fn monitors_in_trouble_cost_a_counter_and_nothing_else() {
    let endless =
        [b"HTTP/1.1 500 no\r\nContent-Length: 99999999999\r\n\r\n".to_vec(), vec![b'x'; 1 << 20]]
            .concat();
    for (trouble, answer, end) in [
        (
            "refuses",
            b"HTTP/1.1 400 Bad Request\r\nContent-Length: 9\r\n\r\nno\nthanks".to_vec(),
            End::Closes,
        ),
        ("talks nonsense", b"220 mail.example ESMTP\r\n".to_vec(), End::Closes),
        ("talks binary", vec![0xff; 5000], End::Closes),
        (
            "never ends its header",
            [b"HTTP/1.1 200 OK\r\n".to_vec(), b"a: b\r\n".repeat(10_000)].concat(),
            End::Holds,
        ),
        ("never ends its answer", endless, End::Holds),
        ("closes at once", Vec::new(), End::Closes),
        ("resets the connection", Vec::new(), End::Resets),
        ("resets it inside the answer", b"HTTP/1.1 200".to_vec(), End::Resets),
        ("hangs", Vec::new(), End::Holds),
        (
            "answers octet by octet",
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec(),
            End::Trickles,
        ),
    ] {
        let ui = TestUi::open([], None).await;
        let (address, _) = monitor(answer, end).await;
        let task = start(&ui, address, "mta");
        until(trouble, || ui.counters.monitor.push_failures_total.get() > 0).await;
        assert_eq!(ui.counters.monitor.push_total.get(), 0, "{trouble}");
        // A scrape meanwhile is answered.
        assert!(ui.curl(&[], "/metrics").await.body.contains("mta_mqueue_messages 0"), "{trouble}");
        let begin = Instant::now();
        ui.stop.send(true).unwrap();
        timeout(FAREWELL_PATIENCE + Duration::from_secs(2), task)
            .await
            .unwrap_or_else(|_| panic!("{trouble}: no end"))
            .unwrap();
        assert!(
            begin.elapsed() < Duration::from_secs(1),
            "{trouble}: nothing was ever pushed, so there is nothing to take back"
        );
    }
}

#[tokio::test]
async fn a_redirection_is_never_followed() {
    for status in [301, 302, 303, 307, 308] {
        let (elsewhere, visits) =
            monitor(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec(), End::Closes).await;
        let answer = format!(
            "HTTP/1.1 {status} Elsewhere\r\nLocation: \
            http://{elsewhere}/metrics/job/x\r\nContent-Length: 0\r\n\r\n"
        );
        let (address, asked) = monitor(answer.into_bytes(), End::Closes).await;
        let ui = TestUi::open([], None).await;
        let task = start(&ui, address, "mta");
        until("three failures", || ui.counters.monitor.push_failures_total.get() >= 3).await;
        ui.stop.send(true).unwrap();
        timeout(Duration::from_secs(5), task).await.unwrap().unwrap();
        assert!(asked.load(Ordering::Relaxed) >= 3);
        assert_eq!(visits.load(Ordering::Relaxed), 0, "{status} was followed");
        assert_eq!(ui.counters.monitor.push_total.get(), 0, "{status} counts as a success");
    }
}

//! Clients that come in large numbers, are slow, or send garbage.

use crate::admin::{deferred, message};
use crate::support::{TestUi, access, curl, troubled_queue};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::TcpMaxSeg;
use postern::ground::clock;
use postern::http::Login;
use postern::http::access::Access;
use postern::http::request_limits::REQUESTS_PER_CLIENT_MAX;
use postern::http::server::{HEADER_MAX, HEADER_PATIENCE};
use postern::mail::model::{
    AttemptRecord, DeliveryStatus, FinishedMessage, MessageId, RecipientResult,
};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

async fn talk(ui: &TestUi, words: &[u8]) -> String {
    let mut stream = TcpStream::connect(ui.address).await.unwrap();
    // A server may close before it has read everything.
    let _ = stream.write_all(words).await;
    let _ = stream.shutdown().await;
    let mut answer = Vec::new();
    let _ = timeout(Duration::from_secs(15), stream.read_to_end(&mut answer))
        .await
        .expect("the server neither answers nor closes");
    String::from_utf8_lossy(&answer).into_owned()
}

/// A connection whose request is in progress until its content has come.
async fn busy(ui: &TestUi) -> TcpStream {
    let mut stream = TcpStream::connect(ui.address).await.unwrap();
    stream
        .write_all(
            b"POST /api/v1/orders HTTP/1.1\r\nHost: a\r\nAuthorization: Basic \
            YTpi\r\nContent-Type: application/json\r\n\
        Content-Length: 10\r\n\r\n{",
        )
        .await
        .unwrap();
    stream
}

#[tokio::test]
async fn whoever_asks_for_nothing_gives_way_and_health_answers() {
    let ui = TestUi::open([], None).await;
    let mut crowd = Vec::new();
    for number in 0..300 {
        let mut stream = TcpStream::connect(ui.address).await.unwrap();
        if number % 2 == 0 {
            let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: ").await;
        }
        crowd.push(stream);
        if number % 50 == 49 {
            for path in ["/healthz", "/readyz", "/metrics", "/status", "/"] {
                let begin = Instant::now();
                assert_eq!(ui.curl(&[], path).await.status, 200, "{path}");
                assert!(begin.elapsed() < Duration::from_secs(1), "{path}: {:?}", begin.elapsed());
            }
        }
    }
    // The first of them are closed, the last are not.
    let mut rest = Vec::new();
    assert!(timeout(Duration::from_secs(1), crowd[0].read_to_end(&mut rest)).await.is_ok());
    assert!(timeout(Duration::from_millis(50), crowd[299].read_to_end(&mut rest)).await.is_err());
    // The control socket has its own limits.
    assert_eq!(ui.curl_control(&[], "/readyz").await.status, 200);
}

#[tokio::test]
async fn requests_under_way_have_a_limit_and_leave_room_for_health_and_metrics() {
    let ui = TestUi::open([], Some(Login::new("a", "b"))).await;
    let mut crowd = Vec::new();
    for _ in 0..REQUESTS_PER_CLIENT_MAX {
        crowd.push(busy(&ui).await);
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let more = ui.curl(&["--user", "a:b"], "/").await;
    assert!(more.status == 503 && more.head.contains("retry-after: "), "{}", more.head);
    for path in ["/healthz", "/readyz", "/metrics", "/status"] {
        assert_eq!(ui.curl(&["--user", "a:b"], path).await.status, 200, "{path}");
    }
    assert!(ui.http_counters.http_refused_total.with_label_values(&["request"]).get() > 0);
    drop(crowd);
    let begin = Instant::now();
    while ui.curl(&["--user", "a:b"], "/").await.status != 200 {
        assert!(begin.elapsed() < Duration::from_secs(5), "the crowd's places stay taken");
    }
}

const LOGIN: &[&str] = &["--user", "a:b"];

/// A server whose page of 500 mails has 8 MB, with a limit of so many for answers.
async fn window_with_a_large_page(megabytes: usize) -> TestUi {
    let recipients =
        ["a@example.org", "b@example.org", "c@example.org", "d@example.org", "e@example.org"];
    let queue = (0..500).map(|number| {
        let mail = message(1_763_800_000_000_000 + number, 60, Some("a@example.org"), &recipients);
        deferred(mail, 1, 60, &"451 later, ".repeat(300))
    });
    TestUi::open_with_answers(queue, access(Some(Login::new("a", "b"))), megabytes << 20).await
}

/// Sends a request and does not read the answer.
async fn unread(ui: &TestUi, path: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(ui.address).await.unwrap();
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic YTpi\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.readable().await.unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_nobody_reads_keeps_its_memory_and_its_place() {
    let ui = window_with_a_large_page(10).await;
    let page = "/api/v1/queue?limit=500";
    let length = ui.curl(LOGIN, page).await.body.len();
    assert!(length > 6 << 20, "{length} octets: the kernel takes them all");
    let mut slow = unread(&ui, page).await;
    let refused = ui.curl(LOGIN, page).await;
    assert_eq!(refused.status, 503, "the first one holds all of its answer in memory");
    assert!(refused.head.contains("retry-after: "), "{}", refused.head);
    // A flood of idle connections does not close it.
    let mut crowd = Vec::new();
    for _ in 0..200 {
        crowd.push(TcpStream::connect(ui.address).await.unwrap());
    }
    let mut answer = vec![0; length];
    let read = timeout(Duration::from_secs(20), slow.read_exact(&mut answer))
        .await
        .expect("the answer ends");
    assert!(read.is_ok(), "{read:?}: whoever reads slowly was cut off in the middle");
    drop((slow, crowd));
    assert_eq!(ui.curl(LOGIN, page).await.status, 200, "what was read gives its memory back");
}

/// Connections from untrusted addresses that send requests without end and read no answer.
async fn crowd_that_does_not_read(ui: &TestUi, connections: usize, path: &str) -> Vec<TcpStream> {
    let requests = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").repeat(400);
    let mut crowd = Vec::new();
    for number in 0..connections {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        // The kernel at the other end has memory for so many segments: with the segment size of the
        // loopback, for megabytes.
        setsockopt(&socket, TcpMaxSeg, &536).unwrap();
        socket.bind(format!("127.0.0.{}:0", 2 + number % 2).parse().unwrap()).unwrap();
        let mut stream = socket.connect(ui.address).await.unwrap();
        // A client that is rejected, or disconnected for the next one, cannot send all of it.
        let sent = timeout(Duration::from_secs(5), stream.write_all(requests.as_bytes())).await;
        if matches!(sent, Ok(Ok(()))) {
            let _ = stream.readable().await;
        }
        crowd.push(stream);
    }
    crowd
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_that_does_not_read_takes_no_places() {
    // A client behind a proxy is untrusted, even from this machine.
    let proxies = vec!["127.0.0.0/8".parse().unwrap()];
    let ui = TestUi::open_with([], Access { proxies, ..access(Some(Login::new("a", "b"))) }).await;
    for path in ["/metrics", "/", "/healthz"] {
        let crowd = crowd_that_does_not_read(&ui, 200, path).await;
        for _ in 0..10 {
            for asked in ["/healthz", "/metrics", "/"] {
                let reply = ui.curl(&["--user", "a:b", "--interface", "127.0.0.9"], asked).await;
                assert_eq!(
                    reply.status, 200,
                    "{asked} beside a crowd that asks for {path}: {}",
                    reply.body
                );
            }
        }
        drop(crowd);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_is_said_and_numbers_are_shown_when_readers_took_all_memory() {
    let ui = window_with_a_large_page(1).await;
    let mut streams = Vec::new();
    for _ in 0..20 {
        streams.push(unread(&ui, "/api/v1/stream").await);
        assert_eq!(ui.curl(LOGIN, "/metrics").await.status, 200, "after {} streams", streams.len());
    }
    let slow = unread(&ui, "/api/v1/queue?limit=500").await;
    let mail = [
        LOGIN,
        &["--header", "Content-Type: message/rfc822", "--data-binary", "Subject: x\n\nx\n"],
    ]
    .concat();
    let answer = ui.curl(&mail, "/api/v1/messages?from=a%40example.org&to=b%40example.org").await;
    assert_eq!(
        (ui.admin.letters.lock().unwrap().len(), answer.status),
        (1, 201),
        "{}",
        answer.body
    );
    assert_eq!(ui.curl(LOGIN, "/metrics").await.status, 200);
    drop((streams, slow));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_searches_at_once_few_are_made() {
    let ui = TestUi::open(troubled_queue(), None).await;
    ui.admin.slow(Duration::from_millis(300));
    let url = ui.url("/api/v1/queue?search=nobody-of-this-name");
    let searches: Vec<_> = (0..20)
        .map(|_| {
            let url = url.clone();
            tokio::spawn(async move { curl(&[], &url).await })
        })
        .collect();
    let mut made = 0;
    for search in searches {
        let reply = search.await.unwrap();
        made += usize::from(reply.status == 200);
        assert!(
            reply.status == 200 || reply.status == 429 && reply.head.contains("retry-after: "),
            "{}",
            reply.head
        );
    }
    assert!((1..=6).contains(&made), "{made} of 20 were made");
    assert_eq!(ui.curl(&[], "/api/v1/queue").await.status, 200, "a list is no search");
}

/// For an invented id all of the history is read.
#[tokio::test(flavor = "multi_thread")]
async fn a_look_for_one_message_in_the_history_is_a_search() {
    let ui = TestUi::open([], None).await;
    ui.history.takes.store(300, Ordering::Relaxed);
    for path in ["/history/0000000000001", "/queue/0000000000001", "/api/v1/history/0000000000001"]
    {
        let looks: Vec<_> = (0..20)
            .map(|_| {
                let url = ui.url(path);
                tokio::spawn(async move { curl(&[], &url).await.status })
            })
            .collect();
        let mut made = 0;
        for look in looks {
            let status = look.await.unwrap();
            made += usize::from(status == 404);
            assert!(status == 404 || status == 429, "{path}: {status}");
        }
        assert!((1..=6).contains(&made), "{path}: {made} of 20 were made");
    }
    let tries = ui.url("/api/v1/queue/0000000000001/attempts");
    let asked: Vec<_> = (0..20)
        .map(|_| {
            let url = tries.clone();
            tokio::spawn(async move { curl(&[], &url).await.status })
        })
        .collect();
    let mut refused = 0;
    for one in asked {
        refused += usize::from(one.await.unwrap() == 429);
    }
    assert!(refused >= 14, "{refused} of 20 were refused");
}

#[tokio::test]
async fn a_look_that_was_cut_off_does_not_say_that_there_is_nothing() {
    let ui = TestUi::open([], None).await;
    ui.history.takes.store(60_000, Ordering::Relaxed);
    for path in [
        "/history/0000000000001",
        "/queue/0000000000001",
        "/api/v1/history/0000000000001",
        "/api/v1/queue/0000000000001/attempts",
    ] {
        let (port, control) = (ui.curl(&[], path).await, ui.curl_control(&[], path).await);
        assert_eq!(
            (port.status, control.status),
            (503, 503),
            "{path}: {} {}",
            port.body,
            control.body
        );
    }
}

/// Both searches of a page count as one; and a page whose search failed says so.
#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_a_mail_that_left_has_its_tries_or_says_that_it_could_not_look() {
    let ui = TestUi::open(troubled_queue(), None).await;
    let (now, id) = (clock::now(), MessageId(clock::now_micros()).to_string());
    let ending = RecipientResult {
        to: "c@b.example".into(),
        status: DeliveryStatus::Deferred,
        reply: "450 later".into(),
    };
    ui.history_log.attempt(AttemptRecord {
        id: id.clone(),
        at: now,
        destination: "b.example".into(),
        relay: "mx.b.example[192.0.2.1]:25".into(),
        tls: String::new(),
        took_ms: 12,
        outcomes: vec![ending.clone()],
        transcript: "> MAIL\n< 450 later\n".into(),
    });
    ui.history_log.finished(FinishedMessage {
        id: id.clone(),
        arrived: now,
        at: now,
        sender: "a@shop.example".into(),
        size: 500,
        client: "192.0.2.9".into(),
        relay: "mx.b.example[192.0.2.1]:25".into(),
        tls: String::new(),
        recipients: vec![RecipientResult { status: DeliveryStatus::Delivered, ..ending }],
        mark: String::new(),
    });
    // Each search takes longer than another one waits for it.
    ui.history.takes.store(3200, Ordering::Relaxed);
    let page = ui.curl(&[], &format!("/history/{id}")).await;
    assert!(page.status == 200 && page.body.contains("450 later"), "{} {}", page.head, page.body);
    ui.history.takes.store(60_000, Ordering::Relaxed);
    let waiting = ui.curl(&[], "/api/v1/queue").await.json()["messages"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let page = ui.curl(&[], &format!("/queue/{waiting}")).await;
    assert!(
        page.status == 200 && page.body.contains("The delivery attempts could not be read in time"),
        "{} {}",
        page.head,
        page.body
    );
}

#[tokio::test]
async fn slow_headers_are_cut_off() {
    let ui = TestUi::open([], None).await;
    let mut slow = TcpStream::connect(ui.address).await.unwrap();
    let mut idle = TcpStream::connect(ui.address).await.unwrap();
    let begin = Instant::now();
    let (mut reader, mut writer) = slow.split();
    let drip = async {
        writer.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        while writer.write_all(b"a: b\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    };
    let mut rest = Vec::new();
    tokio::select! {
        () = drip => {}
        _ = reader.read_to_end(&mut rest) => {}
        () = tokio::time::sleep(HEADER_PATIENCE * 2) => panic!("a slow header is waited for"),
    }
    assert!(begin.elapsed() >= HEADER_PATIENCE / 2);
    let ended = timeout(HEADER_PATIENCE, idle.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "a connection that says nothing is kept");
}

#[tokio::test]
async fn headers_have_an_end() {
    let ui = TestUi::open([], None).await;
    let field =
        |length| format!("GET /healthz HTTP/1.1\r\nHost: a\r\nx: {}\r\n\r\n", "x".repeat(length));
    let fields =
        |number| format!("GET /healthz HTTP/1.1\r\nHost: a\r\n{}\r\n", "a: b\r\n".repeat(number));
    for (request, status) in [
        (field(HEADER_MAX - 100), 200),
        (field(HEADER_MAX), 431),
        (field(HEADER_MAX * 4), 431),
        (fields(50), 200),
        (fields(1000), 431),
        (format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(HEADER_MAX * 4)), 431),
    ] {
        let answer = talk(&ui, request.as_bytes()).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{} octets: {answer}",
            request.len()
        );
    }
}

#[tokio::test]
async fn nonsense_gets_an_error_and_costs_nothing() {
    let ui = TestUi::open([], None).await;
    for nonsense in [
        &b"EHLO client.example\r\nMAIL FROM:<a@b>\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET\r\n\r\n",
        b"\0\0\0\0\0\0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"CONNECT example.org:25 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http://example.org/ HTTP/1.1\r\nHost: example.org\r\nTransfer-Encoding: \
        chunked\r\nContent-Length: 5\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        let answer = talk(&ui, nonsense).await;
        assert!(!answer.contains("panic"), "{answer}");
        assert_eq!(ui.http_counters.panics_total.get(), 0, "{nonsense:?}");
    }
    assert_eq!(ui.curl(&[], "/healthz").await.status, 200);
}

#[tokio::test]
async fn a_request_with_content_is_answered_without_reading_it() {
    let ui = TestUi::open([], None).await;
    let answer =
        talk(&ui, b"GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\nxxxx")
            .await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let answer =
        talk(&ui, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\nxxxx").await;
    assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
}

#[tokio::test]
async fn a_stop_ends_the_listeners_and_their_connections() {
    let mut ui = TestUi::open([], None).await;
    let mut idle = TcpStream::connect(ui.address).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut first = [0; 15];
    idle.read_exact(&mut first).await.unwrap();
    ui.stop.send(true).unwrap();
    let mut rest = Vec::new();
    timeout(Duration::from_secs(5), idle.read_to_end(&mut rest)).await.unwrap().unwrap();
    for task in std::mem::take(&mut ui.tasks) {
        timeout(Duration::from_secs(5), task).await.unwrap().unwrap();
    }
    assert!(TcpStream::connect(ui.address).await.is_err());
}

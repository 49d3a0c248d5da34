//! The queue, sessions, the log, and the history for programs.

use crate::admin::{deferred, message};
use crate::orders::queue;
use crate::support::{HOSTILE, TestUi, access, troubled_queue};
use postern::http::Login;
use postern::http::access::Access;
use postern::http::token::Token;
use postern::mail::model::{
    AttemptRecord, DeliveryStatus, FinishedMessage, MessageId, RecipientResult, Refusal,
    RefusedExample,
};
use std::net::IpAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test]
async fn filters_search_and_pages_find_the_same_messages_by_all_ways() {
    let ui = TestUi::open(troubled_queue(), None).await;
    for (query, found) in [
        ("destination=full.example", 18),
        ("error=over+its+quota", 18),
        ("sender=newsletter%40", 61),
        ("state=held", 1),
        ("state=deferred&recipient=customer1%40", 1),
        ("larger=1M", 1),
        ("older=1d", 11),
        ("search=greylisted", 143),
        ("subject=no+such", 0),
    ] {
        let page = ui.curl(&[], &format!("/api/v1/queue?limit=500&{query}")).await.json();
        assert_eq!(page["messages"].as_array().unwrap().len(), found, "{query}");
        assert_eq!(page["complete"], true, "{query}");
        assert!(
            page["messages"].as_array().unwrap().iter().all(|message| message["state"].is_string())
        );
    }
    let (code, text, _) = queue(&ui.socket, "list --destination full.example --limit 5").await;
    assert!(code == 0 && text.ends_with("5 messages; there are more, see --limit.\n"), "{text}");
    let (_, text, _) = queue(&ui.socket, "destinations").await;
    assert!(text.contains("slow-and-sorry.example") && text.contains("<=1 h"), "{text}");
    let (_, text, _) = queue(&ui.socket, "groups --by sender").await;
    assert!(text.contains("newsletter@shop.example"), "{text}");
}

#[tokio::test]
async fn who_is_here_and_who_was_refused_is_told() {
    let ui = TestUi::open([], None).await;
    let client = IpAddr::from([192, 0, 2, 7]);
    let guest = ui.registry.enter(client, 4711);
    guest.note_activity("EHLO", HOSTILE, None);
    let example = RefusedExample {
        at: 1_700_000_000,
        client,
        helo: HOSTILE.to_owned(),
        command: "RCPT",
        from: "a@b.example".to_owned(),
        to: HOSTILE.to_owned(),
        reply: "554 5.7.1 Relay access denied".to_owned(),
    };
    ui.registry.refused(Refusal::Relay, example);
    ui.counters.accept.refused_total.with_label_values(&["relay"]).inc();
    let turned_away = RefusedExample {
        at: 1_700_000_000,
        client: IpAddr::from([192, 0, 2, 8]),
        helo: String::new(),
        command: "CONNECT",
        from: String::new(),
        to: String::new(),
        reply: "421 4.7.0 mta Too many sessions; try again later".to_owned(),
    };
    ui.registry.turned_away("all", turned_away);
    ui.counters.accept.sessions_refused_total.with_label_values(&["all"]).inc();
    let sessions = ui.curl(&[], "/api/v1/sessions").await.json();
    assert_eq!(
        (&sessions["total"], &sessions["sessions"][0]["state"]),
        (&1.into(), &"EHLO".into())
    );
    let refusals = ui.curl(&[], "/api/v1/refusals").await.json();
    let relay = refusals["reasons"]
        .as_array()
        .unwrap()
        .iter()
        .find(|reason| reason["reason"] == "relay")
        .unwrap()
        .clone();
    assert_eq!((&relay["total"], &relay["last"][0]["client"]), (&1.into(), &"192.0.2.7".into()));
    let full = refusals["reasons"]
        .as_array()
        .unwrap()
        .iter()
        .find(|reason| reason["reason"] == "sessions_all")
        .unwrap();
    assert_eq!((&full["total"], &full["last"][0]["client"]), (&1.into(), &"192.0.2.8".into()));
    let page = ui.curl(&[], "/sessions").await.body;
    assert!(
        page.contains("sessions all: 1") && page.contains("421 4.7.0 mta Too many sessions"),
        "{page}"
    );
    assert!(page.contains("192.0.2.7 port 4711") && page.contains("&#60;script&#62;"), "{page}");
    assert!(!page.contains("<script>alert"));
    drop(guest);
    assert_eq!(ui.curl(&[], "/api/v1/sessions").await.json()["total"], 0);
}

#[tokio::test]
async fn the_last_lines_of_the_log_are_filtered() {
    let ui = TestUi::open([], None).await;
    ui.tail.push(
        "2026-11-25T10:00:00.000+00:00 INFO one <b>\n2026-11-25T10:00:01.000+00:00 WARN two\n",
        false,
    );
    let lines = async |query: &str| {
        ui.curl(&[], &format!("/api/v1/log?{query}")).await.json()["lines"].clone()
    };
    assert_eq!(lines("").await.as_array().unwrap().len(), 2);
    assert!(lines("level=warn").await[0].as_str().unwrap().ends_with("two"));
    assert!(lines("filter=ONE").await[0].as_str().unwrap().ends_with("one <b>"));
    assert_eq!(ui.curl(&[], "/api/v1/log?level=loud").await.status, 400);
    let page = ui.curl(&[], "/log?filter=one").await.body;
    assert!(page.contains("one &#60;b&#62;") && !page.contains(">two<"), "{page}");
    let page = ui.curl(&[], "/log").await.body;
    assert!(page.contains("<details class=\"warn\"><summary>") && page.contains(">two<"), "{page}");
}

#[tokio::test]
async fn settings_are_told_with_their_origin_to_the_login_alone() {
    let ui = TestUi::open([], Some(Login::new("operator", "s3cret"))).await;
    let login = ["--user", "operator:s3cret"];
    let told = ui.curl(&login, "/api/v1/settings").await.json();
    let of = |name: &str| {
        let all = told["settings"].as_array().unwrap().iter();
        all.clone().find(|one| one["name"] == name).unwrap().clone()
    };
    assert_eq!(
        of("password"),
        serde_json::json!({
            "name": "password", "variable": "MTA_PASSWORD", "value": "********",
            "origin": "file", "source": "/run/secrets/mta (MTA_PASSWORD_FILE)", "type": "text",
            "list": false, "group": "founding", "masked": true, "changed": true,
            "summary": "What it does",
        })
    );
    assert_eq!(of("hostname")["origin"], "environment");
    assert_eq!(
        (&of("smart_relay")["origin"], &of("smart_relay")["changed"]),
        (&"default".into(), &false.into())
    );
    let page = ui.curl(&login, "/settings").await.body;
    for words in
        ["<code>hostname</code>", "********", "MTA_PASSWORD_FILE", "(empty)", "<code>5d</code>"]
    {
        assert!(page.contains(words), "{words} is missing in\n{page}");
    }
    assert!(page.contains("<a href=\"./settings\" aria-current=\"page\">Settings</a>"), "{page}");
    assert!(!page.contains("<script>alert"), "{page}");
    let page = ui.curl(&login, "/settings?show=changed").await.body;
    assert!(page.contains("<code>hostname</code>") && !page.contains("smart_relay"), "{page}");
    for (query, status) in [("show=all", 200), ("show=change", 400), ("x=1", 400)] {
        let page = ui.curl(&login, &format!("/settings?{query}")).await;
        assert_eq!(page.status, status, "{query}");
    }
    assert_eq!(ui.curl(&[], "/api/v1/settings").await.status, 401);
}

#[tokio::test]
async fn whoever_is_not_known_sees_no_settings() {
    let tokens = || vec![Token::new("shop", "{PLAIN}t0ken").unwrap()];
    let login = || Some(Login::new("operator", "s3cret"));
    let public = Access { tokens: tokens(), ..access(None) };
    let numbers = Access { tokens: tokens(), ..Access::default() };
    let read_only = Access { tokens: tokens(), read_only: true, ..access(login()) };
    for (access, user, status) in [
        (public, "", 403),
        (numbers, "", 403),
        (access(login()), "shop:t0ken", 401),
        (Access { tokens: tokens(), ..access(login()) }, "shop:t0ken", 403),
        (read_only, "operator:s3cret", 200),
    ] {
        let ui = TestUi::open_with([], access).await;
        let user = if user.is_empty() { vec![] } else { vec!["--user", user] };
        for path in ["/settings", "/api/v1/settings"] {
            let reply = ui.curl(&user, path).await;
            assert_eq!(reply.status, status, "{user:?} {path}: {}", reply.body);
            assert!(status == 200 || !reply.body.contains("MTA_PASSWORD_FILE"), "{}", reply.body);
        }
        if status == 403 {
            assert!(!ui.curl(&user, "/").await.body.contains("./settings"));
        }
        assert_eq!(ui.curl_control(&[], "/api/v1/settings").await.status, 200);
    }
}

#[tokio::test]
async fn the_stream_tells_at_once_and_again() {
    let ui =
        TestUi::open([deferred(message(1, 60, None, &["a@b.example"]), 1, 60, "450 no")], None)
            .await;
    let mut stream = TcpStream::connect(ui.address).await.unwrap();
    stream.write_all(b"GET /api/v1/stream HTTP/1.1\r\nHost: mta\r\n\r\n").await.unwrap();
    let mut text = String::new();
    while !text.contains("\"volumes\"") {
        let mut piece = [0; 16 * 1024];
        let read = stream.read(&mut piece).await.unwrap();
        assert!(read > 0, "{text}");
        text.push_str(std::str::from_utf8(&piece[..read]).unwrap());
    }
    assert!(
        text.contains("content-type: text/event-stream") && text.contains("retry: 1000"),
        "{text}"
    );
    let data = text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
    let status: serde_json::Value = serde_json::from_str(data).unwrap();
    assert_eq!(status["queue"]["messages"], 1);
    assert_eq!(ui.curl(&["--http1.0"], "/api/v1/stream").await.status, 400);
    for span in ["1h", "24h", "7d"] {
        let rates = ui.curl(&[], &format!("/api/v1/rates?span={span}")).await.json();
        assert_eq!(
            rates["accepted"].as_array().unwrap().len(),
            rates["messages"].as_array().unwrap().len()
        );
        assert!(rates["accepted"][0].is_null(), "nothing is known of that time");
    }
    assert_eq!(ui.curl(&[], "/api/v1/rates?span=1y").await.status, 400);
    // Programs with HTTP/1.0 get numbers instead of the page.
    assert!(ui.curl(&["--http1.0"], "/").await.body.starts_with("Active connections: "));
}

#[tokio::test]
async fn what_became_of_a_mail_is_found_after_it_has_left() {
    let ui = TestUi::open([], None).await;
    let id = MessageId(postern::ground::clock::now_micros()).to_string();
    let ending = |status: DeliveryStatus, reply: &str| RecipientResult {
        to: "c@b.example".into(),
        status,
        reply: reply.into(),
    };
    let now = postern::ground::clock::now();
    ui.history_log.attempt(AttemptRecord {
        id: id.clone(),
        at: now,
        destination: "b.example".into(),
        relay: "mx.b.example[192.0.2.1]:25".into(),
        tls: "TLSv1.3 with TLS13_AES_256_GCM_SHA384".into(),
        took_ms: 12,
        outcomes: vec![ending(DeliveryStatus::Deferred, HOSTILE)],
        transcript: format!(
            "> MAIL FROM:<a@shop.example>\n< 250 ok\n> RCPT TO:<c@b.example>\n< \
            {HOSTILE}\n{}\nSubject: secret\n",
            AttemptRecord::TEXT_MARK
        ),
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
        recipients: vec![ending(DeliveryStatus::Delivered, "250 2.0.0 ok")],
        mark: String::new(),
    });
    let found = ui.curl(&[], "/api/v1/history?search=B.EXAMPLE&status=delivered").await.json();
    assert_eq!((&found["kept"], &found["entries"][0]["id"]), (&true.into(), &id.clone().into()));
    let attempts = ui.curl(&[], &format!("/api/v1/queue/{id}/attempts")).await.json();
    assert_eq!(attempts["attempts"].as_array().unwrap().len(), 2);
    assert_eq!(attempts["attempts"][0]["transcript"][1], "< 250 ok");
    // The text of a bounce is not shown to everybody, in any search.
    for path in [format!("/api/v1/queue/{id}/attempts"), format!("/history/{id}")] {
        assert!(!ui.curl(&[], &path).await.body.contains("secret"), "{path}");
    }
    assert!(ui.curl_control(&[], &format!("/history/{id}")).await.body.contains("secret"));
    let page = ui.curl(&[], &format!("/history/{id}")).await.body;
    assert!(
        page.contains("TLS13_AES_256_GCM_SHA384")
            && page.contains("&#60;script&#62;")
            && !page.contains("<script>alert")
    );
    // A browser that requests it from the queue is redirected; a program gets an error.
    let led = ui.curl(&["--header", "Accept: text/html"], &format!("/queue/{id}")).await;
    assert!(
        led.status == 303
            && led.head.contains(&format!("location: ../history/{}", id.to_lowercase())),
        "{} {}",
        led.head,
        led.body
    );
    let unknown = ui.curl(&["--header", "Accept: text/html"], "/queue/0000000000001").await;
    assert!(
        unknown.status == 404 && unknown.body.contains("<p>no such message is in the queue"),
        "{}",
        unknown.body
    );
    let program = ui.curl(&[], &format!("/api/v1/queue/{id}")).await;
    assert_eq!((program.status, program.json()["error"].is_string()), (404, true));
    let (code, text, _) = queue(&ui.socket, &format!("show {id}")).await;
    assert!(
        code == 0
            && text.contains("no longer in the queue")
            && text.contains("> RCPT TO:<c@b.example>"),
        "{text}"
    );
    let (_, text, _) = queue(&ui.socket, "history --recipient c@b").await;
    assert!(text.contains("delivered") && text.ends_with("1 message.\n"), "{text}");
    assert_eq!(ui.curl(&[], "/api/v1/history/0000000000001").await.status, 404);
}

//! Every route, as seen by a browser, a monitor and curl.

use crate::admin::message;
use crate::support::{HOSTILE, TestUi, busy, troubled_queue};
use postern::http::Login;
use std::io::Write;
use std::process::{Command, Stdio};

const PATHS: [&str; 12] = [
    "/",
    "/assets/style.css",
    "/assets/live.js",
    "/assets/icon.svg",
    "/status",
    "/metrics",
    "/healthz",
    "/readyz",
    "/api/v1/status",
    "/api/v1/destinations",
    "/api/v1/queue",
    "/api/v1/queue?limit=3",
];

#[tokio::test]
async fn every_route_answers_both_versions_of_http_and_carries_the_security_headers() {
    let ui = TestUi::open(troubled_queue(), None).await;
    for path in PATHS {
        for (version, first) in [("--http1.0", "http/1."), ("--http1.1", "http/1.1 200")] {
            let reply = ui.curl(&[version], path).await;
            assert_eq!(reply.status, 200, "{path}");
            assert!(reply.head.starts_with(first), "{}", reply.head);
            for header in [
                "content-security-policy: default-src 'none';",
                "x-content-type-options: nosniff",
                "x-frame-options: deny",
                "referrer-policy: same-origin",
                "cache-control: ",
                "content-length: ",
            ] {
                assert!(reply.head.contains(header), "{path} lacks {header}\n{}", reply.head);
            }
            assert!(!reply.body.is_empty());
        }
        let head = ui.curl(&["--head"], path).await;
        assert_eq!((head.status, head.body.as_str()), (200, ""), "{path}");
        assert!(!head.head.contains("content-length: 0"), "{}", head.head);
    }
    assert_eq!(ui.curl(&[], "/healthz").await.body, "ok\n");
}

#[tokio::test]
async fn wrong_paths_and_methods_are_told_apart_in_the_language_of_the_asker() {
    let ui = TestUi::open([], None).await;
    let reply = ui.curl(&[], "/nowhere").await;
    assert_eq!((reply.status, reply.body.as_str()), (404, "404 not found\n"));
    for path in ["/api/v1/nowhere", "/api/v1/queue/1", "/api/v1/queue/0000000000010"] {
        let reply = ui.curl(&[], path).await;
        assert_eq!(reply.status, 404, "{path}");
        assert!(reply.json()["error"].is_string());
    }
    let reply = ui.curl(&["--data", "x"], "/").await;
    assert_eq!(reply.status, 405);
    assert!(reply.head.contains("allow: get, head"), "{}", reply.head);
    assert_eq!(ui.curl(&["--request", "DELETE"], "/api/v1/queue").await.status, 405);
    assert_eq!(ui.curl(&[], "/api/v1/queue?limit=0").await.status, 400);
    assert_eq!(ui.curl(&[], "/api/v1/orders").await.status, 405);
    // Without a password, everybody has the right to look, and no more.
    for (arguments, path) in [
        (&["--data", r#"{"order":"delete","all":true}"#][..], "/api/v1/orders"),
        (&["--data", "order=delete&scope=matching"], "/act"),
        (&[], "/api/v1/queue/0000000000010/body"),
        (&[], "/api/v1/queue/0000000000010/text"),
        (&[], "/api/v1/queue/0000000000010/mail"),
    ] {
        let reply = ui.curl(arguments, path).await;
        assert_eq!(reply.status, 403, "{path}");
        assert!(reply.body.contains("postern queue"), "{path}: {}", reply.body);
    }
}

#[tokio::test]
async fn everything_but_the_health_pages_asks_for_the_password() {
    let ui = TestUi::open([], Some(Login::new("operator", "s3cret:ü"))).await;
    for path in PATHS {
        let health = matches!(path, "/healthz" | "/readyz");
        let reply = ui.curl(&[], path).await;
        assert_eq!(reply.status, if health { 200 } else { 401 }, "{path}");
        assert_eq!(
            reply.head.contains("www-authenticate: basic realm=\"postern\""),
            !health,
            "{path}"
        );
        assert_eq!(ui.curl(&["--user", "operator:s3cret:ü"], path).await.status, 200, "{path}");
        for wrong in ["operator:", "operator:s3cret", "root:s3cret:ü", ":"] {
            let status = ui.curl(&["--user", wrong], path).await.status;
            // Repeated wrong attempts must wait; a correct one from the same address does not help.
            assert!(
                if health { status == 200 } else { [401, 429].contains(&status) },
                "{path}: {status}"
            );
        }
    }
    // Unauthenticated clients do not learn which paths exist, nor anything about the queue.
    assert_eq!(ui.curl(&[], "/nowhere").await.status, 401);
    assert_eq!(ui.curl(&["--data", "x"], "/").await.status, 401);
    // A client of the control socket needs no password.
    assert_eq!(ui.curl_control(&[], "/api/v1/status").await.status, 200);
}

#[tokio::test]
async fn readiness_tells_its_reason() {
    let ui = TestUi::open([], None).await;
    ui.ready.send(Err("the queue is being read, 40 %".to_owned())).unwrap();
    let reply = ui.curl(&[], "/readyz").await;
    assert_eq!(
        (reply.status, reply.body.as_str()),
        (503, "not ready: the queue is being read, 40 %\n")
    );
    assert_eq!(ui.curl(&[], "/healthz").await.status, 200);
    assert!(
        ui.curl(&[], "/").await.body.contains("Not accepting mail: the queue is being read, 40 %")
    );
    ui.ready.send(Ok(())).unwrap();
    assert_eq!(ui.curl(&[], "/readyz").await.status, 200);
}

#[tokio::test]
async fn status_has_the_shape_of_stub_status() {
    let ui = TestUi::open((1..=3).map(|id| message(id, 5, None, &["a@b.example"])), None).await;
    busy(&ui.counters);
    let text = ui.curl(&["--http1.0"], "/status").await.body;
    let stub = "Active connections: 12 \nserver accepts handled requests\n 48211 48211 \
    193340 \nReading: 12 Writing: 4 Waiting: 0 \n";
    let rest = text.strip_prefix(stub).unwrap_or_else(|| panic!("{text}"));
    assert!(
        rest.starts_with("Mqueue Messages: 3\nMqueue Kbytes: 1\nSMTP Active Sessions: 12\n"),
        "{rest}"
    );
    assert!(rest.contains("\nRefused: 1276\n"), "{rest}");
    for line in rest.lines() {
        let (_, value) = line.split_once(": ").unwrap_or_else(|| panic!("{line}"));
        assert!(value.parse::<u64>().is_ok(), "{line}");
    }
}

#[tokio::test]
async fn promtool_finds_no_fault_with_the_metrics() {
    let ui = TestUi::open(troubled_queue(), None).await;
    busy(&ui.counters);
    let reply = ui.curl(&[], "/metrics").await;
    assert!(reply.head.contains("content-type: text/plain; version=0.0.4"), "{}", reply.head);
    let text = reply.body;
    for line in [
        "mta_mqueue_messages 234",
        "mta_smtp_active_sessions 12",
        "mta_mqueue_held_messages 1",
        "mta_refused_total{reason=\"relay\"} 1204",
        "mta_mqueue_age_seconds_count 234",
        "mta_mqueue_age_seconds_bucket{le=\"60\"} 10",
        "mta_mqueue_age_seconds_bucket{le=\"+Inf\"} 234",
        "# HELP mta_mqueue_age_seconds Age of the messages in the queue",
        "# TYPE mta_mqueue_age_seconds histogram",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is missing in\n{text}");
    }
    let value = |name: &str| -> f64 {
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("{name} ")))
            .unwrap_or_else(|| panic!("{name}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    for alive in [
        "mta_disk_free_bytes",
        "mta_disk_size_bytes",
        "mta_memory_resident_bytes",
        "mta_start_time_seconds",
    ] {
        assert!(value(alive) > 100_000.0, "{alive}");
    }
    let output = tokio::task::spawn_blocking(move || {
        let mut promtool = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("promtool: install Debian's package prometheus");
        promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        promtool.wait_with_output().unwrap()
    });
    let output = output.await.unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{complaints}");
    assert_eq!(complaints.trim(), "");
}

#[tokio::test]
async fn hostile_text_is_escaped_on_the_page() {
    let ui = TestUi::open(troubled_queue(), None).await;
    let page = ui.curl(&[], "/").await.body;
    for live in ["<script>alert", "<img", "\"onmouseover", "\u{202e}"] {
        assert!(!page.contains(live), "{live} is live in\n{page}");
    }
    assert!(page.contains("&#60;script&#62;alert(1)&#60;/script&#62;"), "{page}");
    // No inline script, style or handler: the policy would block them, and this page does not need
    // them.
    for inline in [" style=", "<style", " onclick", "javascript:", "<script>"] {
        assert!(!page.contains(inline), "{inline}");
    }
    // JSON keeps the text and browsers do not show it as a page.
    let reply = ui.curl(&[], "/api/v1/destinations").await;
    assert!(reply.head.contains("content-type: application/json"));
    let destinations = reply.json()["destinations"].clone();
    assert!(
        destinations
            .as_array()
            .unwrap()
            .iter()
            .any(|destination| destination["last_error"] == HOSTILE)
    );
}

#[tokio::test]
async fn the_page_stays_small_however_long_the_queue() {
    let queue = (0..400u64).map(|n| {
        let to = format!("recipient@{}destination-{n}.example", "long-name-".repeat(3));
        crate::admin::deferred(
            message(n + 1, 4000, Some("a@b.example"), &[&to]),
            3,
            60,
            &"4.7.1 try again & again ".repeat(16),
        )
    });
    let ui = TestUi::open(queue, None).await;
    let page = ui.curl(&[], "/").await.body;
    assert!(page.len() < 40_000, "{} octets", page.len());
    assert!(page.contains(">More destinations<"));
    for asset in ["/assets/style.css", "/assets/live.js", "/assets/icon.svg"] {
        assert!(ui.curl(&[], asset).await.body.len() < 20_000, "{asset}");
    }
}

#[tokio::test]
async fn the_queue_is_read_page_by_page() {
    let ui = TestUi::open(troubled_queue(), None).await;
    let (mut after, mut ids, mut pages) = (String::new(), Vec::new(), 0);
    loop {
        let page = ui.curl(&[], &format!("/api/v1/queue?limit=50&after={after}")).await.json();
        let messages = page["messages"].as_array().unwrap();
        assert!(messages.len() <= 50);
        ids.extend(messages.iter().map(|message| message["id"].as_str().unwrap().to_owned()));
        pages += 1;
        match page["next"].as_str() {
            Some(next) => next.clone_into(&mut after),
            None => break,
        }
    }
    assert_eq!((ids.len(), pages), (234, 5));
    assert!(ids.is_sorted());
    let message = ui.curl(&[], &format!("/api/v1/queue/{}", ids[0])).await.json();
    assert_eq!(message["recipients"][0]["address"], "customer0@slow-and-sorry.example");
    assert_eq!(message["recipients"][0]["attempts"], 7);
    assert_eq!(message["sender"], "orders@shop.example");
    assert!(message["subject"].as_str().unwrap().starts_with("Message "));
    assert!(message["age_seconds"].as_u64().unwrap() >= 90_000);
    let status = ui.curl(&[], "/api/v1/status").await.json();
    assert_eq!(status["queue"]["messages"], 234);
    assert_eq!(status["queue"]["held"], 1);
    assert_eq!(status["ready"], true);
}

#[tokio::test]
async fn a_message_to_many_is_shortened_in_a_page_but_not_by_itself() {
    let addresses: Vec<String> = (0..1000).map(|n| format!("r{n}@many.example")).collect();
    let recipients: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let ui = TestUi::open([message(77, 5, None, &recipients)], None).await;
    let page = ui.curl(&[], "/api/v1/queue").await.json();
    assert_eq!(page["messages"][0]["recipients"].as_array().unwrap().len(), 5);
    assert_eq!(page["messages"][0]["recipients_pending"], 1000);
    let one = ui.curl(&[], "/api/v1/queue/000000000002D").await.json();
    assert_eq!(one["recipients"].as_array().unwrap().len(), 1000);
}

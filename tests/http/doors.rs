//! Access control at `ui_port`: host names, and what is shown to whom.

use crate::admin::message;
use crate::support::{Reply, TestUi, access, troubled_queue};
use postern::http::Login;
use postern::http::access::Access;
use postern::http::token::Token;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const ENVELOPE: &str = "/api/v1/messages?from=shop%40example.org&to=a%40example.net";
const MAIL: [&str; 4] =
    ["--data-binary", "Subject: x\n\nx\n", "--header", "Content-Type: message/rfc822"];
const ORDER: [&str; 4] =
    ["--data", r#"{"order":"delete","all":true}"#, "--header", "Content-Type: application/json"];

/// Without a login, and without `ui_public`: the defaults.
async fn plain() -> TestUi {
    TestUi::open_with(troubled_queue(), Access { public: false, ..access(None) }).await
}

async fn raw(ui: &TestUi, request: &str) -> String {
    let mut stream = TcpStream::connect(ui.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or(answer)
}

async fn with(ui: &TestUi, headers: &[&str], more: &[&str], path: &str) -> Reply {
    let headers: Vec<&str> = headers.iter().flat_map(|header| ["--header", *header]).collect();
    ui.curl(&[&headers[..], more].concat(), path).await
}

#[tokio::test]
async fn names_that_are_not_ours_are_answered_421_but_for_monitors() {
    let ui = TestUi::open(troubled_queue(), None).await;
    for (host, expected) in [
        ("mta.shop.example", 200),
        ("MTA.SHOP.EXAMPLE.:8080", 200),
        ("mta:9999", 200),
        ("localhost", 200),
        ("192.0.2.77:1", 200),
        ("[2001:db8::1]:80", 200),
        ("evil.example", 421),
        ("mta.shop.example.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
    ] {
        for path in
            ["/", "/queue", "/api/v1/status", "/api/v1/queue", "/assets/style.css", "/nowhere"]
        {
            let reply = with(&ui, &[&format!("Host: {host}")], &[], path).await;
            let expected = if path == "/nowhere" && expected == 200 { 404 } else { expected };
            assert_eq!(reply.status, expected, "{host} {path}: {}", reply.body);
            if expected == 421 {
                assert!(
                    reply.body.contains("evil.example") && reply.body.contains("MTA_UI_HOSTS"),
                    "{}",
                    reply.body
                );
                assert!(!reply.body.contains("customer"), "{}", reply.body);
            }
        }
        for path in ["/metrics", "/status", "/healthz", "/readyz"] {
            assert_eq!(
                with(&ui, &[&format!("Host: {host}")], &[], path).await.status,
                200,
                "{host} {path}"
            );
        }
    }
    assert!(ui.http_counters.http_refused_total.with_label_values(&["host"]).get() > 10);
    // A client of the control socket is not a page of another site.
    assert_eq!(
        ui.curl_control(&["--header", "Host: evil.example"], "/api/v1/queue").await.status,
        200
    );
}

#[tokio::test]
async fn requests_name_one_host_at_most() {
    let ui = TestUi::open([], None).await;
    for (request, expected) in [
        ("GET /status HTTP/1.0\r\n\r\n", "200"),
        ("GET /api/v1/status HTTP/1.0\r\n\r\n", "200"),
        ("GET /api/v1/status HTTP/1.1\r\n\r\n", "400"),
        ("GET /api/v1/status HTTP/1.1\r\nHost:\r\n\r\n", "200"),
        ("GET /api/v1/status HTTP/1.1\r\nHost: mta\r\nHost: evil.example\r\n\r\n", "400"),
        ("GET /healthz HTTP/1.1\r\nHost: mta\r\nHost: mta\r\n\r\n", "400"),
        ("GET /api/v1/status HTTP/1.0\r\nHost: mta\r\nHost: mta\r\n\r\n", "400"),
        ("GET /api/v1/status HTTP/1.1\r\nHost: user@mta\r\n\r\n", "400"),
        ("GET /api/v1/status HTTP/1.1\r\nHost: mta:80:80\r\n\r\n", "400"),
        // A target in absolute form has precedence over the field (RFC 9112 §3.2.2).
        ("GET http://mta/api/v1/status HTTP/1.1\r\nHost: evil.example\r\n\r\n", "200"),
        ("GET http://evil.example/api/v1/status HTTP/1.1\r\nHost: mta\r\n\r\n", "421"),
        ("GET http://evil.example/metrics HTTP/1.1\r\nHost: mta\r\n\r\n", "200"),
    ] {
        let answer = raw(&ui, request).await;
        assert_eq!(status(&answer), expected, "{request}\n{answer}");
    }
}

#[tokio::test]
async fn without_a_login_strangers_see_numbers_and_nobodys_names() {
    let ui = plain().await;
    ui.tail.push("2026-11-25T10:00:00.000+00:00 WARN secret-line\n", false);
    for path in [
        "/",
        "/status",
        "/metrics",
        "/api/v1",
        "/api/v1/",
        "/api/v1/status",
        "/api/v1/ages",
        "/api/v1/rates?span=1h",
        "/api/v1/openapi.json",
    ] {
        let reply = ui.curl(&[], path).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.body);
        for name in [
            "slow-and-sorry",
            "dead.example",
            "@shop.example",
            "customer",
            "10.20.0.0",
            "Greylisted",
            "nas",
            "mon:9091",
            "secret-line",
        ] {
            assert!(!reply.body.contains(name), "{path} tells {name}: {}", reply.body);
        }
    }
    let status = ui.curl(&[], "/api/v1/status").await.json();
    assert_eq!((&status["queue"]["messages"], &status["queue"]["held"]), (&234.into(), &1.into()));
    assert_eq!(status["terminals"][0]["state"], "connected");
    let ages = ui.curl(&[], "/api/v1/ages").await.json();
    let numbers = ages["messages"].as_array().unwrap();
    assert_eq!(numbers.iter().map(|number| number.as_u64().unwrap()).sum::<u64>(), 234);
    assert_eq!(numbers.len(), ages["bounds_seconds"].as_array().unwrap().len() + 1);
    for path in [
        "/queue",
        "/history",
        "/sessions",
        "/log",
        "/queue/0000000000010",
        "/history/0000000000010",
        "/api/v1/queue",
        "/api/v1/queue?search=a",
        "/api/v1/queue/0000000000010",
        "/api/v1/queue/0000000000010/attempts",
        "/api/v1/queue/0000000000010/body",
        "/api/v1/destinations",
        "/api/v1/groups?by=sender",
        "/api/v1/sessions",
        "/api/v1/refusals",
        "/api/v1/log",
        "/api/v1/history",
        "/api/v1/history/0000000000010",
    ] {
        let reply = ui.curl(&[], path).await;
        assert_eq!(reply.status, 403, "{path}");
        assert!(reply.body.contains("username and password"), "{path}: {}", reply.body);
    }
    let page = ui.curl(&[], "/").await.body;
    assert!(
        page.contains("Queue by age")
            && page.contains("Numbers only")
            && !page.contains("href=\"./queue\""),
        "{page}"
    );
    let mut stream = TcpStream::connect(ui.address).await.unwrap();
    stream.write_all(b"GET /api/v1/stream HTTP/1.1\r\nHost: mta\r\n\r\n").await.unwrap();
    let mut text = String::new();
    while !text.contains("\"volumes\"") {
        let mut piece = [0; 16 * 1024];
        let read = stream.read(&mut piece).await.unwrap();
        assert!(read > 0, "{text}");
        text.push_str(std::str::from_utf8(&piece[..read]).unwrap());
    }
    assert!(!text.contains("10.20.0.0") && !text.contains("nas"), "{text}");
    // A client of the control socket sees everything.
    assert!(ui.curl_control(&[], "/api/v1/queue").await.body.contains("slow-and-sorry.example"));
}

#[tokio::test]
async fn ui_public_shows_names_to_everybody_and_says_so() {
    let ui = TestUi::open(troubled_queue(), None).await;
    for path in ["/", "/queue", "/history", "/sessions", "/log"] {
        let page = ui.curl(&[], path).await.body;
        let (_, main) = page.split_once("<main").unwrap();
        assert!(
            main.contains("ui_public=yes: everybody who can reach this page sees addresses"),
            "{path}: {page}"
        );
        // Problems with mail come first.
        if path == "/" {
            let (above, _) = main.split_once("ui_public=yes").unwrap();
            assert!(above.contains("role=\"alert\""), "{main}");
        }
    }
    assert_eq!(ui.curl(&[], "/api/v1/queue").await.status, 200);
    for (arguments, path) in [
        (&ORDER[..], "/api/v1/orders"),
        (&MAIL, ENVELOPE),
        (&[], "/api/v1/queue/0000000000010/body"),
    ] {
        assert!([401, 403].contains(&ui.curl(arguments, path).await.status), "{path}");
    }
    let ui = TestUi::open(troubled_queue(), Some(Login::new("operator", "s3cret"))).await;
    let page = ui.curl(&["--user", "operator:s3cret"], "/").await.body;
    assert!(!page.contains("ui_public") && page.contains("slow-and-sorry.example"));
}

#[tokio::test]
async fn nobody_sends_by_address_alone() {
    let ui = plain().await;
    for headers in [
        &[][..],
        &["X-Forwarded-For: 127.0.0.1"],
        &["Via: 1.1 proxy"],
        &["Forwarded: for=127.0.0.1"],
    ] {
        let reply = with(&ui, headers, &MAIL, ENVELOPE).await;
        assert_eq!(reply.status, 403, "{headers:?}: {}", reply.body);
        assert!(reply.body.contains("MTA_API_TOKENS"), "{}", reply.body);
    }
    assert!(ui.admin.letters.lock().unwrap().is_empty());
    assert_eq!(ui.curl_control(&MAIL, ENVELOPE).await.status, 201);
}

#[tokio::test]
async fn a_token_sends_within_its_limits_and_does_nothing_else() {
    let limited = Token::new("shop", "{PLAIN}t0ken").unwrap();
    let limited =
        limited.limited(vec!["shop@example.org".to_owned()], Vec::new(), "2/h".parse().ok());
    let near = || {
        Token::new("near", "{PLAIN}n").unwrap().limited(
            Vec::new(),
            vec!["127.0.0.0/8".parse().unwrap()],
            None,
        )
    };
    let elsewhere = Token::new("cron", "{PLAIN}x").unwrap().limited(
        Vec::new(),
        vec!["192.0.2.0/24".parse().unwrap()],
        None,
    );
    let hashed = Token::new("hashed", &bcrypt::hash("s3cret", 4).unwrap()).unwrap();
    let tokens = vec![limited, near(), elsewhere, hashed];
    let proxies = vec!["127.0.0.0/8".parse().unwrap()];
    let all =
        Access { public: false, tokens, proxies, ..access(Some(Login::new("operator", "s3cret"))) };
    let ui = TestUi::open_with(troubled_queue(), all).await;
    let bearer = "Authorization: Bearer shop:t0ken";
    assert_eq!(ui.curl(&MAIL, ENVELOPE).await.status, 401, "who shows nothing is asked");
    for wrong in [
        "Bearer shop:wrong",
        "Bearer nobody:t0ken",
        "Bearer t0ken",
        "Bearer cron:x",
        "Bearer operator:s3cret",
    ] {
        let reply = with(&ui, &[&format!("Authorization: {wrong}")], &MAIL, ENVELOPE).await;
        assert_eq!(reply.status, 401, "{wrong}");
    }
    // A condition on the network is not met by a proxy's statement, even of a configured proxy, nor
    // by a proxy without a statement.
    let nearby = "Authorization: Bearer near:n";
    assert_eq!(
        with(&ui, &[nearby, "X-Forwarded-For: 127.0.0.1"], &MAIL, ENVELOPE).await.status,
        401
    );
    assert_eq!(with(&ui, &[nearby], &MAIL, ENVELOPE).await.status, 401);
    let direct = Access { public: false, tokens: vec![near()], ..access(None) };
    let direct = TestUi::open_with(troubled_queue(), direct).await;
    assert_eq!(with(&direct, &[nearby], &MAIL, ENVELOPE).await.status, 201);
    let other = ENVELOPE.replace("shop%40", "other%40");
    let denied = with(&ui, &[bearer], &MAIL, &other).await;
    assert!(denied.status == 403 && denied.body.contains("other@example.org"), "{}", denied.body);
    let keyed = [bearer, "Idempotency-Key: order-4711"];
    assert_eq!(with(&ui, &keyed, &MAIL, ENVELOPE).await.status, 201);
    assert_eq!(
        ui.curl(&[&["--user", "shop:t0ken"][..], &MAIL].concat(), ENVELOPE).await.status,
        201
    );
    let late = with(&ui, &[bearer], &MAIL, ENVELOPE).await;
    assert!(
        late.status == 429 && late.head.contains("retry-after: ") && late.body.contains("2/1h"),
        "{} {}",
        late.head,
        late.body
    );
    // A repeated request does not count against the rate, and is answered when the rate is used up.
    assert_eq!(with(&ui, &keyed, &MAIL, ENVELOPE).await.status, 200);
    // Another token has its own rate; the statement of a configured proxy appears in the trace
    // field.
    let hashed = ["Authorization: Bearer hashed:s3cret", "X-Forwarded-For: 192.0.2.9"];
    assert_eq!(with(&ui, &hashed, &MAIL, ENVELOPE).await.status, 201);
    let letters = ui
        .admin
        .letters
        .lock()
        .unwrap()
        .iter()
        .map(|(letter, _)| letter.client)
        .collect::<Vec<_>>();
    assert_eq!(letters.last().unwrap().unwrap().to_string(), "192.0.2.9");
    for path in ["/metrics", "/status", "/api/v1/status", "/"] {
        let reply = with(&ui, &[bearer], &[], path).await;
        assert_eq!(reply.status, 200, "{path}");
        assert!(!reply.body.contains("slow-and-sorry"), "{path}");
    }
    for path in [
        "/queue",
        "/api/v1/queue",
        "/api/v1/log",
        "/api/v1/history",
        "/api/v1/queue/0000000000010/body",
    ] {
        assert_eq!(with(&ui, &[bearer], &[], path).await.status, 403, "{path}");
    }
    assert_eq!(with(&ui, &[bearer], &ORDER, "/api/v1/orders").await.status, 403);
    assert_eq!(ui.admin.letters.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn orders_are_json_and_a_browser_shows_the_token_of_the_page() {
    let ui = TestUi::open(
        [message(1, 0, None, &["a@b.example"])],
        Some(Login::new("operator", "s3cret")),
    )
    .await;
    let order = async |headers: &[&str]| {
        let data = ["--user", "operator:s3cret", "--data", r#"{"order":"hold","all":true}"#];
        with(&ui, headers, &data, "/api/v1/orders").await
    };
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonx",
        "",
    ] {
        assert_eq!(order(&[&format!("Content-Type: {kind}")]).await.status, 415, "{kind}");
    }
    let json = "Content-Type: application/json; charset=utf-8";
    assert_eq!(order(&[json]).await.status, 200, "a program");
    let origin = format!("Origin: http://{}", ui.address);
    for browser in ["Sec-Fetch-Site: same-origin", &origin] {
        let reply = order(&[json, browser]).await;
        assert_eq!(reply.status, 403, "{browser}");
        assert!(reply.body.contains("X-Form-Token"), "{}", reply.body);
        assert_eq!(order(&[json, browser, "X-Form-Token: 00"]).await.status, 403);
        let page = ui.curl(&["--user", "operator:s3cret"], "/queue").await.body;
        let token = page
            .split("name=\"csrf\" value=\"")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap()
            .to_owned();
        assert_eq!(
            order(&[json, browser, &format!("X-Form-Token: {token}")]).await.status,
            200,
            "{browser}"
        );
        assert_eq!(
            order(&[json, "Origin: http://evil.example", &format!("X-Form-Token: {token}")])
                .await
                .status,
            403
        );
    }
    let reply = order(&[json, "Origin: http://evil.example", "Host: mta:8080"]).await;
    assert!(
        reply.body.contains("Origin: http://evil.example, Host: mta:8080")
            && reply.body.contains("MTA_UI_URL"),
        "{}",
        reply.body
    );
}

#[tokio::test]
async fn the_api_says_what_there_is_to_ask() {
    let ui = plain().await;
    for path in ["/api/v1", "/api/v1/"] {
        let index = ui.curl(&[], path).await.json();
        let endpoints = index["endpoints"].as_array().unwrap();
        assert!(
            endpoints
                .iter()
                .any(|endpoint| endpoint["path"] == "messages" && endpoint["method"] == "POST"),
            "{index}"
        );
        let page = with(&ui, &["Accept: text/html,*/*"], &[], path).await;
        assert!(
            page.head.contains("content-type: text/html") && page.body.contains(">status</a>"),
            "{}",
            page.body
        );
    }
    assert!(ui.curl(&[], "/").await.body.contains("<a href=\"./api/v1/\">/api/v1</a>"));
}

/// The headers of a browser.
const BROWSER: [&str; 2] = ["--header", "Accept: text/html,application/xhtml+xml"];

#[tokio::test]
async fn whoever_is_refused_reads_on_a_page_what_to_do() {
    let numbers = plain().await;
    for (path, status, words) in [
        ("/queue", 403, "set username and password to see addresses"),
        ("/nowhere", 404, "not found"),
        ("/queue?limit=x", 403, "<a href=\"./\">Overview</a>"),
    ] {
        let reply = numbers.curl(&BROWSER, path).await;
        assert_eq!(reply.status, status, "{path}");
        assert!(
            reply.head.contains("content-type: text/html") && reply.body.contains(words),
            "{path}: {}",
            reply.body
        );
        assert!(
            reply.body.contains("assets/style.css") && !reply.body.contains(">Queue</a>"),
            "{path}: {}",
            reply.body
        );
        let program = numbers.curl(&[], path).await;
        assert!(
            program.status == status && program.body.starts_with(&format!("{status} ")),
            "{path}: {}",
            program.body
        );
    }
    let reply = numbers.curl(&BROWSER, "/api/v1/queue").await;
    assert!(reply.status == 403 && reply.json()["error"].is_string(), "{}", reply.body);
    let all = TestUi::open(troubled_queue(), None).await;
    let reply = all.curl(&BROWSER, "/queue/0000000000001").await;
    assert!(
        reply.status == 404 && reply.body.contains("<a href=\"../queue\">Queue</a>"),
        "{}",
        reply.body
    );
    let hostile = all.curl(&BROWSER, "/queue?%3Cscript%3E=1").await;
    assert!(hostile.status == 400 && !hostile.body.contains("<script>"), "{}", hostile.body);
}

#[tokio::test]
async fn whoever_has_not_logged_in_learns_nothing_but_how() {
    let ui = TestUi::open(troubled_queue(), Some(Login::new("operator", "s3cret"))).await;
    let reply = ui.curl(&BROWSER, "/queue").await;
    assert!(
        reply.status == 401 && reply.head.contains("www-authenticate: basic"),
        "{}",
        reply.head
    );
    assert!(
        reply.body.contains("MTA_USERNAME") && reply.body.contains("Reload this page"),
        "{}",
        reply.body
    );
    for told in ["mta.shop.example", env!("CARGO_PKG_VERSION"), "assets/"] {
        assert!(!reply.body.contains(told), "{told}: {}", reply.body);
    }
    let program = ui.curl(&[], "/queue").await;
    assert!(program.body.starts_with("401 a user name and password"), "{}", program.body);
}

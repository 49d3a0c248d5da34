//! The pages: alerts, sizes of pages, subjects, the HTML of a mail and its attachments, and the
//! logout.

use crate::admin::{deferred, message};
use crate::support::{HOSTILE, Reply, TestUi, access, troubled_queue};
use postern::http::Login;
use postern::http::access::Access;
use postern::mail::model::{Body, Deliveries, Destination, Message};

const LOGIN: [&str; 2] = ["--user", "operator:s3cret"];

/// A message with HTML and two attachments, the second without a name.
fn with_html() -> Message {
    let content = format!(
        "From: a@b\r\nSubject: {HOSTILE}\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; \
         boundary=x\r\n\r\n--x\r\nContent-Type: text/html\r\n\r\n<LINK rel=preconnect \
         href=//t.example><h1>Hi</h1><script>alert(1)</script>\r\n--x\r\nContent-Type: \
         text/html\r\nContent-Disposition: attachment; filename=\"../b\\\"ill.html\"\r\n\r\n\
         <script>alert(2)</script>\r\n--x\r\nContent-Type: \
         application/octet-stream\r\n\r\nraw\r\n--x--\r\n"
    );
    Message {
        body: Body::Memory(content.replace('\u{202e}', "").into()),
        ..message(77, 5, Some("a@b.example"), &["c@dead.example"])
    }
}

async fn with_login(message: Message) -> TestUi {
    TestUi::open([message], Some(Login::new("operator", "s3cret"))).await
}

fn policy(reply: &Reply) -> &str {
    let line =
        |name: &'static str| reply.head.lines().find_map(move |line| line.strip_prefix(name));
    line("content-security-policy: ").unwrap()
}

#[tokio::test]
async fn the_html_of_a_mail_is_a_document_that_may_do_nothing() {
    let ui = with_login(with_html()).await;
    let page = ui.curl(&LOGIN, "/queue/000000000002D").await;
    assert!(
        page.body.contains("<iframe sandbox=\"\" src=\"../queue/000000000002D/html\""),
        "{}",
        page.body
    );
    assert!(policy(&page).contains("frame-src 'self'") && !page.body.contains("<script>alert"));
    let html = ui.curl(&LOGIN, "/queue/000000000002D/html").await;
    assert!(html.body.contains("<h1>Hi</h1><template>alert(1)</template>"), "{}", html.body);
    assert!(html.body.starts_with("<x-LINK rel=preconnect"), "{}", html.body);
    for rule in [
        "default-src 'none'",
        "style-src 'unsafe-inline'",
        "img-src data:",
        "form-action 'none'",
        "frame-ancestors 'self'",
    ] {
        assert!(policy(&html).contains(rule), "{rule}: {}", html.head);
    }
    assert!(policy(&html).ends_with("; sandbox"), "without a word of what is allowed");
    assert!(!policy(&html).contains("script-src"), "{}", html.head);
    for header in ["x-frame-options: sameorigin", "referrer-policy: no-referrer", "nosniff"] {
        assert!(html.head.contains(header), "{header}: {}", html.head);
    }
    let text = ui.curl(&LOGIN, "/api/v1/queue/000000000002D/text").await.json();
    assert_eq!(text["has_html"], true);
}

#[tokio::test]
async fn an_attachment_is_a_file_to_keep_whatever_it_calls_itself() {
    let ui = with_login(with_html()).await;
    let page = ui.curl(&LOGIN, "/queue/000000000002D").await.body;
    assert!(page.contains("href=\"../queue/000000000002D/attachment?n=1\""), "{page}");
    let file = ui.curl(&LOGIN, "/queue/000000000002D/attachment?n=0").await;
    assert_eq!((file.status, file.body.as_str()), (200, "<script>alert(2)</script>"));
    for header in [
        "content-type: application/octet-stream",
        "content-disposition: attachment; filename=\"b_ill.html\"; filename*=utf-8''b%22ill.html",
        "x-content-type-options: nosniff",
        "; sandbox",
    ] {
        assert!(file.head.contains(header), "{header}: {}", file.head);
    }
    let file = ui.curl(&LOGIN, "/queue/000000000002D/attachment?n=1").await;
    assert!(file.body == "raw" && file.head.contains("filename=\"attachment\""), "{}", file.head);
    for (query, status) in [("?n=2", 404), ("?n=-1", 400), ("", 400), ("?n=0&x", 400)] {
        let path = format!("/queue/000000000002D/attachment{query}");
        assert_eq!(ui.curl(&LOGIN, &path).await.status, status, "{query}");
    }
}

#[tokio::test]
async fn contents_are_for_those_who_are_known() {
    let public = TestUi::open([with_html()], None).await;
    for path in ["/queue/000000000002D/html", "/queue/000000000002D/attachment?n=0"] {
        assert_eq!(public.curl(&[], path).await.status, 403, "{path}");
    }
    assert!(!public.curl(&[], "/queue/000000000002D").await.body.contains("<iframe"));
    let plain = with_login(message(77, 5, None, &["a@b.example"])).await;
    assert_eq!(plain.curl(&LOGIN, "/queue/000000000002D/html").await.status, 404);
    assert!(!plain.curl(&LOGIN, "/queue/000000000002D").await.body.contains("<iframe"));
}

#[tokio::test]
async fn the_first_line_says_whether_all_is_well() {
    let well = TestUi::open([], None).await.curl(&[], "/").await.body;
    assert!(well.contains("All well") && well.contains("accepting mail"), "{well}");
    let ui = TestUi::open(troubled_queue(), None).await;
    let page = ui.curl(&[], "/").await.body;
    assert!(!page.contains("All well") && page.contains("href=\"./queue?older=1d\""), "{page}");
    for name in [
        "Queued messages",
        "Delivery success, last hour",
        "Mqueue Messages</dt><dd>234",
        "Mqueue Kbytes",
        "SMTP Active Sessions",
        "2 not connected",
    ] {
        assert!(page.contains(name), "{name}: {page}");
    }
}

#[tokio::test]
async fn the_queue_shows_subjects_and_as_many_messages_as_are_wanted() {
    let ui = TestUi::open(troubled_queue(), None).await;
    let rows =
        |page: &str| page.matches("name=\"ids\"").count() + page.matches("class=\"id\"").count();
    for (query, number) in [("", 50), ("limit=25", 25), ("limit=200", 200), ("limit=500", 50)] {
        let page = ui.curl(&[], &format!("/queue?{query}")).await.body;
        assert_eq!(rows(&page), number, "{query}");
        assert!(page.contains("class=\"about\">Message "), "{page}");
    }
    let page = ui.curl(&[], "/queue?limit=25&sender=orders%40").await.body;
    assert!(page.contains("queue?sender=orders%40&#38;limit=25&#38;after="), "{page}");
    for size in ["", "?limit=25"] {
        assert_eq!(ui.curl(&[], &format!("/history{size}")).await.status, 200);
    }
    let hostile = TestUi::open([with_html()], None).await.curl(&[], "/queue").await.body;
    assert!(
        hostile.contains("&#60;script&#62;") && !hostile.contains("<script>alert"),
        "{hostile}"
    );
}

#[tokio::test]
async fn each_next_hop_tells_how_deliveries_went() {
    let ui = TestUi::open(troubled_queue(), None).await;
    let deliveries = |name: &str, counts: (u64, u64, u64), tls: &str| Deliveries {
        destination: Destination::domain(name).unwrap(),
        delivered: counts.0,
        deferred: counts.1,
        bounced: counts.2,
        p50_seconds: Some(0.02),
        p99_seconds: Some(1.5),
        relay: format!("mx.{name}[192.0.2.1]:25"),
        tls: tls.into(),
        last_error: HOSTILE.into(),
        failed_at: 1_700_000_000,
        last: 1_700_000_000,
    };
    let well = deliveries("well.example", (97, 2, 1), "TLSv1.3 with x");
    *ui.admin.deliveries.lock().unwrap() = vec![well, deliveries("full.example", (0, 9, 0), "")];
    let page = ui.curl(&[], "/destinations").await.body;
    for words in [
        ">97.0 %<",
        ">2.0 %<",
        ">1.0 %<",
        "p50 20 ms",
        "p99 1.5 s",
        "Last host mx.well.example[192.0.2.1]:25, TLSv1.3 with x",
        "mx.full.example[192.0.2.1]:25, without TLS",
        "<span class=\"state deferred\">deferred</span>",
        "slow-and-sorry.example",
    ] {
        assert!(page.contains(words), "{words}: {page}");
    }
    assert!(page.contains("&#60;script&#62;") && !page.contains("<script>alert"), "{page}");
    let view = ui.curl(&[], "/api/v1/deliveries").await.json();
    assert_eq!((&view["hours"], &view["destinations"][0]["delivered"]), (&24.into(), &97.into()));
    assert!(view["destinations"][1]["last_error_time"].as_str().unwrap().starts_with("2023-11-1"));
    let numbers = TestUi::open_with([], Access { public: false, ..access(None) }).await;
    for path in ["/destinations", "/api/v1/deliveries"] {
        assert_eq!(numbers.curl(&[], path).await.status, 403, "{path}");
    }
}

#[tokio::test]
async fn whoever_logs_out_is_asked_again_and_has_guessed_nothing() {
    let ui = with_login(deferred(with_html(), 1, 60, "450 no")).await;
    let page = ui.curl(&LOGIN, "/queue").await.body;
    assert!(page.contains("href=\"./logout\""), "{page}");
    for _ in 0..9 {
        let browser = [&LOGIN[..], &["--header", "Accept: text/html"]].concat();
        let out = ui.curl(&browser, "/logout").await;
        assert!(out.status == 401 && out.body.contains("Logged out"), "{}", out.body);
        assert!(out.head.contains("www-authenticate: basic"), "{}", out.head);
        assert!(out.head.contains("clear-site-data: \"cookies\""), "{}", out.head);
    }
    assert_eq!(ui.curl(&LOGIN, "/queue").await.status, 200, "none of it was a wrong password");
    let open = TestUi::open([], None).await.curl(&[], "/").await.body;
    assert!(!open.contains("logout"), "{open}");
}

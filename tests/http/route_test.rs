//! Route tests by page, API and tool: each result, and who has the right to make them.

use crate::support::{HOSTILE, TestUi, access};
use clap::Parser;
use postern::cli::route::{RouteArgs, run_to};
use postern::http::Login;
use postern::http::access::Access;
use postern::http::token::Token;
use postern::mail::model::{
    ClientVerdict, Destination, DestinationStatus, HostLookup, HostUse, MailHost, Reply, Route,
    RouteError, RouteReport, RouteTrace, TargetReport, TracedHost,
};
use serde_json::json;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

const LOGIN: [&str; 2] = ["--user", "operator:s3cret"];

fn login() -> Login {
    Login::new("operator", "s3cret")
}

#[derive(Parser)]
struct Tool {
    #[command(flatten)]
    route: RouteArgs,
}

/// Exit code, standard output, standard error of `postern route …`.
async fn tool(socket: &Path, arguments: &[&str]) -> (u8, String, String) {
    let words = ["postern route", "--socket", socket.to_str().unwrap()].into_iter();
    let tool = Tool::try_parse_from(words.chain(arguments.iter().copied()));
    let tool = tool.unwrap_or_else(|error| panic!("{error}"));
    let (mut out, mut complaints) = (Vec::new(), Vec::new());
    let done = tokio::task::spawn_blocking(move || {
        let code = run_to(tool.route, &mut out, &mut complaints);
        (code, String::from_utf8(out).unwrap(), String::from_utf8(complaints).unwrap())
    });
    done.await.unwrap()
}

fn host(preference: u16, host: &str, used: HostUse) -> TracedHost {
    let addresses: Vec<SocketAddr> = match used {
        HostUse::Used => vec!["[2001:db8::1]:25", "192.0.2.1:25"],
        HostUse::ThisHost => vec!["192.0.2.99:25"],
        _ => vec![],
    }
    .into_iter()
    .map(|text| text.parse().unwrap())
    .collect();
    TracedHost { preference: Some(preference), host: host.to_owned(), addresses, used }
}

fn target(name: &str, lookup: HostLookup, hosts: Vec<TracedHost>) -> TargetReport {
    let destination = Destination::domain(name).unwrap();
    let used = hosts.iter().filter(|host| host.used == HostUse::Used);
    let hops = used.map(|host| MailHost {
        host: host.host.clone(),
        addresses: host.addresses.clone(),
        upstream: None,
    });
    TargetReport {
        route: Ok(Route { destination: destination.clone(), hosts: hops.collect(), shared: false }),
        destination,
        trace: RouteTrace { lookup: Some(lookup), hosts },
        tls: "opportunistic",
        status: DestinationStatus { window: 5, limit: 20, ..DestinationStatus::default() },
    }
}

/// A relay that accepts the message and has a route for it.
fn good() -> RouteReport {
    let hosts = vec![
        host(10, "mx1.there.example", HostUse::Used),
        host(20, "mx2.there.example", HostUse::ThisHost),
        host(30, "mx3.there.example", HostUse::NotPreferred),
        host(40, HOSTILE, HostUse::Unanswered(HOSTILE.to_owned())),
    ];
    RouteReport {
        client: Some(ClientVerdict {
            address: "10.0.0.7".parse().unwrap(),
            network: Some("10.0.0.0/8".parse().unwrap()),
            reply: Ok(()),
        }),
        queue: Ok(()),
        redirected: false,
        targets: vec![target("there.example", HostLookup::Mx(4), hosts)],
    }
}

/// One that refuses the client, and whose destination takes no mail.
fn bad() -> RouteReport {
    let denied = "<a@null.example>: Relay access denied; [192.0.2.9] is not in \
    smtpd_trusted_networks of this relay";
    let null = Reply::new(556, (5, 1, 10), "null.example accepts no mail at all");
    RouteReport {
        client: Some(ClientVerdict {
            address: "192.0.2.9".parse().unwrap(),
            network: None,
            reply: Err(Reply::new(554, (5, 7, 1), denied)),
        }),
        queue: Ok(()),
        redirected: false,
        targets: vec![TargetReport {
            route: Err(RouteError(null)),
            status: DestinationStatus {
                suspended_until: Some(postern::ground::clock::now() + 90),
                unreachable_since: Some(postern::ground::clock::now() - 600),
                messages: 3,
                window: 1,
                limit: 20,
                last_error: HOSTILE.to_owned(),
                ..DestinationStatus::default()
            },
            ..target("null.example", HostLookup::NullMx, Vec::new())
        }],
    }
}

#[tokio::test]
async fn a_mail_that_goes_is_told_with_its_hosts() {
    let ui = TestUi::open([], Some(login())).await;
    *ui.admin.route.lock().unwrap() = Some(good());
    let query = "to=a@there.example&from=b@here.example&client=10.0.0.7";
    let told = ui.curl(&LOGIN, &format!("/api/v1/route?{query}")).await.json();
    let asked = ui.admin.questions.lock().unwrap().pop().unwrap();
    assert_eq!(asked.from.unwrap().as_str(), "b@here.example");
    assert_eq!(
        told["client"],
        json!({"address": "10.0.0.7", "may_send": true, "network": "10.0.0.0/8", "reply": null})
    );
    let target = &told["targets"][0];
    assert_eq!((&target["rule"], &target["lookup"]), (&json!("domain"), &json!("mx")));
    assert_eq!((&target["mx_records"], &target["error"]), (&json!(4), &json!(null)));
    assert_eq!(
        target["hosts"][0],
        json!({
            "host": "mx1.there.example", "preference": 10, "used": "used", "cause": null,
            "addresses": ["[2001:db8::1]:25", "192.0.2.1:25"],
        })
    );
    assert_eq!(target["hosts"][1]["used"], "this_host");
    assert_eq!(target["hosts"][3]["cause"], HOSTILE);
    assert_eq!(target["status"]["window"], 5);
    let page = ui.curl(&LOGIN, &format!("/route?{query}")).await.body;
    for words in [
        "This message would be accepted and go to there.example.",
        "10.0.0.7 may send this: 10.0.0.0/8 in smtpd_trusted_networks applies",
        "[2001:db8::1]:25, 192.0.2.1:25",
        "this is this relay itself",
        "its preference is no better than that of this relay",
        "mail is sent at once; 0 messages queued, 0 of 5 connections open (at most 20)",
        "value=\"b@here.example\"",
        "api/v1/route?to=a%40there.example&",
    ] {
        assert!(page.contains(words), "{words} is missing in\n{page}");
    }
    assert!(!page.contains("<script>alert") && !page.contains("<img"), "{page}");
    let (code, out, _) = tool(&ui.socket, &["a@there.example", "--client", "10.0.0.7"]).await;
    assert_eq!(code, 0, "{out}");
    for words in [
        "Client       10.0.0.7 may send this: 10.0.0.0/8 in smtpd_trusted_networks applies\n",
        "Destination  there.example, by the domain of the recipient\n",
        "Host         10 mx1.there.example [2001:db8::1]:25, 192.0.2.1:25\n",
        "Host         20 mx2.there.example (not used: this is this relay itself) 192.0.2.99:25\n",
    ] {
        assert!(out.contains(words), "{words} is missing in\n{out}");
    }
    assert!(!out.contains('\u{202e}'), "{out}");
}

#[tokio::test]
async fn what_goes_wrong_is_told_first() {
    let ui = TestUi::open([], Some(login())).await;
    *ui.admin.route.lock().unwrap() = Some(bad());
    let query = "to=a@null.example&client=192.0.2.9";
    let told = ui.curl(&LOGIN, &format!("/api/v1/route?{query}")).await.json();
    assert_eq!(told["client"]["may_send"], false);
    let target = &told["targets"][0];
    assert_eq!(target["error"], "556 5.1.10 null.example accepts no mail at all");
    assert_eq!(target["lookup"], "null_mx");
    assert!((85..=90).contains(&target["status"]["suspended_seconds"].as_u64().unwrap()));
    let page = ui.curl(&LOGIN, &format!("/route?{query}")).await.body;
    let denied = page.find("192.0.2.9 may not send this: 554 5.7.1 &#60;a@null.example&#62;");
    let none = page.find("No route to null.example: 556 5.1.10");
    let details = page.find("May it be sent?");
    assert!(denied.is_some() && denied < none && none < details, "{page}");
    assert!(page.contains("<span class=\"state bad\">unreachable</span>"), "{page}");
    assert!(!page.contains("<script>alert") && !page.contains("would go"), "{page}");
    let (code, out, _) = tool(&ui.socket, &["a@null.example", "--client", "192.0.2.9"]).await;
    assert!(code == 1 && out.contains("Error        556 5.1.10 null.example"), "{code} {out}");
    let (code, out, _) = tool(&ui.socket, &["--json", "a@null.example"]).await;
    let out: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &out["targets"][0]["lookup"]), (1, &json!("null_mx")));
}

#[tokio::test]
async fn what_waits_for_its_destination_is_told() {
    let ui = TestUi::open([], Some(login())).await;
    let mut report = good();
    report.targets[0].status.paused = true;
    *ui.admin.route.lock().unwrap() = Some(report);
    let page = ui.curl(&LOGIN, "/route?to=a@there.example").await.body;
    let waits = page.find("Mail for there.example waits: an operator has paused delivery");
    assert!(
        waits.is_some() && waits < page.find("go to there.example (but waits: paused)."),
        "{page}"
    );
    let told = ui.curl(&LOGIN, "/api/v1/route?to=a@there.example").await.json();
    assert_eq!(told["targets"][0]["status"]["paused"], true);
    let (code, out, _) = tool(&ui.socket, &["a@there.example"]).await;
    assert!(code == 0 && out.contains("an operator has paused delivery; mail waits"), "{out}");
}

#[tokio::test]
async fn a_question_that_makes_no_sense_is_answered_with_what_to_write() {
    let ui = TestUi::open([], Some(login())).await;
    for (query, words) in [
        ("", "to: the recipient is missing"),
        ("to=a%20b@c.example", "to: this is not a mailbox"),
        ("to=a@b.example&client=mx.example", "client: an IP address is expected"),
        ("to=a@b.example&to=a@b.example", "to: once is enough"),
        ("to=a@b.example&x=1", "known parameters are to, from, client"),
    ] {
        let reply = ui.curl(&LOGIN, &format!("/api/v1/route?{query}")).await;
        assert_eq!(reply.status, 400, "{query}");
        let told = reply.json()["error"].as_str().unwrap().to_owned();
        assert!(told.starts_with(words), "{query}: {told}");
    }
    // The page keeps what was written.
    let page = ui.curl(&LOGIN, "/route?to=a@b.example&client=mx.example").await;
    assert!(page.status == 200 && page.body.contains("value=\"mx.example\""), "{}", page.body);
    assert!(
        page.body.contains("<p class=\"alert bad\" role=\"alert\">client: an IP"),
        "{}",
        page.body
    );
    let page = ui.curl(&LOGIN, "/route").await.body;
    assert!(page.contains("Test route") && !page.contains("role=\"alert\""), "{page}");
    let (code, _, told) = tool(&ui.socket, &["a@b.example", "--client", "mx.example"]).await;
    assert!(code == 64 && told.starts_with("postern route: client: an IP address"), "{told}");
    assert!(ui.admin.questions.lock().unwrap().is_empty());
}

#[tokio::test]
async fn mail_that_the_queue_refuses_is_not_told_as_going() {
    let ui = TestUi::open([], Some(login())).await;
    let mut full = good();
    full.client = None;
    full.queue = Err(Reply::new(452, (4, 3, 1), "The queue cannot accept mail at the moment"));
    *ui.admin.route.lock().unwrap() = Some(full);
    let (code, out, _) = tool(&ui.socket, &["a@there.example"]).await;
    assert!(
        code == 1 && out.contains("Queue        accepts no mail: 452 4.3.1 The queue"),
        "{out}"
    );
    let page = ui.curl(&LOGIN, "/route?to=a@there.example").await.body;
    assert!(page.contains("The queue accepts no mail: 452 4.3.1") && !page.contains("would go"));
    let told = ui.curl(&LOGIN, "/api/v1/route?to=a@there.example").await.json();
    assert_eq!(told["queue_reply"], "452 4.3.1 The queue cannot accept mail at the moment");
}

#[tokio::test]
async fn the_login_and_the_tokens_are_asked_who_may_send() {
    let token = || Token::new("shop", "{PLAIN}t0ken").unwrap();
    let tokens = vec![token().limited(vec!["shop.example".to_owned()], Vec::new(), None)];
    let rules = Access { tokens, read_only: true, ..access(Some(login())) };
    let ui = TestUi::open_with([], rules).await;
    let told = ui.curl(&LOGIN, "/api/v1/route?to=a@there.example").await.json();
    let [by_login, by_token] = [0, 1].map(|place| &told["accounts"][place]);
    assert_eq!((&by_login["token"], &by_login["may_send"]), (&json!(null), &json!(false)));
    let reason = by_login["reason"].as_str().unwrap();
    assert!(reason.contains("ui_read_only=yes"), "{reason}");
    assert_eq!((&by_token["token"], &by_token["may_send"]), (&json!("shop"), &json!(false)));
    let page = ui.curl(&LOGIN, "/route?to=a@there.example&from=a@shop.example").await.body;
    for words in [
        "<span class=\"state bad\">no</span> with the login: this server is read-only",
        "<span class=\"state active\">yes</span> with the token &#39;shop&#39;",
    ] {
        assert!(page.contains(words), "{words} is missing in\n{page}");
    }
    let (_, out, _) = tool(&ui.socket, &["a@there.example"]).await;
    for words in [
        "HTTP         may not be sent with the login: this server is read-only",
        "HTTP         may not be sent with the token 'shop': the token 'shop' may not send as <>",
    ] {
        assert!(out.contains(words), "{words} is missing in\n{out}");
    }
    let nobody = TestUi::open_with([], access(None)).await;
    let (_, out, _) = tool(&nobody.socket, &["a@there.example"]).await;
    assert!(out.contains("HTTP         nobody may send by HTTP: neither username"), "{out}");
}

#[tokio::test]
async fn a_route_test_takes_a_login_and_a_page_of_this_server() {
    let tokens = || vec![Token::new("shop", "{PLAIN}t0ken").unwrap()];
    for (rules, user, status) in [
        (access(None), "", 403),
        (Access { public: false, ..access(None) }, "", 403),
        (access(Some(login())), "", 401),
        (Access { tokens: tokens(), ..access(Some(login())) }, "shop:t0ken", 403),
        (Access { read_only: true, ..access(Some(login())) }, "operator:s3cret", 200),
    ] {
        let ui = TestUi::open_with([], rules).await;
        let user = if user.is_empty() { vec![] } else { vec!["--user", user] };
        let dkim = ["/dkim", "/dkim?check=yes", "/api/v1/dkim", "/api/v1/dkim?check=yes"];
        for path in ["/route?to=a@b.example", "/api/v1/route?to=a@b.example"].iter().chain(&dkim) {
            assert_eq!(ui.curl(&user, path).await.status, status, "{path} {user:?}");
        }
        assert_eq!(ui.admin.questions.lock().unwrap().is_empty(), status != 200);
    }
    let ui = TestUi::open([], Some(login())).await;
    for (site, path, status) in [
        ("cross-site", "/route?to=a@b.example", 403),
        ("cross-site", "/api/v1/route?to=a@b.example", 403),
        ("same-site", "/route?to=a@b.example", 403),
        ("cross-site", "/dkim?check=yes", 403),
        // A link to the form.
        ("cross-site", "/route", 200),
        ("same-origin", "/route?to=a@b.example", 200),
    ] {
        let from = format!("Sec-Fetch-Site: {site}");
        let asked = ui.curl(&["--user", "operator:s3cret", "--header", &from], path).await;
        assert_eq!(asked.status, status, "{site} {path}");
    }
    assert_eq!(ui.admin.questions.lock().unwrap().len(), 1);
    assert_eq!(ui.http_counters.http_refused_total.with_label_values(&["origin"]).get(), 4);
}

#[tokio::test]
async fn a_visitor_may_ask_one_thing_at_a_time() {
    let ui = TestUi::open([], Some(login())).await;
    ui.admin.slow_route(Duration::from_millis(600));
    let began = Instant::now();
    let ask = || ui.curl(&LOGIN, "/api/v1/route?to=a@b.example");
    let (first, second) = tokio::join!(ask(), ask());
    assert_eq!((first.status, second.status), (200, 200));
    assert!(began.elapsed() >= Duration::from_millis(1200), "{:?}", began.elapsed());
    // Too many of one visitor are refused and counted, and not as searches.
    let all = tokio::join!(ask(), ask(), ask(), ask(), ask(), ask());
    let all = [all.0, all.1, all.2, all.3, all.4, all.5];
    assert!(all.iter().any(|reply| reply.status == 429 && reply.body.contains("route tests")));
    let refused = |reason| ui.http_counters.http_refused_total.with_label_values(&[reason]).get();
    assert!(refused("route_test") >= 2 && refused("search") == 0);
    // A lookup that hangs stops no search.
    ui.admin.slow_route(Duration::from_secs(4));
    let began = Instant::now();
    let search = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let reply = ui.curl(&LOGIN, "/api/v1/queue?search=x").await;
        (reply.status, began.elapsed())
    };
    let (_, _, (status, took)) = tokio::join!(ask(), ask(), search);
    assert!(status == 200 && took < Duration::from_secs(3), "{status} {took:?}");
}

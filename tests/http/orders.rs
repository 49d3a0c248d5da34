//! The control socket, and the operator's tool as its client.

use crate::admin::{LINE, message};
use crate::support::{HOSTILE, TestUi, access, curl, troubled_queue};
use clap::Parser;
use postern::cli::{QueueArgs, run_to};
use postern::http::Login;
use postern::http::access::Access;
use postern::http::token::Token;
use postern::volumes::Directories;
use serde_json::Value;
use std::path::Path;
use std::sync::atomic::Ordering;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

#[derive(Parser)]
struct Tool {
    #[command(flatten)]
    queue: QueueArgs,
}

/// Exit code, standard output, standard error of `postern queue …`.
pub async fn queue(socket: &Path, arguments: &str) -> (u8, String, String) {
    let words = ["postern queue", "--socket", socket.to_str().unwrap()]
        .into_iter()
        .chain(arguments.split_whitespace());
    let tool = Tool::try_parse_from(words).unwrap_or_else(|error| panic!("{error}"));
    let (mut out, mut complaints) = (Vec::new(), Vec::new());
    let done = tokio::task::spawn_blocking(move || {
        let code = run_to(tool.queue, &Directories, &mut out, &mut complaints);
        (code, String::from_utf8(out).unwrap(), String::from_utf8(complaints).unwrap())
    });
    done.await.unwrap()
}

#[tokio::test]
async fn orders_reach_the_queue_through_the_control_socket() {
    let ui = TestUi::open(troubled_queue(), None).await;
    let order = async |text: &str| ui.curl_control(&["--data", text], "/api/v1/orders").await;
    let reply = order(r#"{"order":"hold","domain":"DEAD.example"}"#).await;
    assert_eq!((reply.status, reply.json()["messages"].as_u64()), (200, Some(61)));
    assert_eq!(ui.curl(&[], "/api/v1/status").await.json()["queue"]["held"], 62);
    assert_eq!(order(r#"{"order":"release","all":true}"#).await.json()["messages"], 234);
    assert_eq!(order(r#"{"order":"retry","id":"0000000000010"}"#).await.status, 404);
    for bad in ["", "x", "{}", r#"{"order":"delete"}"#, r#"{"order":"melt","all":true}"#] {
        let reply = ui.curl_control(&["--data", bad], "/api/v1/orders").await;
        assert_eq!(reply.status, 400, "{bad}");
        assert!(reply.json()["error"].is_string());
    }
    let long = format!(r#"{{"order":"delete","domain":"{}"}}"#, "x".repeat(70_000));
    assert_eq!(ui.curl_control(&["--data", &long], "/api/v1/orders").await.status, 413);
    assert_eq!(ui.curl_control(&[], "/api/v1/orders").await.status, 405);
    assert_eq!(ui.admin.len(), 234);
    assert_eq!(order(r#"{"order":"delete","all":true}"#).await.json()["messages"], 234);
    assert_eq!(ui.admin.len(), 0);
}

#[tokio::test]
async fn a_retry_tells_what_is_not_tried() {
    let ui = TestUi::open((1..=5).map(|id| message(id, 60, None, &["a@b.example"])), None).await;
    let said = async |arguments: &str| queue(&ui.socket, arguments).await.1;
    said("hold 0000000000001").await;
    let words = said("retry --all --yes").await;
    assert!(
        words.starts_with("4 messages will be retried now.\nNote: 1 message not retried: held, or"),
        "{words}"
    );
    said("pause b.example").await;
    assert!(said("retry --all --yes").await.starts_with("Note: 5 messages not retried"));
    let hit: Value = serde_json::from_str(&said("--json retry 0000000000002").await).unwrap();
    assert_eq!(hit, serde_json::json!({"messages": 1, "untried": 1}));
}

#[test]
fn no_listing_is_of_nothing() {
    for arguments in ["list --limit 0", "history --limit 0"] {
        let words = ["postern queue"].into_iter().chain(arguments.split_whitespace());
        assert!(Tool::try_parse_from(words).is_err(), "{arguments}");
    }
}

#[tokio::test]
async fn what_nobody_waits_for_any_more_is_not_done() {
    let ui = TestUi::open((1..=5).map(|id| message(id, 60, None, &["a@b.example"])), None).await;
    let text = r#"{"order":"delete","all":true}"#;
    let request =
        format!("POST /api/v1/orders HTTP/1.0\r\nContent-Length: {}\r\n\r\n{text}", text.len());
    // The server runs only after this: the tool has disconnected before its order is read, as when
    // the core was stopped.
    let mut tool = std::os::unix::net::UnixStream::connect(&ui.socket).unwrap();
    std::io::Write::write_all(&mut tool, request.as_bytes()).unwrap();
    drop(tool);
    for _ in 0..3 {
        assert_eq!(ui.curl_control(&[], "/api/v1/status").await.status, 200);
    }
    assert_eq!((ui.admin.len(), ui.admin.askers.lock().unwrap().len()), (5, 0));
    // A client that has only closed its half waits for the answer.
    let mut tool = UnixStream::connect(&ui.socket).await.unwrap();
    tool.write_all(request.as_bytes()).await.unwrap();
    tool.shutdown().await.unwrap();
    let mut answer = String::new();
    tool.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains(" 200 ") && ui.admin.len() == 0, "{answer}");
}

#[tokio::test]
async fn contents_are_for_those_who_are_known() {
    let ui = TestUi::open(troubled_queue(), None).await;
    let queue_page = ui.curl(&[], "/api/v1/queue?limit=500").await.json();
    let id = |size: fn(u64) -> bool| {
        let messages = queue_page["messages"].as_array().unwrap();
        let found =
            messages.iter().find(|message| size(message["size_bytes"].as_u64().unwrap())).unwrap();
        found["id"].as_str().unwrap().to_owned()
    };
    let (small, large) = (id(|size| size < 1000), id(|size| size > 1_000_000));
    assert_eq!(ui.curl(&[], &format!("/api/v1/queue/{small}/body")).await.status, 403);
    let reply = ui.curl_control(&[], &format!("/api/v1/queue/{small}/body")).await;
    assert!(
        reply.head.contains("content-type: message/rfc822")
            && reply.body.starts_with("Subject: Message "),
        "{}",
        reply.body
    );
    let reply = ui.curl_control(&[], &format!("/api/v1/queue/{large}/body")).await;
    assert_eq!(reply.body.len(), 26_214_400);
    assert!(reply.body.as_bytes().chunks(LINE.len()).all(|line| LINE.starts_with(line)));
    let (code, body, _) = queue(&ui.socket, &format!("body {large}")).await;
    assert!(code == 0 && body == reply.body, "{code}, {} octets", body.len());
    let (_, json, _) = queue(&ui.socket, &format!("body {large} --json")).await;
    let value: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value["id"], large);
    assert_eq!(value["content_base64"].as_str().unwrap().len(), 26_214_400_usize.div_ceil(3) * 4);
    // A reader that disconnects in the middle has no effect.
    let mut reader = UnixStream::connect(&ui.socket).await.unwrap();
    reader
        .write_all(format!("GET /api/v1/queue/{large}/body HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut start = vec![0; 100_000];
    reader.read_exact(&mut start).await.unwrap();
    drop(reader);
    assert_eq!(ui.curl_control(&[], &format!("/api/v1/queue/{small}/body")).await.status, 200);
}

#[tokio::test]
async fn the_tool_lists_for_people_and_for_programs() {
    let ui = TestUi::open(troubled_queue(), None).await;
    let (code, text, complaints) = queue(&ui.socket, "list").await;
    assert_eq!((code, complaints.as_str()), (0, ""));
    assert!(text.starts_with("ID ") && text.ends_with("234 messages.\n"), "{text}");
    assert!(
        text.contains("  1 d 1 h ")
            && text.contains(" in 1")
            && text.contains(" <> ")
            && text.contains(" held "),
        "{text}"
    );
    assert!(text.contains("friend0@example.org +1"), "{text}");
    assert!(
        text.contains("<script>") && !text.contains('\u{202e}'),
        "a terminal is no browser, but it can be turned around"
    );
    let ids: Vec<usize> =
        text.lines().skip(1).take(234).map(|line| line.find("  ").unwrap()).collect();
    assert!(ids.iter().all(|column| *column == 13), "columns are aligned");
    let (_, json, _) = queue(&ui.socket, "list --json").await;
    let rows: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 234);

    for (arguments, end) in [
        ("list --limit 1", "\n1 of 234 messages.\n"),
        ("list --limit 234", "\n234 messages.\n"),
        ("list --limit 1 --recipient example", "\n1 message; there are more, see --limit.\n"),
        ("list --limit 1 --recipient victim@hostile.example", "\n1 message.\n"),
    ] {
        let (_, text, _) = queue(&ui.socket, arguments).await;
        assert!(text.ends_with(end), "{arguments}: {text}");
    }

    let id = rows.iter().find(|row| row["recipients"][0]["last_reply"] == HOSTILE).unwrap()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let (code, text, _) = queue(&ui.socket, &format!("show {id}")).await;
    assert!(
        code == 0
            && text.contains("victim@hostile.example")
            && text.contains("Subject      Message "),
        "{text}"
    );
    assert!(!text.contains('\u{202e}'));
    let (_, json, _) = queue(&ui.socket, &format!("--json show {id}")).await;
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["id"], id);

    let (code, text, _) = queue(&ui.socket, "stats").await;
    assert!(!text.contains("Turned away"), "{text}");
    for (label, number) in [("strangers", 1200), ("address", 3), ("early", 2)] {
        ui.counters.accept.sessions_refused_total.with_label_values(&[label]).inc_by(number);
    }
    let (_, crowded, _) = queue(&ui.socket, "stats").await;
    let told = "\nTurned away 1,205 clients (3 over the limit for one address, 2 sent before the \
    greeting, 1,200 over the limit for unknown clients)\n";
    assert!(crowded.contains(told), "{crowded}");
    assert!(
        code == 0 && text.contains("234 messages") && text.contains("slow-and-sorry.example"),
        "{text}"
    );
    let (_, json, _) = queue(&ui.socket, "stats --json").await;
    let stats: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&stats["queue"]["messages"], &stats["destinations"][0]["messages"]),
        (&234.into(), &143.into())
    );
}

#[tokio::test]
async fn the_tool_gives_orders() {
    let ui = TestUi::open((1..=5).map(|id| message(id, 60, None, &["a@b.example"])), None).await;
    let id = "0000000000001";
    let held = "2 messages will be retried now.\nNote: 2 messages not retried: held, or for a \
    paused destination; use 'postern queue release' or 'postern queue resume'.\n";
    for (arguments, words) in [
        (format!("retry {id}"), "1 message will be retried now.\n"),
        (format!("hold {id} 0000000000002"), "2 messages held.\n"),
        (format!("retry {id} {id} 0000000000002 {id} 0000000000003 0000000000004"), held),
        (format!("release {id} 0000000000002"), "2 messages released.\n"),
        ("hold --domain b.example --yes".to_owned(), "5 messages held.\n"),
        ("release --all --yes".to_owned(), "5 messages released.\n"),
        (
            "delete --recipient a@ --dry-run".to_owned(),
            "5 messages would be affected; nothing was done.\n",
        ),
        ("hold --recipient nobody@".to_owned(), "0 messages held.\n"),
        ("pause b.example".to_owned(), "Delivery to b.example is paused.\n"),
        (
            "pause b.example".to_owned(),
            "Note: b.example was already paused, until you resume it.\n",
        ),
        ("resume b.example".to_owned(), "Delivery to b.example is resumed.\n"),
        ("resume b.example".to_owned(), "Note: b.example was not paused; nothing has changed.\n"),
        (
            "pause c.example".to_owned(),
            "Note: no mail is queued for c.example now; new mail for it will wait until you \
            resume it.\n",
        ),
        (format!("delete {id}"), "1 message deleted.\n"),
        ("retry --domain elsewhere.example".to_owned(), "0 messages will be retried now.\n"),
        ("retry --all --json --yes".to_owned(), "{\"messages\":4}\n"),
        ("delete --all --yes".to_owned(), "4 messages deleted.\n"),
        ("list".to_owned(), "The queue is empty.\n"),
    ] {
        let (code, out, complaints) = queue(&ui.socket, &arguments).await;
        assert_eq!((code, out.as_str(), complaints.as_str()), (0, words, ""), "{arguments}");
    }
    for (order, done) in [("hold", "held"), ("retry", "will be retried now"), ("delete", "deleted")]
    {
        let ui = TestUi::open([message(2, 60, None, &["a@b.example"])], None).await;
        let (code, out, complaints) =
            queue(&ui.socket, &format!("{order} {id} 0000000000002 0000000000009")).await;
        assert_eq!((code, out), (66, format!("1 message {done}.\n")), "{order}: {complaints}");
        assert!(
            complaints.contains("not in the queue: 0000000000001, 0000000000009"),
            "{order}: {complaints}"
        );
    }
    let askers = ui.admin.askers.lock().unwrap();
    assert!(
        askers.len() >= 8
            && askers
                .iter()
                .all(|principal| principal.user == "operator" && principal.address.is_none())
    );
}

#[tokio::test]
async fn the_tool_says_what_is_wrong_and_what_to_do() {
    let ui = TestUi::open((1..=2).map(|id| message(id, 60, None, &["a@b.example"])), None).await;
    for (arguments, code, words) in [
        ("retry", 64, "queue ids, or --domain DOMAIN, or filters (--help lists them), or --all"),
        ("hold 0000000000001 --all", 64, "hold what? Give only one of queue ids, --all"),
        ("hold --sender x --all", 64, "hold what? Give only one of filters, --all"),
        ("hold 0000000000001 x", 64, "'x' is not a queue id"),
        (
            "export /nowhere 0000000000001 --all",
            64,
            "export what? Give only one of queue ids, --all",
        ),
        (
            "delete --recipient a@",
            64,
            "this would delete 2 messages, without bounces; nothing was done. Pass --yes",
        ),
        ("list --older soon", 64, "older: a duration"),
        ("delete --all", 64, "--yes"),
        ("delete --domain b.example", 64, "--dry-run"),
        ("hold --all", 64, "this would hold 2 messages; nothing was done"),
        ("release --domain b.example", 64, "--yes"),
        ("retry --all", 64, "--yes"),
        ("show 1", 64, "'postern queue list' shows them"),
        ("show 0000000000003", 66, "no such message"),
        ("body 0000000000003", 66, "no such message"),
        ("retry 0000000000003", 66, "no such message"),
    ] {
        let (got, out, complaints) = queue(&ui.socket, arguments).await;
        assert_eq!((got, out.as_str()), (code, ""), "{arguments}: {complaints}");
        assert!(
            complaints.contains(words) && complaints.lines().count() == 1,
            "{arguments}: {complaints}"
        );
    }
    assert_eq!(ui.admin.len(), 2);
    let (code, _, complaints) = queue(Path::new("/no/such/control.sock"), "list").await;
    assert!(code == 69 && complaints.contains("postern init"), "{complaints}");
    // A socket that a killed core left.
    let directory = tempfile::tempdir().unwrap();
    let stale = directory.path().join("control.sock");
    drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
    let (code, _, complaints) = queue(&stale, "stats").await;
    assert!(code == 69 && complaints.contains("postern init"), "{complaints}");
}

#[tokio::test]
async fn whoever_logged_in_gives_orders_through_the_port_and_other_sites_do_not() {
    let login = Some(Login::new("operator", "s3cret"));
    let ui = TestUi::open((1..=5).map(|id| message(id, 60, None, &["a@b.example"])), login).await;
    let credentials = ["--user", "operator:s3cret"];
    let order = async |more: &[&str], json: &str| {
        let arguments = [
            &credentials[..],
            more,
            &["--header", "Content-Type: application/json", "--data", json],
        ]
        .concat();
        ui.curl(&arguments, "/api/v1/orders").await
    };
    let reply =
        order(&[], r#"{"order":"hold","ids":["0000000000001","0000000000002","0000000000009"]}"#)
            .await;
    assert_eq!((reply.status, &reply.json()["messages"]), (200, &2.into()));
    let principal = ui.admin.askers.lock().unwrap().pop().unwrap();
    assert_eq!(
        (principal.user.as_str(), principal.address.map(|address| address.is_loopback())),
        ("operator", Some(true))
    );
    let preview =
        order(&[], r#"{"order":"delete","filter":{"state":"held"},"preview":true}"#).await.json();
    assert_eq!((&preview["messages"], &preview["preview"]), (&2.into(), &true.into()));
    assert_eq!(preview["sample"][0], "0000000000001");
    for header in ["Sec-Fetch-Site: cross-site", "Origin: http://evil.example", "Origin: null"] {
        assert_eq!(
            order(&["--header", header], r#"{"order":"delete","all":true}"#).await.status,
            403,
            "{header}"
        );
    }
    let page = ui.curl(&credentials, "/queue").await.body;
    let token = page
        .split("name=\"csrf\" value=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .unwrap();
    let moved = format!("order=move&scope=matching&confirmed=1&csrf={token}");
    let reply = ui.curl(&[&credentials[..], &["--data", &moved]].concat(), "/act").await;
    assert!(
        reply.status == 400 && reply.body.contains("export --move"),
        "{} {}",
        reply.status,
        reply.body
    );
    // A form needs this process's token, too.
    let form =
        [&credentials[..], &["--data", "order=delete&scope=matching&confirmed=1&csrf=0"]].concat();
    assert_eq!(ui.curl(&form, "/act").await.status, 400);
    assert_eq!(ui.curl(&credentials, "/act").await.status, 405, "nothing is done by GET");
    assert_eq!(ui.admin.len(), 5);
    let reply = order(&[], r#"{"order":"pause","destination":"b.example"}"#).await;
    assert_eq!(
        (reply.status, ui.admin.paused.lock().unwrap().iter().any(|one| one.has_name("b.example"))),
        (200, true)
    );
    assert_eq!(reply.json(), serde_json::json!({"messages": 1}));
    assert_eq!(order(&[], r#"{"order":"pause","destination":"mx:25"}"#).await.status, 400);
    let (code, _, complaint) = queue(&ui.socket, "pause mx:25").await;
    assert!(code == 64 && complaint.contains("none to mx:25"), "{code} {complaint}");
    let reply = order(&[], r#"{"order":"resume","destination":"c.example"}"#).await;
    assert_eq!(
        (reply.status, reply.json()),
        (200, serde_json::json!({"messages": 0, "remark": "not_paused"}))
    );
}

#[tokio::test]
async fn guessing_passwords_becomes_slow_and_who_was_right_lately_gets_through() {
    let tokens = vec![Token::new("prometheus", "{PLAIN}t0ken").unwrap()];
    let ui =
        TestUi::open_with([], Access { tokens, ..access(Some(Login::new("operator", "s3cret"))) })
            .await;
    let ask = async |pair: &str| ui.curl(&["--user", pair], "/api/v1/status").await;
    for _ in 0..5 {
        assert_eq!(ask("operator:wrong").await.status, 401);
    }
    // It is not known whether this one is a guess.
    let reply = ask("operator:s3cret").await;
    assert_eq!(reply.status, 429);
    assert!(reply.head.contains("retry-after: "), "{}", reply.head);
    assert_eq!(ui.curl(&[], "/healthz").await.status, 200);
    assert_eq!(ask("prometheus:t0ken").await.status, 200, "another account");
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    assert_eq!(ask("operator:s3cret").await.status, 200);
    assert_eq!(ui.http_counters.http_logins_refused_total.get(), 5);
    let mut slowed = 0;
    for n in 0..12 {
        slowed += u32::from(ask(&format!("operator:{n}")).await.status == 429);
        assert_eq!(
            ask("operator:s3cret").await.status,
            200,
            "right lately, and from the guesser's address"
        );
        assert_eq!(ask("prometheus:t0ken").await.status, 200);
    }
    assert!(slowed >= 5, "{slowed}");
    assert!(ui.http_counters.http_refused_total.with_label_values(&["guess"]).get() >= 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_guesses_at_once_few_are_tried() {
    let hash = bcrypt::hash("s3cret", 8).unwrap();
    let ui = TestUi::open([], Some(Login::new("operator", &hash))).await;
    let url = ui.url("/api/v1/status");
    let guesses: Vec<_> = (0..60)
        .map(|n| {
            let url = url.clone();
            tokio::spawn(
                async move { curl(&["--user", &format!("operator:{n}")], &url).await.status },
            )
        })
        .collect();
    let mut statuses = Vec::new();
    for guess in guesses {
        statuses.push(guess.await.unwrap());
    }
    let tried = statuses.iter().filter(|status| **status == 401).count();
    assert!(tried <= 8, "{tried} of 60 were tried: {statuses:?}");
    assert!(statuses.iter().all(|status| [401, 429, 503].contains(status)), "{statuses:?}");
}

/// If the history cannot be read in time, nothing is known about one message; the others are moved
/// all the same.
#[tokio::test]
async fn a_move_goes_on_where_the_history_does_not_answer_in_time() {
    let ui = TestUi::open([], None).await;
    ui.history.takes.store(60_000, Ordering::Relaxed);
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().display();
    let ids = ["0000000000010", "0000000000011"];
    for id in ids {
        for (kind, text) in [("moving", "free 0123456789abcdef\n"), ("json", "{}"), ("eml", "x")] {
            std::fs::write(directory.path().join(format!("{id}.{kind}")), text).unwrap();
        }
    }
    let (code, text, words) =
        queue(&ui.socket, &format!("--json export {place} --move --all")).await;
    let told = text.matches(r#""result":"unclear""#).count();
    assert_eq!((code, told), (73, 2), "{text} {words}");
    assert!(
        text.contains("the history could not be read") && text.contains("repeat the command later"),
        "{text}"
    );
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 6, "all files are kept");
}

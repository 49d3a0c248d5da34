//! A finished message that is sent again, from its page and by programs.

use crate::admin::message;
use crate::support::{Reply, TestUi, access};
use postern::ground::clock;
use postern::http::Login;
use postern::mail::model::{
    Address, Body, Delays, DeliveryAttempt, Destination, MailEvent, MailEventSink, Message,
    MessageId, TargetStatus,
};

const LOGIN: [&str; 2] = ["--user", "operator:secret"];
const CONTENT: &str = "Subject: x\r\n\r\nagain\r\n";

/// A message to two, of whom the second did not get it, has left the queue.
async fn open() -> (TestUi, MessageId) {
    let ui = TestUi::open_with([], access(Some(Login::new("operator", "secret")))).await;
    let id = MessageId(clock::now_micros());
    let finished = message(id.0, 0, None, &["a@b.example", "c@d.example"]);
    let mut finished = Message { body: Body::Memory(CONTENT.into()), ..finished };
    finished.progress[0].status = TargetStatus::Delivered;
    finished.progress[1].status = TargetStatus::Bounced;
    ui.history_log.take(&MailEvent::Attempted(DeliveryAttempt {
        message: &finished,
        destination: &Destination::domain("b.example").unwrap(),
        outcomes: &[],
        relay: "",
        tls: false,
        security: "",
        transcript: "",
        at: clock::now(),
        due: 0,
        delays: Delays::default(),
        progress: Some(&finished.progress),
        over: true,
    }));
    (ui, id)
}

async fn resend(ui: &TestUi, id: impl ToString, order: &str, further: &[&str]) -> Reply {
    let json = ["--data", order, "--header", "Content-Type: application/json"];
    let path = format!("/api/v1/history/{}/resend", id.to_string());
    ui.curl(&[&LOGIN[..], &json, further].concat(), &path).await
}

/// Recipients and content of each message that was sent again.
fn sent(ui: &TestUi) -> Vec<(Vec<String>, Vec<u8>)> {
    let letters = ui.admin.letters.lock().unwrap();
    let texts = |all: &[Address]| all.iter().map(ToString::to_string).collect();
    letters.iter().map(|(to, octets)| (texts(&to.recipients), octets.clone())).collect()
}

#[tokio::test]
async fn programs_choose_to_whom_a_message_is_sent_again() {
    let (ui, id) = open().await;
    for (order, to) in [
        ("", &["c@d.example"][..]),
        ("{}", &["c@d.example"]),
        (r#"{"recipients":"undelivered"}"#, &["c@d.example"]),
        (r#"{"recipients":"all"}"#, &["a@b.example", "c@d.example"]),
        (r#"{"to":["x@y.example","x@y.example"]}"#, &["x@y.example"]),
    ] {
        let reply = resend(&ui, id, order, &[]).await;
        assert_eq!((reply.status, &reply.json()["repeated"]), (201, &false.into()), "{order}");
        let (recipients, content) = sent(&ui).pop().unwrap();
        assert!(recipients == to && content == CONTENT.as_bytes(), "{order}: {recipients:?}");
    }
    let number = sent(&ui).len();
    for (order, status) in [
        ("x", 400),
        (r#"{"to":["no address"]}"#, 400),
        (r#"{"recipients":"some"}"#, 400),
        (r#"{"recipients":"all","to":["x@y.example"]}"#, 400),
    ] {
        assert_eq!(resend(&ui, id, order, &[]).await.status, status, "{order}");
    }
    let unknown = resend(&ui, MessageId(id.0 + 1), "", &[]).await;
    assert!(unknown.status == 404 && unknown.body.contains("history_content"), "{}", unknown.body);
    assert_eq!(resend(&ui, "x", "", &[]).await.status, 404);
    let path = format!("/api/v1/history/{id}/resend");
    assert_eq!(ui.curl(&["--data", "{}"], &path).await.status, 401, "it is an order");
    assert_eq!(ui.curl(&[&LOGIN[..], &["--data", "{}"]].concat(), &path).await.status, 415);
    assert_eq!(sent(&ui).len(), number);
}

#[tokio::test]
async fn the_same_key_sends_once() {
    let (ui, id) = open().await;
    let key = ["--header", "Idempotency-Key: one"];
    let first = resend(&ui, id, "", &key).await;
    let second = resend(&ui, id, "", &key).await;
    assert_eq!((first.status, second.status), (201, 200));
    assert_eq!(first.json()["id"], second.json()["id"]);
    assert_eq!(resend(&ui, id, r#"{"recipients":"all"}"#, &key).await.status, 422);
    assert_eq!(sent(&ui).len(), 1);
}

#[tokio::test]
async fn the_page_of_a_finished_message_sends_it_again() {
    let (ui, id) = open().await;
    let path = format!("/history/{id}");
    let page = ui.curl(&LOGIN, &path).await.body;
    for words in ["Send again to 1 undelivered", "Send again to all 2 recipients"] {
        assert!(page.contains(words), "{words}: {page}");
    }
    let field = |name: &str| {
        let start = format!("name=\"{name}\" value=\"");
        let behind = page.split(&start).nth(1).unwrap();
        behind.split('"').next().unwrap().to_owned()
    };
    let form = |csrf: &str| format!("csrf={csrf}&key={}&recipients=all", field("key"));
    let post = async |form: &str| {
        let path = format!("{path}/resend");
        ui.curl(&[&LOGIN[..], &["--data", form]].concat(), &path).await
    };
    assert_eq!(post(&form("x")).await.status, 400);
    let csrf = field("csrf");
    for _ in 0..2 {
        let reply = post(&form(&csrf)).await;
        assert!(reply.status == 303 && reply.head.contains("done=resend"), "{}", reply.head);
    }
    assert_eq!(sent(&ui).len(), 1, "a form that is sent twice sends one message");
    assert_eq!(sent(&ui)[0].0.len(), 2);
}

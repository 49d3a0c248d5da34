//! Submission of mail over HTTP: its requirements and answers.

use crate::admin::message;
use crate::support::{Reply, TestUi, access};
use postern::http::Login;
use postern::http::access::Access;
use postern::http::token::Token;
use postern::mail::model::Address;

const PATH: &str = "/api/v1/messages?from=shop%40example.org&to=a%40example.net&to=b%40example.net";
const MAIL: &str = "Subject: Hello\nFrom: shop@example.org\n\n.\nBye\n";

async fn send(ui: &TestUi, path: &str, further: &[&str], mail: &str) -> Reply {
    let arguments =
        [&["--data-binary", mail, "--header", "Content-Type: message/rfc822"], further].concat();
    ui.curl(&arguments, path).await
}

/// With the login `shop:secret` and the token `app:t0ken`, whose secret is as good as a login if
/// there is none.
async fn open(login: bool) -> TestUi {
    let login = login.then(|| Login::new("shop", "secret"));
    let tokens = vec![Token::new("app", "{PLAIN}t0ken").unwrap()];
    TestUi::open_with([message(1, 0, None, &["a@example.net"])], Access { tokens, ..access(login) })
        .await
}

const TOKEN: [&str; 2] = ["--header", "Authorization: Bearer app:t0ken"];

async fn send_with_token(ui: &TestUi, path: &str, further: &[&str], mail: &str) -> Reply {
    send(ui, path, &[&TOKEN, further].concat(), mail).await
}

#[tokio::test]
async fn a_mail_is_handed_in_with_its_envelope() {
    let ui = open(false).await;
    let reply = send_with_token(&ui, PATH, &[], MAIL).await;
    assert_eq!((reply.status, &reply.json()["repeated"]), (201, &false.into()), "{}", reply.body);
    let id = reply.json()["id"].as_str().unwrap().to_owned();
    assert!(
        reply.head.contains(&format!("location: /api/v1/queue/{}", id.to_lowercase())),
        "{}",
        reply.head
    );
    let (letter, content) = ui.admin.letters.lock().unwrap()[0].clone();
    assert_eq!(letter.sender, Address::parse("shop@example.org").ok());
    assert_eq!(
        letter.recipients,
        ["a@example.net", "b@example.net"].map(|text| Address::parse(text).unwrap())
    );
    assert!(
        letter.authenticated && letter.client.is_some(),
        "whoever shows a token may send to anybody"
    );
    assert_eq!(content, MAIL.as_bytes());
    let null = send_with_token(&ui, "/api/v1/messages?from=&to=a%40example.net", &[], MAIL).await;
    assert_eq!(null.status, 201, "{}", null.body);
    assert_eq!(ui.admin.letters.lock().unwrap()[1].0.sender, None);
}

#[tokio::test]
async fn addresses_are_taken_as_from_a_client_that_may_relay() {
    let ui = open(false).await;
    let path = "/api/v1/messages?from=root&to=%3Ca%40example.net%3E&to=a%40example.net.&to=%20b..c%40example.net%20&to=postmaster";
    let reply = send_with_token(&ui, path, &[], MAIL).await;
    assert_eq!(reply.status, 201, "{}", reply.body);
    let (letter, _) = ui.admin.letters.lock().unwrap()[0].clone();
    assert_eq!(letter.sender, Address::parse("root@mta.example").ok());
    let expected = ["a@example.net", "b..c@example.net", "postmaster@mta.example"];
    assert_eq!(letter.recipients, expected.map(|text| Address::parse(text).unwrap()));
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_in_words() {
    let ui = open(false).await;
    for (path, words) in [
        ("/api/v1/messages", "from: the sender"),
        ("/api/v1/messages?from=a%40b.example", "to: at least one"),
        ("/api/v1/messages?to=a%40b.example", "from: the sender"),
        ("/api/v1/messages?from=a%40b.example&from=c%40d.example&to=a%40b.example", "exactly one"),
        ("/api/v1/messages?from=a%40&to=a%40b.example", "'a@' is not an address"),
        ("/api/v1/messages?from=a%40b.example&to=%0d%0aDATA", "is not an address"),
        ("/api/v1/messages?from=a%40b.example&to=a%40b.example&cc=x", "known parameters"),
    ] {
        let reply = send_with_token(&ui, path, &[], MAIL).await;
        assert_eq!(reply.status, 400, "{path}: {}", reply.body);
        assert!(reply.json()["error"].as_str().unwrap().contains(words), "{path}: {}", reply.body);
    }
    let form = ui.curl(&[&TOKEN[..], &["--data", "x=y"]].concat(), PATH).await;
    assert_eq!(form.status, 415, "what a page of another site could send is not taken");
    let foreign =
        send_with_token(&ui, PATH, &["--header", "Origin: http://evil.example"], MAIL).await;
    assert_eq!(foreign.status, 403, "{}", foreign.body);
    assert_eq!(ui.curl(&TOKEN, PATH).await.status, 405);
    let long = format!("Idempotency-Key: {}", "k".repeat(300));
    assert_eq!(send_with_token(&ui, PATH, &["--header", &long], MAIL).await.status, 400);
    assert!(ui.admin.letters.lock().unwrap().is_empty());
}

#[tokio::test]
async fn who_shows_a_login_is_known() {
    let ui = open(true).await;
    assert_eq!(send(&ui, PATH, &[], MAIL).await.status, 401);
    assert_eq!(send(&ui, PATH, &["--user", "shop:wrong"], MAIL).await.status, 401);
    assert!(ui.admin.letters.lock().unwrap().is_empty());
    assert_eq!(send(&ui, PATH, &["--user", "shop:secret"], MAIL).await.status, 201);
    let arguments = ["--data-binary", MAIL, "--header", "Content-Type: message/rfc822"];
    assert_eq!(ui.curl_control(&arguments, PATH).await.status, 201);
    let letters = ui.admin.letters.lock().unwrap();
    assert!(letters[0].0.authenticated && letters[0].0.client.is_some());
    assert!(letters[1].0.authenticated && letters[1].0.client.is_none());
}

#[tokio::test]
async fn a_key_sends_a_mail_once() {
    let ui = open(false).await;
    let key = ["--header", "Idempotency-Key: order-4711"];
    let first = send_with_token(&ui, PATH, &key, MAIL).await;
    let again = send_with_token(&ui, PATH, &key, MAIL).await;
    assert_eq!((first.status, again.status, &again.json()["repeated"]), (201, 200, &true.into()));
    assert_eq!(first.json()["id"], again.json()["id"]);
    for (path, mail) in
        [(PATH, "Subject: another\n\n"), ("/api/v1/messages?from=&to=a%40example.net", MAIL)]
    {
        let other = send_with_token(&ui, path, &key, mail).await;
        assert_eq!(other.status, 422, "{}", other.body);
    }
    assert_eq!(ui.admin.letters.lock().unwrap().len(), 1);
    assert_eq!(
        send_with_token(&ui, PATH, &["--header", "Idempotency-Key: order-4712"], MAIL).await.status,
        201
    );
}

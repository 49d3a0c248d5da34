//! Who may send as whom, from where, and how much.

use crate::Submission;
use crate::support::client::Client;

const USERS: &str = "shop:{PLAIN}s;senders=shop@a.example,b.example\n\
    far:{PLAIN}f;networks=192.0.2.0/24\n\
    few:{PLAIN}f;rate=2/h\n";

const TO: &[&str] = &["box@there.example"];

/// The reply to the end of a mail.
fn send(client: &mut Client, from: &str, content: &str, start: &str) {
    client.ask(&format!("MAIL FROM:<{from}>"), "250 2.1.0");
    client.ask("RCPT TO:<box@there.example>", "250 2.1.5");
    client.ask("DATA", "354 ");
    client.ask(&format!("{content}\r\n."), start);
}

#[test]
fn a_user_sends_only_as_its_senders() {
    let relay = Submission::start(USERS, &[]);
    let mut client = relay.logged_in("shop", "s");
    client.mail("Shop@A.example", TO, b"From: Shop <shop@a.example>\r\n\r\nHello\r\n");
    client.mail("any@b.example", TO, b"Subject: no From\r\n\r\nHello\r\n");
    for other in ["other@a.example", "x@sub.b.example", ""] {
        let words = "may not send as this; see senders= in smtp_users";
        let reply = client.ask(&format!("MAIL FROM:<{other}>"), "550 5.7.1");
        assert!(reply.contains(words) && reply.contains("'shop'"), "{reply}");
    }
    for from in [
        "From: boss@c.example",
        "From: shop@a.example, boss@c.example",
        "From: shop@a.example\r\nFrom: boss@c.example",
        "Subject: y\r\nfrom:\r\n Boss <boss@c.example>",
        "From: shop@a.example\r\nSender: boss@c.example",
        "From: shop@a.example\r\nResent-From: Boss <boss@c.example>",
        "Resent-Sender: boss@c.example\r\nFrom: shop@a.example",
    ] {
        let content = format!("{from}\r\nSubject: x\r\n\r\nHello\r\n");
        let field = from.lines().find(|line| line.contains("boss")).unwrap();
        let field = if field.starts_with(' ') { "From" } else { field.split(':').next().unwrap() };
        let words = format!("550 5.7.1 {field} <boss@c.example>: user 'shop'");
        send(&mut client, "shop@a.example", &content, &words);
    }
    let content = "From: shop@a.example\r\nSender: group: shop@a.example;\r\n\r\nHello";
    let words = "550 5.7.1 The Sender field is no list of addresses without groups";
    send(&mut client, "shop@a.example", content, words);
    send(&mut client, "shop@a.example", "From: b@b.example\r\n\r\nHello", "250 2.0.0");
    assert_eq!(relay.sink.mails(3).len(), 3);
    assert!(relay.has_logged(&["reason=sender", "status=refused"]));
}

#[test]
fn a_user_logs_in_only_from_its_networks() {
    let relay = Submission::start(USERS, &[]);
    relay.hello().ask(&crate::plain("far", "f"), "535 5.7.8");
}

#[test]
fn a_user_sends_only_as_much_as_its_rate() {
    let relay = Submission::start(USERS, &[]);
    let mut client = relay.logged_in("few", "f");
    for _ in 0..2 {
        client.mail("a@b.example", TO, b"Subject: x\r\n\r\nHello\r\n");
    }
    let reply = client.ask("MAIL FROM:<a@b.example>", "450 4.7.1");
    let seconds = reply.rsplit_once(" s").unwrap().0.rsplit_once(' ').unwrap().1;
    assert!((1000..=1801).contains(&seconds.parse::<u32>().unwrap()), "{reply}");
    assert!(reply.contains("user 'few' (2/1h)"), "{reply}");
    let mut other = relay.logged_in("few", "f");
    other.ask("MAIL FROM:<a@b.example>", "450 4.7.1");
    relay.logged_in("shop", "s").ask("MAIL FROM:<a@b.example>", "250 2.1.0");
}

/// For trusted clients, too, and for programs that send by HTTP.
#[test]
fn everybody_sends_only_from_the_allowed_domains() {
    let properties = [
        ("MTA_ALLOWED_SENDER_DOMAINS", "here.example, shop.example"),
        ("MTA_SMTPD_TRUSTED_NETWORKS", "127.0.0.1"),
    ];
    let relay = Submission::start(USERS, &properties);
    let mut client = Client::hello(relay.appliance.smtp);
    client.mail("a@HERE.example", TO, b"From: b@shop.example\r\n\r\nHello\r\n");
    let words = "550 5.7.1 <a@elsewhere.example>: Sender domain not allowed; see \
        allowed_sender_domains";
    client.ask("MAIL FROM:<a@elsewhere.example>", words);
    let content = "From: a@elsewhere.example\r\n\r\nHello";
    send(&mut client, "a@here.example", content, words);
    client.mail("", TO, b"Subject: a notification\r\n\r\nHello\r\n");
    let send = |from: &str, header: &str| {
        let from = from.replace('@', "%40");
        let path = format!("/api/v1/messages?from={from}&to=box%40there.example");
        let content = format!("From: {header}\r\nSubject: x\r\n\r\nHello\r\n");
        relay.appliance.post(&path, "Content-Type: message/rfc822\r\n", content.as_bytes())
    };
    let (status, answer) = send("a@here.example", "a@elsewhere.example");
    assert!(
        !status.starts_with('2') && answer.contains("Sender domain not allowed"),
        "{status} {answer}"
    );
    let (status, answer) = send("a@elsewhere.example", "a@here.example");
    assert!(
        !status.starts_with('2') && answer.contains("Sender domain not allowed"),
        "{status} {answer}"
    );
    let (status, answer) = send("a@here.example", "a@here.example");
    assert!(status.starts_with('2'), "{status} {answer}");
    assert_eq!(relay.sink.mails(3).len(), 3);
}

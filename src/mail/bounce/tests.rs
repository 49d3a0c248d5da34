//! Two reports compared literally, and untrusted text in reports.

use super::*;
use crate::ground::clock;
use crate::mail::model::{
    Address, Body, BodyType, DsnNotify, DsnRequest, MessageId, RecipientDsn, Reply,
    ReturnedContent, TargetProgress,
};
use mail_parser::{MessageParser, MimeHeaders, PartType};

const ARRIVED: u32 = 1_763_800_000;
const NOW: u32 = ARRIVED + 3600;

fn message(sender: Option<&str>, recipients: &[&str], content: &[u8]) -> Message {
    let at = |text: &str| Address::parse(text).unwrap();
    Message {
        id: MessageId(1_763_800_000_000_000),
        arrived: ARRIVED,
        envelope: Envelope {
            sender: sender.map(at),
            recipients: recipients.iter().map(|text| at(text)).collect(),
            body: BodyType::SevenBit,
            smtputf8: false,
            dsn: None,
        },
        origin: Origin { peer: None, helo: "client".into(), may_relay: false },
        kind: MessageKind::Mail,
        progress: (0..recipients.len())
            .map(|n| TargetProgress::new(Target::Recipient(u16::try_from(n).unwrap())))
            .collect(),
        held: false,
        delay_warning_sent: false,
        body: Body::Memory(content.to_vec().into()),
    }
}

fn text(draft: &NewMessage) -> String {
    let Body::Memory(bytes) = &draft.body else { panic!("a report is in memory") };
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The report without the parts that differ from run to run.
fn golden(draft: &NewMessage) -> String {
    let text = text(draft);
    let token = text.split("Message-ID: <").nth(1).and_then(|rest| rest.split('@').next()).unwrap();
    let mut golden = text.replace(token, "TOKEN").replace("\r\n", "\n");
    for (moment, name) in [(ARRIVED, "ARRIVED"), (NOW, "NOW"), (ARRIVED + 432_000, "GIVE-UP")] {
        golden = golden.replace(&clock::rfc5322(moment), name);
    }
    golden
}

/// What holds for every report.
fn check(draft: &NewMessage) {
    let text = text(draft);
    assert!(text.is_ascii() || draft.envelope.smtputf8, "{text}");
    assert!(
        text.split("\r\n").all(|line| line.len() <= 998 && !line.contains(['\r', '\n', '\0'])),
        "{text:?}"
    );
    assert!(text.ends_with("--\r\n"));
    assert_eq!(
        (draft.envelope.sender.as_ref(), draft.kind, draft.copy),
        (None, MessageKind::Notification, false)
    );

    let parsed = MessageParser::default().parse(text.as_bytes()).unwrap();
    let top = parsed.content_type().unwrap();
    assert_eq!((top.ctype(), top.subtype()), ("multipart", Some("report")));
    assert_eq!(top.attribute("report-type"), Some("delivery-status"));
    assert!(
        matches!(&parsed.parts[0].body, PartType::Multipart(children) if children.len() == 3),
        "{text}"
    );
    let kinds: Vec<String> = parsed.parts[1..]
        .iter()
        .map(|part| {
            part.content_type()
                .map(|kind| format!("{}/{}", kind.ctype(), kind.subtype().unwrap()))
                .unwrap()
        })
        .collect();
    assert_eq!(kinds, ["text/plain", "message/delivery-status", "text/rfc822-headers"]);
    for name in ["From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted"] {
        assert_eq!(
            parsed.headers().iter().filter(|header| header.name() == name).count(),
            1,
            "{name}"
        );
    }
}

#[test]
fn a_failure_word_by_word() {
    let content = b"From: a@here.example\r\nSubject: hello\r\n\r\nsecret content\r\n";
    let message = message(
        Some("a@here.example"),
        &["b@there.example", "c@there.example", "d@there.example"],
        content,
    );
    let failures = [
        (Target::Recipient(0), Outcome::said(Reply::new(550, (5, 1, 1), "No such user"))),
        (
            Target::Recipient(2),
            Outcome::own(Reply::new(
                451,
                (4, 4, 1),
                "connect to mx.there.example: Connection refused",
            )),
        ),
    ];
    let draft = failed(&message, &failures, "mx.there.example[192.0.2.1]:25", "relay.example", NOW)
        .unwrap();
    check(&draft);
    assert_eq!(draft.envelope.recipients, [Address::parse("a@here.example").unwrap()]);
    assert_eq!(golden(&draft), include_str!("failed.golden"));
}

#[test]
fn a_delay_word_by_word() {
    let message = message(
        Some("a@here.example"),
        &["b@there.example"],
        b"Subject: hello\r\n\r\nsecret content\r\n",
    );
    let delays = [(Target::Recipient(0), Outcome::said(Reply::plain(421, "come back tomorrow")))];
    let draft = delayed(&message, &delays, ARRIVED + 432_000, "relay.example", NOW).unwrap();
    check(&draft);
    assert_eq!(golden(&draft), include_str!("delayed.golden"));
}

#[test]
fn the_operator_hears_of_a_bounce_that_failed_and_of_nothing_behind_it() {
    let operator = Address::parse("postmaster@here.example").unwrap();
    let failure = [(Target::Recipient(0), Outcome::said(Reply::plain(501, "no bounces here")))];
    let bounce =
        message(None, &["a@gone.example"], b"Subject: Your mail could not be delivered\r\n\r\n");
    let told =
        |message: &Message| undeliverable(message, &failure, "", &operator, "relay.example", NOW);
    let draft = told(&bounce).unwrap();
    check(&draft);
    assert_eq!(draft.envelope.recipients, std::slice::from_ref(&operator));
    assert!(
        text(&draft).contains("<a@gone.example>") && text(&draft).contains("501 no bounces here")
    );
    // A notification to the operator that fails ends there, and other mail is not reported to the
    // operator.
    assert!(told(&message(None, &["Postmaster@HERE.example"], b"")).is_none());
    assert!(told(&message(Some("a@here.example"), &["b@there.example"], b"")).is_none());
}

#[test]
fn words_of_our_own_are_no_reply() {
    let message = message(Some("a@here.example"), &["b@there.example"], b"");
    let own =
        Outcome::own(Reply::new(554, (5, 4, 7), "connect to mx[192.0.2.1]:25: Connection refused"));
    let draft = failed(&message, &[(Target::Recipient(0), own)], "", "relay.example", NOW).unwrap();
    let text = text(&draft);
    assert!(
        text.contains(
            "\r\nDiagnostic-Code: x-postern; connect to mx[192.0.2.1]:25: Connection refused\r\n"
        ),
        "{text}"
    );
    assert!(text.contains("\r\nStatus: 5.4.7\r\n") && !text.contains("554 "), "{text}");
}

#[test]
fn silence_where_nobody_is_to_be_told() {
    let failure = [(Target::Recipient(0), Outcome::said(Reply::plain(550, "no")))];
    let to = ["b@there.example"];
    assert!(failed(&message(None, &to, b""), &failure, "", "relay.example", NOW).is_none());
    assert!(delayed(&message(None, &to, b""), &failure, NOW, "relay.example", NOW).is_none());
    let bounce =
        Message { kind: MessageKind::Notification, ..message(Some("a@here.example"), &to, b"") };
    assert!(failed(&bounce, &failure, "", "relay.example", NOW).is_none());
    let mail = message(Some("a@here.example"), &to, b"");
    assert!(
        failed(&mail, &[(Target::Copy, failure[0].1.clone())], "", "relay.example", NOW).is_none()
    );
    assert!(failed(&mail, &[], "", "relay.example", NOW).is_none());
    check(&failed(&mail, &failure, "", "relay.example", NOW).unwrap());
}

#[test]
fn strangers_stay_in_their_place() {
    let evil = "no\r\n\r\n--report-x\r\nFrom: ceo@bank.example\r\nX: \0\u{85}\u{2028}ü".repeat(100);
    let mut content = b"Subject: gr\xc3\xbcn \xff\r\nX-Long: ".to_vec();
    content.extend(std::iter::repeat_n(b'x', 5000));
    content.extend_from_slice(b"\r\nX-Nul: \0\r\n\r\nsecret content\r\n");
    let message = message(Some("a@here.example"), &["b@there.example"], &content);
    let failures =
        [(Target::Recipient(0), Outcome::said(Reply::new(550, (4, 7, 1), evil.clone())))];
    let draft = failed(&message, &failures, &evil, "relay.example", NOW).unwrap();
    check(&draft);
    let text = text(&draft);
    assert!(!text.contains("\r\nFrom: ceo") && !text.contains("secret content"));
    assert!(text.contains("\r\nStatus: 5.0.0\r\n"), "a code of the wrong class is not believed");
    let parsed = MessageParser::default().parse(text.as_bytes()).unwrap();
    let headers = parsed.parts[3].text_contents().unwrap();
    assert!(headers.starts_with("Subject: grün "), "{headers}");
}

#[test]
fn headers_are_bounded() {
    let endless = b"X-A: b\r\n".repeat(1_000_000);
    let message = message(Some("a@here.example"), &["b@there.example"], &endless);
    let failures = [(Target::Recipient(0), Outcome::said(Reply::plain(550, "no")))];
    let draft = failed(&message, &failures, "mx", "relay.example", NOW).unwrap();
    check(&draft);
    assert!(text(&draft).len() < HEADERS_MAX + 4096);
}

#[test]
fn internationalised_addresses_are_reported() {
    let message = message(Some("ä@here.example"), &["grün@bücher.example"], b"Subject: x\r\n\r\n");
    let failures = [(Target::Recipient(0), Outcome::said(Reply::new(550, (5, 1, 1), "nö")))];
    let draft = failed(&message, &failures, "mx", "relay.example", NOW).unwrap();
    check(&draft);
    assert!(draft.envelope.smtputf8);
    assert!(
        text(&draft).contains("\r\nFinal-Recipient: utf-8; gr\\x{FC}n@b\\x{FC}cher.example\r\n")
    );
    let parsed = MessageParser::default().parse(text(&draft).as_bytes()).unwrap().into_owned();
    assert!(parsed.body_text(0).unwrap().contains("<grün@bücher.example>"));
}

#[test]
fn a_client_that_uses_dsn_hears_of_what_it_asked_for() {
    let content = b"Subject: hello\r\n\r\nsecret content\r\n";
    let all = ["a@there.example", "b@there.example", "c@there.example"];
    let mut message = message(Some("a@here.example"), &all, content);
    let mut dsn = DsnRequest { envelope_id: Some("QQ+2B1".into()), ..DsnRequest::default() };
    let original = Some("rfc822;list+2Ba@here.example".into());
    dsn.note(0, RecipientDsn { notify: DsnNotify::parse("SUCCESS"), original });
    dsn.note(1, RecipientDsn { notify: DsnNotify::parse("NEVER"), original: None });
    message.envelope.dsn = Some(Box::new(dsn));
    let outcomes = |code, enhanced| {
        let outcome = move || Outcome::said(Reply::new(code, enhanced, "words"));
        [0, 1, 2].map(|place| (Target::Recipient(place), outcome()))
    };
    let named = |draft: &Option<NewMessage>| {
        let text = draft.as_ref().map(text).unwrap_or_default();
        all.map(|to| text.contains(&format!("Final-Recipient: rfc822; {to}")))
    };
    let bad = outcomes(550, (5, 1, 1));
    assert_eq!(named(&failed(&message, &bad, "", "relay.example", NOW)), [false, false, true]);
    let late = outcomes(451, (4, 0, 0));
    let warned = delayed(&message, &late, NOW + 9, "relay.example", NOW);
    assert_eq!(named(&warned), [false, false, true]);
    assert!(failed(&message, &bad[..2], "", "relay.example", NOW).is_none());
    let good = outcomes(250, (2, 0, 0));
    let told = relayed(&message, &good, "mx.there.example[192.0.2.1]:25", "relay.example", NOW);
    assert_eq!(named(&told), [true, false, false]);
    let told = told.unwrap();
    check(&told);
    let words = text(&told);
    for line in [
        "Original-Envelope-Id: QQ+1",
        "Original-Recipient: rfc822;list+a@here.example",
        "Action: relayed",
        "Status: 2.0.0",
    ] {
        assert!(words.contains(&format!("\r\n{line}\r\n")), "{line}: {words}");
    }
    message.envelope.dsn = None;
    assert!(relayed(&message, &good, "", "relay.example", NOW).is_none(), "nobody asked");
}

/// A failure of a mail whose sender asked for it with RET=FULL.
fn returned(content: &[u8], ret: ReturnedContent) -> NewMessage {
    let mut mail = message(Some("anna@here.example"), &["box@there.example"], content);
    mail.envelope.dsn = Some(Box::new(DsnRequest { ret: Some(ret), ..DsnRequest::default() }));
    let failure = Outcome::said(Reply::new(550, (5, 1, 1), "no such user"));
    let failures = [(Target::Recipient(0), failure)];
    failed(&mail, &failures, "hop", "mta.example", NOW).unwrap()
}

/// The content type and the encoding of the third part, and what it stands for.
fn third_part(draft: &NewMessage) -> (String, String, Vec<u8>) {
    let Body::Memory(octets) = &draft.body else { panic!("a report is in memory") };
    let parsed = MessageParser::default().parse(&octets[..]).unwrap();
    let part = &parsed.parts[3];
    let kind = part.content_type().unwrap();
    let encoding = part.content_transfer_encoding().unwrap().to_owned();
    let content = octets[part.offset_body as usize..part.offset_end as usize].to_vec();
    (format!("{}/{}", kind.ctype(), kind.subtype().unwrap()), encoding, content)
}

#[test]
fn the_whole_mail_is_returned_to_who_asks_for_it() {
    let full = |content: &[u8]| third_part(&returned(content, ReturnedContent::Full));
    let plain = b"Subject: a\r\n\r\n--report-x--\r\n.words\r\n";
    let (kind, encoding, content) = full(plain);
    assert_eq!((kind.as_str(), encoding.as_str()), ("message/rfc822", "7bit"));
    assert_eq!(content, plain, "{}", String::from_utf8_lossy(&content));
    assert_eq!(returned(plain, ReturnedContent::Full).envelope.body, BodyType::SevenBit);
    let (kind, ..) = third_part(&returned(plain, ReturnedContent::Headers));
    assert_eq!(kind, "text/rfc822-headers");

    let eight = "Subject: a\r\n\r\nw\u{f6}rds\r\n".as_bytes();
    let (kind, encoding, content) = full(eight);
    assert_eq!((kind.as_str(), encoding.as_str()), ("message/rfc822", "8bit"));
    assert_eq!(content, eight);
    assert_eq!(returned(eight, ReturnedContent::Full).envelope.body, BodyType::EightBitMime);

    let global = "Subject: w\u{f6}rds\r\n\r\na = b\r\n".as_bytes();
    let (kind, encoding, content) = full(global);
    assert_eq!((kind.as_str(), encoding.as_str()), ("message/global", "quoted-printable"));
    assert!(content.starts_with(b"Subject: w=C3=B6rds\r\n\r\na =3D b\r\n"));
    assert_eq!(returned(global, ReturnedContent::Full).envelope.body, BodyType::SevenBit);
}

#[test]
fn a_large_mail_or_one_that_no_mail_may_be_gives_its_headers() {
    let of_size = |size: usize| {
        let start = "Subject: a\r\n\r\n";
        let line = "x".repeat(98) + "\r\n";
        let mut content = start.to_owned() + &line.repeat(size / line.len());
        content.truncate(size);
        third_part(&returned(content.as_bytes(), ReturnedContent::Full)).0
    };
    let limit = usize::try_from(CONTENT_MAX).unwrap();
    assert_eq!(of_size(limit - 20), "message/rfc822");
    assert_eq!(of_size(limit + 20), "text/rfc822-headers");
    for odd in ["x".repeat(999), "a\0b".to_owned(), "a\rb".to_owned()] {
        let content = format!("Subject: a\r\n\r\n{odd}\r\n");
        let (kind, ..) = third_part(&returned(content.as_bytes(), ReturnedContent::Full));
        assert_eq!(kind, "text/rfc822-headers", "{odd:?}");
    }
}

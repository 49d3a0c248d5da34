use super::*;
use proptest::prelude::*;

pub(super) struct Open;

impl AccessPolicy for Open {
    fn mail(&self) -> Verdict {
        Verdict::Accept
    }

    fn recipient(&self, recipient: &Address) -> Verdict {
        match recipient.domain_text() {
            "elsewhere" => Verdict::Refuse(Reply::new(554, (5, 7, 1), "no"), Refusal::Relay),
            _ => Verdict::Accept,
        }
    }
}

pub(super) fn rules() -> SessionLimits {
    SessionLimits {
        hostname: "mta.example".into(),
        size_limit: 1000,
        recipients_limit: 2,
        errors_limit: 3,
        mails_limit: 2,
        idle_commands_limit: 5,
        chunking: true,
        dsn: true,
    }
}

/// The reply codes for the client, one for each command; `end` stands for content that was
/// accepted.
fn codes(lines: &[&str]) -> Vec<String> {
    codes_with(TlsState::Absent, lines)
}

fn codes_with(tls: TlsState, lines: &[&str]) -> Vec<String> {
    let rules = rules();
    let mut dialogue = Dialogue::new(&rules, tls);
    let mut codes = Vec::new();
    for line in lines {
        let mut out = Vec::new();
        let result = match *line {
            "end" => dialogue.end(Ok(Reply::new(250, (2, 0, 0), "Ok")), &mut out),
            line => dialogue.handle(Command::parse(line.as_bytes()), &Open, &mut out),
        };
        let text = String::from_utf8(out).unwrap();
        let last = text.lines().last().unwrap();
        codes.push(last.split(' ').take(2).collect::<Vec<_>>().join(" "));
        if matches!(result.next, NextStep::Close | NextStep::Secure) {
            codes.push(format!("{:?}", result.next).to_lowercase());
            break;
        }
    }
    codes
}

#[test]
fn starttls_has_its_time_and_place() {
    assert_eq!(codes_with(TlsState::Offered, &["STARTTLS"]), ["220 2.0.0", "secure"]);
    assert_eq!(
        codes_with(TlsState::Offered, &["starttls now", "STARTTLS  "]),
        ["501 5.5.4", "220 2.0.0", "secure"]
    );
    assert_eq!(
        codes_with(TlsState::Offered, &["EHLO x", "MAIL FROM:<>", "STARTTLS", "RSET", "STARTTLS"])
            [2..],
        ["503 5.5.1", "250 2.0.0", "220 2.0.0", "secure"]
    );
    assert_eq!(codes_with(TlsState::On, &["EHLO x", "STARTTLS"])[1..], ["503 5.5.1"]);
    assert_eq!(codes_with(TlsState::Absent, &["STARTTLS"]), ["502 5.5.1"]);
    let announced = |tls| {
        let (rules, mut out) = (rules(), Vec::new());
        Dialogue::new(&rules, tls).handle(Command::parse(b"EHLO x"), &Open, &mut out);
        String::from_utf8(out).unwrap().contains("250-STARTTLS\r\n")
    };
    assert_eq!(
        [TlsState::Absent, TlsState::Offered, TlsState::On].map(announced),
        [false, true, false]
    );
}

#[test]
fn after_starttls_nothing_is_known_but_what_the_session_has_cost() {
    let rules = rules();
    let mut dialogue = Dialogue::new(&rules, TlsState::Offered);
    let say = |dialogue: &mut Dialogue<'_>, line: &str| {
        let mut out = Vec::new();
        dialogue.handle(Command::parse(line.as_bytes()), &Open, &mut out);
        String::from_utf8(out).unwrap()
    };
    say(&mut dialogue, "EHLO x");
    for _ in 1..rules.errors_limit {
        say(&mut dialogue, "nonsense");
    }
    let mut dialogue = dialogue.inside_tls();
    assert_eq!(dialogue.hello(), ("", false));
    assert!(!say(&mut dialogue, "EHLO y").contains("STARTTLS"));
    assert!(
        say(&mut dialogue, "nonsense").starts_with("421 4.7.0"),
        "one error more than the session may make"
    );
}

#[test]
fn a_client_that_pipelines_does_not_err_while_its_mail_is_put_off() {
    struct Full;
    impl AccessPolicy for Full {
        fn mail(&self) -> Verdict {
            Verdict::Refuse(Reply::new(452, (4, 3, 1), "Full"), Refusal::Storage)
        }
        fn recipient(&self, _: &Address) -> Verdict {
            Verdict::Accept
        }
    }
    let rules = rules();
    let mut dialogue = Dialogue::new(&rules, TlsState::Absent);
    let mut code = |line: &str| {
        let mut out = Vec::new();
        dialogue.handle(Command::parse(line.as_bytes()), &Full, &mut out);
        String::from_utf8(out).unwrap()[..3].to_owned()
    };
    code("EHLO x");
    for _ in 0..2 * rules.errors_limit {
        assert_eq!(
            ["MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA"].map(&mut code),
            ["452", "503", "503"]
        );
    }
    for _ in 1..rules.errors_limit {
        assert_eq!(code("nonsense"), "500");
    }
    assert_eq!(code("nonsense"), "421");
}

#[test]
fn a_mail_passes_in_order() {
    assert_eq!(
        codes(&[
            "EHLO x",
            "MAIL FROM:<>",
            "RCPT TO:<a@b>",
            "RCPT TO:<a@B>",
            "DATA",
            "end",
            "DATA",
            "QUIT"
        ]),
        [
            "250 ENHANCEDSTATUSCODES",
            "250 2.1.0",
            "250 2.1.5",
            "250 2.1.5",
            "354 End",
            "250 2.0.0",
            "503 5.5.1",
            "221 2.0.0",
            "close"
        ]
    );
}

#[test]
fn disorder_is_refused_and_ends_the_session_when_it_goes_on() {
    assert_eq!(
        codes(&["MAIL FROM:<>", "RCPT TO:<a@b>", "DATA"]),
        ["503 5.5.1", "503 5.5.1", "421 4.7.0", "close"]
    );
    assert_eq!(
        codes(&["HELO x", "MAIL FROM:<>", "MAIL FROM:<>", "RCPT TO:<a@elsewhere>", "DATA"])[2..],
        ["503 5.5.1", "554 5.7.1", "421 4.7.0", "close"]
    );
}

#[test]
fn limits_have_their_codes() {
    let mail = ["MAIL FROM:<>", "RCPT TO:<a@b>", "DATA", "end"];
    let session = [&["EHLO x"][..], &mail, &mail, &mail].concat();
    assert_eq!(codes(&session)[9..], ["421 4.7.0", "close"]);
    assert_eq!(codes(&["EHLO x", "MAIL FROM:<> SIZE=1001"])[1..], ["552 5.3.4"]);
    assert_eq!(
        codes(&[
            "EHLO x",
            "MAIL FROM:<>",
            "RCPT TO:<a@b>",
            "RCPT TO:<A@b>",
            "RCPT TO:<c@b>",
            "RCPT TO:<a@b>"
        ])[4..],
        ["452 4.5.3", "250 2.1.5"]
    );
    assert_eq!(codes(&["NOOP"; 7])[5..], ["421 4.7.0", "close"]);
}

#[test]
fn addresses_beyond_ascii_need_smtputf8() {
    assert_eq!(codes(&["EHLO x", "MAIL FROM:<é@b>"])[1..], ["553 5.6.7"]);
    assert_eq!(codes(&["EHLO x", "MAIL FROM:<a@b>", "RCPT TO:<é@b>"])[2..], ["553 5.6.7"]);
    assert_eq!(
        codes(&["EHLO x", "MAIL FROM:<é@b> SMTPUTF8", "RCPT TO:<é@b>"])[1..],
        ["250 2.1.0", "250 2.1.5"]
    );
}

proptest! {
    #[test]
    fn every_order_of_commands_is_answered_once_and_content_needs_a_whole_envelope(
        lines in prop::collection::vec(
            prop_oneof![
                Just("EHLO x"), Just("HELO y"), Just("MAIL FROM:<a@b>"), Just("MAIL FROM:<>"),
                Just("RCPT TO:<a@b>"), Just("RCPT TO:<c@elsewhere>"),
                Just("RCPT TO:<postmaster>"), Just("DATA"), Just("RSET"), Just("NOOP"),
                Just("QUIT"), Just("STARTTLS"), Just("nonsense"),
                Just("BDAT 1"), Just("BDAT 0 LAST"), Just("BDAT x")
            ],
            0..40
        ),
    ) {
        let (errors_limit, mails_limit, idle_commands_limit) = (10, 100, 30);
        let rules = SessionLimits { errors_limit, mails_limit, idle_commands_limit, ..rules() };
        let mut dialogue = Dialogue::new(&rules, TlsState::Offered);
        for line in lines {
            let mut out = Vec::new();
            let mut result = dialogue.handle(Command::parse(line.as_bytes()), &Open, &mut out);
            if let NextStep::Chunk(chunk, accepted) = result.next {
                prop_assert!(out.is_empty());
                let whole = dialogue.mail().is_some_and(|mail| !mail.recipients.is_empty());
                prop_assert_eq!(accepted.is_ok(), whole);
                let reply = accepted.map(|()| Reply::new(250, (2, 0, 0), "Ok"));
                result = dialogue.end_chunk(chunk, reply, false, &mut out);
                prop_assert!(dialogue.mail().is_none() || !chunk.last);
            }
            let text = String::from_utf8(out).unwrap();
            let lasts = text.lines().filter(|line| line.as_bytes()[3] == b' ').count();
            prop_assert_eq!(lasts, 1, "{}", text);
            prop_assert!(text.ends_with("\r\n"));
            match result.next {
                NextStep::Close => break,
                NextStep::Secure => prop_assert!(dialogue.mail().is_none()),
                NextStep::Command | NextStep::Authenticate(..) => {}
                NextStep::Override(_) => prop_assert!(false, "nobody may say XCLIENT"),
                NextStep::Chunk(..) => prop_assert!(false, "a chunk leads to no chunk"),
                NextStep::Content(mail) => {
                    prop_assert!(!dialogue.is_chunking());
                    prop_assert!((1..=2).contains(&mail.recipients.len()));
                    prop_assert!(!dialogue.hello().0.is_empty());
                    dialogue.end(Ok(Reply::new(250, (2, 0, 0), "Ok")), &mut Vec::new());
                }
            }
        }
    }
}

/// The codes of a session in which the client may log in; `ok` stands for a login that came about.
fn codes_of_login(tls: TlsState, offer: &AuthOffer, lines: &[&str]) -> Vec<String> {
    let rules = rules();
    let mut dialogue = Dialogue::new(&rules, tls);
    dialogue.set_auth(Some(offer.clone()));
    let codes = lines.iter().map(|line| {
        let mut out = Vec::new();
        if *line == "ok" {
            dialogue.logged_in(&mut out);
        } else {
            let result = dialogue.handle(Command::parse(line.as_bytes()), &Open, &mut out);
            if let NextStep::Authenticate(mechanism, initial) = result.next {
                let initial = initial.as_ref().map_or("-", |initial| initial.expose());
                return format!("{mechanism} {initial}");
            }
        }
        let text = String::from_utf8(out).unwrap();
        text.lines().last().unwrap().split(' ').take(2).collect::<Vec<_>>().join(" ")
    });
    codes.collect()
}

fn offer(without_tls: bool, required: bool) -> AuthOffer {
    let mechanisms = [SaslMechanism::ScramSha256, SaslMechanism::Plain].into();
    AuthOffer { mechanisms, without_tls, required }
}

/// RFC 4954 §4.
#[test]
fn auth_has_its_time_and_place() {
    assert_eq!(codes(&["EHLO a", "AUTH PLAIN"]), ["250 ENHANCEDSTATUSCODES", "502 5.5.1"]);
    assert_eq!(codes(&["EHLO a", "AUTH"]), ["250 ENHANCEDSTATUSCODES", "502 5.5.1"]);
    let optional = offer(false, false);
    let login = |tls, lines: &[&str]| codes_of_login(tls, &optional, lines);
    assert_eq!(login(TlsState::On, &["AUTH PLAIN"]), ["503 5.5.1"]);
    assert_eq!(login(TlsState::On, &["HELO a", "AUTH PLAIN"])[1], "503 5.5.1");
    for tls in [TlsState::Offered, TlsState::Absent] {
        assert_eq!(login(tls, &["EHLO a", "AUTH PLAIN AGEAYg=="])[1], "538 5.7.11");
    }
    let begun = ["EHLO a", "MAIL FROM:<a@b>", "AUTH PLAIN"];
    assert_eq!(login(TlsState::On, &begun)[2], "503 5.5.1");
    for (line, answer) in [
        ("AUTH PLAIN", "PLAIN -"),
        ("auth plain AGEAYg==", "PLAIN AGEAYg=="),
        ("AUTH scram-sha-256 =", "SCRAM-SHA-256 ="),
        ("AUTH LOGIN", "504 5.5.4"),
        ("AUTH GSSAPI", "504 5.5.4"),
        ("AUTH", "501 5.5.4"),
        ("AUTH PLAIN a b", "501 5.5.4"),
    ] {
        assert_eq!(login(TlsState::On, &["EHLO a", line])[1], answer, "{line}");
    }
    assert_eq!(
        login(TlsState::On, &["EHLO a", "ok", "AUTH PLAIN"])[1..],
        ["235 2.7.0", "503 5.5.1"]
    );
    let plain = offer(true, false);
    let lines = ["EHLO a", "AUTH PLAIN"];
    assert_eq!(codes_of_login(TlsState::Absent, &plain, &lines)[1], "PLAIN -");
}

#[test]
fn a_port_for_submission_demands_a_login() {
    let required = offer(false, true);
    for tls in [TlsState::Offered, TlsState::On] {
        let lines = ["EHLO a", "MAIL FROM:<a@b>", "ok", "MAIL FROM:<a@b>", "RCPT TO:<a@b>"];
        let codes = codes_of_login(tls, &required, &lines);
        assert_eq!(codes[1..], ["530 5.7.0", "235 2.7.0", "250 2.1.0", "250 2.1.5"]);
    }
}

#[test]
fn auth_is_announced_where_it_may_be_used() {
    let announced = |tls, offer: AuthOffer| {
        let rules = rules();
        let mut dialogue = Dialogue::new(&rules, tls);
        dialogue.set_auth(Some(offer));
        let mut out = Vec::new();
        dialogue.handle(Command::parse(b"EHLO a"), &Open, &mut out);
        let text = String::from_utf8(out).unwrap();
        text.lines().find_map(|line| line.strip_prefix("250-AUTH ")).map(str::to_owned)
    };
    let names = Some("SCRAM-SHA-256 PLAIN".to_owned());
    assert_eq!(announced(TlsState::On, offer(false, true)), names);
    assert_eq!(announced(TlsState::Offered, offer(true, false)), names);
    assert_eq!(announced(TlsState::Offered, offer(false, false)), None);
    assert_eq!(announced(TlsState::Absent, offer(false, true)), None);
    let nobody = AuthOffer { mechanisms: [].into(), ..offer(false, true) };
    assert_eq!(announced(TlsState::On, nobody), None);
}

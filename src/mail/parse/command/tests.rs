use super::*;
use crate::mail::model::{Address, BodyType};
use crate::mail::model::{DsnNotify, RecipientDsn};
use proptest::prelude::*;

fn at(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn said(line: &str) -> Result<Command, CommandError> {
    Command::parse(line.as_bytes())
}

fn code(line: &str) -> String {
    let reply = said(line).expect_err(line).reply().to_string();
    reply.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

#[test]
fn reads_mail() {
    let plain =
        |sender| Mail { sender, size: None, body: BodyType::SevenBit, smtputf8: false, dsn: None };
    assert_eq!(said("MAIL FROM:<>"), Ok(Command::Mail(plain(None))));
    assert_eq!(said("mail from: <a@b>  "), Ok(Command::Mail(plain(Some(at("a@b"))))));
    assert_eq!(
        said("MAIL FROM:<@x.org,@[IPv6:::1]:a@b>"),
        Ok(Command::Mail(plain(Some(at("a@b")))))
    );
    assert_eq!(
        said("MAIL FROM:<\"a>\\\"b\"@c>"),
        Ok(Command::Mail(plain(Some(at("\"a>\\\"b\"@c")))))
    );
    assert_eq!(
        said("MAIL FROM:<a@b> SIZE=99999999999999999999 body=8bitmime SMTPUTF8"),
        Ok(Command::Mail(Mail {
            sender: Some(at("a@b")),
            size: Some(u64::MAX),
            body: BodyType::EightBitMime,
            smtputf8: true,
            dsn: None,
        }))
    );
}

#[test]
fn who_handed_the_mail_in_is_heard_and_not_believed() {
    for value in ["<>", "e+3Dmc2@example.com", "<a@b>", "x+2B+3D"] {
        let Ok(Command::Mail(mail)) = said(&format!("MAIL FROM:<a@b> auth={value} SIZE=5")) else {
            panic!("{value}")
        };
        assert_eq!((mail.sender, mail.size), (Some(at("a@b")), Some(5)));
    }
}

const LENIENT: Grammar<'static> = Grammar::Lenient { origin_domain: "mta.example" };

#[test]
fn the_lenient_grammar_takes_paths_as_the_field_writes_them() {
    for (line, sender) in [
        ("MAIL FROM: a@x.test", "a@x.test"),
        ("MAIL FROM:a@x.test", "a@x.test"),
        ("mail from:a@x.test SIZE=5", "a@x.test"),
        ("MAIL FROM:\"a b\"@x.test SIZE=5", "\"a b\"@x.test"),
        ("MAIL FROM:\t<a@x.test>\tSIZE=5 ", "a@x.test"),
        ("MAIL\tFROM:< a@x.test >", "a@x.test"),
        ("MAIL FROM:a@x.test.", "a@x.test"),
        ("MAIL FROM:<@b.test,@c.test:a@x.test>", "a@x.test"),
        ("MAIL FROM:@b.test:a@x.test", "a@x.test"),
        ("MAIL FROM:<root>", "root@mta.example"),
        ("MAIL FROM:root", "root@mta.example"),
        ("MAIL FROM:<\"a@b\">", "\"a@b\"@mta.example"),
        ("MAIL FROM:<foo..bar>", "foo..bar@mta.example"),
    ] {
        let Ok(Command::Mail(mail)) = Command::parse_with(line.as_bytes(), LENIENT) else {
            panic!("{line}")
        };
        assert_eq!(mail.sender, Some(at(sender)), "{line}");
        assert!(mail.size.is_none_or(|size| size == 5));
    }
    for (line, recipient) in [
        ("RCPT TO:a@x.test", "a@x.test"),
        ("rcpt to: root", "root@mta.example"),
        ("RCPT TO:<postmaster>", "postmaster@mta.example"),
        ("RCPT TO:<Postmaster>", "Postmaster@mta.example"),
        (" \tRCPT TO:<a@x.test>", "a@x.test"),
        ("RCPT TO:<a@[192.0.2.1]>", "a@[192.0.2.1]"),
    ] {
        let expected = Ok(Command::Recipient(Recipient::Mailbox(at(recipient)), None));
        assert_eq!(Command::parse_with(line.as_bytes(), LENIENT), expected, "{line}");
    }
    assert_eq!(Command::parse_with(b"DATA\t", LENIENT), Ok(Command::Data));
    assert_eq!(
        Command::parse_with(b" EHLO x", LENIENT),
        Ok(Command::Hello { name: "x".into(), extended: true })
    );
    assert_eq!(Command::parse(b" EHLO x"), Err(CommandError::Unknown));
}

#[test]
fn the_lenient_grammar_invents_nothing() {
    for line in [
        "MAIL FROM:",
        "MAIL FROM: ",
        "MAIL FROM:<a@b",
        "MAIL FROM:a@b>",
        "RCPT TO:",
        "RCPT TO:<>",
        "RCPT TO:< >",
        "MAIL a@b",
    ] {
        let error = Command::parse_with(line.as_bytes(), LENIENT).expect_err(line);
        assert_eq!(error.reply().code, 501, "{line}");
    }
    for path in [
        "a@",
        "@b",
        "a@b@",
        "a b",
        "a@b..c",
        "a@-b",
        "a@[1.2.3]",
        "a,b",
        "a@b:c",
        "@x.org:",
        "<a@b>",
        ".",
    ] {
        let said = Command::parse_with(format!("RCPT TO:<{path}>").as_bytes(), LENIENT);
        assert!(said.is_err() || path == ".", "{path}: {said:?}");
    }
    let quoted = Command::parse_with(b"MAIL FROM:<\"a\tb\"@x.test>", LENIENT);
    assert_eq!(quoted, Err(CommandError::Text), "a name with a tab is no other name");
}

#[test]
fn refuses_mail() {
    for line in [
        "MAIL",
        "MAIL <a@b>",
        "MAIL FROM a@b",
        "MAIL FROM:a@b",
        "MAIL FROM:<a@b",
        "MAIL FROM:<a@b>SIZE=1",
    ] {
        assert_eq!(code(line), "501 5.5.4", "{line}");
    }
    for line in [
        "SIZE=",
        "SIZE",
        "SIZE=-1",
        "SIZE=1 SIZE=1",
        "BODY=X",
        "BODY",
        "SMTPUTF8=1",
        "SMTPUTF8 SMTPUTF8",
        "AUTH",
        "AUTH=",
        "AUTH=a=b",
        "AUTH=+4",
        "AUTH=<> AUTH=<>",
        "RET",
        "RET=ALL",
        "RET=FULL RET=FULL",
        "ENVID=",
        "ENVID=a+0A",
    ] {
        assert_eq!(code(&format!("MAIL FROM:<a@b> {line}")), "501 5.5.4", "{line}");
    }
    for line in ["HOLDFOR=1", "BODY=BINARYMIME", "=", "é"] {
        assert_eq!(code(&format!("MAIL FROM:<a@b> {line}")), "555 5.5.4", "{line}");
    }
    for path in [
        "a",
        "@b",
        "a@",
        "@x.org:",
        "@x.org",
        "x.org:a@b",
        "@x.org,y.org:a@b",
        "a b@c",
        "postmaster",
    ] {
        assert_eq!(code(&format!("MAIL FROM:<{path}>")), "553 5.1.7", "{path}");
    }
}

#[test]
fn reads_and_refuses_recipients() {
    assert_eq!(said("RCPT TO:<a@b>"), Ok(Command::Recipient(Recipient::Mailbox(at("a@b")), None)));
    assert_eq!(said("rcpt to:<PostMaster>"), Ok(Command::Recipient(Recipient::Postmaster, None)));
    assert_eq!(
        said("RCPT TO:<grün@bücher.example>"),
        Ok(Command::Recipient(Recipient::Mailbox(at("grün@bücher.example")), None))
    );
    assert_eq!(code("RCPT TO:<>"), "501 5.5.4");
    assert_eq!(code("RCPT FROM:<a@b>"), "501 5.5.4");
    assert_eq!(code("RCPT TO:<a>"), "553 5.1.3");
    assert_eq!(code("RCPT TO:<a@b> SIZE=1"), "555 5.5.4");
    for wrong in ["NOTIFY", "NOTIFY=OFTEN", "NOTIFY=NEVER NOTIFY=NEVER", "ORCPT=x", "ORCPT=x;+0D"] {
        assert_eq!(code(&format!("RCPT TO:<a@b> {wrong}")), "501 5.5.4", "{wrong}");
    }
    let dsn = RecipientDsn {
        notify: DsnNotify::parse("success,delay"),
        original: Some("rfc822;a+2Bb@c".into()),
    };
    assert_eq!(
        said("RCPT TO:<a@b> notify=DELAY,Success orcpt=rfc822;a+2Bb@c"),
        Ok(Command::Recipient(Recipient::Mailbox(at("a@b")), Some(Box::new(dsn))))
    );
    assert_eq!(code(&format!("RCPT TO:<{}@b>", "a".repeat(253))), "553 5.1.3");
    assert!(
        said(&format!("RCPT TO:<{}@b>", "a".repeat(65))).is_ok(),
        "VERP and SRS make long local parts"
    );
}

#[test]
fn reads_the_rest() {
    let hello = |name: &str, extended| Ok(Command::Hello { name: name.into(), extended });
    assert_eq!(said("EHLO [192.0.2.1]"), hello("[192.0.2.1]", true));
    assert_eq!(said("helo my computer"), hello("my", false));
    for (line, command) in [
        ("DATA ", Command::Data),
        ("RSET", Command::Reset),
        ("noop anything", Command::Noop),
        ("HELP MAIL", Command::Help),
        ("VRFY <a@b>", Command::Verify),
        ("QUIT", Command::Quit),
    ] {
        assert_eq!(said(line), Ok(command), "{line}");
    }
    assert_eq!(said("EHLO Büro-PC"), hello("Büro-PC", true));
    for (line, name) in [
        (&b"EHLO B\xfcro-PC"[..], "B?ro-PC"),
        (b"EHLO b\xfc\xfc\xe4.local", "b???.local"),
        (b"EHLO my_pc", "my_pc"),
        (b"EHLO [127.0.0.1", "[127.0.0.1"),
        (b"EHLO [IPv6:1::2::3]", "[IPv6:1::2::3]"),
        (b"EHLO \ta\x07b\tc", "a?b"),
        (b"EHLO .", "."),
        (b"EHLO x\0", "x?"),
    ] {
        assert_eq!(Command::parse(line), hello(name, true), "{line:?}");
    }
    let long = format!("HELO {}ü", "x".repeat(254));
    assert_eq!(said(&long), hello(&"x".repeat(254), false));
    for line in ["EHLO", "HELO ", "BDAT", "BDAT x", "DATA x", "RSET x", "QUIT x", "VRFY"] {
        assert_eq!(code(line), "501 5.5.4", "{line}");
    }
    assert_eq!(said("StartTls "), Ok(Command::StartTls));
    assert_eq!(said("STARTTLS now"), Err(CommandError::Syntax(NO_ARGUMENT)));
    let auth = said("auth plain AGEAYg==").unwrap();
    assert!(format!("{auth:?}").contains("plain") && !format!("{auth:?}").contains("AGEAYg"));
    for bad in ["AUTH", "AUTH PLAIN a b"] {
        assert_eq!(code(bad), "501 5.5.4", "{bad}");
    }
    for line in ["EXPN x", "ETRN x"] {
        assert_eq!(code(line), "502 5.5.1", "{line}");
    }
    for line in ["", " EHLO x", "DAT", "DATAX", "\u{e9}", "NO\u{85}OP", "NO\0OP", "NOOP\tx"] {
        assert_eq!(code(line), "500 5.5.2", "{line}");
    }
    assert_eq!(code("POST / HTTP/1.1"), "421 4.7.0");
    assert_eq!(Command::parse(b"NOOP \xff"), Err(CommandError::Text));
}

proptest! {
    #[test]
    fn no_line_is_too_odd(line in "(MAIL FROM:|RCPT TO:|EHLO \
    |)[<>@:,.\"\\\\a-c \\[\\]é=]{0,40}") {
        if let Err(error) = said(&line) {
            let reply = error.reply();
            prop_assert!(matches!(reply.code, 421 | 500..=599));
            prop_assert!(reply.enhanced.is_some() && !reply.text.contains(['\r', '\n']));
        }
    }
}

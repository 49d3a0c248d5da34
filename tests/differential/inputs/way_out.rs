//! Mails for difficult next hops.

use crate::hop::{GOOD, Nature};

/// A mail to a next hop.
#[derive(Debug, Clone)]
pub struct Mail {
    pub name: &'static str,
    /// The hop: one of [`hops`].
    pub hop: &'static str,
    /// Parameters of MAIL.
    pub parameters: &'static str,
    /// Local parts; their domain is the hop's.
    pub recipients: Vec<&'static str>,
    pub content: Vec<u8>,
}

/// The next hops by the first label of their domains.
pub fn hops() -> Vec<(&'static str, Nature)> {
    let says = |says| Nature { says, ..GOOD };
    let announces = |keywords| Nature { keywords, ..GOOD };
    vec![
        ("good", GOOD),
        ("one-by-one", announces(&["SIZE", "8BITMIME", "SMTPUTF8"])),
        ("bare", announces(&[])),
        ("seven", announces(&["PIPELINING", "SIZE"])),
        ("ascii", announces(&["PIPELINING", "SIZE", "8BITMIME"])),
        ("small", announces(&["PIPELINING", "SIZE 1000", "8BITMIME"])),
        ("helo", says(&[("EHLO", "502 5.5.1 What?")])),
        (
            "forgets-at-mail",
            says(&[("BODY=8BITMIME", "555 5.5.4 Unsupported option: BODY=8BITMIME")]),
        ),
        ("forgets-at-end", Nature { seven_bit: true, ..GOOD }),
        ("greets-554", says(&[("", "554 5.7.1 No")])),
        ("greets-421", says(&[("", "421 4.3.2 Later")])),
        ("ehlo-554", says(&[("EHLO", "554 5.7.1 No"), ("HELO", "554 5.7.1 No")])),
        ("mail-530", says(&[("MAIL FROM", "530 5.7.0 Log in first")])),
        ("mail-554", says(&[("MAIL FROM", "554 5.7.1 You may not send here")])),
        ("mail-550", says(&[("MAIL FROM", "550 5.1.8 No such sender")])),
        ("mail-451", says(&[("MAIL FROM", "451 4.3.0 Later")])),
        (
            "rcpt",
            says(&[
                ("RCPT TO:<no", "550 5.1.1 No such mailbox"),
                ("RCPT TO:<later", "450 4.2.1 Later"),
            ]),
        ),
        ("rcpt-421", says(&[("RCPT TO", "421 4.3.2 Later")])),
        ("data-554", says(&[("DATA", "554 5.6.0 No")])),
        ("data-451", says(&[("DATA", "451 4.3.0 Later")])),
        ("end-554", says(&[(".", "554 5.7.1 Spam")])),
        ("end-552", says(&[(".", "552 5.2.2 Mailbox full")])),
        ("end-451", says(&[(".", "451 4.3.0 Later")])),
        ("quit-500", says(&[("QUIT", "500 5.5.2 What?")])),
    ]
}

const HEAD: &str = "From: sender@here.example\r\nTo: box@there.example\r\nDate: Thu, 26 Nov 2026 \
12:00:00 +0000\r\n\
                    Message-ID: <out@here.example>\r\nSubject: out\r\n";
const TEXT: &str = "MIME-Version: 1.0\r\nContent-Type: text/plain; \
charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n";

fn mail(name: &'static str, hop: &'static str, fields: &str, body: &str) -> Mail {
    let content = format!("{HEAD}{fields}\r\n{body}").into_bytes();
    Mail { name, hop, parameters: "", recipients: vec!["box"], content }
}

/// A mail of plain text to these recipients.
fn plain(name: &'static str, hop: &'static str, recipients: &[&'static str]) -> Mail {
    Mail { recipients: recipients.to_vec(), ..mail(name, hop, "", "Hello.\r\n") }
}

pub fn all() -> Vec<Mail> {
    let part = |kind: &str| format!("Content-Type: {kind}\r\nContent-Transfer-Encoding: 8bit\r\n");
    let mixed = "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; \
    boundary=b\r\nContent-Transfer-Encoding: 8bit\r\n";
    let signed = "MIME-Version: 1.0\r\nContent-Type: multipart/signed; boundary=s; \
    protocol=\"application/pgp-signature\"\r\n";
    let utf8 = |mail: Mail| Mail { parameters: " SMTPUTF8", ..mail };
    vec![
        plain("a mail", "good", &["box"]),
        plain("a mail to three", "good", &["a", "b", "c"]),
        plain("a mail without pipelining", "one-by-one", &["a", "b"]),
        plain("a mail to a hop that announces nothing", "bare", &["a", "b"]),
        plain("a mail to a hop that knows only HELO", "helo", &["a", "b"]),
        plain("a hop that does not understand QUIT", "quit-500", &["box"]),
        mail("8 bits", "good", TEXT, "Gr\u{fc}\u{df}e\r\n"),
        mail("8 bits to a hop that announces nothing", "bare", TEXT, "Gr\u{fc}\u{df}e\r\n"),
        mail("7 bits to a hop of 7 bits", "seven", TEXT, "Hello = \r\n.\r\nFrom\r\n"),
        mail(
            "8-bit text to a hop of 7 bits",
            "seven",
            TEXT,
            "Gr\u{fc}\u{df}e = \r\n.\r\n-- \r\nJ\u{fc}rgen\r\n",
        ),
        mail(
            "a long line of 8-bit text to a hop of 7 bits",
            "seven",
            TEXT,
            &format!("{}\u{fc}\r\n", "a".repeat(300)),
        ),
        mail(
            "mostly 8-bit text to a hop of 7 bits",
            "seven",
            TEXT,
            &format!("{}\r\n", "\u{44f}".repeat(60)),
        ),
        mail("8-bit text without MIME to a hop of 7 bits", "seven", "", "Gr\u{fc}\u{df}e\r\n"),
        mail(
            "an 8-bit field alone to a hop of 7 bits",
            "seven",
            "X-Name: J\u{fc}rgen\r\n",
            "Hello.\r\n",
        ),
        mail(
            "8-bit parts to a hop of 7 bits",
            "seven",
            mixed,
            &format!(
                "pre\r\n--b\r\n{}\r\n<p>\u{fc}\r\n--b\r\n{}\r\nplain\r\n--b--\r\npost\r\n",
                part("text/html; charset=utf-8"),
                part("text/plain; charset=utf-8")
            ),
        ),
        mail(
            "an 8-bit part that is no text to a hop of 7 bits",
            "seven",
            mixed,
            &format!("--b\r\n{}\r\n\u{fc}\t\r\n--b--\r\n", part("application/octet-stream")),
        ),
        mail(
            "an 8-bit message in a message to a hop of 7 bits",
            "seven",
            mixed,
            &format!("--b\r\n{}\r\n{TEXT}\r\n\u{e4} inside\r\n--b--\r\n", part("message/rfc822")),
        ),
        mail(
            "an 8-bit signed part to a hop of 7 bits",
            "seven",
            signed,
            &format!(
                "--s\r\n{}\r\n\u{fc}\r\n--s\r\nContent-Type: \
                application/pgp-signature\r\n\r\nx\r\n--s--\r\n",
                part("text/plain; charset=utf-8")
            ),
        ),
        mail(
            "8 bits with a DKIM signature to a hop of 7 bits",
            "seven",
            &format!("DKIM-Signature: v=1; a=rsa-sha256; d=here.example; b=AAAA\r\n{TEXT}"),
            "Gr\u{fc}\u{df}e\r\n",
        ),
        mail(
            "8 bits to a hop that forgets 8BITMIME at MAIL",
            "forgets-at-mail",
            TEXT,
            "Gr\u{fc}\u{df}e\r\n",
        ),
        mail(
            "8 bits to a hop that forgets 8BITMIME at the end",
            "forgets-at-end",
            TEXT,
            "Gr\u{fc}\u{df}e\r\n",
        ),
        utf8(plain("a local part of UTF-8", "good", &["b\u{f6}x"])),
        utf8(plain("a local part of UTF-8 to a hop of ASCII", "ascii", &["b\u{f6}x"])),
        utf8(plain("a local part of ASCII and SMTPUTF8 to a hop of ASCII", "ascii", &["box"])),
        utf8(Mail {
            recipients: vec!["info@b\u{fc}cher.example"],
            ..plain("a domain of UTF-8 to a hop of ASCII", "ascii", &[])
        }),
        mail(
            "more octets than a hop takes",
            "small",
            "",
            &"Hello, hello, hello, hello.\r\n".repeat(100),
        ),
        plain("a greeting of 554", "greets-554", &["box"]),
        plain("a greeting of 421", "greets-421", &["box"]),
        plain("554 to EHLO and HELO", "ehlo-554", &["box"]),
        plain("530 to MAIL", "mail-530", &["box"]),
        plain("554 5.7.1 to MAIL", "mail-554", &["box"]),
        plain("550 5.1.8 to MAIL", "mail-550", &["box"]),
        plain("451 to MAIL", "mail-451", &["box"]),
        plain("550 to a recipient", "rcpt", &["no"]),
        plain("450 to a recipient", "rcpt", &["later"]),
        plain("250, 450 and 550 to recipients", "rcpt", &["box", "later", "no", "other"]),
        plain("450 and 550 to recipients", "rcpt", &["later", "no"]),
        plain("421 to a recipient", "rcpt-421", &["box"]),
        plain("554 to DATA", "data-554", &["a", "b"]),
        plain("451 to DATA", "data-451", &["a", "b"]),
        plain("554 at the end", "end-554", &["a", "b"]),
        plain("552 at the end", "end-552", &["box"]),
        plain("451 at the end", "end-451", &["a", "b"]),
    ]
}

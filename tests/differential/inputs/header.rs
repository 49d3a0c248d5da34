//! Header sections: missing fields, wrong fields, no header section.

use crate::input::Who::{Own, Trusted};
use crate::input::{BOX, Input, WHOLE, content};

pub fn all() -> Vec<Input> {
    let own = |name: &str, text: &str| content(Own, name, text);
    let with =
        |name: &str, fields: &str| content(Own, name, format!("{WHOLE}{fields}\r\nHello.\r\n"));
    let without = |fields: &[&str]| -> String {
        WHOLE
            .split_inclusive("\r\n")
            .filter(|line| !fields.iter().any(|field| line.starts_with(field)))
            .collect::<String>()
            + "\r\nHello.\r\n"
    };
    let hops =
        |count: usize| "Received: from a by b; Thu, 26 Nov 2026 12:00:00 +0000\r\n".repeat(count);
    vec![
        own("no content", ""),
        own("an empty line alone", "\r\n"),
        own("no header section", "Hello.\r\n"),
        own("no header section, two lines", "Hello.\r\nSubject: no\r\n"),
        own("an empty line on top", "\r\nHello.\r\n"),
        own("an empty line before fields", "\r\nSubject: x\r\n\r\nHello.\r\n"),
        own("a blank on top", " Hello.\r\n"),
        own("a tab on top", "\tSubject: x\r\n\r\nHello.\r\n"),
        own("a line of blanks on top", "  \r\nHello.\r\n"),
        own("no empty line behind the header section", &format!("{WHOLE}Hello.\r\n")),
        own("a header section alone", WHOLE),
        own(
            "an mbox line on top",
            &format!("From sender Thu Nov 26 12:00:00 2026\r\n{WHOLE}\r\nHello.\r\n"),
        ),
        own(
            "a quoted mbox line on top",
            &format!(">From sender Thu Nov 26 12:00:00 2026\r\n{WHOLE}\r\nHello.\r\n"),
        ),
        own("two mbox lines on top", &format!("From a\r\nFrom b\r\n{WHOLE}\r\nHello.\r\n")),
        own(
            "an mbox line in the midst",
            &format!("{WHOLE}From sender Thu Nov 26 12:00:00 2026\r\n\r\nHello.\r\n"),
        ),
        own("a text that begins with From", "From what I hear, it works.\r\nBye.\r\n"),
        own("a text that begins with From, behind an empty line", "\r\nFrom what I hear.\r\n"),
        own(
            "an mbox line and an empty line",
            "From sender Thu Nov 26 12:00:00 2026\r\n\r\nHello.\r\n",
        ),
        own("an mbox line alone", "From sender\r\n"),
        own("From and a colon", "From sender: x\r\n\r\nHello.\r\n"),
        own("From that is a field", "From : sender@here.example\r\n\r\nHello.\r\n"),
        own("no From", &without(&["From"])),
        own("no Date", &without(&["Date"])),
        own("no Message-ID", &without(&["Message-ID"])),
        own("no From, Date and Message-ID", &without(&["From", "Date", "Message-ID"])),
        own("no To", &without(&["To"])),
        content(
            Trusted,
            "no From, Date and Message-ID, from a network that may relay",
            without(&["From", "Date", "Message-ID"]),
        ),
        Input::new(Own, "no From, from the null sender")
            .greeted()
            .say("MAIL FROM:<>")
            .say(BOX)
            .content(without(&["From"])),
        Input::new(Own, "no From, from a bare name")
            .greeted()
            .say("MAIL FROM:<root>")
            .say(BOX)
            .content(without(&["From"])),
        Input::new(Own, "no From, from a quoted name")
            .greeted()
            .say("MAIL FROM:<\"a b\"@here.example>")
            .say(BOX)
            .content(without(&["From"])),
        own("an empty From", &without(&["From"]).replace("\r\n\r\n", "\r\nFrom:\r\n\r\n")),
        own("an empty Date", &without(&["Date"]).replace("\r\n\r\n", "\r\nDate:\r\n\r\n")),
        own("From twice", &format!("From: other@here.example\r\n{WHOLE}\r\nHello.\r\n")),
        own(
            "a Date that is none",
            &without(&["Date"]).replace("\r\n\r\n", "\r\nDate: now\r\n\r\n"),
        ),
        with("Bcc", "Bcc: secret@there.example\r\n"),
        with("bcc in small letters", "bcc: secret@there.example\r\n"),
        with(
            "Bcc of several lines",
            "Bcc: secret@there.example,\r\n \
            other@there.example,\r\n\tthird@there.example\r\nX-After: 1\r\n",
        ),
        with("Bcc with a blank before the colon", "Bcc : secret@there.example\r\n"),
        with("an empty Bcc", "Bcc:\r\n"),
        with("Bcc twice", "Bcc: a@there.example\r\nX-Between: 1\r\nBcc: b@there.example\r\n"),
        with("X-Bcc", "X-Bcc: a@there.example\r\nBccs: b\r\n"),
        with("Return-Path", "Return-Path: <other@here.example>\r\n"),
        with("Content-Length", "Content-Length: 8\r\n"),
        with("Resent-Bcc alone", "Resent-Bcc: secret@there.example\r\n"),
        with(
            "Resent-From and Resent-Bcc",
            "Resent-From: a@here.example\r\nResent-Bcc: secret@there.example\r\n",
        ),
        with("Resent-To alone", "Resent-To: a@there.example\r\n"),
        with(
            "all Resent- fields",
            "Resent-From: a@here.example\r\nResent-Date: Thu, 26 Nov 2026 12:00:00 \
            +0000\r\nResent-Message-ID: <r@here.example>\r\n",
        ),
        content(
            Trusted,
            "Bcc and Return-Path, from a network that may relay",
            format!("Return-Path: <a@b>\r\n{WHOLE}Bcc: secret@there.example\r\n\r\nBcc: text\r\n"),
        ),
        own("Bcc in the body", &format!("{WHOLE}\r\nBcc: text\r\nReturn-Path: text\r\n")),
        with("a blank before the colon", "X-Blank : 1\r\n"),
        with("several blanks before the colon", "X-Blank \t : 1\r\n"),
        with("a blank before the colon of Subject", "Subject : again\r\n"),
        with("no blank behind the colon", "X-Tight:1\r\n"),
        with("an empty field", "X-Empty:\r\n"),
        with("a folded field", "X-Folded: a\r\n b\r\n\tc\r\n"),
        with("a fold of blanks alone", "X-Folded: a\r\n \r\n b\r\n"),
        with("a field of UTF-8", "X-Name: J\u{fc}rgen\r\n"),
        with("a name of UTF-8", "X-N\u{e4}me: x\r\n"),
        with("a name with a blank inside", "X Name: x\r\n"),
        with("a colon alone", ": x\r\n"),
        with("a line without a colon", "oops\r\nX-After: 1\r\n"),
        with("a long name", &format!("X-{}: x\r\n", "n".repeat(200))),
        with("a control character in a field", "X-Bell: \u{7}\r\n"),
        with("a bare name in Cc", "Cc: root\r\n"),
        with(
            "Errors-To, Sender, Reply-To",
            "Errors-To: a@b.example\r\nSender: a@b.example\r\nReply-To: a@b.example\r\n",
        ),
        with("Delivered-To", "Delivered-To: other@there.example\r\n"),
        with("Delivered-To, the recipient", "Delivered-To: box@there.example\r\n"),
        with(
            "DKIM-Signature on top",
            "DKIM-Signature: v=1; a=rsa-sha256; d=here.example; b=AAAA\r\n",
        ),
        with(
            "MIME",
            "MIME-Version: 1.0\r\nContent-Type: text/plain; \
            charset=us-ascii\r\nContent-Transfer-Encoding: quoted-printable\r\n",
        ),
        with(
            "MIME with a wrong encoding",
            "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; \
            boundary=b\r\nContent-Transfer-Encoding: base64\r\n",
        ),
        with("MIME without a boundary", "MIME-Version: 1.0\r\nContent-Type: multipart/mixed\r\n"),
        own("10 hops", &format!("{}{WHOLE}\r\nHello.\r\n", hops(10))),
        own("50 hops", &format!("{}{WHOLE}\r\nHello.\r\n", hops(50))),
        own("51 hops", &format!("{}{WHOLE}\r\nHello.\r\n", hops(51))),
        own("100 hops", &format!("{}{WHOLE}\r\nHello.\r\n", hops(100))),
        own("101 hops", &format!("{}{WHOLE}\r\nHello.\r\n", hops(101))),
        own("101 hops in the body", &format!("{WHOLE}\r\n{}", hops(101))),
        own(
            "lower-case hops",
            &format!("{}{WHOLE}\r\nHello.\r\n", hops(120).replace("Received", "received")),
        ),
    ]
}

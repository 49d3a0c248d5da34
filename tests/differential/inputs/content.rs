//! What follows DATA: lines, dots, octets, sizes.

use crate::input::Who::{Own, Trusted};
use crate::input::{Input, WHOLE, content};

fn body(name: &str, text: impl AsRef<[u8]>) -> Input {
    content(Own, name, [WHOLE.as_bytes(), b"\r\n", text.as_ref()].concat())
}

fn wire(name: &str, text: impl AsRef<[u8]>) -> Input {
    Input::new(Own, name).enveloped().wire([WHOLE.as_bytes(), b"\r\n", text.as_ref()].concat())
}

pub fn all() -> Vec<Input> {
    let line = |length: usize| format!("{}\r\n", "x".repeat(length));
    let mime = "MIME-Version: 1.0\r\nContent-Type: text/plain; \
    charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n";
    vec![
        body("a text", "Hello.\r\n"),
        body("an empty body", ""),
        body("blank lines", "\r\n\r\n\r\nHello.\r\n\r\n\r\n"),
        body("dots", ".\r\n..\r\n...\r\n.a\r\n. \r\n.\r\n"),
        body("blanks at the ends of lines", "a \r\nb\t\r\n \r\n\t\r\n"),
        body("From at the start of a line", "From here on\r\n>From there\r\n"),
        body("control characters", b"a\x01\x02\x07\x08\x0b\x0c\x1b\x7fb\r\n"),
        body("a line of 998 octets", line(998)),
        body("a line of 999 octets", line(999)),
        body("a line of 1000 octets", line(1000)),
        body("a line of 2000 octets", line(2000)),
        body("a line of 5000 octets", line(5000)),
        body("a line of 3000 octets that begins with a dot", format!(".{}", line(3000))),
        content(
            Own,
            "a field of 1500 octets",
            format!("{WHOLE}X-Long: {}\r\nHello.\r\n", line(1500)),
        ),
        content(
            Own,
            "a field of many lines",
            format!("{WHOLE}X-Long: a\r\n{}\r\nHello.\r\n", " b c d\r\n".repeat(100)),
        ),
        body("8 bits without MIME", "Gr\u{fc}\u{df}e\r\n"),
        body("8 bits that are no UTF-8", b"Gr\xfc\xdfe\r\n"),
        content(Own, "8 bits with MIME", format!("{WHOLE}{mime}\r\nGr\u{fc}\u{df}e\r\n")),
        content(Own, "8 bits in a field", format!("{WHOLE}X-Name: J\u{fc}rgen\r\n\r\nHello.\r\n")),
        Input::new(Own, "8 bits behind BODY=7BIT")
            .greeted()
            .say("MAIL FROM:<sender@here.example> BODY=7BIT")
            .say(crate::input::BOX)
            .content(format!("{WHOLE}{mime}\r\nGr\u{fc}\u{df}e\r\n")),
        Input::new(Own, "8 bits behind BODY=8BITMIME")
            .greeted()
            .say("MAIL FROM:<sender@here.example> BODY=8BITMIME")
            .say(crate::input::BOX)
            .content(format!("{WHOLE}{mime}\r\nGr\u{fc}\u{df}e\r\n")),
        Input::new(Own, "7 bits behind BODY=8BITMIME")
            .greeted()
            .say("MAIL FROM:<sender@here.example> BODY=8BITMIME")
            .say(crate::input::BOX)
            .whole(),
        Input::new(Own, "7 bits behind SMTPUTF8")
            .greeted()
            .say("MAIL FROM:<sender@here.example> SMTPUTF8")
            .say(crate::input::BOX)
            .whole(),
        body("NUL", b"a\0b\r\n"),
        content(Own, "NUL in a field", b"Subject: a\0b\r\n\r\nHello.\r\n"),
        wire("a bare LF", "a\nb\r\n.\r\n"),
        wire("a bare CR", "a\rb\r\n.\r\n"),
        wire("CR CR LF", "a\r\r\nb\r\n.\r\n"),
        wire("a line of a bare CR", "\r\r\n.\r\n"),
        wire("LF dot LF", "a\n.\nb\r\n.\r\n"),
        wire("a dot that is not doubled", "a\r\n.b\r\n.\r\n"),
        wire("a dot and a blank", ". \r\n.\r\n"),
        body("as many octets as are allowed", line(70).repeat(13_500)),
        body("more octets than are allowed", line(70).repeat(14_000)),
        body("two hundred thousand short lines", "\r\n".repeat(200_000)),
        content(Trusted, "a text from a network that may relay", format!("{WHOLE}\r\nHello.\r\n")),
        Input::new(Own, "a content octet by octet")
            .enveloped()
            .send("DATA\r\n", 1)
            .send("Subject: x\r", 0)
            .send("\n\r", 0)
            .send("\n..", 0)
            .send("a\r\n.", 0)
            .send("\r", 0)
            .send("\n", 1),
    ]
}

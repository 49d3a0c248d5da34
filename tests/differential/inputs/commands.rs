//! Commands that do not belong to a mail, and lines that are not commands.

use crate::input::Who::{Own, Stranger};
use crate::input::{Input, named};

fn said(line: impl AsRef<[u8]>) -> Input {
    Input::new(Own, format!("say {}", named(line.as_ref()))).greeted().say(line).say("NOOP")
}

pub fn all() -> Vec<Input> {
    let stranger =
        |line: &str| Input::new(Stranger, format!("say {line}, a stranger")).greeted().say(line);
    vec![
        said("NOOP"),
        said("noop"),
        said("NOOP with words"),
        said("NOOP  "),
        said("RSET"),
        said("RSET now"),
        said("QUIT"),
        said("quit  "),
        said("QUIT now"),
        said("HELP"),
        said("HELP MAIL"),
        said("VRFY box@there.example"),
        said("VRFY box"),
        said("VRFY"),
        said("VRFY <box@there.example>"),
        said("EXPN staff"),
        said("EXPN"),
        said("ETRN there.example"),
        said("TURN"),
        said("SEND FROM:<sender@here.example>"),
        said("SOML FROM:<sender@here.example>"),
        said("AUTH PLAIN AGEAYg=="),
        said("AUTH LOGIN"),
        said("AUTH"),
        said("STARTTLS"),
        said("BDAT 0 LAST"),
        said("XCLIENT ADDR=192.0.2.1"),
        said("XFORWARD NAME=x"),
        said("NONSENSE"),
        said("NONSENSE with words"),
        said("EHLOX x"),
        said("DATAX"),
        said("MAILFROM:<sender@here.example>"),
        said(""),
        said(" "),
        said(" NOOP"),
        said("."),
        said("220 hello"),
        said("GET / HTTP/1.1"),
        said("POST / HTTP/1.1"),
        said("CONNECT there.example:25 HTTP/1.0"),
        said("Host: here.example"),
        said("Subject: hello"),
        said(b"\xff\xfe"),
        said(b"NOOP\x00"),
        said(b"NO\x08OP"),
        said("\u{430}\u{431}"),
        said("x".repeat(510)),
        said("x".repeat(1000)),
        said(format!("NOOP {}", "x".repeat(1000))),
        said(format!("NOOP {}", "x".repeat(3000))),
        Input::new(Own, "a line that ends with LF alone").greeted().send("NOOP\n", 1),
        Input::new(Own, "a line that holds a CR").greeted().send("NO\rOP\r\n", 1),
        Input::new(Own, "a line that ends with CR CR LF").greeted().send("NOOP\r\r\n", 1),
        Input::new(Stranger, "HTTP at once")
            .send("GET / HTTP/1.1\r\nHost: here.example\r\n\r\n", 1),
        Input::new(Stranger, "TLS at once")
            .send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n".as_slice(), 1),
        stranger("NOOP"),
        stranger("HELP"),
        stranger("VRFY box@there.example"),
        stranger("VRFY postmaster"),
        stranger("EXPN staff"),
        stranger("ETRN there.example"),
        stranger("NONSENSE"),
        stranger("RSET now"),
        stranger("QUIT now"),
        stranger("NOOP with words"),
    ]
}

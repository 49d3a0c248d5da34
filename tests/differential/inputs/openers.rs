//! The beginning of a session.

use crate::input::Who::{Own, Stranger};
use crate::input::{BOX, Input, named};

const MAIL: &str = "MAIL FROM:<sender@here.example>";

fn opens(line: impl AsRef<[u8]>) -> Input {
    let line = line.as_ref();
    Input::new(Own, named(line)).say(line).say(MAIL).say(BOX).whole()
}

pub fn all() -> Vec<Input> {
    let long = |verb: &str, length: usize| format!("{verb} {}", "a".repeat(length));
    vec![
        opens("EHLO client.example"),
        opens("HELO client.example"),
        opens("ehlo Client.Example"),
        opens("EhLo localhost"),
        opens("EHLO PC-17"),
        opens("EHLO my_computer"),
        opens("EHLO client.example."),
        opens("EHLO .client"),
        opens("EHLO -"),
        opens("EHLO [192.0.2.1]"),
        opens("EHLO [IPv6:2001:db8::1]"),
        opens("EHLO [192.0.2.256]"),
        opens("EHLO [IPv6:x]"),
        opens("EHLO []"),
        opens("EHLO 192.0.2.1"),
        opens("EHLO 2001:db8::1"),
        opens("EHLO 4711"),
        opens("EHLO client.example  "),
        opens("EHLO  client.example"),
        opens("EHLO client.example and more"),
        opens("EHLO\tclient.example"),
        opens("EHLO a,b;c"),
        opens("EHLO <client>"),
        opens("EHLO \"client\""),
        opens("EHLO a@b"),
        opens("EHLO B\u{fc}ro-PC"),
        opens(b"EHLO B\xfcro-PC"),
        opens(b"HELO B\xfcro-PC"),
        opens(b"EHLO a\x01b"),
        opens("EHLO"),
        opens("EHLO "),
        opens("HELO"),
        opens(long("EHLO", 63)),
        opens(long("EHLO", 64)),
        opens(long("EHLO", 255)),
        opens(long("EHLO", 256)),
        opens(long("HELO", 1000)),
        Input::new(Own, "MAIL without a greeting").say(MAIL).say(BOX).whole(),
        Input::new(Own, "RCPT without a greeting").say(BOX),
        Input::new(Own, "DATA without a greeting").say("DATA"),
        Input::new(Own, "EHLO after EHLO without a name")
            .say("EHLO")
            .greeted()
            .say(MAIL)
            .say(BOX)
            .whole(),
        Input::new(Own, "HELO after EHLO in a code page")
            .say(b"EHLO \xe4")
            .say("HELO x")
            .say(MAIL)
            .say(BOX)
            .whole(),
        Input::new(Own, "EHLO twice").greeted().greeted().say(MAIL).say(BOX).whole(),
        Input::new(Own, "HELO, then EHLO")
            .say("HELO a.example")
            .greeted()
            .say(MAIL)
            .say(BOX)
            .whole(),
        Input::new(Own, "EHLO, then HELO")
            .greeted()
            .say("HELO a.example")
            .say(MAIL)
            .say(BOX)
            .whole(),
        Input::new(Own, "HELO and parameters of EHLO")
            .say("HELO a.example")
            .say(format!("{MAIL} SIZE=100 BODY=8BITMIME")),
        Input::new(Stranger, "MAIL without a greeting, from a stranger").say(MAIL),
        Input::new(Stranger, "EHLO without a name, from a stranger").say("EHLO").say(MAIL),
        Input::new(Stranger, "EHLO in a code page, from a stranger").say(b"EHLO B\xfcro").say(MAIL),
    ]
}

//! Commands in an unusual order, and several at once.

use crate::input::Who::{Own, Stranger};
use crate::input::{BOX, Input, WHOLE};

const MAIL: &str = "MAIL FROM:<sender@here.example>";
const OTHER: &str = "RCPT TO:<other@there.example>";

pub fn all() -> Vec<Input> {
    let new = |name: &str| Input::new(Own, name).greeted();
    let mail = |name: &str| new(name).say(MAIL);
    let group = |lines: &[&str]| lines.iter().map(|line| format!("{line}\r\n")).collect::<String>();
    vec![
        new("RCPT before MAIL").say(BOX).say(MAIL).say(BOX).whole(),
        new("DATA before MAIL").say("DATA").say(MAIL).say(BOX).whole(),
        mail("DATA before RCPT").say("DATA").say(BOX).whole(),
        mail("MAIL twice").say(MAIL).say(BOX).whole(),
        mail("MAIL behind RCPT").say(BOX).say("MAIL FROM:<other@here.example>").whole(),
        mail("MAIL behind RSET").say("RSET").say("MAIL FROM:<other@here.example>").say(BOX).whole(),
        mail("EHLO inside a mail").say(BOX).greeted().say(OTHER).say(MAIL).say(OTHER).whole(),
        mail("HELO inside a mail").say(BOX).say("HELO client.example").say("DATA"),
        mail("RSET inside a mail").say(BOX).say("RSET").say("DATA").say(MAIL).say(OTHER).whole(),
        mail("NOOP inside a mail").say("NOOP").say(BOX).say("NOOP").whole(),
        mail("VRFY inside a mail").say("VRFY box").say(BOX).whole(),
        mail("an unknown command inside a mail").say("NONSENSE").say(BOX).whole(),
        mail("a recipient twice").say(BOX).say(BOX).whole(),
        mail("a recipient in another case").say(BOX).say("RCPT TO:<box@There.Example>").whole(),
        mail("a mailbox in another case").say(BOX).say("RCPT TO:<Box@there.example>").whole(),
        mail("several recipients")
            .say(BOX)
            .say(OTHER)
            .say("RCPT TO:<third@elsewhere.example>")
            .whole(),
        mail("a bad recipient among good ones")
            .say(BOX)
            .say("RCPT TO:<a b@there.example>")
            .say(OTHER)
            .whole(),
        mail("bad recipients alone").say("RCPT TO:<>").say("RCPT TO:<a b@c>").say("DATA"),
        mail("two mails in a session")
            .say(BOX)
            .whole()
            .say("MAIL FROM:<>")
            .say(OTHER)
            .content("Subject: second\r\n"),
        mail("a mail behind one that was refused")
            .say(BOX)
            .content(format!(
                "Subject: x\r\n\r\n{}",
                format!("{}\r\n", "x".repeat(70)).repeat(15_000)
            ))
            .say(MAIL)
            .say(OTHER)
            .whole(),
        mail("DATA behind a mail").say(BOX).whole().say("DATA"),
        mail("RCPT behind a mail").say(BOX).whole().say(OTHER),
        mail("DATA now").say(BOX).say("DATA now").whole(),
        mail("data in small letters")
            .say(BOX)
            .say("RSET")
            .say("mail from:<sender@here.example>")
            .say("rcpt to:<box@there.example>")
            .whole(),
        mail("QUIT inside a mail").say(BOX).say("QUIT").say("NOOP"),
        mail("a mail, QUIT, and more").say(BOX).whole().say("QUIT").say("NOOP"),
        Input::new(Own, "a whole envelope in one piece")
            .send(group(&["EHLO client.example", MAIL, BOX, OTHER]), 4)
            .whole(),
        Input::new(Own, "a whole mail in one piece")
            .send(group(&["EHLO client.example", MAIL, BOX]), 3)
            .send(format!("DATA\r\n{WHOLE}\r\n.\r\nNOOP\r\nQUIT\r\n"), 4),
        new("a group with a bad command inside")
            .send(group(&[MAIL, "RCPT TO:<a b@c>", "NONSENSE", BOX]), 4)
            .whole(),
        new("a group whose DATA is refused")
            .send(group(&[MAIL, "RCPT TO:<>", "DATA", "RSET", "NOOP"]), 5),
        new("commands octet by octet do not matter")
            .send("NO", 0)
            .send("OP\r", 0)
            .send("\nRSET\r\n", 2),
        new("a hundred commands at once").send("NOOP\r\n".repeat(50) + &"RSET\r\n".repeat(50), 100),
        Input::new(Own, "a client that speaks first")
            .send("EHLO client.example\r\nMAIL FROM:<a@b.example>\r\n", 2)
            .say(BOX)
            .whole(),
        Input::new(Stranger, "a stranger's group")
            .send(group(&["EHLO client.example", MAIL, BOX, "DATA"]), 4),
        Input::new(Stranger, "a stranger's DATA without recipients")
            .greeted()
            .say(MAIL)
            .say("DATA"),
        Input::new(Stranger, "a stranger's order")
            .greeted()
            .say(BOX)
            .say("DATA")
            .say(MAIL)
            .say(MAIL)
            .say("RSET")
            .say(MAIL),
    ]
}

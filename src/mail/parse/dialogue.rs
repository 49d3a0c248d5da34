//! The SMTP session of RFC 5321 as a state machine: commands in, replies out.

use super::{Command, CommandError, LineFlaw, Mail, Recipient};
use crate::mail::model::{Address, Class, Envelope, Refusal, Reply, Verdict};
use std::io::Write;

/// Limits of a session.
#[derive(Debug, Clone)]
pub struct Rules {
    /// The relay's own name in greetings.
    pub hostname: String,
    /// The largest content in octets; EHLO announces it.
    pub size_limit: u64,
    /// Recipients of one mail, at most; not above [`Envelope::RECIPIENTS_MAX`].
    pub recipients_limit: usize,
    /// Permanent error replies before the session ends; an accepted mail resets the count.
    pub errors_limit: usize,
    /// Mails of one session.
    pub mails_limit: usize,
    /// Commands in a row that do not lead to a mail (EHLO, NOOP, RSET, VRFY, HELP).
    pub chatter_limit: usize,
}

impl Rules {
    /// The default limits.
    pub fn new(hostname: impl Into<String>, size_limit: u64) -> Self {
        Self {
            hostname: hostname.into(),
            size_limit,
            recipients_limit: Envelope::RECIPIENTS_MAX,
            errors_limit: 20,
            mails_limit: 100_000,
            chatter_limit: 1000,
        }
    }
}

/// Decisions that the SMTP session takes from outside.
pub trait Gate {
    /// Whether a mail may begin now.
    fn mail(&self) -> Verdict;

    /// Whether this client may send to this mailbox.
    fn recipient(&self, recipient: &Address) -> Verdict;
}

/// The state of STARTTLS in a session (RFC 3207).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// There is no key: the command is unknown, and EHLO does not announce it.
    Absent,
    /// EHLO announces it.
    Offered,
    /// The session is encrypted.
    On,
}

/// What happens next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Read the next command.
    Command,
    /// Read the content of the mail with this envelope, which has a recipient; at its end call
    /// [`Dialogue::end`].
    Content(Envelope),
    /// Send the pending replies, then do the handshake; then call [`Dialogue::inside_tls`].
    Secure,
    /// Send the pending replies, then close.
    Close,
}

/// The result of one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// What happens next.
    pub next: Next,
    /// What was rejected and why; [`Reply`] has the text of the rejection even if the session ends
    /// with another reply.
    pub refused: Option<(Reply, Refusal)>,
}

/// One session.
#[derive(Debug)]
pub struct Dialogue<'a> {
    rules: &'a Rules,
    tls: Tls,
    hello: Option<(Box<str>, bool)>,
    mail: Option<Envelope>,
    errors: usize,
    mails: usize,
    chatter: usize,
    /// The last MAIL was deferred: clients that pipeline send RCPT and DATA all the same, which is
    /// not an error of theirs.
    put_off: bool,
}

impl<'a> Dialogue<'a> {
    /// A session before its greeting.
    pub fn new(rules: &'a Rules, tls: Tls) -> Self {
        Self {
            rules,
            tls,
            hello: None,
            mail: None,
            errors: 0,
            mails: 0,
            chatter: 0,
            put_off: false,
        }
    }

    /// The session after the handshake: everything said before is forgotten (RFC 3207 §4.2) except
    /// the counts, so that no limit applies twice.
    pub fn inside_tls(self) -> Self {
        Self { tls: Tls::On, hello: None, mail: None, put_off: false, ..self }
    }

    /// Writes the greeting.
    pub fn greet(&self, out: &mut Vec<u8>) {
        write_reply(out, &Reply::plain(220, format!("{} ESMTP Postern", self.rules.hostname)));
    }

    /// The client's name and whether it said EHLO; empty before either.
    pub fn hello(&self) -> (&str, bool) {
        self.hello.as_ref().map_or(("", false), |(name, extended)| (name, *extended))
    }

    /// The mail in progress, between MAIL and DATA.
    pub fn mail(&self) -> Option<&Envelope> {
        self.mail.as_ref()
    }

    /// Handles one command, or the error in it, and appends the reply to `out`.
    pub fn hear(
        &mut self,
        command: Result<Command, CommandError>,
        gate: &impl Gate,
        out: &mut Vec<u8>,
    ) -> Heard {
        let answer = match command {
            Ok(Command::Mail(mail)) => self.begin(mail, gate),
            Ok(Command::Recipient(recipient)) => self.recipient(recipient, gate),
            Ok(Command::Data) => match self.data() {
                Ok(envelope) => {
                    write_reply(out, &Reply::plain(354, "End the message with <CR><LF>.<CR><LF>"));
                    return Heard { next: Next::Content(envelope), refused: None };
                }
                Err(refused) => Err(refused),
            },
            Ok(Command::StartTls) => match self.start_tls() {
                Ok(reply) => {
                    write_reply(out, &reply);
                    return Heard { next: Next::Secure, refused: None };
                }
                Err(refused) => Err(refused),
            },
            Ok(Command::Quit) => {
                write_reply(out, &Reply::new(221, (2, 0, 0), "Bye"));
                return Heard { next: Next::Close, refused: None };
            }
            Ok(idle) => {
                self.chatter += 1;
                if self.chatter > self.rules.chatter_limit {
                    return self.refuse(
                        Reply::new(421, (4, 7, 0), "Too many commands without a mail"),
                        Refusal::Limit,
                        out,
                    );
                }
                match idle {
                    Command::Hello { name, extended } => {
                        self.mail = None;
                        self.hello = Some((name, extended));
                        self.write_hello(extended, out);
                        return Heard { next: Next::Command, refused: None };
                    }
                    Command::Reset => {
                        self.mail = None;
                        Ok(Reply::new(250, (2, 0, 0), "Ok"))
                    }
                    Command::Verify => {
                        Ok(Reply::new(252, (2, 0, 0), "Cannot verify; send mail and see"))
                    }
                    Command::Help => Ok(Reply::new(
                        214,
                        (2, 0, 0),
                        "EHLO HELO MAIL RCPT DATA RSET NOOP VRFY HELP QUIT: see RFC 5321",
                    )),
                    _ => Ok(Reply::new(250, (2, 0, 0), "Ok")),
                }
            }
            Err(error) if error.is_fatal() => {
                let (reply, reason) = (error.reply(), error.refusal());
                write_reply(out, &reply);
                return Heard { next: Next::Close, refused: Some((reply, reason)) };
            }
            Err(error) => Err((error.reply(), error.refusal())),
        };
        match answer {
            Ok(reply) => {
                write_reply(out, &reply);
                Heard { next: Next::Command, refused: None }
            }
            Err((reply, reason)) => self.refuse(reply, reason, out),
        }
    }

    /// The content has ended: appends the reply with the result.
    pub fn end(&mut self, result: Result<Reply, (Reply, Refusal)>, out: &mut Vec<u8>) -> Heard {
        match result {
            Ok(reply) => {
                self.errors = 0;
                self.chatter = 0;
                write_reply(out, &reply);
                Heard { next: Next::Command, refused: None }
            }
            Err((reply, reason)) => self.refuse(reply, reason, out),
        }
    }

    /// 421 ends the session (RFC 5321 §3.8), and so do too many permanent error replies.
    fn refuse(&mut self, reply: Reply, reason: Refusal, out: &mut Vec<u8>) -> Heard {
        let follows = self.put_off && reply.code == 503;
        self.errors += usize::from(reply.class() == Class::Permanent && !follows);
        let over = self.errors >= self.rules.errors_limit;
        if over {
            write_reply(out, &Reply::new(421, (4, 7, 0), "Too many errors; closing"));
        } else {
            write_reply(out, &reply);
        }
        let next = if over || reply.code == 421 { Next::Close } else { Next::Command };
        Heard { next, refused: Some((reply, reason)) }
    }

    fn begin(&mut self, mail: Mail, gate: &impl Gate) -> Result<Reply, (Reply, Refusal)> {
        self.put_off = false;
        if self.hello.is_none() {
            return Err(out_of_order("Say EHLO or HELO first"));
        }
        if self.mail.is_some() {
            return Err(out_of_order("One mail at a time; say RSET to drop it"));
        }
        if self.mails >= self.rules.mails_limit {
            return Err((
                Reply::new(421, (4, 7, 0), "Many mails in one session; connect again for more"),
                Refusal::Limit,
            ));
        }
        if mail.size.is_some_and(|size| size > self.rules.size_limit) {
            let text = format!("Message too large; the limit is {} octets", self.rules.size_limit);
            return Err((Reply::new(552, (5, 3, 4), text), Refusal::Limit));
        }
        if !mail.smtputf8 && mail.sender.as_ref().is_some_and(|sender| !sender.is_ascii()) {
            return Err(needs_smtputf8());
        }
        if let Verdict::Refuse(reply, reason) = gate.mail() {
            self.put_off = reply.class() == Class::Temporary;
            return Err((reply, reason));
        }
        self.mails += 1;
        self.mail = Some(Envelope {
            sender: mail.sender,
            recipients: Vec::new(),
            body: mail.body,
            smtputf8: mail.smtputf8,
        });
        Ok(Reply::new(250, (2, 1, 0), "Ok"))
    }

    fn recipient(
        &mut self,
        recipient: Recipient,
        gate: &impl Gate,
    ) -> Result<Reply, (Reply, Refusal)> {
        let Some(mail) = &mut self.mail else {
            return Err(out_of_order("Say MAIL first"));
        };
        let recipient = match recipient {
            Recipient::Mailbox(address) => address,
            // RFC 5321 §4.5.1: the postmaster of this host.
            Recipient::Postmaster => Address::parse(&format!("postmaster@{}", self.rules.hostname))
                .map_err(|_| {
                    (
                        Reply::new(550, (5, 1, 1), "No postmaster: our own name is no domain"),
                        Refusal::Syntax,
                    )
                })?,
        };
        if !mail.smtputf8 && !recipient.is_ascii() {
            return Err(needs_smtputf8());
        }
        if let Verdict::Refuse(reply, reason) = gate.recipient(&recipient) {
            return Err((reply, reason));
        }
        if mail.recipients.iter().any(|known| same_mailbox(known, &recipient)) {
            return Ok(Reply::new(250, (2, 1, 5), "Ok, as before"));
        }
        if mail.recipients.len() >= self.rules.recipients_limit.min(Envelope::RECIPIENTS_MAX) {
            // RFC 5321 §4.5.3.1.10: 452, and the client sends to the others in another transaction.
            return Err((
                Reply::new(452, (4, 5, 3), "Too many recipients; send the rest in another mail"),
                Refusal::Limit,
            ));
        }
        mail.recipients.push(recipient);
        Ok(Reply::new(250, (2, 1, 5), "Ok"))
    }

    fn data(&mut self) -> Result<Envelope, (Reply, Refusal)> {
        match self.mail.take_if(|mail| !mail.recipients.is_empty()) {
            Some(mail) => Ok(mail),
            None if self.mail.is_none() => Err(out_of_order("Say MAIL first")),
            // RFC 5321 §3.3 allows 503 or 554; 554 shows that RCPT was received and rejected.
            None => Err((Reply::new(554, (5, 5, 1), "No recipient was accepted"), Refusal::Syntax)),
        }
    }

    fn start_tls(&self) -> Result<Reply, (Reply, Refusal)> {
        match self.tls {
            Tls::Absent => {
                Err((CommandError::Unsupported.reply(), CommandError::Unsupported.refusal()))
            }
            Tls::On => Err(out_of_order("TLS is on already")),
            Tls::Offered if self.mail.is_some() => {
                Err(out_of_order("Not inside a mail; say RSET to drop it"))
            }
            Tls::Offered => Ok(Reply::new(220, (2, 0, 0), "Ready for TLS")),
        }
    }

    fn write_hello(&self, extended: bool, out: &mut Vec<u8>) {
        let Rules { hostname, size_limit, .. } = self.rules;
        if !extended {
            return write_reply(out, &Reply::plain(250, hostname.clone()));
        }
        let start_tls = if self.tls == Tls::Offered { "250-STARTTLS\r\n" } else { "" };
        let lines = format!(
            "250-{hostname}\r\n250-PIPELINING\r\n250-SIZE \
            {size_limit}\r\n{start_tls}250-8BITMIME\r\n250-SMTPUTF8\r\n250 ENHANCEDSTATUSCODES\r\n"
        );
        out.extend_from_slice(lines.as_bytes());
    }
}

impl From<LineFlaw> for CommandError {
    fn from(flaw: LineFlaw) -> Self {
        Self::Line(flaw)
    }
}

/// Appends a reply in its form on the wire.
pub fn write_reply(out: &mut Vec<u8>, reply: &Reply) {
    // Writing to a vector cannot fail.
    let _ = write!(out, "{reply}\r\n");
}

fn out_of_order(text: &'static str) -> (Reply, Refusal) {
    (Reply::new(503, (5, 5, 1), text), Refusal::Syntax)
}

/// RFC 6531 §3.5.
fn needs_smtputf8() -> (Reply, Refusal) {
    (
        Reply::new(553, (5, 6, 7), "This address needs the SMTPUTF8 parameter of MAIL"),
        Refusal::Syntax,
    )
}

/// Local parts are compared as they are, because their meaning belongs to the destination; domains
/// are compared without regard to case (RFC 5321 §2.4).
fn same_mailbox(a: &Address, b: &Address) -> bool {
    a.local_part() == b.local_part() && a.domain_text().eq_ignore_ascii_case(b.domain_text())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    struct Open;

    impl Gate for Open {
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

    fn rules() -> Rules {
        Rules {
            hostname: "mta.example".into(),
            size_limit: 1000,
            recipients_limit: 2,
            errors_limit: 3,
            mails_limit: 2,
            chatter_limit: 5,
        }
    }

    /// The reply codes for the client, one for each command; `end` stands for content that was
    /// accepted.
    fn codes(lines: &[&str]) -> Vec<String> {
        codes_with(Tls::Absent, lines)
    }

    fn codes_with(tls: Tls, lines: &[&str]) -> Vec<String> {
        let rules = rules();
        let mut dialogue = Dialogue::new(&rules, tls);
        let mut codes = Vec::new();
        for line in lines {
            let mut out = Vec::new();
            let heard = match *line {
                "end" => dialogue.end(Ok(Reply::new(250, (2, 0, 0), "Ok")), &mut out),
                line => dialogue.hear(Command::parse(line.as_bytes()), &Open, &mut out),
            };
            let text = String::from_utf8(out).unwrap();
            let last = text.lines().last().unwrap();
            codes.push(last.split(' ').take(2).collect::<Vec<_>>().join(" "));
            if matches!(heard.next, Next::Close | Next::Secure) {
                codes.push(format!("{:?}", heard.next).to_lowercase());
                break;
            }
        }
        codes
    }

    #[test]
    fn starttls_has_its_time_and_place() {
        assert_eq!(codes_with(Tls::Offered, &["STARTTLS"]), ["220 2.0.0", "secure"]);
        assert_eq!(
            codes_with(Tls::Offered, &["starttls now", "STARTTLS  "]),
            ["501 5.5.4", "220 2.0.0", "secure"]
        );
        assert_eq!(
            codes_with(Tls::Offered, &["EHLO x", "MAIL FROM:<>", "STARTTLS", "RSET", "STARTTLS"])
                [2..],
            ["503 5.5.1", "250 2.0.0", "220 2.0.0", "secure"]
        );
        assert_eq!(codes_with(Tls::On, &["EHLO x", "STARTTLS"])[1..], ["503 5.5.1"]);
        assert_eq!(codes_with(Tls::Absent, &["STARTTLS"]), ["502 5.5.1"]);
        let announced = |tls| {
            let (rules, mut out) = (rules(), Vec::new());
            Dialogue::new(&rules, tls).hear(Command::parse(b"EHLO x"), &Open, &mut out);
            String::from_utf8(out).unwrap().contains("250-STARTTLS\r\n")
        };
        assert_eq!([Tls::Absent, Tls::Offered, Tls::On].map(announced), [false, true, false]);
    }

    #[test]
    fn after_starttls_nothing_is_known_but_what_the_session_has_cost() {
        let rules = rules();
        let mut dialogue = Dialogue::new(&rules, Tls::Offered);
        let say = |dialogue: &mut Dialogue<'_>, line: &str| {
            let mut out = Vec::new();
            dialogue.hear(Command::parse(line.as_bytes()), &Open, &mut out);
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
        impl Gate for Full {
            fn mail(&self) -> Verdict {
                Verdict::Refuse(Reply::new(452, (4, 3, 1), "Full"), Refusal::Storage)
            }
            fn recipient(&self, _: &Address) -> Verdict {
                Verdict::Accept
            }
        }
        let rules = rules();
        let mut dialogue = Dialogue::new(&rules, Tls::Absent);
        let mut code = |line: &str| {
            let mut out = Vec::new();
            dialogue.hear(Command::parse(line.as_bytes()), &Full, &mut out);
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
            codes(&["HELO x", "MAIL FROM:<>", "MAIL FROM:<>", "RCPT TO:<a@elsewhere>", "DATA"])
                [2..],
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
            lines in prop::collection::vec(prop_oneof![Just("EHLO x"), Just("HELO y"), Just("MAIL FROM:<a@b>"), Just("MAIL FROM:<>"),
                Just("RCPT TO:<a@b>"), Just("RCPT TO:<c@elsewhere>"), Just("RCPT TO:<postmaster>"), Just("DATA"), Just("RSET"),
                Just("NOOP"), Just("QUIT"), Just("STARTTLS"), Just("nonsense")], 0..40),
        ) {
            let rules = Rules { errors_limit: 10, mails_limit: 100, chatter_limit: 30, ..rules() };
            let mut dialogue = Dialogue::new(&rules, Tls::Offered);
            for line in lines {
                let mut out = Vec::new();
                let heard = dialogue.hear(Command::parse(line.as_bytes()), &Open, &mut out);
                let text = String::from_utf8(out).unwrap();
                let lasts = text.lines().filter(|line| line.as_bytes()[3] == b' ').count();
                prop_assert_eq!(lasts, 1, "{}", text);
                prop_assert!(text.ends_with("\r\n"));
                match heard.next {
                    Next::Close => break,
                    Next::Secure => prop_assert!(dialogue.mail().is_none()),
                    Next::Command => {}
                    Next::Content(mail) => {
                        prop_assert!((1..=2).contains(&mail.recipients.len()));
                        prop_assert!(!dialogue.hello().0.is_empty());
                        dialogue.end(Ok(Reply::new(250, (2, 0, 0), "Ok")), &mut Vec::new());
                    }
                }
            }
        }
    }
}

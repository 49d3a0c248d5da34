//! Commands (RFC 5321 §4.1.1), and the errors in them.

use super::grammar::Grammar;
use super::line::LineFlaw;
use super::path::{argument, mailbox};
use crate::mail::model::{Address, AddressError, BodyType, Refusal, Reply};

/// A command that follows the grammar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// DATA.
    Data,
    /// EHLO or HELO.
    Hello {
        /// The name that the client gave, not verified: 1 to [`Command::HELLO_MAX`] octets of
        /// UTF-8, without blanks and control characters. Each octet that could not be kept is
        /// replaced by a question mark.
        name: Box<str>,
        /// EHLO: the client supports extensions.
        extended: bool,
    },
    /// HELP.
    Help,
    /// MAIL.
    Mail(Mail),
    /// NOOP.
    Noop,
    /// QUIT.
    Quit,
    /// RCPT.
    Recipient(Recipient),
    /// RSET.
    Reset,
    /// STARTTLS (RFC 3207).
    StartTls,
    /// VRFY.
    Verify,
}

/// The parameters of MAIL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// The reverse-path; `None` is `<>`.
    pub sender: Option<Address>,
    /// SIZE in octets (RFC 1870 §5), where given.
    pub size: Option<u64>,
    /// BODY (RFC 6152 §2).
    pub body: BodyType,
    /// SMTPUTF8 (RFC 6531 §3.4).
    pub smtputf8: bool,
}

/// The recipient in RCPT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recipient {
    /// A mailbox with a domain.
    Mailbox(Address),
    /// `<postmaster>`, which needs no domain (RFC 5321 §4.1.1.3).
    Postmaster,
}

/// Why a line is not a valid command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandError {
    /// An HTTP request: a third party makes a browser or a proxy talk to the relay. The session
    /// ends.
    Foreign,
    /// Not a valid line.
    Line(LineFlaw),
    /// MAIL or RCPT with a parameter that was not announced.
    Parameter,
    /// The forward-path is not a valid mailbox.
    Recipient(AddressError),
    /// The reverse-path is not a valid mailbox.
    Sender(AddressError),
    /// The verb is known, the rest is not valid; the text gives the correct form.
    Syntax(&'static str),
    /// Control characters, or octets that are not UTF-8.
    Text,
    /// An unknown verb.
    Unknown,
    /// A verb of SMTP that is not offered here.
    Unsupported,
}

const MAIL_FORM: &str = "Write MAIL FROM:<address>";
const RCPT_FORM: &str = "Write RCPT TO:<address>";
const HELLO_FORM: &str = "Write EHLO and the name of your host";
const NO_ARGUMENT: &str = "This command takes no argument";

/// Verbs of SMTP that are not offered here.
const UNSUPPORTED: [&str; 9] =
    ["AUTH", "BDAT", "EXPN", "ETRN", "ATRN", "TURN", "SEND", "SOML", "SAML"];

/// Verbs that are offered.
const OFFERED: [&str; 11] =
    ["DATA", "EHLO", "HELO", "HELP", "MAIL", "NOOP", "QUIT", "RCPT", "RSET", "STARTTLS", "VRFY"];

/// Methods of HTTP (RFC 9110 §9, RFC 5789), which no mail client sends.
const HTTP_METHODS: [&str; 9] =
    ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];

impl Command {
    /// Octets of the name in EHLO and HELO that are kept, at most (RFC 5321 §4.5.3.1.2); a longer
    /// name is cut.
    pub const HELLO_MAX: usize = 255;

    /// The SMTP verb at the start of a line, whatever is wrong with the rest.
    pub fn verb(line: &[u8]) -> Option<&'static str> {
        let word = line.trim_ascii_start().split(|octet| matches!(octet, b' ' | b'\t')).next()?;
        OFFERED
            .into_iter()
            .chain(UNSUPPORTED)
            .find(|verb| word.eq_ignore_ascii_case(verb.as_bytes()))
    }

    /// Parses a line without its CR LF by the strict grammar.
    ///
    /// # Errors
    /// [`CommandError`]; its [`CommandError::reply`] is sent to the client.
    pub fn parse(line: &[u8]) -> Result<Self, CommandError> {
        Self::parse_with(line, Grammar::Strict)
    }

    /// The same by the given grammar.
    ///
    /// # Errors
    /// As [`Command::parse`].
    pub fn parse_with(line: &[u8], grammar: Grammar<'_>) -> Result<Self, CommandError> {
        let line = match grammar {
            Grammar::Lenient { .. } => line.trim_ascii_start(),
            Grammar::Strict => line,
        };
        // Before the line is checked for UTF-8: names in a local code page are accepted, too.
        if let Some((extended, name)) = hello(line) {
            return hello_name(name)
                .map(|name| Self::Hello { name, extended })
                .ok_or(CommandError::Syntax(HELLO_FORM));
        }
        let text = std::str::from_utf8(line).map_err(|_| CommandError::Text)?;
        let spaced = match grammar {
            Grammar::Lenient { .. } if text.contains('\t') => Some(with_spaces(text)),
            _ => None,
        };
        let text = spaced.as_deref().unwrap_or(text);
        if text.contains(char::is_control) {
            return Err(CommandError::Text);
        }
        // Spaces at the end are ignored, as RFC 5321 §4.1.1 requires.
        let text = text.trim_end_matches(' ');
        let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
        let rest = rest.trim_start_matches(' ');
        let is = |name: &str| verb.eq_ignore_ascii_case(name);
        let alone = |command| {
            if rest.is_empty() { Ok(command) } else { Err(CommandError::Syntax(NO_ARGUMENT)) }
        };

        if is("MAIL") {
            mail(rest, grammar)
        } else if is("RCPT") {
            recipient(rest, grammar)
        } else if is("DATA") {
            alone(Self::Data)
        } else if is("RSET") {
            alone(Self::Reset)
        } else if is("STARTTLS") {
            alone(Self::StartTls)
        } else if is("QUIT") {
            alone(Self::Quit)
        } else if is("NOOP") {
            Ok(Self::Noop)
        } else if is("HELP") {
            Ok(Self::Help)
        } else if is("VRFY") {
            if rest.is_empty() {
                Err(CommandError::Syntax("Write VRFY and a name or an address"))
            } else {
                Ok(Self::Verify)
            }
        } else if UNSUPPORTED.into_iter().any(is) {
            Err(CommandError::Unsupported)
        } else if HTTP_METHODS.into_iter().any(is) {
            Err(CommandError::Foreign)
        } else {
            Err(CommandError::Unknown)
        }
    }
}

impl CommandError {
    /// The reply to the client.
    pub fn reply(&self) -> Reply {
        match self {
            Self::Foreign => Reply::new(421, (4, 7, 0), "This is SMTP, not HTTP; closing"),
            Self::Line(LineFlaw::BareCr) => Reply::new(
                500,
                (5, 5, 2),
                "A CR without LF is not allowed in SMTP; end lines with CR LF; closing",
            ),
            Self::Line(LineFlaw::BareLf) => Reply::new(
                500,
                (5, 5, 2),
                "An LF without CR is not allowed in SMTP; end lines with CR LF; closing",
            ),
            Self::Line(LineFlaw::TooLong) => Reply::new(500, (5, 5, 2), "Line too long"),
            Self::Line(LineFlaw::Endless) => {
                Reply::new(500, (5, 5, 2), "Line without end; closing")
            }
            Self::Parameter => {
                Reply::new(555, (5, 5, 4), "Parameter not known; EHLO lists those that are")
            }
            Self::Recipient(error) => Reply::new(553, (5, 1, 3), error.to_string()),
            Self::Sender(error) => Reply::new(553, (5, 1, 7), error.to_string()),
            Self::Syntax(form) => Reply::new(501, (5, 5, 4), *form),
            Self::Text => {
                Reply::new(500, (5, 5, 2), "Control characters or octets that are no UTF-8")
            }
            Self::Unknown => Reply::new(500, (5, 5, 2), "Command not known"),
            Self::Unsupported => Reply::new(502, (5, 5, 1), "Command not offered here"),
        }
    }

    /// The counter for it.
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::Line(LineFlaw::BareCr | LineFlaw::BareLf) => Refusal::BareLine,
            Self::Line(LineFlaw::TooLong | LineFlaw::Endless) => Refusal::Limit,
            _ => Refusal::Syntax,
        }
    }

    /// Whether the following input cannot be trusted, so that the session ends.
    pub fn is_fatal(&self) -> bool {
        matches!(
            self,
            Self::Foreign | Self::Line(LineFlaw::BareCr | LineFlaw::BareLf | LineFlaw::Endless)
        )
    }
}

/// The argument of EHLO (`true`) or HELO, if that is what the line is.
fn hello(line: &[u8]) -> Option<(bool, &[u8])> {
    let (verb, rest) = line.split_at_checked(4)?;
    let extended = verb.eq_ignore_ascii_case(b"EHLO");
    let is_verb = extended || verb.eq_ignore_ascii_case(b"HELO");
    (is_verb && rest.first().is_none_or(|octet| matches!(octet, b' ' | b'\t')))
        .then_some((extended, rest))
}

/// RFC 5321 §4.1.4: a name that cannot be verified is no reason to reject mail, nor is a computer
/// called Büro-PC, in any code page. Everything after a blank is dropped.
fn hello_name(argument: &[u8]) -> Option<Box<str>> {
    let word = argument.trim_ascii_start().split(|octet| matches!(octet, b' ' | b'\t')).next()?;
    let mut name = String::new();
    for chunk in word.utf8_chunks() {
        name.extend(chunk.valid().chars().map(|c| if c.is_control() { '?' } else { c }));
        name.extend(chunk.invalid().iter().map(|_| '?'));
    }
    name.truncate(name.floor_char_boundary(Command::HELLO_MAX));
    (!name.is_empty()).then(|| name.into())
}

/// Replaces tabs between words by spaces; inside a quoted string a tab is a part of the name and
/// stays.
fn with_spaces(text: &str) -> String {
    let (mut quoted, mut escaped) = (false, false);
    text.chars()
        .map(|c| {
            let literally = std::mem::take(&mut escaped);
            match c {
                '\\' if quoted && !literally => escaped = true,
                '"' if !literally => quoted = !quoted,
                '\t' if !quoted => return ' ',
                _ => {}
            }
            c
        })
        .collect()
}

fn mail(rest: &str, grammar: Grammar<'_>) -> Result<Command, CommandError> {
    let (path, parameters) =
        argument(rest, "FROM:", grammar).ok_or(CommandError::Syntax(MAIL_FORM))?;
    let sender = match path {
        "" => None,
        _ => Some(mailbox(path, grammar).map_err(CommandError::Sender)?),
    };
    let mut mail = Mail { sender, size: None, body: BodyType::SevenBit, smtputf8: false };
    let (mut body, mut submitter) = (None, None);
    for parameter in parameters.split(' ').filter(|parameter| !parameter.is_empty()) {
        let (keyword, value) = match parameter.split_once('=') {
            Some((keyword, value)) => (keyword, Some(value)),
            None => (parameter, None),
        };
        if keyword.eq_ignore_ascii_case("SIZE") {
            let size = value.and_then(size).ok_or(CommandError::Syntax("Write SIZE=octets"))?;
            once(mail.size.replace(size).is_none())?;
        } else if keyword.eq_ignore_ascii_case("BODY") {
            let value = match value {
                Some(value) if value.eq_ignore_ascii_case("7BIT") => BodyType::SevenBit,
                Some(value) if value.eq_ignore_ascii_case("8BITMIME") => BodyType::EightBitMime,
                // BINARYMIME needs BDAT (RFC 3030 §3), which is not announced.
                Some(value) if value.eq_ignore_ascii_case("BINARYMIME") => {
                    return Err(CommandError::Parameter);
                }
                _ => return Err(CommandError::Syntax("Write BODY=7BIT or BODY=8BITMIME")),
            };
            once(body.replace(value).is_none())?;
        } else if keyword.eq_ignore_ascii_case("SMTPUTF8") {
            if value.is_some() {
                return Err(CommandError::Syntax("SMTPUTF8 takes no value"));
            }
            once(!std::mem::replace(&mut mail.smtputf8, true))?;
        } else if keyword.eq_ignore_ascii_case("AUTH") {
            // RFC 4954 §5: the original submitter. It is not used here, but some clients send it
            // although AUTH is not offered.
            let value = value
                .filter(|value| *value == "<>" || is_xtext(value))
                .ok_or(CommandError::Syntax("Write AUTH=<>"))?;
            once(submitter.replace(value).is_none())?;
        } else {
            return Err(CommandError::Parameter);
        }
    }
    mail.body = body.unwrap_or(BodyType::SevenBit);
    Ok(Command::Mail(mail))
}

fn recipient(rest: &str, grammar: Grammar<'_>) -> Result<Command, CommandError> {
    let (path, parameters) =
        argument(rest, "TO:", grammar).ok_or(CommandError::Syntax(RCPT_FORM))?;
    if path.is_empty() {
        return Err(CommandError::Syntax(RCPT_FORM));
    }
    let recipient = match grammar {
        Grammar::Strict if path.eq_ignore_ascii_case("postmaster") => Recipient::Postmaster,
        _ => Recipient::Mailbox(mailbox(path, grammar).map_err(CommandError::Recipient)?),
    };
    if !parameters.is_empty() {
        return Err(CommandError::Parameter);
    }
    Ok(Command::Recipient(recipient))
}

fn once(first: bool) -> Result<(), CommandError> {
    if first { Ok(()) } else { Err(CommandError::Syntax("A parameter is given twice")) }
}

/// Up to twenty digits (RFC 1870 §3); a value above 64 bits is over every limit anyway.
fn size(digits: &str) -> Option<u64> {
    let well_formed =
        (1..=20).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    well_formed.then(|| digits.parse().unwrap_or(u64::MAX))
}

/// One or more characters of RFC 3461 §4: printable ASCII except `+` and `=`, which are written as
/// `+` and two hexadecimal digits.
fn is_xtext(text: &str) -> bool {
    let mut octets = text.bytes();
    let digit = |octets: &mut std::str::Bytes<'_>| {
        octets.next().is_some_and(|octet| b"0123456789ABCDEF".contains(&octet))
    };
    while let Some(octet) = octets.next() {
        let fits = match octet {
            b'+' => digit(&mut octets) && digit(&mut octets),
            _ => octet.is_ascii_graphic() && octet != b'=',
        };
        if !fits {
            return false;
        }
    }
    !text.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
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
        let plain = |sender| Mail { sender, size: None, body: BodyType::SevenBit, smtputf8: false };
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
                smtputf8: true
            }))
        );
    }

    #[test]
    fn who_handed_the_mail_in_is_heard_and_not_believed() {
        for value in ["<>", "e+3Dmc2@example.com", "<a@b>", "x+2B+3D"] {
            let Ok(Command::Mail(mail)) = said(&format!("MAIL FROM:<a@b> auth={value} SIZE=5"))
            else {
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
            let expected = Ok(Command::Recipient(Recipient::Mailbox(at(recipient))));
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
        ] {
            assert_eq!(code(&format!("MAIL FROM:<a@b> {line}")), "501 5.5.4", "{line}");
        }
        for line in ["RET=FULL", "ENVID=1", "BODY=BINARYMIME", "=", "é"] {
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
        assert_eq!(said("RCPT TO:<a@b>"), Ok(Command::Recipient(Recipient::Mailbox(at("a@b")))));
        assert_eq!(said("rcpt to:<PostMaster>"), Ok(Command::Recipient(Recipient::Postmaster)));
        assert_eq!(
            said("RCPT TO:<grün@bücher.example>"),
            Ok(Command::Recipient(Recipient::Mailbox(at("grün@bücher.example"))))
        );
        assert_eq!(code("RCPT TO:<>"), "501 5.5.4");
        assert_eq!(code("RCPT FROM:<a@b>"), "501 5.5.4");
        assert_eq!(code("RCPT TO:<a>"), "553 5.1.3");
        assert_eq!(code("RCPT TO:<a@b> NOTIFY=NEVER"), "555 5.5.4");
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
        for line in ["EHLO", "HELO ", "DATA x", "RSET x", "QUIT x", "VRFY"] {
            assert_eq!(code(line), "501 5.5.4", "{line}");
        }
        assert_eq!(said("StartTls "), Ok(Command::StartTls));
        assert_eq!(said("STARTTLS now"), Err(CommandError::Syntax(NO_ARGUMENT)));
        for line in ["AUTH PLAIN", "BDAT 1 LAST", "EXPN x", "ETRN x"] {
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
}

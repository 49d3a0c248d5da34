//! Commands (RFC 5321 §4.1.1) and what can be wrong with them.

use super::LineFlaw;
use crate::mail::model::{Address, AddressError, BodyType, Refusal, Reply};

/// A command that follows the grammar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// DATA.
    Data,
    /// EHLO or HELO.
    Hello {
        /// How the client calls itself: 1 to 255 printable ASCII characters without a space, not verified.
        name: Box<str>,
        /// EHLO: the client knows extensions.
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

/// What MAIL says.
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

/// Whom RCPT names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recipient {
    /// A mailbox with a domain.
    Mailbox(Address),
    /// `<postmaster>`, which needs no domain (RFC 5321 §4.1.1.3).
    Postmaster,
}

/// Why a line is no command that could be carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandError {
    /// An HTTP request: a browser or a proxy is made to talk to us by somebody else. The session ends.
    Foreign,
    /// No line at all.
    Line(LineFlaw),
    /// MAIL or RCPT with a parameter that has not been announced.
    Parameter,
    /// The forward-path holds no mailbox.
    Recipient(AddressError),
    /// The reverse-path holds no mailbox.
    Sender(AddressError),
    /// The verb is known, the rest is not; the text says how to write it.
    Syntax(&'static str),
    /// Control characters, or octets that are no UTF-8.
    Text,
    /// A verb that nobody knows.
    Unknown,
    /// A verb of SMTP that is not offered here.
    Unsupported,
}

const MAIL_FORM: &str = "Write MAIL FROM:<address>";
const RCPT_FORM: &str = "Write RCPT TO:<address>";
const HELLO_FORM: &str = "Write EHLO and the name of your host";
const NO_ARGUMENT: &str = "This command takes no argument";

/// Methods of HTTP (RFC 9110 §9, RFC 5789), which no mail client ever says.
const HTTP_METHODS: [&str; 9] = ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];

impl Command {
    /// Reads a line that has no CR LF any more.
    ///
    /// # Errors
    /// [`CommandError`]; its [`CommandError::reply`] is what the client hears.
    pub fn parse(line: &[u8]) -> Result<Self, CommandError> {
        let text = std::str::from_utf8(line).map_err(|_| CommandError::Text)?;
        if text.contains(char::is_control) {
            return Err(CommandError::Text);
        }
        // Spaces at the end are forgiven, as RFC 5321 §4.1.1 asks.
        let text = text.trim_end_matches(' ');
        let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
        let rest = rest.trim_start_matches(' ');
        let is = |name: &str| verb.eq_ignore_ascii_case(name);
        let alone = |command| if rest.is_empty() { Ok(command) } else { Err(CommandError::Syntax(NO_ARGUMENT)) };

        if is("MAIL") {
            mail(rest)
        } else if is("RCPT") {
            recipient(rest)
        } else if is("DATA") {
            alone(Self::Data)
        } else if is("EHLO") || is("HELO") {
            hello(rest, is("EHLO"))
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
            if rest.is_empty() { Err(CommandError::Syntax("Write VRFY and a name or an address")) } else { Ok(Self::Verify) }
        } else if ["AUTH", "BDAT", "EXPN", "ETRN", "ATRN", "TURN", "SEND", "SOML", "SAML"].into_iter().any(is) {
            Err(CommandError::Unsupported)
        } else if HTTP_METHODS.into_iter().any(is) {
            Err(CommandError::Foreign)
        } else {
            Err(CommandError::Unknown)
        }
    }
}

impl CommandError {
    /// What the client hears.
    pub fn reply(&self) -> Reply {
        match self {
            Self::Foreign => Reply::new(421, (4, 7, 0), "This is SMTP, not HTTP; closing"),
            Self::Line(LineFlaw::BareCr) => {
                Reply::new(500, (5, 5, 2), "A CR without LF has no place in SMTP; end lines with CR LF; closing")
            }
            Self::Line(LineFlaw::BareLf) => {
                Reply::new(500, (5, 5, 2), "An LF without CR has no place in SMTP; end lines with CR LF; closing")
            }
            Self::Line(LineFlaw::TooLong) => Reply::new(500, (5, 5, 2), "Line too long"),
            Self::Line(LineFlaw::Endless) => Reply::new(500, (5, 5, 2), "Line without end; closing"),
            Self::Parameter => Reply::new(555, (5, 5, 4), "Parameter not known here; EHLO tells what is"),
            Self::Recipient(error) => Reply::new(553, (5, 1, 3), error.to_string()),
            Self::Sender(error) => Reply::new(553, (5, 1, 7), error.to_string()),
            Self::Syntax(form) => Reply::new(501, (5, 5, 4), *form),
            Self::Text => Reply::new(500, (5, 5, 2), "Control characters or octets that are no UTF-8"),
            Self::Unknown => Reply::new(500, (5, 5, 2), "Command not known"),
            Self::Unsupported => Reply::new(502, (5, 5, 1), "Command not offered here"),
        }
    }

    /// The counter that it bumps.
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::Line(LineFlaw::BareCr | LineFlaw::BareLf) => Refusal::BareLine,
            Self::Line(LineFlaw::TooLong | LineFlaw::Endless) => Refusal::Limit,
            _ => Refusal::Syntax,
        }
    }

    /// Whether nothing that follows can be trusted any more.
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::Foreign | Self::Line(LineFlaw::BareCr | LineFlaw::BareLf | LineFlaw::Endless))
    }
}

fn hello(rest: &str, extended: bool) -> Result<Command, CommandError> {
    // RFC 5321 §4.1.4: a name that does not verify is no reason to refuse, nor is a computer called Büro-PC. What follows a
    // space is dropped.
    let name = rest.split(' ').next().unwrap_or_default();
    if name.is_empty() || name.len() > 255 {
        return Err(CommandError::Syntax(HELLO_FORM));
    }
    Ok(Command::Hello { name: name.into(), extended })
}

fn mail(rest: &str) -> Result<Command, CommandError> {
    let (path, parameters) = argument(rest, "FROM:").ok_or(CommandError::Syntax(MAIL_FORM))?;
    let sender = match path {
        "" => None,
        _ => Some(mailbox(path).map_err(CommandError::Sender)?),
    };
    let mut mail = Mail { sender, size: None, body: BodyType::SevenBit, smtputf8: false };
    let mut body = None;
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
                Some(value) if value.eq_ignore_ascii_case("BINARYMIME") => return Err(CommandError::Parameter),
                _ => return Err(CommandError::Syntax("Write BODY=7BIT or BODY=8BITMIME")),
            };
            once(body.replace(value).is_none())?;
        } else if keyword.eq_ignore_ascii_case("SMTPUTF8") {
            if value.is_some() {
                return Err(CommandError::Syntax("SMTPUTF8 takes no value"));
            }
            once(!std::mem::replace(&mut mail.smtputf8, true))?;
        } else {
            return Err(CommandError::Parameter);
        }
    }
    mail.body = body.unwrap_or(BodyType::SevenBit);
    Ok(Command::Mail(mail))
}

fn recipient(rest: &str) -> Result<Command, CommandError> {
    let (path, parameters) = argument(rest, "TO:").ok_or(CommandError::Syntax(RCPT_FORM))?;
    if path.is_empty() {
        return Err(CommandError::Syntax(RCPT_FORM));
    }
    let recipient = match path {
        _ if path.eq_ignore_ascii_case("postmaster") => Recipient::Postmaster,
        _ => Recipient::Mailbox(mailbox(path).map_err(CommandError::Recipient)?),
    };
    if !parameters.is_empty() {
        return Err(CommandError::Parameter);
    }
    Ok(Command::Recipient(recipient))
}

fn once(first: bool) -> Result<(), CommandError> {
    if first { Ok(()) } else { Err(CommandError::Syntax("A parameter stands there twice")) }
}

/// Up to twenty digits (RFC 1870 §3); what 64 bits cannot hold is over every limit anyway.
fn size(digits: &str) -> Option<u64> {
    let well_formed = (1..=20).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    well_formed.then(|| digits.parse().unwrap_or(u64::MAX))
}

/// `FROM:<path> parameters` without the frame: the path and the parameters. A space after the colon is forgiven, as
/// everybody in the field does.
fn argument<'a>(rest: &'a str, keyword: &str) -> Option<(&'a str, &'a str)> {
    let (head, tail) = rest.split_at_checked(keyword.len())?;
    let tail = head.eq_ignore_ascii_case(keyword).then_some(tail)?.trim_start_matches(' ').strip_prefix('<')?;
    let end = closing_bracket(tail)?;
    let (path, parameters) = (&tail[..end], &tail[end + 1..]);
    (parameters.is_empty() || parameters.starts_with(' ')).then(|| (path, parameters.trim_start_matches(' ')))
}

/// Where the path ends: at the first `>` outside a quoted string.
fn closing_bracket(text: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    text.bytes().position(|byte| {
        let literally = std::mem::take(&mut escaped);
        match byte {
            _ if literally => {}
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'>' => return !quoted,
            _ => {}
        }
        false
    })
}

/// A mailbox, behind a source route or not; the route is checked and ignored (RFC 5321 §3.6.1 and appendix C).
fn mailbox(path: &str) -> Result<Address, AddressError> {
    if !path.starts_with('@') {
        return Address::parse(path);
    }
    let mut bracketed = false;
    let end = path.bytes().position(|byte| {
        match byte {
            b'[' => bracketed = true,
            b']' => bracketed = false,
            _ => {}
        }
        byte == b':' && !bracketed
    });
    let (route, mailbox) = path.split_at(end.ok_or(AddressError::Syntax)?);
    for hop in route.split(',') {
        let domain = hop.strip_prefix('@').ok_or(AddressError::Syntax)?;
        Address::parse(&format!("x@{domain}"))?;
    }
    Address::parse(&mailbox[1..])
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
        assert_eq!(said("MAIL FROM:<@x.org,@[IPv6:::1]:a@b>"), Ok(Command::Mail(plain(Some(at("a@b"))))));
        assert_eq!(said("MAIL FROM:<\"a>\\\"b\"@c>"), Ok(Command::Mail(plain(Some(at("\"a>\\\"b\"@c"))))));
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
    fn refuses_mail() {
        for line in ["MAIL", "MAIL <a@b>", "MAIL FROM a@b", "MAIL FROM:a@b", "MAIL FROM:<a@b", "MAIL FROM:<a@b>SIZE=1"] {
            assert_eq!(code(line), "501 5.5.4", "{line}");
        }
        for line in ["SIZE=", "SIZE", "SIZE=-1", "SIZE=1 SIZE=1", "BODY=X", "BODY", "SMTPUTF8=1", "SMTPUTF8 SMTPUTF8"] {
            assert_eq!(code(&format!("MAIL FROM:<a@b> {line}")), "501 5.5.4", "{line}");
        }
        for line in ["RET=FULL", "AUTH=<>", "BODY=BINARYMIME", "=", "é"] {
            assert_eq!(code(&format!("MAIL FROM:<a@b> {line}")), "555 5.5.4", "{line}");
        }
        for path in ["a", "@b", "a@", "@x.org:", "@x.org", "x.org:a@b", "@x.org,y.org:a@b", "a b@c", "postmaster"] {
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
        assert!(said(&format!("RCPT TO:<{}@b>", "a".repeat(65))).is_ok(), "VERP and SRS make long local parts");
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
        fn no_line_is_too_odd(line in "(MAIL FROM:|RCPT TO:|EHLO |)[<>@:,.\"\\\\a-c \\[\\]é=]{0,40}") {
            if let Err(error) = said(&line) {
                let reply = error.reply();
                prop_assert!(matches!(reply.code, 421 | 500..=599));
                prop_assert!(reply.enhanced.is_some() && !reply.text.contains(['\r', '\n']));
            }
        }
    }
}

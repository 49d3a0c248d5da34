//! Commands (RFC 5321 §4.1.1).

use super::chunk::{ChunkHeader, chunk_header};
use super::command_error::CommandError;
use super::envelope::{Mail, Recipient, mail, recipient};
use super::grammar::Grammar;
use super::xclient::XclientOverride;
use crate::ground::credential::secret::Secret;
use crate::mail::model::RecipientDsn;

/// A command that follows the grammar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// BDAT (RFC 3030 §2): a chunk of the content follows.
    Bdat(ChunkHeader),
    /// AUTH (RFC 4954).
    Auth {
        /// The name of the mechanism, as the client wrote it.
        mechanism: Box<str>,
        /// The initial response in base 64, or `=`. It may hold a password.
        initial: Option<Secret>,
    },
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
    /// RCPT, and what it asks about notifications.
    Recipient(Recipient, Option<Box<RecipientDsn>>),
    /// RSET.
    Reset,
    /// STARTTLS (RFC 3207).
    StartTls,
    /// VRFY.
    Verify,
    /// XCLIENT: a proxy names the client whose session it passes on.
    Xclient(Box<XclientOverride>),
}

const HELLO_FORM: &str = "Write EHLO and the name of your host";
const NO_ARGUMENT: &str = "This command takes no argument";

/// The start of a line of the PROXY protocol, where no proxy is listed.
const PROXY: &str = "PROXY";

/// Verbs of SMTP that are not offered here.
const UNSUPPORTED: [&str; 7] = ["EXPN", "ETRN", "ATRN", "TURN", "SEND", "SOML", "SAML"];

/// Verbs that are offered.
const OFFERED: [&str; 14] = [
    "AUTH", "BDAT", "DATA", "EHLO", "HELO", "HELP", "MAIL", "NOOP", "QUIT", "RCPT", "RSET",
    "STARTTLS", "VRFY", "XCLIENT",
];

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
        let known = |verbs: &[&'static str]| {
            verbs.iter().find(|verb| word.eq_ignore_ascii_case(verb.as_bytes())).copied()
        };
        known(&OFFERED).or_else(|| known(&UNSUPPORTED)).or_else(|| known(&[PROXY]))
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
            mail(rest, grammar).map(Self::Mail)
        } else if is("RCPT") {
            recipient(rest, grammar).map(|(recipient, dsn)| Self::Recipient(recipient, dsn))
        } else if is("DATA") {
            alone(Self::Data)
        } else if is("BDAT") {
            chunk_header(rest).map(Self::Bdat)
        } else if is("RSET") {
            alone(Self::Reset)
        } else if is("AUTH") {
            auth(rest)
        } else if is("STARTTLS") {
            alone(Self::StartTls)
        } else if is("QUIT") {
            alone(Self::Quit)
        } else if is("NOOP") {
            Ok(Self::Noop)
        } else if is("HELP") {
            Ok(Self::Help)
        } else if is("VRFY") {
            let form = CommandError::Syntax("Write VRFY and a name or an address");
            if rest.is_empty() { Err(form) } else { Ok(Self::Verify) }
        } else if is("XCLIENT") {
            XclientOverride::parse(rest).map(|found| Self::Xclient(Box::new(found)))
        } else {
            Err(unknown(verb))
        }
    }
}

/// What is wrong with a verb that is not offered.
fn unknown(verb: &str) -> CommandError {
    let is = |name: &str| verb.eq_ignore_ascii_case(name);
    if UNSUPPORTED.into_iter().any(is) {
        CommandError::Unsupported
    } else if is(PROXY) {
        CommandError::ProxyHeader
    } else if HTTP_METHODS.into_iter().any(is) {
        CommandError::Foreign
    } else {
        CommandError::Unknown
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

/// The argument of AUTH: a mechanism, and perhaps an initial response (RFC 4954 §4).
fn auth(rest: &str) -> Result<Command, CommandError> {
    let mut words = rest.split(' ').filter(|word| !word.is_empty());
    match (words.next(), words.next(), words.next()) {
        (Some(mechanism), initial, None) => Ok(Command::Auth {
            mechanism: mechanism.into(),
            initial: initial.map(|initial| Secret::new(initial.to_owned())),
        }),
        _ => Err(CommandError::Auth),
    }
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

#[cfg(test)]
mod tests;

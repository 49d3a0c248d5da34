//! SMTP replies.

use std::borrow::Cow;
use std::fmt;

/// The class of a reply by its first digit (RFC 5321 §4.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReplyClass {
    /// 2xx and 3xx: success.
    Success,
    /// 4xx: a temporary failure.
    Temporary,
    /// 5xx: a permanent failure.
    Permanent,
}

/// An enhanced status code `class.subject.detail` (RFC 3463).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Enhanced(pub u8, pub u16, pub u16);

impl fmt::Display for Enhanced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl Enhanced {
    /// Reads the code at the start of a reply's text, if there is one (RFC 2034 §4).
    pub fn parse(text: &str) -> Option<Self> {
        let word = text.split(' ').next()?;
        let mut parts = word.split('.');
        let class = parts.next()?.parse().ok().filter(|class| matches!(class, 2 | 4 | 5))?;
        let subject = parts.next()?.parse().ok().filter(|subject| *subject < 1000)?;
        let detail = parts.next()?.parse().ok().filter(|detail| *detail < 1000)?;
        parts.next().is_none().then_some(Self(class, subject, detail))
    }
}

/// A reply with its code, its enhanced code where it has one, and its text (one line, without CR
/// LF).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Three digits, 200 to 599.
    pub code: u16,
    /// RFC 3463 code; `None` for greetings, EHLO replies, 354 and replies of old servers.
    pub enhanced: Option<Enhanced>,
    /// The text for people.
    pub text: Cow<'static, str>,
}

impl Reply {
    /// A reply with an enhanced code.
    pub fn new(code: u16, enhanced: (u8, u16, u16), text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            enhanced: Some(Enhanced(enhanced.0, enhanced.1, enhanced.2)),
            text: text.into(),
        }
    }

    /// A reply without one.
    pub fn plain(code: u16, text: impl Into<Cow<'static, str>>) -> Self {
        Self { code, enhanced: None, text: text.into() }
    }

    /// The class of the code. A code outside 200 to 599 counts as temporary: the server is faulty
    /// and may be repaired.
    pub fn class(&self) -> ReplyClass {
        match self.code {
            200..=399 => ReplyClass::Success,
            500..=599 => ReplyClass::Permanent,
            _ => ReplyClass::Temporary,
        }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.enhanced {
            Some(enhanced) => write!(f, "{} {enhanced} {}", self.code, self.text),
            None => write!(f, "{} {}", self.code, self.text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enhanced_codes_are_read_only_where_they_stand() {
        assert_eq!(Enhanced::parse("5.7.1 no"), Some(Enhanced(5, 7, 1)));
        assert_eq!(Enhanced::parse("2.0.0"), Some(Enhanced(2, 0, 0)));
        for none in ["", "ok", "5.7", "5.7.1.1 x", "3.0.0 x", "5.1000.0", "a.b.c"] {
            assert_eq!(Enhanced::parse(none), None, "{none}");
        }
    }
}

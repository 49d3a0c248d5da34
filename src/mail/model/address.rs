//! Mailboxes as in MAIL and RCPT.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

/// Octets of a mailbox, at most: a path of 256 without its brackets (RFC 5321 §4.5.3.1.3).
const MAILBOX_MAX: usize = 254;

/// A mailbox of RFC 5321 §4.1.2, `local-part@domain`, ASCII or (RFC 6531 §3.3) UTF-8.
///
/// Limit: 254 octets in total, a path of 256 without its brackets (RFC 5321 §4.5.3.1.3). A local
/// part may be longer than 64 octets: that is the length that must at least be accepted
/// (§4.5.3.1.1), and rewritten senders (VERP, SRS) need more.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Address {
    text: Box<str>,
    at: u16,
}

/// Why a text is not a mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// No `@`, an empty part, or a character that the grammar does not allow.
    #[error("this is not a mailbox of the form local-part@domain")]
    Syntax,
    /// More than 254 octets.
    #[error("this mailbox is too long")]
    TooLong,
    /// The domain is a literal that contains no address.
    #[error("this address literal is not an IP address")]
    Literal,
}

/// The right side of a mailbox.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Domain<'a> {
    /// A DNS name.
    Name(&'a str),
    /// An address literal, `[192.0.2.1]` or `[IPv6:2001:db8::1]` (RFC 5321 §4.1.3).
    Literal(IpAddr),
}

impl Address {
    /// Checks `text` against the grammar and the limits.
    ///
    /// # Errors
    /// [`AddressError`]; the caller answers 553 5.1.3 (recipient) or 553 5.1.7 (sender).
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let at = text.rfind('@').ok_or(AddressError::Syntax)?;
        let (local, domain) = (&text[..at], &text[at + 1..]);
        if text.len() > MAILBOX_MAX {
            return Err(AddressError::TooLong);
        }
        if !is_local_part(local) {
            return Err(AddressError::Syntax);
        }
        if domain.starts_with('[') {
            literal(domain).ok_or(AddressError::Literal)?;
        } else if !is_domain(domain) {
            return Err(AddressError::Syntax);
        }
        let at = u16::try_from(at).map_err(|_| AddressError::TooLong)?;
        Ok(Self { text: text.into(), at })
    }

    /// The whole mailbox as the client wrote it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The part before the `@`; only its destination knows its meaning (RFC 5321 §2.3.11).
    pub fn local_part(&self) -> &str {
        &self.text[..usize::from(self.at)]
    }

    /// The part after the `@`, as written.
    pub fn domain_text(&self) -> &str {
        &self.text[usize::from(self.at) + 1..]
    }

    /// The domain, as a name or a literal.
    pub fn domain(&self) -> Domain<'_> {
        match literal(self.domain_text()) {
            Some(address) => Domain::Literal(address),
            None => Domain::Name(self.domain_text()),
        }
    }

    /// The domain in lower case: two mailboxes with the same key go to the same destination.
    pub fn domain_key(&self) -> String {
        self.domain_text().to_lowercase()
    }

    /// Whether a mailbox can have this domain, by the grammar and the limits. The shortest mailbox
    /// has two more octets.
    pub(super) fn is_domain(text: &str) -> bool {
        let fits = text.len() <= MAILBOX_MAX - 2;
        fits && if text.starts_with('[') { literal(text).is_some() } else { is_domain(text) }
    }

    /// Whether the mailbox is ASCII; if not, it needs SMTPUTF8 (RFC 6531 §3.4).
    pub fn is_ascii(&self) -> bool {
        self.text.is_ascii()
    }

    /// The mailbox for a peer without SMTPUTF8: the domain as A-labels (RFC 5890 §2.3.2.1, RFC 5891
    /// §4.4). `None` when the local part is not ASCII, which has no other form, or when the domain
    /// has no A-labels that fit into DNS.
    pub fn ascii_form(&self) -> Option<Cow<'_, str>> {
        if self.is_ascii() {
            return Some(Cow::Borrowed(self.as_str()));
        }
        let domain = idna::domain_to_ascii(self.domain_text())
            .ok()
            .filter(|_| self.local_part().is_ascii())?;
        let text = format!("{}@{domain}", self.local_part());
        Self::parse(&text).ok().filter(Self::is_ascii).map(|_| Cow::Owned(text))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}>", self.text)
    }
}

/// Dot-string or quoted string (RFC 5321 §4.1.2), with UTF-8 where RFC 6531 §3.3 extends them. Dots
/// at the ends and next to each other are allowed: such mailboxes exist, and their meaning is
/// defined by their host (§2.3.11).
fn is_local_part(text: &str) -> bool {
    if let Some(inner) = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        let mut escaped = false;
        for c in inner.chars() {
            match c {
                _ if escaped => escaped = !matches!(c, ' '..='~'),
                '\\' => escaped = true,
                '"' => return false,
                ' '..='~' => {}
                _ if is_utf8_letter(c) => {}
                _ => return false,
            }
            if escaped && c != '\\' {
                return false;
            }
        }
        return !escaped && text.len() >= 2;
    }
    !text.is_empty() && text.chars().all(|c| c == '.' || is_atom_character(c))
}

fn is_atom_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || is_utf8_letter(c)
}

/// Any character beyond ASCII that is not a control character.
fn is_utf8_letter(c: char) -> bool {
    !c.is_ascii() && !c.is_control()
}

/// Labels of letters, digits, hyphens and (as in practice) underscores; a trailing dot is not
/// allowed.
fn is_domain(text: &str) -> bool {
    !text.is_empty()
        && text.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.chars().all(|c| {
                    c.is_ascii_alphanumeric() || matches!(c, '-' | '_') || is_utf8_letter(c)
                })
        })
}

fn literal(domain: &str) -> Option<IpAddr> {
    let inner = domain.strip_prefix('[')?.strip_suffix(']')?;
    match inner.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("IPv6:") => inner[5..].parse().ok().map(IpAddr::V6),
        _ => inner.parse().ok().map(IpAddr::V4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_the_grammar_allows() {
        for good in [
            "a@b",
            "first.last+tag@example.org",
            "\"odd \\\" local\"@example.org",
            "\"\"@example.org",
            "a@[192.0.2.1]",
            "a@[IPv6:2001:db8::1]",
            "grün@bücher.example",
            "!#$%&'*+-/=?^_`{|}~@x_y.example",
            "foo..bar@docomo.ne.jp",
            "foo.@docomo.ne.jp",
            ".foo@docomo.ne.jp",
            "..@docomo.ne.jp",
        ] {
            let address = Address::parse(good).unwrap_or_else(|e| panic!("{good}: {e}"));
            assert_eq!(format!("{}@{}", address.local_part(), address.domain_text()), good);
        }
    }

    #[test]
    fn refuses_the_rest() {
        for bad in [
            "",
            "a",
            "@",
            "a@",
            "@b",
            "a b@c",
            "a@b..c",
            "a@.b",
            "a@b.",
            "a@-b",
            "a@b-",
            "a@[1.2.3]",
            "a@[IPv6:1]",
            "\"a\"b\"@c",
            "\"a\\\"@c",
            "a\u{7f}@b",
            "a@b c",
            "a\r@b",
            "a@b\n",
            "<a@b>",
        ] {
            assert!(Address::parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(Address::parse(&format!("{}@b", "a".repeat(253))), Err(AddressError::TooLong));
        assert!(Address::parse(&format!("{}@b", "a".repeat(252))).is_ok());
        assert_eq!(Address::parse(&format!("a@{}", "b.".repeat(150))), Err(AddressError::TooLong));
    }

    #[test]
    fn only_the_domain_has_an_ascii_form() {
        for (text, expected) in [
            ("info@b\u{fc}cher.test", Some("info@xn--bcher-kva.test")),
            ("Info@B\u{dc}CHER.Test", Some("Info@xn--bcher-kva.test")),
            // Decomposed, and an ideographic full stop (UTS 46).
            ("info@bu\u{308}cher\u{3002}test", Some("info@xn--bcher-kva.test")),
            ("a@stra\u{df}e.test", Some("a@xn--strae-oqa.test")),
            ("a@x_y.example", Some("a@x_y.example")),
            ("a@[IPv6:2001:db8::1]", Some("a@[IPv6:2001:db8::1]")),
            ("gr\u{fc}n@b\u{fc}cher.test", None),
            ("gr\u{fc}n@books.test", None),
            // It looks like an A-label, but is not one.
            ("a@xn--\u{fc}.test", None),
        ] {
            let address = Address::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(address.ascii_form().as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn tells_names_from_literals() {
        let at = |text| Address::parse(text).unwrap();
        assert_eq!(at("a@Example.ORG").domain(), Domain::Name("Example.ORG"));
        assert_eq!(at("a@Example.ORG").domain_key(), "example.org");
        assert_eq!(at("a@[192.0.2.1]").domain(), Domain::Literal(IpAddr::from([192, 0, 2, 1])));
    }
}

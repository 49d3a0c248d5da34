//! The destination of a recipient's mail, by one of the routing rules.
//!
//! A destination is decided once, at intake, and stored with the message. It contains no host from
//! a lookup: that is a [`super::Route`], made again at each attempt.

use super::{Address, ConfiguredHost, UpstreamGroup};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// The destination of mail, by one of the rules. Recipients with equal destinations share
/// connections and transactions. Clones share their text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Destination {
    /// The mail hosts of the recipient's domain (RFC 5321 §5.1).
    Domain(MailDomain),
    /// The host that gets all mail, as in the property `smart_relay`.
    SmartRelay(Arc<ConfiguredHost>),
    /// Upstreams with names of their own, as in the properties `upstream_<name>_host`.
    Upstreams(Arc<UpstreamGroup>),
    /// The host that gets the carbon copies, as in the property `cc_mta`.
    Copy(Arc<ConfiguredHost>),
}

/// The domain of a mailbox in lower case: a DNS name, which may be UTF-8 (RFC 6531), or an address
/// literal (RFC 5321 §4.1.3). At most 252 octets, because a mailbox has two more.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MailDomain(Arc<str>);

impl Destination {
    /// The prefix of the host in the name of a [`Destination::Copy`].
    pub const COPY: &str = "cc:";

    /// The domain of a recipient.
    pub fn domain_of(recipient: &Address) -> Self {
        Self::Domain(MailDomain::of(recipient))
    }

    /// The domain in this text, in any case; `None` when no mailbox can have it.
    pub fn domain(text: &str) -> Option<Self> {
        MailDomain::parse(text).map(Self::Domain)
    }

    /// Its name on pages, in logs and orders, as `Display` writes it.
    pub fn name(&self) -> Cow<'_, str> {
        match self {
            Self::Domain(domain) => Cow::Borrowed(domain.as_str()),
            Self::SmartRelay(host) => Cow::Borrowed(host.as_str()),
            Self::Upstreams(group) => Cow::Borrowed(group.as_str()),
            Self::Copy(_) => Cow::Owned(self.to_string()),
        }
    }

    /// Whether `name` is its whole name, without regard to case.
    pub fn has_name(&self, name: &str) -> bool {
        self.name().eq_ignore_ascii_case(name)
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Domain(domain) => f.write_str(domain.as_str()),
            Self::SmartRelay(host) => f.write_str(host.as_str()),
            Self::Upstreams(group) => f.write_str(group.as_str()),
            Self::Copy(host) => write!(f, "{}{host}", Self::COPY),
        }
    }
}

impl MailDomain {
    /// The domain of a mailbox.
    pub fn of(mailbox: &Address) -> Self {
        Self(lower(mailbox.domain_text()))
    }

    /// `None` when no mailbox can have this domain.
    pub fn parse(text: &str) -> Option<Self> {
        Address::is_domain(text).then(|| Self(lower(text)))
    }

    /// The text, in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Most are in lower case already, and need one allocation.
fn lower(text: &str) -> Arc<str> {
    let is_lower = |octet: u8| octet.is_ascii() && !octet.is_ascii_uppercase();
    if text.bytes().all(is_lower) { text.into() } else { text.to_lowercase().into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_called_what_the_operator_knows() {
        let host = || Arc::new("[Relay.example]:2525".parse::<ConfiguredHost>().unwrap());
        for (destination, name) in [
            (Destination::domain("Example.ORG").unwrap(), "example.org"),
            (Destination::domain("[IPv6:2001:db8::1]").unwrap(), "[ipv6:2001:db8::1]"),
            (Destination::domain("BÜCHER.example").unwrap(), "bücher.example"),
            (Destination::SmartRelay(host()), "[relay.example]:2525"),
            (Destination::Copy(host()), "cc:[relay.example]:2525"),
            (
                Destination::Upstreams(UpstreamGroup::parse("upstream:a+b2").unwrap().into()),
                "upstream:a+b2",
            ),
        ] {
            assert_eq!((destination.to_string().as_str(), &*destination.name()), (name, name));
            assert!(destination.has_name(name) && !destination.has_name(&name[1..]), "{name}");
            assert!(destination.has_name(&name.to_ascii_uppercase()), "{name}");
        }
        let recipient = Address::parse("a@Example.ORG").unwrap();
        assert_eq!(Destination::domain("example.org"), Some(Destination::domain_of(&recipient)));
    }

    #[test]
    fn what_is_no_domain_is_no_destination() {
        let long = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(60)].join(".");
        assert!(Destination::domain(&long).is_some());
        for text in ["", "a b", "a\nb", "cc:host", "host:25", "[host]", "a..b", &format!("{long}d")]
        {
            assert_eq!(Destination::domain(text), None, "{text}");
        }
    }
}

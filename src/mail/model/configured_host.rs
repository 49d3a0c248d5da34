//! A host that an operator configured as a destination, with its text.

use crate::ground::host::{HostError, HostSpec};
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::str::FromStr;

/// A [`HostSpec`] with the text that it is written as. The text is made once: each mail to a smart
/// relay is stored, logged and counted under it. Hosts are equal when their texts are.
#[derive(Clone)]
pub struct ConfiguredHost {
    spec: HostSpec,
    text: String,
}

impl ConfiguredHost {
    /// The host as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl From<HostSpec> for ConfiguredHost {
    fn from(spec: HostSpec) -> Self {
        let text = spec.to_string();
        Self { spec, text }
    }
}

impl FromStr for ConfiguredHost {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        text.parse().map(HostSpec::into)
    }
}

impl Deref for ConfiguredHost {
    type Target = HostSpec;

    fn deref(&self) -> &HostSpec {
        &self.spec
    }
}

impl fmt::Display for ConfiguredHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for ConfiguredHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.spec.fmt(f)
    }
}

impl PartialEq for ConfiguredHost {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for ConfiguredHost {}

impl Hash for ConfiguredHost {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl PartialOrd for ConfiguredHost {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ConfiguredHost {
    fn cmp(&self, other: &Self) -> Ordering {
        self.text.cmp(&other.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_equal_when_they_are_the_same_in_every_form() {
        let host = |text: &str| text.parse::<ConfiguredHost>().unwrap();
        for (one, other, equal) in [
            ("Relay.example", "relay.example", true),
            ("192.0.2.1", "[192.0.2.1]", true),
            ("2001:db8::1", "[2001:DB8::1]", true),
            ("relay.example", "[relay.example]", false),
            ("relay.example", "relay.example:25", false),
        ] {
            let (one, other) = (host(one), host(other));
            assert_eq!((one == other, *one == *other), (equal, equal), "{one} {other}");
        }
    }
}

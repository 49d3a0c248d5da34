//! Upstreams that share the mail of one rule.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Upstreams, any of which may take a mail: those of the rule that the mail matches. Which of them
/// takes it is decided at each connection. Groups are equal when their texts are.
#[derive(Clone)]
pub struct UpstreamGroup {
    names: Vec<Arc<str>>,
    text: String,
}

impl UpstreamGroup {
    /// The prefix of its text. No domain and no host begins so.
    pub const PREFIX: &str = "upstream:";

    /// Between two names in its text.
    const AND: char = '+';

    /// A group of these upstreams, in this order.
    pub fn new(names: Vec<Arc<str>>) -> Self {
        let mut text = Self::PREFIX.to_owned();
        for (place, name) in names.iter().enumerate() {
            if place > 0 {
                text.push(Self::AND);
            }
            text.push_str(name);
        }
        Self { names, text }
    }

    /// The group of this text, in any case; `None` when it is the text of none.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        let names = text.strip_prefix(Self::PREFIX)?.split(Self::AND);
        let is_name = |name: &str| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        };
        names.map(|name| is_name(name).then(|| name.into())).collect::<Option<_>>().map(Self::new)
    }

    /// The names of its upstreams.
    pub fn names(&self) -> &[Arc<str>] {
        &self.names
    }

    /// Its text: `upstream:` and the names, joined by `+`.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for UpstreamGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for UpstreamGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for UpstreamGroup {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for UpstreamGroup {}

impl Hash for UpstreamGroup {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl PartialOrd for UpstreamGroup {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for UpstreamGroup {
    fn cmp(&self, other: &Self) -> Ordering {
        self.text.cmp(&other.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_its_text() {
        let group = UpstreamGroup::new(vec!["ses".into(), "mailgun".into()]);
        assert_eq!(group.as_str(), "upstream:ses+mailgun");
        assert_eq!(UpstreamGroup::parse("UPSTREAM:ses+Mailgun"), Some(group));
        for text in ["", "ses", "upstream:", "upstream:a+", "upstream:a b", "upstream:a++b"] {
            assert_eq!(UpstreamGroup::parse(text), None, "{text}");
        }
    }
}

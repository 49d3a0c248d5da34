//! A domain that signs, and its selectors.

use super::key::Algorithm;

/// What the selector of an Ed25519 key ends in.
pub(super) const ED25519_SUFFIX: &str = "-ed25519";

/// The selector of a domain for which none is named.
const DEFAULT_SELECTOR: &str = "postern";

/// Octets of a selector, at most: with the suffix it must fit into a label (RFC 1035 §2.3.4).
pub(super) const SELECTOR_MAX: usize = 63 - ED25519_SUFFIX.len();

/// Whether a text can be a selector: one or more labels of letters, digits, hyphens and underscores
/// (RFC 6376 §3.1), in lower case.
pub fn is_selector(text: &str) -> bool {
    let label = |label: &str| {
        let fits = |octet: u8| {
            octet.is_ascii_lowercase() || octet.is_ascii_digit() || matches!(octet, b'-' | b'_')
        };
        !label.is_empty() && label.bytes().all(fits)
    };
    text.len() <= SELECTOR_MAX && text.split('.').all(label)
}

/// A domain that signs, as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningDomain {
    /// In lower case and A-labels.
    pub domain: String,
    /// The selector of its RSA key; that of its Ed25519 key ends in `-ed25519`.
    pub selector: String,
}

impl SigningDomain {
    /// A domain with a selector, or with the default one.
    pub fn new(domain: &str, selector: Option<&str>) -> Self {
        let selector = selector.unwrap_or(DEFAULT_SELECTOR).to_owned();
        Self { domain: domain.to_owned(), selector }
    }

    /// The names of the records of its keys.
    pub fn record_names(&self) -> [String; 2] {
        self.selectors().map(|(selector, _)| format!("{selector}._domainkey.{}", self.domain))
    }

    /// The selectors of its keys.
    pub fn selectors(&self) -> [(String, Algorithm); 2] {
        [
            (self.selector.clone(), Algorithm::Rsa),
            (format!("{}{ED25519_SUFFIX}", self.selector), Algorithm::Ed25519),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_labels() {
        for good in ["postern", "s1", "2026-11.eu", "a_b", &"x".repeat(55)] {
            assert!(is_selector(good), "{good}");
        }
        for bad in ["", ".", "a..b", "A", "a b", "a/b", "..", "ü", &"x".repeat(56)] {
            assert!(!is_selector(bad), "{bad}");
        }
    }
}

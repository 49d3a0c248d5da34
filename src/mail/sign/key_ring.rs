//! The keys of all domains: which domain signs, with which selectors.

use super::key::{Algorithm, SigningKey};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// What the selector of an Ed25519 key ends in.
const ED25519_SUFFIX: &str = "-ed25519";

/// The selector of a domain for which none is named.
const DEFAULT_SELECTOR: &str = "postern";

/// Octets of a selector, at most: with the suffix it must fit into a label (RFC 1035 §2.3.4).
const SELECTOR_MAX: usize = 63 - ED25519_SUFFIX.len();

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

    /// The selectors of its keys.
    pub fn selectors(&self) -> [(String, Algorithm); 2] {
        [
            (self.selector.clone(), Algorithm::Rsa),
            (format!("{}{ED25519_SUFFIX}", self.selector), Algorithm::Ed25519),
        ]
    }
}

/// A key file that was found.
#[derive(Clone)]
pub struct SelectorFile {
    /// The domain, in lower case.
    pub domain: String,
    /// The selector.
    pub selector: String,
    /// Its content, or why it cannot be read. Secret.
    pub content: Result<String, String>,
}

impl fmt::Debug for SelectorFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { domain, selector, .. } = self;
        write!(f, "SelectorFile({selector}._domainkey.{domain})")
    }
}

/// The keys of one domain.
#[derive(Debug)]
pub struct DomainKeys {
    /// The domain and its selector.
    pub signing: SigningDomain,
    /// The usable keys with their selectors; empty or not, see [`DomainKeys::problem`].
    pub keys: Vec<(String, SigningKey)>,
    /// Why the domain cannot sign now; `None`: it can.
    pub problem: Option<String>,
}

/// What a lookup gives.
#[derive(Debug, Clone)]
pub enum Lookup {
    /// Mail of this domain is signed with these keys; none can be used if there is a problem.
    Signs(Arc<DomainKeys>),
    /// Mail of this domain is not signed.
    Unsigned,
}

/// The keys of all domains.
#[derive(Debug, Default)]
pub struct KeyRing {
    domains: BTreeMap<String, Arc<DomainKeys>>,
}

impl KeyRing {
    /// The keys for the configured domains, or without these for every domain with a key file. Of
    /// two files for the same key the first counts.
    pub fn new(configured: &[SigningDomain], files: &[SelectorFile]) -> Self {
        let every;
        let signing = if configured.is_empty() {
            every = domains_of(files);
            &every
        } else {
            configured
        };
        let keys = signing
            .iter()
            .map(|signing| (signing.domain.clone(), Arc::new(domain_keys(signing, files))));
        Self { domains: keys.collect() }
    }

    /// Whether no domain signs.
    pub fn is_empty(&self) -> bool {
        self.domains.is_empty()
    }

    /// All domains that sign, by name.
    pub fn domains(&self) -> impl Iterator<Item = &Arc<DomainKeys>> {
        self.domains.values()
    }

    /// The keys for a domain of a From field: its own, or those of its nearest parent.
    pub fn lookup(&self, domain: &str) -> Lookup {
        let mut rest = domain;
        loop {
            if let Some(keys) = self.domains.get(rest) {
                return Lookup::Signs(keys.clone());
            }
            match rest.split_once('.') {
                Some((_, parent)) => rest = parent,
                None => return Lookup::Unsigned,
            }
        }
    }
}

/// Every domain with a key file. Its selector is the default one if there is a key for it, else the
/// only one; with several it must be configured.
fn domains_of(files: &[SelectorFile]) -> Vec<SigningDomain> {
    let mut selectors: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for SelectorFile { domain, selector, .. } in files {
        let base = selector.strip_suffix(ED25519_SUFFIX).unwrap_or(selector);
        selectors.entry(domain).or_default().insert(base);
    }
    let signing = |(domain, selectors): (&str, BTreeSet<&str>)| {
        let only = selectors.first().filter(|_| selectors.len() == 1).copied();
        SigningDomain::new(domain, only)
    };
    selectors.into_iter().map(signing).collect()
}

fn domain_keys(signing: &SigningDomain, files: &[SelectorFile]) -> DomainKeys {
    let (mut keys, mut problem) = (Vec::new(), None);
    for (selector, _) in signing.selectors() {
        let is_it =
            |file: &&SelectorFile| file.domain == signing.domain && file.selector == selector;
        let Some(file) = files.iter().find(is_it) else { continue };
        let key = file.content.as_ref().map_err(Clone::clone).and_then(|content| {
            SigningKey::from_pem(content.as_bytes()).map_err(|error| error.to_string())
        });
        match key {
            Ok(key) => keys.push((selector, key)),
            Err(why) => {
                problem.get_or_insert(format!(
                    "the key {selector} of {} cannot be used: {why}",
                    signing.domain
                ));
            }
        }
    }
    if keys.is_empty() && problem.is_none() {
        let SigningDomain { domain, selector } = signing;
        problem = Some(format!("there is no key {selector} for {domain}"));
    }
    DomainKeys { signing: signing.clone(), keys, problem }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::sign::key::generate;

    fn file(domain: &str, selector: &str, content: Result<&str, &str>) -> SelectorFile {
        SelectorFile {
            domain: domain.to_owned(),
            selector: selector.to_owned(),
            content: content.map(str::to_owned).map_err(str::to_owned),
        }
    }

    fn found(ring: &KeyRing, domain: &str) -> Option<(String, Vec<String>, Option<String>)> {
        match ring.lookup(domain) {
            Lookup::Unsigned => None,
            Lookup::Signs(keys) => Some((
                keys.signing.domain.clone(),
                keys.keys.iter().map(|(selector, _)| selector.clone()).collect(),
                keys.problem.clone(),
            )),
        }
    }

    #[test]
    fn a_domain_signs_with_all_its_keys_and_so_do_those_below_it() {
        let (rsa, small) =
            (generate(Algorithm::Rsa).unwrap(), generate(Algorithm::Ed25519).unwrap());
        let files = [
            file("a.example", "s1", Ok(&rsa)),
            file("a.example", "s1-ed25519", Ok(&small)),
            file("a.example", "s0", Ok("old")),
            file("b.example", "postern", Ok("broken")),
            file("c.example", "postern-ed25519", Err("permission denied")),
        ];
        let configured = ["a.example=s1", "b.example", "c.example", "d.example"].map(|text| {
            let (domain, selector) =
                text.split_once('=').map_or((text, None), |(domain, one)| (domain, Some(one)));
            SigningDomain::new(domain, selector)
        });
        let ring = KeyRing::new(&configured, &files);
        let both = vec!["s1".to_owned(), "s1-ed25519".to_owned()];
        for domain in ["a.example", "relay.a.example"] {
            assert_eq!(found(&ring, domain), Some(("a.example".into(), both.clone(), None)));
        }
        assert_eq!((found(&ring, "xa.example"), found(&ring, "example")), (None, None));
        let problem = |domain| found(&ring, domain).unwrap().2.unwrap();
        assert!(problem("b.example").contains("postern of b.example cannot be used: there is no"));
        assert!(problem("c.example").ends_with("cannot be used: permission denied"));
        assert_eq!(problem("d.example"), "there is no key postern for d.example");
    }

    #[test]
    fn without_a_list_every_domain_with_a_key_signs() {
        let key = generate(Algorithm::Ed25519).unwrap();
        let files = [
            file("one.example", "x-ed25519", Ok(&key)),
            file("two.example", "x", Ok(&key)),
            file("two.example", "postern", Ok(&key)),
            file("three.example", "x", Ok(&key)),
            file("three.example", "y", Ok(&key)),
        ];
        let ring = KeyRing::new(&[], &files);
        let keys =
            |domain| found(&ring, domain).map(|(_, keys, problem)| (keys, problem.is_some()));
        assert_eq!(keys("one.example"), Some((vec!["x-ed25519".into()], false)));
        assert_eq!(keys("two.example"), Some((vec!["postern".into()], false)));
        assert_eq!(keys("three.example"), Some((vec![], true)), "which of the two is not known");
        assert!(KeyRing::new(&[], &[]).is_empty());
    }

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

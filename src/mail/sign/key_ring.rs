//! The keys of all domains: which domain signs, with which selectors.

use super::key::SigningKey;
use super::rotation::{Rotation, Rotations};
use super::signing_domain::{ED25519_SUFFIX, SigningDomain};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A key file that was found.
#[derive(Debug, Clone)]
pub struct SelectorFile {
    /// The domain, in lower case.
    pub domain: String,
    /// The selector.
    pub selector: String,
    /// Whether the relay has made it: it is on the data volume.
    pub own: bool,
    /// The key, or why it cannot be used.
    pub key: Result<Arc<SigningKey>, String>,
}

impl SelectorFile {
    /// A file with this content, or why that cannot be read.
    pub fn read(domain: &str, selector: &str, own: bool, content: Result<&str, String>) -> Self {
        let key = content.and_then(|content| {
            SigningKey::from_pem(content.as_bytes()).map_err(|error| error.to_string())
        });
        let key = key.map(Arc::new);
        Self { domain: domain.to_owned(), selector: selector.to_owned(), own, key }
    }

    /// Whether it has a key of this domain and its selectors.
    pub fn is_of(&self, signing: &SigningDomain) -> bool {
        self.domain == signing.domain
            && signing.selectors().iter().any(|(selector, _)| *selector == self.selector)
    }
}

/// The keys of one domain.
#[derive(Debug)]
pub struct DomainKeys {
    /// The domain and its selector.
    pub signing: SigningDomain,
    /// The usable keys with their selectors; empty or not, see [`DomainKeys::problem`].
    pub keys: Vec<(String, Arc<SigningKey>)>,
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
    /// The keys for the configured domains, or without these for every domain with a key file, as
    /// far as their rotations have come. Of two files for the same key the first counts.
    pub fn new(
        configured: &[SigningDomain],
        files: &[SelectorFile],
        rotations: &Rotations,
    ) -> Self {
        let keys = signing_domains(configured, files, rotations).into_iter().map(|configured| {
            let signing = now_signing(&configured, files, rotations);
            (configured.domain, Arc::new(domain_keys(&signing, files)))
        });
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

/// The domains that sign, with the selectors of the configuration: those that are configured, or
/// without these every domain with a key file. Its selector is then the default one if there is a
/// key for it, else the only one; with several it must be configured. A domain whose keys the relay
/// changes has the selector with which that began.
pub fn signing_domains(
    configured: &[SigningDomain],
    files: &[SelectorFile],
    rotations: &Rotations,
) -> Vec<SigningDomain> {
    if !configured.is_empty() {
        return configured.to_vec();
    }
    let mut domains: BTreeMap<&str, Vec<&SelectorFile>> = BTreeMap::new();
    for file in files {
        domains.entry(&file.domain).or_default().push(file);
    }
    // If their files are lost, mail must wait and not go unsigned.
    for (domain, _) in rotations.domains() {
        domains.entry(domain).or_default();
    }
    let signing = |(domain, files): (&str, Vec<&SelectorFile>)| {
        let rotation = rotations.of(domain).filter(|_| files.iter().all(|file| file.own));
        if let Some(rotation) = rotation {
            return SigningDomain::new(domain, Some(&rotation.configured));
        }
        let base = |file: &&SelectorFile| {
            let selector = &*file.selector;
            selector.strip_suffix(ED25519_SUFFIX).unwrap_or(selector).to_owned()
        };
        let selectors: BTreeSet<String> = files.iter().map(base).collect();
        let only = selectors.first().filter(|_| selectors.len() == 1);
        SigningDomain::new(domain, only.map(String::as_str))
    };
    domains.into_iter().map(signing).collect()
}

/// The rotation of a domain, if it counts. A key that an operator has put on the key volume for the
/// configured selector ends it.
pub fn active_rotation<'a>(
    configured: &SigningDomain,
    files: &[SelectorFile],
    rotations: &'a Rotations,
) -> Option<&'a Rotation> {
    let ended = files.iter().any(|file| !file.own && file.is_of(configured));
    rotations.counts(configured).filter(|_| !ended)
}

/// The domain with the selector that signs now.
pub fn now_signing(
    configured: &SigningDomain,
    files: &[SelectorFile],
    rotations: &Rotations,
) -> SigningDomain {
    let selector =
        active_rotation(configured, files, rotations).map(|rotation| rotation.signs.clone());
    let selector = selector.unwrap_or_else(|| configured.selector.clone());
    SigningDomain { domain: configured.domain.clone(), selector }
}

fn domain_keys(signing: &SigningDomain, files: &[SelectorFile]) -> DomainKeys {
    let (mut keys, mut problem) = (Vec::new(), None);
    for (selector, _) in signing.selectors() {
        let is_it =
            |file: &&SelectorFile| file.domain == signing.domain && file.selector == selector;
        let Some(file) = files.iter().find(is_it) else { continue };
        match &file.key {
            Ok(key) => keys.push((selector, key.clone())),
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
    use crate::mail::sign::key::{Algorithm, generate};

    fn file(domain: &str, selector: &str, content: Result<&str, &str>) -> SelectorFile {
        SelectorFile::read(domain, selector, false, content.map_err(str::to_owned))
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
        let ring = KeyRing::new(&configured, &files, &Rotations::default());
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
        let ring = KeyRing::new(&[], &files, &Rotations::default());
        let keys =
            |domain| found(&ring, domain).map(|(_, keys, problem)| (keys, problem.is_some()));
        assert_eq!(keys("one.example"), Some((vec!["x-ed25519".into()], false)));
        assert_eq!(keys("two.example"), Some((vec!["postern".into()], false)));
        assert_eq!(keys("three.example"), Some((vec![], true)), "which of the two is not known");
        assert!(KeyRing::default().is_empty());
    }

    #[test]
    fn a_rotation_moves_the_selector_and_a_key_of_the_operator_ends_it() {
        let key = generate(Algorithm::Ed25519).unwrap();
        let own = |selector: &str| SelectorFile::read("a.example", selector, true, Ok(&key));
        let domain = SigningDomain::new("a.example", None);
        let mut rotations = Rotations::default();
        let next = rotations.begin(&domain, (1, "20261127"), |_| false).unwrap();
        let mut files = vec![own("postern-ed25519"), own(&format!("{next}-ed25519"))];
        let signs = |configured: &[SigningDomain], files: &[_], rotations: &_| {
            found(&KeyRing::new(configured, files, rotations), "a.example").unwrap().1
        };
        for configured in [&[][..], std::slice::from_ref(&domain)] {
            assert_eq!(signs(configured, &files, &rotations), ["postern-ed25519"]);
        }
        rotations.switch(&domain, 2).unwrap();
        for configured in [&[][..], std::slice::from_ref(&domain)] {
            assert_eq!(signs(configured, &files, &rotations), ["postern-20261127-ed25519"]);
            // Also when the former key is gone.
            assert_eq!(signs(configured, &files[1..], &rotations), ["postern-20261127-ed25519"]);
        }
        files.insert(0, file("a.example", "postern-ed25519", Ok(&key)));
        for configured in [&[][..], std::slice::from_ref(&domain)] {
            assert_eq!(signs(configured, &files, &rotations), ["postern-ed25519"]);
        }
    }
}

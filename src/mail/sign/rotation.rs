//! The change of a domain's keys: which selector signs, which is next, which were before.
//!
//! In: the selectors of the configuration, orders, what was seen in DNS, times. Out: the state as
//! JSON, which the corridor keeps on the data volume. Each step is one change of that state, so a
//! crash leaves the state before it or after it. Pure: no file, no clock. Limits: [`RETIRED_MAX`]
//! former selectors of a domain, [`STATE_MAX`] octets. Source: RFC 6376 §3.1 (a change of
//! selectors), RFC 5321 §4.5.4.1 (how long mail may be under way).

use super::signing_domain::{SELECTOR_MAX, SigningDomain, is_selector};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Seconds that the record of a former key must stay in DNS: mail with its signature may wait for
/// five days at relays behind this one, and is looked at later still.
pub const RECORD_STAYS: u32 = 7 * 86_400;

/// Former selectors of a domain that are known, at most.
pub const RETIRED_MAX: usize = 10;

/// Octets of the state of all domains, at most.
pub const STATE_MAX: usize = 1 << 20;

/// The format of the state.
const VERSION: u32 = 1;

/// Octets that a new selector has more than the configured one: a hyphen, a date, a number.
const ADDED_MAX: usize = "-20261231-99".len();

/// The rotations of all domains.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotations {
    version: u32,
    domains: BTreeMap<String, Rotation>,
}

/// The rotation of one domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// The selector of the configuration with which it began. With another one in the
    /// configuration the rotation does not count.
    pub configured: String,
    /// The selector that signs.
    pub signs: String,
    /// The selector that signs as soon as its records are in DNS.
    pub next: Option<NextSelector>,
    /// Former selectors, the oldest first.
    #[serde(default)]
    pub retired: Vec<RetiredSelector>,
}

/// A selector whose keys are not used yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NextSelector {
    /// The selector of the RSA key; that of the Ed25519 key has the suffix.
    pub selector: String,
    /// Since when, seconds since 1970.
    pub since: u32,
}

/// A selector whose keys are not used any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetiredSelector {
    /// The selector of the RSA key.
    pub selector: String,
    /// Until when its records must stay in DNS, seconds since 1970.
    pub until: u32,
}

impl Default for Rotations {
    fn default() -> Self {
        Self { version: VERSION, domains: BTreeMap::new() }
    }
}

impl Rotations {
    /// Reads the state.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_json(text: &[u8]) -> Result<Self, String> {
        let read: Self = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        if read.version != VERSION {
            return Err(format!("version {} is not known; a newer program wrote it", read.version));
        }
        let mut selectors = read.domains.values().flat_map(|rotation| {
            let next = rotation.next.iter().map(|next| &next.selector);
            let retired = rotation.retired.iter().map(|retired| &retired.selector);
            [&rotation.configured, &rotation.signs].into_iter().chain(next).chain(retired)
        });
        // They become names of files.
        if selectors.any(|selector| !is_selector(selector)) {
            return Err("it contains what is no selector".to_owned());
        }
        drop(selectors);
        Ok(read)
    }

    /// The state as text.
    pub fn to_json(&self) -> String {
        // Strings, numbers and maps with string keys always can be written.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// All domains with a rotation, by name.
    pub fn domains(&self) -> impl Iterator<Item = (&String, &Rotation)> {
        self.domains.iter()
    }

    /// The rotation of a domain, whatever is configured.
    pub fn of(&self, domain: &str) -> Option<&Rotation> {
        self.domains.get(domain)
    }

    /// The rotation of a domain that counts with this configuration.
    pub fn counts(&self, configured: &SigningDomain) -> Option<&Rotation> {
        self.of(&configured.domain).filter(|rotation| rotation.configured == configured.selector)
    }

    /// Names the next selector of a domain, unless it has one; gives its name. `date` has eight
    /// digits; `is_taken` says whether a selector has keys already.
    ///
    /// # Errors
    /// There are too many former ones.
    pub fn begin(
        &mut self,
        configured: &SigningDomain,
        (now, date): (u32, &str),
        is_taken: impl Fn(&str) -> bool,
    ) -> Result<String, TooManySelectors> {
        let fresh = Rotation {
            configured: configured.selector.clone(),
            signs: configured.selector.clone(),
            next: None,
            retired: Vec::new(),
        };
        let rotation =
            self.domains.entry(configured.domain.clone()).or_insert_with(|| fresh.clone());
        if rotation.configured != configured.selector {
            // The configuration was changed: what this relay made for the former one is of no use.
            let retired = std::mem::take(&mut rotation.retired);
            let former = std::mem::replace(rotation, Rotation { retired, ..fresh });
            let left = former.next.map(|next| next.selector);
            let signs = Some(former.signs).filter(|signs| *signs != configured.selector);
            for selector in left.into_iter().chain(signs) {
                rotation.retired.push(RetiredSelector { selector, until: now + RECORD_STAYS });
            }
        }
        if let Some(next) = &rotation.next {
            return Ok(next.selector.clone());
        }
        // The record of the oldest has been of no use for long.
        while rotation.retired.len() >= RETIRED_MAX {
            if rotation.retired[0].until > now {
                return Err(TooManySelectors);
            }
            rotation.retired.remove(0);
        }
        let known = |name: &str| {
            name == rotation.signs || rotation.retired.iter().any(|one| one.selector == name)
        };
        let selector = names(&configured.selector, date)
            .find(|name| !known(name) && !is_taken(name))
            .ok_or(TooManySelectors)?;
        rotation.next = Some(NextSelector { selector: selector.clone(), since: now });
        Ok(selector)
    }

    /// The next selector of a domain signs from now on; gives it. `None`: it has none.
    pub fn switch(&mut self, configured: &SigningDomain, now: u32) -> Option<String> {
        self.counts(configured)?;
        let rotation = self.domains.get_mut(&configured.domain)?;
        let next = rotation.next.take()?.selector;
        let former = std::mem::replace(&mut rotation.signs, next.clone());
        rotation.retired.push(RetiredSelector { selector: former, until: now + RECORD_STAYS });
        Some(next)
    }

    /// A former selector is of no interest any more.
    pub fn forget(&mut self, domain: &str, selector: &str) {
        if let Some(rotation) = self.domains.get_mut(domain) {
            rotation.retired.retain(|one| one.selector != selector);
        }
    }
}

/// A domain has [`RETIRED_MAX`] former selectors whose records must stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooManySelectors;

/// Names for the next selector, best first.
fn names(configured: &str, date: &str) -> impl Iterator<Item = String> {
    let kept = configured.len().min(SELECTOR_MAX - ADDED_MAX);
    let start = configured.get(..kept).unwrap_or_default().trim_end_matches(['-', '.']);
    let first = format!("{start}-{date}");
    (1..100).map(move |number| match number {
        1 => first.clone(),
        number => format!("{first}-{number}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::sign::now_signing;

    const NOW: (u32, &str) = (1_000_000, "20261127");

    fn free(_: &str) -> bool {
        false
    }

    fn signing(rotations: &Rotations, configured: &SigningDomain) -> String {
        now_signing(configured, &[], rotations).selector
    }

    fn read_again(rotations: &Rotations) -> Rotations {
        Rotations::from_json(rotations.to_json().as_bytes()).unwrap()
    }

    #[test]
    fn a_rotation_goes_from_one_selector_to_the_next() {
        let domain = SigningDomain::new("a.example", None);
        let mut rotations = Rotations::default();
        assert_eq!(signing(&rotations, &domain), "postern");
        assert_eq!(rotations.switch(&domain, 1), None);
        let begin = |rotations: &mut Rotations| rotations.begin(&domain, NOW, free).unwrap();
        assert_eq!(begin(&mut rotations), "postern-20261127");
        assert_eq!(begin(&mut rotations), "postern-20261127", "one at a time");
        rotations = read_again(&rotations);
        assert_eq!(signing(&rotations, &domain), "postern", "until DNS has the next one");

        assert_eq!(rotations.switch(&domain, NOW.0).as_deref(), Some("postern-20261127"));
        rotations = read_again(&rotations);
        assert_eq!(signing(&rotations, &domain), "postern-20261127");
        let retired = &rotations.of("a.example").unwrap().retired;
        let until = NOW.0 + 7 * 86_400;
        assert_eq!(retired, &[RetiredSelector { selector: "postern".into(), until }]);

        assert_eq!(begin(&mut rotations), "postern-20261127-2");
        rotations.switch(&domain, NOW.0);
        rotations.forget("a.example", "postern");
        let left: Vec<_> = rotations.of("a.example").unwrap().retired.iter().collect();
        assert_eq!((left.len(), &*left[0].selector), (1, "postern-20261127"));
        let taken = |name: &str| !name.ends_with("-4");
        assert_eq!(rotations.begin(&domain, NOW, taken).unwrap(), "postern-20261127-4");
    }

    #[test]
    fn the_configuration_has_the_last_word() {
        let [old, new] = ["s1", "s2"].map(|one| SigningDomain::new("a.example", Some(one)));
        let mut rotations = Rotations::default();
        rotations.begin(&old, NOW, free).unwrap();
        rotations.switch(&old, NOW.0);
        rotations.begin(&old, NOW, free).unwrap();
        assert_eq!(signing(&rotations, &new), "s2");
        assert_eq!(rotations.switch(&new, NOW.0), None);
        assert_eq!(rotations.begin(&new, NOW, free).unwrap(), "s2-20261127");
        let rotation = rotations.of("a.example").unwrap();
        let retired: Vec<_> = rotation.retired.iter().map(|one| &*one.selector).collect();
        assert_eq!(retired, ["s1", "s1-20261127-2", "s1-20261127"]);
        assert_eq!((&*rotation.configured, &*rotation.signs), ("s2", "s2"));
    }

    #[test]
    fn former_selectors_are_limited() {
        let domain = SigningDomain::new("a.example", None);
        let mut rotations = Rotations::default();
        for _ in 0..RETIRED_MAX {
            rotations.begin(&domain, NOW, free).unwrap();
            rotations.switch(&domain, NOW.0);
        }
        assert_eq!(rotations.begin(&domain, NOW, free), Err(TooManySelectors));
        let later = (NOW.0 + RECORD_STAYS, "20261204");
        assert_eq!(rotations.begin(&domain, later, free).unwrap(), "postern-20261204");
    }

    #[test]
    fn names_fit_and_nonsense_is_refused() {
        let long = SigningDomain::new("a.example", Some(&"x".repeat(SELECTOR_MAX)));
        let name = Rotations::default().begin(&long, NOW, |name| !name.ends_with("-99")).unwrap();
        assert_eq!(name.len(), SELECTOR_MAX);
        assert!(is_selector(&name));
        for bad in [
            "",
            "{}",
            r#"{"version":2,"domains":{}}"#,
            r#"{"version":1,"domains":{"a":{"configured":"s","signs":"../x","next":null}}}"#,
        ] {
            assert!(Rotations::from_json(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}

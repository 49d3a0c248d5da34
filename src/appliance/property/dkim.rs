//! Properties of DKIM: `dkim_domains`, `dkim_failure`.

use super::name::host_name;
use super::to_text::Written;
use super::value::{ValueError, list};
use std::fmt;
use std::str::FromStr;

/// Domains of `dkim_domains`, at most.
pub const DKIM_DOMAINS_MAX: usize = 300;

/// Octets of a selector, at most: with `-ed25519` it must fit into a label (RFC 1035 §2.3.4).
const SELECTOR_MAX: usize = 55;

/// A domain whose mail is signed: `domain[=selector]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DkimDomain {
    /// In lower case and A-labels.
    pub domain: String,
    /// Its selector; `None` = the default one.
    pub selector: Option<String>,
}

/// Property `dkim_failure`: what becomes of mail that cannot be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DkimFailure {
    /// It waits in the queue.
    Wait,
    /// It is sent without a signature.
    Send,
}

/// The domains of `dkim_domains`.
///
/// # Errors
/// One is no domain, or stands there twice; or there are too many.
pub fn dkim_domains(text: &str) -> Result<Vec<DkimDomain>, ValueError> {
    let domains: Vec<DkimDomain> = list(text, str::parse)?;
    for (place, one) in domains.iter().enumerate() {
        if domains[..place].iter().any(|other| other.domain == one.domain) {
            return Err(format!(
                "names '{}' twice; a domain has one selector, and 'postern dkim rotate' changes it",
                one.domain
            ));
        }
    }
    if domains.len() > DKIM_DOMAINS_MAX {
        return Err(format!("has more than {DKIM_DOMAINS_MAX} domains"));
    }
    Ok(domains)
}

impl FromStr for DkimDomain {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let wrong = || {
            format!(
                "must be domains such as example.com or example.com=selector, separated by commas \
                or blanks; '{text}' is none"
            )
        };
        let (domain, selector) = match text.split_once('=') {
            Some((domain, selector)) => (domain, Some(selector.to_ascii_lowercase())),
            None => (text, None),
        };
        let ascii = idna::domain_to_ascii(domain).map_err(|_| wrong())?;
        let domain = host_name(&ascii).map_err(|_| wrong())?;
        if selector.as_deref().is_some_and(|selector| !is_selector(selector)) {
            return Err(format!(
                "has a wrong selector in '{text}': up to {SELECTOR_MAX} letters, digits, hyphens, \
                underscores and dots are allowed"
            ));
        }
        Ok(Self { domain, selector })
    }
}

/// As `mail::sign` reads it.
fn is_selector(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|octet| {
                octet.is_ascii_lowercase() || octet.is_ascii_digit() || b"-_".contains(&octet)
            })
    };
    text.len() <= SELECTOR_MAX && text.split('.').all(label)
}

impl fmt::Display for DkimDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.domain)?;
        self.selector.as_ref().map_or(Ok(()), |selector| write!(f, "={selector}"))
    }
}

impl Written for DkimDomain {
    fn to_text(&self) -> String {
        self.to_string()
    }
}

impl FromStr for DkimFailure {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text.to_ascii_lowercase().as_str() {
            "wait" => Ok(Self::Wait),
            "send" => Ok(Self::Send),
            _ => Err("must be wait (mail waits for its key) or send (without a signature)".into()),
        }
    }
}

impl Written for DkimFailure {
    fn to_text(&self) -> String {
        match self {
            Self::Wait => "wait",
            Self::Send => "send",
        }
        .to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_have_selectors_or_the_default_one() {
        let read = dkim_domains("Example.com, b\u{fc}cher.example=S1 c.example=2026.eu").unwrap();
        let texts: Vec<String> = read.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["example.com", "xn--bcher-kva.example=s1", "c.example=2026.eu"]);
        assert_eq!(dkim_domains(&texts.join(" ")), Ok(read));
        for (wrong, words) in [
            ("example.com=", "wrong selector"),
            ("example.com=a/b", "wrong selector"),
            ("a@example.com", "is none"),
            ("a.example=x,a.example=y", "twice"),
        ] {
            let error = dkim_domains(wrong).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}

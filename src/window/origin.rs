//! Tells orders that a person gave from those that another site's page sends in the person's name.
//!
//! A browser says where a request comes from: `Sec-Fetch-Site`, or `Origin` in older ones. A program says neither, and sends
//! JSON, which a page of another site cannot without asking first. The forms of our own pages carry a token beside.
//! Source: Fetch Metadata Request Headers (W3C), RFC 6454 §7.

use crate::ground::password::same;
use aws_lc_rs::hmac;
use hyper::header::{self, HeaderMap};

/// Whether a browser says that another site's page asks.
pub(super) fn is_foreign(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    match (text("sec-fetch-site"), text(header::ORIGIN.as_str())) {
        (Some("same-origin" | "none"), _) | (None, None) => false,
        (Some(_), _) => true,
        (None, Some(origin)) => {
            let host = origin.split_once("://").map(|(_, host)| host);
            host.is_none() || host != text(header::HOST.as_str())
        }
    }
}

/// The token of this process's forms.
pub(super) struct FormToken(String);

impl FormToken {
    /// Another for each life of the process.
    pub(super) fn new() -> Self {
        let tag = hmac::sign(&super::login::fresh_key(), b"form");
        Self(tag.as_ref().iter().take(16).map(|octet| format!("{octet:02x}")).collect())
    }

    /// What a form carries.
    pub(super) fn text(&self) -> &str {
        &self.0
    }

    /// Whether a form carries it.
    pub(super) fn fits(&self, given: &str) -> bool {
        same(given.as_bytes(), self.0.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::{HeaderName, HeaderValue};

    #[test]
    fn pages_of_other_sites_are_told_apart() {
        let foreign = |pairs: &[(&'static str, &'static str)]| {
            let pair =
                |(name, value): &(&'static str, &'static str)| (HeaderName::from_static(name), HeaderValue::from_static(value));
            is_foreign(&pairs.iter().map(pair).collect())
        };
        assert!(!foreign(&[("host", "mta:8080")]), "a program");
        assert!(!foreign(&[("sec-fetch-site", "same-origin"), ("origin", "http://mta"), ("host", "mta")]));
        assert!(!foreign(&[("origin", "http://mta:8080"), ("host", "mta:8080")]));
        for other in [
            &[("sec-fetch-site", "cross-site")][..],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "oddly")],
            &[("origin", "http://evil.example"), ("host", "mta")],
            &[("origin", "null"), ("host", "mta")],
            &[("origin", "http://mta:8081"), ("host", "mta:8080")],
        ] {
            assert!(foreign(other), "{other:?}");
        }
    }

    #[test]
    fn a_token_fits_its_own_process_only() {
        let (one, other) = (FormToken::new(), FormToken::new());
        assert!(one.fits(one.text()) && !one.fits(other.text()) && !one.fits(""));
        assert_eq!(one.text().len(), 32);
    }
}

//! Protection against cross-site request forgery.
//!
//! A browser sends the origin of a request: `Sec-Fetch-Site`, or `Origin` in older ones and over
//! plain HTTP. A program sends neither, and sends JSON, which a page of another site cannot send
//! without a preflight request. The forms of this server's pages also contain a token. Behind a
//! proxy the request's Host may differ from the browser's: `ui_url` gives the browser's. Source:
//! Fetch Metadata Request Headers (W3C), RFC 6454 §7.

use crate::ground::credential::password::same;
use crate::ground::credential::verifier::fresh_key;
use crate::ground::web_address::WebAddress;
use crate::http::allowed_hosts::Authority;
use aws_lc_rs::hmac;
use hyper::header::{self, HeaderMap};

/// The header field with the token in requests of this server's script.
pub(crate) const FORM_TOKEN: &str = "x-form-token";

/// Characters of a field that are shown in an answer.
const SHOWN: usize = 80;

/// Whether the request comes from a browser, by its headers.
pub(crate) fn is_browser(headers: &HeaderMap) -> bool {
    headers.contains_key("sec-fetch-site") || headers.contains_key(header::ORIGIN)
}

/// The error text for a request that a page of another site makes a browser send; `None` if it
/// comes from this server's pages.
pub(crate) fn foreign(
    headers: &HeaderMap,
    host: Option<&Authority>,
    outside: Option<&WebAddress>,
) -> Option<String> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let (site, origin) = (text("sec-fetch-site"), text(header::ORIGIN.as_str()));
    let own = match (site, origin) {
        (Some("same-origin" | "none"), _) | (None, None) => true,
        (Some(_), _) => false,
        (None, Some(origin)) => is_own(origin, host, outside),
    };
    if own {
        return None;
    }
    let shown = |text: Option<&str>| match text {
        Some(text) => text.chars().take(SHOWN).collect::<String>(),
        None => "none".to_owned(),
    };
    let (origin, host) = (shown(origin), shown(host.map(Authority::text).as_deref()));
    let outside = outside.map(|outside| format!(", ui_url: {outside}")).unwrap_or_default();
    let advice = if headers.contains_key(header::ORIGIN) {
        format!(
            "If {origin} is this app behind a proxy, set ui_url (MTA_UI_URL) to the address that \
            the browser shows"
        )
    } else {
        "Open the page itself and ask there".to_owned()
    };
    Some(format!(
        "the browser says that another site's page asked for this (Origin: {origin}, Host: \
        {host}{outside}); nothing was done. {advice}"
    ))
}

/// Whether an origin is that of this server: the one in `ui_url`, or the host of the request.
fn is_own(origin: &str, host: Option<&Authority>, outside: Option<&WebAddress>) -> bool {
    if outside.is_some_and(|outside| outside.origin().eq_ignore_ascii_case(origin)) {
        return true;
    }
    let (Some((scheme, authority)), Some(host)) = (origin.split_once("://"), host) else {
        return false;
    };
    let secure = scheme.eq_ignore_ascii_case("https");
    // Behind a proxy with TLS the scheme here is different: host and port decide.
    Authority::parse(authority)
        .is_some_and(|one| one.host == host.host && one.port_of(secure) == host.port_of(secure))
}

/// The token in the forms of this process.
pub(crate) struct FormToken(String);

impl FormToken {
    /// Another one for each process.
    pub(crate) fn new() -> Self {
        let tag = hmac::sign(&fresh_key(), b"form");
        Self(tag.as_ref().iter().take(16).map(|octet| format!("{octet:02x}")).collect())
    }

    /// Its text in a form.
    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    /// Whether a form has the correct token.
    pub(crate) fn fits(&self, given: &str) -> bool {
        same(given.as_bytes(), self.0.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::{HeaderName, HeaderValue};

    fn told(pairs: &[(&'static str, &'static str)], outside: Option<&str>) -> Option<String> {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        let headers: HeaderMap = pairs.iter().map(pair).collect();
        let host = headers.get("host").and_then(|host| Authority::parse(host.to_str().ok()?));
        foreign(&headers, host.as_ref(), outside.map(|text| text.parse().unwrap()).as_ref())
    }

    #[test]
    fn pages_of_other_sites_are_told_apart() {
        for own in [
            &[("host", "mta:8080")][..],
            &[("sec-fetch-site", "same-origin"), ("origin", "http://mta"), ("host", "mta")],
            &[("origin", "http://mta:8080"), ("host", "mta:8080")],
            &[("origin", "http://mta"), ("host", "MTA:80")],
            &[("origin", "https://mta.example"), ("host", "mta.example")],
            &[("origin", "http://[2001:DB8::1]:8080"), ("host", "[2001:db8::1]:8080")],
        ] {
            assert_eq!(told(own, None), None, "{own:?}");
        }
        for other in [
            &[("sec-fetch-site", "cross-site")][..],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "oddly")],
            &[("origin", "http://evil.example"), ("host", "mta")],
            &[("origin", "null"), ("host", "mta")],
            &[("origin", "http://mta"), ("host", "mta:8080")],
            &[("origin", "http://mta:8081"), ("host", "mta:8080")],
        ] {
            assert!(told(other, Some("https://mail.example.org/mta")).is_some(), "{other:?}");
        }
    }

    #[test]
    fn behind_a_proxy_the_outside_address_counts() {
        let asked = [("origin", "https://mail.example.org:8443"), ("host", "mta:80")];
        let words = told(&asked, None).unwrap();
        assert!(
            words.contains("Origin: https://mail.example.org:8443, Host: mta:80")
                && words.contains("ui_url"),
            "{words}"
        );
        assert_eq!(told(&asked, Some("https://mail.example.org:8443/mta/")), None);
        assert!(told(&asked, Some("https://mail.example.org/mta/")).is_some(), "another port");
        assert!(told(&asked, Some("http://mail.example.org:8443/")).is_some(), "another scheme");
    }

    #[test]
    fn a_token_fits_its_own_process_only() {
        let (one, other) = (FormToken::new(), FormToken::new());
        assert!(one.fits(one.text()) && !one.fits(other.text()) && !one.fits(""));
        assert_eq!(one.text().len(), 32);
    }
}

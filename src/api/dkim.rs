//! `GET /api/v1/dkim`: the domains that sign with DKIM, the records that they need in DNS, and with
//! `check=yes` what DNS has.
//!
//! In: `domain` for one of them, `check`. Out: a [`DkimView`]. Limits: [`CHECKED_MAX`] domains are
//! looked up at once; one look-up of a visitor at a time and few in all, [`CHECK_PATIENCE`] long.
//! Security: needs the login, because it makes the relay ask name servers; what DNS has is
//! untrusted text. Private keys are not known here.

use super::state::AppState;
use super::{HttpResponse, error};
use crate::http::request::RequestHead;
use crate::http::response;
use crate::mail::model::{DkimDomainState, PublishedRecord, RecordVerdict};
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::time::timeout;

/// Domains that are looked up in one request.
const CHECKED_MAX: usize = 20;

/// Time limit of the look-ups.
const CHECK_PATIENCE: Duration = Duration::from_secs(60);

/// Octets of a string in a TXT record, at most (RFC 1035 §3.3.14).
const STRING_MAX: usize = 255;

/// The domains that sign.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DkimView {
    /// By name.
    pub domains: Vec<DkimDomainView>,
    /// The host names of the addresses of `hostname`; empty without `check=yes`.
    pub hosts: Vec<RecordView>,
}

/// One domain that signs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DkimDomainView {
    /// In A-labels.
    pub domain: String,
    /// The selector of its RSA key; that of its Ed25519 key ends in `-ed25519`.
    pub selector: String,
    /// Why it cannot sign; `null`: it can.
    pub problem: Option<String>,
    /// The keys that sign.
    pub keys: Vec<DkimKeyView>,
    /// The records of its keys, of SPF and DMARC; `null` where they were not looked up.
    pub records: Option<Vec<RecordView>>,
}

/// One key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DkimKeyView {
    /// Its selector.
    pub selector: String,
    /// `rsa-sha256` or `ed25519-sha256`.
    pub algorithm: String,
    /// The name of its TXT record.
    pub name: String,
    /// The value of the record.
    pub value: String,
    /// The record as a line of a zone file, its value in strings of at most 255 octets.
    pub zone: String,
}

/// A record as it is and as it should be.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RecordView {
    /// `dkim`, `spf`, `dmarc` or `ptr`.
    pub kind: String,
    /// Its name; of `ptr` the address.
    pub name: String,
    /// What it should be; of `spf` and `dmarc` an example.
    pub expected: String,
    /// What DNS has.
    pub found: Vec<String>,
    /// `right`, `missing`, `wrong` or `unknown`.
    pub verdict: String,
    /// The same in words.
    pub words: String,
}

/// `GET /api/v1/dkim`
pub(super) async fn dkim(app: &AppState, visit: &RequestHead<'_>) -> HttpResponse {
    let (domain, check) = match question(visit.query) {
        Ok(question) => question,
        Err(words) => return error(StatusCode::BAD_REQUEST, &words),
    };
    let mut states = app.monitor.dkim.domains();
    if let Some(domain) = domain {
        states.retain(|state| state.domain == domain);
        if states.is_empty() {
            let words = format!("domain: '{domain}' is no domain that signs");
            return error(StatusCode::NOT_FOUND, &words);
        }
    }
    let mut domains: Vec<DkimDomainView> = states.iter().map(view).collect();
    let mut hosts = Vec::new();
    if check {
        let _turn = match visit.turn(&app.route_tests, "route_test", "look-ups").await {
            Ok(turn) => turn,
            Err(answer) => return answer,
        };
        states.truncate(CHECKED_MAX);
        let report = timeout(CHECK_PATIENCE, app.monitor.dkim.report(states)).await;
        let Ok(report) = report else {
            let words = "the name servers did not answer in time";
            return error(StatusCode::GATEWAY_TIMEOUT, words);
        };
        for (domain, checked) in domains.iter_mut().zip(report.domains) {
            domain.records = Some(checked.records.into_iter().map(record_view).collect());
        }
        hosts = report.hosts.into_iter().map(record_view).collect();
    }
    response::json(StatusCode::OK, &DkimView { domains, hosts })
}

/// The domain, if one is named, and whether DNS is to be asked.
fn question(query: &str) -> Result<(Option<String>, bool), String> {
    let (mut domain, mut check) = (None, false);
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "domain" => domain = Some(value.trim().to_ascii_lowercase()),
            "check" => {
                check = match &*value {
                    "yes" => true,
                    "no" => false,
                    _ => return Err("check: yes or no is expected".to_owned()),
                }
            }
            _ => return Err("known parameters are domain, check".to_owned()),
        }
    }
    Ok((domain.filter(|domain| !domain.is_empty()), check))
}

fn view(state: &DkimDomainState) -> DkimDomainView {
    let keys = state.keys.iter().map(|key| {
        let name = format!("{}._domainkey.{}", key.selector, state.domain);
        DkimKeyView {
            selector: key.selector.clone(),
            algorithm: key.algorithm.to_owned(),
            zone: zone_line(&name, &key.record),
            name,
            value: key.record.clone(),
        }
    });
    DkimDomainView {
        domain: state.domain.clone(),
        selector: state.selector.clone(),
        problem: state.problem.clone(),
        keys: keys.collect(),
        records: None,
    }
}

/// A TXT record as a line of a zone file. The value has no quotes and no backslashes.
fn zone_line(name: &str, value: &str) -> String {
    let mut line = format!("{name}. IN TXT (");
    let mut rest = value;
    while !rest.is_empty() {
        let (string, later) = rest.split_at(rest.len().min(STRING_MAX));
        line += &format!(" \"{string}\"");
        rest = later;
    }
    line + " )"
}

fn record_view(record: PublishedRecord) -> RecordView {
    let verdict = match record.verdict {
        RecordVerdict::Right => "right",
        RecordVerdict::Missing => "missing",
        RecordVerdict::Wrong => "wrong",
        RecordVerdict::Unknown => "unknown",
    };
    RecordView {
        kind: record.kind.to_owned(),
        name: record.name,
        expected: record.expected,
        found: record.found,
        verdict: verdict.to_owned(),
        words: record.words,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_value_is_split_into_strings() {
        let line = zone_line("s._domainkey.a.example", &"x".repeat(300));
        let (first, second) = ("x".repeat(255), "x".repeat(45));
        assert_eq!(line, format!("s._domainkey.a.example. IN TXT ( \"{first}\" \"{second}\" )"));
    }

    #[test]
    fn questions_are_read_and_nonsense_is_not() {
        assert_eq!(question(""), Ok((None, false)));
        assert_eq!(question("domain=A.example&check=yes"), Ok((Some("a.example".into()), true)));
        assert!(question("check=perhaps").is_err() && question("x=y").is_err());
    }
}

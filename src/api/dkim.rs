//! `GET /api/v1/dkim`: the domains that sign with DKIM, the records that they need in DNS, and with
//! `check=yes` what DNS has.
//!
//! In: `domain` for one of them, `check`. Out: a [`DkimView`]. Limits: [`CHECKED_MAX`] domains are
//! looked up at once; one look-up of a visitor at a time and few in all, [`CHECK_PATIENCE`] long.
//! Security: needs the login, because it makes the relay ask name servers; what DNS has is
//! untrusted text. Private keys are not known here.

use super::state::AppState;
use super::{HttpResponse, error};
use crate::ground::clock;
use crate::http::request::RequestHead;
use crate::http::response;
use crate::mail::model::{
    DkimDomainState, DkimKeyState, DkimReport, PublishedRecord, RecordVerdict,
};
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
    /// The keys that sign as soon as their records are in DNS; `null`: there are none.
    pub next: Option<DkimNextView>,
    /// Former keys whose records may still be in DNS, the oldest first.
    pub retired: Vec<DkimRetiredView>,
    /// The records of its keys, of SPF and DMARC; `null` where they were not looked up.
    pub records: Option<Vec<RecordView>>,
    /// When they were looked up.
    pub looked_up: Option<String>,
}

/// Keys that are not used yet.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DkimNextView {
    /// The selector of the RSA key.
    pub selector: String,
    /// Since when they exist.
    pub since: String,
    /// The keys.
    pub keys: Vec<DkimKeyView>,
}

/// Keys that are not used any more.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DkimRetiredView {
    /// The selector of the RSA key.
    pub selector: String,
    /// Until when their records must stay in DNS.
    pub record_stays_until: String,
    /// Whether that time is over.
    pub removable: bool,
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
    let domain = domain.as_deref();
    if !check {
        return match domains(app, domain) {
            Some(states) => response::json(StatusCode::OK, &unchecked(&states)),
            None => unknown(domain.unwrap_or_default()),
        };
    }
    match checked_view(app, visit, domain, Duration::ZERO, CHECK_PATIENCE).await {
        Ok(view) => response::json(StatusCode::OK, &view),
        Err(answer) => answer,
    }
}

/// The domains that sign; `None`: the one that is named does not.
fn domains(app: &AppState, domain: Option<&str>) -> Option<Vec<DkimDomainState>> {
    let mut states = app.monitor.dkim.domains();
    if let Some(domain) = domain {
        states.retain(|state| state.domain == domain);
    }
    (domain.is_none() || !states.is_empty()).then_some(states)
}

/// The view without a look at DNS.
fn unchecked(states: &[DkimDomainState]) -> DkimView {
    DkimView { domains: states.iter().map(view).collect(), hosts: Vec::new() }
}

/// The view with what DNS has now, or had within `age`.
///
/// # Errors
/// The answer: the domain does not sign, look-ups are in progress, or no name server answered
/// within `patience`.
pub(crate) async fn checked_view(
    app: &AppState,
    visit: &RequestHead<'_>,
    domain: Option<&str>,
    age: Duration,
    patience: Duration,
) -> Result<DkimView, HttpResponse> {
    let Some(mut states) = domains(app, domain) else {
        return Err(unknown(domain.unwrap_or_default()));
    };
    let _turn = visit.turn(&app.route_tests, "route_test", "look-ups").await?;
    states.truncate(CHECKED_MAX);
    let Ok(report) = timeout(patience, app.monitor.dkim.report(states, age)).await else {
        let words = "the name servers did not answer in time";
        return Err(error(StatusCode::GATEWAY_TIMEOUT, words));
    };
    // The report may have made the next keys sign.
    Ok(with_records(&domains(app, domain).unwrap_or_default(), report))
}

/// The view with what DNS had when it was last asked, whenever that was.
pub(crate) fn last_view(app: &AppState, domain: Option<&str>) -> Option<DkimView> {
    Some(with_records(&domains(app, domain)?, app.monitor.dkim.last_report()))
}

fn with_records(states: &[DkimDomainState], report: DkimReport) -> DkimView {
    let mut view = unchecked(states);
    for checked in report.domains {
        let mut views = view.domains.iter_mut();
        if let Some(domain) = views.find(|view| view.domain == checked.state.domain) {
            domain.records = Some(checked.records.into_iter().map(record_view).collect());
            domain.looked_up = Some(clock::rfc3339(checked.asked));
        }
    }
    view.hosts = report.hosts.into_iter().map(record_view).collect();
    view
}

fn unknown(domain: &str) -> HttpResponse {
    error(StatusCode::NOT_FOUND, &format!("domain: '{domain}' is no domain that signs"))
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

/// One domain without a look at DNS.
pub(super) fn view(state: &DkimDomainState) -> DkimDomainView {
    let keys = |keys: &[DkimKeyState]| {
        let key = |key: &DkimKeyState| {
            let name = key.record_name(&state.domain);
            DkimKeyView {
                selector: key.selector.clone(),
                algorithm: key.algorithm.to_owned(),
                zone: zone_line(&name, &key.record),
                name,
                value: key.record.clone(),
            }
        };
        keys.iter().map(key).collect::<Vec<_>>()
    };
    let retired = state.retired.iter().map(|former| DkimRetiredView {
        selector: former.selector.clone(),
        record_stays_until: clock::rfc3339(former.until),
        removable: former.until <= clock::now(),
    });
    DkimDomainView {
        domain: state.domain.clone(),
        selector: state.selector.clone(),
        problem: state.problem.clone(),
        keys: keys(&state.keys),
        next: state.next.as_ref().map(|next| DkimNextView {
            selector: next.selector.clone(),
            since: clock::rfc3339(next.since),
            keys: keys(&next.keys),
        }),
        retired: retired.collect(),
        records: None,
        looked_up: None,
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

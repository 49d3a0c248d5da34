//! The page of DKIM: the domains that sign, with the records that receivers look up, and what DNS
//! has of them. What is wrong comes first.
//!
//! Without a query it shows what DNS had when the relay last asked; `check=yes` asks, unless that
//! was done within [`KNOWN_FOR`]. Limits: [`DETAILED_MAX`] domains with their records, the others
//! by name; look-ups as in the API, [`PATIENCE`] long.

use super::text::{ShortText, encoded, text};
use super::{PageError, PageFrame};
use crate::api::state::AppState;
use crate::api::{self, DkimDomainView, DkimKeyView, RecordView};
use crate::http::request::RequestHead;
use askama::Template;
use hyper::StatusCode;
use std::time::Duration;

/// How long what DNS had is good enough.
const KNOWN_FOR: Duration = Duration::from_secs(60);

/// Time limit of the look-ups of a page.
const PATIENCE: Duration = Duration::from_secs(20);

/// Domains that are shown with their records, as many as are looked up at once.
const DETAILED_MAX: usize = 20;

/// Characters of a name, of a record, and of a reason.
const NAME_SHOWN: usize = 120;
const RECORD_SHOWN: usize = 1000;
const WORDS_SHOWN: usize = 400;

#[derive(Template)]
#[template(path = "dkim.html", config = "src/ui/askama.toml")]
struct Page {
    frame: PageFrame,
    /// The domain that was asked for, for links and the form.
    domain: String,
    /// Why DNS could not be asked.
    complaint: Option<&'static str>,
    /// What is wrong, in one line.
    summary: Option<(&'static str, String)>,
    domains: Vec<Domain>,
    /// Further domains: name, and the query that shows it.
    others: Vec<(ShortText, String)>,
    hosts: Vec<Record>,
}

struct Domain {
    name: ShortText,
    query: String,
    selector: ShortText,
    /// A state and its CSS class.
    state: (&'static str, &'static str),
    problem: Option<ShortText>,
    looked_up: Option<String>,
    /// The selector that is to sign next, and since when.
    next: Option<(ShortText, String)>,
    /// Former selectors, until when their records must stay, and whether that is over.
    retired: Vec<(ShortText, String, bool)>,
    records: Vec<Record>,
}

struct Record {
    /// `DKIM`, `SPF`, `DMARC` or `Host name`.
    kind: &'static str,
    name: ShortText,
    state: (&'static str, &'static str),
    words: ShortText,
    found: Vec<ShortText>,
    /// What it should be, and the same as a line of a zone file.
    expected: ShortText,
    zone: Option<String>,
    is_example: bool,
}

/// The page.
pub(super) async fn page(app: &AppState, visit: &RequestHead<'_>) -> Result<String, PageError> {
    let (domain, check) = question(visit.query).map_err(PageError::Query)?;
    let name = domain.as_deref();
    let unknown = || PageError::Missing("no such domain signs");
    let mut complaint = None;
    let mut view = api::dkim_last(app, name).ok_or_else(unknown)?;
    if check {
        match api::dkim_checked(app, visit, name, KNOWN_FOR, PATIENCE).await {
            Ok(checked) => view = checked,
            Err(answer) if answer.status() == StatusCode::NOT_FOUND => return Err(unknown()),
            Err(answer) if answer.status() == StatusCode::TOO_MANY_REQUESTS => {
                complaint = Some("Look-ups are in progress; this is what DNS had before.");
            }
            Err(_) => {
                complaint =
                    Some("The name servers did not answer in time; this is what DNS had before.");
            }
        }
    }
    let others = view.domains.split_off(view.domains.len().min(DETAILED_MAX));
    let others = others.iter().map(|one| (text(&one.domain, NAME_SHOWN), encoded(&one.domain)));
    let mut domains: Vec<Domain> = view.domains.iter().map(of_domain).collect();
    domains.sort_by_key(|domain| rank(domain.state.1));
    let mut hosts: Vec<Record> = view.hosts.iter().map(|one| record(one, &[])).collect();
    hosts.sort_by_key(|record| rank(record.state.1));
    let page = Page {
        frame: PageFrame::of(app, visit, "dkim"),
        domain: domain.clone().unwrap_or_default(),
        complaint,
        summary: summary(&domains, &hosts),
        domains,
        others: others.collect(),
        hosts,
    };
    page.render().map_err(PageError::Render)
}

/// The domain, if one is named, and whether DNS is to be asked.
///
/// # Errors
/// What is wrong with the query.
fn question(query: &str) -> Result<(Option<String>, bool), String> {
    let (mut domain, mut check) = (None, false);
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match (&*name, &*value) {
            ("domain", value) => domain = Some(value.trim().to_ascii_lowercase()),
            ("check", "yes") => check = true,
            _ => return Err("the known parameters are domain, and check with yes".to_owned()),
        }
    }
    Ok((domain.filter(|domain| !domain.is_empty()), check))
}

/// The worst first.
fn rank(class: &str) -> u8 {
    match class {
        "bad" => 0,
        "deferred" => 1,
        "" => 2,
        _ => 3,
    }
}

fn summary(domains: &[Domain], hosts: &[Record]) -> Option<(&'static str, String)> {
    let records = || domains.iter().flat_map(|domain| &domain.records).chain(hosts);
    let silent = domains.iter().filter(|domain| domain.problem.is_some()).count();
    let bad = records().filter(|record| record.state.1 == "bad").count();
    let unknown = records().filter(|record| record.state.1 == "deferred").count();
    let number = |count: usize, one: &str| match count {
        1 => format!("1 {one}"),
        count => format!("{count} {one}s"),
    };
    if silent > 0 {
        let text = format!("Mail of {} cannot be signed.", number(silent, "domain"));
        return Some(("bad", text));
    }
    if bad > 0 {
        let text = format!("{} missing or not right in DNS.", number(bad, "record"));
        return Some(("warn", text));
    }
    if unknown > 0 {
        let text = format!("{} could not be looked up.", number(unknown, "record"));
        return Some(("warn", text));
    }
    let all = !domains.is_empty() && domains.iter().all(|domain| domain.looked_up.is_some());
    all.then(|| ("well", "Every record is in DNS.".to_owned()))
}

fn of_domain(view: &DkimDomainView) -> Domain {
    let keys: Vec<&DkimKeyView> =
        view.keys.iter().chain(view.next.iter().flat_map(|next| &next.keys)).collect();
    let mut records: Vec<Record> = match &view.records {
        Some(records) => records.iter().map(|one| record(one, &keys)).collect(),
        None => keys.iter().map(|key| not_looked_up(key)).collect(),
    };
    records.sort_by_key(|record| rank(record.state.1));
    let worst = records.first().map_or("", |record| record.state.1);
    let state = match (&view.problem, worst) {
        (Some(_), _) => ("cannot sign", "bad"),
        (None, "bad") => ("signs, records wrong", "bad"),
        (None, "deferred") => ("signs, DNS silent", "deferred"),
        (None, "") => ("signs, not looked up", ""),
        (None, _) => ("signs", "active"),
    };
    let retired = view.retired.iter().map(|former| {
        let until = former.record_stays_until.clone();
        (text(&former.selector, NAME_SHOWN), until, former.removable)
    });
    Domain {
        name: text(&view.domain, NAME_SHOWN),
        query: encoded(&view.domain),
        selector: text(&view.selector, NAME_SHOWN),
        state,
        problem: view.problem.as_ref().map(|problem| text(problem, WORDS_SHOWN)),
        looked_up: view.looked_up.clone(),
        next: view.next.as_ref().map(|next| (text(&next.selector, NAME_SHOWN), next.since.clone())),
        retired: retired.collect(),
        records,
    }
}

/// A record that was looked up; `keys` are those of its domain.
fn record(view: &RecordView, keys: &[&DkimKeyView]) -> Record {
    let kind = match view.kind.as_str() {
        "dkim" => "DKIM",
        "spf" => "SPF",
        "dmarc" => "DMARC",
        _ => "Host name",
    };
    let state = match view.verdict.as_str() {
        "right" => ("right", "active"),
        "missing" => ("missing", "bad"),
        "wrong" => ("wrong", "bad"),
        _ => ("unknown", "deferred"),
    };
    let key = keys.iter().find(|key| key.name == view.name);
    Record {
        kind,
        name: text(&view.name, NAME_SHOWN),
        state,
        words: text(&view.words, WORDS_SHOWN),
        found: view.found.iter().map(|found| text(found, RECORD_SHOWN)).collect(),
        expected: text(&view.expected, RECORD_SHOWN),
        zone: key.map(|key| key.zone.clone()),
        is_example: matches!(kind, "SPF" | "DMARC"),
    }
}

fn not_looked_up(key: &DkimKeyView) -> Record {
    Record {
        kind: "DKIM",
        name: text(&key.name, NAME_SHOWN),
        state: ("not looked up", ""),
        words: text("to be published", WORDS_SHOWN),
        found: Vec::new(),
        expected: text(&key.value, RECORD_SHOWN),
        zone: Some(key.zone.clone()),
        is_example: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(kind: &str, verdict: &str) -> RecordView {
        RecordView {
            kind: kind.to_owned(),
            name: format!("{kind}.a.example"),
            expected: "v=1".to_owned(),
            found: Vec::new(),
            verdict: verdict.to_owned(),
            words: String::new(),
        }
    }

    fn view(records: Option<Vec<RecordView>>, problem: Option<&str>) -> DkimDomainView {
        DkimDomainView {
            domain: "a.example".to_owned(),
            selector: "postern".to_owned(),
            problem: problem.map(str::to_owned),
            keys: vec![DkimKeyView {
                selector: "postern".to_owned(),
                algorithm: "rsa-sha256".to_owned(),
                name: "dkim.a.example".to_owned(),
                value: "v=1".to_owned(),
                zone: "zone".to_owned(),
            }],
            next: None,
            retired: Vec::new(),
            looked_up: records.is_some().then(|| "t".to_owned()),
            records,
        }
    }

    #[test]
    fn what_is_wrong_comes_first_and_decides_the_state() {
        let records = ["right", "unknown", "missing"].map(|verdict| seen("dkim", verdict));
        let domain = of_domain(&view(Some(records.to_vec()), None));
        let states: Vec<_> = domain.records.iter().map(|record| record.state.0).collect();
        assert_eq!((states, domain.state.1), (vec!["missing", "unknown", "right"], "bad"));
        assert_eq!(domain.records[0].zone.as_deref(), Some("zone"));
        let told = |domain: Domain| summary(&[domain], &[]);
        assert_eq!(told(domain), Some(("warn", "1 record missing or not right in DNS.".into())));
        let right = || of_domain(&view(Some(vec![seen("dkim", "right")]), None));
        assert_eq!(told(right()), Some(("well", "Every record is in DNS.".into())));
        assert_eq!(told(of_domain(&view(None, None))), None);
        let silent = of_domain(&view(None, Some("no key")));
        assert_eq!(silent.state, ("cannot sign", "bad"));
        assert_eq!(told(silent), Some(("bad", "Mail of 1 domain cannot be signed.".into())));
        let host = record(&seen("ptr", "unknown"), &[]);
        let text = "1 record could not be looked up.".to_owned();
        assert_eq!(summary(&[right()], &[host]), Some(("warn", text)));
        assert_eq!(summary(&[], &[]), None);
    }

    #[test]
    fn questions_are_read_and_nonsense_is_not() {
        assert_eq!(question(""), Ok((None, false)));
        assert_eq!(question("domain=A.example&check=yes"), Ok((Some("a.example".into()), true)));
        assert!(question("check=no").is_err() && question("x=y").is_err());
    }
}

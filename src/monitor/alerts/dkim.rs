//! Alerts of domains that are to sign with DKIM and cannot, and of keys without their record.
//!
//! Limits: [`NAMED`] domains or selectors are named.

use super::alert::{Alert, SHOWN};
use crate::ground::display_text::{counted, harmless, shorten};
use crate::mail::model::DkimKeys;

/// Domains or selectors that are named; the page has the others.
const NAMED: usize = 3;

/// One alert for all domains without a usable key.
pub(super) fn of_domains(keys: &dyn DkimKeys) -> Option<Alert> {
    let problems: Vec<String> =
        keys.domains().into_iter().filter_map(|domain| domain.problem).collect();
    if problems.is_empty() {
        return None;
    }
    let number = counted(problems.len() as u64, "domain");
    let nameless = format!("Mail of {number} cannot be signed with DKIM");
    let text = format!("{nameless}: {}", named(&problems, "domain"));
    Some(Alert::new(true, "dkim", text).with_nameless(nameless))
}

/// One alert for all keys that sign and whose record in DNS is missing or another one.
pub(super) fn of_records(keys: &dyn DkimKeys) -> Option<Alert> {
    let problems = keys.record_problems();
    if problems.is_empty() {
        return None;
    }
    let number = counted(problems.len() as u64, "DKIM selector");
    let nameless = format!("DNS does not have the record of {number}");
    let text = format!("{nameless}: {}", named(&problems, "selector"));
    Some(Alert::new(false, "dkim_record", text).with_nameless(nameless))
}

/// The first of these problems, and how many there are more.
fn named(problems: &[String], what: &str) -> String {
    let named = problems.iter().take(NAMED).map(|problem| shorten(&harmless(problem), SHOWN));
    let named = named.collect::<Vec<_>>().join("; ");
    match problems.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named}, and {} more", counted(more as u64, what)),
    }
}

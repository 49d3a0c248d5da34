//! Alerts of domains that are to sign with DKIM and cannot.
//!
//! Limits: [`DOMAINS`] domains are named.

use super::alert::{Alert, SHOWN};
use crate::ground::display_text::{counted, harmless, shorten};
use crate::mail::model::DkimKeys;

/// Domains that are named; the page has the others.
const DOMAINS: usize = 3;

/// One alert for all domains without a usable key.
pub(super) fn of_domains(keys: &dyn DkimKeys) -> Option<Alert> {
    let problems: Vec<String> =
        keys.domains().into_iter().filter_map(|domain| domain.problem).collect();
    if problems.is_empty() {
        return None;
    }
    let named = problems.iter().take(DOMAINS).map(|problem| shorten(&harmless(problem), SHOWN));
    let named = named.collect::<Vec<_>>().join("; ");
    let more = match problems.len().saturating_sub(DOMAINS) {
        0 => String::new(),
        more => format!(", and {} more", counted(more as u64, "domain")),
    };
    let number = counted(problems.len() as u64, "domain");
    let text = format!("Mail of {number} cannot be signed with DKIM: {named}{more}");
    let nameless = format!("Mail of {number} cannot be signed with DKIM");
    Some(Alert::new(true, "dkim", text).with_nameless(nameless))
}

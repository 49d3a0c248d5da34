//! Alerts of upstreams: those that refuse this relay, limit it, cannot be verified, or refuse some
//! of its senders.
//!
//! Limits: [`UPSTREAMS`] upstreams are named.

use super::alert::{Alert, SHOWN};
use crate::ground::display_text::{counted, harmless, shorten};
use crate::mail::model::UpstreamRefusal;
use crate::monitor::state::MonitorState;

/// Upstreams that are named.
const UPSTREAMS: usize = 5;

/// What upstreams do not take now.
pub(super) fn of_upstreams(monitor: &MonitorState) -> Vec<Alert> {
    let mut alerts = Vec::new();
    for upstream in monitor.upstreams.list().into_iter().take(UPSTREAMS) {
        let (name, error) = (&upstream.name, shorten(&harmless(&upstream.last_error), SHOWN));
        let fails_at_tls = upstream.failure.as_ref().is_some_and(|failure| failure.tls);
        let told = match upstream.refusal {
            Some(UpstreamRefusal::Relay) => {
                Some((true, format!("Upstream {name} refuses this relay, its mail waits")))
            }
            // Said below, with more.
            Some(UpstreamRefusal::Connection) if fails_at_tls => None,
            Some(UpstreamRefusal::Connection) => {
                Some((false, format!("Upstream {name} cannot be reached")))
            }
            Some(_) => {
                Some((false, format!("Upstream {name} takes no more mail for now, its mail waits")))
            }
            None => None,
        };
        if let Some((grave, what)) = told {
            let alert = Alert::new(grave, &format!("upstream {name}"), format!("{what}: {error}"));
            alerts.push(Alert { began: Some(upstream.since), ..alert.with_nameless(what) });
        }
        if let Some(failure) = upstream.failure.filter(|failure| failure.tls) {
            let what = format!("TLS with upstream {name} fails");
            let error = shorten(&harmless(&failure.error), SHOWN);
            let alert = Alert::new(true, &format!("tls {name}"), format!("{what}: {error}"));
            alerts.push(Alert { began: Some(failure.since), ..alert.with_nameless(what) });
        }
        if upstream.senders > 0 {
            let senders = counted(upstream.senders as u64, "sender");
            alerts.push(Alert::new(
                false,
                &format!("senders {name}"),
                format!("Upstream {name} refuses {senders}, whose mail waits"),
            ));
        }
    }
    alerts
}

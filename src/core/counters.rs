//! The counters of the whole relay, in one registry: those of `monitor`, and those of the HTTP
//! server, which `monitor` does not know.

use crate::appliance::counter::Error;
use crate::http::counters::HttpCounters;
use crate::monitor::counters::Counters;
use std::sync::Arc;

/// All counters at zero.
///
/// # Errors
/// Two counters of one name: a defect, found by the first test.
pub fn counters() -> Result<(Arc<Counters>, Arc<HttpCounters>), Error> {
    let counters = Counters::new()?;
    let http = HttpCounters::register(counters.registry())?;
    Ok((Arc::new(counters), Arc::new(http)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Monitors are configured with these names: one that disappears, or changes its type, breaks
    /// them.
    #[test]
    fn names_and_types_are_those_that_monitors_know() {
        let (counters, _http) = counters().unwrap();
        counters.accept.certificate_expires(1);
        let found = counters.families().into_iter();
        let found: Vec<_> = found.map(|(name, kind, _)| format!("{kind} {name}")).collect();
        let known: Vec<_> = include_str!("../monitor/metric_names.txt").lines().collect();
        assert_eq!(found, known);
    }

    #[test]
    fn all_rooms_count_panics_together() {
        let (counters, http) = counters().unwrap();
        counters.accept.panics_total.inc();
        http.panics_total.inc();
        counters.outbound.panics_total.inc();
        assert_eq!(counters.monitor.panics_total.get(), 3);
        assert!(counters.text().unwrap().contains("\nmta_panics_total 3\n"));
    }
}

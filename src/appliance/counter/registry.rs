//! The registry of all metrics of an appliance.

use super::{Counter, Error};
use crate::ground::lock::Lock;
use prometheus::TextEncoder;
use prometheus::core::Collector;

/// A set of metrics, no two of one name.
#[derive(Default)]
pub struct Registry {
    metrics: prometheus::Registry,
    /// Counters shared by several modules.
    shared: Lock<Vec<(&'static str, Counter)>>,
}

impl Registry {
    /// Adds a metric, or a collector whose values are computed at each scrape.
    ///
    /// # Errors
    /// Its name is taken.
    pub fn add(&self, collector: Box<dyn Collector>) -> Result<(), Error> {
        self.metrics.register(collector)
    }

    /// The counter of this name; `make` creates it the first time.
    pub(super) fn shared(
        &self,
        name: &'static str,
        make: impl FnOnce() -> Result<Counter, Error>,
    ) -> Result<Counter, Error> {
        let mut shared = self.shared.lock();
        if let Some((_, counter)) = shared.iter().find(|(known, _)| *known == name) {
            return Ok(counter.clone());
        }
        let counter = make()?;
        shared.push((name, counter.clone()));
        Ok(counter)
    }

    /// Everything in Prometheus' text format, version 0.0.4.
    ///
    /// # Errors
    /// A family without metrics, which a test would have found.
    pub fn text(&self) -> Result<String, Error> {
        TextEncoder::new().encode_to_string(&self.metrics.gather())
    }

    /// Name, type (`gauge`, `counter`, `histogram`) and help of every family; the class description
    /// must say the same.
    pub fn families(&self) -> Vec<(String, String, String)> {
        self.metrics
            .gather()
            .iter()
            .map(|family| {
                let kind = format!("{:?}", family.get_field_type()).to_lowercase();
                (family.name().to_owned(), kind, family.help().to_owned())
            })
            .collect()
    }
}

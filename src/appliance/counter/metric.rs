//! The types of metrics, and how each is created from its declaration.

use super::{Counter, CounterVec, Error, Gauge, GaugeVec, Histogram, Registry};
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{HistogramOpts, Opts};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// The declaration of a metric.
#[derive(Debug, Clone, Copy)]
pub struct Declaration {
    /// Its name, with the prefix `mta_` and its unit at the end.
    pub name: &'static str,
    /// Its name until the last release, under which it is still shown.
    pub former: Option<&'static str>,
    /// What it counts, for people.
    pub help: &'static str,
}

/// The name of a label and all its values, each of which has its series from the start.
#[derive(Debug, Clone)]
pub struct Labels {
    name: &'static str,
    values: Vec<&'static str>,
}

impl Labels {
    /// A label.
    pub fn new(name: &'static str, values: impl IntoIterator<Item = &'static str>) -> Self {
        Self { name, values: values.into_iter().collect() }
    }
}

/// A metric that is created from its declaration.
pub trait Metric: Sized {
    /// The other parameters.
    type Shape;

    /// Registers it at zero.
    ///
    /// # Errors
    /// Its name is taken or invalid.
    fn register(
        registry: &Registry,
        declaration: Declaration,
        shape: Self::Shape,
    ) -> Result<Self, Error>;
}

impl Metric for Counter {
    type Shape = ();

    fn register(registry: &Registry, about: Declaration, (): ()) -> Result<Self, Error> {
        add(registry, about, Self::new(about.name, about.help)?)
    }
}

impl Metric for Gauge {
    type Shape = ();

    fn register(registry: &Registry, about: Declaration, (): ()) -> Result<Self, Error> {
        add(registry, about, Self::new(about.name, about.help)?)
    }
}

impl Metric for CounterVec {
    type Shape = Labels;

    fn register(registry: &Registry, about: Declaration, labels: Labels) -> Result<Self, Error> {
        let counters = Self::new(Opts::new(about.name, about.help), &[labels.name])?;
        for value in labels.values {
            counters.with_label_values(&[value]);
        }
        add(registry, about, counters)
    }
}

impl Metric for GaugeVec {
    type Shape = Labels;

    fn register(registry: &Registry, about: Declaration, labels: Labels) -> Result<Self, Error> {
        let gauges = Self::new(Opts::new(about.name, about.help), &[labels.name])?;
        for value in labels.values {
            gauges.with_label_values(&[value]);
        }
        add(registry, about, gauges)
    }
}

impl Metric for Histogram {
    /// Upper bounds.
    type Shape = &'static [f64];

    fn register(
        registry: &Registry,
        about: Declaration,
        bounds: &'static [f64],
    ) -> Result<Self, Error> {
        let options = HistogramOpts::new(about.name, about.help).buckets(bounds.to_vec());
        add(registry, about, Self::with_opts(options)?)
    }
}

/// A gauge that is absent until it has a value, so that an appliance without a certificate does not
/// look like one whose certificate expired in 1970.
pub struct OptionalGauge {
    /// A family without labels and, at first, without a member.
    shown: GaugeVec,
    /// [`ABSENT`] until it is set.
    value: AtomicI64,
}

/// No value.
const ABSENT: i64 = i64::MIN;

impl OptionalGauge {
    /// Sets the value; from now on it is shown.
    pub fn set(&self, value: i64) {
        self.value.store(value, Ordering::Relaxed);
        self.shown.with_label_values::<&str>(&[]).set(value);
    }

    /// The value.
    pub fn get(&self) -> Option<i64> {
        Some(self.value.load(Ordering::Relaxed)).filter(|value| *value != ABSENT)
    }
}

impl Metric for OptionalGauge {
    type Shape = ();

    fn register(registry: &Registry, about: Declaration, (): ()) -> Result<Self, Error> {
        let shown = GaugeVec::new(Opts::new(about.name, about.help), &[])?;
        Ok(Self { shown: add(registry, about, shown)?, value: AtomicI64::new(ABSENT) })
    }
}

/// A counter that several modules increment: the first declaration registers it, all others get the
/// same.
#[derive(Clone)]
pub struct SharedCounter(Arc<Counter>);

impl Deref for SharedCounter {
    type Target = Counter;

    fn deref(&self) -> &Counter {
        &self.0
    }
}

impl Metric for SharedCounter {
    type Shape = ();

    fn register(registry: &Registry, about: Declaration, (): ()) -> Result<Self, Error> {
        registry
            .shared(about.name, || Counter::register(registry, about, ()))
            .map(|counter| Self(Arc::new(counter)))
    }
}

fn add<M: Collector + Clone + 'static>(
    registry: &Registry,
    about: Declaration,
    metric: M,
) -> Result<M, Error> {
    let shown = metric.clone();
    registry.add(match about.former {
        Some(former) => Box::new(BothNames::new(shown, former, about.name)?),
        None => Box::new(shown),
    })?;
    Ok(metric)
}

/// A metric that was renamed: for one release it is shown under both names.
struct BothNames<M> {
    metric: M,
    former: &'static str,
    help: String,
    description: Desc,
}

impl<M: Collector> BothNames<M> {
    fn new(metric: M, former: &'static str, name: &str) -> Result<Self, Error> {
        let help = format!("Old name of {name}, goes with the next release");
        let now = metric.desc();
        let labels = now.first().map(|first| first.variable_labels.clone()).unwrap_or_default();
        let description =
            Desc::new(former.to_owned(), help.clone(), labels, std::collections::HashMap::new())?;
        Ok(Self { metric, former, help, description })
    }
}

impl<M: Collector> Collector for BothNames<M> {
    fn desc(&self) -> Vec<&Desc> {
        let mut all = self.metric.desc();
        all.push(&self.description);
        all
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = self.metric.collect();
        let mut old = families.clone();
        for family in &mut old {
            family.set_name(self.former.to_owned());
            family.set_help(self.help.clone());
        }
        families.append(&mut old);
        families
    }
}

//! The histogram of the ages of what is in the queue, made when somebody asks.

use crate::appliance::counter::Counters;
use crate::mail::model::QueueAdmin;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Histogram, Metric, MetricFamily, MetricType};
use std::collections::HashMap;
use std::sync::Arc;

/// The bounds of the ages, in seconds: a minute to five days, the default `queue_lifetime`.
const AGES: [u32; 12] = [60, 300, 900, 1800, 3600, 7200, 14_400, 43_200, 86_400, 172_800, 259_200, 432_000];

const AGE_NAME: &str = "mta_mqueue_age_seconds";
const AGE_HELP: &str = "Age of the messages in the queue";

/// Adds the histogram of ages to the counters.
///
/// # Errors
/// It is there already.
pub(crate) fn register_ages(counters: &Counters, admin: Arc<dyn QueueAdmin>) -> Result<(), prometheus::Error> {
    let desc = Desc::new(AGE_NAME.to_owned(), AGE_HELP.to_owned(), Vec::new(), HashMap::new())?;
    counters.register(Box::new(Ages { admin, desc }))
}

/// A histogram of what is in the queue now; messages that leave it leave the histogram.
struct Ages {
    admin: Arc<dyn QueueAdmin>,
    desc: Desc,
}

impl Collector for Ages {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let (counts, sum) = self.admin.ages(&AGES);
        let buckets: Vec<Bucket> = AGES
            .iter()
            .zip(&counts)
            .map(|(bound, count)| {
                let mut bucket = Bucket::default();
                bucket.set_upper_bound(f64::from(*bound));
                bucket.set_cumulative_count(*count);
                bucket
            })
            .collect();
        let within = counts.last().copied().unwrap_or_default();
        let mut histogram = Histogram::default();
        // The two questions are put one after the other: a message may have come or gone between them.
        histogram.set_sample_count(self.admin.summary().messages.max(within));
        histogram.set_sample_sum(sum as f64);
        histogram.set_bucket(buckets);
        let mut metric = Metric::default();
        metric.set_histogram(histogram);
        let mut family = MetricFamily::default();
        family.set_name(AGE_NAME.to_owned());
        family.set_help(AGE_HELP.to_owned());
        family.set_field_type(MetricType::HISTOGRAM);
        family.set_metric(vec![metric]);
        vec![family]
    }
}

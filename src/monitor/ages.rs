//! The ages of queued messages: the histogram for a monitor, computed at each scrape, and the
//! counts for everybody, which are cached for a moment so that unauthenticated requests do not
//! delay monitors.

use crate::ground::worker::Worker;
use crate::mail::model::{DestinationSummary, QueueAdmin};
use crate::monitor::counters::Counters;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Histogram, Metric, MetricFamily, MetricType};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// How long a count is cached.
const FRESH: Duration = Duration::from_secs(1);

/// The bounds of the ages, in seconds: a minute to five days, the default `queue_lifetime`.
const AGES: [u32; 12] =
    [60, 300, 900, 1800, 3600, 7200, 14_400, 43_200, 86_400, 172_800, 259_200, 432_000];

const AGE_NAME: &str = "mta_mqueue_age_seconds";
const AGE_HELP: &str = "Age of the messages in the queue";

/// How many messages there are up to each of [`DestinationSummary::AGES`], and in total.
pub(crate) type AgeCounts = (Vec<u64>, u64);

/// The last count. One runs at a time, and all callers meanwhile get its result.
#[derive(Default)]
pub(crate) struct CountedAges {
    kept: Arc<Mutex<Option<(Instant, AgeCounts)>>>,
}

impl CountedAges {
    /// A count that is no older than [`FRESH`]; `None`: it panicked.
    pub(crate) async fn look(
        &self,
        worker: &Worker,
        admin: &Arc<dyn QueueAdmin>,
    ) -> Option<AgeCounts> {
        let admin = Arc::clone(admin);
        self.kept_or(worker, move || {
            (admin.ages(&DestinationSummary::AGES).0, admin.summary().messages)
        })
        .await
    }

    async fn kept_or(
        &self,
        worker: &Worker,
        count: impl FnOnce() -> AgeCounts + Send + 'static,
    ) -> Option<AgeCounts> {
        let mut kept = Arc::clone(&self.kept).lock_owned().await;
        if let Some((_, counts)) = kept.as_ref().filter(|(fresh, _)| Instant::now() < *fresh) {
            return Some(counts.clone());
        }
        // The lock moves with the count, which is completed even if its caller has disconnected.
        let counted = worker.run(move || {
            let counts = count();
            *kept = Some((Instant::now() + FRESH, counts.clone()));
            counts
        });
        counted.await
    }
}

/// Registers the histogram of ages.
///
/// # Errors
/// It is registered already.
pub(crate) fn register_ages(
    counters: &Counters,
    admin: Arc<dyn QueueAdmin>,
) -> Result<(), prometheus::Error> {
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
        // The two queries run one after the other: a message may have come or gone between them.
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[tokio::test]
    async fn many_who_ask_at_once_cost_one_count() {
        let (ages, worker, made) =
            (CountedAges::default(), Worker::new("numbers"), Arc::new(AtomicU64::new(0)));
        let ask = || {
            let made = Arc::clone(&made);
            ages.kept_or(&worker, move || {
                std::thread::sleep(Duration::from_millis(100));
                (vec![made.fetch_add(1, Ordering::Relaxed)], 1)
            })
        };
        // A caller that disconnects leaves a count that the next one gets.
        assert!(tokio::time::timeout(Duration::from_millis(10), ask()).await.is_err());
        let (one, two, three) = tokio::join!(ask(), ask(), ask());
        assert_eq!([one, two, three], [(); 3].map(|()| Some((vec![0], 1))));
        assert_eq!(made.load(Ordering::Relaxed), 1);
        tokio::time::sleep(FRESH).await;
        assert_eq!(ask().await, Some((vec![1], 1)), "it is made anew after a while");
    }
}

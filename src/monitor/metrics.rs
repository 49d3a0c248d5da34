//! Numbers that are made when somebody asks: the state of the queue, of the data volume, of the process.
//!
//! The counters that rooms bump are always fresh; the gauges here are read from the [`QueueAdmin`], from `statvfs` and from
//! `/proc/self/statm` before each answer and each push.
//! Limits: a data volume that hangs holds one thread, not one a scrape; the last known numbers are shown meanwhile.

use crate::appliance::counter::Counters;
use crate::http::server::Window;
use crate::mail::model::{QueueAdmin, QueueSummary};
use nix::sys::statvfs::statvfs;
use nix::unistd::{SysconfVar, sysconf};
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Histogram, Metric, MetricFamily, MetricType};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::timeout;

/// How long an answer waits for the data volume to tell its free space.
const PROBE_PATIENCE: Duration = Duration::from_millis(500);

/// The bounds of the ages, in seconds: a minute to five days, the default `queue_lifetime`.
const AGES: [u32; 12] = [60, 300, 900, 1800, 3600, 7200, 14_400, 43_200, 86_400, 172_800, 259_200, 432_000];

const AGE_NAME: &str = "mta_mqueue_age_seconds";
const AGE_HELP: &str = "Age of the messages in the queue";

/// Looks at the data volume and the process, one look at a time.
pub(crate) struct Probe {
    data_volume: Arc<Path>,
    looking: Arc<Mutex<()>>,
}

/// What a look saw.
struct Sight {
    /// Free for an unprivileged user, and in all; octets.
    disk: Option<(u64, u64)>,
    /// Resident memory in octets.
    memory: Option<u64>,
}

impl Probe {
    pub(crate) fn new(data_volume: PathBuf) -> Self {
        Self { data_volume: data_volume.into(), looking: Arc::default() }
    }

    /// `None` when another look has not come back yet, or this one takes too long.
    async fn look(&self) -> Option<Sight> {
        let turn = Arc::clone(&self.looking).try_lock_owned().ok()?;
        let volume = Arc::clone(&self.data_volume);
        let look = tokio::task::spawn_blocking(move || {
            let sight = Sight { disk: disk(&volume), memory: memory() };
            drop(turn);
            sight
        });
        timeout(PROBE_PATIENCE, look).await.ok()?.ok()
    }
}

/// Brings all gauges up to date and returns the queue's summary that they now show.
pub(crate) async fn refresh(window: &Window) -> QueueSummary {
    let counters = &window.counters;
    if let Some(sight) = window.probe.look().await {
        if let Some((free, size)) = sight.disk {
            counters.disk_free_bytes.set(signed(free));
            counters.disk_size_bytes.set(signed(size));
        }
        if let Some(memory) = sight.memory {
            counters.memory_resident_bytes.set(signed(memory));
        }
    }
    let summary = window.views.admin.summary();
    counters.mqueue_messages.set(signed(summary.messages));
    counters.mqueue_kbytes.set(signed(summary.bytes.div_ceil(1024)));
    counters.mqueue_deferred_messages.set(signed(summary.deferred));
    counters.mqueue_held_messages.set(signed(summary.held));
    summary
}

/// Everything in Prometheus' text format, fresh.
///
/// # Errors
/// As [`Counters::text`].
pub(crate) async fn text(window: &Window) -> Result<String, prometheus::Error> {
    refresh(window).await;
    // The ages of a million messages take a while to count; mail must not wait for it.
    let counters = Arc::clone(&window.counters);
    let text = window.worker.run(move || counters.text()).await;
    text.unwrap_or_else(|| Err(prometheus::Error::Msg("the numbers met a defect; please report it".to_owned())))
}

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

fn disk(volume: &Path) -> Option<(u64, u64)> {
    let figures = statvfs(volume).ok()?;
    let unit = figures.fragment_size();
    Some((figures.blocks_available().saturating_mul(unit), figures.blocks().saturating_mul(unit)))
}

/// The second number of statm is the resident set in pages (proc_pid_statm(5)).
fn memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
    let page = u64::try_from(sysconf(SysconfVar::PAGE_SIZE).ok()??).ok()?;
    Some(pages.saturating_mul(page))
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_and_the_volume_have_numbers() {
        assert!(memory().unwrap() > 100_000);
        let (free, size) = disk(Path::new("/")).unwrap();
        assert!(free <= size && size > 1_000_000);
        assert_eq!(disk(Path::new("/no/such/place")), None);
    }
}

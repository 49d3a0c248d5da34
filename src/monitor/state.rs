//! The data of alerts, metrics and pushes: the counters, the queue through its trait, terminals and
//! volumes, and what is remembered between two checks.

use super::ages::{AgeCounts, CountedAges, register_ages};
use super::components::{ComponentStatus, ComponentView, Components};
use super::counters::Counters;
use super::probe::Probe;
use super::rates::RateHistory;
use super::watchdog::Vitals;
use crate::ground::clock;
use crate::ground::display_text::size;
use crate::ground::memory::Gauge;
use crate::ground::worker::Worker;
use crate::mail::model::{DkimKeys, QueueAdmin, UpstreamMonitor};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;

/// Whether mail is taken: `Err` holds the reason why not (yet, or any more), in words.
pub type Readiness = Result<(), String>;

/// What is looked at.
pub struct MonitorSources {
    /// What rooms count.
    pub counters: Arc<Counters>,
    /// The queue.
    pub admin: Arc<dyn QueueAdmin>,
    /// What the numbers were.
    pub rate_history: RateHistory,
    /// Whether memory is left.
    pub memory: Arc<Gauge>,
    /// Whether mail is taken.
    pub ready: watch::Receiver<Readiness>,
    /// The terminals.
    pub terminals: Vec<ComponentStatus>,
    /// The volumes.
    pub volumes: Vec<ComponentStatus>,
    /// When the core started, seconds since 1970.
    pub started: u32,
    /// Where the data volume is mounted; its free space is shown.
    pub data_volume: PathBuf,
    /// Whether property `bounce_address` is set.
    pub bounce_address: bool,
    /// What names the name servers.
    pub name_servers: &'static str,
    /// The keys of DKIM.
    pub dkim: Arc<dyn DkimKeys>,
    /// What upstreams say about us.
    pub upstreams: Arc<dyn UpstreamMonitor>,
}

/// The reports to monitors, and what is remembered for them.
pub struct MonitorState {
    pub(crate) counters: Arc<Counters>,
    pub(crate) admin: Arc<dyn QueueAdmin>,
    pub(crate) rate_history: RateHistory,
    pub(crate) memory: Arc<Gauge>,
    pub(crate) ready: watch::Receiver<Readiness>,
    pub(crate) bounce_address: bool,
    pub(crate) name_servers: &'static str,
    pub(crate) dkim: Arc<dyn DkimKeys>,
    pub(crate) upstreams: Arc<dyn UpstreamMonitor>,
    pub(crate) probe: Probe,
    /// For what is counted.
    pub(super) worker: Worker,
    ages: CountedAges,
    pub(crate) components: Components,
    pub(crate) vitals: Arc<Vitals>,
}

impl MonitorState {
    /// Registers the histogram of ages with the counters, so there is one state to a set of
    /// counters.
    ///
    /// # Errors
    /// A counter of that name exists: a second state on the same counters.
    pub fn open(sources: MonitorSources) -> Result<Arc<Self>, prometheus::Error> {
        let MonitorSources {
            counters,
            admin,
            rate_history,
            memory,
            ready,
            terminals,
            volumes,
            started,
            data_volume,
            bounce_address,
            name_servers,
            dkim,
            upstreams,
        } = sources;
        register_ages(&counters, Arc::clone(&admin))?;
        counters.monitor.start_time_seconds.set(i64::from(started));
        Ok(Arc::new(Self {
            counters,
            admin,
            rate_history,
            memory,
            ready,
            bounce_address,
            name_servers,
            dkim,
            upstreams,
            probe: Probe::new(data_volume),
            worker: Worker::new("numbers"),
            ages: CountedAges::default(),
            components: Components::new(terminals, volumes),
            vitals: Arc::default(),
        }))
    }

    /// How many messages there are, by age: what everybody may see. `None`: the count panicked.
    pub(crate) async fn ages(&self) -> Option<AgeCounts> {
        self.ages.look(&self.worker, &self.admin).await
    }

    /// The terminals as they fare now; `in` tells how long its certificate is good for.
    pub(crate) fn terminals(&self) -> Vec<ComponentView> {
        self.look_at_log();
        let mut terminals = self.components.terminals();
        if let Some(end) = self.counters.accept.certificate_expiry() {
            let end = clock::rfc3339(u32::try_from(end).unwrap_or(u32::MAX));
            let inward = terminals.iter_mut().filter(|terminal| terminal.name == "in");
            inward
                .for_each(|terminal| terminal.state += &format!(", certificate valid until {end}"));
        }
        terminals
    }

    /// The volumes as they fare now.
    pub(crate) fn volumes(&self) -> Vec<ComponentView> {
        self.components.volumes()
    }

    /// Notes since when terminal `log` takes no lines; the carrier, which knows, is another
    /// process.
    pub(crate) fn look_at_log(&self) {
        let maillog = &self.counters.maillog;
        let waiting =
            || size(u64::try_from(maillog.maillog_buffer_bytes.get()).unwrap_or_default());
        let failing = maillog.maillog_failing.get() > 0;
        self.components.note(
            "log",
            failing.then(|| format!("it takes no lines, {} of the mail log wait", waiting())),
        );
    }

    /// Notes that the data volume takes no mail, and why, or that it does.
    pub fn note_data_volume(&self, trouble: Option<String>) {
        self.components.note("data", trouble);
    }

    /// Where the watchdog notes what hangs.
    pub fn vitals(&self) -> Arc<Vitals> {
        self.vitals.clone()
    }
}

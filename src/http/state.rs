//! What every handler has: the relay through the traits that it shows itself by, the counters, who
//! may ask for what, and what the server and the monitors remember. It knows no handler.

use crate::ground::clock;
use crate::ground::credential::throttle::LoginThrottle;
use crate::ground::log::Tail;
use crate::ground::memory::Gauge;
use crate::ground::words::size;
use crate::ground::worker::Worker;
use crate::http::access::Access;
use crate::http::idempotency::IdempotencyKeys;
use crate::http::origin::FormToken;
use crate::http::searches::Searches;
use crate::mail::model::{History, QueueAdmin, SessionList, Submission};
use crate::monitor::ages::{CountedAges, register_ages};
use crate::monitor::components::{Components, Part, PartView};
use crate::monitor::counters::Counters;
use crate::monitor::probe::Probe;
use crate::monitor::rates::RateHistory;
use crate::monitor::watchdog::Vitals;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;

/// What does not change while the appliance runs.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Property `hostname`.
    pub hostname: String,
    /// The program's version.
    pub version: String,
    /// Who may relay, in one or two sentences.
    pub who_may_relay: String,
    /// The terminals.
    pub terminals: Vec<Part>,
    /// The volumes.
    pub volumes: Vec<Part>,
    /// When the core started, seconds since 1970.
    pub started: u32,
    /// Where the data volume is mounted; its free space is shown.
    pub data_volume: PathBuf,
    /// Octets of answers at `ui_port` that clients have still to take.
    pub answers_max: usize,
    /// Whether property `bounce_address` is set.
    pub bounce_address: bool,
    /// Whether property `address_masking` masks addresses, and so subjects.
    pub masks_subjects: bool,
    /// What names the name servers.
    pub name_servers: &'static str,
}

/// Whether mail is taken: `Err` holds the reason why not (yet, or any more), in words.
pub type Readiness = Result<(), String>;

/// What handlers look at: the parts of the relay, each by the trait that it shows itself with.
pub struct Views {
    /// The queue.
    pub admin: Arc<dyn QueueAdmin>,
    /// The way into it for programs.
    pub submission: Arc<dyn Submission>,
    /// Terminal `in`.
    pub sessions: Arc<dyn SessionList>,
    /// What became of mail.
    pub history: Arc<dyn History>,
    /// The last lines of the log.
    pub tail: Arc<Tail>,
    /// What the numbers were.
    pub rate_history: RateHistory,
    /// The keys of mail that programs handed in.
    pub idempotency_keys: IdempotencyKeys,
    /// Whether memory is left.
    pub memory: Arc<Gauge>,
}

/// What handlers share.
pub struct AppState {
    pub(crate) views: Views,
    pub(crate) counters: Arc<Counters>,
    pub(crate) access: Access,
    pub(crate) facts: Facts,
    pub(crate) ready: watch::Receiver<Readiness>,
    pub(crate) probe: Probe,
    pub(crate) throttle: LoginThrottle,
    pub(crate) searches: Searches,
    /// For what is counted.
    pub(crate) worker: Worker,
    /// What everybody may see of it.
    pub(crate) ages: CountedAges,
    pub(crate) form_token: FormToken,
    pub(crate) components: Components,
    pub(crate) vitals: Arc<Vitals>,
    #[cfg(debug_assertions)]
    faults: std::sync::OnceLock<Faults>,
}

/// Plants a fault of a name, for tests of the watchdog; `false` = there is none of that name.
#[cfg(debug_assertions)]
pub type Faults = Box<dyn Fn(&str) -> bool + Send + Sync>;

impl AppState {
    /// The terminals as they fare now; `in` tells how long its certificate is good for.
    pub(crate) fn terminals(&self) -> Vec<PartView> {
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
    pub(crate) fn volumes(&self) -> Vec<PartView> {
        self.components.volumes()
    }

    /// Notes since when terminal `log` takes no lines; the carrier, which knows, is another
    /// process.
    pub(crate) fn look_at_log(&self) {
        let waiting = || {
            size(
                u64::try_from(self.counters.maillog.maillog_buffer_bytes.get()).unwrap_or_default(),
            )
        };
        let failing = self.counters.maillog.maillog_failing.get() > 0;
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

    /// From now on faults can be planted through the control socket.
    #[cfg(debug_assertions)]
    pub fn allow_faults(&self, faults: Faults) {
        let _ = self.faults.set(faults);
    }

    /// Plants a fault.
    #[cfg(debug_assertions)]
    pub(crate) fn plant(&self, fault: &str) -> bool {
        self.faults.get().is_some_and(|faults| faults(fault))
    }

    /// Joins the queue and the counters to what people see. Registers the histogram of ages with
    /// the counters, so there is one state to a set of counters.
    ///
    /// # Errors
    /// A counter of that name exists: a second state on the same counters.
    pub fn open(
        views: Views,
        counters: Arc<Counters>,
        access: Access,
        facts: Facts,
        ready: watch::Receiver<Readiness>,
    ) -> Result<Arc<Self>, prometheus::Error> {
        register_ages(&counters, Arc::clone(&views.admin))?;
        counters.monitor.start_time_seconds.set(i64::from(facts.started));
        let probe = Probe::new(facts.data_volume.clone());
        let (throttle, searches, form_token) =
            (LoginThrottle::default(), Searches::default(), FormToken::new());
        let components = Components::new(facts.terminals.clone(), facts.volumes.clone());
        Ok(Arc::new(Self {
            views,
            counters,
            access,
            facts,
            ready,
            probe,
            throttle,
            searches,
            worker: Worker::new("numbers"),
            ages: CountedAges::default(),
            form_token,
            components,
            vitals: Arc::default(),
            #[cfg(debug_assertions)]
            faults: std::sync::OnceLock::new(),
        }))
    }
}

//! The base of the relay: the data volume, the counters, the limits of the machine, the signals.

use super::config::CoreConfig;
use super::counters::counters;
use super::start_failures::internal;
use super::upstreams::TokenKeepers;
use super::{dkim_keys, exclusive_resources, upstreams};
use crate::appliance::failure::Failure;
use crate::appliance::property::Settings;
use crate::appliance::resources::{OPEN_FILES, Resources};
use crate::appliance::supervise::orders::OrderReader;
use crate::appliance::supervise::status::{CoreHealth, StatusWriter};
use crate::ground::disk::{Disk, DiskCalls, Watched};
use crate::ground::log::Tail;
use crate::ground::memory::{Gauge, MemoryLimit};
use crate::ground::tls::{Authorities, CertificatePresenter};
use crate::http::counters::HttpCounters;
use crate::mail::deliver::UpstreamAccesses;
use crate::mail::dkim_keys::DkimKeyStore;
use crate::mail::outbound::MailSigner;
use crate::mail::upstream::UpstreamHealth;
use crate::maillog::{MailLog, MailLogGuard};
use crate::monitor::counters::Counters;
use nix::sys::resource::{Resource, getrlimit};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Its fields are dropped in their order.
pub(super) struct ProcessResources {
    /// Ends before the volume is unlocked: the next core must find all lines there.
    _maillog_guard: Option<MailLogGuard>,
    /// `None` without a mail log.
    pub(super) maillog: Option<Arc<MailLog>>,
    pub(super) settings: Settings,
    /// The TLS keys; `None` without TLS.
    pub(super) presenter: Option<Arc<CertificatePresenter>>,
    /// The authorities that verify receivers of webhooks.
    pub(super) authorities: Authorities,
    pub(super) upstreams: UpstreamAccesses,
    /// The access tokens of the upstreams.
    pub(super) keepers: TokenKeepers,
    /// Signs mail with DKIM.
    pub(super) signer: Arc<MailSigner>,
    /// The keys of the signer.
    pub(super) dkim: DkimKeyStore,
    /// What the upstreams say.
    pub(super) health: Arc<UpstreamHealth>,
    /// The last lines of the log.
    pub(super) tail: Arc<Tail>,
    pub(super) status: Arc<StatusWriter>,
    pub(super) counters: Arc<Counters>,
    pub(super) http_counters: Arc<HttpCounters>,
    /// The memory limit, if it is known.
    pub(super) ceiling: Option<MemoryLimit>,
    pub(super) memory: Arc<Gauge>,
    pub(super) resources: Resources,
    pub(super) signals: CoreSignals,
    /// The present disk accesses, for the watchdog.
    pub(super) calls: Arc<DiskCalls>,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) volume: PathBuf,
}

/// The signals that an operator or a program may send.
pub(super) struct CoreSignals {
    pub(super) terminate: Signal,
    pub(super) hangup: Signal,
}

impl ProcessResources {
    /// Locks the data volume first of all: a core that is stopping keeps its ports and its control
    /// socket as long as the volume, and the next core can wait for the volume.
    ///
    /// # Errors
    /// Another core has the volume, or it cannot be opened.
    pub(super) async fn take(config: CoreConfig) -> Result<(Self, OrderReader), Failure> {
        let CoreConfig { settings, volume, authorities, presenter, .. } = config;
        let CoreConfig { upstream_files, dkim, orders, maillog, tail, status, .. } = config;
        let mut signals = CoreSignals {
            terminate: signal(SignalKind::terminate())
                .map_err(|error| internal("SIGTERM", &error))?,
            hangup: signal(SignalKind::hangup()).map_err(|error| internal("SIGHUP", &error))?,
        };
        let disk =
            exclusive_resources::open_volume(&settings, &volume, &mut signals.terminate).await?;
        let disk = Watched::new(disk);
        status.health(&CoreHealth::Alive);
        let (counters, http_counters) = counters().map_err(|error| internal("counters", &error))?;
        let health = upstreams::health(&settings, &counters.upstream);
        let calls = disk.calls();
        let disk: Arc<dyn Disk> = Arc::new(disk);
        let keepers = upstreams::keepers(&settings, &upstream_files, &disk, &counters.oauth)?;
        let upstreams = upstreams::accesses(&settings, &upstream_files, &keepers, &health)?;
        let maillog_guard = maillog
            .as_ref()
            .map(|log| log.open(&volume, settings.maillog_buffer_limit, counters.maillog.clone()));
        let ceiling = MemoryLimit::find();
        let files = getrlimit(Resource::RLIMIT_NOFILE).map_or(OPEN_FILES, |(soft, _)| soft);
        let (signer, dkim) = dkim_keys::open(&settings, dkim, &counters.sign, disk.clone())?;
        let process = Self {
            _maillog_guard: maillog_guard,
            maillog,
            signer,
            dkim,
            resources: Resources::of(&settings, ceiling.as_ref(), files),
            settings,
            presenter,
            authorities,
            upstreams,
            keepers,
            health,
            tail,
            status,
            counters,
            http_counters,
            ceiling,
            memory: Gauge::shared(),
            signals,
            calls,
            disk,
            volume,
        };
        Ok((process, orders))
    }
}

//! The configuration from the supervisor: the first step of the core, before any thread exists.
//!
//! In: the properties, the first pair of keys and the DKIM keys, on standard input. Out: a
//! [`CoreConfig`], from which the relay is built, and its runtime. Security: the process is
//! confined here, before its first thread, because the kernel confines a thread and those that it
//! starts.

use super::start_failures::internal;
use super::{dkim_keys, exclusive_resources, keys};
use crate::appliance::failure::Failure;
use crate::appliance::property::{LogFormat, Settings, webhook};
use crate::appliance::resources;
use crate::appliance::supervise::confine::confine;
use crate::appliance::supervise::orders::{CoreOrder, DkimKeyFile, OrderReader, UpstreamFileMap};
use crate::appliance::supervise::status::StatusWriter;
use crate::appliance::supervise::upstream_files::UpstreamFiles;
use crate::ground::log::{self, LogGuard, Tail};
use crate::ground::threads;
use crate::ground::tls::{Authorities, CertificatePresenter};
use crate::maillog::MailLog;
use nix::sys::signal::SigSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::runtime::{Builder, Runtime};

/// The inputs from which a relay is built.
pub(super) struct CoreConfig {
    pub(super) settings: Settings,
    /// The path of the data volume for a confined process.
    pub(super) volume: PathBuf,
    /// The authorities that verify receivers of webhooks.
    pub(super) authorities: Authorities,
    /// The TLS keys; `None` without TLS.
    pub(super) presenter: Option<Arc<CertificatePresenter>>,
    /// The files of upstreams, by their names.
    pub(super) upstream_files: UpstreamFileMap,
    /// The DKIM keys of the key volume.
    pub(super) dkim: Vec<DkimKeyFile>,
    /// The further orders of the supervisor.
    pub(super) orders: OrderReader,
    /// `None` without a mail log.
    pub(super) maillog: Option<Arc<MailLog>>,
    /// The last lines of the log.
    pub(super) tail: Arc<Tail>,
    /// The status pipe.
    pub(super) status: Arc<StatusWriter>,
}

impl CoreConfig {
    /// Reads the supervisor's input, confines the process and starts its log, which must end last.
    ///
    /// # Errors
    /// Properties or keys are invalid; all failures at once.
    pub(super) fn from_supervisor(
        status: &Arc<StatusWriter>,
    ) -> Result<(Self, LogGuard), Vec<Failure>> {
        // The supervisor reads its signals from a descriptor and blocks them; here they must be
        // delivered.
        SigSet::all().thread_unblock().map_err(|error| vec![internal("signals", &error)])?;
        let mut orders = OrderReader::stdin();
        let json = orders.properties().map_err(|error| vec![internal("properties", &error)])?;
        let settings = Settings::from_json(&json)?;
        // Before the confinement makes its file inaccessible.
        let authorities = webhook::authorities(settings.webhook_ca.as_deref())
            .map_err(|failure| vec![failure])?;
        let volume = exclusive_resources::volume(&settings);
        // The run directory may be created again while the core runs; then it is another directory.
        let confined = confine(&volume, &settings.run_dir, settings.run_dir.parent());
        // Only the name of the file matters here; the share itself is accessed by the carrier.
        let maillog = (settings.logs_enabled && settings.maillog_filename.is_some())
            .then(|| MailLog::new(&settings.syslog_name, &settings.hostname));
        let subscriber = maillog.clone().map(|maillog| maillog as Arc<dyn log::LogSubscriber>);
        let log = log::start_with(settings.log_format == LogFormat::Json, subscriber);
        tracing::info!(target: "mta", "{confined}");
        let presenter = if settings.ssl_disabled {
            None
        } else {
            Some(keys::first(&mut orders).map_err(|failure| vec![failure])?)
        };
        let upstream_files = match UpstreamFiles::of(&settings) {
            Some(_) => files_of_upstreams(&mut orders).map_err(|failure| vec![failure])?,
            None => UpstreamFileMap::new(),
        };
        let dkim = dkim_keys::first(&mut orders).map_err(|failure| vec![failure])?;
        let (status, tail) = (status.clone(), log.tail());
        let config = Self {
            settings,
            volume,
            authorities,
            presenter,
            upstream_files,
            dkim,
            orders,
            maillog,
            tail,
            status,
        };
        Ok((config, log))
    }

    /// The runtime for mail.
    ///
    /// # Errors
    /// It cannot be created.
    pub(super) fn runtime(&self) -> Result<Runtime, Vec<Failure>> {
        Builder::new_multi_thread()
            .worker_threads(self.settings.worker_threads)
            .max_blocking_threads(resources::disk_threads(&self.settings, threads::limit()))
            .thread_name_fn(thread_names(self.settings.worker_threads))
            .enable_all()
            .build()
            .map_err(|error| vec![internal("the runtime", &error)])
    }
}

/// The first files of upstreams, which the supervisor sends after the keys.
fn files_of_upstreams(orders: &mut OrderReader) -> Result<UpstreamFileMap, Failure> {
    match orders.next() {
        Some(Ok(CoreOrder::Upstreams(files))) => Ok(files),
        Some(Err(error)) => Err(internal("the files of upstreams", &error)),
        _ => Err(internal("the files of upstreams", &"stopped before they were received")),
    }
}

/// Names for the threads of the mail runtime, for stacks and `ps`: it starts those for mail first,
/// and then, one by one, those that wait for the disk.
fn thread_names(for_mail: usize) -> impl Fn() -> String + Send + Sync {
    let started = AtomicUsize::new(0);
    move || {
        let number = started.fetch_add(1, Ordering::Relaxed);
        if number < for_mail { "mail" } else { "disk" }.to_owned()
    }
}

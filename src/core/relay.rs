//! Builds the mail modules on top of the queue: routing, delivery, history and intake.

use super::exclusive_resources::Ports;
use super::process_resources::ProcessResources;
use super::start_failures::internal;
use super::unlisted_proxies::UnlistedProxies;
use super::webhooks::WebhookService;
use super::{configure, webhooks};
use crate::appliance::failure::Failure;
use crate::directory::UserList;
use crate::ground::credential::name_secret::NameSecret;
use crate::ground::credential::verifier::Verifier;
use crate::mail::accept::SmtpTls;
use crate::mail::admin::Admin;
use crate::mail::admit::Policy;
use crate::mail::deliver::SmtpClient;
use crate::mail::events::MailEvents;
use crate::mail::history::HistoryLog;
use crate::mail::intake::Intake;
use crate::mail::model::{MailEventSink, QueueAdmin};
use crate::mail::outbound::Outbound;
use crate::mail::sessions::SessionRegistry;
use crate::mail::spool::SegmentLog;
use std::sync::Arc;
use tokio::task::JoinHandle;

/// All mail modules, connected. No mail is accepted yet.
pub(super) struct Relay {
    pub(super) spool: Arc<SegmentLog>,
    pub(super) outbound: Arc<Outbound<SegmentLog>>,
    /// What speaks to next hops; for tests of upstreams.
    pub(super) client: SmtpClient,
    /// Ends when the mail that was found in the queue is on the schedule.
    pub(super) planning: JoinHandle<()>,
    pub(super) history: Arc<HistoryLog>,
    /// `None` without a receiver.
    pub(super) webhooks: Option<WebhookService>,
    pub(super) admin: Arc<dyn QueueAdmin>,
    pub(super) policy: Arc<Policy>,
    pub(super) registry: Arc<SessionRegistry>,
    pub(super) tls: Option<Arc<SmtpTls>>,
    pub(super) intake: Arc<Intake<SegmentLog>>,
    /// The intake of the listener for devices; `None` without one.
    pub(super) device: Option<Arc<Intake<SegmentLog>>>,
    /// Compares all passwords, one at a time.
    pub(super) verifier: Arc<Verifier>,
}

impl Relay {
    /// Connects the modules, and begins to plan the mail in the queue.
    ///
    /// # Errors
    /// A module cannot be created with these properties on this machine.
    pub(super) fn open(
        process: &ProcessResources,
        spool: Arc<SegmentLog>,
        ports: &Ports,
        users: Option<(Arc<UserList>, NameSecret)>,
    ) -> Result<Self, Failure> {
        let ProcessResources { settings, counters, resources, disk, memory, .. } = process;
        let tls = process
            .presenter
            .clone()
            .map(|presenter| SmtpTls::new(presenter, counters.accept.clone()));
        let router = configure::router(settings, ports.of_mail(), &counters.route)?
            .monitored(process.health.clone());
        let client = client(process)?;
        let history = HistoryLog::open(
            disk.clone(),
            configure::history_config(settings),
            counters.history.clone(),
        );
        let webhooks = webhooks::open(process, configure::masking(settings))?;
        let registry = Arc::new(SessionRegistry::default());
        let events = events(process, &history, &registry, webhooks.as_ref());
        let outbound = Outbound::new(
            spool.clone(),
            router,
            client.clone(),
            process.signer.clone(),
            counters.outbound.clone(),
            events.clone(),
            configure::outbound_config(settings, resources),
        );
        outbound.limit_rates(configure::destination_rates(settings));
        let tell = |progress: String| tracing::info!(target: "mta", "{progress}");
        // In parallel to the sessions: new mail does not wait until old mail is planned.
        let planning = tokio::spawn(outbound.clone().resume(tell));
        let admin = Arc::new(Admin::new(outbound.clone(), disk.clone(), memory.clone()));
        let policy = configure::policy(settings);
        let onward = (&spool, &outbound);
        let verifier = Arc::<Verifier>::default();
        let authenticator = users.map(|users| configure::logins(settings, users, &verifier));
        let intake = Arc::new(configure::intake(
            process,
            (&policy, authenticator),
            onward,
            (&registry, &events),
            tls.clone(),
        ));
        let device = (!ports.device.is_empty()).then(|| {
            let consumers = (&registry, &events);
            Arc::new(configure::device_intake(process, onward, consumers, tls.clone()))
        });
        Ok(Self {
            spool,
            outbound,
            client,
            planning,
            history,
            webhooks,
            admin,
            policy,
            registry,
            tls,
            intake,
            device,
            verifier,
        })
    }
}

/// What speaks SMTP to next hops.
fn client(process: &ProcessResources) -> Result<SmtpClient, Failure> {
    let config = configure::deliver_config(&process.settings);
    let (counters, upstreams) = (process.counters.deliver.clone(), process.upstreams.clone());
    let client = SmtpClient::with_upstreams(config, counters, upstreams);
    client.map_err(|error| internal("TLS", &error))
}

/// The consumers of events: the history, the session registry, and, if configured, webhooks and the
/// mail log.
fn events(
    process: &ProcessResources,
    history: &Arc<HistoryLog>,
    registry: &Arc<SessionRegistry>,
    webhooks: Option<&WebhookService>,
) -> Arc<MailEvents> {
    let proxies = Arc::new(UnlistedProxies::new(&process.settings.run_dir));
    let mut sinks: Vec<Arc<dyn MailEventSink>> = vec![history.clone(), registry.clone(), proxies];
    sinks.extend(webhooks.map(WebhookService::event_sink));
    sinks.extend(process.maillog.clone().map(|maillog| maillog as Arc<dyn MailEventSink>));
    MailEvents::new(sinks)
}

//! Connects webhooks to the sources of events and to the HTTP runtime.

use super::process_resources::ProcessResources;
use crate::appliance::failure::{Exit, Failure};
use crate::appliance::property::WebhookEvent;
use crate::ground::tls::verifying_client;
use crate::mail::history::{Mask, Masking};
use crate::mail::model::{MailEventSink, ReplyClass};
use crate::monitor::state::MonitorState;
use crate::webhooks::{
    ALERTS_PACE, WebhookConfig, WebhookFormat, WebhookKey, WebhookSender, Webhooks, watch_alerts,
};
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The sink of events and the senders.
pub(super) struct WebhookService {
    webhooks: Arc<Webhooks>,
    senders: Vec<WebhookSender>,
}

/// `None` without a receiver.
pub(super) fn open(
    process: &ProcessResources,
    masking: Masking,
) -> Result<Option<WebhookService>, Failure> {
    let settings = &process.settings;
    if settings.webhook_url.is_empty() {
        return Ok(None);
    }
    let internal = |error: &dyn std::fmt::Display| {
        Failure::preconfigure(Exit::Internal, format!("events: {error}"))
    };
    let outcome = |event: &WebhookEvent| match event {
        WebhookEvent::Delivered => Some(ReplyClass::Success),
        WebhookEvent::Deferred => Some(ReplyClass::Temporary),
        WebhookEvent::Bounced => Some(ReplyClass::Permanent),
        WebhookEvent::Alert => None,
    };
    let receivers = settings.webhook_url.iter().cloned();
    let config = WebhookConfig {
        hostname: settings.hostname.clone(),
        receivers: receivers
            .map(|hook| {
                (
                    if hook.slack { WebhookFormat::Slack } else { WebhookFormat::Plain },
                    hook.endpoint,
                )
            })
            .collect(),
        outcomes: settings.webhook_events.iter().filter_map(outcome).collect(),
        alerts: settings.webhook_events.contains(&WebhookEvent::Alert),
        mask: Arc::new(
            Mask::open(process.disk.as_ref(), masking).map_err(|error| internal(&error))?,
        ),
        key: match &settings.webhook_secret {
            Some(secret) => Some(
                WebhookKey::new(secret.expose())
                    .ok_or_else(|| internal(&"webhook_secret is not a key"))?,
            ),
            None => None,
        },
        allowed: settings.webhook_allow.clone(),
        tls: verifying_client(process.authorities.clone()).map_err(|error| internal(&error))?,
    };
    let (webhooks, senders) = Webhooks::open(config, &process.counters.webhooks);
    Ok(Some(WebhookService { webhooks, senders }))
}

impl WebhookService {
    /// The sink for delivery events.
    pub(super) fn event_sink(&self) -> Arc<dyn MailEventSink> {
        self.webhooks.clone()
    }

    /// Sends events until `closing` is true.
    pub(super) fn run(
        self,
        tasks: &mut JoinSet<()>,
        monitor: Arc<MonitorState>,
        closing: &watch::Receiver<bool>,
    ) {
        tasks.spawn(watch_alerts(self.webhooks, monitor, ALERTS_PACE, closing.clone()));
        for sender in self.senders {
            tasks.spawn(sender.run(closing.clone()));
        }
    }
}

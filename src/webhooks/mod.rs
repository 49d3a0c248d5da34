//! Webhooks: delivery events and alerts, posted to the URLs in property `webhook_url`.
//!
//! In: events of mails (as a [`MailEventSink`]), and the alerts. Out: HTTP requests, never mail.
//! Each receiver has its own queue and task: it gets events one after the other, a failed one is
//! repeated with growing pauses under the same id, and a dead receiver does not affect the others.
//! Limits: [`WAITING_MAX`] events wait for a receiver, further ones are dropped and counted; an
//! event is dropped after [`AGE_MAX`], or after [`REFUSALS_MAX`] rejections; waiting events are in
//! memory, so that a crash loses them, and at a stop each is tried once within [`FAREWELL`].
//! Security: `ground/public_address.rs` and property `webhook_allow` limit where events may go, and
//! `sign` lets a receiver verify them; the paths of receivers are secrets. Source: Standard
//! Webhooks (headers, retries, signatures).

pub mod counters;
mod event;
mod post;
mod sign;

use crate::ground::clock;
use crate::ground::endpoint::Endpoint;
use crate::ground::public_address::Public;
use crate::ground::stop::stopped;
use crate::mail::model::{AddressMask, MailEvent, MailEventSink, ReplyClass, Target};
use crate::monitor::alerts;
use crate::monitor::alerts::AlertView;
use crate::monitor::state::MonitorState;
use crate::webhooks::counters::WebhookCounters;
pub use event::WebhookFormat;
use event::{WebhookPayload, lines};
use ipnet::IpNet;
use post::{PostError, WebhookTransport};
use rustls::ClientConfig;
pub use sign::WebhookKey;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc::{Receiver as Waiting, Sender, channel};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout_at};

/// Events that wait for one receiver, at most.
pub const WAITING_MAX: usize = 1000;

/// Older events are dropped.
pub const AGE_MAX: Duration = Duration::from_secs(86_400);

/// How often a receiver may reject an event before it is dropped.
pub const REFUSALS_MAX: u32 = 3;

/// How long the last events may take at a stop.
pub const FAREWELL: Duration = Duration::from_secs(2);

/// The pause after the first failure; it doubles with each attempt.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// How often alerts are checked.
pub const ALERTS_PACE: Duration = Duration::from_secs(10);

/// Events in one request for people.
const LINES_MAX: usize = 20;

/// Settings: receivers, events and formats.
pub struct WebhookConfig {
    /// The appliance's name.
    pub hostname: String,
    /// Formats and URLs.
    pub receivers: Vec<(WebhookFormat, Endpoint)>,
    /// The classes of outcomes that are sent.
    pub outcomes: Vec<ReplyClass>,
    /// Whether alerts are sent.
    pub alerts: bool,
    /// How addresses are masked.
    pub mask: Arc<dyn AddressMask>,
    /// The key that signs events.
    pub key: Option<WebhookKey>,
    /// Networks besides the public Internet where events may go.
    pub allowed: Vec<IpNet>,
    /// How a receiver's certificate is verified.
    pub tls: Arc<ClientConfig>,
}

/// The sink for events.
pub struct Webhooks {
    hostname: String,
    outcomes: Vec<ReplyClass>,
    alerts: bool,
    mask: Arc<dyn AddressMask>,
    lines: Vec<Sender<Arc<WebhookPayload>>>,
    counters: Arc<WebhookCounters>,
    next: AtomicU64,
}

/// A receiver's task, not running yet.
pub struct WebhookSender {
    shape: WebhookFormat,
    to: Endpoint,
    /// Its name in the log.
    name: String,
    waiting: Waiting<Arc<WebhookPayload>>,
    key: Option<Arc<WebhookKey>>,
    way: Arc<WebhookTransport>,
    counters: Arc<WebhookCounters>,
    /// Whether the last request succeeded; unknown at first.
    well: Option<bool>,
}

impl Webhooks {
    /// The sink, and the tasks that are to be run.
    pub fn open(
        config: WebhookConfig,
        counters: &Arc<WebhookCounters>,
    ) -> (Arc<Self>, Vec<WebhookSender>) {
        let way =
            Arc::new(WebhookTransport { guard: Public::and(config.allowed), tls: config.tls });
        let key = config.key.map(Arc::new);
        let mut front = Self {
            hostname: config.hostname,
            outcomes: config.outcomes,
            alerts: config.alerts,
            mask: config.mask,
            lines: Vec::new(),
            counters: counters.clone(),
            next: AtomicU64::new(clock::now_micros()),
        };
        let mut senders = Vec::new();
        let names = names(&config.receivers.iter().map(|(_, to)| to.site()).collect::<Vec<_>>());
        for ((shape, to), name) in config.receivers.into_iter().zip(names) {
            let (line, waiting) = channel(WAITING_MAX);
            front.lines.push(line);
            let (key, way, counters) = (key.clone(), way.clone(), counters.clone());
            senders.push(WebhookSender {
                shape,
                to,
                name,
                waiting,
                key,
                way,
                counters,
                well: None,
            });
        }
        (Arc::new(front), senders)
    }

    fn id(&self) -> String {
        format!("evt_{:x}", self.next.fetch_add(1, Ordering::Relaxed))
    }

    fn leave(&self, event: WebhookPayload) {
        let event = Arc::new(event);
        for line in &self.lines {
            if line.try_send(event.clone()).is_err() {
                count(&self.counters, "dropped", 1);
            }
        }
    }
}

impl MailEventSink for Webhooks {
    fn take(&self, event: &MailEvent<'_>) {
        let delivery = match event {
            MailEvent::Sent(delivery)
            | MailEvent::Deferred(delivery)
            | MailEvent::Bounced(delivery)
            | MailEvent::Expired(delivery) => delivery,
            _ => return,
        };
        // A carbon copy has no recipient of interest.
        if delivery.target != Target::Copy && self.outcomes.contains(&delivery.outcome.class()) {
            let mask = self.mask.as_ref();
            self.leave(WebhookPayload::mail(self.id(), &self.hostname, delivery, mask));
        }
    }
}

/// Sends alerts that begin and end, until `stop` is true; `pace` is how often they are checked.
pub async fn watch_alerts(
    webhooks: Arc<Webhooks>,
    monitor: Arc<MonitorState>,
    pace: Duration,
    mut stop: watch::Receiver<bool>,
) {
    if !webhooks.alerts {
        return;
    }
    let mut known: HashMap<String, AlertView> = HashMap::new();
    let mut pace = interval(pace);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Not at once: a relay that is starting is not ready, and that is no news.
    pace.tick().await;
    loop {
        tokio::select! {
            () = stopped(&mut stop) => return,
            _ = pace.tick() => {}
        }
        let now: HashMap<_, _> = alerts::current(&monitor)
            .await
            .into_iter()
            .map(|alert| (alert.key.clone(), alert))
            .collect();
        let come = now.iter().filter(|(key, alert)| {
            known.get(*key).is_none_or(|before| before.grave != alert.grave)
        });
        let gone = known.iter().filter(|(key, _)| !now.contains_key(*key));
        for (over, (_, alert)) in
            come.map(|alert| (false, alert)).chain(gone.map(|alert| (true, alert)))
        {
            webhooks.leave(WebhookPayload::alert(
                webhooks.id(),
                &webhooks.hostname,
                alert,
                over,
                clock::now(),
            ));
        }
        known = now;
    }
}

impl WebhookSender {
    /// Sends events until `stop` is true; then each waiting event is tried once.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        loop {
            let first = tokio::select! {
                biased;
                () = stopped(&mut stop) => break,
                event = self.waiting.recv() => event,
            };
            let Some(first) = first else { return };
            let events = self.take_batch(first);
            if !self.carry(&events, &mut stop).await {
                break;
            }
        }
        self.send_last().await;
    }

    /// People get several lines at once; a program gets one event for each request.
    fn take_batch(&mut self, first: Arc<WebhookPayload>) -> Vec<Arc<WebhookPayload>> {
        let mut events = vec![first];
        while self.shape == WebhookFormat::Slack && events.len() < LINES_MAX {
            let Ok(event) = self.waiting.try_recv() else { break };
            events.push(event);
        }
        events
    }

    /// Tries until the receiver has accepted them, or they are dropped. `false` when there is no
    /// time for another attempt.
    async fn carry(
        &mut self,
        events: &[Arc<WebhookPayload>],
        stop: &mut watch::Receiver<bool>,
    ) -> bool {
        let (mut tries, mut refusals) = (0, 0);
        loop {
            let too_late = async {
                stopped(stop).await;
                sleep(FAREWELL).await;
            };
            let result = tokio::select! {
                result = self.send(events) => result,
                () = too_late => Err(PostError::Slow(FAREWELL)),
            };
            self.tell(&result);
            let Err(failure) = result else {
                count(&self.counters, "sent", events.len());
                return true;
            };
            refusals += u32::from(failure.is_refusal());
            let old =
                events.iter().all(|event| u64::from(clock::age(event.at)) > AGE_MAX.as_secs());
            if refusals >= REFUSALS_MAX || old {
                count(&self.counters, "failed", events.len());
                return true;
            }
            count(&self.counters, "retried", 1);
            let pause = FIRST_PAUSE.saturating_mul(1 << tries.min(16)).min(LONGEST_PAUSE);
            let pause = failure.retry_after().unwrap_or(pause).clamp(FIRST_PAUSE, LONGEST_PAUSE);
            tries += 1;
            tokio::select! {
                () = stopped(stop) => {
                    count(&self.counters, "failed", events.len());
                    return false;
                }
                () = sleep(pause.mul_f64(0.75 + fastrand::f64() / 2.0)) => {}
            }
        }
    }

    async fn send(&self, events: &[Arc<WebhookPayload>]) -> Result<(), PostError> {
        let Some(first) = events.first() else { return Ok(()) };
        let content = match self.shape {
            WebhookFormat::Plain => first.json(),
            WebhookFormat::Slack => lines(events.iter().map(Arc::as_ref)),
        };
        let now = clock::now();
        let mut headers =
            vec![("webhook-id", first.id.clone()), ("webhook-timestamp", now.to_string())];
        if let Some(key) = &self.key {
            headers.push(("webhook-signature", key.sign(&first.id, now, &content)));
        }
        self.way.post(&self.to, &headers, content).await
    }

    /// One line for each change of state.
    fn tell(&mut self, result: &Result<(), PostError>) {
        let receiver = &self.name;
        match (result, self.well.replace(result.is_ok())) {
            (Ok(()), Some(false)) => {
                tracing::info!(receiver, "webhook receiver accepts events again")
            }
            (Ok(()), None) => tracing::info!(receiver, "webhook receiver accepts events"),
            (Err(failure), Some(true) | None) => {
                tracing::warn!(receiver, %failure, "webhook receiver does not accept events; mail \
                is not affected. Will keep retrying; further failures are not logged");
            }
            _ => {}
        }
    }

    async fn send_last(&mut self) {
        let deadline = Instant::now() + FAREWELL;
        let mut lost = 0;
        while let Ok(event) = self.waiting.try_recv() {
            let events = self.take_batch(event);
            let taken = matches!(timeout_at(deadline, self.send(&events)).await, Ok(Ok(())));
            count(&self.counters, if taken { "sent" } else { "failed" }, events.len());
            lost += if taken { 0 } else { events.len() };
        }
        if lost > 0 {
            tracing::warn!(
                receiver = self.name,
                events = lost,
                "events were not delivered before the stop"
            );
        }
    }
}

/// Names for receivers in the log, where their paths, which are secrets, cannot be used to
/// distinguish them.
fn names(sites: &[String]) -> Vec<String> {
    let is_shared = |site: &String| sites.iter().filter(|other| *other == site).count() > 1;
    let name = |(place, site): (usize, &String)| match is_shared(site) {
        true => format!("{site} (number {} of webhook_url)", place + 1),
        false => site.clone(),
    };
    sites.iter().enumerate().map(name).collect()
}

fn count(counters: &WebhookCounters, status: &str, events: usize) {
    counters.webhook_total.with_label_values(&[status]).inc_by(events as u64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receivers_on_one_host_have_names_of_their_own() {
        let sites =
            ["https://webhooks.example", "https://other.example", "https://webhooks.example"]
                .map(str::to_owned);
        let names = names(&sites);
        assert_eq!(names[0], "https://webhooks.example (number 1 of webhook_url)");
        assert_eq!(names[1], "https://other.example");
        assert_eq!(names[2], "https://webhooks.example (number 3 of webhook_url)");
    }
}

//! Serves pages, API and tool: the contents of the queue, and operator actions ("orders").
//!
//! [`search`] finds messages, [`groups`] groups them, [`orders`] executes operator actions,
//! [`paused_destinations`] keeps the paused destinations.

mod groups;
mod orders;
mod paused_destinations;
mod search;

use super::model::{
    AdminError, AdminFuture, ContentPieces, DESTINATIONS_MAX, Deliveries, Destination,
    DestinationSummary, Filter, Grouping, ImportedMessage, Message, MessageId, OrderResult, Paused,
    Preview, Principal, QueueAdmin, QueueGroups, QueueOrder, QueuePage, QueueSummary, Selection,
    TargetProgress, TargetStatus,
};
use super::outbound::Outbound;
use super::schedule::Suspension;
use super::spool::{Arrival, Spool, SpoolError};
use crate::ground::clock;
use crate::ground::disk::Disk;
use crate::ground::lock::{Level, Lock};
use crate::ground::memory::{Gauge, Pressure};
use paused_destinations::Pauses;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// Messages read in one step.
const PAGE: usize = 1000;

/// The functions of the queue for operators.
pub struct Admin<S> {
    outbound: Arc<Outbound<S>>,
    /// Cached destinations: to compute them takes time that grows with the queue, and delays mail.
    destinations: Lock<Option<Destinations>>,
    /// Cached groups; the lock is held while they are computed, so that it is done only once.
    groups: Arc<tokio::sync::Mutex<HashMap<Grouping, (Instant, QueueGroups)>>>,
    pauses: Arc<Pauses>,
    memory: Arc<Gauge>,
}

/// How old an answer about groups may be.
const GROUPS_FRESH: Duration = Duration::from_secs(10);

/// How old an answer about destinations may be, at most.
const FRESH: Duration = Duration::from_secs(1);

/// It may be so many times as old as it took to compute: of a short queue each answer is new, and
/// the walks through a long one take at most a twentieth of the time.
const FRESH_TIMES: u32 = 20;

/// A cached answer about destinations.
struct Destinations {
    /// Until when it may be used again.
    fresh: Instant,
    /// At most [`DESTINATIONS_MAX`], those with the most messages.
    rows: Vec<DestinationSummary>,
    /// When the oldest message was accepted that waits for a destination that is not paused.
    oldest: Option<u32>,
}

/// How long an export waits for the end of a message's attempts.
const STILL_PATIENCE: Duration = Duration::from_secs(20);

impl<S: Spool> Admin<S> {
    /// Orders for this outgoing half, whose paused destinations are stored on `disk`; it imports no
    /// mail while `memory` is used up.
    pub fn new(outbound: Arc<Outbound<S>>, disk: Arc<dyn Disk>, memory: Arc<Gauge>) -> Self {
        let rules = outbound.router.rules();
        let pauses = Arc::new(Pauses::open(disk, |name| rules.named_once(name)));
        pauses.all().iter().for_each(|paused| outbound.state.pause_destination(paused, true));
        Self {
            outbound,
            destinations: Lock::new(Level::Outer, None),
            groups: Arc::default(),
            pauses,
            memory,
        }
    }

    /// Reads the answer about destinations; it is computed again when it is too old.
    fn with_destinations<T>(&self, look: impl FnOnce(&Destinations) -> T) -> T {
        let mut kept = self.destinations.lock();
        if let Some(kept) = kept.as_ref().filter(|kept| Instant::now() <= kept.fresh) {
            return look(kept);
        }
        let begun = Instant::now();
        let mut rows = self.outbound.state.summaries(usize::MAX, clock::steady());
        // Mail for a paused destination is stopped by an operator, as held mail is.
        let oldest = rows
            .iter()
            .filter(|row| !row.paused)
            .filter_map(|row| row.oldest)
            .min()
            .map(clock::wall);
        rows.truncate(DESTINATIONS_MAX);
        for row in &mut rows {
            let moments = [
                &mut row.oldest,
                &mut row.next_attempt,
                &mut row.suspended_until,
                &mut row.unreachable_since,
            ];
            moments.into_iter().for_each(|moment| *moment = moment.map(clock::wall));
            row.rate_wait.iter_mut().for_each(|wait| wait.until = clock::wall(wait.until));
        }
        let fresh = Instant::now() + (begun.elapsed() * FRESH_TIMES).min(FRESH);
        look(kept.insert(Destinations { fresh, rows, oldest }))
    }
}

impl<S: Spool> QueueAdmin for Admin<S> {
    fn summary(&self) -> QueueSummary {
        let (messages, bytes, held) = self.outbound.spool.last_totals();
        let (tried, deferred) = self.outbound.state.active_and_deferred(clock::steady());
        let oldest = self.outbound.spool.by_arrival(None, 1).first().map(second);
        let waiting = self.with_destinations(|known| known.oldest);
        let oldest_tried = self.outbound.spool.oldest_of(&tried);
        let oldest_in_transit = waiting.into_iter().chain(oldest_tried.as_ref().map(second)).min();
        // Read one after the other: what came or went between must not make the sum larger than the
        // total.
        let active = (tried.len() as u64).min(messages.saturating_sub(held));
        let deferred = deferred.min(messages.saturating_sub(held).saturating_sub(active));
        QueueSummary { messages, bytes, active, deferred, held, oldest, oldest_in_transit }
    }

    fn destinations(&self, limit: usize) -> Vec<DestinationSummary> {
        self.with_destinations(|known| known.rows.iter().take(limit).cloned().collect())
    }

    fn deliveries(&self, limit: usize) -> Vec<Deliveries> {
        self.outbound.deliveries(limit)
    }

    fn ages(&self, bounds: &[u32]) -> (Vec<u64>, u64) {
        let (mut counts, mut sum, mut after) = (vec![0; bounds.len()], 0, None);
        loop {
            let page = self.outbound.spool.by_arrival(after, PAGE);
            let Some(last) = page.last() else { return (counts, sum) };
            after = Some(last.moment);
            for age in page.iter().map(age) {
                sum += age;
                for (count, bound) in counts.iter_mut().zip(bounds) {
                    *count += u64::from(age <= u64::from(*bound));
                }
            }
        }
    }

    fn show(&self, id: MessageId) -> AdminFuture<'_, Message> {
        Box::pin(async move { Ok(self.outbound.as_scheduled(self.outbound.spool.peek(id).await?)) })
    }

    fn find(
        &self,
        filter: Filter,
        after: Option<MessageId>,
        limit: usize,
        patience: Duration,
    ) -> AdminFuture<'_, QueuePage> {
        Box::pin(async move { self.outbound.find(&filter, after, limit, patience).await })
    }

    /// In a task of its own: the caller may disconnect, and the next one uses the result.
    fn groups(&self, by: Grouping) -> AdminFuture<'_, QueueGroups> {
        let (outbound, groups) = (self.outbound.clone(), self.groups.clone());
        let task = tokio::spawn(async move {
            let mut kept = groups.lock().await;
            if let Some((since, groups)) = kept.get(&by)
                && since.elapsed() < GROUPS_FRESH
            {
                return Ok(groups.clone());
            }
            let groups = outbound.groups(by).await?;
            kept.insert(by, (Instant::now(), groups.clone()));
            Ok(groups)
        });
        Box::pin(async move {
            task.await
                .unwrap_or_else(|_| Err(AdminError::Storage("the count was cut off".to_owned())))
        })
    }

    fn preview(
        &self,
        order: QueueOrder,
        selection: Selection,
        patience: Duration,
    ) -> AdminFuture<'_, Preview> {
        Box::pin(async move { self.outbound.preview(order, selection, patience).await })
    }

    /// In a task of its own once all of the queue is planned: the caller may disconnect, and the
    /// order is still completed, also one that waits for another order to end. Before that it is
    /// cancelled with its caller.
    fn order(
        &self,
        order: QueueOrder,
        selection: Selection,
        principal: Principal,
    ) -> AdminFuture<'_, OrderResult> {
        let outbound = self.outbound.clone();
        Box::pin(async move {
            outbound.planned().await;
            await_order(tokio::spawn(
                async move { outbound.order(order, selection, &principal).await },
            ))
            .await
        })
    }

    fn move_out(
        &self,
        id: MessageId,
        version: u64,
        mark: String,
        principal: Principal,
    ) -> AdminFuture<'_, ()> {
        let outbound = self.outbound.clone();
        Box::pin(async move {
            outbound.planned().await;
            await_order(tokio::spawn(async move {
                outbound.move_out(id, version, &mark, &principal).await
            }))
            .await
        })
    }

    fn find_destination(&self, name: &str, paused: bool) -> Result<Destination, AdminError> {
        let rules = self.outbound.router.rules();
        // Paused under another smart relay, for example: it must not stay so for ever.
        if let Some(paused) = self.pauses.find(name).filter(|_| !paused) {
            return Ok(paused);
        }
        // For a name of former properties the answer is that it was not paused.
        let once = || rules.named_once(&name.to_ascii_lowercase()).filter(|_| !paused);
        rules
            .destination_named(name)
            .or_else(|words| once().ok_or(AdminError::NoDestination(words)))
    }

    fn pause(
        &self,
        destination: Destination,
        paused: bool,
        principal: Principal,
    ) -> AdminFuture<'_, Paused> {
        let (outbound, pauses) = (self.outbound.clone(), self.pauses.clone());
        let work = move || {
            let apply = || outbound.state.pause_destination(&destination, paused);
            let changed = pauses.set(&destination, paused, apply)?;
            outbound.wake_dispatcher(outbound.state.must_wake(clock::steady()));
            let waiting = outbound.state.waiting_for(&destination);
            let order = if paused { "pause" } else { "resume" };
            orders::audit(order, &format!("destination {destination}"), waiting, &principal);
            Ok(Paused { changed, waiting })
        };
        Box::pin(async move { await_order(tokio::task::spawn_blocking(work)).await })
    }

    fn export(&self, id: MessageId, still: bool) -> AdminFuture<'_, Message> {
        Box::pin(async move {
            if still && !self.outbound.still(id, STILL_PATIENCE).await {
                return Err(AdminError::Busy);
            }
            let message = self.outbound.spool.load(id).await?;
            // All of it was delivered a moment ago; its last record is being written.
            let waits =
                message.progress.iter().any(|progress| progress.status == TargetStatus::Pending);
            if waits { Ok(message) } else { Err(AdminError::Unknown) }
        })
    }

    /// In a task of its own: what is durable must be planned, even if the caller disconnects.
    fn import(
        &self,
        imported: ImportedMessage,
        content: Box<dyn ContentPieces>,
    ) -> AdminFuture<'_, MessageId> {
        if self.memory.pressure() == Pressure::Critical {
            let words = "there is too little memory for a mail at the moment; try again later";
            return Box::pin(async move { Err(AdminError::Storage(words.to_owned())) });
        }
        let outbound = self.outbound.clone();
        let task = tokio::spawn(async move { outbound.import(imported, content).await });
        Box::pin(async move {
            task.await.unwrap_or_else(|_| {
                Err(AdminError::Storage("the import was cut off; look at the queue".to_owned()))
            })
        })
    }
}

impl<S: Spool> Outbound<S> {
    /// What is not in the record: mail for an unreachable destination waits for the next probe,
    /// with that destination's error; mail for a paused one waits for an operator, and mail for one
    /// whose rate is used up for the next permit.
    fn as_scheduled(&self, mut message: Message) -> Message {
        let destinations: Vec<_> =
            message.progress.iter().map(|progress| self.destination(&message, progress)).collect();
        let suspensions = self.state.suspensions(&destinations, clock::steady());
        let waiting = message
            .progress
            .iter_mut()
            .zip(suspensions)
            .filter(|(progress, _)| progress.status == TargetStatus::Pending);
        for (progress, rest) in waiting {
            match rest {
                Some(Suspension::Paused) => progress.due = TargetProgress::PAUSED,
                Some(Suspension::Until(until, error)) => {
                    progress.due = progress.due.max(clock::wall(until));
                    if progress.reason.is_empty() {
                        progress.reason = error.words();
                    }
                }
                Some(Suspension::Rate(mut wait)) => {
                    wait.until = clock::wall(wait.until);
                    if progress.due <= clock::now() {
                        progress.reason = wait.words(clock::soon);
                    }
                    progress.due = progress.due.max(wait.until);
                }
                None => {}
            }
        }
        message
    }

    /// The messages of these ids that are still in the queue, in their order.
    async fn list_exact(&self, ids: &[MessageId]) -> Result<Vec<Message>, AdminError> {
        Ok(self.spool.peek_all(ids.to_vec()).await?)
    }
}

/// The result of an order that has begun.
async fn await_order<T>(task: JoinHandle<Result<T, AdminError>>) -> Result<T, AdminError> {
    task.await.unwrap_or_else(|_| {
        Err(AdminError::Storage("the order was cut off; look at the queue".to_owned()))
    })
}

/// When a message was accepted, in seconds since 1970 by the wall clock.
fn second(arrival: &Arrival) -> u32 {
    let second = u32::try_from(arrival.moment.0 / 1_000_000).unwrap_or(u32::MAX);
    // Ids are by the monotonic clock, and times from another queue by the wall clock.
    if arrival.moment == arrival.id { clock::wall(second) } else { second }
}

/// How old it is, in seconds.
fn age(arrival: &Arrival) -> u64 {
    if arrival.moment == arrival.id {
        clock::steady_micros().saturating_sub(arrival.id.0) / 1_000_000
    } else {
        clock::age(second(arrival)).into()
    }
}

impl From<SpoolError> for AdminError {
    fn from(error: SpoolError) -> Self {
        match error {
            SpoolError::Unknown => Self::Unknown,
            SpoolError::Damaged => Self::Damaged,
            SpoolError::Full | SpoolError::Failed(_) | SpoolError::Slow(_) => {
                Self::Storage(error.to_string())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::disk::halting::{Halting, PATIENCE, in_time};
    use crate::mail::model::{Address, BodyType, Envelope, MessageKind, Origin};
    use crate::mail::spool::counters::SpoolCounters;
    use crate::mail::spool::{IncomingContent, QueueEntry, SegmentLog, Spool, SpoolConfig};

    /// What a page needs for its header, and what every new mail needs.
    #[tokio::test]
    async fn the_queue_can_be_looked_at_while_a_segment_waits_to_be_let_go() {
        let directory = tempfile::tempdir().unwrap();
        let is_segment = |call: &str, path: &str| {
            call != "sync" && path.starts_with("log/") && !path.ends_with(".heads")
        };
        let (disk, waiting) = Halting::open(directory.path(), is_segment);
        let config = SpoolConfig { segment_max: 4096, ..SpoolConfig::default() };
        let spool =
            SegmentLog::open(disk, config, SpoolCounters::alone().unwrap(), &|_| {}).unwrap();
        let spool = Arc::new(spool);
        let works = spool.clone();
        tokio::spawn(async move {
            loop {
                let mut writer = works.begin();
                writer.write(&[b'x'; 2000]).await.unwrap();
                let recipients = vec![Address::parse("a@b.example").unwrap()];
                let envelope = Envelope {
                    sender: None,
                    recipients,
                    body: BodyType::SevenBit,
                    smtputf8: false,
                    dsn: None,
                };
                let origin = Origin { peer: None, helo: "test".into(), may_relay: false };
                let entry = QueueEntry {
                    envelope,
                    origin,
                    kind: MessageKind::Mail,
                    copy: false,
                    destinations: Vec::new(),
                };
                let message = works.commit(entry, writer).await.unwrap();
                works.delete(message.id).await.unwrap();
            }
        });
        let go = tokio::task::spawn_blocking(move || waiting.recv_timeout(PATIENCE).unwrap())
            .await
            .unwrap();
        let looks = spool.clone();
        let seen =
            tokio::task::spawn_blocking(move || in_time(move || looks.totals().0)).await.unwrap();
        assert!(seen <= 1, "{seen}");
        drop(go);
    }
}

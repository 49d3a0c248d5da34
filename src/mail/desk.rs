//! The corridor's answers to windows: what is in the queue, and an operator's orders.

use super::model::{
    Answer, Carried, Desk, DeskError, DestinationSummary, Message, MessageId, Order, Pieces, QueueSummary, Selection, Status,
};
use super::outbound::Outbound;
use super::spool::{Spool, SpoolError};
use crate::ground::clock;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Messages read between two looks at anything else.
const PAGE: usize = 1000;

/// The corridor's desk.
pub struct Office<S> {
    outbound: Arc<Outbound<S>>,
    /// The destinations as they were a moment ago: to find them takes time that grows with the queue, and holds up mail.
    destinations: Mutex<Option<(Instant, Vec<DestinationSummary>)>>,
}

/// How old an answer about destinations may be.
const FRESH: Duration = Duration::from_secs(1);

/// How many destinations are kept ready for answers.
const DESTINATIONS_MAX: usize = 1000;

/// How long whoever carries a message away waits for the end of its tries.
const STILL_PATIENCE: Duration = Duration::from_secs(20);

impl<S: Spool> Office<S> {
    /// The desk of this outgoing half.
    pub fn new(outbound: Arc<Outbound<S>>) -> Self {
        Self { outbound, destinations: Mutex::default() }
    }
}

impl<S: Spool> Desk for Office<S> {
    fn summary(&self) -> QueueSummary {
        let (messages, bytes, held) = self.outbound.spool.totals();
        let (active, deferred) = self.outbound.lock_schedule().jobs();
        // The id carries the microsecond of acceptance.
        let oldest = self.outbound.spool.ids(None, 1).first().map(|id| u32::try_from(id.0 / 1_000_000).unwrap_or(u32::MAX));
        QueueSummary { messages, bytes, active, deferred, held, oldest }
    }

    fn destinations(&self, limit: usize) -> Vec<DestinationSummary> {
        let mut kept = self.destinations.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.as_ref().is_none_or(|(since, _)| since.elapsed() > FRESH) {
            *kept = Some((Instant::now(), self.outbound.lock_schedule().summaries(DESTINATIONS_MAX, clock::now())));
        }
        kept.as_ref().map(|(_, rows)| rows.iter().take(limit).cloned().collect()).unwrap_or_default()
    }

    fn ages(&self, bounds: &[u32]) -> (Vec<u64>, u64) {
        let now = clock::now_micros();
        let (mut counts, mut sum, mut after) = (vec![0; bounds.len()], 0, None);
        loop {
            let ids = self.outbound.spool.ids(after, PAGE);
            let Some(last) = ids.last().copied() else { return (counts, sum) };
            after = Some(last);
            for id in ids {
                let age = now.saturating_sub(id.0) / 1_000_000;
                sum += age;
                for (count, bound) in counts.iter_mut().zip(bounds) {
                    *count += u64::from(age <= u64::from(*bound));
                }
            }
        }
    }

    fn list(&self, mut after: Option<MessageId>, limit: usize) -> Answer<'_, Vec<Message>> {
        Box::pin(async move {
            loop {
                let ids = self.outbound.spool.ids(after, limit);
                let messages = self.outbound.list_exact(&ids).await?;
                // An empty list means the end; a page whose messages have all left meanwhile is none.
                if !messages.is_empty() || ids.is_empty() {
                    return Ok(messages.into_iter().map(|message| self.outbound.as_scheduled(message)).collect());
                }
                after = ids.last().copied();
            }
        })
    }

    fn show(&self, id: MessageId) -> Answer<'_, Message> {
        Box::pin(async move { Ok(self.outbound.as_scheduled(self.outbound.spool.peek(id).await?)) })
    }

    /// In a task of its own: whoever asked may go away, an order is carried out to its end.
    fn order(&self, order: Order, selection: Selection) -> Answer<'_, u64> {
        let outbound = self.outbound.clone();
        let task = tokio::spawn(async move { outbound.order(order, selection).await });
        Box::pin(async move {
            task.await.unwrap_or_else(|_| Err(DeskError::Storage("the order was cut off; look at the queue".to_owned())))
        })
    }

    fn carry_out(&self, id: MessageId, still: bool) -> Answer<'_, Message> {
        Box::pin(async move {
            if still && !self.outbound.still(id, STILL_PATIENCE).await {
                return Err(DeskError::Busy);
            }
            Ok(self.outbound.spool.load(id).await?)
        })
    }

    /// In a task of its own: what is durable must be planned, whoever goes away.
    fn carry_in(&self, carried: Carried, content: Box<dyn Pieces>) -> Answer<'_, MessageId> {
        let outbound = self.outbound.clone();
        let task = tokio::spawn(async move { outbound.carry_in(carried, content).await });
        Box::pin(async move {
            task.await.unwrap_or_else(|_| Err(DeskError::Storage("the import was cut off; look at the queue".to_owned())))
        })
    }
}

impl<S: Spool> Outbound<S> {
    async fn order(&self, order: Order, selection: Selection) -> Result<u64, DeskError> {
        self.planned().await;
        let hit = match (order, &selection) {
            (Order::Retry, selection) => self.retry(selection).await?,
            (_, Selection::One(id)) => {
                self.spool.peek(*id).await?;
                self.obey(order, &[*id]).await?
            }
            (_, selection) => self.obey_all(order, selection).await?,
        };
        let selection = match selection {
            Selection::One(id) => id.to_string(),
            Selection::Domain(domain) => format!("domain {domain}"),
            Selection::All => "all".to_owned(),
        };
        tracing::info!(target: "mta", order = order.as_str(), selection, messages = hit, "an operator's order");
        Ok(hit)
    }

    async fn retry(&self, selection: &Selection) -> Result<u64, DeskError> {
        let hit = match selection {
            Selection::One(id) => {
                self.spool.peek(*id).await?;
                self.lock_schedule().retry(|_, job| job == *id).min(1)
            }
            Selection::Domain(domain) => {
                let ids: HashSet<MessageId> = self.selected(domain).await?.into_iter().collect();
                self.lock_schedule().retry(|name, job| name.eq_ignore_ascii_case(domain) || ids.contains(&job));
                ids.len() as u64
            }
            Selection::All => {
                self.lock_schedule().retry(|_, _| true);
                self.spool.totals().0
            }
        };
        self.ring();
        Ok(hit)
    }

    async fn obey_all(&self, order: Order, selection: &Selection) -> Result<u64, DeskError> {
        let ids = match selection {
            Selection::Domain(domain) => self.selected(domain).await?,
            _ => self.spool.ids(None, usize::MAX),
        };
        let mut hit = 0;
        for page in ids.chunks(PAGE) {
            hit += self.obey(order, page).await?;
        }
        Ok(hit)
    }

    /// Carries out an order for a page of messages; those that left the queue meanwhile do not count.
    async fn obey(&self, order: Order, ids: &[MessageId]) -> Result<u64, DeskError> {
        let (mut released, mut deleted) = (HashMap::new(), HashMap::new());
        // Read first: nothing may stand between the durable release and the plan, and what is deleted cannot be read any more.
        match order {
            Order::Release => {
                let messages = self.list_exact(ids).await?;
                released.extend(messages.into_iter().filter(|message| message.held).map(|message| (message.id, message)));
            }
            Order::Delete => deleted.extend(self.list_exact(ids).await?.into_iter().map(|message| (message.id, message))),
            Order::Hold | Order::Retry => {}
        }
        // All at once: they share their syncs.
        let mut records = tokio::task::JoinSet::new();
        for id in ids.iter().copied() {
            let spool = self.spool.clone();
            match order {
                Order::Hold => drop(records.spawn(async move { (id, spool.hold(id, true).await) })),
                Order::Release if released.contains_key(&id) => {
                    drop(records.spawn(async move { (id, spool.hold(id, false).await) }));
                }
                Order::Delete => drop(records.spawn(async move { (id, spool.delete(id).await) })),
                Order::Release | Order::Retry => {}
            }
        }
        let (mut obeyed, mut trouble) = (HashSet::new(), None);
        while let Some(record) = records.join_next().await {
            match record {
                Ok((id, Ok(()))) => drop(obeyed.insert(id)),
                Ok((_, Err(SpoolError::Unknown))) => {}
                Ok((_, Err(error))) => trouble = Some(error),
                Err(_) => trouble = Some(SpoolError::Failed("the order was cut off".to_owned())),
            }
        }
        obeyed.iter().filter_map(|id| deleted.get(id)).for_each(log_deleted);
        obeyed.iter().for_each(|id| log_obeyed(order, *id));
        if order == Order::Release {
            for message in obeyed.iter().filter_map(|id| released.remove(id)) {
                self.plan(&Message { held: false, ..message }, true);
            }
            self.ring();
        } else {
            self.forget(&obeyed);
        }
        trouble.map_or(Ok(obeyed.len() as u64), |error| Err(error.into()))
    }

    /// The messages with a pending recipient in a domain, or on their way to a destination of that name.
    async fn selected(&self, domain: &str) -> Result<Vec<MessageId>, DeskError> {
        let (mut selected, mut after) = (Vec::new(), None);
        loop {
            let ids = self.spool.ids(after, PAGE);
            let Some(last) = ids.last().copied() else { return Ok(selected) };
            after = Some(last);
            for message in self.list_exact(&ids).await? {
                let recipients = message.envelope.recipients.iter().zip(&message.progress);
                let mut pending = recipients.filter(|(_, progress)| progress.status == Status::Pending);
                let by_recipient = pending.any(|(recipient, _)| recipient.domain_text().eq_ignore_ascii_case(domain));
                if by_recipient || self.destinations(&message).keys().any(|name| name.eq_ignore_ascii_case(domain)) {
                    selected.push(message.id);
                }
            }
        }
    }

    /// What the record does not know: mail behind an unreachable destination waits until that is tried again, for its reason.
    fn as_scheduled(&self, mut message: Message) -> Message {
        let targets: Vec<_> = message.progress.iter().map(|progress| progress.target).collect();
        let destinations: Vec<_> = targets.into_iter().map(|target| self.destination(&message, target)).collect();
        let schedule = self.lock_schedule();
        for (progress, destination) in message.progress.iter_mut().zip(destinations) {
            let suspension = destination.and_then(|name| schedule.suspension(&name, clock::now()));
            if let Some((until, error)) = suspension
                && progress.status == Status::Pending
            {
                progress.due = progress.due.max(until);
                if progress.reason.is_empty() {
                    error.clone_into(&mut progress.reason);
                }
            }
        }
        message
    }

    async fn list_exact(&self, ids: &[MessageId]) -> Result<Vec<Message>, DeskError> {
        let mut messages = Vec::with_capacity(ids.len());
        for id in ids {
            match self.spool.peek(*id).await {
                Ok(message) => messages.push(message),
                // It left the queue meanwhile, or is being set aside.
                Err(SpoolError::Unknown | SpoolError::Damaged) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(messages)
    }
}

/// For the mail log, which names each message.
fn log_obeyed(order: Order, id: MessageId) {
    match order {
        Order::Hold => tracing::debug!(target: "mta", queue_id = %id, "held"),
        Order::Release => tracing::debug!(target: "mta", queue_id = %id, "released"),
        Order::Delete => tracing::debug!(target: "mta", queue_id = %id, operator = true, "removed"),
        Order::Retry => {}
    }
}

/// A mail that was answered 250 does not vanish without a line.
fn log_deleted(message: &Message) {
    let pending = message.envelope.recipients.iter().zip(&message.progress);
    for (recipient, _) in pending.filter(|(_, progress)| progress.status == Status::Pending) {
        tracing::info!(
            target: "mta",
            queue_id = %message.id,
            from = %format_args!("<{}>", message.envelope.sender_text()),
            to = %format_args!("<{recipient}>"),
            status = "deleted",
            "delivery"
        );
    }
}

impl From<SpoolError> for DeskError {
    fn from(error: SpoolError) -> Self {
        match error {
            SpoolError::Unknown => Self::Unknown,
            SpoolError::Damaged => Self::Damaged,
            SpoolError::Full | SpoolError::Failed(_) => Self::Storage(error.to_string()),
        }
    }
}

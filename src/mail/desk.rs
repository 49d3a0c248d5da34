//! The corridor's answers to windows: what is in the queue, and an operator's orders.

use super::model::{Answer, Desk, DeskError, DestinationSummary, Message, MessageId, Order, QueueSummary, Selection, Status};
use super::outbound::Outbound;
use super::spool::{Spool, SpoolError};
use crate::ground::clock;
use std::collections::HashSet;

/// Messages read between two looks at anything else.
const PAGE: usize = 1000;

impl<S: Spool> Desk for Outbound<S> {
    fn summary(&self) -> QueueSummary {
        let (messages, bytes, held) = self.spool.totals();
        let (active, deferred) = self.lock_schedule().jobs();
        // The id carries the microsecond of acceptance.
        let oldest = self.spool.ids(None, 1).first().map(|id| u32::try_from(id.0 / 1_000_000).unwrap_or(u32::MAX));
        QueueSummary { messages, bytes, active, deferred, held, oldest }
    }

    fn destinations(&self, limit: usize) -> Vec<DestinationSummary> {
        self.lock_schedule().summaries(limit, clock::now())
    }

    fn ages(&self, bounds: &[u32]) -> (Vec<u64>, u64) {
        let now = clock::now_micros();
        let (mut counts, mut sum, mut after) = (vec![0; bounds.len()], 0, None);
        loop {
            let ids = self.spool.ids(after, PAGE);
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
                let ids = self.spool.ids(after, limit);
                let messages = self.list_exact(&ids).await?;
                // An empty list means the end; a page whose messages have all left meanwhile is none.
                if !messages.is_empty() || ids.is_empty() {
                    return Ok(messages.into_iter().map(|message| self.as_scheduled(message)).collect());
                }
                after = ids.last().copied();
            }
        })
    }

    fn show(&self, id: MessageId) -> Answer<'_, Message> {
        Box::pin(async move { Ok(self.as_scheduled(self.spool.peek(id).await?)) })
    }

    fn order(&self, order: Order, selection: Selection) -> Answer<'_, u64> {
        Box::pin(async move {
            let hit = match (order, &selection) {
                (Order::Retry, selection) => self.retry(selection).await?,
                (_, Selection::One(id)) => {
                    self.obey(order, *id).await?;
                    1
                }
                (_, selection) => self.obey_all(order, selection).await?,
            };
            tracing::info!(target: "mta", order = ?order, selection = ?selection, messages = hit, "an operator's order");
            Ok(hit)
        })
    }
}

impl<S: Spool> Outbound<S> {
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
        let mut hit = 0;
        let ids = match selection {
            Selection::Domain(domain) => self.selected(domain).await?,
            _ => self.spool.ids(None, usize::MAX),
        };
        for id in ids {
            match self.obey(order, id).await {
                Ok(()) => hit += 1,
                Err(DeskError::Unknown) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(hit)
    }

    async fn obey(&self, order: Order, id: MessageId) -> Result<(), DeskError> {
        match order {
            Order::Hold => {
                self.spool.hold(id, true).await?;
                self.forget(id);
            }
            Order::Release => {
                if !self.spool.peek(id).await?.held {
                    return Ok(());
                }
                self.spool.hold(id, false).await?;
                self.plan(&self.spool.peek(id).await?, true);
                self.ring();
            }
            Order::Delete => {
                self.spool.delete(id).await?;
                self.forget(id);
            }
            Order::Retry => {
                self.retry(&Selection::One(id)).await?;
            }
        }
        Ok(())
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
                Err(SpoolError::Unknown) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(messages)
    }
}

impl From<SpoolError> for DeskError {
    fn from(error: SpoolError) -> Self {
        match error {
            SpoolError::Unknown => Self::Unknown,
            SpoolError::Full | SpoolError::Failed(_) => Self::Storage(error.to_string()),
        }
    }
}

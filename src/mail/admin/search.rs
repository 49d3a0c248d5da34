//! Finds messages, page by page, within the caller's time limit.
//!
//! Limits: [`BUNCH`] messages at a time are in memory, of contents the header section's first
//! [`HEAD_MAX`] octets of one.

use crate::ground::clock;
use crate::mail::model::{
    AdminError, Destination, Filter, Message, MessageContext, MessageId, MessageState, QueuePage,
    TargetProgress, TargetStatus,
};
use crate::mail::outbound::Outbound;
use crate::mail::spool::{Arrival, Spool};
use mail_parser::MessageParser;
use std::time::{Duration, Instant};

/// How many messages are read at once.
const BUNCH: usize = 256;

/// How much of a message is read to find its subject.
const HEAD_MAX: usize = 32 * 1024;

impl<S: Spool> Outbound<S> {
    /// A page of the messages that match a filter.
    pub(super) async fn find(
        &self,
        filter: &Filter,
        after: Option<MessageId>,
        limit: usize,
        patience: Duration,
    ) -> Result<QueuePage, AdminError> {
        let deadline = Instant::now() + patience;
        let mut found = QueuePage { next: after, ..QueuePage::default() };
        // Without a filter everything that is read is shown.
        let bunch = if filter.is_empty() { limit.min(BUNCH) } else { BUNCH };
        loop {
            let page = self.arrivals(filter, found.next, bunch).await?;
            let Some(end) = page.last().map(|arrival| arrival.moment) else {
                found.complete = true;
                return Ok(found);
            };
            let ids: Vec<MessageId> = page.iter().map(|arrival| arrival.id).collect();
            for (message, standing) in self.passing(filter, &ids).await? {
                if found.messages.len() == limit {
                    // The rest of what was read is for the next page.
                    return Ok(found);
                }
                found.next = page
                    .iter()
                    .find(|arrival| arrival.id == message.id)
                    .map(|arrival| arrival.moment);
                found.messages.push((message, standing));
            }
            found.scanned += ids.len() as u64;
            found.next = Some(end);
            if found.messages.len() == limit || Instant::now() >= deadline {
                return Ok(found);
            }
        }
    }

    /// The next messages that may match a filter, in the order of their acceptance; if it asks for
    /// an id, in the order of ids, of which few are needed.
    async fn arrivals(
        &self,
        filter: &Filter,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<Arrival>, AdminError> {
        if filter.id.is_empty() {
            return Ok(self.spool.by_arrival(after, limit));
        }
        let (first, last) = filter.ids();
        let ids = self.spool.ids(after.max(first.0.checked_sub(1).map(MessageId)), limit).await?;
        let wanted = ids.into_iter().filter(|id| *id <= last);
        Ok(wanted.map(|id| Arrival { moment: id, id }).collect())
    }

    /// The messages among these that match a filter.
    pub(super) async fn passing(
        &self,
        filter: &Filter,
        ids: &[MessageId],
    ) -> Result<Vec<(Message, MessageState)>, AdminError> {
        let now = clock::now();
        let mut candidates = Vec::new();
        for message in self.list_exact(ids).await? {
            let message = self.as_scheduled(message);
            let standing = self.standing(&message, now);
            let destinations: Vec<Destination> = self.destinations(&message).into_keys().collect();
            if filter.passes_without_subject(
                &message,
                &MessageContext { standing, destinations: &destinations },
                now,
            ) {
                candidates.push((message, standing, destinations));
            }
        }
        let filter = filter.clone();
        let filtered = move || {
            candidates.retain(|(message, standing, destinations)| {
                let seen = MessageContext { standing: *standing, destinations };
                let subject =
                    if filter.asks_for_subjects() { subject(message) } else { String::new() };
                filter.passes(message, &seen, &subject, now)
            });
            candidates
        };
        // Reading subjects may block.
        let passed = tokio::task::spawn_blocking(filtered)
            .await
            .map_err(|error| AdminError::Storage(error.to_string()))?;
        Ok(passed.into_iter().map(|(message, standing, _)| (message, standing)).collect())
    }

    fn standing(&self, message: &Message, now: u32) -> MessageState {
        let pending = |progress: &&TargetProgress| progress.status == TargetStatus::Pending;
        let waits = |progress: &TargetProgress| progress.attempts > 0 || progress.due > now;
        if message.held {
            MessageState::Held
        } else if self.state.is_being_tried(message.id) {
            MessageState::Active
        } else if message.progress.iter().filter(pending).any(waits) {
            MessageState::Deferred
        } else {
            MessageState::Waiting
        }
    }
}

/// The decoded subject; empty where there is none, or the content cannot be read.
fn subject(message: &Message) -> String {
    let Ok(head) = message.body.head(HEAD_MAX) else { return String::new() };
    let parsed = MessageParser::new().parse_headers(&head[..]);
    parsed.and_then(|mail| mail.subject().map(str::to_owned)).unwrap_or_default()
}

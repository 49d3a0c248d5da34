//! Operator actions ("orders"): the messages that they apply to, and their execution.
//!
//! Limits: [`PAGE`] messages at a time are in memory.

use crate::ground::clock;
use crate::mail::model::{
    AdminError, Deletion, Filter, MailEvent, Message, MessageId, OrderResult, Preview, Principal,
    QueueOrder, Selection, TargetStatus,
};
use crate::mail::outbound::Outbound;
use crate::mail::schedule::Untried;
use crate::mail::spool::{IncomingContent, Spool, SpoolError};
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

/// Messages read in one step.
const PAGE: usize = 1000;

impl<S: Spool> Outbound<S> {
    /// Executes an order and writes an audit line.
    pub(super) async fn order(
        &self,
        order: QueueOrder,
        selection: Selection,
        principal: &Principal,
    ) -> Result<OrderResult, AdminError> {
        if order == QueueOrder::Retry {
            // An operator who retries may have repaired the DNS entry that was wrong.
            self.router.forget_all();
        }
        if let Selection::One(id) = &selection {
            self.spool.peek(*id).await?;
        }
        let (hit, ended) = match order {
            QueueOrder::Retry => (self.retry_selected(&selection).await?, Ok(())),
            QueueOrder::Hold | QueueOrder::Release | QueueOrder::Delete => {
                let (messages, ended) = self.apply_to_selection(order, &selection).await;
                (OrderResult { messages, untried: 0 }, ended)
            }
        };
        // Also when it ended in an error: what it did until then stays done.
        audit(order.as_str(), &selection_text(&selection), hit.messages, principal);
        ended.map(|()| hit)
    }

    /// Makes the messages of a selection due now.
    async fn retry_selected(&self, selection: &Selection) -> Result<OrderResult, AdminError> {
        if let Selection::All = selection {
            let (messages, _, held) = self.spool.totals().await?;
            return Ok(self.retry_wanted(messages, held, |_| true));
        }
        // One walk through the schedule for all of them.
        let (mut ids, mut pages) = (Vec::new(), self.pages(selection));
        while let Some(mut page) = self.next_page(&mut pages).await? {
            ids.append(&mut page);
        }
        ids.sort_unstable();
        Ok(self.retry(&ids))
    }

    /// Executes an order for a selection, page by page, until a page ends in an error. Gives how
    /// many messages were changed, also then.
    async fn apply_to_selection(
        &self,
        order: QueueOrder,
        selection: &Selection,
    ) -> (u64, Result<(), AdminError>) {
        let (mut hit, mut pages) = (0, self.pages(selection));
        loop {
            let page = match self.next_page(&mut pages).await {
                Ok(Some(page)) => page,
                Ok(None) => return (hit, Ok(())),
                Err(error) => return (hit, Err(error)),
            };
            let (messages, ended) = self.apply(order, &page).await;
            hit += messages;
            if ended.is_err() {
                return (hit, ended);
            }
        }
    }

    /// The messages that an order would change.
    pub(super) async fn preview(
        &self,
        order: QueueOrder,
        selection: Selection,
        patience: Duration,
    ) -> Result<Preview, AdminError> {
        let deadline = Instant::now() + patience;
        let (mut preview, mut pages) =
            (Preview { complete: true, ..Preview::default() }, self.pages(&selection));
        while let Some(page) = self.next_page(&mut pages).await? {
            let hit: Vec<MessageId> =
                page.into_iter().filter(|id| self.would_change(order, *id)).collect();
            preview.messages += hit.len() as u64;
            let room = Preview::SAMPLE - preview.sample.len();
            preview.sample.extend(hit.into_iter().take(room));
            if Instant::now() >= deadline {
                preview.complete = false;
                break;
            }
        }
        Ok(preview)
    }

    fn would_change(&self, order: QueueOrder, id: MessageId) -> bool {
        match order {
            QueueOrder::Retry | QueueOrder::Delete => self.spool.is_held(id).is_some(),
            QueueOrder::Hold => self.spool.is_held(id) == Some(false),
            QueueOrder::Release => self.spool.is_held(id) == Some(true),
        }
    }

    /// The messages of a selection that are in the queue now. Later mail is excluded; otherwise the
    /// order might never end.
    fn pages<'a>(&self, selection: &'a Selection) -> Pages<'a> {
        Pages { selection, after: None, end: self.spool.begin().id(), handed_out: 0 }
    }

    /// The next ids of a selection, each once; `None` after the last.
    async fn next_page(&self, pages: &mut Pages<'_>) -> Result<Option<Vec<MessageId>>, AdminError> {
        let wanted = match pages.selection {
            Selection::One(id) => return Ok(pages.hand_out_once(&[*id])),
            Selection::Some(ids) => return Ok(pages.hand_out_once(ids)),
            Selection::All => None,
            Selection::Domain(domain) => Some(Wanted::Domain(domain)),
            Selection::Matching(filter) => Some(Wanted::Filter(filter)),
        };
        let mut ids = self.spool.ids(pages.after, PAGE).await?;
        ids.retain(|id| *id < pages.end);
        let Some(last) = ids.last().copied() else { return Ok(None) };
        pages.after = Some(last);
        match wanted {
            Some(wanted) => Ok(Some(self.select_wanted(&wanted, &ids).await?)),
            None => Ok(Some(ids)),
        }
    }

    async fn select_wanted(
        &self,
        wanted: &Wanted<'_>,
        ids: &[MessageId],
    ) -> Result<Vec<MessageId>, AdminError> {
        match wanted {
            Wanted::Domain(domain) => {
                let messages = self.list_exact(ids).await?;
                Ok(messages
                    .iter()
                    .filter(|message| self.is_for(message, domain))
                    .map(|message| message.id)
                    .collect())
            }
            Wanted::Filter(filter) => {
                let passed = self.passing(filter, ids).await?;
                Ok(passed.into_iter().map(|(message, _)| message.id).collect())
            }
        }
    }

    /// Whether a message has a pending recipient in a domain, or for a destination of that name.
    fn is_for(&self, message: &Message, domain: &str) -> bool {
        let recipients = message.envelope.recipients.iter().zip(&message.progress);
        let mut pending =
            recipients.filter(|(_, progress)| progress.status == TargetStatus::Pending);
        pending.any(|(recipient, _)| recipient.domain_text().eq_ignore_ascii_case(domain))
            || self.destinations(message).keys().any(|destination| destination.has_name(domain))
    }

    /// Makes messages due now; `ids` in ascending order.
    fn retry(&self, ids: &[MessageId]) -> OrderResult {
        let held: Vec<bool> = ids.iter().filter_map(|id| self.spool.is_held(*id)).collect();
        let (messages, held) =
            (held.len() as u64, held.iter().filter(|held| **held).count() as u64);
        self.retry_wanted(messages, held, |id| ids.binary_search(&id).is_ok())
    }

    /// Makes the `wanted` messages due now, of which so many are in the queue and so many held.
    /// Gives how many are not attempted all the same.
    fn retry_wanted(
        &self,
        messages: u64,
        held: u64,
        wanted: impl Fn(MessageId) -> bool,
    ) -> OrderResult {
        let paused = match self.state.retry(wanted) {
            // One that was held during its attempt still has a job, and is counted already.
            Untried::Messages(ids) => {
                ids.iter().filter(|id| self.spool.is_held(**id) == Some(false)).count() as u64
            }
            Untried::Jobs(jobs) => jobs,
        };
        self.wake_dispatcher(self.state.must_wake(clock::steady()));
        OrderResult { messages, untried: (held + paused).min(messages) }
    }

    /// Executes an order for a page of messages, and gives how many it changed, also when it ended
    /// in an error; those that left the queue meanwhile do not count.
    async fn apply(&self, order: QueueOrder, ids: &[MessageId]) -> (u64, Result<(), AdminError>) {
        // One at a time: a hold that forgets waiting jobs must not forget what a release has just
        // planned.
        let _ordering = self.ordering.lock().await;
        // Read first: nothing may fail between the durable release and the planning, and a deleted
        // message cannot be read any more.
        let mut known = match self.read_needed(order, ids).await {
            Ok(known) => known,
            Err(error) => return (0, Err(error)),
        };
        let (obeyed, ended) = self.record(order, ids, &known).await;
        if order == QueueOrder::Delete {
            let deleted = obeyed.iter().filter_map(|id| known.get(id));
            deleted.for_each(|message| self.emit_deleted(message, Deletion::Deleted));
        }
        obeyed.iter().for_each(|id| self.emit_operator_action(order, *id));
        if order == QueueOrder::Release {
            for message in obeyed.iter().filter_map(|id| known.remove(id)) {
                let message = Message { held: false, ..message };
                self.decide_anew(&message);
                self.plan(&message, true);
            }
        } else {
            self.state.forget(&obeyed);
        }
        (obeyed.len() as u64, ended)
    }

    /// The messages of a page that an order must read before it is executed.
    async fn read_needed(
        &self,
        order: QueueOrder,
        ids: &[MessageId],
    ) -> Result<HashMap<MessageId, Message>, AdminError> {
        let mut messages = match order {
            QueueOrder::Release | QueueOrder::Delete => self.list_exact(ids).await?,
            QueueOrder::Hold | QueueOrder::Retry => Vec::new(),
        };
        messages.retain(|message| order == QueueOrder::Delete || message.held);
        Ok(messages.into_iter().map(|message| (message.id, message)).collect())
    }

    /// Writes the records of an order for the messages of a page. Gives which of them were changed,
    /// also when it ended in an error.
    async fn record(
        &self,
        order: QueueOrder,
        ids: &[MessageId],
        known: &HashMap<MessageId, Message>,
    ) -> (HashSet<MessageId>, Result<(), AdminError>) {
        // All at once: they share their syncs.
        let mut records = tokio::task::JoinSet::new();
        for id in ids.iter().copied() {
            let spool = self.spool.clone();
            match order {
                QueueOrder::Hold => {
                    drop(records.spawn(async move { (id, spool.hold(id, true).await) }))
                }
                QueueOrder::Release if known.contains_key(&id) => {
                    drop(records.spawn(async move { (id, spool.hold(id, false).await) }));
                }
                QueueOrder::Delete => {
                    drop(records.spawn(async move { (id, spool.delete(id).await) }))
                }
                QueueOrder::Release | QueueOrder::Retry => {}
            }
        }
        let (mut obeyed, mut trouble) = (HashSet::new(), None);
        while let Some(record) = records.join_next().await {
            match record {
                Ok((id, Ok(()))) => drop(obeyed.insert(id)),
                Ok((_, Err(SpoolError::Unknown))) => {}
                Ok((id, Err(error))) => {
                    // A record that was written, and whose sync failed, is written again: the order
                    // takes effect all the same.
                    if self.is_applied(order, id) {
                        obeyed.insert(id);
                    }
                    trouble = Some(error);
                }
                Err(_) => trouble = Some(SpoolError::Failed("the order was cut off".to_owned())),
            }
        }
        (obeyed, trouble.map_or(Ok(()), |error| Err(error.into())))
    }

    /// Whether the order has taken effect in the index.
    fn is_applied(&self, order: QueueOrder, id: MessageId) -> bool {
        let held = self.spool.is_held(id);
        match order {
            QueueOrder::Hold => held == Some(true),
            QueueOrder::Release => held == Some(false),
            QueueOrder::Delete => held.is_none(),
            QueueOrder::Retry => false,
        }
    }

    /// Removes a message from the queue that was moved elsewhere unchanged, and writes an audit
    /// line; the history has the mark of the move.
    pub(super) async fn move_out(
        &self,
        id: MessageId,
        version: u64,
        mark: &str,
        principal: &Principal,
    ) -> Result<(), AdminError> {
        // No release comes between the check and the end; and a held message that is not being
        // attempted begins no attempt.
        let _ordering = self.ordering.lock().await;
        if self.state.is_being_tried(id) {
            return Err(AdminError::Busy);
        }
        let message = self.spool.peek(id).await?;
        if !message.held {
            return Err(AdminError::Changed("it was released meanwhile, and stays in the queue"));
        }
        if message.version() != version {
            return Err(AdminError::Changed("it was tried meanwhile, and stays in the queue"));
        }
        let deleted = self.spool.delete(id).await;
        // Removed in spite of an error: its record was written, and is written again because the
        // sync failed.
        if deleted.is_ok() || self.spool.is_held(id).is_none() {
            self.emit_deleted(&message, Deletion::Moved(mark));
            self.emit_operator_action(QueueOrder::Delete, id);
            self.state.forget(&HashSet::from([id]));
            audit("move", &id.to_string(), 1, principal);
        }
        Ok(deleted?)
    }

    /// Logs the deletion: an accepted mail never disappears without a log line.
    fn emit_deleted(&self, message: &Message, deletion: Deletion<'_>) {
        self.events.emit(MailEvent::Deleted { message, deletion, at: clock::now() });
    }

    fn emit_operator_action(&self, order: QueueOrder, id: MessageId) {
        self.events.emit(match order {
            QueueOrder::Hold => MailEvent::Held(id),
            QueueOrder::Release => MailEvent::Released(id),
            QueueOrder::Delete => MailEvent::Removed { id, by_operator: true },
            QueueOrder::Retry => return,
        });
    }
}

/// The progress of a walk through a selection.
struct Pages<'a> {
    selection: &'a Selection,
    /// The last id that was checked.
    after: Option<MessageId>,
    /// Ids from here on were accepted later.
    end: MessageId,
    /// Of the named ids, how many were given out.
    handed_out: usize,
}

impl Pages<'_> {
    fn hand_out_once(&mut self, ids: &[MessageId]) -> Option<Vec<MessageId>> {
        let page: Vec<MessageId> = ids.iter().skip(self.handed_out).take(PAGE).copied().collect();
        self.handed_out += page.len();
        (!page.is_empty()).then_some(page)
    }
}

/// What must be read of a message to know whether an order applies to it.
enum Wanted<'a> {
    Domain(&'a str),
    Filter(&'a Filter),
}

/// The audit line: which user did what.
pub(super) fn audit(order: &str, selection: &str, hit: u64, principal: &Principal) {
    let from = principal
        .address
        .map_or_else(|| "the control socket".to_owned(), |address| address.to_string());
    tracing::info!(
        target: "mta", order, selection, messages = hit, by = principal.user, from,
        "operator action"
    );
}

fn selection_text(selection: &Selection) -> String {
    match selection {
        Selection::One(id) => id.to_string(),
        Selection::Some(ids) => format!(
            "{} ids from {}",
            ids.len(),
            ids.first().map(MessageId::to_string).unwrap_or_default()
        ),
        Selection::Domain(domain) => format!("domain {domain}"),
        Selection::Matching(filter) => format!("matching {filter}"),
        Selection::All => "all".to_owned(),
    }
}

//! The queue's interface with a list in memory: its second implementation, and as strict as the
//! first, except for power cuts.

use postern::mail::model::{Body, Message, MessageId, Target, TargetProgress, TargetStatus};
use postern::mail::spool::{
    Arrival, IncomingContent, PriorProgress, QueueEntry, Spool, SpoolError,
};
use std::collections::{BTreeMap, HashSet};
use std::sync::Mutex;

/// Where the volume fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Less than one percent is free.
    Full,
    /// Writes fail after so many octets of a mail.
    WriteAfter(u64),
    /// The sync fails.
    Sync,
}

/// Messages in memory, numbered from 1.
#[derive(Default)]
pub struct MemorySpool {
    trouble: Option<Trouble>,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    last: u64,
    messages: BTreeMap<MessageId, Message>,
}

impl Queue {
    fn note(&mut self, id: MessageId, progress: Vec<TargetProgress>) {
        let Some(message) = self.messages.get_mut(&id) else { return };
        for news in progress {
            for known in message.progress.iter_mut().filter(|known| known.target == news.target) {
                known.clone_from(&news);
            }
        }
    }

    fn ids(&self, after: Option<MessageId>, limit: usize) -> Vec<MessageId> {
        self.messages.keys().filter(|id| Some(**id) > after).take(limit).copied().collect()
    }
}

/// Content that is being received.
pub struct MemoryWriter {
    id: MessageId,
    content: Vec<u8>,
    trouble: Option<Trouble>,
}

impl MemorySpool {
    /// A volume with or without a fault.
    pub fn new(trouble: Option<Trouble>) -> Self {
        Self { trouble, queue: Mutex::default() }
    }

    /// Every message in the queue with its content, in order.
    pub fn messages(&self) -> Vec<(Message, Vec<u8>)> {
        let queue = self.queue.lock().unwrap();
        queue
            .messages
            .values()
            .map(|message| (message.clone(), message.body.head(usize::MAX).unwrap().to_vec()))
            .collect()
    }

    fn enter(&self, id: MessageId, entry: QueueEntry, body: Body) -> Result<Message, SpoolError> {
        if self.trouble == Some(Trouble::Sync) {
            return Err(SpoolError::Failed("Input/output error (EIO)".to_owned()));
        }
        let mut queue = self.queue.lock().unwrap();
        let recipients =
            0..u16::try_from(entry.envelope.recipients.len()).expect("recipients are limited");
        let targets = recipients.map(Target::Recipient).chain(entry.copy.then_some(Target::Copy));
        let message = Message {
            id,
            arrived: postern::ground::clock::now(),
            envelope: entry.envelope,
            origin: entry.origin,
            kind: entry.kind,
            progress: targets.map(TargetProgress::new).collect(),
            held: false,
            delay_warning_sent: false,
            body,
        };
        queue.messages.insert(id, message.clone());
        Ok(message)
    }
}

impl IncomingContent for MemoryWriter {
    fn id(&self) -> MessageId {
        self.id
    }

    async fn write(&mut self, piece: &[u8]) -> Result<(), SpoolError> {
        self.content.extend_from_slice(piece);
        match self.trouble {
            Some(Trouble::WriteAfter(limit)) if self.written() > limit => Err(SpoolError::Full),
            _ => Ok(()),
        }
    }

    fn written(&self) -> u64 {
        self.content.len() as u64
    }
}

impl Spool for MemorySpool {
    type Writer = MemoryWriter;

    fn ready(&self) -> Result<(), SpoolError> {
        if self.trouble == Some(Trouble::Full) { Err(SpoolError::Full) } else { Ok(()) }
    }

    fn begin(&self) -> MemoryWriter {
        let mut queue = self.queue.lock().unwrap();
        queue.last += 1;
        MemoryWriter { id: MessageId(queue.last), content: Vec::new(), trouble: self.trouble }
    }

    async fn commit(
        &self,
        entry: QueueEntry,
        content: MemoryWriter,
    ) -> Result<Message, SpoolError> {
        self.enter(content.id, entry, Body::Memory(content.content.into()))
    }

    async fn commit_within(
        &self,
        entry: QueueEntry,
        content: MemoryWriter,
        _: impl Future<Output = ()> + Send,
    ) -> Result<Message, SpoolError> {
        self.commit(entry, content).await
    }

    async fn import(
        &self,
        entry: QueueEntry,
        past: PriorProgress,
        content: MemoryWriter,
        _give_up: impl Future<Output = ()> + Send,
    ) -> Result<Message, SpoolError> {
        let message = self.enter(content.id, entry, Body::Memory(content.content.into()))?;
        let PriorProgress { arrived, progress, held, delay_warning_sent } = past;
        let message = Message { arrived, progress, held, delay_warning_sent, ..message };
        self.queue.lock().unwrap().messages.insert(message.id, message.clone());
        Ok(message)
    }

    async fn load(&self, id: MessageId) -> Result<Message, SpoolError> {
        self.queue.lock().unwrap().messages.get(&id).cloned().ok_or(SpoolError::Unknown)
    }

    fn complete(&self, id: MessageId, progress: Vec<TargetProgress>) {
        let pending = |target: &TargetProgress| target.status == TargetStatus::Pending;
        assert!(!progress.iter().any(pending), "{id} is not complete");
        self.queue.lock().unwrap().messages.remove(&id);
    }

    fn defer(&self, id: MessageId, progress: Vec<TargetProgress>) {
        self.queue.lock().unwrap().note(id, progress);
    }

    async fn claim(&self, id: MessageId) -> Result<Message, SpoolError> {
        self.load(id).await
    }

    async fn peek(&self, id: MessageId) -> Result<Message, SpoolError> {
        self.load(id).await
    }

    async fn peek_all(&self, ids: Vec<MessageId>) -> Result<Vec<Message>, SpoolError> {
        let queue = self.queue.lock().unwrap();
        Ok(ids.iter().filter_map(|id| queue.messages.get(id).cloned()).collect())
    }

    fn note_delay_warning_sent(&self, id: MessageId) {
        if let Some(message) = self.queue.lock().unwrap().messages.get_mut(&id) {
            message.delay_warning_sent = true;
        }
    }

    async fn hold(&self, id: MessageId, held: bool) -> Result<(), SpoolError> {
        let mut queue = self.queue.lock().unwrap();
        queue.messages.get_mut(&id).map(|message| message.held = held).ok_or(SpoolError::Unknown)
    }

    async fn delete(&self, id: MessageId) -> Result<(), SpoolError> {
        self.queue.lock().unwrap().messages.remove(&id).map(drop).ok_or(SpoolError::Unknown)
    }

    fn was_released(&self, _: MessageId) -> bool {
        false
    }

    fn is_held(&self, id: MessageId) -> Option<bool> {
        self.queue.lock().unwrap().messages.get(&id).map(|message| message.held)
    }

    fn backlog(&self) -> usize {
        0
    }

    async fn ids(
        &self,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<MessageId>, SpoolError> {
        Ok(self.queue.lock().unwrap().ids(after, limit))
    }

    async fn totals(&self) -> Result<(u64, u64, u64), SpoolError> {
        Ok(self.last_totals())
    }

    fn by_arrival(&self, after: Option<MessageId>, limit: usize) -> Vec<Arrival> {
        let ids = self.queue.lock().unwrap().ids(after, limit);
        ids.into_iter().map(|id| Arrival { moment: id, id }).collect()
    }

    fn oldest_of(&self, ids: &HashSet<MessageId>) -> Option<Arrival> {
        ids.iter().min().map(|id| Arrival { moment: *id, id: *id })
    }

    fn last_totals(&self) -> (u64, u64, u64) {
        let queue = self.queue.lock().unwrap();
        let octets = queue.messages.values().map(|message| message.body.len()).sum();
        (
            queue.messages.len() as u64,
            octets,
            queue.messages.values().filter(|message| message.held).count() as u64,
        )
    }
}

//! The queue on a data volume of its own: [`SegmentLog`].

use super::committer::Committer;
use super::config::SpoolConfig;
use super::content_writer::{ContentWriter, FileSlice, FinishedContent, blocking};
use super::counters::SpoolCounters;
use super::layout::body_path;
use super::message_reader::{MessageReader, ReadDepth, message};
use super::record::Op;
use super::record_heads::{AcceptHead, HoldFlag, StateHead};
use super::recover::{self, OpenError};
use super::segment_files::SegmentFiles;
use super::spool_state::{SpoolState, VolumeHealth};
use super::spool_trait::{Arrival, IncomingContent, PriorProgress, QueueEntry, Spool, SpoolError};
use crate::ground::clock;
use crate::ground::disk::Disk;
use crate::ground::lock::Lock;
use crate::ground::sync::thread::{self, JoinHandle};
use crate::mail::model::{Body, Message, MessageId, TargetProgress};
use bytes::Bytes;
use std::collections::HashSet;
use std::future::{Future, pending};
use std::pin::pin;
use std::sync::Arc;

/// The queue as segments on a [`Disk`].
pub struct SegmentLog {
    shared: Arc<SpoolState>,
    reader: Arc<MessageReader>,
    committer: Lock<Option<JoinHandle<bool>>>,
}

impl SegmentLog {
    /// Opens the queue on `disk`: reads every segment, quarantines damaged records, and starts the
    /// committer. `tell` receives the progress of a long recovery.
    ///
    /// # Errors
    /// [`OpenError`]: the volume cannot be read or written, or a later version has written it.
    pub fn open(
        disk: Arc<dyn Disk>,
        config: SpoolConfig,
        counters: Arc<SpoolCounters>,
        tell: &dyn Fn(String),
    ) -> Result<Self, OpenError> {
        let recovered = recover::recover(disk.as_ref(), tell)?;
        counters.corrupt_records_total.inc_by(recovered.damaged);
        counters.shortened_segments_total.inc_by(recovered.shortened);
        let config = config.for_volume_size(disk.space().map_err(OpenError::Disk)?.size);
        let shared = Arc::new(SpoolState::new(disk, counters, recovered.index, &config));
        let reader = Arc::new(MessageReader::new(shared.clone()));
        let files = SegmentFiles::new(shared.clone(), recovered.next_segment, recovered.spares);
        let committer = Committer::open(shared.clone(), reader.clone(), config, files)?;
        let committer = thread::Builder::new()
            .name("committer".to_owned())
            .spawn(move || committer.run())
            .map_err(OpenError::Disk)?;
        Ok(Self { shared, reader, committer: Lock::leaf(Some(committer)) })
    }

    /// Calls `tell` when the committer next takes operations.
    pub fn probe_committer(&self, tell: impl FnOnce() + Send + 'static) {
        self.shared.submit(Op::Turn(Box::new(tell)));
    }

    /// [`Spool::ids`] without waiting, because the index has them all.
    pub fn ids(&self, after: Option<MessageId>, limit: usize) -> Vec<MessageId> {
        self.shared.lock_index().ids(after, limit)
    }

    /// [`Spool::totals`] without waiting, because the index counts them.
    pub fn totals(&self) -> (u64, u64, u64) {
        self.shared.lock_index().totals()
    }

    /// Ends the committer. `true`: everything submitted before is written and synced. Blocks.
    pub fn close(&self) -> bool {
        self.shared.commit_queue.close();
        let committer = self.committer.lock().take();
        committer.is_none_or(|committer| committer.join().unwrap_or(false))
    }

    /// Writes a message into the queue: one from a client, or one that another queue accepted at
    /// the time `imported`.
    async fn enter(
        &self,
        entry: QueueEntry,
        content: ContentWriter,
        imported: Option<u32>,
        give_up: impl Future<Output = ()>,
    ) -> Result<Message, SpoolError> {
        if self.shared.health() == VolumeHealth::Failed {
            return self
                .ready()
                .and(Err(SpoolError::Failed("the data volume is recovering".to_owned())));
        }
        let id = content.id();
        let mut give_up = pin!(give_up);
        let finished = tokio::select! {
            biased;
            finished = content.finish() => finished?,
            () = &mut give_up => return Err(self.slow()),
        };
        let mut accepted = AcceptHead {
            id,
            arrived: imported.unwrap_or_else(clock::now),
            kind: entry.kind,
            copy: entry.copy,
            destinations: entry.destinations,
            imported: imported.is_some(),
            origin: entry.origin,
            envelope: entry.envelope,
            file: None,
        };
        let (bytes, body, crc, _loan) = match finished {
            FinishedContent::Inline(content, crc, loan) => {
                let content = Bytes::from(content);
                (content.clone(), Body::Memory(content), crc, loan)
            }
            FinishedContent::File(file, len, crc) => {
                accepted.file = Some((len, crc));
                (
                    Bytes::new(),
                    Body::Stored(Arc::new(FileSlice { file, offset: 0, len }), len),
                    0,
                    None,
                )
            }
        };
        let head = accepted.encode();
        let (size, file) = (body.len(), accepted.file.is_some());
        let accept = |reply| Op::Accept { id, head, bytes, crc, size, file, imported, reply };
        let Some(committed) = self.shared.commit_queue.ask_until(accept, give_up).await else {
            // The committer sees that no caller waits, and leaves nothing behind.
            return Err(self.slow());
        };
        if let Err(error) = committed {
            if file {
                self.shared.discard(&[body_path(id)]);
            }
            return Err(error);
        }
        let progress = accepted.targets();
        Ok(message(accepted, progress, false, false, body))
    }

    fn slow(&self) -> SpoolError {
        SpoolError::Slow(self.shared.disk.slow().unwrap_or_default().as_secs())
    }

    async fn read(&self, id: MessageId, depth: ReadDepth<'static>) -> Result<Message, SpoolError> {
        let reader = self.reader.clone();
        match blocking(move || Ok(reader.read(id, depth))).await {
            Ok(result) => result,
            Err(error) => Err(SpoolError::Failed(error.to_string())),
        }
    }
}

impl Drop for SegmentLog {
    fn drop(&mut self) {
        self.close();
    }
}

impl Spool for SegmentLog {
    type Writer = ContentWriter;

    fn ready(&self) -> Result<(), SpoolError> {
        match self.shared.health() {
            VolumeHealth::Well | VolumeHealth::Full if self.shared.disk.slow().is_some() => {
                Err(self.slow())
            }
            VolumeHealth::Well => Ok(()),
            VolumeHealth::Full => Err(SpoolError::Full),
            VolumeHealth::Failed => Err(SpoolError::Failed(self.shared.problem())),
        }
    }

    fn begin(&self) -> ContentWriter {
        ContentWriter::new(self.shared.clone(), self.shared.next_id())
    }

    async fn commit(
        &self,
        entry: QueueEntry,
        content: ContentWriter,
    ) -> Result<Message, SpoolError> {
        self.enter(entry, content, None, pending()).await
    }

    async fn commit_within(
        &self,
        entry: QueueEntry,
        content: ContentWriter,
        give_up: impl Future<Output = ()> + Send,
    ) -> Result<Message, SpoolError> {
        self.enter(entry, content, None, give_up).await
    }

    async fn import(
        &self,
        entry: QueueEntry,
        past: PriorProgress,
        content: ContentWriter,
        give_up: impl Future<Output = ()> + Send,
    ) -> Result<Message, SpoolError> {
        let mut give_up = pin!(give_up);
        let message = self.enter(entry, content, Some(past.arrived), give_up.as_mut()).await?;
        let PriorProgress { progress, held, delay_warning_sent, .. } = past;
        let flag = if held { HoldFlag::Held } else { HoldFlag::Free };
        let state = StateHead {
            id: message.id,
            held: flag,
            delay_warning_sent,
            progress: progress.clone(),
        };
        let taken =
            self.shared.commit_queue.ask_until(|reply| Op::Past { state, reply }, give_up).await;
        match taken.unwrap_or_else(|| Err(self.slow())) {
            Ok(()) => Ok(Message { progress, held, delay_warning_sent, ..message }),
            Err(error) => {
                // It does not count without its state, and a power cut may come before this record,
                // too. The state may become durable although no caller waits for it any more: this
                // record follows it.
                self.shared.commit_queue.submit(Op::Done { id: message.id, reply: None });
                Err(error)
            }
        }
    }

    /// The lock of the volume is the lease of every message on it.
    async fn claim(&self, id: MessageId) -> Result<Message, SpoolError> {
        self.load(id).await
    }

    async fn load(&self, id: MessageId) -> Result<Message, SpoolError> {
        self.read(id, ReadDepth::Whole).await
    }

    async fn peek(&self, id: MessageId) -> Result<Message, SpoolError> {
        self.read(id, ReadDepth::Records).await
    }

    async fn peek_all(&self, ids: Vec<MessageId>) -> Result<Vec<Message>, SpoolError> {
        let reader = self.reader.clone();
        let read = blocking(move || {
            let mut messages = Vec::with_capacity(ids.len());
            let segments_of_many = reader.segments_of_many(&ids);
            for id in ids {
                match reader.read(id, ReadDepth::Glance(&segments_of_many)) {
                    Ok(message) => messages.push(message),
                    Err(SpoolError::Unknown | SpoolError::Damaged) => {}
                    Err(error) => return Ok(Err(error)),
                }
            }
            Ok(Ok(messages))
        });
        read.await.unwrap_or_else(|error| Err(SpoolError::Failed(error.to_string())))
    }

    fn complete(&self, id: MessageId, progress: Vec<TargetProgress>) {
        // Until the committer has processed it, the index has the message's old state: a reader
        // must not take it for pending and send it again.
        self.shared.recent.note(id, progress);
        self.shared.submit(Op::Done { id, reply: None });
    }

    fn defer(&self, id: MessageId, progress: Vec<TargetProgress>) {
        let generation = self.shared.recent.note(id, progress.clone());
        self.shared.submit(Op::State { id, progress, generation });
    }

    fn note_delay_warning_sent(&self, id: MessageId) {
        self.shared.submit(Op::Flags {
            id,
            held: None,
            delay_warning_sent: Some(true),
            reply: None,
        });
    }

    async fn hold(&self, id: MessageId, held: bool) -> Result<(), SpoolError> {
        self.shared
            .commit_queue
            .ask(|reply| Op::Flags {
                id,
                held: Some(HoldFlag::new(held)),
                delay_warning_sent: None,
                reply: Some(reply),
            })
            .await
    }

    async fn delete(&self, id: MessageId) -> Result<(), SpoolError> {
        self.shared.commit_queue.ask(|reply| Op::Done { id, reply: Some(reply) }).await
    }

    fn is_held(&self, id: MessageId) -> Option<bool> {
        self.shared.lock_index().get(id).map(|slot| slot.held.is_held())
    }

    fn was_released(&self, id: MessageId) -> bool {
        self.shared.lock_index().get(id).is_some_and(|slot| slot.held == HoldFlag::Released)
    }

    fn backlog(&self) -> usize {
        self.shared.commit_queue.len()
    }

    async fn ids(
        &self,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<MessageId>, SpoolError> {
        Ok(Self::ids(self, after, limit))
    }

    async fn totals(&self) -> Result<(u64, u64, u64), SpoolError> {
        Ok(Self::totals(self))
    }

    fn last_totals(&self) -> (u64, u64, u64) {
        Self::totals(self)
    }

    fn by_arrival(&self, after: Option<MessageId>, limit: usize) -> Vec<Arrival> {
        self.shared.lock_index().by_arrival(after, limit)
    }

    fn oldest_of(&self, ids: &HashSet<MessageId>) -> Option<Arrival> {
        self.shared.lock_index().oldest_of(ids)
    }
}

//! The queue on a data volume of its own: the door, and what it shares with the committer.

use super::committer::Committer;
use super::content::{ContentWriter, Finished, Stretch, blocking, path};
use super::format::{Accepted, FRAME_HEADER, FrameHeader, SegmentHeader, State};
use super::index::{Index, Place, Slot};
use super::record::Op;
use super::recover::{self, OpenError};
use super::{Entry, Spool, SpoolError, Writer};
use crate::appliance::counter::Counters;
use crate::ground::clock;
use crate::ground::disk::{self, Disk, File};
use crate::mail::model::{Body, Message, MessageId, Progress, Status};
use bytes::Bytes;
use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;

/// How the log is cut and paced.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// Octets of a segment, at most; a small volume gets smaller ones.
    pub segment_max: u64,
    /// How long a record that nobody waits for may stay unsynced.
    pub lazy_sync: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { segment_max: 16 << 20, lazy_sync: Duration::from_millis(50) }
    }
}

/// The queue as segments on a [`Disk`].
pub struct SegmentLog {
    shared: Arc<Shared>,
    committer: Mutex<Option<JoinHandle<()>>>,
}

/// What the door, the writers and the committer have in common.
pub struct Shared {
    pub disk: Arc<dyn Disk>,
    pub counters: Arc<Counters>,
    pub index: Mutex<Index>,
    pub pending: Mutex<Pending>,
    pub bell: Condvar,
    health: AtomicU8,
    complaint: Mutex<String>,
    last_id: AtomicU64,
    /// Progress that was handed in and is not written yet; whoever reads a message must see it.
    recent: Mutex<HashMap<MessageId, Recent>>,
}

struct Recent {
    generation: u64,
    progress: Vec<Progress>,
}

/// Records that wait for the committer.
#[derive(Default)]
pub struct Pending {
    pub ops: Vec<Op>,
    pub stop: bool,
}

/// How the data volume is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Health {
    Well = 0,
    Full = 1,
    Failed = 2,
}

impl SegmentLog {
    /// Opens the queue on `disk`: reads every segment, sets damaged records aside, and starts the committer. `tell` hears the
    /// progress of a long recovery.
    ///
    /// # Errors
    /// [`OpenError`]: the volume cannot be read or written, or a later version has written it.
    pub fn open(
        disk: Arc<dyn Disk>,
        config: Config,
        counters: Arc<Counters>,
        tell: &dyn Fn(String),
    ) -> Result<Self, OpenError> {
        let recovered = recover::recover(disk.as_ref(), tell)?;
        counters.corrupt_records_total.inc_by(recovered.damaged);
        let shared = Arc::new(Shared {
            disk,
            counters,
            last_id: AtomicU64::new(recovered.index.last_id()),
            index: Mutex::new(recovered.index),
            pending: Mutex::default(),
            bell: Condvar::new(),
            health: AtomicU8::new(Health::Well as u8),
            complaint: Mutex::default(),
            recent: Mutex::default(),
        });
        let committer = Committer::open(shared.clone(), config, recovered.next_segment, recovered.spares)?;
        let committer =
            std::thread::Builder::new().name("committer".to_owned()).spawn(move || committer.run()).map_err(OpenError::Disk)?;
        Ok(Self { shared, committer: Mutex::new(Some(committer)) })
    }

    /// Ends the committer; everything handed in before is then written and synced. Blocks.
    pub fn close(&self) {
        self.shared.lock_pending().stop = true;
        self.shared.bell.notify_one();
        if let Some(committer) = lock(&self.committer).take()
            && committer.join().is_err()
        {
            tracing::error!(target: "mta", "the committer ended badly; a restart recovers the queue");
        }
    }

    async fn ask(&self, op: impl FnOnce(oneshot::Sender<Result<(), SpoolError>>) -> Op) -> Result<(), SpoolError> {
        let (reply, answer) = oneshot::channel();
        self.shared.submit(op(reply));
        answer.await.unwrap_or_else(|_| Err(SpoolError::Failed("the queue is closing".to_owned())))
    }

    async fn read(&self, id: MessageId, check: bool) -> Result<Message, SpoolError> {
        let shared = self.shared.clone();
        match blocking(move || Ok(shared.read(id, check))).await {
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
            Health::Well => Ok(()),
            Health::Full => Err(SpoolError::Full),
            Health::Failed => Err(SpoolError::Failed(lock(&self.shared.complaint).clone())),
        }
    }

    fn begin(&self) -> ContentWriter {
        ContentWriter::new(self.shared.clone(), self.shared.next_id())
    }

    async fn commit(&self, entry: Entry, content: ContentWriter) -> Result<Message, SpoolError> {
        if self.shared.health() == Health::Failed {
            return self.ready().and(Err(SpoolError::Failed("the data volume is recovering".to_owned())));
        }
        let id = content.id();
        let finished = content.finish().await?;
        let mut accepted = Accepted {
            id,
            arrived: clock::now(),
            kind: entry.kind,
            copy: entry.copy,
            origin: entry.origin,
            envelope: entry.envelope,
            file: None,
        };
        let (bytes, body, crc) = match finished {
            Finished::Inline(content, crc) => {
                let content = Bytes::from(content);
                (content.clone(), Body::Memory(content), crc)
            }
            Finished::File(file, len, crc) => {
                accepted.file = Some((len, crc));
                (Bytes::new(), Body::Stored(Arc::new(Stretch { file, offset: 0, len }), len), 0)
            }
        };
        let head = accepted.encode();
        let (size, file) = (body.len(), accepted.file.is_some());
        let committed = self.ask(|reply| Op::Accept { id, head, bytes, crc, size, file, reply }).await;
        if let Err(error) = committed {
            if file {
                self.shared.discard(&[path(id)]);
            }
            return Err(error);
        }
        let progress = accepted.targets();
        Ok(message(accepted, progress, false, false, body))
    }

    async fn load(&self, id: MessageId) -> Result<Message, SpoolError> {
        self.read(id, true).await
    }

    async fn peek(&self, id: MessageId) -> Result<Message, SpoolError> {
        self.read(id, false).await
    }

    fn settle(&self, id: MessageId, progress: Vec<Progress>) {
        let done = progress.iter().all(|target| target.status != Status::Pending);
        if done {
            return self.shared.submit(Op::Done { id, reply: None });
        }
        let generation = self.shared.remember(id, progress.clone());
        self.shared.submit(Op::State { id, progress, generation });
    }

    fn delay_told(&self, id: MessageId) {
        self.shared.submit(Op::Flags { id, held: None, delay_told: Some(true), reply: None });
    }

    async fn hold(&self, id: MessageId, held: bool) -> Result<(), SpoolError> {
        self.ask(|reply| Op::Flags { id, held: Some(held), delay_told: None, reply: Some(reply) }).await
    }

    async fn delete(&self, id: MessageId) -> Result<(), SpoolError> {
        self.ask(|reply| Op::Done { id, reply: Some(reply) }).await
    }

    fn ids(&self, after: Option<MessageId>, limit: usize) -> Vec<MessageId> {
        self.shared.lock_index().ids(after, limit)
    }

    fn totals(&self) -> (u64, u64, u64) {
        self.shared.lock_index().totals()
    }
}

impl Shared {
    /// Hands a record to the committer.
    pub fn submit(&self, op: Op) {
        let mut pending = self.lock_pending();
        if pending.stop {
            // Whoever waits for the answer hears that the queue is closing.
            return;
        }
        let first = pending.ops.is_empty();
        pending.ops.push(op);
        drop(pending);
        if first {
            self.bell.notify_one();
        }
    }

    /// Notes progress that is on its way to the disk.
    fn remember(&self, id: MessageId, progress: Vec<Progress>) -> u64 {
        let mut recent = lock(&self.recent);
        let entry = recent.entry(id).or_insert(Recent { generation: 0, progress: Vec::new() });
        entry.generation += 1;
        entry.progress = progress;
        entry.generation
    }

    /// The progress of this generation stands on the disk, or the message is gone.
    pub fn written(&self, id: MessageId, generation: u64) {
        let mut recent = lock(&self.recent);
        if recent.get(&id).is_some_and(|recent| recent.generation == generation) {
            recent.remove(&id);
        }
    }

    /// Files that nobody needs; removed by the committer in passing.
    pub fn discard(&self, paths: &[String]) {
        self.submit(Op::Discard(paths.to_vec()));
    }

    pub fn lock_index(&self) -> MutexGuard<'_, Index> {
        lock(&self.index)
    }

    pub fn lock_pending(&self) -> MutexGuard<'_, Pending> {
        lock(&self.pending)
    }

    pub fn health(&self) -> Health {
        match self.health.load(Ordering::Relaxed) {
            0 => Health::Well,
            1 => Health::Full,
            _ => Health::Failed,
        }
    }

    /// Notes how the volume is, and says so once at each change.
    pub fn set_health(&self, health: Health, complaint: &str) {
        if self.health.swap(health as u8, Ordering::Relaxed) == health as u8 {
            return;
        }
        complaint.clone_into(&mut lock(&self.complaint));
        match health {
            Health::Well => tracing::info!(target: "mta", "the data volume is well again; mail is accepted"),
            Health::Full => {
                tracing::error!(target: "mta", cause = complaint, "the data volume is full; new mail is answered 452")
            }
            Health::Failed => {
                tracing::error!(target: "mta", cause = complaint, "the data volume fails; new mail is answered 452 until it is well");
            }
        }
    }

    /// The error for a caller. A content file that cannot be written does not make the volume unwell: the committer decides
    /// that by its own writes.
    pub fn unwell(&self, error: &io::Error) -> SpoolError {
        if disk::is_full(error) { SpoolError::Full } else { SpoolError::Failed(error.to_string()) }
    }

    /// Unique and rising, also across restarts as long as the clock is not set back below the last message in the queue.
    fn next_id(&self) -> MessageId {
        let now = clock::now_micros();
        let next = |last: u64| Some(now.max(last + 1));
        let last = self.last_id.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).unwrap_or(now);
        MessageId(now.max(last + 1))
    }

    /// Reads a message back. The index is asked again when the frame is not what it promised: the record may have been copied
    /// forward meanwhile.
    fn read(&self, id: MessageId, check: bool) -> Result<Message, SpoolError> {
        let mut seen: Option<Slot> = None;
        loop {
            // Before the index: progress leaves this list only when the index knows where it stands.
            let recent = lock(&self.recent).get(&id).map(|recent| recent.progress.clone());
            let Some((slot, accept, state)) = self.look_up(id) else { return Err(SpoolError::Unknown) };
            match self.read_slot(id, slot, &accept, state.as_ref(), check) {
                Ok(Some(message)) => {
                    return Ok(match recent {
                        Some(progress) => Message { progress, ..message },
                        None => message,
                    });
                }
                Ok(None) if seen == Some(slot) => {
                    self.submit(Op::Damaged { id });
                    return Err(SpoolError::Unknown);
                }
                Ok(None) => seen = Some(slot),
                Err(error) => return Err(SpoolError::Failed(error.to_string())),
            }
        }
    }

    fn look_up(&self, id: MessageId) -> Option<(Slot, OpenSegment, Option<OpenSegment>)> {
        let index = self.lock_index();
        let slot = *index.get(id)?;
        let accept = index.file(slot.accept.segment)?;
        let state = match slot.state {
            Some(place) => Some(index.file(place.segment)?),
            None => None,
        };
        Some((slot, accept, state))
    }

    /// `None`: the disk does not hold what the index says.
    fn read_slot(
        &self,
        id: MessageId,
        slot: Slot,
        accept: &OpenSegment,
        state: Option<&OpenSegment>,
        check: bool,
    ) -> io::Result<Option<Message>> {
        let Some((header, head)) = read_head(accept, slot.accept)? else { return Ok(None) };
        let Some(accepted) = Accepted::decode(&head).filter(|accepted| accepted.id == id) else { return Ok(None) };
        let progress = match (slot.state, state) {
            (Some(place), Some(segment)) => {
                let Some((_, head)) = read_head(segment, place)? else { return Ok(None) };
                let Some(state) = State::decode(&head).filter(|state| state.id == id) else { return Ok(None) };
                state.progress
            }
            _ => accepted.targets(),
        };
        let body = match accepted.file {
            Some((len, crc)) => {
                let file = match self.disk.open(&path(id)) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                    other => other?,
                };
                let content = Stretch { file, offset: 0, len };
                if check && !matches(&content, crc)? {
                    return Ok(None);
                }
                Body::Stored(Arc::new(content), len)
            }
            None => {
                let offset = u64::from(slot.accept.offset) + (FRAME_HEADER + head.len()) as u64;
                let len = u64::from(header.body_len);
                let content = Stretch { file: accept.1.clone(), offset, len };
                if check {
                    let mut bytes = vec![0; header.body_len as usize];
                    let got = content.file.read_at(offset, &mut bytes)?;
                    if got != bytes.len() || crc32fast::hash(&bytes) != header.body_crc {
                        return Ok(None);
                    }
                    Body::Memory(bytes.into())
                } else {
                    Body::Stored(Arc::new(content), len)
                }
            }
        };
        Ok(Some(message(accepted, progress, slot.held, slot.delay_told, body)))
    }
}

/// A segment's identity and its open file.
pub type OpenSegment = (SegmentHeader, Arc<dyn File>);

/// Reads a frame's header and head; `None` when they are damaged.
pub fn read_head(segment: &OpenSegment, place: Place) -> io::Result<Option<(FrameHeader, Vec<u8>)>> {
    const FIRST: usize = 1024;
    let mut bytes = vec![0; FIRST];
    let offset = u64::from(place.offset);
    let got = segment.1.read_at(offset, &mut bytes)?;
    bytes.truncate(got);
    let Some(header) = FrameHeader::decode(segment.0, &bytes) else { return Ok(None) };
    let end = FRAME_HEADER + header.head_len as usize;
    if bytes.len() < end {
        bytes.resize(end, 0);
        if segment.1.read_at(offset, &mut bytes)? != end {
            return Ok(None);
        }
    }
    bytes.truncate(end);
    bytes.drain(..FRAME_HEADER);
    Ok((crc32fast::hash(&bytes) == header.head_crc).then_some((header, bytes)))
}

/// Whether content has the checksum that it was stored with.
fn matches(content: &Stretch, crc: u32) -> io::Result<bool> {
    let mut hasher = crc32fast::Hasher::new();
    let mut buffer = vec![0; 64 * 1024];
    let mut offset = 0;
    while offset < content.len {
        let wanted = buffer.len().min(usize::try_from(content.len - offset).unwrap_or(usize::MAX));
        let got = content.file.read_at(content.offset + offset, &mut buffer[..wanted])?;
        if got == 0 {
            return Ok(false);
        }
        hasher.update(&buffer[..got]);
        offset += got as u64;
    }
    Ok(hasher.finalize() == crc)
}

fn message(accepted: Accepted, progress: Vec<Progress>, held: bool, delay_told: bool, body: Body) -> Message {
    Message {
        id: accepted.id,
        arrived: accepted.arrived,
        envelope: accepted.envelope,
        origin: accepted.origin,
        kind: accepted.kind,
        progress,
        held,
        delay_told,
        body,
    }
}

/// A panic elsewhere leaves the data behind a lock as whole as it was: all changes under these locks are single steps.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

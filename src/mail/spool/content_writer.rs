//! Content on its way to the disk, and read back.

use super::layout::{BODY, body_path, part_path};
use super::spool_state::SpoolState;
use super::spool_trait::{IncomingContent, SpoolError};
use crate::ground::disk::File;
use crate::ground::sync::atomic::{AtomicBool, Ordering};
use crate::mail::model::{MessageId, StoredContent};
use crc32fast::Hasher;
use std::io;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// Octets of stored content that a reader gets in memory; longer content is read in pieces.
pub const WHOLE_MAX: usize = 64 * 1024;

/// A file is written in pieces of this size if that much memory can be borrowed.
pub const PIECE: usize = 64 * 1024;

/// Takes content in pieces. At most [`INLINE_MAX`](super::INLINE_MAX) octets wait in memory,
/// whatever the length.
pub struct ContentWriter {
    shared: Arc<SpoolState>,
    id: MessageId,
    buffer: Vec<u8>,
    loan: BorrowedMemory,
    crc: Hasher,
    written: u64,
    spilled: Option<Spilled>,
}

/// Octets of [`BUFFER_SHARED`](super::BUFFER_SHARED), returned when it is dropped.
pub type BorrowedMemory = Option<OwnedSemaphorePermit>;

struct Spilled {
    file: Arc<dyn File>,
    len: u64,
}

/// Content that is complete.
pub enum FinishedContent {
    /// Short: in memory, with its checksum and the memory borrowed for it.
    Inline(Vec<u8>, u32, BorrowedMemory),
    /// Long: in its own file, durable under its final name, with length and checksum.
    File(Arc<dyn File>, u64, u32),
}

impl ContentWriter {
    pub(super) fn new(shared: Arc<SpoolState>, id: MessageId) -> Self {
        Self {
            shared,
            id,
            buffer: Vec::new(),
            loan: None,
            crc: Hasher::new(),
            written: 0,
            spilled: None,
        }
    }

    /// Completes the content. A file is synced, renamed, and its directory synced.
    pub(super) async fn finish(mut self) -> Result<FinishedContent, SpoolError> {
        let crc = std::mem::take(&mut self.crc).finalize();
        if self.spilled.is_none() {
            return Ok(FinishedContent::Inline(
                std::mem::take(&mut self.buffer),
                crc,
                self.loan.take(),
            ));
        }
        self.flush().await?;
        let Some(Spilled { file, len }) = &self.spilled else {
            return Err(SpoolError::Failed("the content file is gone".to_owned()));
        };
        let (file, len) = (file.clone(), *len);
        let (shared, id, synced) = (self.shared.clone(), self.id, file.clone());
        // The caller may give up meanwhile, and the file may be discarded before it has its name.
        let waits = Abandoned::default();
        let given_up = waits.0.clone();
        let made_durable = blocking(move || {
            let done = synced.sync().and_then(|()| {
                shared.disk.rename(&part_path(id), &body_path(id))?;
                shared.disk.sync_dir(BODY)
            });
            if given_up.load(Ordering::SeqCst) {
                shared.discard(&[part_path(id), body_path(id)]);
            }
            done
        })
        .await;
        drop(waits);
        made_durable.map_err(|error| self.shared.storage_error(&error))?;
        self.spilled = None;
        Ok(FinishedContent::File(file, len, crc))
    }

    /// Whether so many more octets may wait in memory; borrows for them if possible.
    fn has_room_for(&mut self, more: usize) -> bool {
        let wanted = self.buffer.len() + more;
        let borrowed = self.loan.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let Some(missing) =
            wanted.checked_sub(self.shared.buffer_own + borrowed).filter(|missing| *missing > 0)
        else {
            return true;
        };
        // Once a file is begun, all the rest goes there.
        if wanted > if self.spilled.is_some() { PIECE } else { self.shared.inline_max } {
            return false;
        }
        let step =
            u32::try_from(missing.next_multiple_of(self.shared.buffer_own)).unwrap_or(u32::MAX);
        match (self.shared.buffer_shared.clone().try_acquire_many_owned(step), &mut self.loan) {
            (Ok(more), Some(loan)) => loan.merge(more),
            (Ok(first), loan) => *loan = Some(first),
            (Err(_), _) => return false,
        }
        true
    }

    /// Writes what waits in memory to the content file.
    async fn flush(&mut self) -> Result<(), SpoolError> {
        let (file, offset) = match &self.spilled {
            Some(spilled) => (spilled.file.clone(), spilled.len),
            None => {
                let (shared, id) = (self.shared.clone(), self.id);
                let file = blocking(move || shared.disk.create(&part_path(id)))
                    .await
                    .map_err(|error| self.shared.storage_error(&error))?;
                self.spilled = Some(Spilled { file: file.clone(), len: 0 });
                (file, 0)
            }
        };
        let buffer = std::mem::take(&mut self.buffer);
        let written = buffer.len() as u64;
        self.buffer = blocking(move || file.write_at(offset, &buffer).map(|()| buffer))
            .await
            .map_err(|error| self.shared.storage_error(&error))?;
        self.buffer.clear();
        self.buffer.shrink_to(self.shared.buffer_own);
        self.loan = None;
        if let Some(spilled) = &mut self.spilled {
            spilled.len += written;
        }
        Ok(())
    }

    /// The file will not be used; if it cannot be removed, the next start does it.
    fn discard_file(&self) {
        let (shared, id) = (self.shared.clone(), self.id);
        shared.discard(&[part_path(id), body_path(id)]);
    }
}

/// Set when it is dropped: no caller waits for the content any more.
#[derive(Default)]
struct Abandoned(Arc<AtomicBool>);

impl Drop for Abandoned {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl IncomingContent for ContentWriter {
    fn id(&self) -> MessageId {
        self.id
    }

    async fn write(&mut self, mut piece: &[u8]) -> Result<(), SpoolError> {
        self.crc.update(piece);
        self.written += piece.len() as u64;
        while !self.has_room_for(piece.len()) {
            let (fits, rest) = piece.split_at(
                self.shared.buffer_own.saturating_sub(self.buffer.len()).min(piece.len()),
            );
            self.buffer.extend_from_slice(fits);
            piece = rest;
            self.flush().await?;
        }
        self.buffer.extend_from_slice(piece);
        Ok(())
    }

    fn written(&self) -> u64 {
        self.written
    }
}

impl Drop for ContentWriter {
    fn drop(&mut self) {
        if self.spilled.is_some() {
            self.discard_file();
        }
    }
}

/// A range of a file: the content of a message that is read in pieces.
pub struct FileSlice {
    /// The segment or content file; it stays readable while this exists, even after it was removed.
    /// A recycled segment is not written to while a stretch of it is held: see `segment_files`.
    pub file: Arc<dyn File>,
    /// Where the content starts.
    pub offset: u64,
    /// The content's length.
    pub len: u64,
}

impl StoredContent for FileSlice {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        self.file.read_at(self.offset + offset, &mut buffer[..wanted])
    }
}

/// Runs disk work on a thread that may block.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err(io::Error::other("the disk work was cut off by the end of the process")),
    }
}

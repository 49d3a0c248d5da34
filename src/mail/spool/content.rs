//! Content on its way to the disk, and back.

use super::layout::{BODY, body_path, part_path};
use super::shared::Shared;
use super::{SpoolError, Writer};
use crate::ground::disk::File;
use crate::mail::model::{Content, MessageId};
use crc32fast::Hasher;
use std::io;
use std::sync::Arc;

/// Content up to this many octets lives in the segment, beside its envelope; longer content gets a file of its own.
pub const INLINE_MAX: usize = 64 * 1024;

/// Takes content piece by piece. Up to [`INLINE_MAX`] octets wait in memory, whatever the length.
pub struct ContentWriter {
    shared: Arc<Shared>,
    id: MessageId,
    buffer: Vec<u8>,
    crc: Hasher,
    written: u64,
    spilled: Option<Spilled>,
}

struct Spilled {
    file: Arc<dyn File>,
    len: u64,
}

/// Content that has come to its end.
pub enum Finished {
    /// Short: in memory, with its checksum.
    Inline(Vec<u8>, u32),
    /// Long: in its own file, durable under its final name, with length and checksum.
    File(Arc<dyn File>, u64, u32),
}

impl ContentWriter {
    pub(super) fn new(shared: Arc<Shared>, id: MessageId) -> Self {
        Self { shared, id, buffer: Vec::new(), crc: Hasher::new(), written: 0, spilled: None }
    }

    /// The end of the content. A file is synced, renamed, and its directory synced.
    pub(super) async fn finish(mut self) -> Result<Finished, SpoolError> {
        let crc = std::mem::take(&mut self.crc).finalize();
        if self.spilled.is_none() {
            return Ok(Finished::Inline(std::mem::take(&mut self.buffer), crc));
        }
        self.flush().await?;
        let Some(Spilled { file, len }) = self.spilled.take() else {
            return Err(SpoolError::Failed("the content file is gone".to_owned()));
        };
        let (shared, id, synced) = (self.shared.clone(), self.id, file.clone());
        let made_durable = blocking(move || {
            synced.sync()?;
            shared.disk.rename(&part_path(id), &body_path(id))?;
            shared.disk.sync_dir(BODY)
        })
        .await;
        match made_durable {
            Ok(()) => Ok(Finished::File(file, len, crc)),
            Err(error) => {
                self.discard_file();
                Err(self.shared.unwell(&error))
            }
        }
    }

    /// Hands what waits in memory to the content file.
    async fn flush(&mut self) -> Result<(), SpoolError> {
        let (file, offset) = match &self.spilled {
            Some(spilled) => (spilled.file.clone(), spilled.len),
            None => {
                let (shared, id) = (self.shared.clone(), self.id);
                let file =
                    blocking(move || shared.disk.create(&part_path(id))).await.map_err(|error| self.shared.unwell(&error))?;
                self.spilled = Some(Spilled { file: file.clone(), len: 0 });
                (file, 0)
            }
        };
        let buffer = std::mem::take(&mut self.buffer);
        let written = buffer.len() as u64;
        self.buffer = blocking(move || file.write_at(offset, &buffer).map(|()| buffer))
            .await
            .map_err(|error| self.shared.unwell(&error))?;
        self.buffer.clear();
        if let Some(spilled) = &mut self.spilled {
            spilled.len += written;
        }
        Ok(())
    }

    /// Nobody will ask for the file again; a failure leaves it to the next start.
    fn discard_file(&self) {
        let (shared, id) = (self.shared.clone(), self.id);
        shared.discard(&[part_path(id), body_path(id)]);
    }
}

impl Writer for ContentWriter {
    fn id(&self) -> MessageId {
        self.id
    }

    async fn write(&mut self, mut piece: &[u8]) -> Result<(), SpoolError> {
        self.crc.update(piece);
        self.written += piece.len() as u64;
        while self.buffer.len() + piece.len() > INLINE_MAX {
            let (fits, rest) = piece.split_at(INLINE_MAX - self.buffer.len());
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

/// A stretch of a file, as the content of a message that is read piece by piece.
pub struct Stretch {
    /// The segment or content file; it stays readable while this lives, even after it was removed. A recycled segment is never
    /// written to while a stretch of it is held: see `housekeeping`.
    pub file: Arc<dyn File>,
    /// Where the content starts.
    pub offset: u64,
    /// Its length.
    pub len: u64,
}

impl Content for Stretch {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        self.file.read_at(self.offset + offset, &mut buffer[..wanted])
    }
}

/// Runs disk work where it may block.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err(io::Error::other("the disk work was cut off by the end of the process")),
    }
}

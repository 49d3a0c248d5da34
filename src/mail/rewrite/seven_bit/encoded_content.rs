//! Stored content in its 7-bit form, converted while it is read.

use super::analysis::EncodingPlan;
use super::mime_walker::Walker;
use super::part_writer::PartWriter;
use crate::ground::lock::{Level, Lock};
use crate::mail::model::StoredContent;
use std::io;
use std::sync::Arc;

/// Octets of stored content that are read at a time.
const READ: usize = 64 * 1024;

/// The converted content. Reading from start to end is cheap; going back begins again from the
/// start.
pub(super) struct View {
    original: Arc<dyn StoredContent>,
    original_len: u64,
    plan: Arc<EncodingPlan>,
    len: u64,
    place: Lock<Place>,
}

/// How far it has been read.
struct Place {
    /// Octets of the original that have been taken.
    taken: u64,
    /// `None` after the end.
    walker: Option<Walker<PartWriter>>,
    /// Converted octets that were not read yet, and their offset.
    ready: Vec<u8>,
    offset: u64,
}

impl View {
    /// Reads the content once, to determine its length.
    ///
    /// # Errors
    /// As [`StoredContent::read_at`].
    pub fn new(
        original: Arc<dyn StoredContent>,
        original_len: u64,
        plan: Arc<EncodingPlan>,
    ) -> io::Result<Self> {
        let mut view = Self {
            original,
            original_len,
            len: 0,
            place: Lock::new(Level::Outer, Place::start(&plan)),
            plan,
        };
        let mut place = Place::start(&view.plan);
        while view.advance(&mut place)? {
            place.offset += place.ready.len() as u64;
            place.ready.clear();
        }
        view.len = place.offset + place.ready.len() as u64;
        Ok(view)
    }

    /// Length in octets.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Reads one more piece of the original; false at the end.
    fn advance(&self, place: &mut Place) -> io::Result<bool> {
        let Some(walker) = &mut place.walker else { return Ok(false) };
        let left = self.original_len - place.taken;
        if left == 0 {
            if let Some(walker) = place.walker.take() {
                place.ready.append(walker.finish().out());
            }
            return Ok(true);
        }
        let mut piece = vec![0; usize::try_from(left).unwrap_or(READ).min(READ)];
        read_exactly(self.original.as_ref(), place.taken, &mut piece)?;
        place.taken += piece.len() as u64;
        walker.feed(&piece);
        place.ready.append(walker.listener().out());
        Ok(true)
    }
}

impl Place {
    fn start(plan: &Arc<EncodingPlan>) -> Self {
        Self {
            taken: 0,
            walker: Some(Walker::new(PartWriter::new(plan.clone()))),
            ready: Vec::new(),
            offset: 0,
        }
    }
}

impl StoredContent for View {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut place = self.place.lock();
        if offset < place.offset {
            *place = Place::start(&self.plan);
        }
        loop {
            // The octets before it are not needed any more.
            let before =
                usize::try_from(offset - place.offset).unwrap_or(usize::MAX).min(place.ready.len());
            if before >= READ || before == place.ready.len() {
                place.ready.drain(..before);
                place.offset += before as u64;
            }
            let from = usize::try_from(offset - place.offset).unwrap_or(usize::MAX);
            if let Some(ready) = place.ready.get(from..).filter(|ready| !ready.is_empty()) {
                let length = ready.len().min(buffer.len());
                buffer[..length].copy_from_slice(&ready[..length]);
                return Ok(length);
            }
            if !self.advance(&mut place)? {
                return Ok(0);
            }
        }
    }
}

/// Passes the whole content to `each`, piece by piece.
///
/// # Errors
/// As [`StoredContent::read_at`]; less content than `len`.
pub(super) fn read_all(
    content: &dyn StoredContent,
    len: u64,
    mut each: impl FnMut(&[u8]),
) -> io::Result<()> {
    let mut offset = 0;
    let mut piece = vec![0; READ];
    while offset < len {
        let wanted = usize::try_from(len - offset).unwrap_or(READ).min(READ);
        read_exactly(content, offset, &mut piece[..wanted])?;
        each(&piece[..wanted]);
        offset += wanted as u64;
    }
    Ok(())
}

fn read_exactly(content: &dyn StoredContent, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while filled < buffer.len() {
        match content.read_at(offset + filled as u64, &mut buffer[filled..])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => filled += n,
        }
    }
    Ok(())
}

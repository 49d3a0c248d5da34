//! Segment files: creates new ones, and reuses or removes dead ones.

use super::format::SegmentHeader;
use super::layout::{LOG, RESERVE, SPARE, segment_path, spare_path, summary_path};
use super::spool_state::{SpoolState, VolumeHealth};
use crate::ground::disk::{Disk, File, is_full};
use std::io;
use std::sync::Arc;

/// Dead segments kept for reuse: overwriting them saves work in the file system's journal.
const SPARES_MAX: usize = 4;

/// The files of the log, in use and spare.
pub struct SegmentFiles {
    shared: Arc<SpoolState>,
    /// The number for the next segment.
    next: u32,
    /// Files for new segments.
    spares: Vec<String>,
    /// Segments were released, and their directories are not synced yet.
    removals_to_sync: bool,
}

/// A segment without records; its header is durable.
pub struct NewSegment {
    /// The header, as in its first block.
    pub header: SegmentHeader,
    /// The open file.
    pub file: Arc<dyn File>,
}

impl SegmentFiles {
    /// The files of a queue that was just recovered.
    pub fn new(shared: Arc<SpoolState>, next: u32, spares: Vec<String>) -> Self {
        Self { shared, next, spares, removals_to_sync: false }
    }

    /// A new segment.
    pub fn begin(&mut self) -> io::Result<NewSegment> {
        let segment = new_segment(self.shared.disk.as_ref(), self.next, &mut self.spares)?;
        self.next += 1;
        Ok(segment)
    }

    /// The same at a start. A queue that filled its volume must be able to start, or no mail could
    /// ever leave it.
    pub fn begin_first(&mut self) -> io::Result<NewSegment> {
        match self.begin() {
            Err(error) if is_full(&error) => match self.reusable_file() {
                Some(room) => self.begin_in(room),
                None => Err(error),
            },
            other => other,
        }
    }

    /// A new segment in the space that was reserved for a full volume.
    pub fn begin_on_reserve(&mut self) -> io::Result<NewSegment> {
        self.begin_in(RESERVE.to_owned())
    }

    fn begin_in(&mut self, file: String) -> io::Result<NewSegment> {
        let segment = new_segment(self.shared.disk.as_ref(), self.next, &mut vec![file])?;
        self.next += 1;
        Ok(segment)
    }

    /// Whether there is space reserved for a full volume.
    pub fn has_reserve(&self) -> bool {
        self.shared.disk.open(RESERVE).is_ok()
    }

    /// Releases segments that are not needed; in rounds, because one may wait for another: a
    /// segment must not disappear before those that it must outlive are certainly gone. `active` is
    /// the number of the one that is written to.
    pub fn reclaim(&mut self, active: u32) {
        loop {
            if self.removals_to_sync {
                // A rename between directories is durable when both are.
                let disk = &self.shared.disk;
                if let Err(error) = disk.sync_dir(SPARE).and_then(|()| disk.sync_dir(LOG)) {
                    tracing::warn!(target: "mta", cause = %error, "the removal of dead segments \
                    could not be synced");
                    return;
                }
                self.removals_to_sync = false;
            }
            let numbers = self.shared.lock_index().reclaimable(active);
            if numbers.is_empty() {
                return;
            }
            for number in numbers {
                self.removals_to_sync = true;
                if let Err(error) = self.release_file(number) {
                    tracing::warn!(target: "mta", segment = number, cause = %error, "a dead \
                    segment could not be removed");
                    return;
                }
            }
        }
    }

    /// Keeps a dead segment's file for reuse, or removes it. The index is unlocked meanwhile, so
    /// that readers of the queue do not wait for the disk.
    fn release_file(&mut self, number: u32) -> io::Result<()> {
        let Some(taken) = self.shared.lock_index().take_segment(number) else { return Ok(()) };
        let name = segment_path(number);
        let roomy = self.shared.health() != VolumeHealth::Full;
        let spare = (!taken.is_read() && roomy && self.spares.len() < SPARES_MAX)
            .then(|| spare_path(number));
        let gone = match &spare {
            Some(spare) => self.shared.disk.rename(&name, spare),
            None => self.shared.disk.remove(&name),
        };
        if let Err(error) = gone {
            self.shared.lock_index().put_back(taken);
            return Err(error);
        }
        self.spares.extend(spare);
        self.shared.remove(&summary_path(number));
        Ok(())
    }

    /// A file on a full volume that can be overwritten by a segment: a dead one, else the reserve.
    fn reusable_file(&self) -> Option<String> {
        let disk = &self.shared.disk;
        let numbers = self.shared.lock_index().reclaimable(self.next);
        for number in numbers {
            // The index is unlocked meanwhile, see `release_file`.
            let Some(taken) = self.shared.lock_index().take_segment(number) else { continue };
            let spare = spare_path(number);
            if disk.rename(&segment_path(number), &spare).is_ok() {
                // Otherwise the next start does it.
                let _ = disk.remove(&summary_path(number));
                return Some(spare);
            }
            self.shared.lock_index().put_back(taken);
        }
        self.has_reserve().then(|| RESERVE.to_owned())
    }
}

/// A segment file under its final name, with a durable header; a spare one is reused.
fn new_segment(disk: &dyn Disk, number: u32, spares: &mut Vec<String>) -> io::Result<NewSegment> {
    let header = SegmentHeader { number, salt: fastrand::u64(..) };
    let fresh = spare_path(number);
    let spare = spares.last().and_then(|spare| Some((spare.clone(), disk.open(spare).ok()?)));
    let (name, file) = match spare {
        Some(spare) => spare,
        None => match disk.create(&fresh) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                (fresh.clone(), disk.open(&fresh)?)
            }
            other => (fresh.clone(), other?),
        },
    };
    if let Err(error) = file.write_at(0, &header.encode()).and_then(|()| file.sync()) {
        if name == fresh {
            // It has no disk space, and the next start must not take it for a spare one that has.
            // Best effort.
            let _ = disk.remove(&fresh);
        }
        return Err(error);
    }
    disk.rename(&name, &segment_path(number))?;
    spares.retain(|spare| *spare != name);
    // A rename between directories is durable when both are synced; the reserve is in the volume's
    // top directory.
    disk.sync_dir(if name == RESERVE { "" } else { SPARE })?;
    disk.sync_dir(LOG)?;
    Ok(NewSegment { header, file })
}

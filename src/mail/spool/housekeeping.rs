//! The committer's housekeeping: segments come and go, the space is watched, damage is set aside.

use super::committer::Committer;
use super::format::{HEADER_BLOCK, SegmentHeader};
use super::layout::{
    CORRUPT, LOG, RESERVE, SPARE, body_path, heads_path, segment_path, spare_path,
};
use super::recover;
use super::shared::{Health, Shared};
use crate::ground::disk::File;
use crate::ground::sync::Instant;
use crate::mail::model::MessageId;
use std::io;
use std::sync::Arc;

/// Dead segments kept for the next use: overwriting them spares the file system its own journal.
const SPARES_MAX: usize = 4;

const RESERVE_MAX: u64 = 1 << 20;

impl Committer {
    /// Whether everything in the active segment is durable, after a sync if need be.
    fn is_settled(&mut self) -> bool {
        (self.unsynced.is_empty() && !self.wiped) || self.sync()
    }

    /// Begins a new segment after everything in the old one is durable.
    pub(super) fn roll(&mut self) -> io::Result<()> {
        if !self.is_settled() {
            return Err(io::Error::other("the sync of the full segment failed"));
        }
        let (sealed, heads) = (self.active, std::mem::take(&mut self.heads));
        if let Err(error) = self.roll_unsynced() {
            // The segment may still grow.
            self.heads = heads;
            return Err(error);
        }
        if self.shared.health() == Health::Well
            && let Err(error) = heads.write(self.shared.disk.as_ref(), sealed)
        {
            tracing::debug!(target: "mta", cause = %error, "the next start has to read a segment's \
            contents");
        }
        Ok(())
    }

    pub(super) fn roll_unsynced(&mut self) -> io::Result<()> {
        let (header, file) = new_segment(&self.shared, self.next_segment, &mut self.spares)?;
        self.next_segment += 1;
        self.active = header;
        self.file = file;
        self.wiped = false;
        self.len = HEADER_BLOCK;
        self.heads.clear();
        self.register_segment();
        Ok(())
    }

    /// Goes on in the room that was kept for this; the next attempt to write finds it.
    pub(super) fn roll_onto_reserve(&mut self) {
        if self.shared.disk.open(RESERVE).is_err() || !self.is_settled() {
            return;
        }
        let spares = std::mem::replace(&mut self.spares, vec![RESERVE.to_owned()]);
        if let Err(error) = self.roll_unsynced() {
            tracing::warn!(target: "mta", cause = %error, "the reserve of the data volume could \
            not be used");
        }
        self.spares = spares;
    }

    pub(super) fn register_segment(&self) {
        self.shared.lock_index().begin_segment(self.active, self.file.clone(), self.len);
    }

    /// Lets segments go that nobody needs; in rounds, because one may wait for another: a segment
    /// must not vanish before it is certain that those it must outlive have.
    pub(super) fn reclaim(&mut self) {
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
            let numbers = self.shared.lock_index().reclaimable(self.active.number);
            if numbers.is_empty() {
                return;
            }
            for number in numbers {
                self.removals_to_sync = true;
                if let Err(error) = self.let_go(number) {
                    tracing::warn!(target: "mta", segment = number, cause = %error, "a dead segment could not be removed");
                    return;
                }
            }
        }
    }

    /// Keeps a dead segment's file for the next use, or removes it. The index is free meanwhile:
    /// who looks at the queue must not wait for the disk.
    fn let_go(&mut self, number: u32) -> io::Result<()> {
        let Some(taken) = self.shared.lock_index().take_segment(number) else { return Ok(()) };
        let name = segment_path(number);
        let roomy = self.shared.health() != Health::Full;
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
        self.remove(&heads_path(number));
        Ok(())
    }

    /// Keeps what is left of a damaged message for a person to look at. `false`: it is not damaged
    /// after all, or it could not be kept; it stays in the queue, and whoever reads it next asks
    /// again.
    pub(super) fn set_aside(&self, id: MessageId) -> bool {
        if !self.carried.is_empty() || !matches!(self.shared.examine(id), Ok(None)) {
            return false;
        }
        let place = {
            let index = self.shared.lock_index();
            index.get(id).map(|slot| (slot, index.file(slot.accept.segment)))
        };
        let Some((slot, Some((_, file)))) = place else { return false };
        let mut frame = vec![0; slot.frame as usize];
        let kept = file.read_at(u64::from(slot.accept.offset), &mut frame).and_then(|got| {
            recover::keep(self.shared.disk.as_ref(), &format!("{id}.frame"), &frame[..got])?;
            if slot.file {
                match self.shared.disk.rename(&body_path(id), &format!("{CORRUPT}/{id}.eml")) {
                    // The missing file is what is wrong.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    other => other?,
                }
            }
            self.shared.disk.sync_dir(CORRUPT)
        });
        match kept {
            Ok(()) => {
                self.shared.counters.corrupt_records_total.inc();
                tracing::error!(target: "mta", queue_id = %id, "a damaged message was set aside \
                under corrupt/ on the data volume");
                true
            }
            Err(error) => {
                tracing::error!(target: "mta", queue_id = %id, cause = %error, "a damaged message \
                could not be set aside; it stays");
                false
            }
        }
    }

    pub(super) fn look_at_space(&mut self) {
        self.last_look = Instant::now();
        self.shared.envelopes.forget_unused();
        let Ok(space) = self.shared.disk.space() else { return };
        let counters = &self.shared.counters;
        counters.disk_free_bytes.set(i64::try_from(space.free).unwrap_or(i64::MAX));
        counters.disk_size_bytes.set(i64::try_from(space.size).unwrap_or(i64::MAX));
        counters
            .spool_disk_bytes
            .set(i64::try_from(self.shared.lock_index().amplification().0).unwrap_or(i64::MAX));
        let scarce = space.free < space.size / 100;
        match self.shared.health() {
            Health::Well if scarce => {
                self.shared.set_health(Health::Full, "less than one percent of it is free")
            }
            // A little more than the mark, so that the answer does not change with every mail.
            Health::Full if space.free > space.size / 100 * 3 / 2 && self.carried.is_empty() => {
                self.shared.set_health(Health::Well, "");
            }
            _ => {}
        }
        if self.shared.health() == Health::Well
            && self.carried.is_empty()
            && !self.held_back.is_empty()
        {
            self.write_held_back();
        }
        if self.shared.health() == Health::Well && space.free > space.size / 50 {
            self.keep_reserve(space.size);
        }
    }

    fn keep_reserve(&self, size: u64) {
        let Ok(file) = self.shared.disk.create(RESERVE) else { return };
        let zeros = vec![0; usize::try_from(RESERVE_MAX.min(size / 100)).unwrap_or_default()];
        let disk = &self.shared.disk;
        if file
            .write_at(0, &zeros)
            .and_then(|()| file.sync())
            .and_then(|()| disk.sync_dir(""))
            .is_err()
        {
            self.remove(RESERVE);
        }
    }

    pub(super) fn remove(&self, path: &str) {
        match self.shared.disk.remove(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(target: "mta", path, cause = %error, "a file that is not needed any \
                more could not be removed");
            }
            _ => {}
        }
    }

    pub(super) fn publish(&self) {
        let index = self.shared.lock_index();
        let (messages, bytes, held) = index.totals();
        drop(index);
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let counters = &self.shared.counters;
        counters.mqueue_messages.set(number(messages));
        counters.mqueue_kbytes.set(number(bytes.div_ceil(1024)));
        counters.mqueue_held_messages.set(number(held));
    }
}

/// A segment file under its final name, with a durable header; a spare one is used again.
pub(super) fn new_segment(
    shared: &Shared,
    number: u32,
    spares: &mut Vec<String>,
) -> io::Result<(SegmentHeader, Arc<dyn File>)> {
    let header = SegmentHeader { number, salt: fastrand::u64(..) };
    let disk = &shared.disk;
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
            // It holds no room, and the next start must not take it for a spare one that does. Best
            // effort.
            let _ = disk.remove(&fresh);
        }
        return Err(error);
    }
    disk.rename(&name, &segment_path(number))?;
    spares.retain(|spare| *spare != name);
    // A rename between directories is durable when both are; the reserve stands in the volume
    // itself.
    disk.sync_dir(if name == RESERVE { "" } else { SPARE })?;
    disk.sync_dir(LOG)?;
    Ok((header, file))
}

/// A file on a full volume that a segment can be written over: one that is dead, else the reserve.
pub(super) fn room_without_growth(shared: &Shared, active: u32) -> Option<String> {
    let disk = &shared.disk;
    let numbers = shared.lock_index().reclaimable(active);
    for number in numbers {
        // The index is free meanwhile, see `Committer::let_go`.
        let Some(taken) = shared.lock_index().take_segment(number) else { continue };
        let spare = spare_path(number);
        if disk.rename(&segment_path(number), &spare).is_ok() {
            // Else the next start does.
            let _ = disk.remove(&heads_path(number));
            return Some(spare);
        }
        shared.lock_index().put_back(taken);
    }
    disk.open(RESERVE).is_ok().then(|| RESERVE.to_owned())
}

//! The calls of the queue, and their faults.

use super::cut::{survive, write};
use super::{BLOCK, Content, Fate, Kind, SimDisk, State, directory, power_off};
use postern::ground::disk::{Disk, DiskSpace, File};
use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::sync::Arc;

impl Disk for SimDisk {
    fn create(&self, path: &str) -> io::Result<Arc<dyn File>> {
        let mut made = 0;
        self.change("a create failed", &[path], |state| {
            if state.names.contains_key(path) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            state.files.push(Content::default());
            made = state.files.len() - 1;
            Ok(Kind::Create(path.to_owned(), made))
        })?;
        Ok(Arc::new(SimFile(self.clone(), made)))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn File>> {
        let file = *self.lock().names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(SimFile(self.clone(), file)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.change("a rename failed", &[from, to], |state| {
            if !state.names.contains_key(from) {
                return Err(io::ErrorKind::NotFound.into());
            }
            Ok(Kind::Rename(from.to_owned(), to.to_owned()))
        })?;
        match (directory(from), directory(to)) {
            ("spare", "log") => self.1.count("segment begun"),
            ("log", "spare") => self.1.count("segment kept as a spare"),
            ("", "log") => self.1.count("segment begun on the reserve"),
            _ => {}
        }
        Ok(())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.change("a remove failed", &[path], |state| {
            if !state.names.contains_key(path) {
                return Err(io::ErrorKind::NotFound.into());
            }
            Ok(Kind::Remove(path.to_owned()))
        })?;
        if directory(path) == "log" {
            self.1.count("segment removed");
        }
        Ok(())
    }

    fn sync_dir(&self, directory: &str) -> io::Result<()> {
        let mut state = self.lock();
        let state = &mut *state;
        let fate = state.call(&self.1);
        self.1.tell(|| format!("sync_dir {fate:?}: {directory}"));
        if !matches!(fate, Fate::Done) {
            self.1.count("a sync of a directory failed");
            return fate.result();
        }
        // What becomes durable includes earlier changes of the same names: a directory does not go
        // back.
        let mut names: BTreeSet<&str> = BTreeSet::new();
        let mut durable = vec![false; state.changes.len()];
        for (change, durable) in state.changes.iter_mut().zip(&mut durable).rev() {
            change.waits_for.remove(directory);
            *durable =
                change.waits_for.is_empty() || change.what.names().any(|name| names.contains(name));
            if *durable {
                names.extend(change.what.names());
            }
        }
        let mut rest = Vec::new();
        for (change, durable) in std::mem::take(&mut state.changes).into_iter().zip(durable) {
            if durable {
                change.apply(&mut state.durable_names);
            } else {
                rest.push(change);
            }
        }
        state.changes = rest;
        Ok(())
    }

    fn create_dir(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        let prefix = format!("{directory}/");
        Ok(self
            .lock()
            .names
            .keys()
            .filter_map(|path| path.strip_prefix(&prefix))
            .map(str::to_owned)
            .collect())
    }

    fn space(&self) -> io::Result<DiskSpace> {
        let state = self.lock();
        Ok(DiskSpace { free: state.capacity.saturating_sub(state.used()), size: state.capacity })
    }
}

struct SimFile(SimDisk, usize);

impl File for SimFile {
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.0.lock();
        let fate = state.call(&self.0.1);
        self.0
            .1
            .tell(|| format!("write {fate:?}: file {} at {offset}, {} octets", self.1, data.len()));
        if state.trouble.dead && matches!(fate, Fate::Fails(_)) {
            return fate.result();
        }
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let room = state.capacity.saturating_sub(state.used());
        let old = state.file(self.1)?.now.len();
        let grows = (offset + data.len()).saturating_sub(old) as u64;
        let mut fits = if grows > room {
            data.len().saturating_sub(usize::try_from(grows - room).unwrap_or(usize::MAX))
        } else {
            data.len()
        };
        if matches!(fate, Fate::Fails(_)) {
            self.0.1.count("a write failed");
            fits = state.random.usize(..=fits);
        }
        let file = state.file(self.1)?;
        // The call during which the power is cut may have written everything to the device already.
        write(&mut file.now, offset, &data[..fits]);
        file.unsynced.push((offset, data[..fits].to_vec()));
        fate.result()?;
        if fits < data.len() {
            self.0.1.count("a write found no room");
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.0.lock();
        let octets = &state.file(self.1)?.now;
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(octets.len());
        let len = buffer.len().min(octets.len() - from);
        buffer[..len].copy_from_slice(&octets[from..from + len]);
        if len > 0 && state.refuses_to_read(self.1, from / BLOCK..(from + len - 1) / BLOCK + 1) {
            self.0.1.count("a read failed");
            return Err(io::Error::other("input/output error"));
        }
        Ok(len)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.0.lock();
        let fate = state.call(&self.0.1);
        self.0.1.tell(|| format!("sync {fate:?}: file {}", self.1));
        let failing = match &mut state.trouble.failing_sync {
            Some((0, lies)) => Some(*lies),
            Some((left, _)) => {
                *left -= 1;
                None
            }
            None => None,
        };
        if failing.is_some() {
            state.trouble.failing_sync = None;
        }
        let failing =
            failing.or_else(|| matches!(fate, Fate::Fails(_)).then(|| state.random.bool()));
        let State { files, random, trouble, .. } = &mut *state;
        let file = files.get_mut(self.1).ok_or_else(power_off)?;
        if trouble.dead {
            return Err(power_off());
        }
        if let Some(lies) = failing {
            // As in real kernels: what could not be written counts as clean, and the next sync will
            // report success.
            let unsynced = std::mem::take(&mut file.unsynced);
            survive(&mut file.durable, unsynced, random, &self.0.1, "failed sync");
            if lies {
                file.lies |= file.now != file.durable;
                self.0.1.count("a sync failed, and reads do not show it");
            } else {
                file.now.clone_from(&file.durable);
                self.0.1.count("a sync failed, and what it lost is gone");
            }
            fate.result()?;
            return Err(io::Error::other("input/output error"));
        }
        if file.lies {
            self.0.1.count("a sync lied");
        }
        let Content { now, durable, unsynced, lies } = file;
        for (offset, data) in unsynced.drain(..) {
            write(durable, offset, &data);
        }
        // What was lost may have been overwritten since.
        *lies = *lies && now != durable;
        Ok(())
    }

    fn read_anew(&self) {
        let mut state = self.0.lock();
        let Ok(file) = state.file(self.1) else { return };
        // Only what counts as clean is dropped.
        if file.unsynced.is_empty() && file.lies {
            file.now.clone_from(&file.durable);
            file.lies = false;
            self.0.1.count("what a failed sync had left in memory was dropped");
        }
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.lock().file(self.1)?.now.len() as u64)
    }
}

impl State {
    /// Whether a read of these blocks fails; what failed once fails again.
    fn refuses_to_read(&mut self, file: usize, mut blocks: Range<usize>) -> bool {
        match &mut self.trouble.failing_read {
            None => false,
            Some((0, choice)) => {
                let choice = *choice;
                blocks.any(|block| {
                    fastrand::Rng::with_seed(choice ^ (file as u64) << 32 ^ block as u64).u8(..8)
                        == 0
                })
            }
            Some((left, _)) => {
                *left -= 1;
                false
            }
        }
    }
}

//! A disk that forgets, tears, lies and fills up, behind the same trait as the real one.
//!
//! What was written is only promised after a sync. At [`SimDisk::power_cut`] every unsynced write survives whole, in part or
//! not at all, each by its own chance; so does every unsynced change of a directory. The disk can go dead after a number of
//! calls, fail a sync (and forget what it should have made durable), and run full.

use postern::ground::disk::{Disk, File, Space};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

/// The disk; clones are the same disk.
#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<State>>);

struct State {
    files: Vec<Content>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    changes: Vec<Change>,
    calls_left: Option<u64>,
    failing_sync: Option<u64>,
    capacity: u64,
}

#[derive(Default, Clone)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<(usize, Vec<u8>)>,
}

#[derive(Clone)]
enum Change {
    Create(String, usize),
    Rename(String, String),
    Remove(String),
}

impl Change {
    fn touches(&self, directory: &str) -> bool {
        let inside = |path: &str| path.rsplit_once('/').map_or("", |(parent, _)| parent) == directory;
        match self {
            Self::Create(path, _) | Self::Remove(path) => inside(path),
            Self::Rename(from, to) => inside(from) || inside(to),
        }
    }

    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Create(path, file) => {
                names.insert(path.clone(), *file);
            }
            Self::Remove(path) => {
                names.remove(path);
            }
            Self::Rename(from, to) => {
                if let Some(file) = names.remove(from) {
                    names.insert(to.clone(), file);
                }
            }
        }
    }
}

impl SimDisk {
    /// An empty disk with room for so many octets.
    pub fn new(capacity: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            files: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            changes: Vec::new(),
            calls_left: None,
            failing_sync: None,
            capacity,
        })))
    }

    /// After so many more calls that change something, every call fails.
    pub fn die_after(&self, calls: u64) {
        self.lock().calls_left = Some(calls);
    }

    /// The sync after so many more fails, and what it should have made durable is forgotten.
    pub fn fail_sync_after(&self, syncs: u64) {
        self.lock().failing_sync = Some(syncs);
    }

    /// No more syncs fail.
    pub fn heal(&self) {
        self.lock().failing_sync = None;
    }

    /// Changes the room.
    pub fn set_capacity(&self, capacity: u64) {
        self.lock().capacity = capacity;
    }

    /// The disk as it comes back after the power was cut at this moment.
    pub fn power_cut(&self, random: &mut fastrand::Rng) -> Self {
        let old = self.lock();
        let mut names = old.durable_names.clone();
        for change in &old.changes {
            if random.bool() {
                change.apply(&mut names);
            }
        }
        let files = old.files.iter().map(|content| survive(content, random)).collect();
        drop(old);
        Self(Arc::new(Mutex::new(State {
            files,
            durable_names: names.clone(),
            names,
            changes: Vec::new(),
            calls_left: None,
            failing_sync: None,
            capacity: u64::MAX / 2,
        })))
    }

    /// The disk as the next process finds it when this one is killed: everything written is there, and no more durable than
    /// before.
    pub fn kill(&self) -> Self {
        let old = self.lock();
        Self(Arc::new(Mutex::new(State {
            files: old.files.clone(),
            names: old.names.clone(),
            durable_names: old.durable_names.clone(),
            changes: old.changes.clone(),
            calls_left: None,
            failing_sync: None,
            capacity: old.capacity,
        })))
    }

    /// Flips one bit of one file whose path has this prefix; tells which.
    pub fn flip_bit(&self, prefix: &str, random: &mut fastrand::Rng) -> Option<String> {
        let mut state = self.lock();
        let candidates: Vec<(String, usize)> = state
            .names
            .iter()
            .filter(|(path, file)| path.starts_with(prefix) && !state.files[**file].now.is_empty())
            .map(|(path, file)| (path.clone(), *file))
            .collect();
        let (path, file) = candidates.get(random.usize(..candidates.len().max(1)))?.clone();
        let content = &mut state.files[file];
        let at = random.usize(..content.now.len());
        content.now[at] ^= 1 << random.u8(..8);
        content.durable = content.now.clone();
        Some(format!("{path} at {at}"))
    }

    /// Paths with this prefix.
    pub fn paths(&self, prefix: &str) -> Vec<String> {
        self.lock().names.keys().filter(|path| path.starts_with(prefix)).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The durable content plus what chance lets survive of the rest.
fn survive(content: &Content, random: &mut fastrand::Rng) -> Content {
    let mut octets = content.durable.clone();
    for (offset, data) in &content.unsynced {
        let kept = match random.u8(..3) {
            0 => 0,
            1 => data.len(),
            _ => random.usize(..=data.len()),
        };
        if kept > 0 {
            write(&mut octets, *offset, &data[..kept]);
        }
    }
    Content { now: octets.clone(), durable: octets, unsynced: Vec::new() }
}

fn write(octets: &mut Vec<u8>, offset: usize, data: &[u8]) {
    if octets.len() < offset + data.len() {
        octets.resize(offset + data.len(), 0);
    }
    octets[offset..offset + data.len()].copy_from_slice(data);
}

impl State {
    /// One call that changes something.
    fn call(&mut self) -> io::Result<()> {
        match &mut self.calls_left {
            Some(0) => Err(io::Error::other("the power is off")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn used(&self) -> u64 {
        self.names.values().map(|file| self.files[*file].now.len() as u64).sum()
    }
}

impl Disk for SimDisk {
    fn create(&self, path: &str) -> io::Result<Arc<dyn File>> {
        let mut state = self.lock();
        state.call()?;
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.files.push(Content::default());
        let file = state.files.len() - 1;
        state.names.insert(path.to_owned(), file);
        state.changes.push(Change::Create(path.to_owned(), file));
        Ok(Arc::new(SimFile(self.clone(), file)))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn File>> {
        let file = *self.lock().names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(SimFile(self.clone(), file)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.call()?;
        if !state.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let change = Change::Rename(from.to_owned(), to.to_owned());
        change.apply(&mut state.names);
        state.changes.push(change);
        Ok(())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.call()?;
        state.names.remove(path).ok_or(io::ErrorKind::NotFound)?;
        state.changes.push(Change::Remove(path.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, directory: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.call()?;
        let (durable, rest) = std::mem::take(&mut state.changes).into_iter().partition(|change| change.touches(directory));
        state.changes = rest;
        let durable: Vec<Change> = durable;
        for change in durable {
            change.apply(&mut state.durable_names);
        }
        Ok(())
    }

    fn create_dir(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        let prefix = format!("{directory}/");
        Ok(self.lock().names.keys().filter_map(|path| path.strip_prefix(&prefix)).map(str::to_owned).collect())
    }

    fn space(&self) -> io::Result<Space> {
        let state = self.lock();
        Ok(Space { free: state.capacity.saturating_sub(state.used()), size: state.capacity })
    }
}

struct SimFile(SimDisk, usize);

impl File for SimFile {
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.0.lock();
        let dead = state.call();
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let grows = (offset + data.len()).saturating_sub(state.files[self.1].now.len()) as u64;
        let room = state.capacity.saturating_sub(state.used());
        let fits = if grows > room {
            data.len().saturating_sub(usize::try_from(grows - room).unwrap_or(usize::MAX))
        } else {
            data.len()
        };
        let file = &mut state.files[self.1];
        // The call during which the power goes may have handed everything to the device already.
        write(&mut file.now, offset, &data[..fits]);
        file.unsynced.push((offset, data[..fits].to_vec()));
        dead?;
        if fits < data.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let state = self.0.lock();
        let octets = &state.files[self.1].now;
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(octets.len());
        let len = buffer.len().min(octets.len() - from);
        buffer[..len].copy_from_slice(&octets[from..from + len]);
        Ok(len)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.0.lock();
        state.call()?;
        let fails = match &mut state.failing_sync {
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        };
        let file = &mut state.files[self.1];
        if fails {
            // As kernels do: the pages are dropped, and the next sync would say that all is well.
            file.unsynced.clear();
            file.now = file.durable.clone();
            state.failing_sync = None;
            return Err(io::Error::other("input/output error"));
        }
        file.unsynced.clear();
        file.durable = file.now.clone();
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.lock().files[self.1].now.len() as u64)
    }
}

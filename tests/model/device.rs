//! A disk whose syncs take time: one covers what was written before it began, and nothing written
//! since.

use crate::sync::{Mutex, MutexGuard};
use postern::ground::disk::{Disk, DiskSpace, File};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, PoisonError};

/// The disk; clones are the same disk.
#[derive(Clone)]
pub struct Device(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    names: BTreeMap<String, usize>,
    files: Vec<Content>,
}

#[derive(Default)]
struct Content {
    octets: Vec<u8>,
    /// How many writes there were, and how many of them a sync has covered; and where each one
    /// ended.
    writes: Vec<(usize, Vec<u8>)>,
    synced: usize,
}

struct Opened(Device, usize);

impl Device {
    pub fn new() -> Self {
        Self(Arc::default())
    }

    /// Whether a write that contains these octets is covered by a sync.
    pub fn has_synced(&self, octets: &[u8]) -> bool {
        let state = self.lock();
        let synced = |content: &Content| {
            content.writes[..content.synced].iter().any(|(_, data)| contains(data, octets))
        };
        state.files.iter().any(synced)
    }

    /// Whether everything that was written to segments is covered by a sync.
    pub fn is_all_synced(&self) -> bool {
        self.lock().files.iter().all(|content| content.synced == content.writes.len())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn contains(data: &[u8], octets: &[u8]) -> bool {
    data.windows(octets.len()).any(|window| window == octets)
}

impl Disk for Device {
    fn create(&self, path: &str) -> io::Result<Arc<dyn File>> {
        let mut state = self.lock();
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.files.push(Content::default());
        let file = state.files.len() - 1;
        state.names.insert(path.to_owned(), file);
        Ok(Arc::new(Opened(self.clone(), file)))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn File>> {
        let file = *self.lock().names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(Opened(self.clone(), file)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.lock();
        let file = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.lock().names.remove(path).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_dir(&self, _: &str) -> io::Result<()> {
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
        Ok(DiskSpace { free: 1 << 20, size: 1 << 20 })
    }
}

impl File for Opened {
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.0.lock();
        let offset = usize::try_from(offset).unwrap();
        let content = &mut state.files[self.1];
        let end = offset + data.len();
        if content.octets.len() < end {
            content.octets.resize(end, 0);
        }
        content.octets[offset..end].copy_from_slice(data);
        content.writes.push((offset, data.to_vec()));
        Ok(())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let state = self.0.lock();
        let octets = &state.files[self.1].octets;
        let from = usize::try_from(offset).unwrap().min(octets.len());
        let len = buffer.len().min(octets.len() - from);
        buffer[..len].copy_from_slice(&octets[from..from + len]);
        Ok(len)
    }

    fn sync(&self) -> io::Result<()> {
        let begun_with = self.0.lock().files[self.1].writes.len();
        // Other threads may write here; their writes are not covered.
        let mut state = self.0.lock();
        let content = &mut state.files[self.1];
        content.synced = content.synced.max(begun_with);
        Ok(())
    }

    fn read_anew(&self) {}

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.lock().files[self.1].octets.len() as u64)
    }
}

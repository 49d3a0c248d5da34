//! Paused destinations, in a file on the data volume, so that a restart keeps them.
//!
//! The file `paused` has a line with its checksum, and a name on every other line. It is replaced
//! as a whole: written under another name, synced, renamed, and the directory synced. The
//! destinations can be read while a change is being written, however long that takes: a reader sees
//! those before the change. Limits: [`PAUSES_MAX`] destinations.

use crate::ground::disk::{self, Disk};
use crate::ground::lock::{Level, Lock};
use crate::mail::model::{AdminError, Destination};
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

/// Destinations that can be paused, at most.
pub const PAUSES_MAX: usize = 10_000;

const FILE: &str = "paused";
const DAMAGED: &str = "corrupt/paused";
const TITLE: &str = "POSTERN PAUSED 1";

/// Octets of the file, at most: a domain has 255.
const LENGTH_MAX: u64 = (PAUSES_MAX as u64 + 1) * 256;

/// The paused destinations, and their file.
pub struct Pauses {
    disk: Arc<dyn Disk>,
    /// Held during the writing of a change: one after the other.
    change: Lock<()>,
    /// The durable state. It is never locked while waiting for the disk.
    destinations: Lock<BTreeSet<Destination>>,
}

impl Pauses {
    /// Reads the file of the last run. An invalid file is renamed, with a line in the log: mail is
    /// then sent again. `known` gives the destination of a name.
    pub fn open(disk: Arc<dyn Disk>, known: impl Fn(&str) -> Option<Destination>) -> Self {
        let names = read(disk.as_ref()).unwrap_or_else(|error| {
            tracing::error!(
                target: "mta", cause = %error,
                "the list of paused destinations cannot be read; none is paused, the file is kept \
                as {DAMAGED}"
            );
            // Best effort: the next pause replaces it anyway.
            let _ = disk.rename(FILE, DAMAGED);
            Vec::new()
        });
        let destinations = names.iter().filter_map(|name| {
            let destination = known(name);
            if destination.is_none() {
                tracing::warn!(target: "mta", name, "no mail can go to this paused destination; it \
                is forgotten");
            }
            destination
        });
        let destinations = Lock::leaf(destinations.collect());
        Self { disk, change: Lock::new(Level::Outer, ()), destinations }
    }

    /// All paused destinations.
    pub fn all(&self) -> Vec<Destination> {
        self.destinations.lock().iter().cloned().collect()
    }

    /// The destination of this name, without regard to case.
    pub fn find(&self, name: &str) -> Option<Destination> {
        self.destinations.lock().iter().find(|paused| paused.has_name(name)).cloned()
    }

    /// Adds or removes a destination; durable when this returns. `false`: it was in that state
    /// already. `apply` is called before any other change, so that the file and the schedule stay
    /// equal. Blocks.
    ///
    /// # Errors
    /// The volume's, or there are too many; nothing is changed then.
    pub fn set(
        &self,
        destination: &Destination,
        paused: bool,
        apply: impl FnOnce(),
    ) -> Result<bool, AdminError> {
        let _change = self.change.lock();
        let mut changed = self.destinations.lock().clone();
        let is_new =
            if paused { changed.insert(destination.clone()) } else { changed.remove(destination) };
        if !is_new {
            apply();
            return Ok(false);
        }
        if changed.len() > PAUSES_MAX {
            return Err(AdminError::Refused(format!(
                "{PAUSES_MAX} destinations are paused already; resume some first"
            )));
        }
        write(self.disk.as_ref(), &changed)
            .map_err(|error| AdminError::Storage(format!("the pause cannot be stored: {error}")))?;
        *self.destinations.lock() = changed;
        apply();
        Ok(true)
    }
}

fn read(disk: &dyn Disk) -> io::Result<Vec<String>> {
    let file = match disk.open(FILE) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let length = file.length()?;
    if length > LENGTH_MAX {
        return Err(io::Error::other("it is too long"));
    }
    let mut octets = vec![0; usize::try_from(length).unwrap_or_default()];
    let got = file.read_at(0, &mut octets)?;
    octets.truncate(got);
    let text = String::from_utf8(octets).map_err(io::Error::other)?;
    let (title, names) =
        text.split_once('\n').ok_or_else(|| io::Error::other("it has no title"))?;
    if title != titled(names) {
        return Err(io::Error::other("its checksum does not fit, or a newer version wrote it"));
    }
    Ok(names.lines().map(str::to_owned).collect())
}

fn write(disk: &dyn Disk, destinations: &BTreeSet<Destination>) -> io::Result<()> {
    let names: String = destinations.iter().map(|destination| format!("{destination}\n")).collect();
    disk::replace(disk, FILE, format!("{}\n{names}", titled(&names)).as_bytes())
}

fn titled(names: &str) -> String {
    format!("{TITLE} {:08x}", crc32fast::hash(names.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::disk::DirectoryDisk;
    use crate::ground::disk::halting::{Halting, PATIENCE, in_time};

    fn at(domain: &str) -> Destination {
        Destination::domain(domain).unwrap()
    }

    #[test]
    fn a_pause_outlives_a_restart_and_a_damaged_file_stops_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let open = || {
            let disk: Arc<dyn Disk> = Arc::new(DirectoryDisk::open(directory.path()).unwrap());
            disk.create_dir("corrupt").unwrap();
            Pauses::open(disk, Destination::domain)
        };
        let pauses = open();
        assert_eq!(pauses.set(&at("dead.example"), true, || {}), Ok(true));
        assert_eq!(pauses.set(&at("dead.example"), true, || {}), Ok(false), "again");
        assert_eq!(pauses.set(&at("slow.example"), true, || {}), Ok(true));
        assert_eq!(pauses.set(&at("slow.example"), false, || {}), Ok(true));
        drop(pauses);
        assert_eq!(open().all(), [at("dead.example")]);
        let path = directory.path().join(FILE);
        let mut octets = std::fs::read(&path).unwrap();
        *octets.last_mut().unwrap() ^= 1;
        std::fs::write(&path, octets).unwrap();
        let pauses = open();
        assert!(pauses.all().is_empty() && directory.path().join(DAMAGED).exists());
        assert_eq!(pauses.set(&at("dead.example"), true, || {}), Ok(true));
    }
    #[test]
    fn the_names_are_read_while_a_change_waits_for_the_disk() {
        let directory = tempfile::tempdir().unwrap();
        let (disk, waiting) = Halting::open(directory.path(), |call, _| call == "sync");
        let pauses = Arc::new(Pauses::open(disk, Destination::domain));
        let (changes, looks) = (pauses.clone(), pauses.clone());
        let change = std::thread::spawn(move || changes.set(&at("dead.example"), true, || {}));
        let go = waiting.recv_timeout(PATIENCE).unwrap();
        assert_eq!(in_time(move || (looks.all(), looks.find("dead.example"))), (Vec::new(), None));
        drop(go);
        assert_eq!(change.join().unwrap(), Ok(true));
        assert!(pauses.find("Dead.Example").is_some());
    }
}

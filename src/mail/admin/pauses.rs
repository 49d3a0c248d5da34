//! Destinations that an operator lets nothing go to: a file on the data volume, so that a restart
//! changes nothing.
//!
//! The file `paused` holds a line with its checksum, and a name on every other. It is replaced as a
//! whole: written under another name, synced, renamed, and the directory synced.
//! The names can be read while a change is on its way to the disk, however long that takes: whoever
//! reads them sees those of before.
//! Limits: [`PAUSES_MAX`] names.

use crate::ground::disk::Disk;
use crate::ground::lock::{Level, Lock};
use crate::mail::model::AdminError;
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

/// The most destinations that can be paused.
pub const PAUSES_MAX: usize = 10_000;

const FILE: &str = "paused";
const FRESH: &str = "paused.new";
const DAMAGED: &str = "corrupt/paused";
const TITLE: &str = "POSTERN PAUSED 1";

/// Octets of the file, at most: a domain has 255.
const LENGTH_MAX: u64 = (PAUSES_MAX as u64 + 1) * 256;

/// The names, and where they are kept.
pub struct Pauses {
    disk: Arc<dyn Disk>,
    /// Held from the first call of a change to the disk until it is done: one after the other.
    change: Lock<()>,
    /// What is durable. Nobody waits for the disk with it.
    names: Lock<BTreeSet<String>>,
}

impl Pauses {
    /// Reads what the last run left. A file that makes no sense is set aside, with a line in the
    /// log: mail then flows again.
    pub fn open(disk: Arc<dyn Disk>) -> Self {
        let names = read(disk.as_ref()).unwrap_or_else(|error| {
            tracing::error!(target: "mta", cause = %error, "which destinations were paused cannot \
            be read; none is, the file is kept as {DAMAGED}");
            // Best effort: the next pause replaces it anyway.
            let _ = disk.rename(FILE, DAMAGED);
            BTreeSet::new()
        });
        Self { disk, change: Lock::new(Level::Outer, ()), names: Lock::leaf(names) }
    }

    /// The names, in lower case.
    pub fn names(&self) -> Vec<String> {
        self.names.lock().iter().cloned().collect()
    }

    /// Whether nothing goes to the destination of this name, in lower case.
    pub fn contains(&self, name: &str) -> bool {
        self.names.lock().contains(name)
    }

    /// Adds or removes a name; durable when this returns. `false`: it was so already. `apply` is
    /// called before the next change of any name, so that what is kept and what is done stay the
    /// same. Blocks.
    ///
    /// # Errors
    /// The volume's, or one name too many; nothing is changed then.
    pub fn set(&self, name: &str, paused: bool, apply: impl FnOnce()) -> Result<bool, AdminError> {
        let _change = self.change.lock();
        let mut changed = self.names.lock().clone();
        if !(if paused { changed.insert(name.to_owned()) } else { changed.remove(name) }) {
            apply();
            return Ok(false);
        }
        if changed.len() > PAUSES_MAX {
            return Err(AdminError::Refused(format!(
                "{PAUSES_MAX} destinations are paused already; resume some first"
            )));
        }
        write(self.disk.as_ref(), &changed)
            .map_err(|error| AdminError::Storage(format!("the pause cannot be kept: {error}")))?;
        *self.names.lock() = changed;
        apply();
        Ok(true)
    }
}

fn read(disk: &dyn Disk) -> io::Result<BTreeSet<String>> {
    let file = match disk.open(FILE) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
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

fn write(disk: &dyn Disk, names: &BTreeSet<String>) -> io::Result<()> {
    let names: String = names.iter().flat_map(|name| [name.as_str(), "\n"]).collect();
    match disk.remove(FRESH) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.create(FRESH)?;
    file.write_at(0, format!("{}\n{names}", titled(&names)).as_bytes())?;
    file.sync()?;
    disk.rename(FRESH, FILE)?;
    disk.sync_dir("")
}

fn titled(names: &str) -> String {
    format!("{TITLE} {:08x}", crc32fast::hash(names.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::disk::Volume;
    use crate::ground::disk::halting::{Halting, PATIENCE, in_time};

    #[test]
    fn a_pause_outlives_a_restart_and_a_damaged_file_stops_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let open = || {
            let disk: Arc<dyn Disk> = Arc::new(Volume::open(directory.path()).unwrap());
            disk.create_dir("corrupt").unwrap();
            Pauses::open(disk)
        };
        let pauses = open();
        assert_eq!(pauses.set("dead.example", true, || {}), Ok(true));
        assert_eq!(pauses.set("dead.example", true, || {}), Ok(false), "again");
        assert_eq!(pauses.set("slow.example", true, || {}), Ok(true));
        assert_eq!(pauses.set("slow.example", false, || {}), Ok(true));
        drop(pauses);
        assert_eq!(open().names(), ["dead.example"]);
        let path = directory.path().join(FILE);
        let mut octets = std::fs::read(&path).unwrap();
        *octets.last_mut().unwrap() ^= 1;
        std::fs::write(&path, octets).unwrap();
        let pauses = open();
        assert!(pauses.names().is_empty() && directory.path().join(DAMAGED).exists());
        assert_eq!(pauses.set("dead.example", true, || {}), Ok(true));
    }
    #[test]
    fn the_names_are_read_while_a_change_waits_for_the_disk() {
        let directory = tempfile::tempdir().unwrap();
        let (disk, waiting) = Halting::open(directory.path(), |call, _| call == "sync");
        let pauses = Arc::new(Pauses::open(disk));
        let (changes, looks) = (pauses.clone(), pauses.clone());
        let change = std::thread::spawn(move || changes.set("dead.example", true, || {}));
        let go = waiting.recv_timeout(PATIENCE).unwrap();
        assert_eq!(
            in_time(move || (looks.names(), looks.contains("dead.example"))),
            (Vec::new(), false)
        );
        drop(go);
        assert_eq!(change.join().unwrap(), Ok(true));
        assert!(pauses.contains("dead.example"));
    }
}

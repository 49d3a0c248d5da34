//! A simulated disk with lost and torn writes, false success and lack of space, behind the same
//! trait as the real one.
//!
//! A write is guaranteed only after a sync. At [`SimDisk::power_cut`] every unsynced write survives
//! whole, in part (cut at any octet, with sectors missing, with junk in one) or not at all, in any
//! order, each by its own chance; so does every change of a directory that was not synced, a rename
//! only after both its directories were. The disk can fail completely after a number of calls, give
//! an error at any call, fail a sync (its writes are then lost in part or whole, and every later
//! sync reports success), fail reads, run full, and flip a bit.
//!
//! Everything it does by chance comes from its seed; [`SimDisk::events`] counts what it did.

mod calls;
mod cut;
mod events;

use cut::survive;
pub use events::Events;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

/// The unit in which a device writes, in octets.
const SECTOR: usize = 512;

/// The unit of unreadable data, in octets.
const BLOCK: usize = 4096;

/// The disk; clones are the same disk.
#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<State>>, Events);

struct State {
    files: Vec<Content>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    changes: Vec<Change>,
    trouble: Trouble,
    capacity: u64,
    random: fastrand::Rng,
}

/// The planned faults.
#[derive(Default)]
struct Trouble {
    /// Calls until the power is cut; every call fails after that.
    calls_left: Option<u64>,
    dead: bool,
    /// Calls until errors begin, how many there are, and which.
    errors: Option<(u64, u64, io::ErrorKind)>,
    /// Syncs until one fails, and whether reads continue to show what could not be written.
    failing_sync: Option<(u64, bool)>,
    /// Reads until errors begin, and what chooses the blocks.
    failing_read: Option<(u64, u64)>,
}

#[derive(Default, Clone)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<(usize, Vec<u8>)>,
    /// A sync has failed, and `now` shows data that will never be durable.
    lies: bool,
}

struct Change {
    what: Kind,
    /// Directories that must still be synced before it is durable.
    waits_for: BTreeSet<String>,
}

enum Kind {
    Create(String, usize),
    Rename(String, String),
    Remove(String),
}

/// The result of one call.
#[derive(Debug)]
enum Fate {
    /// It succeeds.
    Done,
    /// It fails, and may have been done in part.
    Fails(io::Error),
    /// The power is cut during the call: it may have taken effect, without an answer.
    Cut,
}

impl SimDisk {
    /// An empty disk of this size in octets.
    pub fn new(capacity: u64, seed: u64, events: Events) -> Self {
        let state = State {
            files: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            changes: Vec::new(),
            trouble: Trouble::default(),
            capacity,
            random: fastrand::Rng::with_seed(seed),
        };
        Self(Arc::new(Mutex::new(state)), events)
    }

    /// After so many more changing calls, every call fails.
    pub fn die_after(&self, calls: u64) {
        self.lock().trouble.calls_left = Some(calls);
    }

    /// After so many more changing calls, so many of them fail with this error.
    pub fn fail_after(&self, calls: u64, times: u64, error: io::ErrorKind) {
        self.lock().trouble.errors = Some((calls, times, error));
    }

    /// The sync after so many more fails, and its writes are lost, at least in part; with `lies`
    /// reads still show them.
    pub fn fail_sync_after(&self, syncs: u64, lies: bool) {
        self.lock().trouble.failing_sync = Some((syncs, lies));
    }

    /// After so many more reads, one block of eight is unreadable.
    pub fn fail_reads_after(&self, reads: u64) {
        let mut state = self.lock();
        let choice = state.random.u64(..);
        state.trouble.failing_read = Some((reads, choice));
    }

    /// No more faults; what is lost stays lost.
    pub fn heal(&self) {
        let mut state = self.lock();
        let dead = state.trouble.dead;
        state.trouble = Trouble { calls_left: dead.then_some(0), dead, ..Trouble::default() };
    }

    /// Whether the power was cut.
    pub fn is_dead(&self) -> bool {
        self.lock().trouble.dead
    }

    /// Changes the size.
    pub fn set_capacity(&self, capacity: u64) {
        self.lock().capacity = capacity;
    }

    /// Whether reads show data that a power cut will lose.
    pub fn lies(&self) -> bool {
        self.lock().files.iter().any(|content| content.lies)
    }

    /// The disk after a power cut at this moment. This one fails from now on.
    pub fn power_cut(&self) -> Self {
        let mut old = self.take();
        let mut names = std::mem::take(&mut old.durable_names);
        for change in &old.changes {
            let survives = old.random.bool();
            self.1.count(match (&change.what, survives) {
                (Kind::Create(..), false) => "cut: a new file vanished",
                (Kind::Rename(..), false) => "cut: a rename vanished",
                (Kind::Remove(_), false) => "cut: a removal vanished",
                (_, true) => "cut: an unsynced name survived",
            });
            if survives {
                change.apply(&mut names);
            }
        }
        let named: BTreeSet<usize> = names.values().copied().collect();
        for (file, content) in old.files.iter_mut().enumerate() {
            let unsynced = std::mem::take(&mut content.unsynced);
            content.lies = false;
            if named.contains(&file) {
                survive(&mut content.durable, unsynced, &mut old.random, &self.1, "cut");
                content.now.clone_from(&content.durable);
            } else {
                *content = Content::default();
            }
        }
        let state = State {
            durable_names: names.clone(),
            names,
            changes: Vec::new(),
            trouble: Trouble::default(),
            ..old
        };
        Self(Arc::new(Mutex::new(state)), self.1.clone())
    }

    /// The disk as the next process finds it when this one is killed: everything written is
    /// visible, and no more durable than before. This one fails from now on.
    pub fn kill(&self) -> Self {
        let mut old = self.take();
        let renamed = old.changes.iter().filter_map(|change| match &change.what {
            Kind::Create(_, file) => Some(*file),
            Kind::Rename(..) | Kind::Remove(_) => None,
        });
        let reached: BTreeSet<usize> =
            old.names.values().chain(old.durable_names.values()).copied().chain(renamed).collect();
        for (file, content) in old.files.iter_mut().enumerate() {
            if !reached.contains(&file) {
                *content = Content::default();
            }
        }
        old.trouble = Trouble::default();
        Self(Arc::new(Mutex::new(old)), self.1.clone())
    }

    /// Flips one bit of one file whose path has this prefix; gives which.
    pub fn flip_bit(&self, prefix: &str) -> Option<String> {
        let mut state = self.lock();
        let candidates: Vec<(String, usize)> = state
            .names
            .iter()
            .filter(|(path, file)| path.starts_with(prefix) && !state.files[**file].now.is_empty())
            .map(|(path, file)| (path.clone(), *file))
            .collect();
        let choice = state.random.usize(..candidates.len().max(1));
        let (path, file) = candidates.get(choice)?.clone();
        let len = state.files[file].now.len();
        let at = state.random.usize(..len);
        let bit = state.random.u8(..8);
        let content = &mut state.files[file];
        content.now[at] ^= 1 << bit;
        if let Some(octet) = content.durable.get_mut(at) {
            *octet ^= 1 << bit;
        }
        self.1.count("a bit turned over");
        Some(format!("{path} at {at}"))
    }

    /// Paths with this prefix.
    pub fn paths(&self, prefix: &str) -> Vec<String> {
        self.lock().names.keys().filter(|path| path.starts_with(prefix)).cloned().collect()
    }

    /// Takes the whole state; for all others this disk fails from now on.
    fn take(&self) -> State {
        let mut state = self.lock();
        let dead = State {
            files: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            changes: Vec::new(),
            trouble: Trouble { calls_left: Some(0), dead: true, ..Trouble::default() },
            capacity: state.capacity,
            random: fastrand::Rng::with_seed(0),
        };
        std::mem::replace(&mut *state, dead)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A call that changes a directory.
    fn change(
        &self,
        what: &'static str,
        waits_for: &[&str],
        plan: impl FnOnce(&mut State) -> io::Result<Kind>,
    ) -> io::Result<()> {
        let mut state = self.lock();
        let fate = state.call(&self.1);
        self.1.tell(|| format!("{} {fate:?}: {waits_for:?}", what.trim_end_matches(" failed")));
        if let Fate::Fails(error) = fate {
            self.1.count(what);
            return Err(error);
        }
        let kind = plan(&mut state)?;
        let waits_for = waits_for.iter().map(|path| directory(path).to_owned()).collect();
        let change = Change { what: kind, waits_for };
        change.apply(&mut state.names);
        state.changes.push(change);
        fate.result()
    }
}

impl Fate {
    fn result(self) -> io::Result<()> {
        match self {
            Self::Done => Ok(()),
            Self::Fails(error) => Err(error),
            Self::Cut => Err(power_off()),
        }
    }
}

impl Kind {
    fn names(&self) -> impl Iterator<Item = &str> {
        let (name, other) = match self {
            Self::Create(path, _) | Self::Remove(path) => (path, None),
            Self::Rename(from, to) => (from, Some(to)),
        };
        std::iter::once(name).chain(other).map(String::as_str)
    }
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match &self.what {
            Kind::Create(path, file) => {
                names.insert(path.clone(), *file);
            }
            Kind::Remove(path) => {
                names.remove(path);
            }
            Kind::Rename(from, to) => {
                if let Some(file) = names.remove(from) {
                    names.insert(to.clone(), file);
                }
            }
        }
    }
}

impl State {
    /// One changing call.
    fn call(&mut self, events: &Events) -> Fate {
        let trouble = &mut self.trouble;
        match &mut trouble.calls_left {
            Some(0) if trouble.dead => return Fate::Fails(power_off()),
            Some(0) => {
                trouble.dead = true;
                return Fate::Cut;
            }
            Some(left) => *left -= 1,
            None => {}
        }
        if let Some((after, times, kind)) = &mut trouble.errors {
            if *after > 0 {
                *after -= 1;
            } else {
                let error = io::Error::from(*kind);
                events.count(if *kind == io::ErrorKind::StorageFull {
                    "ENOSPC at some call"
                } else {
                    "EIO at some call"
                });
                *times -= 1;
                if *times == 0 {
                    trouble.errors = None;
                }
                return Fate::Fails(error);
            }
        }
        Fate::Done
    }

    fn used(&self) -> u64 {
        self.names.values().map(|file| self.files[*file].now.len() as u64).sum()
    }

    fn file(&mut self, file: usize) -> io::Result<&mut Content> {
        self.files.get_mut(file).ok_or_else(power_off)
    }
}

fn power_off() -> io::Error {
    io::Error::other("the power is off")
}

fn directory(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

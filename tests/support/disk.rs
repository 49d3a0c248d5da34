//! A disk that forgets, tears, lies and fills up, behind the same trait as the real one.
//!
//! What was written is only promised after a sync. At [`SimDisk::power_cut`] every unsynced write survives whole, in part (cut
//! at any octet, with sectors missing, with junk in one) or not at all, in any order, each by its own chance; so does every
//! change of a directory that was not synced, a rename only after both its directories were. The disk can go dead after a
//! number of calls, give an error at any call, fail a sync (what it should have made durable is then lost in part or whole,
//! and every later sync says that all is well), refuse to read, run full, and turn a bit over.
//!
//! Everything it does by chance comes from its seed; [`SimDisk::events`] counts what it did.

use postern::ground::disk::{Disk, File, Space};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

/// The unit in which a device writes, in octets.
const SECTOR: usize = 512;

/// The unit in which a device refuses to read, in octets.
const BLOCK: usize = 4096;

/// The disk; clones are the same disk.
#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<State>>, Events);

/// How often what happened; clones count together. With `POSTERN_CRASH_TRACE` in the environment all of it is told in order.
#[derive(Clone)]
pub struct Events(Arc<Mutex<BTreeMap<&'static str, u64>>>, bool);

struct State {
    files: Vec<Content>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    changes: Vec<Change>,
    trouble: Trouble,
    capacity: u64,
    random: fastrand::Rng,
}

/// What is to go wrong.
#[derive(Default)]
struct Trouble {
    /// Calls until the power goes; every call fails after that.
    calls_left: Option<u64>,
    dead: bool,
    /// Calls until errors begin, how many there are, and which.
    errors: Option<(u64, u64, io::ErrorKind)>,
    /// Syncs until one fails, and whether the kernel goes on showing what it could not write.
    failing_sync: Option<(u64, bool)>,
    /// Reads until errors begin, and what chooses the blocks.
    failing_read: Option<(u64, u64)>,
}

#[derive(Default, Clone)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<(usize, Vec<u8>)>,
    /// A sync has failed, and `now` shows what will never be durable.
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

/// What becomes of one call.
#[derive(Debug)]
enum Fate {
    /// It is done.
    Done,
    /// It fails, and may have been done in part.
    Fails(io::Error),
    /// The power goes during the call: it may have been done, and nobody will hear.
    Cut,
}

impl Default for Events {
    fn default() -> Self {
        Self(Arc::default(), std::env::var_os("POSTERN_CRASH_TRACE").is_some())
    }
}

impl Events {
    /// It happened once more.
    pub fn count(&self, what: &'static str) {
        *self.lock().entry(what).or_default() += 1;
        self.tell(|| what.to_owned());
    }

    /// A step that is not counted.
    pub fn tell(&self, what: impl FnOnce() -> String) {
        if self.1 {
            eprintln!("    {}", what());
        }
    }

    /// All counts.
    pub fn all(&self) -> BTreeMap<&'static str, u64> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, u64>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl SimDisk {
    /// An empty disk with room for so many octets.
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

    /// After so many more calls that change something, every call fails.
    pub fn die_after(&self, calls: u64) {
        self.lock().trouble.calls_left = Some(calls);
    }

    /// After so many more calls that change something, so many of them fail with this error.
    pub fn fail_after(&self, calls: u64, times: u64, error: io::ErrorKind) {
        self.lock().trouble.errors = Some((calls, times, error));
    }

    /// The sync after so many more fails, and what it should have made durable is lost, in part at least; with `lies` reads go
    /// on showing it.
    pub fn fail_sync_after(&self, syncs: u64, lies: bool) {
        self.lock().trouble.failing_sync = Some((syncs, lies));
    }

    /// From the read after so many more on, one block of eight cannot be read.
    pub fn fail_reads_after(&self, reads: u64) {
        let mut state = self.lock();
        let choice = state.random.u64(..);
        state.trouble.failing_read = Some((reads, choice));
    }

    /// Nothing more goes wrong; what is lost stays lost.
    pub fn heal(&self) {
        let mut state = self.lock();
        let dead = state.trouble.dead;
        state.trouble = Trouble { calls_left: dead.then_some(0), dead, ..Trouble::default() };
    }

    /// Whether the power has gone.
    pub fn is_dead(&self) -> bool {
        self.lock().trouble.dead
    }

    /// Changes the room.
    pub fn set_capacity(&self, capacity: u64) {
        self.lock().capacity = capacity;
    }

    /// Whether reads show what a power cut will not leave.
    pub fn lies(&self) -> bool {
        self.lock().files.iter().any(|content| content.lies)
    }

    /// The disk as it comes back after the power was cut at this moment. This one is dead from now on.
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
        let state = State { durable_names: names.clone(), names, changes: Vec::new(), trouble: Trouble::default(), ..old };
        Self(Arc::new(Mutex::new(state)), self.1.clone())
    }

    /// The disk as the next process finds it when this one is killed: everything written is there, and no more durable than
    /// before. This one is dead from now on.
    pub fn kill(&self) -> Self {
        let mut old = self.take();
        let renamed = old.changes.iter().filter_map(|change| match &change.what {
            Kind::Create(_, file) => Some(*file),
            Kind::Rename(..) | Kind::Remove(_) => None,
        });
        let reached: BTreeSet<usize> = old.names.values().chain(old.durable_names.values()).copied().chain(renamed).collect();
        for (file, content) in old.files.iter_mut().enumerate() {
            if !reached.contains(&file) {
                *content = Content::default();
            }
        }
        old.trouble = Trouble::default();
        Self(Arc::new(Mutex::new(old)), self.1.clone())
    }

    /// Turns over one bit of one file whose path has this prefix; tells which.
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

    /// Takes everything out; whoever still has this disk finds it dead.
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

    /// A call that changes names.
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
    /// One call that changes something.
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
                events.count(if *kind == io::ErrorKind::StorageFull { "ENOSPC at some call" } else { "EIO at some call" });
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

/// What chance lets reach the disk of writes that no sync has covered.
fn survive(
    octets: &mut Vec<u8>,
    mut unsynced: Vec<(usize, Vec<u8>)>,
    random: &mut fastrand::Rng,
    events: &Events,
    when: &'static str,
) {
    if random.bool() {
        random.shuffle(&mut unsynced);
    }
    for (offset, data) in unsynced {
        let (event, kept) = surviving(data.len(), random);
        if when == "cut" {
            events.count(event);
        }
        for range in kept {
            write(octets, offset + range.start, &data[range]);
        }
        if event == "cut: a write with junk in it" {
            let at = random.usize(..data.len().max(1));
            let junk: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(SECTOR.min(data.len() - at)).collect();
            write(octets, offset + at, &junk);
        }
    }
}

/// The parts of a write that survive.
fn surviving(len: usize, random: &mut fastrand::Rng) -> (&'static str, Vec<Range<usize>>) {
    match random.u8(..16) {
        0..=3 => ("cut: a write vanished", Vec::new()),
        4..=7 => ("cut: an unsynced write survived", std::iter::once(0..len).collect()),
        8..=10 => ("cut: a write lost its end", std::iter::once(0..random.usize(..=len)).collect()),
        11 => ("cut: a write lost its beginning", std::iter::once(random.usize(..=len)..len).collect()),
        12 => {
            let from = random.usize(..=len);
            let to = random.usize(from..=len);
            ("cut: a write lost its middle", vec![0..from, to..len])
        }
        13..=14 => {
            let sectors = (0..len).step_by(SECTOR).filter(|_| random.bool());
            ("cut: a write lost some sectors", sectors.map(|from| from..len.min(from + SECTOR)).collect())
        }
        _ => ("cut: a write with junk in it", std::iter::once(0..random.usize(..=len)).collect()),
    }
}

fn write(octets: &mut Vec<u8>, offset: usize, data: &[u8]) {
    if octets.len() < offset + data.len() {
        octets.resize(offset + data.len(), 0);
    }
    octets[offset..offset + data.len()].copy_from_slice(data);
}

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
        // What becomes durable takes along the earlier changes of the same names: a directory does not go back.
        let mut names: BTreeSet<&str> = BTreeSet::new();
        let mut durable = vec![false; state.changes.len()];
        for (change, durable) in state.changes.iter_mut().zip(&mut durable).rev() {
            change.waits_for.remove(directory);
            *durable = change.waits_for.is_empty() || change.what.names().any(|name| names.contains(name));
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
        let fate = state.call(&self.0.1);
        self.0.1.tell(|| format!("write {fate:?}: file {} at {offset}, {} octets", self.1, data.len()));
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
        // The call during which the power goes may have handed everything to the device already.
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
        let failing = failing.or_else(|| matches!(fate, Fate::Fails(_)).then(|| state.random.bool()));
        let State { files, random, trouble, .. } = &mut *state;
        let file = files.get_mut(self.1).ok_or_else(power_off)?;
        if trouble.dead {
            return Err(power_off());
        }
        if let Some(lies) = failing {
            // As kernels do: what could not be written counts as clean, and the next sync will say that all is well.
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
        // What was lost may have been written over since.
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
                blocks.any(|block| fastrand::Rng::with_seed(choice ^ (file as u64) << 32 ^ block as u64).u8(..8) == 0)
            }
            Some((left, _)) => {
                *left -= 1;
                false
            }
        }
    }
}

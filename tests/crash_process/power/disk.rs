//! A disk that loses its write cache, as real ones do at a power cut.
//!
//! In: reads, writes and flushes of the machine, over a socket. Out: the medium after a cut.
//! Flushed data are there. Of what was written since, each sector has its old content, or any that
//! it was given meanwhile: written back in any order, torn where a sector ends. A cut comes between
//! two requests; one in the middle of a flush looks like one before it. Limits: sectors of 512
//! octets (or as many of them together as [`Disk::new`] is told), at some cuts of 4096, are written
//! whole or not at all, as disks promise.

use super::nbd::{Device, serve};
use fastrand::Rng;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const SECTOR: usize = 512;
/// A flush takes up to so long, so that an answer that does not wait for it is detected.
const FLUSH: Duration = Duration::from_millis(25);
/// How long a cut may wait for unflushed writes.
const AT_STAKE: Duration = Duration::from_secs(1);

pub struct Disk {
    dir: tempfile::TempDir,
    state: Arc<Mutex<State>>,
}

struct State {
    medium: File,
    size: u64,
    /// By the number of the sector: its contents since the last flush, in order, each with the
    /// number of its write.
    cache: BTreeMap<u64, Vec<(u64, [u8; SECTOR])>>,
    /// Sectors that are never torn apart.
    together: u64,
    writes: u64,
    flushes: u64,
    is_honest: bool,
    /// Counts cuts: a connection from before the last one gets no answer.
    cuts: u32,
}

/// The effects of a cut.
#[derive(Debug, Clone, Copy)]
pub struct Cut {
    /// Sectors that were written and not flushed.
    pub at_stake: usize,
    /// Of these, how many do not have their last written content.
    pub lost: usize,
    /// Flushes since the previous cut.
    pub flushes: u64,
}

impl Disk {
    /// A blank one; so many sectors are never torn apart.
    pub fn new(size: u64, together: u64) -> Self {
        let dir = tempfile::Builder::new().prefix("postern-power-").tempdir_in("/tmp").unwrap();
        let medium = File::options()
            .create_new(true)
            .read(true)
            .write(true)
            .open(dir.path().join("medium"))
            .unwrap();
        medium.set_len(size).unwrap();
        let state = State {
            medium,
            size,
            cache: BTreeMap::new(),
            together,
            writes: 0,
            flushes: 0,
            is_honest: true,
            cuts: 0,
        };
        let disk = Self { dir, state: Arc::new(Mutex::new(state)) };
        let listener = UnixListener::bind(disk.socket()).unwrap();
        let state = Arc::clone(&disk.state);
        // It runs until the test's process ends.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let cuts = state.lock().unwrap().cuts;
                let connection = Connection { state: Arc::clone(&state), cuts };
                std::thread::spawn(move || drop(serve(stream, &connection)));
            }
        });
        disk
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    /// The argument for qemu.
    pub fn drive(&self) -> String {
        drive(&self.socket())
    }

    /// From now on flushes are answered, but nothing is flushed.
    pub fn lie(&self) {
        self.state.lock().unwrap().is_honest = false;
    }

    /// Waits until so many sectors are written and not flushed; with a time limit.
    pub fn wait_at_stake(&self, sectors: usize) {
        let end = Instant::now() + AT_STAKE;
        while Instant::now() < end && self.state.lock().unwrap().cache.len() < sectors {
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// The power is cut. `None`: nothing survives that was not flushed. The next machine gets a
    /// disk that flushes.
    pub fn cut(&self, random: Option<&mut Rng>) -> Cut {
        let mut state = self.state.lock().unwrap();
        let at_stake = state.cache.len();
        let lost = match random {
            Some(random) => state.write_back_some(random),
            None => at_stake,
        };
        state.cache.clear();
        state.cuts += 1;
        state.is_honest = true;
        Cut { at_stake, lost, flushes: std::mem::take(&mut state.flushes) }
    }
}

fn drive(socket: &Path) -> String {
    format!("file=nbd+unix:///?socket={},if=virtio,format=raw,cache=writeback", socket.display())
}

impl State {
    fn write_back(&self, sector: u64, octets: &[u8]) {
        self.medium.write_all_at(octets, sector * SECTOR as u64).unwrap();
    }

    /// How many sectors do not have their last written content.
    fn write_back_some(&self, random: &mut Rng) -> usize {
        let together = if random.bool() { self.together } else { 8 };
        let survives = [0.0, 0.1, 0.5, 0.9, 1.0][random.usize(..5)];
        let mut lost = 0;
        let mut sectors = self.cache.iter().peekable();
        while let Some(&(first, _)) = sectors.peek() {
            let group = *first / together;
            let mut members = Vec::new();
            while let Some(member) = sectors.next_if(|(sector, _)| *sector / together == group) {
                members.push(member);
            }
            let mut moments: Vec<u64> = members
                .iter()
                .flat_map(|(_, given)| given.iter().map(|(write, _)| *write))
                .collect();
            moments.sort_unstable();
            moments.dedup();
            // The cache has written the group back at this time, if at all.
            let moment = (random.f64() < survives).then(|| moments[random.usize(..moments.len())]);
            for (&sector, given) in members {
                let written = moment
                    .and_then(|moment| given.iter().rev().find(|(write, _)| *write <= moment));
                if let Some((_, octets)) = written {
                    self.write_back(sector, octets);
                }
                lost += usize::from(
                    written.map(|(write, _)| write) != given.last().map(|(write, _)| write),
                );
            }
        }
        lost
    }
}

/// A machine that has this disk.
struct Connection {
    state: Arc<Mutex<State>>,
    cuts: u32,
}

impl Connection {
    /// Does nothing without power.
    fn with(&self, what: impl FnOnce(&mut State)) {
        let mut state = self.state.lock().unwrap();
        if state.cuts == self.cuts {
            what(&mut state);
        }
    }
}

impl Device for Connection {
    fn size(&self) -> u64 {
        self.state.lock().unwrap().size
    }

    fn read(&self, offset: u64, octets: &mut [u8]) {
        self.with(|state| {
            state.medium.read_exact_at(octets, offset).unwrap();
            let (first, count) = (offset / SECTOR as u64, (octets.len() / SECTOR) as u64);
            for (sector, given) in state.cache.range(first..first + count) {
                let at = usize::try_from(sector - first).unwrap() * SECTOR;
                octets[at..at + SECTOR].copy_from_slice(&given.last().unwrap().1);
            }
        });
    }

    fn write(&self, offset: u64, octets: &[u8]) {
        assert!(
            offset.is_multiple_of(SECTOR as u64) && octets.len().is_multiple_of(SECTOR),
            "sectors are written whole"
        );
        self.with(|state| {
            state.writes += 1;
            let number = state.writes;
            for (sector, content) in (offset / SECTOR as u64..).zip(octets.as_chunks().0) {
                state.cache.entry(sector).or_default().push((number, *content));
            }
        });
    }

    fn flush(&self) {
        std::thread::sleep(FLUSH.mul_f64(fastrand::f64()));
        self.with(|state| {
            state.flushes += 1;
            if state.is_honest {
                for (sector, given) in std::mem::take(&mut state.cache) {
                    state.write_back(sector, &given.last().unwrap().1);
                }
            }
        });
    }

    fn is_on(&self) -> bool {
        self.state.lock().unwrap().cuts == self.cuts
    }
}

#[test]
fn a_cut_leaves_what_was_flushed_and_any_part_of_the_rest() {
    let disk = Disk::new(1 << 20, 1);
    let connection =
        || Connection { state: Arc::clone(&disk.state), cuts: disk.state.lock().unwrap().cuts };
    let machine = connection();
    let content = |machine: &Connection| {
        let mut octets = vec![0; 16 * SECTOR];
        machine.read(0, &mut octets);
        octets.chunks(SECTOR).map(|sector| sector[0]).collect::<Vec<u8>>()
    };
    machine.write(0, &[1; 16 * SECTOR]);
    machine.flush();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..200 {
        let machine = connection();
        machine.write(0, &[1; 16 * SECTOR]);
        machine.flush();
        machine.write(0, &[2; 16 * SECTOR]);
        machine.write(0, &[3; 16 * SECTOR]);
        assert_eq!(content(&machine), [3; 16]);
        disk.cut(Some(&mut Rng::new()));
        machine.write(0, &[4; 16 * SECTOR]);
        machine.flush();
        assert!(!machine.is_on());
        let left = content(&connection());
        assert!(left.iter().all(|octet| (1..=3).contains(octet)), "{left:?}");
        seen.insert(left);
    }
    assert!(seen.contains(&vec![1; 16]) && seen.len() > 20, "{seen:?}");
    disk.lie();
    let machine = connection();
    machine.write(0, &[5; SECTOR]);
    machine.flush();
    assert_eq!(disk.cut(None).lost, 1);
    assert_ne!(content(&connection())[0], 5);
}

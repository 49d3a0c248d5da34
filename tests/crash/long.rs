//! All kinds of faults in one history, and many histories: `scripts/histories.sh` runs them for
//! hours.
//!
//! `POSTERN_HISTORY_STEPS` and `POSTERN_HISTORY_SECONDS` say how long; `POSTERN_HISTORY_SEED` runs
//! one history alone, `POSTERN_HISTORY_FROM` is the first seed of many.

use crate::disk::Events;
use crate::history::{History, SMALL};
use crate::mail::spool::SpoolConfig;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Steps that CI runs.
const SLICE: u64 = 40_000;

/// Events that must have happened; otherwise the histories test nothing.
const MUST_HAPPEN: [&str; 53] = [
    "ENOSPC at some call",
    "EIO at some call",
    "a bit turned over",
    "a create failed",
    "a read failed",
    "a remove failed",
    "a rename failed",
    "a sync failed, and reads do not show it",
    "a sync failed, and what it lost is gone",
    "a sync lied",
    "a sync of a directory failed",
    "a write failed",
    "a write found no room",
    "accepted",
    "accepted with a file",
    "an order was refused",
    "clean restart",
    "crash in a recovery",
    "crash right after a recovery",
    "cut: a new file vanished",
    "cut: a removal vanished",
    "cut: a rename vanished",
    "cut: a write lost its beginning",
    "cut: a write lost its end",
    "cut: a write lost its middle",
    "cut: a write lost some sectors",
    "cut: a write vanished",
    "cut: a write with junk in it",
    "cut: an unsynced name survived",
    "cut: an unsynced write survived",
    "delay told",
    "deleted",
    "finished",
    "flip: nobody suffered",
    "flip: one message suffered",
    "held",
    "kill",
    "opened in spite of errors",
    "opened with blocks that cannot be read",
    "power cut",
    "progress noted",
    "read back",
    "records were copied forward",
    "recovery",
    "recovery on a disk that lies",
    "recovery: a damaged record set aside",
    "recovery: an unfinished write set aside",
    "refused",
    "refused to open",
    "released",
    "segment begun",
    "segment kept as a spare",
    "segment removed",
];

#[test]
fn a_queue_keeps_its_promises_on_a_disk_that_keeps_none() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let events = Events::default();
    if let Some(seed) = number("POSTERN_HISTORY_SEED") {
        let steps = live(seed, &events);
        return report(steps, 1, &events);
    }
    let seconds = number("POSTERN_HISTORY_SECONDS");
    let steps =
        number("POSTERN_HISTORY_STEPS").unwrap_or(if seconds.is_some() { u64::MAX } else { SLICE });
    let end = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let next = AtomicU64::new(number("POSTERN_HISTORY_FROM").unwrap_or(0));
    let first = next.load(Ordering::Relaxed);
    let (done, failed) = (AtomicU64::new(0), AtomicBool::new(false));
    let workers = number("POSTERN_HISTORY_WORKERS").unwrap_or(2);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while done.load(Ordering::Relaxed) < steps
                    && end.is_none_or(|end| Instant::now() < end)
                    && !failed.load(Ordering::Relaxed)
                {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    match std::panic::catch_unwind(AssertUnwindSafe(|| live(seed, &events))) {
                        Ok(steps) => done.fetch_add(steps, Ordering::Relaxed),
                        Err(_) => {
                            failed.store(true, Ordering::Relaxed);
                            eprintln!(
                                "history {seed} failed. Alone: scripts/histories.sh --seed {seed}"
                            );
                            0
                        }
                    };
                }
            });
        }
        scope.spawn(|| progress(&done, steps, end, &failed));
    });
    let histories = next.load(Ordering::Relaxed) - first;
    report(done.load(Ordering::Relaxed), histories, &events);
    assert!(!failed.load(Ordering::Relaxed), "a history failed: see above");
    let happened = events.all();
    let missing: Vec<_> =
        MUST_HAPPEN.iter().filter(|event| !happened.contains_key(**event)).collect();
    assert!(missing.is_empty(), "this never happened, so nothing was shown about it: {missing:?}");
}

/// One history; gives how many steps it had.
fn live(seed: u64, events: &Events) -> u64 {
    let mut choice = fastrand::Rng::with_seed(seed ^ 0x0070_6f73_7465_726e);
    let segment_max = *choice.choice(&[16u64 << 10, 64 << 10, 256 << 10]).unwrap();
    let room = *choice.choice(&[2u64 << 20, 8 << 20, 64 << 20]).unwrap();
    // Without slack much is copied all the time, and ends during the copy.
    let spare_segments = *choice.choice(&[0, 0, 1, 4]).unwrap();
    let mut history = History::counted(
        seed,
        room,
        SpoolConfig { segment_max, spare_segments, ..SMALL },
        events.clone(),
    );
    let flips_at = choice.usize(..16);
    let mut steps = 0;
    for part in 0..choice.usize(4..16) {
        let len = if choice.u8(..4) == 0 { choice.u64(40..400) } else { choice.u64(1..40) };
        let troubled = choice.u8(..3) == 0;
        if troubled {
            history.trouble();
        }
        if choice.u8(..3) == 0 {
            history.disk.die_after(choice.u64(..200));
        }
        for _ in 0..len {
            history.step();
        }
        steps += len;
        match choice.u8(..16) {
            _ if part == flips_at => history.flip_a_bit(),
            0..=3 => history.power_cut(),
            4..=5 => history.kill(),
            6..=7 => {
                history.kill();
                history.power_cut();
            }
            8..=9 => history.crash_in_recovery(),
            10..=11 => history.trouble_in_recovery(),
            12 => history.unreadable_in_recovery(),
            13 => history.restart(),
            14 => history.recover(),
            _ => {}
        }
    }
    history.clear();
    steps
}

fn progress(done: &AtomicU64, steps: u64, end: Option<Instant>, failed: &AtomicBool) {
    let begun = Instant::now();
    let mut told = begun;
    loop {
        std::thread::sleep(Duration::from_millis(100));
        let so_far = done.load(Ordering::Relaxed);
        if so_far >= steps
            || end.is_some_and(|end| Instant::now() >= end)
            || failed.load(Ordering::Relaxed)
        {
            return;
        }
        if told.elapsed() >= Duration::from_secs(10) {
            told = Instant::now();
            println!("{so_far} steps in {} s", begun.elapsed().as_secs());
        }
    }
}

fn report(steps: u64, histories: u64, events: &Events) {
    println!("{steps} steps in {histories} histories:");
    for (event, times) in events.all() {
        println!("{times:>12}  {event}");
    }
}

//! Power cuts, failing syncs, a full disk and flipped bits, one kind of trouble at a time.
//! `POSTERN_CRASH_SEEDS` asks for more histories than CI runs; `POSTERN_CRASH_SEED` runs one again.
//! All kinds together: `long`.

use crate::history::{History, SMALL};
use crate::mail::spool::SpoolConfig;

const ROOM: u64 = 1 << 30;

fn seeds(default: u64) -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match number("POSTERN_CRASH_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("POSTERN_CRASH_SEEDS").unwrap_or(default),
    }
}

#[test]
fn nothing_answered_is_lost_when_the_power_goes() {
    for seed in seeds(150) {
        let mut history = History::new(seed, ROOM, SMALL);
        for _ in 0..4 {
            let calls = history.random().u64(..60);
            history.disk.die_after(calls);
            history.live(1..40);
            history.power_cut();
        }
        history.restart();
    }
}

#[test]
fn nothing_answered_is_lost_when_a_kill_comes_before_the_power_goes() {
    for seed in seeds(100) {
        let mut history = History::new(seed, ROOM, SMALL);
        for _ in 0..4 {
            let calls = history.random().u64(..60);
            history.disk.die_after(calls);
            history.live(1..40);
            history.kill();
            if history.random().bool() {
                history.power_cut();
            }
        }
        history.restart();
    }
}

#[test]
fn nothing_answered_is_lost_when_a_sync_fails() {
    for seed in seeds(100) {
        let mut history = History::new(seed, ROOM, SMALL);
        for _ in 0..3 {
            let (syncs, lies) = (history.random().u64(..20), history.random().bool());
            history.disk.fail_sync_after(syncs, lies);
            history.live(1..40);
            if history.random().bool() {
                history.power_cut();
            } else {
                history.restart();
            }
        }
    }
}

#[test]
fn a_full_disk_refuses_and_loses_nothing() {
    for seed in seeds(20) {
        let mut history =
            History::new(seed, 3 << 20, SpoolConfig { segment_max: 1 << 20, ..SMALL });
        let mut refused = false;
        for _ in 0..700 {
            refused |= history.accept().is_err();
        }
        assert!(refused, "seed {seed}: the disk never ran full");
        assert!(history.owed() > 10, "seed {seed}: hardly anything was accepted");
        history.power_cut();
        history.disk.set_capacity(ROOM);
        history.restart();
        history
            .accept()
            .unwrap_or_else(|error| panic!("seed {seed}: after there was room again: {error}"));
        history.check();
    }
}

#[test]
fn segments_turn_over_and_give_their_room_back() {
    for seed in seeds(3) {
        let mut history = History::new(seed, ROOM, SMALL);
        for round in 0..6 {
            for _ in 0..500 {
                history.step();
            }
            match round {
                2 => history.kill(),
                4 => history.power_cut(),
                _ => history.restart(),
            }
        }
        history.clear();
    }
}

#[test]
fn one_flipped_bit_costs_at_most_the_one_message_it_hit() {
    for seed in seeds(150) {
        let mut history = History::new(seed, ROOM, SMALL);
        history.live(30..90);
        history.flip_a_bit();
    }
}

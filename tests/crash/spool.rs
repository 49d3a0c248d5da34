//! Power cuts, failing syncs, a full disk and flipped bits. `POSTERN_CRASH_SEEDS` asks for more histories than CI runs;
//! `POSTERN_CRASH_SEED` runs one again.

use crate::history::History;

const ROOM: u64 = 1 << 40;

fn seeds(default: u64) -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match number("POSTERN_CRASH_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("POSTERN_CRASH_SEEDS").unwrap_or(default),
    }
}

#[tokio::test]
async fn nothing_answered_is_lost_when_the_power_goes() {
    for seed in seeds(150) {
        let mut history = History::new(seed, ROOM);
        for _ in 0..4 {
            let calls = history.random().u64(..60);
            history.disk.die_after(calls);
            for _ in 0..history.random().usize(1..40) {
                history.step().await;
            }
            history.power_cut(seed).await;
        }
        history.restart(seed).await;
    }
}

#[tokio::test]
async fn nothing_answered_is_lost_when_a_kill_comes_before_the_power_goes() {
    for seed in seeds(100) {
        let mut history = History::new(seed, ROOM);
        for _ in 0..4 {
            let calls = history.random().u64(..60);
            history.disk.die_after(calls);
            for _ in 0..history.random().usize(1..40) {
                history.step().await;
            }
            history.kill(seed).await;
            if history.random().bool() {
                history.power_cut(seed).await;
            }
        }
        history.restart(seed).await;
    }
}

#[tokio::test]
async fn nothing_answered_is_lost_when_a_sync_fails() {
    for seed in seeds(100) {
        let mut history = History::new(seed, ROOM);
        for _ in 0..3 {
            let syncs = history.random().u64(..20);
            history.disk.fail_sync_after(syncs);
            for _ in 0..history.random().usize(1..40) {
                history.step().await;
            }
            if history.random().bool() {
                history.power_cut(seed).await;
            } else {
                history.restart(seed).await;
            }
        }
    }
}

#[tokio::test]
async fn a_full_disk_refuses_and_loses_nothing() {
    for seed in seeds(20) {
        let mut history = History::new(seed, 3 << 20);
        let mut refused = false;
        for _ in 0..400 {
            refused |= history.accept().await.is_err();
        }
        assert!(refused, "seed {seed}: the disk never ran full");
        assert!(history.owed() > 10, "seed {seed}: hardly anything was accepted");
        history.power_cut(seed).await;
        history.disk.set_capacity(ROOM);
        history.restart(seed).await;
        history.accept().await.unwrap_or_else(|error| panic!("seed {seed}: after there was room again: {error}"));
        history.check(seed).await;
    }
}

#[tokio::test]
async fn segments_turn_over_and_give_their_room_back() {
    for seed in seeds(3) {
        let mut history = History::new(seed, ROOM);
        for round in 0..6 {
            for _ in 0..500 {
                history.step().await;
            }
            match round {
                2 => history.kill(seed).await,
                4 => history.power_cut(seed).await,
                _ => history.restart(seed).await,
            }
        }
        history.restart(seed).await;
        let segments = history.disk.paths("log/").len();
        assert!(segments < 30, "seed {seed}: {segments} segments are left");
    }
}

#[tokio::test]
async fn one_flipped_bit_costs_at_most_the_one_message_it_hit() {
    for seed in seeds(150) {
        let mut history = History::new(seed, ROOM);
        for _ in 0..30 {
            history.accept().await.unwrap();
        }
        history.flip_a_bit(seed).await;
    }
}

//! The remains of a write after a power cut.

use super::{Events, SECTOR};
use std::ops::Range;

/// Random choice of the unsynced writes that reach the disk.
pub(super) fn survive(
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
            let idle_commands: Vec<u8> = std::iter::repeat_with(|| random.u8(..))
                .take(SECTOR.min(data.len() - at))
                .collect();
            write(octets, offset + at, &idle_commands);
        }
    }
}

/// The parts of a write that survive.
fn surviving(len: usize, random: &mut fastrand::Rng) -> (&'static str, Vec<Range<usize>>) {
    match random.u8(..16) {
        0..=3 => ("cut: a write vanished", Vec::new()),
        4..=7 => ("cut: an unsynced write survived", std::iter::once(0..len).collect()),
        8..=10 => ("cut: a write lost its end", std::iter::once(0..random.usize(..=len)).collect()),
        11 => (
            "cut: a write lost its beginning",
            std::iter::once(random.usize(..=len)..len).collect(),
        ),
        12 => {
            let from = random.usize(..=len);
            let to = random.usize(from..=len);
            ("cut: a write lost its middle", vec![0..from, to..len])
        }
        13..=14 => {
            let sectors = (0..len).step_by(SECTOR).filter(|_| random.bool());
            (
                "cut: a write lost some sectors",
                sectors.map(|from| from..len.min(from + SECTOR)).collect(),
            )
        }
        _ => ("cut: a write with junk in it", std::iter::once(0..random.usize(..=len)).collect()),
    }
}

pub(super) fn write(octets: &mut Vec<u8>, offset: usize, data: &[u8]) {
    if octets.len() < offset + data.len() {
        octets.resize(offset + data.len(), 0);
    }
    octets[offset..offset + data.len()].copy_from_slice(data);
}

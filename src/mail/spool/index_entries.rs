//! The index's entries, packed: 40 octets for each message and little overhead.
//!
//! Ids rise, so entries are nearly always added at the end: sorted chunks, each filled completely
//! before the next is begun. A chunk that has become small joins its neighbour, so memory follows
//! the queue down again.

use super::record_heads::HoldFlag;
use std::collections::BTreeMap;

/// Entries of a chunk, at most: as many as one removal may have to move.
const CHUNK: usize = 256;

/// One message's entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexEntry {
    /// The accept record.
    pub accept: RecordLocation,
    /// The last state record; `None` before the first.
    pub state: Option<RecordLocation>,
    /// Octets of the content.
    pub size: u64,
    /// Octets of the accept record's frame.
    pub frame: u32,
    /// Octets of the last state record's frame; 0 before the first.
    pub state_frame: u32,
    /// Whether it is held.
    pub held: HoldFlag,
    /// The delay warning was sent.
    pub delay_warning_sent: bool,
    /// The content has a file of its own.
    pub file: bool,
}

/// A frame's location on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordLocation {
    /// Number of the segment.
    pub segment: u32,
    /// Where the frame starts in it.
    pub offset: u32,
}

/// Entries by id.
#[derive(Default)]
pub struct IndexEntries {
    /// By a lower bound of the ids in them, which is above the ids of the chunk before; no chunk is
    /// empty.
    chunks: BTreeMap<u64, Vec<Packed>>,
    len: usize,
}

impl IndexEntries {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The entry of an id.
    pub fn get(&self, id: u64) -> Option<IndexEntry> {
        let (_, chunk) = self.chunks.range(..=id).next_back()?;
        chunk.binary_search_by_key(&id, Packed::id).ok().map(|place| chunk[place].slot())
    }

    /// Adds or replaces the entry of an id.
    pub fn set(&mut self, id: u64, slot: IndexEntry) {
        let packed = Packed::new(id, &slot);
        let Some((_, chunk)) = self.chunks.range_mut(..=id).next_back() else {
            return self.begin(packed);
        };
        match chunk.binary_search_by_key(&id, Packed::id) {
            Ok(place) => chunk[place] = packed,
            Err(place) if chunk.len() < CHUNK => {
                chunk.insert(place, packed);
                self.len += 1;
            }
            Err(CHUNK) => self.behind_a_full_chunk(packed),
            Err(place) => {
                // Not split in halves: the lower half would stay half full.
                if let Some(last) = chunk.pop() {
                    chunk.insert(place, packed);
                    self.behind_a_full_chunk(last);
                }
            }
        }
    }

    /// Removes the entry of an id.
    pub fn remove(&mut self, id: u64) -> Option<IndexEntry> {
        let (key, chunk) = self.chunks.range_mut(..=id).next_back()?;
        let place = chunk.binary_search_by_key(&id, Packed::id).ok()?;
        let (key, slot, left) = (*key, chunk.remove(place).slot(), chunk.len());
        self.len -= 1;
        if left == 0 {
            self.chunks.remove(&key);
        } else if left < CHUNK / 4 {
            self.join_next(key);
        }
        Some(slot)
    }

    /// Entries from an id on, in order.
    pub fn from(&self, id: u64) -> impl Iterator<Item = (u64, IndexEntry)> {
        let first = self.chunks.range(..=id).next_back().map_or(id, |(key, _)| *key);
        let entries = self.chunks.range(first..).flat_map(|(_, chunk)| chunk);
        entries
            .skip_while(move |packed| packed.id() < id)
            .map(|packed| (packed.id(), packed.slot()))
    }

    /// Puts an entry at the front of the next chunk, if that has room, instead of into a new chunk,
    /// which would stay almost empty: sessions end a little out of order.
    fn behind_a_full_chunk(&mut self, packed: Packed) {
        let next = self
            .chunks
            .range(packed.id()..)
            .next()
            .filter(|(_, chunk)| chunk.len() < CHUNK)
            .map(|(key, _)| *key);
        match next.and_then(|key| self.chunks.remove(&key)) {
            Some(mut chunk) => {
                chunk.insert(0, packed);
                self.chunks.insert(packed.id(), chunk);
                self.len += 1;
            }
            None => self.begin(packed),
        }
    }

    fn begin(&mut self, packed: Packed) {
        let mut chunk = Vec::with_capacity(CHUNK);
        chunk.push(packed);
        self.chunks.insert(packed.id(), chunk);
        self.len += 1;
    }

    /// Joins a small chunk with the next one, when together they are still far from full.
    fn join_next(&mut self, key: u64) {
        let mut both = self.chunks.range(key..);
        let (Some((_, small)), Some((next, other))) = (both.next(), both.next()) else { return };
        if small.len() + other.len() > CHUNK / 2 {
            return;
        }
        let next = *next;
        if let (Some(mut other), Some(small)) =
            (self.chunks.remove(&next), self.chunks.get_mut(&key))
        {
            small.append(&mut other);
        }
    }
}

/// An entry in words of four octets; for their meaning see [`IndexEntry`].
#[derive(Clone, Copy)]
struct Packed {
    id: [u32; 2],
    accept: RecordLocation,
    /// Segment 0 means that there is no state record; segments count from 1.
    state: RecordLocation,
    size: u32,
    frame: u32,
    state_frame: u32,
    /// The size above 32 bits: up to a terabyte times 256.
    size_high: u16,
    flags: u8,
}

const HELD: u8 = 1;
const DELAY_WARNING_SENT: u8 = 2;
const FILE: u8 = 4;
const STATE: u8 = 8;
const RELEASED: u8 = 16;

impl Packed {
    #[allow(clippy::cast_possible_truncation, reason = "the halves of a number")]
    fn new(id: u64, slot: &IndexEntry) -> Self {
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        Self {
            id: [(id >> 32) as u32, id as u32],
            accept: slot.accept,
            state: slot.state.unwrap_or(RecordLocation { segment: 0, offset: 0 }),
            size: slot.size as u32,
            frame: slot.frame,
            state_frame: slot.state_frame,
            size_high: (slot.size >> 32) as u16,
            flags: flag(slot.held == HoldFlag::Held, HELD)
                | flag(slot.held == HoldFlag::Released, RELEASED)
                | flag(slot.delay_warning_sent, DELAY_WARNING_SENT)
                | flag(slot.file, FILE)
                | flag(slot.state.is_some(), STATE),
        }
    }

    fn id(&self) -> u64 {
        u64::from(self.id[0]) << 32 | u64::from(self.id[1])
    }

    fn slot(&self) -> IndexEntry {
        let flag = |flag: u8| self.flags & flag != 0;
        IndexEntry {
            accept: self.accept,
            state: flag(STATE).then_some(self.state),
            size: u64::from(self.size_high) << 32 | u64::from(self.size),
            frame: self.frame,
            state_frame: self.state_frame,
            held: match (flag(HELD), flag(RELEASED)) {
                (true, _) => HoldFlag::Held,
                (false, true) => HoldFlag::Released,
                (false, false) => HoldFlag::Free,
            },
            delay_warning_sent: flag(DELAY_WARNING_SENT),
            file: flag(FILE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(random: &mut fastrand::Rng) -> IndexEntry {
        let place = |random: &mut fastrand::Rng| RecordLocation {
            segment: random.u32(..),
            offset: random.u32(..),
        };
        let accept = place(random);
        let state = if random.bool() { Some(place(random)) } else { None };
        IndexEntry {
            accept,
            state,
            size: random.u64(..1 << 48),
            frame: random.u32(..),
            state_frame: random.u32(..),
            held: [HoldFlag::Free, HoldFlag::Held, HoldFlag::Released][random.usize(..3)],
            delay_warning_sent: random.bool(),
            file: random.bool(),
        }
    }

    #[test]
    fn an_entry_is_forty_octets() {
        assert_eq!(size_of::<Packed>(), 40);
    }

    #[test]
    fn whatever_is_done_to_it_the_answers_are_those_of_a_map() {
        for seed in 0..20 {
            let mut random = fastrand::Rng::with_seed(seed);
            let (mut slots, mut model) = (IndexEntries::default(), BTreeMap::new());
            for step in 0..20_000u64 {
                let any = random.u64(..30_000);
                // Grows by ascending ids, then shrinks.
                let growing = step < 12_000;
                match random.u8(..10) {
                    0..=5 if growing => {
                        let entry = slot(&mut random);
                        slots.set(10_000 + step, entry);
                        model.insert(10_000 + step, entry);
                    }
                    6 if growing => {
                        let entry = slot(&mut random);
                        slots.set(any, entry);
                        model.insert(any, entry);
                    }
                    _ => {
                        let id = model.range(any..).next().map_or(any, |(id, _)| *id);
                        assert_eq!(slots.remove(id), model.remove(&id), "seed {seed}");
                    }
                }
                assert_eq!(slots.get(any), model.get(&any).copied(), "seed {seed}");
                assert_eq!(slots.len(), model.len(), "seed {seed}");
                if step % 500 == 0 {
                    assert!(
                        slots.from(any).eq(model.range(any..).map(|(id, slot)| (*id, *slot))),
                        "seed {seed}"
                    );
                }
            }
            let room: usize = slots.chunks.len();
            assert!(
                room <= 2 + slots.len() * 8 / CHUNK,
                "seed {seed}: {room} chunks for {}",
                slots.len()
            );
        }
    }

    #[test]
    fn ids_that_rise_a_little_out_of_order_fill_the_chunks_too() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut slots = IndexEntries::default();
        let entry = slot(&mut random);
        let mut ids: Vec<u64> = (0..CHUNK as u64 * 100).collect();
        ids.chunks_mut(100).for_each(|some| random.shuffle(some));
        ids.iter().for_each(|id| slots.set(*id, entry));
        assert!(slots.chunks.len() < 150, "{} chunks", slots.chunks.len());
        assert!(slots.from(0).map(|(id, _)| id).eq(0..CHUNK as u64 * 100));
    }

    #[test]
    fn rising_ids_fill_every_chunk() {
        let mut slots = IndexEntries::default();
        let entry = slot(&mut fastrand::Rng::with_seed(1));
        (0..CHUNK as u64 * 100).for_each(|id| slots.set(id, entry));
        assert_eq!(slots.chunks.len(), 100);
        assert!(slots.chunks.values().all(|chunk| chunk.capacity() == CHUNK));
    }
}

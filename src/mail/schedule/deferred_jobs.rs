//! Deferred jobs, which wait for their due time: about 16 octets for each, whether a million are
//! due in the same minute or each in a different one.
//!
//! They are kept in lists of [`SPAN`] seconds each; a job records for which second of its list it
//! waits.

use super::job::{DestinationId, Job};
use super::job_source::FlowKey;
use crate::mail::model::MessageId;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

/// Seconds of a list. Short lists take more memory where few jobs wait in each; long lists make the
/// search for due jobs read more jobs that are not due.
const SPAN: u32 = 64;

/// Jobs of a chunk: the memory allocated at once where many wait.
const CHUNK: usize = 256;

/// The waiting jobs.
#[derive(Default)]
pub struct DeferredJobs {
    /// By due time, in units of [`SPAN`]; no list is empty.
    lists: BTreeMap<u32, List>,
    /// Acceptance times of messages whose id does not give it (mostly mail imported from another
    /// queue), and how many jobs of each wait.
    accepted_at: AcceptedTimes,
    len: usize,
}

type AcceptedTimes = HashMap<MessageId, (u32, u32)>;

#[derive(Default)]
struct List {
    /// No chunk is empty.
    chunks: Vec<Vec<Packed>>,
    /// The first second in which a job is due, or an earlier one.
    first: u32,
}

/// A job in 16 octets. Its acceptance time comes from the id, or from
/// [`DeferredJobs::accepted_at`].
#[derive(Clone, Copy)]
struct Packed {
    id: [u32; 2],
    destination: u32,
    attempts: u8,
    source: FlowKey,
    /// Seconds after the start of the list, and flags.
    due: u8,
}

const WARNING_SENT: u8 = 64;
const ODD: u8 = 128;

/// The bits of [`Packed::due`] that are seconds, not flags.
const SECONDS: u8 = 63;

impl DeferredJobs {
    /// How many wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// A job waits until `due`.
    pub fn push(&mut self, due: u32, id: DestinationId, job: Job) {
        let packed = Packed::new(due, id, &job);
        if packed.is_odd() {
            self.accepted_at.entry(job.id).or_insert((job.accepted_at, 0)).1 += 1;
        }
        let list =
            self.lists.entry(due / SPAN).or_insert_with(|| List { chunks: Vec::new(), first: due });
        list.first = list.first.min(due);
        list.push(packed);
        self.len += 1;
    }

    /// When the first is due, or a little earlier.
    pub fn next_due(&self) -> Option<u32> {
        self.lists.first_key_value().map(|(_, list)| list.first)
    }

    /// Due jobs, by destination and age; `None` when there are none.
    pub fn pop_due(&mut self, now: u32) -> Option<Vec<(DestinationId, Job)>> {
        let (start, list) = self.lists.first_key_value().map(|(start, list)| (*start, list))?;
        if list.first > now {
            return None;
        }
        let mut list = self.lists.remove(&start)?;
        let (mut jobs, mut first) = (Vec::new(), u32::MAX);
        list.retain(|packed| {
            let due = start * SPAN + packed.seconds();
            if due <= now {
                jobs.push(packed.job(&self.accepted_at));
            } else {
                first = first.min(due);
            }
            due > now
        });
        list.first = first;
        self.len -= jobs.len();
        if !list.chunks.is_empty() {
            self.lists.insert(start, list);
        }
        self.forget_arrivals(&jobs);
        jobs.sort_unstable();
        Some(jobs)
    }

    /// Removes the jobs that are `wanted` and passes them to `take`, in no order. The others stay.
    pub fn extract(
        &mut self,
        wanted: impl Fn(DestinationId, &Job) -> bool,
        mut take: impl FnMut(DestinationId, Job),
    ) {
        let (accepted_at, mut gone, mut odd) = (&self.accepted_at, 0, Vec::new());
        self.lists.retain(|_, list| {
            list.retain(|packed| {
                let (id, job) = packed.job(accepted_at);
                let stays = !wanted(id, &job);
                if !stays {
                    gone += 1;
                    if packed.is_odd() {
                        odd.push((id, job));
                    }
                    take(id, job);
                }
                stays
            });
            !list.chunks.is_empty()
        });
        self.len -= gone;
        self.forget_arrivals(&odd);
    }

    /// All jobs, with the second in which each is due.
    pub fn iter(&self) -> impl Iterator<Item = (u32, DestinationId, Job)> {
        self.lists.iter().flat_map(move |(start, list)| {
            list.chunks.iter().flatten().map(move |packed| {
                let (id, job) = packed.job(&self.accepted_at);
                (start * SPAN + packed.seconds(), id, job)
            })
        })
    }

    fn forget_arrivals(&mut self, jobs: &[(DestinationId, Job)]) {
        if self.accepted_at.is_empty() {
            return;
        }
        for (_, job) in jobs {
            if let Entry::Occupied(mut entry) = self.accepted_at.entry(job.id) {
                entry.get_mut().1 -= 1;
                if entry.get().1 == 0 {
                    entry.remove();
                }
            }
        }
    }
}

impl List {
    fn push(&mut self, packed: Packed) {
        match self.chunks.last_mut() {
            Some(chunk) if chunk.len() < CHUNK => {
                if chunk.len() == chunk.capacity() {
                    // A list that doubles its memory would leave a third of it unused on average.
                    chunk.reserve_exact((chunk.len() * 3).min(CHUNK - chunk.len()));
                }
                chunk.push(packed);
            }
            _ => {
                let mut chunk = Vec::with_capacity(if self.chunks.is_empty() { 4 } else { CHUNK });
                chunk.push(packed);
                self.chunks.push(chunk);
            }
        }
    }

    fn retain(&mut self, mut stays: impl FnMut(&Packed) -> bool) {
        for chunk in &mut self.chunks {
            let before = chunk.len();
            chunk.retain(&mut stays);
            if chunk.len() < before {
                chunk.shrink_to_fit();
            }
        }
        self.chunks.retain(|chunk| !chunk.is_empty());
        self.chunks.shrink_to_fit();
    }
}

impl Packed {
    #[allow(
        clippy::cast_possible_truncation,
        reason = "the halves of a number, and a remainder below 64"
    )]
    fn new(due: u32, destination: DestinationId, job: &Job) -> Self {
        let (id, flag) = (job.id.0, |set: bool, flag: u8| if set { flag } else { 0 });
        Self {
            id: [(id >> 32) as u32, id as u32],
            destination: destination.0,
            attempts: job.attempts,
            source: job.source,
            due: (due % SPAN) as u8
                | flag(job.delay_warning_sent, WARNING_SENT)
                | flag(accepted(job.id) != job.accepted_at, ODD),
        }
    }

    fn seconds(&self) -> u32 {
        u32::from(self.due & SECONDS)
    }

    fn is_odd(&self) -> bool {
        self.due & ODD != 0
    }

    fn job(&self, accepted_at: &AcceptedTimes) -> (DestinationId, Job) {
        let id = MessageId(u64::from(self.id[0]) << 32 | u64::from(self.id[1]));
        let known = if self.is_odd() {
            accepted_at.get(&id).map(|(accepted_at, _)| *accepted_at)
        } else {
            None
        };
        let accepted_at = known.unwrap_or_else(|| accepted(id));
        (
            DestinationId(self.destination),
            Job {
                id,
                accepted_at,
                attempts: self.attempts,
                delay_warning_sent: self.due & WARNING_SENT != 0,
                source: self.source,
            },
        )
    }
}

/// The id carries the microsecond of acceptance.
fn accepted(id: MessageId) -> u32 {
    u32::try_from(id.0 / 1_000_000).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_come_back_as_they_went_in_and_leave_nothing_behind() {
        let mut deferred = DeferredJobs::default();
        let job = |n: u64, accepted_at| Job {
            id: MessageId(n),
            accepted_at,
            attempts: 3,
            delay_warning_sent: n.is_multiple_of(2),
            source: FlowKey { client: n.to_le_bytes()[0], sender: 7 },
        };
        let mut all = Vec::new();
        for n in 0..2000u32 {
            let id = u64::from(n) * 1_000_000 + 7;
            // Every tenth comes from another queue, for two destinations.
            let job = job(id, if n % 10 == 0 { 5 } else { n });
            for destination in 0..=u32::from(n % 10 == 0) {
                deferred.push(100 + n % 3 * (1 + n % 100), DestinationId(destination), job);
                all.push((DestinationId(destination), job));
            }
        }
        assert_eq!(deferred.iter().count(), all.len());
        let mut out = Vec::new();
        deferred.extract(|id, _| id.0 == 1, |id, job| out.push((id, job)));
        assert_eq!((out.len(), deferred.len()), (200, 2000));
        assert_eq!((deferred.pop_due(99), deferred.next_due()), (None, Some(100)));
        out.extend(deferred.pop_due(100).unwrap());
        assert_eq!((deferred.pop_due(100), deferred.next_due()), (None, Some(101)));
        while let Some(jobs) = deferred.pop_due(400) {
            out.extend(jobs);
        }
        out.sort_unstable();
        all.sort_unstable();
        assert_eq!(out, all);
        assert!(
            deferred.lists.is_empty() && deferred.accepted_at.is_empty() && deferred.len() == 0
        );
    }

    #[test]
    fn a_waiting_job_is_sixteen_octets() {
        assert_eq!((size_of::<Packed>(), size_of::<Job>()), (16, 16));
    }
}

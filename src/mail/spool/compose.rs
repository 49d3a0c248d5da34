//! What the committer writes for what was handed in: the record of an op.

use super::SpoolError;
use super::commit_queue::answer;
use super::committer::Committer;
use super::format::{Accepted, FrameHeader, RecordKind, State};
use super::layout::body_path;
use super::read::{OpenSegment, read_head};
use super::record::{Effect, Op, Record, done_record, state_record};
use crate::mail::model::MessageId;

impl Committer {
    /// The record for an op; `None` when there is nothing to write.
    pub(super) fn record(&mut self, op: Op) -> Option<Record> {
        match op {
            // Whoever sent it has given up.
            Op::Accept { id, file, reply, .. } if reply.is_closed() => {
                if file {
                    self.remove(&body_path(id));
                }
                None
            }
            Op::Accept { id, head, bytes, crc, size, file, moved, reply } => {
                let body_len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                let header = FrameHeader::new(RecordKind::Accept, &head, body_len, crc);
                Some(Record {
                    id,
                    header,
                    head,
                    bytes,
                    effect: Effect::Accept { size, file, moved },
                    reply: Some(reply),
                })
            }
            Op::State { id, progress, generation } => {
                let Some(slot) = self.shared.lock_index().get(id) else {
                    self.shared.recent.written(id, generation);
                    return None;
                };
                let (held, delay_told) = match self.waiting_state(id) {
                    Some((state, _)) => (state.held, state.delay_told),
                    None => (slot.held, slot.delay_told),
                };
                Some(state_record(
                    &State { id, held, delay_told, progress },
                    Some(generation),
                    None,
                ))
            }
            Op::Flags { id, held, delay_told, reply } => match self.current_state(id) {
                Ok((state, generation)) => {
                    let held = held.unwrap_or(state.held);
                    let delay_told = delay_told.unwrap_or(state.delay_told);
                    Some(state_record(&State { held, delay_told, ..state }, generation, reply))
                }
                Err(error) => {
                    answer(reply, Err(error));
                    None
                }
            },
            Op::Past { state, reply } => {
                if self.shared.lock_index().get(state.id).is_some() {
                    return Some(state_record(&state, None, Some(reply)));
                }
                answer(Some(reply), Err(SpoolError::Unknown));
                None
            }
            Op::Done { id, reply } => {
                let known = self.shared.lock_index().get(id).map(|slot| slot.accept.segment);
                match known {
                    Some(segment) => Some(done_record(id, Some(segment), reply)),
                    None => {
                        self.shared.recent.forget(id);
                        answer(reply, Err(SpoolError::Unknown));
                        None
                    }
                }
            }
            Op::Damaged { id } => {
                let segment = self.shared.lock_index().get(id).map(|slot| slot.accept.segment)?;
                self.set_aside(id).then(|| done_record(id, Some(segment), None))
            }
            Op::Turn(tell) => {
                tell();
                None
            }
            Op::Discard(paths) => {
                for path in paths {
                    self.remove(&path);
                }
                None
            }
        }
    }

    /// The state of a message as its last records tell it; with the generation of its progress,
    /// when that waits to be written.
    fn current_state(&self, id: MessageId) -> Result<(State, Option<u64>), SpoolError> {
        if self.shared.lock_index().get(id).is_some()
            && let Some(waiting) = self.waiting_state(id)
        {
            return Ok(waiting);
        }
        let (slot, accept, state) = {
            let index = self.shared.lock_index();
            let slot = index.get(id).ok_or(SpoolError::Unknown)?;
            (
                slot,
                index.file(slot.accept.segment),
                slot.state.and_then(|place| Some((place, index.file(place.segment)?))),
            )
        };
        let head = |segment: &OpenSegment, place| match read_head(segment, place) {
            Ok(Some((_, head))) => Ok(head),
            Ok(None) => Err(SpoolError::Damaged),
            Err(error) => Err(SpoolError::Failed(error.to_string())),
        };
        let damaged = || SpoolError::Damaged;
        if let Some((place, segment)) = state {
            return Ok((State::decode(&head(&segment, place)?).ok_or_else(damaged)?, None));
        }
        let head = match self.waiting_accept(id) {
            Some(waiting) => waiting.head.clone(),
            None => head(&accept.ok_or(SpoolError::Unknown)?, slot.accept)?,
        };
        let accepted = Accepted::decode(&head).ok_or_else(damaged)?;
        Ok((
            State {
                id,
                held: slot.held,
                delay_told: slot.delay_told,
                progress: accepted.targets(),
            },
            None,
        ))
    }

    /// The newest state of a message among the records that wait for better days. The index does
    /// not know of it, and what it does know is older.
    fn waiting_state(&self, id: MessageId) -> Option<(State, Option<u64>)> {
        let generation = |record: &Record| match record.effect {
            Effect::State { generation, .. } if record.id == id => Some(generation),
            _ => None,
        };
        let carried = || self.carried.iter().rev().find(|record| generation(record).is_some());
        let record = self.held_back.get(&id).or_else(carried)?;
        Some((State::decode(&record.head)?, generation(record)?))
    }

    /// The copy of a message's accept record that must be written again: the place that the index
    /// knows was lost.
    fn waiting_accept(&self, id: MessageId) -> Option<&Record> {
        self.carried
            .iter()
            .rev()
            .find(|record| record.id == id && matches!(record.effect, Effect::Accept { .. }))
    }
}

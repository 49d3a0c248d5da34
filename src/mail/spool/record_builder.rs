//! Makes the record of each operation that the committer takes.

use super::commit_queue::{CommitSender, answer};
use super::corrupt;
use super::format::{FrameHeader, RecordKind};
use super::layout::body_path;
use super::message_reader::{MessageReader, OpenSegment, read_head};
use super::pending_writes::PendingWrites;
use super::record::{Effect, LogRecord, Op, done_record, state_record};
use super::record_heads::{AcceptHead, HoldFlag, StateHead};
use super::spool_state::SpoolState;
use super::spool_trait::SpoolError;
use crate::mail::model::{MessageId, TargetProgress};

/// Turns operations into records.
pub struct RecordBuilder<'a> {
    shared: &'a SpoolState,
    reader: &'a MessageReader,
    unwritten: &'a PendingWrites,
}

impl<'a> RecordBuilder<'a> {
    /// `unwritten`: records that the index does not have yet.
    pub fn new(
        shared: &'a SpoolState,
        reader: &'a MessageReader,
        unwritten: &'a PendingWrites,
    ) -> Self {
        Self { shared, reader, unwritten }
    }

    /// The record for an operation; `None` when there is nothing to write.
    pub fn record(&self, op: Op) -> Option<LogRecord> {
        match op {
            // The caller does not wait for it any more.
            Op::Accept { id, file, reply, .. } if reply.is_closed() => {
                if file {
                    self.shared.remove(&body_path(id));
                }
                None
            }
            Op::Accept { id, head, bytes, crc, size, file, imported, reply } => {
                let body_len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                let header = FrameHeader::new(RecordKind::Accept, &head, body_len, crc);
                Some(LogRecord {
                    id,
                    header,
                    head,
                    bytes,
                    effect: Effect::Accept { size, file, imported },
                    reply: Some(reply),
                })
            }
            Op::State { id, progress, generation } => self.progress(id, progress, generation),
            Op::Flags { id, held, delay_warning_sent, reply } => {
                self.flags(id, held, delay_warning_sent, reply)
            }
            Op::Past { state, reply } => {
                if self.shared.lock_index().get(state.id).is_some() {
                    return Some(state_record(&state, None, Some(reply)));
                }
                answer(Some(reply), Err(SpoolError::Unknown));
                None
            }
            Op::Done { id, reply } => self.end(id, reply),
            Op::Damaged { id } => self.damaged(id),
            Op::Turn(tell) => {
                tell();
                None
            }
            Op::Discard(paths) => {
                for path in paths {
                    self.shared.remove(&path);
                }
                None
            }
        }
    }

    /// The record of a message's end.
    pub fn end(&self, id: MessageId, reply: Option<CommitSender>) -> Option<LogRecord> {
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

    /// The record of the end of a damaged message, after it was quarantined. A record that waits to
    /// be written may be the one that is missing.
    pub fn damaged(&self, id: MessageId) -> Option<LogRecord> {
        let segment = self.shared.lock_index().get(id).map(|slot| slot.accept.segment)?;
        let is_set_aside =
            !self.unwritten.has_failed_writes() && corrupt::set_aside(self.shared, self.reader, id);
        is_set_aside.then(|| done_record(id, Some(segment), None))
    }

    fn progress(
        &self,
        id: MessageId,
        progress: Vec<TargetProgress>,
        generation: u64,
    ) -> Option<LogRecord> {
        let Some(slot) = self.shared.lock_index().get(id) else {
            self.shared.recent.written(id, generation);
            return None;
        };
        let (held, delay_warning_sent) = match self.unwritten.state(id) {
            Some((state, _)) => (state.held, state.delay_warning_sent),
            None => (slot.held, slot.delay_warning_sent),
        };
        Some(state_record(
            &StateHead { id, held, delay_warning_sent, progress },
            Some(generation),
            None,
        ))
    }

    fn flags(
        &self,
        id: MessageId,
        held: Option<HoldFlag>,
        delay_warning_sent: Option<bool>,
        reply: Option<CommitSender>,
    ) -> Option<LogRecord> {
        match self.current_state(id) {
            Ok((state, generation)) => {
                let held = held.unwrap_or(state.held);
                let delay_warning_sent = delay_warning_sent.unwrap_or(state.delay_warning_sent);
                Some(state_record(
                    &StateHead { held, delay_warning_sent, ..state },
                    generation,
                    reply,
                ))
            }
            Err(error) => {
                answer(reply, Err(error));
                None
            }
        }
    }

    /// The state of a message by its last records; with the generation of its progress, if that
    /// waits to be written.
    fn current_state(&self, id: MessageId) -> Result<(StateHead, Option<u64>), SpoolError> {
        if self.shared.lock_index().get(id).is_some()
            && let Some(waiting) = self.unwritten.state(id)
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
            return Ok((StateHead::decode(&head(&segment, place)?).ok_or_else(damaged)?, None));
        }
        let head = match self.unwritten.accept(id) {
            Some(waiting) => waiting.head.clone(),
            None => head(&accept.ok_or(SpoolError::Unknown)?, slot.accept)?,
        };
        let accepted = AcceptHead::decode(&head).ok_or_else(damaged)?;
        Ok((
            StateHead {
                id,
                held: slot.held,
                delay_warning_sent: slot.delay_warning_sent,
                progress: accepted.targets(),
            },
            None,
        ))
    }
}

//! Records on their way to the disk, and the operations of the committer.

use super::commit_queue::CommitSender;
use super::format::{FrameHeader, RecordKind};
use super::index_entries::RecordLocation;
use super::record_heads::{HoldFlag, StateHead, encode_done};
use crate::mail::model::{MessageId, TargetProgress};
use bytes::Bytes;

/// An operation for the committer.
pub enum Op {
    /// Put a message into the queue.
    Accept {
        id: MessageId,
        head: Vec<u8>,
        bytes: Bytes,
        crc: u32,
        size: u64,
        file: bool,
        imported: Option<u32>,
        reply: CommitSender,
    },
    /// Replace the progress of a message.
    State { id: MessageId, progress: Vec<TargetProgress>, generation: u64 },
    /// Change the flags of a message.
    Flags {
        id: MessageId,
        held: Option<HoldFlag>,
        delay_warning_sent: Option<bool>,
        reply: Option<CommitSender>,
    },
    /// Write the state of an imported message, which counts only with this.
    Past { state: StateHead, reply: CommitSender },
    /// Take a message out of the queue.
    Done { id: MessageId, reply: Option<CommitSender> },
    /// Quarantine a message whose record or content is damaged.
    Damaged { id: MessageId },
    /// Remove files that are not needed.
    Discard(Vec<String>),
    /// Call a function at the committer's next turn.
    Turn(Box<dyn FnOnce() + Send>),
}

/// One record on its way to the disk.
pub struct LogRecord {
    pub id: MessageId,
    pub header: FrameHeader,
    pub head: Vec<u8>,
    pub bytes: Bytes,
    pub effect: Effect,
    pub reply: Option<CommitSender>,
}

/// A record, and its location on disk.
pub type WrittenRecord = (LogRecord, RecordLocation);

/// How the index changes when the record is written (or, for accepts, synced).
#[derive(Clone)]
pub enum Effect {
    /// `imported`: when another queue accepted it; `None` also for a copy, whose time is known.
    Accept { size: u64, file: bool, imported: Option<u32> },
    /// `generation`: of the submitted progress; `None` for a copy or a change of flags.
    State { held: HoldFlag, delay_warning_sent: bool, generation: Option<u64> },
    /// `overrules`: the segment with the accept record that this ends.
    Done { overrules: Option<u32> },
}

/// Whether an operation concerns a message that a record of the batch changes.
pub fn depends_on(op: &Op, batch: &[LogRecord]) -> bool {
    let id = match op {
        Op::State { id, .. } | Op::Flags { id, .. } | Op::Done { id, .. } | Op::Damaged { id } => {
            *id
        }
        Op::Past { state, .. } => state.id,
        Op::Accept { .. } | Op::Discard(_) | Op::Turn(_) => return false,
    };
    batch.iter().any(|record| record.id == id)
}

/// The record of a message's state.
pub fn state_record(
    state: &StateHead,
    generation: Option<u64>,
    reply: Option<CommitSender>,
) -> LogRecord {
    let head = state.encode();
    LogRecord {
        id: state.id,
        header: FrameHeader::new(RecordKind::State, &head, 0, 0),
        head,
        bytes: Bytes::new(),
        effect: Effect::State {
            held: state.held,
            delay_warning_sent: state.delay_warning_sent,
            generation,
        },
        reply,
    }
}

/// The record of a message's end.
pub fn done_record(
    id: MessageId,
    overrules: Option<u32>,
    reply: Option<CommitSender>,
) -> LogRecord {
    let head = encode_done(id);
    LogRecord {
        id,
        header: FrameHeader::new(RecordKind::Done, &head, 0, 0),
        head,
        bytes: Bytes::new(),
        effect: Effect::Done { overrules },
        reply,
    }
}

/// Octets of the record's frame.
pub fn frame_len(record: &LogRecord) -> u32 {
    u32::try_from(record.header.frame_len()).unwrap_or(u32::MAX)
}

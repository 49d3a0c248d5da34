//! Damaged records and contents, kept under `corrupt/` for an operator.

use super::layout::{CORRUPT, body_path};
use super::message_reader::MessageReader;
use super::spool_state::SpoolState;
use crate::ground::disk::Disk;
use crate::mail::model::MessageId;
use std::io;

/// Stores octets under `corrupt/`.
pub fn keep(disk: &dyn Disk, name: &str, octets: &[u8]) -> io::Result<()> {
    let path = format!("{CORRUPT}/{name}");
    let file = match disk.create(&path) {
        // An earlier attempt was not completed.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => disk.open(&path)?,
        other => other?,
    };
    file.write_at(0, octets)?;
    file.sync()
}

/// Quarantines what is left of a damaged message. `false`: it is not damaged after all, or could
/// not be stored; it stays in the queue, and the next reader asks again.
pub fn set_aside(shared: &SpoolState, reader: &MessageReader, id: MessageId) -> bool {
    if !matches!(reader.examine(id), Ok(None)) {
        return false;
    }
    let place = {
        let index = shared.lock_index();
        index.get(id).map(|slot| (slot, index.file(slot.accept.segment)))
    };
    let Some((slot, Some((_, file)))) = place else { return false };
    let disk = shared.disk.as_ref();
    let mut frame = vec![0; slot.frame as usize];
    let kept = file.read_at(u64::from(slot.accept.offset), &mut frame).and_then(|got| {
        keep(disk, &format!("{id}.frame"), &frame[..got])?;
        if slot.file {
            match disk.rename(&body_path(id), &format!("{CORRUPT}/{id}.eml")) {
                // The missing file is the damage.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
        disk.sync_dir(CORRUPT)
    });
    match kept {
        Ok(()) => {
            shared.counters.corrupt_records_total.inc();
            tracing::error!(
                target: "mta", queue_id = %id,
                "a damaged message was quarantined in corrupt/ on the data volume"
            );
            true
        }
        Err(error) => {
            tracing::error!(
                target: "mta", queue_id = %id, cause = %error,
                "a damaged message could not be quarantined; it stays"
            );
            false
        }
    }
}

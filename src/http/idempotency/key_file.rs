//! The file `keys` on the data volume: a magic number, then [`KEYS_MAX`] slots of [`ENTRY`] octets,
//! the oldest of which is overwritten.
//!
//! An entry has the SHA-256 of the key, the hash of the mail, its queue id, the seconds since 1970,
//! and a CRC-32 of all of it; an entry with a wrong checksum is ignored. A file in another format
//! is renamed, and a new one begun.

use super::entry::{Fingerprint, IdempotencyEntry, KEYS_MAX};
use crate::ground::disk::{Disk, File};
use crate::mail::model::MessageId;
use std::io;
use std::sync::Arc;

const FILE: &str = "keys";
const UNREADABLE: &str = "keys.unreadable";
const MAGIC: &[u8; 16] = b"POSTERN SENDKEY1";
const HASH: usize = 32;
const ENTRY: usize = 2 * HASH + 8 + 4 + 4;

/// The open file.
pub struct KeyFile {
    file: Arc<dyn File>,
    /// The slot for the next entry.
    next: usize,
}

impl KeyFile {
    /// The file and its entries, the oldest first; `None` if the volume has none and cannot be
    /// written.
    pub fn open(disk: &dyn Disk) -> Option<(Self, Vec<IdempotencyEntry>)> {
        let told = |error: &io::Error| {
            tracing::warn!(target: "mta", cause = %error, "idempotency keys are not stored; a \
            restart forgets them");
        };
        Self::read_or_begin(disk).inspect_err(told).ok()
    }

    fn read_or_begin(disk: &dyn Disk) -> io::Result<(Self, Vec<IdempotencyEntry>)> {
        match disk.open(FILE) {
            Ok(file) => match entries(file.as_ref())? {
                Some(kept) => return Ok(Self::behind(file, kept)),
                None => disk.rename(FILE, UNREADABLE)?,
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let file = disk.create(FILE)?;
        file.write_at(0, MAGIC)?;
        file.sync()?;
        disk.sync_dir("")?;
        Ok((Self { file, next: 0 }, Vec::new()))
    }

    fn behind(
        file: Arc<dyn File>,
        mut kept: Vec<(usize, IdempotencyEntry)>,
    ) -> (Self, Vec<IdempotencyEntry>) {
        let behind_the_last = kept.iter().map(|(place, _)| place + 1).max().unwrap_or(0);
        // Ids rise with time.
        kept.sort_by_key(|(_, kept)| kept.id);
        // Once all slots are used, the oldest is overwritten next.
        let oldest = kept.first().map_or(0, |(place, _)| *place);
        let next = if behind_the_last < KEYS_MAX { behind_the_last } else { oldest };
        (Self { file, next }, kept.into_iter().map(|(_, kept)| kept).collect())
    }

    /// Makes an entry durable. Blocks.
    pub fn write(&mut self, kept: &IdempotencyEntry) {
        let written = self
            .file
            .write_at((MAGIC.len() + self.next * ENTRY) as u64, &encoded(kept))
            .and_then(|()| self.file.sync());
        self.next = (self.next + 1) % KEYS_MAX;
        if let Err(error) = written {
            tracing::warn!(target: "mta", cause = %error, "an idempotency key was not stored; a \
            restart forgets it");
        }
    }
}

/// The entries of a file, with their slots; `None` if it has another format.
fn entries(file: &dyn File) -> io::Result<Option<Vec<(usize, IdempotencyEntry)>>> {
    let mut octets = vec![0; MAGIC.len() + KEYS_MAX * ENTRY];
    let got = file.read_at(0, &mut octets)?;
    let Some(entries) = octets[..got].strip_prefix(MAGIC) else { return Ok(None) };
    Ok(Some(
        entries
            .chunks_exact(ENTRY)
            .enumerate()
            .filter_map(|(place, entry)| Some((place, decoded(entry)?)))
            .collect(),
    ))
}

fn encoded(kept: &IdempotencyEntry) -> Vec<u8> {
    let mut entry =
        [&kept.key.0[..], &kept.print.0, &kept.id.0.to_le_bytes(), &kept.since.to_le_bytes()]
            .concat();
    entry.extend(crc32fast::hash(&entry).to_le_bytes());
    entry
}

fn decoded(entry: &[u8]) -> Option<IdempotencyEntry> {
    let (text, crc) = entry.split_last_chunk::<4>()?;
    if crc32fast::hash(text).to_le_bytes() != *crc {
        return None;
    }
    let (key, rest) = text.split_first_chunk::<HASH>()?;
    let (print, rest) = rest.split_first_chunk::<HASH>()?;
    let (id, since) = rest.split_first_chunk::<8>()?;
    let since = u32::from_le_bytes(since.try_into().ok()?);
    Some(IdempotencyEntry {
        since,
        key: Fingerprint(*key),
        print: Fingerprint(*print),
        id: MessageId(u64::from_le_bytes(*id)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::disk::DirectoryDisk;

    fn kept(number: u64) -> IdempotencyEntry {
        let of = |what: &str| Fingerprint::of_text(&format!("{what} {number}"));
        IdempotencyEntry {
            since: 1_800_000_000,
            key: of("key"),
            print: of("print"),
            id: MessageId(number),
        }
    }

    #[test]
    fn keys_outlive_the_process_and_the_oldest_are_written_over() {
        let directory = tempfile::tempdir().unwrap();
        let disk = DirectoryDisk::open(directory.path()).unwrap();
        let (mut key_file, none) = KeyFile::open(&disk).unwrap();
        assert!(none.is_empty());
        (1..=3).for_each(|number| key_file.write(&kept(number)));
        let (mut key_file, some) = KeyFile::open(&disk).unwrap();
        assert_eq!(some, [kept(1), kept(2), kept(3)]);
        key_file.next = KEYS_MAX - 1;
        (4..=5).for_each(|number| key_file.write(&kept(number)));
        let (key_file, some) = KeyFile::open(&disk).unwrap();
        assert_eq!((key_file.next, some), (1, vec![kept(2), kept(3), kept(4), kept(5)]));
    }

    #[test]
    fn mails_that_came_in_together_do_not_write_over_each_other() {
        let directory = tempfile::tempdir().unwrap();
        let disk = DirectoryDisk::open(directory.path()).unwrap();
        let (mut key_file, _) = KeyFile::open(&disk).unwrap();
        // The later id was written first.
        [2, 1].into_iter().for_each(|number| key_file.write(&kept(number)));
        let (mut key_file, _) = KeyFile::open(&disk).unwrap();
        key_file.write(&kept(3));
        assert_eq!(KeyFile::open(&disk).unwrap().1, [kept(1), kept(2), kept(3)]);
    }

    #[test]
    fn a_torn_entry_is_nothing_and_another_file_is_put_beside() {
        let directory = tempfile::tempdir().unwrap();
        let disk = DirectoryDisk::open(directory.path()).unwrap();
        let (mut key_file, _) = KeyFile::open(&disk).unwrap();
        (1..=2).for_each(|number| key_file.write(&kept(number)));
        let path = directory.path().join(FILE);
        let mut octets = std::fs::read(&path).unwrap();
        octets[MAGIC.len() + 5] ^= 1;
        std::fs::write(&path, &octets[..octets.len() - 1]).unwrap();
        assert_eq!(KeyFile::open(&disk).unwrap().1, []);
        std::fs::write(&path, "somebody else's").unwrap();
        assert_eq!(KeyFile::open(&disk).unwrap().1, []);
        assert_eq!(std::fs::read(directory.path().join(UNREADABLE)).unwrap(), b"somebody else's");
    }
}

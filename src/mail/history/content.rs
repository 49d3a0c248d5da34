//! The content of finished messages, kept for a while so that an operator can send one again.
//!
//! In: the body of a message, as its last delivery attempt had it. Out: a file for each in
//! `history_content/` on the data volume, `SECOND-ID-OCTETS.mail`: a line of JSON with the
//! envelope, then the content. Files are not synced: what a crash tears does not pass its checksum.
//! Limits: [`HistoryConfig::content`](super::HistoryConfig::content) of age; [`VOLUME_SHARE`] of
//! the volume; [`FILES_MAX`] messages; the oldest are removed first, also where less than
//! [`FREE_SHARE`] of the volume and [`FREE_ENOUGH`] are free, so that mail always has room.
//! Security: envelopes are whole, whatever `address_masking` says of the history, because a masked
//! address cannot be sent to; nothing of these files is shown. Mode 600 in a directory of mode 700.

use crate::ground::clock;
use crate::ground::disk::{Disk, File, is_full};
use crate::mail::model::{
    Address, Body, BodyType, DeliveryStatus, Envelope, KeptMessage, Message, MessageId,
    MessageKind, StoredContent, Target, TargetProgress,
};
use crc32fast::Hasher;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// The directory on the data volume.
pub const DIRECTORY: &str = "history_content";

/// At most one part in so many of the volume is used.
const VOLUME_SHARE: u64 = 10;

/// At least one part in so many of the volume stays free: twice what the first disk alert asks for.
const FREE_SHARE: u64 = 10;

/// On a large volume so many free octets suffice.
const FREE_ENOUGH: u64 = 4 << 30;

/// The most messages.
const FILES_MAX: usize = 100_000;

/// The longest first line: a thousand recipients stay below.
const HEAD_MAX: usize = 1 << 20;

/// Octets that are copied at once.
const PIECE: usize = 256 * 1024;

/// A file counts as at least so many octets, for its blocks and its inode: a volume for mail has
/// one inode for each 16 KiB (mke2fs.conf(5)).
const FILE_COST: u64 = 16 << 10;

/// What a content on the volume counts while it waits to be copied: one part in so many. It is read
/// piece by piece, but its space is not free before.
const STORED_PART: u64 = 8;

/// What a recipient counts, in octets.
const RECIPIENT_COST: u64 = 100;

/// A message that is to be kept.
pub struct Draft {
    id: MessageId,
    /// When it was finished, seconds since 1970.
    at: u32,
    head: Head,
    pub(super) body: Body,
}

/// The first line of a file.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Head {
    sender: Option<String>,
    recipients: Vec<(String, DeliveryStatus)>,
    eight_bit: bool,
    smtputf8: bool,
    /// Missing in what an older version kept.
    #[serde(default)]
    may_relay: bool,
    size: u64,
    /// Eight digits: the line is written before the content, and once more when this is known.
    crc32: String,
}

impl Draft {
    /// Octets of memory that it counts as while it waits to be copied.
    pub fn cost(&self) -> u64 {
        let body = match &self.body {
            Body::Memory(octets) => octets.len() as u64,
            Body::Stored(_, len) => (len / STORED_PART).max(PIECE as u64),
        };
        body + self.head.recipients.len() as u64 * RECIPIENT_COST
    }

    /// A message that has left the queue, with where its recipients stand.
    pub fn new(message: &Message, progress: &[TargetProgress], at: u32) -> Self {
        let envelope = &message.envelope;
        let status = |place: usize| {
            let of_it = |progress: &&TargetProgress| {
                u16::try_from(place).is_ok_and(|place| progress.target == Target::Recipient(place))
            };
            progress.iter().find(of_it).map_or(DeliveryStatus::Dropped, |one| one.status.into())
        };
        let recipients = envelope.recipients.iter().enumerate();
        Self {
            id: message.id,
            at,
            head: Head {
                sender: envelope.sender.as_ref().map(ToString::to_string),
                recipients: recipients
                    .map(|(place, address)| (address.to_string(), status(place)))
                    .collect(),
                eight_bit: envelope.body == BodyType::EightBitMime,
                smtputf8: envelope.smtputf8,
                may_relay: message.origin.may_relay || message.kind == MessageKind::Notification,
                size: message.body.len(),
                crc32: crc_text(0),
            },
            body: message.body.clone(),
        }
    }
}

/// What is kept, as the thread that writes it knows it.
pub struct Contents {
    disk: Arc<dyn Disk>,
    time: Duration,
    /// The oldest first.
    files: VecDeque<Kept>,
    /// Octets that all count as.
    octets: u64,
    /// A failure was logged, which is done once until a content is kept again.
    has_logged_failure: bool,
}

struct Kept {
    at: u32,
    path: String,
    /// Octets that it counts as.
    cost: u64,
}

impl Contents {
    /// What a volume has, for so long.
    ///
    /// # Errors
    /// The directory cannot be had or read.
    pub fn open(disk: Arc<dyn Disk>, time: Duration) -> io::Result<Self> {
        disk.create_dir(DIRECTORY)?;
        let mut contents =
            Self { disk, time, files: VecDeque::new(), octets: 0, has_logged_failure: false };
        for name in contents.disk.list(DIRECTORY)? {
            let Some((at, _, len)) = parse(&name) else { continue };
            let path = format!("{DIRECTORY}/{name}");
            let cost = len.max(FILE_COST);
            contents.octets += cost;
            contents.files.push_back(Kept { at, path, cost });
        }
        contents.forget();
        Ok(contents)
    }

    /// Removes everything that was kept, as far as possible.
    ///
    /// # Errors
    /// The directory cannot be read, or a file not removed: the first that could not.
    pub fn remove_all(disk: &dyn Disk) -> io::Result<()> {
        let names = match disk.list(DIRECTORY) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        let removed = names.iter().map(|name| disk.remove(&format!("{DIRECTORY}/{name}")));
        removed.fold(Ok(()), io::Result::and)
    }

    /// Keeps a content; tells whether that was possible. The log says when it begins to fail, and
    /// when it succeeds again.
    pub fn keep(&mut self, draft: &Draft) -> bool {
        match self.write(draft) {
            Ok(()) => {
                if std::mem::take(&mut self.has_logged_failure) {
                    tracing::info!(target: "mta", "the content of finished messages is kept again");
                }
                return true;
            }
            Err(error) if !self.has_logged_failure => {
                self.has_logged_failure = true;
                tracing::warn!(target: "mta", cause = %error, "the content of finished messages \
                cannot be kept; mail is not affected");
            }
            Err(_) => {}
        }
        false
    }

    /// Whether there is any.
    pub fn has_any(&self) -> bool {
        !self.files.is_empty()
    }

    /// Removes what is too old, and what a volume that fills up has no room for.
    pub fn forget(&mut self) {
        let seconds = self.time.as_secs();
        while self.files.front().is_some_and(|oldest| u64::from(clock::age(oldest.at)) > seconds) {
            self.remove_oldest();
        }
        // Where nothing is left to remove, nothing can be done.
        let _ = self.make_room(0);
    }

    /// Removes the oldest until so many octets more are within the limits.
    fn make_room(&mut self, len: u64) -> io::Result<()> {
        let space = self.disk.space()?;
        let most = space.size / VOLUME_SHARE;
        let spare = spare(space.size);
        let mut free = space.free;
        let too_much = || {
            io::Error::other(format!(
                "{len} octets are too much for a tenth of the data volume, or less than a tenth of \
                it and less than 4 GiB are free"
            ))
        };
        if len > most {
            // Without it the others would be removed for nothing.
            return Err(too_much());
        }
        while self.octets + len > most || free < spare + len || self.files.len() >= FILES_MAX {
            free += self.remove_oldest().ok_or_else(too_much)?;
        }
        Ok(())
    }

    /// Tells how many octets that frees, about.
    fn remove_oldest(&mut self) -> Option<u64> {
        let oldest = self.files.pop_front()?;
        // A file that cannot be removed now is found again by the next start.
        let _ = self.disk.remove(&oldest.path);
        self.octets = self.octets.saturating_sub(oldest.cost);
        Some(oldest.cost)
    }

    fn write(&mut self, draft: &Draft) -> io::Result<()> {
        let first = line(&draft.head)?;
        let len = first.len() as u64 + draft.head.size;
        let cost = len.max(FILE_COST);
        self.make_room(cost)?;
        let path = format!("{DIRECTORY}/{:010}-{}-{len}.mail", draft.at, draft.id);
        let file = self.disk.create(&path).inspect_err(|error| {
            // Of inodes, which the volume does not count here.
            if is_full(error) {
                self.remove_oldest();
            }
        })?;
        if let Err(error) = copy(file.as_ref(), &first, draft) {
            let _ = self.disk.remove(&path);
            return Err(error);
        }
        self.octets += cost;
        self.files.push_back(Kept { at: draft.at, path, cost });
        Ok(())
    }
}

/// Octets of a volume of this size that stay free.
pub(super) fn spare(size: u64) -> u64 {
    (size / FREE_SHARE).min(FREE_ENOUGH)
}

/// Writes the first line and the content, and the first line again with the checksum.
fn copy(file: &dyn File, first: &[u8], draft: &Draft) -> io::Result<()> {
    file.write_at(0, first)?;
    let (start, mut crc) = (first.len() as u64, Hasher::new());
    match &draft.body {
        Body::Memory(octets) => {
            crc.update(octets);
            file.write_at(start, octets)?;
        }
        Body::Stored(content, len) => {
            let (mut buffer, mut done) = (vec![0; PIECE], 0);
            while done < *len {
                let got = content.read_at(done, &mut buffer)?;
                if got == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                crc.update(&buffer[..got]);
                file.write_at(start + done, &buffer[..got])?;
                done += got as u64;
            }
        }
    }
    let head = Head { crc32: crc_text(crc.finalize()), ..draft.head.clone() };
    file.write_at(0, &line(&head)?)
}

/// The message of this id, where its content is kept.
///
/// # Errors
/// The volume cannot be read, or the file is not what it was.
pub fn find(disk: &dyn Disk, id: MessageId) -> io::Result<Option<KeptMessage>> {
    let names = match disk.list(DIRECTORY) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    // The latest: a message that was finished once more after a crash has its states from then.
    let mut latest_first = names.iter().rev();
    let Some(name) = latest_first.find(|name| parse(name).is_some_and(|(_, other, _)| other == id))
    else {
        return Ok(None);
    };
    let file = match disk.open(&format!("{DIRECTORY}/{name}")) {
        // It was removed just now.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "the kept message is damaged");
    let mut first = vec![0; HEAD_MAX];
    let got = file.read_at(0, &mut first)?;
    let end = first[..got].iter().position(|octet| *octet == b'\n').ok_or_else(damaged)?;
    let head: Head = serde_json::from_slice(&first[..end]).map_err(|_| damaged())?;
    message(id, head, file, end as u64 + 1).ok_or_else(damaged).map(Some)
}

fn message(id: MessageId, head: Head, file: Arc<dyn File>, start: u64) -> Option<KeptMessage> {
    if head.recipients.is_empty() {
        return None;
    }
    let sender = head.sender.map(|text| Address::parse(&text)).transpose().ok()?;
    let (addresses, statuses): (Vec<String>, Vec<DeliveryStatus>) =
        head.recipients.into_iter().unzip();
    let recipients = addresses.iter().map(|text| Address::parse(text).ok());
    Some(KeptMessage {
        id,
        envelope: Envelope {
            sender,
            recipients: recipients.collect::<Option<_>>()?,
            body: if head.eight_bit { BodyType::EightBitMime } else { BodyType::SevenBit },
            smtputf8: head.smtputf8,
            dsn: None,
        },
        statuses,
        crc: u32::from_str_radix(&head.crc32, 16).ok()?,
        may_relay: head.may_relay,
        body: Body::Stored(Arc::new(Behind { file, start, len: head.size }), head.size),
    })
}

/// The content behind the first line of a file.
struct Behind {
    file: Arc<dyn File>,
    start: u64,
    len: u64,
}

impl StoredContent for Behind {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        self.file.read_at(self.start + offset, &mut buffer[..wanted])
    }
}

fn line(head: &Head) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(head)?;
    line.push(b'\n');
    Ok(line)
}

fn crc_text(crc: u32) -> String {
    format!("{crc:08x}")
}

/// The second, the id and the octets in a file's name.
fn parse(name: &str) -> Option<(u32, MessageId, u64)> {
    let (at, rest) = name.strip_suffix(".mail")?.split_once('-')?;
    let (id, len) = rest.split_once('-')?;
    Some((at.parse().ok()?, id.parse().ok()?, len.parse().ok()?))
}

//! The manifest of an orderly stop: what each segment contained. The next start compares it with
//! what it finds.
//!
//! Purpose: a missing segment, or one cut at the end of a record, looks like one that never had
//! more. After a crash the two cannot be told apart; after an orderly stop they can. When it is
//! valid: it is written when everything else is durable and nothing is written any more, and it is
//! removed, with a sync of the directory, before the next start writes a record. So there is none
//! after a crash. If an older version that does not know the file has used the volume since, there
//! is a later segment than the file names, and the file is ignored. A torn file fails its checksum.

use super::format::{HEADER_BLOCK, RecordKind, SegmentHeader};
use super::index::Index;
use super::layout::{CLOSED, CORRUPT, segment_path};
use super::segment_summary::{self, SegmentSummary};
use crate::ground::disk::Disk;
use std::fmt::Write as _;
use std::io;

const TITLE: &str = "postern queue closed 1";

/// Changed segments that are logged one by one.
const NAMED: usize = 20;

/// What the segments contained.
#[derive(Debug, PartialEq, Eq)]
pub struct ShutdownManifest(Vec<SegmentContents>);

/// What one segment contained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentContents {
    /// As its header says.
    pub segment: SegmentHeader,
    /// Octets up to the end of its last record.
    pub octets: u64,
    /// Messages whose envelope was there: those in the queue, or all of them where only `heads` is
    /// known.
    pub messages: u64,
}

/// A segment that contains less than it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShortenedSegment {
    /// What it contained.
    pub held: SegmentContents,
    /// Octets that are still there; `None` when the whole file is missing or replaced by another.
    pub left: Option<u64>,
}

impl ShutdownManifest {
    /// What the segments of an index contain. `None`: a part could not be read, so this is not
    /// known.
    pub fn of(index: &Index) -> Option<Self> {
        let messages = index.messages();
        let held = index.segments().values().map(|segment| SegmentContents {
            segment: segment.header,
            // The content of a segment that was given up is unknown after a power cut.
            octets: if index.is_doubtful(segment.header.number) { 0 } else { segment.len },
            messages: messages.get(&segment.header.number).copied().unwrap_or(0),
        });
        (!index.incomplete).then(|| Self(held.collect()))
    }

    /// Writes the file, durably.
    ///
    /// # Errors
    /// The volume's; then the next start has no manifest, as after a crash.
    pub fn write(&self, disk: &dyn Disk) -> io::Result<()> {
        remove(disk, CLOSED)?;
        let file = disk.create(CLOSED)?;
        file.write_at(0, self.encode().as_bytes())?;
        file.sync()?;
        disk.sync_dir("")
    }

    /// The manifest, if there is one that is complete and readable.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn read(disk: &dyn Disk) -> io::Result<Option<Self>> {
        let file = match disk.open(CLOSED) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let octets = file.length().and_then(|len| {
            let mut octets = vec![0; usize::try_from(len).unwrap_or_default()];
            file.read_at(0, &mut octets).map(|got| octets[..got].to_vec())
        });
        match octets {
            Ok(octets) => Ok(std::str::from_utf8(&octets).ok().and_then(Self::decode)),
            Err(error) => {
                tracing::warn!(target: "mta", file = CLOSED, cause = %error, "removed segments \
                cannot be detected");
                Ok(None)
            }
        }
    }

    /// The number that the segment after the last one would have had.
    pub fn next_segment(&self) -> u32 {
        self.0.last().map_or(1, |held| held.segment.number.saturating_add(1))
    }

    /// Messages in the queue at the stop.
    pub fn messages(&self) -> u64 {
        self.0.iter().map(|held| held.messages).sum()
    }

    /// The segments that contain less than they did. `found` gives for a number the segment that is
    /// there, and where its records end. Empty when a later segment than all of these is among the
    /// `numbers` that are there.
    pub fn gaps(
        &self,
        numbers: &[u32],
        found: impl Fn(u32) -> Option<(SegmentHeader, u64)>,
    ) -> Vec<ShortenedSegment> {
        if numbers.last().is_some_and(|last| *last >= self.next_segment()) {
            return Vec::new();
        }
        let gap = |held: &SegmentContents| match found(held.segment.number)
            .filter(|(header, _)| *header == held.segment)
        {
            Some((_, end)) => {
                (end < held.octets).then_some(ShortenedSegment { held: *held, left: Some(end) })
            }
            None => Some(ShortenedSegment { held: *held, left: None }),
        };
        self.0.iter().filter_map(gap).collect()
    }

    /// Removes the manifest, because the volume is about to be written to. If it showed that
    /// something is missing, it is kept under `corrupt/` for an operator.
    ///
    /// # Errors
    /// The volume's.
    pub fn remove(disk: &dyn Disk, keep: Option<&Self>) -> io::Result<()> {
        let Some(manifest) = keep else {
            return if remove(disk, CLOSED)? { disk.sync_dir("") } else { Ok(()) };
        };
        disk.rename(CLOSED, &format!("{CORRUPT}/{:010}.closed", manifest.next_segment()))?;
        disk.sync_dir(CORRUPT)?;
        disk.sync_dir("")
    }

    fn encode(&self) -> String {
        let mut text = String::new();
        for SegmentContents { segment, octets, messages } in &self.0 {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{} {:016x} {octets} {messages}", segment.number, segment.salt);
        }
        format!("{TITLE} {:08x}\n{text}", crc32fast::hash(text.as_bytes()))
    }

    fn decode(text: &str) -> Option<Self> {
        let (title, lines) = text.split_once('\n')?;
        let crc = u32::from_str_radix(title.strip_prefix(TITLE)?.strip_prefix(' ')?, 16).ok()?;
        let held = |line: &str| {
            let mut words = line.split(' ');
            let number = words.next()?.parse().ok()?;
            let salt = u64::from_str_radix(words.next()?, 16).ok()?;
            let (octets, messages) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            Some(SegmentContents { segment: SegmentHeader { number, salt }, octets, messages })
        };
        (crc32fast::hash(lines.as_bytes()) == crc)
            .then(|| lines.lines().map(held).collect::<Option<_>>())?
            .map(Self)
    }
}

impl ShortenedSegment {
    /// The summary file of a segment (`heads`) was written when all of the segment was durable:
    /// whether the segment ends earlier now.
    pub fn from_summary(disk: &dyn Disk, segment: SegmentHeader, end: u64) -> Option<Self> {
        let (mut octets, mut messages) = (HEADER_BLOCK, 0);
        for (header, _) in
            segment_summary::frames(segment, &SegmentSummary::read(disk, segment)?).flatten()
        {
            octets += header.frame_len();
            messages += u64::from(header.kind == RecordKind::Accept);
        }
        (end < octets).then_some(Self {
            held: SegmentContents { segment, octets, messages },
            left: Some(end),
        })
    }

    /// The file's name.
    pub fn file(&self) -> String {
        segment_path(self.held.segment.number)
    }

    /// Octets that are missing.
    pub fn octets(&self) -> u64 {
        self.held.octets - self.left.unwrap_or(0)
    }

    /// What happened to the file, as text for people.
    pub fn what(&self) -> String {
        let SegmentContents { messages, .. } = self.held;
        match self.left {
            None => format!(
                "a missing segment; it was here at the last clean stop, with {messages} messages"
            ),
            Some(_) => {
                format!(
                    "the missing end of a segment; it was here before, when the segment held \
                    {messages} messages"
                )
            }
        }
    }
}

/// Logs what is missing, and what to do.
pub fn log_missing(gaps: &[ShortenedSegment], messages_then: Option<u64>, messages_now: u64) {
    for gap in gaps.iter().take(NAMED) {
        let (octets, messages) = (gap.octets(), gap.held.messages);
        let what = if gap.left.is_none() {
            "a segment of the queue is missing"
        } else {
            "the end of a segment of the queue is missing"
        };
        tracing::error!(
            target: "mta",
            file = gap.file(),
            octets,
            messages_in_it = messages,
            "{what}; it was here before"
        );
    }
    tracing::error!(
        target: "mta",
        segments = gaps.len(),
        messages_then,
        messages_now,
        "parts of the queue were removed while the relay did not run: to recover their mail, stop \
        now and restore these files from a backup; otherwise the rest is served, and some of it \
        may be delivered again"
    );
}

/// Removes a file; gives whether there was one.
fn remove(disk: &dyn Disk, path: &str) -> io::Result<bool> {
    match disk.remove(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        other => other.map(|()| true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(number: u32, octets: u64) -> SegmentContents {
        SegmentContents {
            segment: SegmentHeader { number, salt: u64::MAX - u64::from(number) },
            octets,
            messages: 3,
        }
    }

    #[test]
    fn what_is_read_is_what_was_written_or_nothing() {
        let manifest = ShutdownManifest(vec![held(3, 4096), held(17, 70_000)]);
        let text = manifest.encode();
        assert_eq!(ShutdownManifest::decode(&text), Some(manifest));
        assert_eq!(
            ShutdownManifest::decode(&ShutdownManifest(Vec::new()).encode()),
            Some(ShutdownManifest(Vec::new()))
        );
        for len in 0..text.len() {
            assert_eq!(ShutdownManifest::decode(&text[..len]), None, "{len} octets");
        }
        for bit in 0..text.len() * 8 {
            let mut octets = text.clone().into_bytes();
            octets[bit / 8] ^= 1 << (bit % 8);
            let read = std::str::from_utf8(&octets).ok().and_then(ShutdownManifest::decode);
            // A hexadecimal digit of the checksum in upper case is the same digit.
            assert!(read.is_none() || octets.eq_ignore_ascii_case(text.as_bytes()), "bit {bit}");
        }
    }

    #[test]
    fn less_is_missing_and_more_is_not() {
        let manifest = ShutdownManifest(vec![held(3, 5000), held(4, 5000), held(5, 5000)]);
        let whole = |number| Some((held(number, 0).segment, 5000 + u64::from(number)));
        assert_eq!(manifest.gaps(&[3, 4, 5], whole), []);
        assert_eq!(
            manifest.gaps(&[2, 3, 4, 5], whole),
            [],
            "a removal that was not durable, or a segment that was put back"
        );
        let gone = [ShortenedSegment { held: held(4, 5000), left: None }];
        assert_eq!(manifest.gaps(&[3, 5], |number| whole(number).filter(|_| number != 4)), gone);
        let other = |number| {
            if number == 4 {
                Some((SegmentHeader { number, salt: 9 }, 9000))
            } else {
                whole(number)
            }
        };
        assert_eq!(manifest.gaps(&[3, 4, 5], other), gone, "another file of that number");
        let cut =
            |number| if number == 5 { Some((held(5, 0).segment, 4999)) } else { whole(number) };
        assert_eq!(
            manifest.gaps(&[3, 4, 5], cut),
            [ShortenedSegment { held: held(5, 5000), left: Some(4999) }]
        );
        assert_eq!(manifest.gaps(&[], |_| None).len(), 3);
        assert_eq!(
            manifest.gaps(&[6], |_| None),
            [],
            "a version that does not know the file was here"
        );
    }
}

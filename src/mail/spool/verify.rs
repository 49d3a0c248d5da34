//! Checks all records of a volume without changing it: gives what a start would find.
//!
//! It reads as `recover` reads, through the same `replay`, and decides as `recover` decides: the
//! last record of a message wins. It also checks more: contents are checked in every segment, and
//! everything readable is taken from a damaged record, so that the operator learns which mail it
//! was. Limits: one entry for each message in the queue; [`VerifyReport::DAMAGES_SHOWN`] damages in
//! detail.

use super::format::{
    FRAME_HEADER, FRAME_MAGIC, FrameHeader, HEADER_BLOCK_LEN, HeaderError, RecordKind,
    SegmentHeader,
};
use super::index_entries::RecordLocation;
use super::layout::{BODY, CLOSED, CORRUPT, FORMAT, LOG, segment_path};
use super::record_heads::{AcceptHead, StateHead, decode_id};
use super::recover::{OpenError, content_of, known_format};
use super::replay::{FileWindow, FrameFault, LogFrame, ReplayVisitor, replay};
use super::segment_summary::SegmentSummary;
use super::shutdown_manifest::{ShortenedSegment, ShutdownManifest};
use crate::ground::clock;
use crate::ground::disk::Disk;
use crate::mail::model::{
    Damage, DamageMeaning, MessageId, OfflineError, TargetStatus, VerifyProgress, VerifyReport,
};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::io;
use std::ops::Range;

/// A damaged head is read up to this length, for what can still be read.
const GUESS_MAX: usize = 64 * 1024;

/// The state of one message by its records.
#[derive(Debug, Clone, Copy)]
pub struct VerifiedMessage {
    /// The accept record.
    pub accept: RecordLocation,
    /// The last state record; `None` before the first.
    pub state: Option<RecordLocation>,
    /// Octets of the content.
    pub size: u64,
    /// Length and checksum of the content's own file, where it has one.
    pub file: Option<(u64, u32)>,
    /// Recipients that are still pending.
    pub pending: u16,
    /// Held by an operator.
    pub held: bool,
    /// The delay warning was sent.
    pub delay_warning_sent: bool,
    /// It was imported from another queue, and counts only with a state record.
    pub imported: bool,
}

impl VerifiedMessage {
    fn apply_prior(&mut self, past: Past) {
        self.state = Some(past.place);
        self.pending = past.pending;
        self.held = past.held;
        self.delay_warning_sent = past.delay_warning_sent;
    }
}

/// The content of a state record.
#[derive(Debug, Clone, Copy)]
struct Past {
    place: RecordLocation,
    pending: u16,
    held: bool,
    delay_warning_sent: bool,
}

/// The result of a walk.
#[derive(Default)]
pub struct Verification {
    /// The messages in the queue.
    pub live: BTreeMap<MessageId, VerifiedMessage>,
    /// The segments that could be read.
    pub segments: BTreeMap<u32, SegmentHeader>,
    /// Where their records end; unknown for segments with unreadable blocks.
    ends: BTreeMap<u32, u64>,
    /// Segments that contained more before.
    gaps: BTreeMap<u32, ShortenedSegment>,
    /// Everything worth reporting.
    pub findings: VerifyReport,
    /// The last state of messages whose accept record has not been found.
    orphan_states: BTreeMap<MessageId, Past>,
    /// Damages whose meaning is known only when everything has been read, with what they were
    /// about.
    open: Vec<(Damage, Option<RecordKind>, RecordLocation)>,
    /// Damages that a start counts too: with any of these it drops no incomplete import.
    counted_at_start: u64,
    /// Messages with a content file that are done.
    pub ended: HashSet<MessageId>,
    contents: HashSet<MessageId>,
    /// Messages that damages concern.
    suspects: HashSet<MessageId>,
    /// Those of them that have left the queue.
    left: HashSet<MessageId>,
}

/// Parameters of a walk: the disk, how thorough it is, and where it reports progress.
pub struct Walk<'a> {
    /// The volume.
    pub disk: &'a dyn Disk,
    /// Whether contents are read and checked too.
    pub check_contents: bool,
    /// Receives the progress.
    pub tell: &'a mut dyn FnMut(VerifyProgress),
}

impl Walk<'_> {
    /// Reads the log.
    pub fn verify(&mut self) -> Result<Verification, OfflineError> {
        let mut verify = Verification::default();
        verify.findings.format = self.format()?;
        // Without this directory there is no content.
        verify.contents = self
            .disk
            .list(BODY)
            .unwrap_or_default()
            .iter()
            .filter_map(|name| content_of(name))
            .collect();
        let names = match self.disk.list(LOG) {
            // A power cut before the first segment was there.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            other => other.map_err(|error| storage(LOG, &error))?,
        };
        let numbers: Vec<u32> =
            names.iter().filter_map(|name| name.strip_suffix(".seg")?.parse().ok()).collect();
        let strangers = names
            .iter()
            .filter(|name| !name.ends_with(".seg") && !name.ends_with(".heads"))
            .count();
        if strangers > 0 {
            verify
                .findings
                .notes
                .push(format!("{strangers} files in {LOG}/ are no segments and were not read"));
        }
        for (place, number) in numbers.iter().enumerate() {
            let last = place + 1 == numbers.len();
            let octets = verify.segment(self, *number, last)?;
            verify.findings.segments.add(octets);
            (self.tell)(VerifyProgress {
                files: place as u64 + 1,
                files_total: numbers.len() as u64,
                octets: verify.findings.segments.octets,
            });
        }
        self.compare(&mut verify, &numbers)?;
        verify.finish();
        Ok(verify)
    }

    /// Compares the segments with the manifest of the last stop.
    fn compare(&self, verify: &mut Verification, numbers: &[u32]) -> Result<(), OfflineError> {
        let Some(manifest) =
            ShutdownManifest::read(self.disk).map_err(|error| storage(CLOSED, &error))?
        else {
            return Ok(());
        };
        let set_aside = self.disk.list(CORRUPT).unwrap_or_default();
        let found = |number| Some((*verify.segments.get(&number)?, *verify.ends.get(&number)?));
        for gap in manifest.gaps(numbers, found) {
            let number = gap.held.segment.number;
            // A damaged header or unreadable blocks: reported as that, or at the start that
            // quarantined the segment.
            let is_whole =
                |header: &SegmentHeader| gap.left.is_none() && *header == gap.held.segment;
            let is_told = numbers.binary_search(&number).is_ok()
                && verify.segments.get(&number).is_none_or(is_whole);
            if !is_told && set_aside.binary_search(&format!("{number:010}.seg")).is_err() {
                verify.gaps.insert(number, gap);
            }
        }
        Ok(())
    }

    fn format(&self) -> Result<Option<u32>, OfflineError> {
        let file = match self.disk.open(FORMAT) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return match self.disk.list(LOG) {
                    Ok(names) if names.iter().any(|name| name.ends_with(".seg")) => Ok(None),
                    _ => Err(OfflineError::Missing(
                        "no queue found: neither a file 'format' nor segments in 'log'; is this \
                        the data volume?"
                            .to_owned(),
                    )),
                };
            }
            other => other.map_err(|error| storage(FORMAT, &error))?,
        };
        let mut text = [0; 64];
        let got = file.read_at(0, &mut text).map_err(|error| storage(FORMAT, &error))?;
        known_format(&text[..got]).map_err(|error| match error {
            OpenError::Foreign | OpenError::Newer(_) => {
                OfflineError::NotUnderstood(error.to_string())
            }
            OpenError::Disk(error) => storage(FORMAT, &error),
        })
    }
}

/// An error of the disk, with the file that it concerns.
pub fn storage(file: &str, error: &io::Error) -> OfflineError {
    let words = format!("{file} cannot be read: {error}");
    match error.kind() {
        io::ErrorKind::PermissionDenied => OfflineError::Forbidden(format!(
            "{words}; run this as the appliance's user or as root, and see that the file has \
            mode 600"
        )),
        _ => OfflineError::Storage(words),
    }
}

/// A damaged frame, as far as it can be read.
#[derive(Default)]
struct DamagedFrame {
    what: Cow<'static, str>,
    kind: Option<RecordKind>,
    id: Option<MessageId>,
    certain: bool,
    envelope: Option<AcceptHead>,
    /// Its length, if its header is intact.
    length: Option<u64>,
}

impl Verification {
    /// Reads one segment; gives back its length.
    fn segment(&mut self, walk: &Walk<'_>, number: u32, last: bool) -> Result<u64, OfflineError> {
        let path = segment_path(number);
        let failed = |error: io::Error| storage(&path, &error);
        let file = walk.disk.open(&path).map_err(failed)?;
        let end = file.length().map_err(failed)?;
        let mut window = FileWindow::new(file);
        let block = window.at(0, HEADER_BLOCK_LEN).map_err(failed)?.to_vec();
        let header = match SegmentHeader::decode(&block) {
            Ok(header) if header.number == number => header,
            Err(HeaderError::Newer(version)) => {
                return Err(OfflineError::NotUnderstood(OpenError::Newer(version).to_string()));
            }
            _ => {
                let damaged = DamagedFrame {
                    what: "the header of a segment, both copies".into(),
                    ..DamagedFrame::default()
                };
                self.counted_at_start += 1;
                self.note(number, &path, 0, end, &damaged);
                return Ok(end);
            }
        };
        if one_copy_is_bad(&block) {
            self.findings.notes.push(format!(
                "{path}: one of the two copies of its header is damaged; nothing is lost by that"
            ));
        }
        self.segments.insert(number, header);
        // A start does not check the contents of a finished segment before they are used.
        let contents_trusted = !last && SegmentSummary::read(walk.disk, header).is_some();
        let mut reading = Reading {
            check_contents: walk.check_contents,
            verification: self,
            segment: header,
            path: &path,
            last,
            contents_trusted,
        };
        let offset = replay(header, &mut window, end, &mut reading).map_err(failed)?;
        if window.unreadable() > 0 {
            let words = format!(
                "{path}: {} blocks of 4 KiB cannot be read from the disk; try a copy of the volume",
                window.unreadable()
            );
            self.findings.notes.push(words);
        } else {
            self.ends.insert(number, offset);
            self.gaps.extend(
                ShortenedSegment::from_summary(walk.disk, header, offset).map(|gap| (number, gap)),
            );
        }
        Ok(end)
    }

    fn note_state(&mut self, state: &StateHead, place: RecordLocation) {
        let pending =
            state.progress.iter().filter(|progress| progress.status == TargetStatus::Pending);
        let pending = u16::try_from(pending.count()).unwrap_or(u16::MAX);
        let past = Past {
            place,
            pending,
            held: state.held.is_held(),
            delay_warning_sent: state.delay_warning_sent,
        };
        match self.live.get_mut(&state.id) {
            Some(standing) => standing.apply_prior(past),
            None => drop(self.orphan_states.insert(state.id, past)),
        }
    }

    fn finished(&mut self, id: MessageId) {
        self.live.remove(&id);
        self.orphan_states.remove(&id);
        self.findings.finished += 1;
        if self.contents.contains(&id) {
            self.ended.insert(id);
        }
        if self.suspects.contains(&id) {
            self.left.insert(id);
        }
    }

    fn accepted(&mut self, accepted: &AcceptHead, place: RecordLocation, body_len: u64) {
        let standing = self.live.entry(accepted.id).or_insert_with(|| VerifiedMessage {
            accept: place,
            state: None,
            size: accepted.file.map_or(body_len, |(len, _)| len),
            file: accepted.file,
            pending: u16::try_from(accepted.targets().len()).unwrap_or(u16::MAX),
            held: false,
            delay_warning_sent: false,
            imported: accepted.imported,
        });
        standing.accept = place;
        if let Some(past) = self.orphan_states.remove(&accepted.id) {
            standing.apply_prior(past);
        }
    }

    fn note(&mut self, segment: u32, file: &str, offset: u64, length: u64, damaged: &DamagedFrame) {
        self.findings.damages_total += 1;
        self.suspects.extend(damaged.id);
        if self.open.len() < VerifyReport::DAMAGES_SHOWN {
            let place =
                RecordLocation { segment, offset: u32::try_from(offset).unwrap_or(u32::MAX) };
            self.open.push((damage(file, offset, length, damaged), damaged.kind, place));
        }
    }

    /// A segment, or its end, that is gone.
    fn missing(&mut self, gap: &ShortenedSegment) {
        self.counted_at_start += 1;
        self.findings.damages_total += 1;
        let file = gap.file();
        // Not the unfinished last write of a crash, but the remains of more.
        self.findings.unfinished.take_if(|unfinished| unfinished.file == file);
        if self.findings.damages.len() < VerifyReport::DAMAGES_SHOWN {
            let damaged = DamagedFrame { what: gap.what().into(), ..DamagedFrame::default() };
            let damage = damage(&file, gap.left.unwrap_or(0), gap.octets(), &damaged);
            self.findings.damages.push(Damage { meaning: DamageMeaning::Missing, ..damage });
        }
    }

    /// Everything has been read: determines what each damage means, and the numbers.
    fn finish(&mut self) {
        for gap in std::mem::take(&mut self.gaps).values() {
            self.missing(gap);
        }
        if self.counted_at_start == 0 {
            let half = self
                .live
                .extract_if(.., |_, standing| standing.imported && standing.state.is_none());
            self.findings.imports_unfinished = half.count() as u64;
        }
        for (mut damage, kind, place) in std::mem::take(&mut self.open) {
            let standing = damage.id.and_then(|id| self.live.get(&id));
            damage.meaning = match (kind, damage.id) {
                (_, Some(id)) if self.left.contains(&id) => DamageMeaning::Harmless,
                (Some(RecordKind::Void), _) => DamageMeaning::Harmless,
                (Some(RecordKind::Accept), Some(_)) => match standing {
                    Some(standing) if standing.accept != place => DamageMeaning::Harmless,
                    _ => DamageMeaning::Lost,
                },
                (Some(RecordKind::State), Some(_)) => match standing {
                    Some(standing)
                        if !standing.state.is_some_and(|state| is_behind(state, place)) =>
                    {
                        DamageMeaning::Repeated
                    }
                    _ => DamageMeaning::Harmless,
                },
                (Some(RecordKind::Done), Some(_)) if standing.is_some() => DamageMeaning::Returns,
                (Some(RecordKind::Done), Some(_)) => DamageMeaning::Harmless,
                _ => DamageMeaning::Unknown,
            };
            self.findings.damages.push(damage);
        }
        let findings = &mut self.findings;
        findings.messages = self.live.len() as u64;
        for standing in self.live.values() {
            findings.held += u64::from(standing.held);
            findings.recipients_pending += u64::from(standing.pending);
            findings.bytes += standing.size;
        }
    }
}

/// The walk through one segment.
struct Reading<'a> {
    verification: &'a mut Verification,
    segment: SegmentHeader,
    path: &'a str,
    /// It is the last segment, in which a write may be unfinished.
    last: bool,
    /// A start does not check the contents of this segment before they are used.
    contents_trusted: bool,
    /// Whether contents are read and checked even so.
    check_contents: bool,
}

impl Reading<'_> {
    fn note(&mut self, offset: u64, length: u64, damaged: &DamagedFrame) {
        self.verification.note(self.segment.number, self.path, offset, length, damaged);
    }

    /// A new message, or a copy. `Some`: a start would not take it.
    fn accept(
        &mut self,
        window: &mut FileWindow,
        frame: &LogFrame,
        accepted: &AcceptHead,
    ) -> io::Result<Option<DamagedFrame>> {
        let is_read = accepted.file.is_none() && (self.check_contents || !self.contents_trusted);
        if is_read && !frame.is_content_whole(window)? {
            let damaged = torn(&frame.header, "the content of a mail", Some(accepted.id));
            let damaged =
                DamagedFrame { certain: true, envelope: Some(accepted.clone()), ..damaged };
            if !self.contents_trusted {
                return Ok(Some(damaged));
            }
            self.note(frame.offset, frame.header.frame_len(), &damaged);
        }
        self.verification.accepted(accepted, frame.place, u64::from(frame.header.body_len));
        Ok(None)
    }
}

impl ReplayVisitor for Reading<'_> {
    type Damage = DamagedFrame;

    fn frame(
        &mut self,
        window: &mut FileWindow,
        frame: &LogFrame,
    ) -> io::Result<Option<DamagedFrame>> {
        let LogFrame { place, header, head, .. } = frame;
        let unknown = || Ok(Some(torn(header, name(header.kind), None)));
        match header.kind {
            RecordKind::Accept => {
                let Some(accepted) = AcceptHead::decode(head) else { return unknown() };
                if let Some(damaged) = self.accept(window, frame, &accepted)? {
                    return Ok(Some(damaged));
                }
            }
            RecordKind::State => {
                let Some(state) = StateHead::decode(head) else { return unknown() };
                self.verification.note_state(&state, *place);
            }
            RecordKind::Done => {
                let Some(id) = decode_id(head) else { return unknown() };
                self.verification.finished(id);
            }
            RecordKind::Void => {}
        }
        self.verification.findings.records += 1;
        Ok(None)
    }

    fn fault(
        &mut self,
        window: &mut FileWindow,
        offset: u64,
        fault: FrameFault,
    ) -> io::Result<DamagedFrame> {
        Ok(match fault {
            FrameFault::Header => read_damaged_head(window, offset)?,
            FrameFault::CutOff(header) => torn(&header, "a record that is cut off", None),
            FrameFault::Head(header, head) => {
                let id = decode_id(&head).filter(is_plausible);
                let envelope =
                    AcceptHead::decode(&head).filter(|_| header.kind == RecordKind::Accept);
                DamagedFrame { envelope, ..torn(&header, name(header.kind), id) }
            }
        })
    }

    fn damaged(
        &mut self,
        _: &mut FileWindow,
        octets: Range<u64>,
        damaged: DamagedFrame,
    ) -> io::Result<()> {
        self.verification.counted_at_start += 1;
        self.note(octets.start, octets.end - octets.start, &damaged);
        Ok(())
    }

    fn tail(
        &mut self,
        window: &mut FileWindow,
        octets: Range<u64>,
        damaged: DamagedFrame,
    ) -> io::Result<()> {
        let (offset, rest) = (octets.start, octets.end - octets.start);
        if !is_own(self.segment, window.at(offset, FRAME_HEADER)?) {
            return Ok(());
        }
        let length = damaged.length.unwrap_or(rest).min(rest);
        if self.last {
            self.verification.findings.unfinished =
                Some(damage(self.path, offset, length, &damaged));
        } else {
            self.note(offset, length, &damaged);
        }
        Ok(())
    }
}

/// What is known of a frame with an intact header.
fn torn(header: &FrameHeader, what: &'static str, id: Option<MessageId>) -> DamagedFrame {
    DamagedFrame {
        what: what.into(),
        kind: Some(header.kind),
        id,
        length: Some(header.frame_len()),
        ..DamagedFrame::default()
    }
}

fn is_behind(place: RecordLocation, other: RecordLocation) -> bool {
    (place.segment, place.offset) > (other.segment, other.offset)
}

fn name(kind: RecordKind) -> &'static str {
    match kind {
        RecordKind::Accept => "the envelope of a mail",
        RecordKind::State => "the progress of a mail",
        RecordKind::Done => "the end of a mail",
        RecordKind::Void => "a record without meaning",
    }
}

fn damage(file: &str, offset: u64, length: u64, damaged: &DamagedFrame) -> Damage {
    let envelope = damaged.envelope.as_ref().map(|accepted| &accepted.envelope);
    Damage {
        file: file.to_owned(),
        offset,
        length,
        what: damaged.what.clone(),
        id: damaged.id,
        certain: damaged.certain,
        sender: envelope.and_then(|envelope| envelope.sender.clone()),
        recipients: envelope.map(|envelope| envelope.recipients.clone()).unwrap_or_default(),
        meaning: DamageMeaning::Unknown,
    }
}

/// What a frame with a damaged header may have been.
fn read_damaged_head(window: &mut FileWindow, offset: u64) -> io::Result<DamagedFrame> {
    let octets = window.at(offset, FRAME_HEADER + GUESS_MAX)?;
    let unknown =
        DamagedFrame { what: "a record with a damaged header".into(), ..DamagedFrame::default() };
    let Some((header, head)) = octets.split_at_checked(FRAME_HEADER) else { return Ok(unknown) };
    let Some(id) = decode_id(head).filter(is_plausible) else { return Ok(unknown) };
    // One damaged octet does not make one kind look like another: an accept record has a complete
    // envelope in its head.
    if let Some(accepted) =
        AcceptHead::decode(head).filter(|accepted| !accepted.envelope.recipients.is_empty())
    {
        return Ok(DamagedFrame {
            kind: Some(RecordKind::Accept),
            id: Some(id),
            envelope: Some(accepted),
            ..unknown
        });
    }
    let kind = match header[8] {
        1 => Some(RecordKind::Accept),
        2 => Some(RecordKind::State),
        3 => Some(RecordKind::Done),
        _ => None,
    };
    Ok(DamagedFrame { kind, id: Some(id), ..unknown })
}

/// Whether an id can have been given: it is the microsecond of acceptance, and Postern had no mail
/// before 2020.
fn is_plausible(id: &MessageId) -> bool {
    const YEAR: u64 = 366 * 86_400 * 1_000_000;
    (1_577_836_800_000_000..clock::now_micros() + YEAR).contains(&id.0)
}

/// Whether these octets, which are no intact frame, were once written as one in this use of the
/// segment.
fn is_own(segment: SegmentHeader, octets: &[u8]) -> bool {
    let Some(octets) = octets.get(..FRAME_HEADER) else { return octets.starts_with(&FRAME_MAGIC) };
    let number = segment.number.to_le_bytes();
    if octets.starts_with(&FRAME_MAGIC) && octets[4..8] == number {
        return true;
    }
    // The checksum is salted: it matches only if nothing but the mark or the number is damaged.
    let mut mended = octets.to_vec();
    mended[..4].copy_from_slice(&FRAME_MAGIC);
    mended[4..8].copy_from_slice(&number);
    FrameHeader::decode(segment, &mended).is_some()
}

/// Whether only one of the two copies of a segment's header can be read.
fn one_copy_is_bad(block: &[u8]) -> bool {
    let (first, second) = block.split_at(block.len() / 2);
    let second_alone = [vec![0; first.len()], second.to_vec()].concat();
    SegmentHeader::decode(first).is_ok() != SegmentHeader::decode(&second_alone).is_ok()
}

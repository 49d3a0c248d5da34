//! Recovery: reads the data volume at a start and rebuilds the index.
//!
//! Segments are read in the order of their numbers, so the last record of each message wins. A
//! damaged frame is quarantined under `corrupt/`, and the reader searches for the next frame of the
//! same segment. A cut frame at the very end is the unfinished write of a crash; no 250 was sent
//! for it. What cannot be read from the disk is left as it is, and all other mail is served.
//! Segments that contain less than they did are reported, because their mail is lost
//! (`shutdown_manifest`; without a manifest a segment's summary file, `heads`, tells where it
//! ended).
//!
//! After a kill the page cache may contain records that a power cut would have lost. So a segment
//! that is not known to be durable is synced before it is read, and is read from the device: data
//! that a sync of the last process failed to write may still be in the page cache, and such a
//! record may declare the only copy of a mail outdated.

use super::corrupt::keep;
use super::format::{
    FRAME_HEADER, FRAME_MAGIC, FrameHeader, HEADER_BLOCK, HEADER_BLOCK_LEN, HeaderError,
    RecordKind, SegmentHeader, VERSION,
};
use super::index::Index;
use super::index_entries::RecordLocation;
use super::layout::{BODY, CORRUPT, FORMAT, LOG, SPARE, segment_path, summary_path};
use super::record_heads::{AcceptHead, HoldFlag, StateHead, decode_id};
use super::replay::{FileWindow, FrameFault, LogFrame, ReplayVisitor, place, replay};
use super::segment_summary::{self, SegmentSummary};
use super::shutdown_manifest::{self, ShortenedSegment, ShutdownManifest};
use crate::ground::disk::{Disk, File};
use crate::ground::sync::Instant;
use crate::mail::model::MessageId;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::ops::Range;
use std::time::Duration;

const FORMAT_WORDS: &str = "postern queue format ";

/// Octets of one damaged range that are kept.
const KEEP_MAX: usize = 1 << 20;

/// How often a long recovery reports its progress.
const TELL_EVERY: Duration = Duration::from_secs(2);

/// Why a queue could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The volume cannot be read or written.
    #[error("the data volume cannot be used: {0}")]
    Disk(#[from] io::Error),
    /// A later version of Postern has written it.
    #[error(
        "the queue was written by a later version (format {0}, this version knows {VERSION}): \
        start that version again, or export the mail with it ('postern queue export') and import \
        it into an empty volume of this one"
    )]
    Newer(u32),
    /// The file `format` was not written by Postern.
    #[error("the file 'format' on the data volume is not Postern's: is this the right volume?")]
    Foreign,
}

/// The result of a recovery.
pub struct Recovered {
    /// All messages and segments.
    pub index: Index,
    /// The number for the next segment.
    pub next_segment: u32,
    /// Files for new segments.
    pub spares: Vec<String>,
    /// Damaged records that were quarantined.
    pub damaged: u64,
    /// Segments that contained more before.
    pub shortened: u64,
}

/// Reads the volume.
pub fn recover(disk: &dyn Disk, tell: &dyn Fn(String)) -> Result<Recovered, OpenError> {
    for directory in [LOG, SPARE, CORRUPT, BODY] {
        disk.create_dir(directory)?;
    }
    check_format(disk)?;
    disk.sync_dir("")?;
    let manifest = ShutdownManifest::read(disk)?;
    let numbers: Vec<u32> =
        disk.list(LOG)?.iter().filter_map(|name| name.strip_suffix(".seg")?.parse().ok()).collect();
    let mut recovery = Recovery {
        disk,
        index: Index::default(),
        damaged: 0,
        incomplete_imports: BTreeSet::new(),
        orphan_states: BTreeMap::new(),
        contents: disk
            .list(BODY)?
            .iter()
            .filter_map(|name| Some((content_of(name)?, false)))
            .collect(),
        summary: SegmentSummary::default(),
        gaps: BTreeMap::new(),
        told: Instant::now(),
    };
    for (place, number) in numbers.iter().enumerate() {
        recovery.segment(*number, place + 1 == numbers.len())?;
        if recovery.told.elapsed() >= TELL_EVERY {
            recovery.told = Instant::now();
            let messages = recovery.index.totals().0;
            tell(format!(
                "recovering the queue: segment {} of {}, {messages} messages so far",
                place + 1,
                numbers.len()
            ));
        }
    }
    for segment in recovery.index.segments().values() {
        segment.file.sync()?;
    }
    for directory in [LOG, CORRUPT, BODY] {
        disk.sync_dir(directory)?;
    }
    recovery.compare(manifest.as_ref(), &numbers)?;
    recovery.drop_incomplete_imports();
    recovery.remove_stray_summaries()?;
    recovery.remove_orphans()?;
    let is_less = recovery.log_missing(manifest.as_ref());
    ShutdownManifest::remove(disk, manifest.as_ref().filter(|_| is_less))?;
    let spares: Vec<String> =
        disk.list(SPARE)?.into_iter().map(|name| format!("{SPARE}/{name}")).collect();
    let messages = recovery.index.totals().0;
    if messages > 0 || recovery.damaged > 0 {
        tell(format!(
            "recovered the queue: {messages} messages, {} damaged records quarantined",
            recovery.damaged
        ));
    }
    // A file that is restored must find its number unused.
    let next_segment = (numbers.last().copied().unwrap_or(0) + 1)
        .max(manifest.map_or(1, |manifest| manifest.next_segment()));
    let shortened = recovery.gaps.len() as u64;
    Ok(Recovered {
        index: recovery.index,
        next_segment,
        spares,
        damaged: recovery.damaged,
        shortened,
    })
}

/// The file `format` has the version that wrote the volume, for people and for versions with other
/// layouts.
fn check_format(disk: &dyn Disk) -> Result<(), OpenError> {
    match disk.open(FORMAT) {
        Ok(file) => {
            let mut text = [0; 64];
            let got = file.read_at(0, &mut text)?;
            if known_format(&text[..got])?.is_none_or(|version| version < VERSION) {
                name_format(file.as_ref())?;
            }
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Ok(name_format(disk.create(FORMAT)?.as_ref())?)
        }
        Err(error) => Err(error.into()),
    }
}

/// Stores the version before anything is written that earlier versions cannot read. The numbers
/// have one digit: after a power cut it is one of the two.
fn name_format(file: &dyn File) -> io::Result<()> {
    file.write_at(0, format!("{FORMAT_WORDS}{VERSION}\n").as_bytes())?;
    file.sync()
}

/// The version in the file `format`; `None` for an empty or cut file: a power cut at the very first
/// start.
pub(super) fn known_format(text: &[u8]) -> Result<Option<u32>, OpenError> {
    match std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.strip_prefix(FORMAT_WORDS)?.trim().parse().ok())
    {
        Some(version) if version > VERSION => Err(OpenError::Newer(version)),
        Some(version) => Ok(Some(version)),
        None if FORMAT_WORDS.as_bytes().starts_with(text)
            || text.iter().all(|octet| *octet == 0) =>
        {
            Ok(None)
        }
        None => Err(OpenError::Foreign),
    }
}

/// A state record found before the accept record of its message.
struct OrphanState {
    place: RecordLocation,
    frame: u32,
    held: HoldFlag,
    delay_warning_sent: bool,
}

struct Recovery<'a> {
    disk: &'a dyn Disk,
    index: Index,
    damaged: u64,
    /// Imported messages whose state has not been found yet.
    incomplete_imports: BTreeSet<MessageId>,
    /// The last state of messages whose accept record has not been found: the accept record was
    /// copied and its old location released, but the power was cut before the state was written
    /// again after it.
    orphan_states: BTreeMap<MessageId, OrphanState>,
    /// Messages with a content file, and whether a record says that they are done.
    contents: HashMap<MessageId, bool>,
    /// Summary of the segment that is being read.
    summary: SegmentSummary,
    /// Segments that contained more before.
    gaps: BTreeMap<u32, ShortenedSegment>,
    told: Instant,
}

impl Recovery<'_> {
    fn segment(&mut self, number: u32, last: bool) -> Result<(), OpenError> {
        let file = self.disk.open(&segment_path(number))?;
        let mut window = FileWindow::new(file.clone());
        let header = match SegmentHeader::decode(window.at(0, HEADER_BLOCK_LEN)?) {
            Ok(header) if header.number == number => header,
            Err(HeaderError::Newer(version)) => return Err(OpenError::Newer(version)),
            _ => return self.note_unreadable_segment(number, window.unreadable() > 0),
        };
        self.index.begin_segment(header, file.clone(), HEADER_BLOCK);
        let end = file.length()?;
        // The last segment may have been cut off; its contents must be checked.
        if !last && let Some(len) = self.apply_summary(header, file.as_ref(), end) {
            self.index.segment_len(number, len);
            return Ok(());
        }
        // It is not known to be durable.
        file.sync()?;
        file.read_anew();
        let mut window = FileWindow::new(file.clone());
        self.summary.clear();
        let damaged = self.damaged;
        let mut reading = Reading { recovery: self, segment: header };
        let offset = replay(header, &mut window, end, &mut reading)?;
        if window.unreadable() == 0
            && let Some(gap) = ShortenedSegment::from_summary(self.disk, header, offset)
        {
            self.keep_summary(number)?;
            self.gaps.insert(number, gap);
        }
        if self.damaged == damaged
            && window.unreadable() == 0
            && offset >= segment_summary::SEGMENT_MIN
        {
            self.write_summary_of(header);
        }
        self.index.segment_len(number, offset);
        self.index.incomplete |= window.unreadable() > 0;
        Ok(())
    }

    /// Applies a record to the index; `false`: it cannot be decoded.
    fn apply(&mut self, header: &FrameHeader, head: &[u8], place: RecordLocation) -> bool {
        let frame = u32::try_from(header.frame_len()).unwrap_or(u32::MAX);
        match header.kind {
            RecordKind::Accept => {
                let Some(accepted) = AcceptHead::decode(head) else { return false };
                let size = accepted.file.map_or(u64::from(header.body_len), |(len, _)| len);
                self.index.accepted(accepted.id, place, frame, size, accepted.file.is_some());
                if accepted.imported {
                    self.index.arrived(accepted.id, accepted.arrived);
                }
                if let Some(orphan) = self.orphan_states.remove(&accepted.id) {
                    self.index.state(
                        accepted.id,
                        orphan.place,
                        orphan.frame,
                        orphan.held,
                        orphan.delay_warning_sent,
                    );
                }
                if accepted.imported
                    && self.index.get(accepted.id).is_some_and(|slot| slot.state.is_none())
                {
                    self.incomplete_imports.insert(accepted.id);
                }
            }
            RecordKind::State => {
                let Some(state) = StateHead::decode(head) else { return false };
                self.incomplete_imports.remove(&state.id);
                self.index.note_id(state.id);
                if self.index.get(state.id).is_some() {
                    self.index.state(state.id, place, frame, state.held, state.delay_warning_sent);
                } else {
                    let StateHead { id, held, delay_warning_sent, .. } = state;
                    self.orphan_states
                        .insert(id, OrphanState { place, frame, held, delay_warning_sent });
                }
            }
            RecordKind::Void => {}
            RecordKind::Done => {
                let Some(id) = decode_id(head) else { return false };
                self.incomplete_imports.remove(&id);
                self.orphan_states.remove(&id);
                self.note_unneeded(id);
                self.index.note_id(id);
                self.index.done(id, place.segment);
            }
        }
        true
    }

    /// Reads the summary file instead of the segment's `end` octets; gives how many of them its
    /// frames take. `None`: it is missing or not intact, and the segment must be read.
    fn apply_summary(&mut self, segment: SegmentHeader, file: &dyn File, end: u64) -> Option<u64> {
        let frames = SegmentSummary::read(self.disk, segment)?;
        let all: Vec<_> = segment_summary::frames(segment, &frames).collect::<Option<_>>()?;
        let len = HEADER_BLOCK + all.iter().map(|(header, _)| header.frame_len()).sum::<u64>();
        let mut behind = [0; FRAME_HEADER];
        let got = file.read_at(len, &mut behind).ok()?;
        if len > end || FrameHeader::decode(segment, &behind[..got]).is_some() {
            return None;
        }
        let mut offset = HEADER_BLOCK;
        for (header, head) in all {
            self.apply(&header, head, place(segment, offset));
            offset += header.frame_len();
        }
        Some(len)
    }

    /// Keeps the summary of a segment that is missing or cut, for an operator.
    fn keep_summary(&self, number: u32) -> io::Result<()> {
        match self.disk.rename(&summary_path(number), &format!("{CORRUPT}/{number:010}.heads")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Compares the segments with the manifest of the last stop.
    fn compare(&mut self, manifest: Option<&ShutdownManifest>, numbers: &[u32]) -> io::Result<()> {
        let Some(manifest) = manifest.filter(|_| !self.index.incomplete) else { return Ok(()) };
        let found = |number| {
            let segment = self.index.segments().get(&number)?;
            Some((segment.header, segment.len))
        };
        // Files that this start, or one that was interrupted, has quarantined are damaged, and were
        // reported.
        let set_aside = self.disk.list(CORRUPT)?;
        let is_told = |gap: &ShortenedSegment| {
            set_aside.binary_search(&format!("{:010}.seg", gap.held.segment.number)).is_ok()
        };
        for gap in manifest.gaps(numbers, found).into_iter().filter(|gap| !is_told(gap)) {
            self.keep_summary(gap.held.segment.number)?;
            self.gaps.insert(gap.held.segment.number, gap);
        }
        Ok(())
    }

    /// Reports what is missing; `false`: nothing is.
    fn log_missing(&self, manifest: Option<&ShutdownManifest>) -> bool {
        let gaps: Vec<ShortenedSegment> = self.gaps.values().copied().collect();
        if !gaps.is_empty() {
            shutdown_manifest::log_missing(
                &gaps,
                manifest.map(ShutdownManifest::messages),
                self.index.totals().0,
            );
        }
        !gaps.is_empty()
    }

    /// Writes the summary file, so that the next start need not read the segment. The segment was
    /// synced before it was read, so the summary contains nothing that is not durable.
    fn write_summary_of(&self, segment: SegmentHeader) {
        if let Err(error) = self.summary.write(self.disk, segment) {
            tracing::debug!(
                target: "mta", segment = segment.number, cause = %error,
                "the next start has to read it again"
            );
        }
    }

    /// The first block is damaged in both copies; without the salt no record in the segment can be
    /// recognized.
    fn note_unreadable_segment(&mut self, number: u32, unreadable: bool) -> Result<(), OpenError> {
        self.damaged += 1;
        if unreadable {
            self.index.incomplete = true;
            tracing::error!(target: "mta", segment = number, "a segment's header cannot be read; \
            the segment is skipped, its mail is not served");
            return Ok(());
        }
        let to = format!("{CORRUPT}/{number:010}.seg");
        tracing::error!(target: "mta", segment = number, kept = to, "a segment's header is \
        damaged; the whole segment was quarantined");
        self.disk.rename(&segment_path(number), &to)?;
        Ok(())
    }

    /// Imported messages count only if their state record exists: without it the import was not
    /// confirmed, and with all recipients pending they would be sent twice. If damage may have
    /// removed a state record, they stay: a duplicate is better than a loss.
    fn drop_incomplete_imports(&mut self) {
        if self.damaged > 0 || self.index.incomplete || !self.gaps.is_empty() {
            return;
        }
        for id in std::mem::take(&mut self.incomplete_imports) {
            let segment = self.index.get(id).map_or(0, |slot| slot.accept.segment);
            tracing::warn!(target: "mta", queue_id = %id, "an import was not finished before the \
            stop; import the pair again");
            self.note_unneeded(id);
            self.index.done(id, segment);
        }
    }

    /// Its content is not needed any more.
    fn note_unneeded(&mut self, id: MessageId) {
        if let Some(done) = self.contents.get_mut(&id) {
            *done = true;
        }
    }

    /// Removes summary files of segments that are gone.
    fn remove_stray_summaries(&self) -> io::Result<()> {
        for name in self.disk.list(LOG)? {
            let number = name.strip_suffix(".heads").and_then(|number| number.parse().ok());
            if number.is_some_and(|number| self.index.file(number).is_none()) {
                self.disk.remove(&format!("{LOG}/{name}"))?;
            }
        }
        Ok(())
    }

    /// Handles content files without a message. Those of finished mail are removed, and those whose
    /// names show that they were incomplete. Of any other one it is not known: it was received at a
    /// crash and not confirmed, or the segment with its envelope was removed, and it is all that is
    /// left of a mail.
    fn remove_orphans(&self) -> io::Result<()> {
        if self.index.incomplete {
            // Their messages may be among those that could not be read.
            return Ok(());
        }
        for name in self.disk.list(BODY)? {
            let id = content_of(&name);
            let wanted = id.and_then(|id| self.index.get(id)).is_some_and(|slot| slot.file);
            let path = format!("{BODY}/{name}");
            if wanted {
                continue;
            }
            if id.is_none() && !name.ends_with(".part") {
                tracing::warn!(target: "mta", file = path, "a file that Postern has not written \
                was ignored");
            } else if id.is_some_and(|id| self.contents.get(&id) != Some(&true)) {
                let words = if self.gaps.is_empty() {
                    "a message was being received when the relay was cut off, and was not answered \
                    250; its content is kept, in case a segment with its envelope was removed, and \
                    may be deleted"
                } else {
                    "a content whose envelope may have been in a missing segment was quarantined"
                };
                tracing::warn!(target: "mta", kept = format!("{CORRUPT}/{name}"), "{words}");
                self.disk.rename(&path, &format!("{CORRUPT}/{name}"))?;
            } else {
                self.disk.remove(&path)?;
            }
        }
        Ok(())
    }
}

/// The recovery of one segment.
struct Reading<'a, 'd> {
    recovery: &'a mut Recovery<'d>,
    segment: SegmentHeader,
}

impl Reading<'_, '_> {
    /// Copies damaged octets to `corrupt/`, and overwrites them with a void record: a torn record
    /// in the last segment must not be read as intact at the next start, when the segment is not
    /// the last any more and its contents are not checked.
    fn keep_range(
        &self,
        name: &str,
        window: &mut FileWindow,
        Range { start: from, end: to }: Range<u64>,
    ) -> io::Result<()> {
        let len = usize::try_from(to - from).unwrap_or(usize::MAX).min(KEEP_MAX);
        let octets = window.at(from, len)?.to_vec();
        if window.unreadable() > 0 {
            return Ok(());
        }
        if let Err(error) = keep(self.recovery.disk, name, &octets) {
            tracing::warn!(target: "mta", name, cause = %error, "the octets could not be kept");
        }
        let mut void = Vec::new();
        match (to - from).checked_sub(FRAME_HEADER as u64) {
            Some(rest) => {
                let rest = u32::try_from(rest).unwrap_or(u32::MAX);
                FrameHeader::new(RecordKind::Void, &[], rest, 0).encode(self.segment, &mut void);
            }
            None => void.resize(usize::try_from(to - from).unwrap_or_default(), 0),
        }
        window.file().write_at(from, &void)
    }
}

impl ReplayVisitor for Reading<'_, '_> {
    type Damage = ();

    fn frame(&mut self, window: &mut FileWindow, frame: &LogFrame) -> io::Result<Option<()>> {
        let LogFrame { place, header, head, .. } = frame;
        // The unfinished write of a crash, or of a segment that was given up: if it were accepted,
        // the intact record that it copies would be released. In finished segments the content is
        // checked when it is used.
        if header.kind == RecordKind::Accept
            && header.body_len > 0
            && !frame.is_content_whole(window)?
        {
            return Ok(Some(()));
        }
        if !self.recovery.apply(header, head, *place) {
            return Ok(Some(()));
        }
        self.recovery.summary.push(self.segment, header, head);
        Ok(None)
    }

    fn fault(&mut self, _: &mut FileWindow, _: u64, _: FrameFault) -> io::Result<()> {
        Ok(())
    }

    fn damaged(&mut self, window: &mut FileWindow, octets: Range<u64>, (): ()) -> io::Result<()> {
        self.recovery.damaged += 1;
        let number = self.segment.number;
        let name = format!("{number:010}-{}.frame", octets.start);
        tracing::error!(
            target: "mta",
            segment = number,
            offset = octets.start,
            octets = octets.end - octets.start,
            kept = name,
            "a damaged record was quarantined"
        );
        self.keep_range(&name, window, octets)
    }

    fn tail(&mut self, window: &mut FileWindow, octets: Range<u64>, (): ()) -> io::Result<()> {
        let start = window.at(octets.start, 8)?;
        let own = start.len() == 8
            && start.starts_with(&FRAME_MAGIC)
            && start[4..] == self.segment.number.to_le_bytes();
        if !own {
            return Ok(());
        }
        let name = format!("{:010}-{}.tail", self.segment.number, octets.start);
        tracing::warn!(
            target: "mta",
            segment = self.segment.number,
            offset = octets.start,
            kept = name,
            "the last write before the stop was incomplete; its octets were quarantined"
        );
        self.keep_range(&name, window, octets)
    }
}

/// The id of the message whose content a file is.
pub(super) fn content_of(name: &str) -> Option<MessageId> {
    name.strip_suffix(".eml")?.parse().ok()
}

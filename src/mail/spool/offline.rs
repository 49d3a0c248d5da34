//! A queue that no core uses, to verify it or to export its mail.

use super::content_writer::FileSlice;
use super::format::{FRAME_HEADER, SegmentHeader};
use super::layout::{BODY, CORRUPT, RESERVE, SPARE, body_path, segment_path};
use super::message_reader::{matches, message, read_head};
use super::record_heads::{AcceptHead, StateHead};
use super::recover::content_of;
use super::verify::{Verification, VerifiedMessage, Walk, storage};
use crate::ground::disk::Disk;
use crate::mail::model::{
    Body, Damage, DamageMeaning, FileCount, Message, MessageId, OfflineError, OfflineQueue,
    VerifyProgress, VerifyReport,
};
use std::cell::RefCell;
use std::io;
use std::sync::Arc;

/// A queue that no core uses, on a disk that is only read.
pub struct OfflineSpool {
    disk: Arc<dyn Disk>,
    /// The result of the last walk, used when messages are loaded.
    verify: RefCell<Verification>,
}

impl OfflineSpool {
    /// The queue on this disk.
    pub fn new(disk: Arc<dyn Disk>) -> Self {
        Self { disk, verify: RefCell::default() }
    }

    fn read(&self, id: MessageId, standing: VerifiedMessage) -> io::Result<Option<Message>> {
        let verify = self.verify.borrow();
        let open = |number: u32| -> io::Result<Option<(SegmentHeader, Arc<dyn crate::ground::disk::File>)>> {
            let Some(header) = verify.segments.get(&number) else { return Ok(None) };
            Ok(Some((*header, self.disk.open(&segment_path(number))?)))
        };
        let Some(accept) = open(standing.accept.segment)? else { return Ok(None) };
        let Some((header, head)) = read_head(&accept, standing.accept)? else { return Ok(None) };
        let Some(accepted) = AcceptHead::decode(&head).filter(|accepted| accepted.id == id) else {
            return Ok(None);
        };
        let progress = match standing.state {
            None => accepted.targets(),
            Some(place) => {
                let Some(segment) = open(place.segment)? else { return Ok(None) };
                let Some((_, head)) = read_head(&segment, place)? else { return Ok(None) };
                let Some(state) = StateHead::decode(&head).filter(|state| state.id == id) else {
                    return Ok(None);
                };
                state.progress
            }
        };
        let (content, crc) = match accepted.file {
            Some((len, crc)) => match self.disk.open(&body_path(id)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                file => (FileSlice { file: file?, offset: 0, len }, crc),
            },
            None => {
                let offset = u64::from(standing.accept.offset) + (FRAME_HEADER + head.len()) as u64;
                (FileSlice { file: accept.1, offset, len: header.body_len.into() }, header.body_crc)
            }
        };
        if !matches(&content, crc)? {
            return Ok(None);
        }
        let body = Body::Stored(Arc::new(content), standing.size);
        Ok(Some(message(accepted, progress, standing.held, standing.delay_warning_sent, body)))
    }

    /// Contents with files of their own: needed ones, unneeded ones, and those that were being
    /// received.
    fn contents(
        &self,
        verify: &mut Verification,
        tell: &mut dyn FnMut(VerifyProgress),
    ) -> Result<(), OfflineError> {
        let names = self.list(BODY)?;
        let mut octets = verify.findings.segments.octets;
        let (mut found, total) = (0, names.len() as u64);
        for (done, name) in names.iter().enumerate() {
            let path = format!("{BODY}/{name}");
            let file = self.disk.open(&path).map_err(|error| storage(&path, &error))?;
            let length = file.length().map_err(|error| storage(&path, &error))?;
            let id = content_of(name);
            let wanted =
                id.and_then(|id| verify.live.get(&id).copied()?.file.map(|file| (id, file)));
            let Some((id, (len, crc))) = wanted else {
                match id {
                    Some(id) if verify.ended.contains(&id) => &mut verify.findings.orphans,
                    Some(_) => &mut verify.findings.strays,
                    None => &mut verify.findings.parts,
                }
                .add(length);
                continue;
            };
            found += 1;
            verify.findings.contents.add(length);
            octets += length;
            let whole =
                length >= len && matches(&FileSlice { file, offset: 0, len }, crc).unwrap_or(false);
            if !whole {
                self.lost(verify, id, path, length, "the content of a mail");
            } else if length > len {
                verify
                    .findings
                    .notes
                    .push(format!("{path} is longer than the mail in it; the mail is whole"));
            }
            tell(VerifyProgress { files: done as u64 + 1, files_total: total, octets });
        }
        let needed = verify.live.values().filter(|standing| standing.file.is_some()).count() as u64;
        if found < needed {
            let missing: Vec<MessageId> = verify
                .live
                .iter()
                .filter(|(id, standing)| {
                    standing.file.is_some() && names.binary_search(&format!("{id}.eml")).is_err()
                })
                .map(|(id, _)| *id)
                .collect();
            for id in missing {
                self.lost(
                    verify,
                    id,
                    body_path(id),
                    0,
                    "the content of a mail: the file is missing",
                );
            }
        }
        Ok(())
    }

    fn lost(
        &self,
        verify: &mut Verification,
        id: MessageId,
        file: String,
        length: u64,
        what: &'static str,
    ) {
        verify.findings.damages_total += 1;
        if verify.findings.damages.len() >= VerifyReport::DAMAGES_SHOWN {
            return;
        }
        let accepted = verify.live.get(&id).and_then(|standing| {
            let header = verify.segments.get(&standing.accept.segment)?;
            let file = self.disk.open(&segment_path(standing.accept.segment)).ok()?;
            AcceptHead::decode(&read_head(&(*header, file), standing.accept).ok()??.1)
        });
        verify.findings.damages.push(Damage {
            file,
            offset: 0,
            length,
            what: what.into(),
            id: Some(id),
            certain: true,
            sender: accepted.as_ref().and_then(|accepted| accepted.envelope.sender.clone()),
            recipients: accepted.map(|accepted| accepted.envelope.recipients).unwrap_or_default(),
            meaning: DamageMeaning::Lost,
        });
    }

    fn count(&self, directory: &str) -> Result<FileCount, OfflineError> {
        let mut files = FileCount::default();
        for name in self.list(directory)? {
            let path = format!("{directory}/{name}");
            let length = self.disk.open(&path).and_then(|file| file.length());
            files.add(length.map_err(|error| storage(&path, &error))?);
        }
        Ok(files)
    }

    fn list(&self, directory: &str) -> Result<Vec<String>, OfflineError> {
        match self.disk.list(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            other => other.map_err(|error| storage(directory, &error)),
        }
    }
}

impl OfflineQueue for OfflineSpool {
    fn verify(&self, tell: &mut dyn FnMut(VerifyProgress)) -> Result<VerifyReport, OfflineError> {
        let mut verify =
            Walk { disk: self.disk.as_ref(), check_contents: true, tell: &mut *tell }.verify()?;
        self.contents(&mut verify, tell)?;
        verify.findings.spares = self.count(SPARE)?;
        verify.findings.set_aside = self.count(CORRUPT)?;
        if let Ok(reserve) = self.disk.open(RESERVE) {
            verify
                .findings
                .reserve
                .add(reserve.length().map_err(|error| storage(RESERVE, &error))?);
        }
        Ok(verify.findings)
    }

    fn ids(&self, tell: &mut dyn FnMut(VerifyProgress)) -> Result<Vec<MessageId>, OfflineError> {
        let verify = Walk { disk: self.disk.as_ref(), check_contents: false, tell }.verify()?;
        let ids = verify.live.keys().copied().collect();
        self.verify.replace(verify);
        Ok(ids)
    }

    fn load(&self, id: MessageId) -> Result<Message, String> {
        let standing = self.verify.borrow().live.get(&id).copied();
        let standing = standing.ok_or_else(|| "no such message in the queue".to_owned())?;
        match self.read(id, standing) {
            Ok(Some(message)) => Ok(message),
            Ok(None) => Err("the message is damaged; 'postern queue verify' says more".to_owned()),
            Err(error) => Err(format!("the message cannot be read: {error}")),
        }
    }
}

//! Imports mail of another queue: without a session and without a Received field, into the same
//! spool.
//!
//! In: the mail's data in the other queue, and its content; an mbox line on top of it becomes a
//! field, and content without a header section gets an empty line before it, as in SMTP. Out: a
//! message in the queue, with its past. Limits: the volume has [`STORAGE_PATIENCE`] for each piece
//! and for the end; content is written to the spool piece by piece; its length is the announced
//! one, limited by the volume's free space. Security: content is untrusted. It is accepted only
//! complete (length and checksum as announced) and with lines that end in CR LF: a bare CR or LF
//! could smuggle a second mail past the next hop (RFC 5321 §2.3.8).

use super::hold;
use super::intake::STORAGE_PATIENCE;
use super::model::{
    AdminError, ContentPieces, ImportedMessage, MailEvent, MessageId, Target, TargetProgress,
    TargetStatus,
};
use super::outbound::Outbound;
use super::rewrite::HeaderSection;
use super::spool::{IncomingContent, PriorProgress, QueueEntry, Spool, SpoolError};

impl<S: Spool> Outbound<S> {
    /// Imports a mail.
    pub(super) async fn import(
        &self,
        imported: ImportedMessage,
        mut content: Box<dyn ContentPieces>,
    ) -> Result<MessageId, AdminError> {
        self.spool.ready()?;
        let mut writer = self.spool.begin();
        let (mut crc, mut lines, mut read) = (crc32fast::Hasher::new(), Lines::default(), 0_u64);
        let (mut section, mut ahead) = (HeaderSection::foreign(), Vec::new());
        while let Some(piece) = content.next().await {
            let piece =
                piece.map_err(|error| refused(format!("the content was cut off: {error}")))?;
            read += piece.len() as u64;
            if read > imported.size {
                return Err(refused(format!(
                    "the content is longer than the {} octets announced",
                    imported.size
                )));
            }
            lines.take(&piece).map_err(refused)?;
            crc.update(&piece);
            let rest = section.take(&piece, &mut ahead);
            store(&mut writer, &ahead).await?;
            ahead.clear();
            store(&mut writer, rest).await?;
        }
        if read != imported.size {
            return Err(refused(format!(
                "the content has {read} octets of the {} announced",
                imported.size
            )));
        }
        section.finish(&mut ahead);
        store(&mut writer, &ahead).await?;
        lines.end().map_err(refused)?;
        if crc.finalize() != imported.crc {
            return Err(refused(
                "the content is not what was written: its checksum differs".to_owned(),
            ));
        }
        let ImportedMessage {
            was,
            arrived,
            kind,
            envelope,
            origin,
            mut progress,
            mut held,
            delay_warning_sent,
            size,
            ..
        } = imported;
        // This is another relay with other routes: the attempts count on, but the first one here is
        // not delayed by failures there.
        progress.iter_mut().for_each(|progress| progress.due = 0);
        let copy = progress.iter().any(|progress| progress.target == Target::Copy);
        let rules = self.route_rules();
        for one in &mut progress {
            one.destination = rules.decided(&envelope, one);
        }
        let destinations = rules.decide(&envelope, copy);
        if let Some(reason) = self.holds(&envelope).filter(|_| !held) {
            held = true;
            let waits = |one: &&mut TargetProgress| one.status == TargetStatus::Pending;
            progress.iter_mut().filter(waits).for_each(|one| one.reason = hold::shortened(&reason));
        }
        let entry = QueueEntry { envelope, origin, kind, copy, destinations };
        let past = PriorProgress { arrived, progress, held, delay_warning_sent };
        let message =
            self.spool.import(entry, past, writer, tokio::time::sleep(STORAGE_PATIENCE)).await?;
        self.events.emit(MailEvent::Imported { message: &message, was, size, held });
        let id = message.id;
        if !held {
            self.enqueue(message);
        }
        Ok(id)
    }
}

/// Writes a piece to the queue, with a time limit for the volume.
async fn store<W: IncomingContent>(writer: &mut W, piece: &[u8]) -> Result<(), SpoolError> {
    let written = tokio::time::timeout(STORAGE_PATIENCE, writer.write(piece)).await;
    written.unwrap_or(Err(SpoolError::Slow(STORAGE_PATIENCE.as_secs())))
}

fn refused(words: impl Into<String>) -> AdminError {
    AdminError::Refused(words.into())
}

/// Checks that lines end in CR LF, and the last one too.
#[derive(Default)]
struct Lines {
    last: u8,
}

impl Lines {
    fn take(&mut self, piece: &[u8]) -> Result<(), &'static str> {
        for octet in piece {
            match (self.last, *octet) {
                (b'\r', b'\n') => {}
                (b'\r', _) => return Err(BARE),
                (_, b'\n') => return Err(BARE),
                (_, 0) => return Err("the content holds a NUL octet"),
                _ => {}
            }
            self.last = *octet;
        }
        Ok(())
    }

    fn end(&self) -> Result<(), &'static str> {
        match self.last {
            b'\n' => Ok(()),
            b'\r' => Err(BARE),
            _ => Err("the content does not end with a line end"),
        }
    }
}

const BARE: &str = "the content has a CR or LF by itself; lines must end in CR LF";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_lines_are_content() {
        let check = |content: &[u8], piece: usize| {
            let mut lines = Lines::default();
            content.chunks(piece).try_for_each(|piece| lines.take(piece)).and_then(|()| lines.end())
        };
        for piece in 1..4 {
            assert_eq!(check(b"a: b\r\n\r\n.\r\n..\r\n", piece), Ok(()));
            for bad in [
                &b"a"[..],
                b"",
                b"a\n",
                b"a\r\n\n",
                b"a\rb\r\n",
                b"a\r\r\n",
                b"\na\r\n",
                b"a\r\n.\r\r\nb\r\n",
                b"a\0\r\n",
                b"a\r",
            ] {
                assert!(check(bad, piece).is_err(), "{bad:?}");
            }
        }
    }
}

//! Addresses as the journal keeps them: whole, with the local part shortened, or with it replaced by a keyed hash.
//!
//! Where an address was masked, it is masked in the replies and the transcript of the same entry too.

use super::Line;
use crate::ground::disk::Disk;
use crate::mail::model::{Class, Herald, Notice};
use aws_lc_rs::{hmac, rand};
use std::io;
use std::sync::Arc;

/// How addresses are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Masking {
    /// As they are.
    None,
    /// `j***@example.org`.
    Smart,
    /// `5f1d3c0a9b72@example.org`: the same address has the same hash on this volume, and nobody without its key can tell
    /// whose it is.
    Hash,
}

/// The key of the hashes, on the volume.
const DIRECTORY: &str = "history";
const KEY: &str = "history/key";
const KEY_LEN: usize = 32;

/// Octets of a hash that are written.
const HASH_SHOWN: usize = 6;

/// Masks addresses.
pub struct Mask {
    masking: Masking,
    key: Option<hmac::Key>,
}

impl Mask {
    /// With the volume's key, where one is needed.
    pub fn open(disk: &dyn Disk, masking: Masking) -> io::Result<Self> {
        let key = if masking == Masking::Hash { Some(key(disk)?) } else { None };
        Ok(Self { masking, key })
    }

    /// Masks all addresses of an entry.
    pub fn apply(&self, line: &mut Line) {
        if self.masking == Masking::None {
            return;
        }
        match line {
            Line::Attempt(attempt) => {
                for ending in &mut attempt.outcomes {
                    let masked = self.masked(&ending.to);
                    ending.reply = replaced(&ending.reply, &ending.to, &masked);
                    attempt.transcript = replaced(&attempt.transcript, &ending.to, &masked);
                    ending.to = masked;
                }
                attempt.transcript = self.without_senders(&attempt.transcript);
            }
            Line::Finished(finished) => {
                finished.sender = self.masked(&finished.sender);
                for ending in &mut finished.recipients {
                    let masked = self.masked(&ending.to);
                    ending.reply = replaced(&ending.reply, &ending.to, &masked);
                    ending.to = masked;
                }
            }
        }
    }

    /// Masks the addresses of a notice.
    fn apply_to_notice(&self, notice: &mut Notice) {
        if self.masking == Masking::None {
            return;
        }
        let masked = self.masked(&notice.to);
        notice.reply = replaced(&notice.reply, &notice.to, &masked);
        notice.to = masked;
        notice.sender = self.masked(&notice.sender);
    }

    /// The reverse-path stands in the transcript alone.
    fn without_senders(&self, transcript: &str) -> String {
        let mut masked = String::with_capacity(transcript.len());
        for line in transcript.lines() {
            match line.strip_prefix("> MAIL FROM:<").and_then(|rest| rest.split_once('>')) {
                Some((sender, rest)) => masked.push_str(&format!("> MAIL FROM:<{}>{rest}", self.masked(sender))),
                None => masked.push_str(line),
            }
            masked.push('\n');
        }
        masked
    }

    fn masked(&self, address: &str) -> String {
        let Some((local, domain)) = address.rsplit_once('@') else { return address.to_owned() };
        match &self.key {
            Some(key) => {
                let tag = hmac::sign(key, address.to_lowercase().as_bytes());
                let hash: String = tag.as_ref().iter().take(HASH_SHOWN).map(|octet| format!("{octet:02x}")).collect();
                format!("{hash}@{domain}")
            }
            None => format!("{}***@{domain}", local.chars().next().unwrap_or('*')),
        }
    }
}

/// A herald that names people as the history does.
pub struct Masked {
    mask: Mask,
    herald: Arc<dyn Herald>,
}

impl Masked {
    /// Stands before a herald.
    ///
    /// # Errors
    /// The volume has no key, and takes none.
    pub fn open(disk: &dyn Disk, masking: Masking, herald: Arc<dyn Herald>) -> io::Result<Self> {
        Ok(Self { mask: Mask::open(disk, masking)?, herald })
    }
}

impl Herald for Masked {
    fn wants(&self, class: Class) -> bool {
        self.herald.wants(class)
    }

    fn tell(&self, mut notice: Notice) {
        self.mask.apply_to_notice(&mut notice);
        self.herald.tell(notice);
    }
}

fn replaced(text: &str, address: &str, masked: &str) -> String {
    if address.contains('@') { text.replace(address, masked) } else { text.to_owned() }
}

fn key(disk: &dyn Disk) -> io::Result<hmac::Key> {
    let mut octets = [0; KEY_LEN];
    let known = match disk.open(KEY) {
        Ok(file) => file.read_at(0, &mut octets)? == KEY_LEN,
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(error),
    };
    if !known {
        disk.create_dir(DIRECTORY)?;
        rand::fill(&mut octets).map_err(|_| io::Error::other("no random numbers"))?;
        // A key that is too short is none.
        let _ = disk.remove(KEY);
        let file = disk.create(KEY)?;
        file.write_at(0, &octets)?;
        file.sync()?;
    }
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &octets))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::disk::Volume;
    use crate::mail::model::{Attempt, Ending};

    #[test]
    fn no_local_part_is_left_anywhere() {
        let directory = tempfile::tempdir().unwrap();
        let disk = Volume::open(directory.path()).unwrap();
        disk.create_dir("history").unwrap();
        let attempt = Attempt {
            id: "0".into(),
            at: 1,
            destination: "b.example".into(),
            relay: String::new(),
            tls: String::new(),
            took_ms: 1,
            outcomes: vec![Ending {
                to: "Jane.Doe@b.example".into(),
                status: "bounced".into(),
                reply: "550 5.1.1 <Jane.Doe@b.example> unknown".into(),
            }],
            transcript: "> MAIL FROM:<shop@a.example> SIZE=5\n< 250 ok\n> RCPT TO:<Jane.Doe@b.example>\n".into(),
        };
        let mut seen = Vec::new();
        for masking in [Masking::Smart, Masking::Hash, Masking::Hash] {
            let mut line = Line::Attempt(attempt.clone());
            Mask::open(&disk, masking).unwrap().apply(&mut line);
            let text = serde_json::to_string(&line).unwrap();
            assert!(!text.contains("Jane") && !text.contains("shop@") && text.contains("@b.example"), "{text}");
            seen.push(text);
        }
        assert!(seen[0].contains("J***@b.example") && seen[0].contains("s***@a.example"), "{}", seen[0]);
        assert_eq!(seen[1], seen[2], "the key is kept");
        let mut line = Line::Attempt(attempt.clone());
        Mask::open(&disk, Masking::None).unwrap().apply(&mut line);
        assert_eq!(line, Line::Attempt(attempt));
    }
}

//! Masks addresses for the history: not at all, with the local part shortened, or with it replaced
//! by a keyed hash.
//!
//! Replies and transcripts of other hosts may contain any addresses, in any case of letters. So
//! everything that looks like an address is masked there. The text of an undeliverable bounce is
//! left out.

use super::lines::HistoryLine;
use crate::ground::disk::Disk;
use crate::mail::model::AddressMask;
use aws_lc_rs::{hmac, rand};
use std::io;

/// How addresses are masked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Masking {
    /// Not at all.
    None,
    /// `j***@example.org`.
    Smart,
    /// `5f1d3c0a9b72@example.org`: the same address has the same hash on this volume, and without
    /// the volume's key it cannot be traced back.
    Hash,
}

/// The key of the hashes, on the volume.
const DIRECTORY: &str = "history";
pub(super) const KEY: &str = "history/key";
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
    pub(super) fn apply(&self, line: &mut HistoryLine) {
        if self.masking == Masking::None {
            return;
        }
        match line {
            HistoryLine::Attempt(attempt) => {
                attempt
                    .outcomes
                    .iter_mut()
                    .for_each(|ending| self.apply_to(&mut ending.to, &mut ending.reply));
                // The text of a bounce may identify people by more than addresses.
                let dialogue: String = attempt.dialogue().flat_map(|line| [line, "\n"]).collect();
                attempt.transcript = self.masked_text(&dialogue);
            }
            HistoryLine::Finished(finished) => {
                finished
                    .recipients
                    .iter_mut()
                    .for_each(|ending| self.apply_to(&mut ending.to, &mut ending.reply));
                finished.sender = self.masked(&finished.sender);
            }
        }
    }

    fn apply_to(&self, to: &mut String, reply: &mut String) {
        *reply = self.masked_text(reply);
        *to = self.masked(to);
    }

    /// A text in which everything that looks like an address is masked.
    fn masked_text(&self, text: &str) -> String {
        let mut told = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('@') {
            let local = start_of_local_part(&rest[..at]);
            let behind = &rest[at + 1..];
            let literal = behind
                .strip_prefix('[')
                .and_then(|literal| Some(&behind[..literal.find(']')? + 2]));
            let domain = match literal.filter(|literal| !literal.contains('@')) {
                Some(literal) => literal.len(),
                None => behind.find(|c| !is_of_a_domain(c)).unwrap_or(behind.len()),
            };
            told.push_str(&rest[..local]);
            let address = &rest[local..at + 1 + domain];
            if local == at || domain == 0 {
                told.push_str(address)
            } else {
                told.push_str(&self.masked(address))
            }
            rest = &rest[at + 1 + domain..];
        }
        told + rest
    }

    fn masked(&self, address: &str) -> String {
        let Some((local, domain)) = address.rsplit_once('@') else { return address.to_owned() };
        match &self.key {
            Some(key) => {
                let tag = hmac::sign(key, address.to_lowercase().as_bytes());
                let hash: String = tag
                    .as_ref()
                    .iter()
                    .take(HASH_SHOWN)
                    .map(|octet| format!("{octet:02x}"))
                    .collect();
                format!("{hash}@{domain}")
            }
            None => {
                let first = local.trim_start_matches('"').chars().next();
                format!("{}***@{domain}", first.filter(|c| is_atext(*c)).unwrap_or('*'))
            }
        }
    }
}

impl AddressMask for Mask {
    fn address(&self, address: &str) -> String {
        if self.masking == Masking::None { address.to_owned() } else { self.masked(address) }
    }

    fn text(&self, text: &str) -> String {
        if self.masking == Masking::None { text.to_owned() } else { self.masked_text(text) }
    }
}

/// Where the local part at the end of this text begins: words of atext, or a quoted string (RFC
/// 5321 §4.1.2). The end of the text if there is none.
fn start_of_local_part(text: &str) -> usize {
    let Some(inside) = text.strip_suffix('"') else { return text.trim_end_matches(is_atext).len() };
    let opens = |(place, _): &(usize, &str)| !inside[..*place].ends_with('\\');
    inside.rmatch_indices('"').find(opens).map_or(text.len(), |(place, _)| place)
}

/// RFC 5322 §3.2.3, with the dot, and RFC 6532 §3.2.
fn is_atext(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c) || !c.is_ascii()
}

fn is_of_a_domain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_') || !c.is_ascii()
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
        // A key that is too short is invalid.
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
    use crate::ground::disk::DirectoryDisk;
    use crate::mail::model::{AttemptRecord, DeliveryStatus, RecipientResult};

    #[test]
    fn no_local_part_is_left_anywhere() {
        let directory = tempfile::tempdir().unwrap();
        let disk = DirectoryDisk::open(directory.path()).unwrap();
        disk.create_dir("history").unwrap();
        let attempt = AttemptRecord {
            id: "0".into(),
            at: 1,
            destination: "b.example".into(),
            relay: String::new(),
            tls: String::new(),
            took_ms: 1,
            outcomes: vec![RecipientResult {
                to: "Jane.Doe@b.example".into(),
                status: DeliveryStatus::Bounced,
                reply: "550 5.1.1 <Jane.Doe@b.example> unknown".into(),
            }],
            transcript: format!(
                "> MAIL FROM:<shop@a.example> SIZE=5\n< 250 ok\n> RCPT \
                TO:<Jane.Doe@b.example>\n{}\nDear Jane,\n",
                AttemptRecord::TEXT_MARK
            ),
        };
        let mut seen = Vec::new();
        for masking in [Masking::Smart, Masking::Hash, Masking::Hash] {
            let mut line = HistoryLine::Attempt(attempt.clone());
            Mask::open(&disk, masking).unwrap().apply(&mut line);
            let text = serde_json::to_string(&line).unwrap();
            assert!(
                !text.contains("Jane") && !text.contains("shop@") && text.contains("@b.example"),
                "{text}"
            );
            seen.push(text);
        }
        assert!(
            seen[0].contains("J***@b.example") && seen[0].contains("s***@a.example"),
            "{}",
            seen[0]
        );
        assert_eq!(seen[1], seen[2], "the key is kept");
        let mut line = HistoryLine::Attempt(attempt.clone());
        Mask::open(&disk, Masking::None).unwrap().apply(&mut line);
        assert_eq!(line, HistoryLine::Attempt(attempt));
    }

    #[test]
    fn whoever_a_reply_quotes_is_masked() {
        let mask = Mask { masking: Masking::Smart, key: None };
        for (text, masked) in [
            ("550 <SHOP@A.example>: sender unknown", "550 <S***@A.example>: sender unknown"),
            ("450 to=jane@b.example, try later.", "450 t***@b.example, try later."),
            ("jürgen@bücher.example über quota", "j***@bücher.example über quota"),
            ("550 root@[192.0.2.1] no", "550 r***@[192.0.2.1] no"),
            ("a@b@c @d e@ @ @[ f@[g", "a***@b@c @d e@ @ @[ f@[g"),
            ("> MAIL FROM:<\"the shop\"@a.example> SIZE=5", "> MAIL FROM:<t***@a.example> SIZE=5"),
            (r#"he said "no" to "a \"b\" c"@d.example"#, r#"he said "no" to a***@d.example"#),
            ("\"@d.example", "\"@d.example"),
            ("550 no such user", "550 no such user"),
        ] {
            assert_eq!(mask.masked_text(text), masked);
        }
        let (mut to, mut reply) = (
            "\"jane doe\"@b.example".to_owned(),
            "550 <\"jane doe\"@b.example> unknown".to_owned(),
        );
        mask.apply_to(&mut to, &mut reply);
        assert_eq!(
            (to.as_str(), reply.as_str()),
            ("j***@b.example", "550 <j***@b.example> unknown")
        );
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_masked_once(text in "[a-c@.\\[\\]<>é ]{0,40}") {
            let mask = Mask { masking: Masking::Smart, key: None };
            let masked = mask.masked_text(&text);
            // Text that is not an address stays, and masked text stays masked.
            proptest::prop_assert_eq!(text.matches('@').count(), masked.matches('@').count());
            proptest::prop_assert_eq!(&mask.masked_text(&masked), &masked);
        }

        #[test]
        fn any_text_with_quotes_is_read(text in "[a-c@\"\\\\é ]{0,40}") {
            let mask = Mask { masking: Masking::Smart, key: None };
            // A cut inside a character, or out of order, would panic.
            let count = |text: &str| text.matches('@').count();
            proptest::prop_assert!(count(&mask.masked_text(&text)) <= count(&text));
        }
    }
}

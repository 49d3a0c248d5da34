//! The fields that say who wrote or sent a mail, while its content comes in: may the client send as
//! these?
//!
//! In: pieces of the content. Out: the addresses of From, Sender, Resent-From and Resent-Sender
//! once the header section has ended. Limits: [`VALUES_MAX`] octets of these fields together are
//! kept, and only for clients whose senders are restricted; more are refused. Nothing else is kept,
//! and each octet is looked at once. Security: every such field and every address in it counts;
//! what cannot be read as addresses is refused. Source: RFC 5322 §3.6.2, §3.6.6.

use super::model::Address;
use super::rewrite;

/// Octets of all these fields together, at most.
pub const VALUES_MAX: usize = rewrite::FIELD_MAX;

/// The fields, as they are shown.
const FIELDS: [&str; 4] = ["From", "Sender", "Resent-From", "Resent-Sender"];

/// Octets of a field's name that are kept: one more than the longest of [`FIELDS`] has.
const NAME_MAX: usize = "Resent-Sender".len() + 1;

/// Collects the fields.
#[derive(Default)]
pub(super) struct AuthorFields {
    found: Vec<(&'static str, Vec<u8>)>,
    place: Place,
    /// The name of the field so far, without blanks behind it.
    name: Vec<u8>,
    /// There was a blank behind the name.
    has_blank: bool,
    /// The field whose value comes in is the last one that was found.
    is_wanted: bool,
    octets: usize,
}

/// Where the next octet belongs.
#[derive(Default, PartialEq, Eq)]
enum Place {
    #[default]
    LineStart,
    /// Behind the CR at the start of a line.
    EmptyLine,
    Name,
    Value,
    /// Behind the header section.
    Body,
}

impl AuthorFields {
    /// Takes a piece. `true`: the header section has ended; said once.
    pub(super) fn take(&mut self, piece: &[u8]) -> bool {
        let mut rest = piece;
        while let (Some(first), true) = (rest.first(), self.place != Place::Body) {
            let mut taken = 1;
            match self.place {
                Place::LineStart => self.begin_line(*first),
                Place::EmptyLine if *first == b'\n' => {
                    self.place = Place::Body;
                    return true;
                }
                Place::EmptyLine => self.place = Place::Value,
                Place::Name => self.name(*first),
                Place::Value => {
                    let end = rest.iter().position(|octet| *octet == b'\n');
                    taken = end.map_or(rest.len(), |end| end + 1);
                    self.value(&rest[..taken]);
                    if end.is_some() {
                        self.place = Place::LineStart;
                    }
                }
                Place::Body => {}
            }
            rest = &rest[taken..];
        }
        false
    }

    /// The content has ended. `true`: the header section ends with it.
    pub(super) fn finish(&mut self) -> bool {
        std::mem::replace(&mut self.place, Place::Body) != Place::Body
    }

    /// The addresses, each with the name of its field.
    ///
    /// # Errors
    /// What is wrong with a field.
    pub(super) fn authors(&self) -> Result<Vec<(&'static str, Address)>, String> {
        if self.octets > VALUES_MAX {
            return Err(format!("The fields {} are too long", FIELDS.join(", ")));
        }
        let mut authors = Vec::new();
        for (name, value) in &self.found {
            let Some(of_field) = rewrite::authors(value) else {
                return Err(format!("The {name} field is no list of addresses without groups"));
            };
            authors.extend(of_field.into_iter().map(|author| (*name, author)));
        }
        Ok(authors)
    }

    fn begin_line(&mut self, first: u8) {
        match first {
            b' ' | b'\t' => {
                self.place = Place::Value;
                self.value(&[first]);
            }
            b'\r' => {
                self.place = Place::EmptyLine;
                self.is_wanted = false;
            }
            _ => {
                self.name.clear();
                (self.has_blank, self.is_wanted) = (false, false);
                self.place = Place::Name;
                self.name(first);
            }
        }
    }

    fn name(&mut self, octet: u8) {
        match octet {
            b':' => {
                let is_name = |name: &&&str| self.name.eq_ignore_ascii_case(name.as_bytes());
                if let Some(name) = FIELDS.iter().find(is_name) {
                    self.found.push((*name, Vec::new()));
                    self.is_wanted = true;
                }
                self.place = Place::Value;
            }
            b'\n' => self.place = Place::LineStart,
            // RFC 5322 §4.5: readers take blanks in front of the colon.
            b' ' | b'\t' => self.has_blank = true,
            octet if self.has_blank => {
                // Two words are no name of a field.
                self.name.clear();
                self.name.push(octet);
            }
            octet if self.name.len() < NAME_MAX => self.name.push(octet),
            _ => {}
        }
    }

    fn value(&mut self, octets: &[u8]) {
        if let (true, Some((_, value))) = (self.is_wanted, self.found.last_mut()) {
            self.octets = self.octets.saturating_add(octets.len());
            if self.octets <= VALUES_MAX {
                value.extend_from_slice(octets);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authors(content: &[u8], size: usize) -> Result<Vec<String>, String> {
        let mut fields = AuthorFields::default();
        let ends = content.chunks(size).filter(|piece| fields.take(piece)).count();
        assert_eq!(usize::from(fields.finish()) + ends, 1, "the end is told once");
        let all = fields.authors()?;
        Ok(all.iter().map(|(name, author)| format!("{name} {author}")).collect())
    }

    #[test]
    fn every_author_is_found_in_pieces_of_any_size() {
        for size in [1, 3, 1000] {
            for (content, wanted) in [
                (
                    &b"From: a@b.example\r\nTo: x@y\r\n\r\nFrom: z@z\r\n"[..],
                    vec!["From a@b.example"],
                ),
                (
                    b"To: x@y\r\nfrom: Anna <a@b.example>,\r\n\tc@d.example\r\n",
                    vec!["From a@b.example", "From c@d.example"],
                ),
                (
                    b"From: a@b.example\r\nFROM: c@d.example\r\n\r\n",
                    vec!["From a@b.example", "From c@d.example"],
                ),
                (
                    b"RESENT-SENDER:a@b.example\r\nSender: c@d.example\r\nresent-From: e@f.example",
                    vec![
                        "Resent-Sender a@b.example",
                        "Sender c@d.example",
                        "Resent-From e@f.example",
                    ],
                ),
                (b"From \t : a@b.example\r\n\r\n", vec!["From a@b.example"]),
                (b"From:\r\n a@b.example\r\n\r\n", vec!["From a@b.example"]),
                (b"Subject: x\r\n\r\nFrom: z@z.example\r\n", vec![]),
                (b"Subject: x\r\n From: z@z.example\r\n\r\n", vec![]),
                (b"X From: x\r\nFroms: x\r\nFro: m\r\nFrom\r\nX: y\r\n\r\n", vec![]),
                (b"\r\nFrom: z@z.example\r\n\r\n", vec![]),
                (b"", vec![]),
            ] {
                assert_eq!(authors(content, size).unwrap(), wanted, "{size}");
            }
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for bad in [
            &b"From: nobody\r\n\r\n"[..],
            b"From: \r\n\r\n",
            b"From: <a@b.example\r\n\r\n",
            b"Sender: boss@victim.example:;\r\n\r\n",
            b"From: boss@victim.example: a@b.example;\r\n\r\n",
        ] {
            assert!(authors(bad, 1000).is_err(), "{bad:?}");
        }
        let long = |octets: usize| {
            let comment = [&b"From: ("[..], &vec![b'a'; octets], b") a@b.example\r\n\r\n"].concat();
            authors(&comment, 1000)
        };
        assert!(long(VALUES_MAX - 100).is_ok() && long(VALUES_MAX).is_err());
        let other =
            [&b"X: "[..], &vec![b'a'; VALUES_MAX * 9], b"\r\nFrom: a@b.example\r\n"].concat();
        assert!(authors(&other, 1000).is_ok(), "other fields have any length");
        let many = b"From: a@b.example\r\n".repeat(VALUES_MAX / 10);
        assert!(authors(&many, 1000).is_err());
    }
}

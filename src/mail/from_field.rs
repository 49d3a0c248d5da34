//! The From field of a mail, while its content comes in: may the client send as its authors?
//!
//! In: pieces of the content. Out: the authors' addresses once the header section has ended.
//! Limits: [`SECTION_MAX`] octets of the header section, which is kept only for clients whose
//! senders are restricted; a longer one is refused. Security: every From field and every address in
//! it counts; what cannot be read as addresses is refused. Source: RFC 5322 §3.6.2.

use super::model::Address;
use mail_parser::{Address as AddressList, HeaderName, HeaderValue, MessageParser};

/// Octets of a header section, at most.
pub const SECTION_MAX: usize = 128 * 1024;

/// Collects the header section.
#[derive(Default)]
pub(super) struct FromField {
    section: Vec<u8>,
    has_ended: bool,
}

impl FromField {
    /// Takes a piece. `true`: the header section has ended, or is too long; asked once.
    pub(super) fn take(&mut self, piece: &[u8]) -> bool {
        if self.has_ended {
            return false;
        }
        let from = self.section.len().saturating_sub(3);
        self.section.extend_from_slice(piece);
        let ends = self.section.starts_with(b"\r\n")
            || self.section[from..].windows(4).any(|octets| octets == b"\r\n\r\n");
        self.has_ended = ends || self.section.len() > SECTION_MAX;
        self.has_ended
    }

    /// The content has ended. `true`: the header section ends with it.
    pub(super) fn finish(&mut self) -> bool {
        !std::mem::replace(&mut self.has_ended, true)
    }

    /// The authors.
    ///
    /// # Errors
    /// What is wrong with the field, or with the header section.
    pub(super) fn authors(&self) -> Result<Vec<Address>, &'static str> {
        if self.section.len() > SECTION_MAX {
            return Err("The header section is too long to find the sender in it");
        }
        // Without an end the parser would take the last field for a part of the body.
        let section = [&self.section[..], b"\r\n\r\n"].concat();
        let parsed = MessageParser::new().parse(&section);
        let fields = parsed.as_ref().map(|mail| mail.headers()).unwrap_or_default();
        let mut authors = Vec::new();
        for field in fields.iter().filter(|field| field.name == HeaderName::From) {
            let HeaderValue::Address(list) = &field.value else {
                return Err("The From field has no address");
            };
            // A reader may take the name of a group for the author.
            if matches!(list, AddressList::Group(_)) || list.iter().next().is_none() {
                return Err("The From field has a group, or no address");
            }
            for author in list.iter() {
                let address = author.address.as_deref().and_then(|text| Address::parse(text).ok());
                authors.push(address.ok_or("The From field has something that is no address")?);
            }
        }
        Ok(authors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authors(content: &[u8], size: usize) -> Result<Vec<String>, &'static str> {
        let mut from = FromField::default();
        let has_ended = content.chunks(size).any(|piece| from.take(piece));
        assert!(has_ended || from.finish());
        from.authors().map(|all| all.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn every_author_is_found_in_pieces_of_any_size() {
        for size in [1, 3, 1000] {
            for (content, wanted) in [
                (&b"From: a@b.example\r\nTo: x@y\r\n\r\nFrom: z@z\r\n"[..], vec!["a@b.example"]),
                (
                    b"To: x@y\r\nfrom: Anna <a@b.example>,\r\n\tc@d.example\r\n",
                    vec!["a@b.example", "c@d.example"],
                ),
                (
                    b"From: a@b.example\r\nFROM: c@d.example\r\n\r\n",
                    vec!["a@b.example", "c@d.example"],
                ),
                (b"Subject: x\r\n\r\nFrom: z@z.example\r\n", vec![]),
                (b"\r\nFrom: z@z.example\r\n\r\n", vec![]),
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
            b"From: boss@victim.example:;\r\n\r\n",
            b"From: boss@victim.example: a@b.example;\r\n\r\n",
        ] {
            let found = authors(bad, 1000);
            assert!(found.is_err() || found.is_ok_and(|all| all == ["a@b.example"]), "{bad:?}");
        }
        let long =
            [&b"X: "[..], &vec![b'a'; SECTION_MAX], b"\r\nFrom: a@b.example\r\n\r\n"].concat();
        assert!(authors(&long, 1000).is_err());
    }
}

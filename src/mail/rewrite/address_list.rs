//! Address lists of header fields (RFC 5322 §3.4).
//!
//! In: what stands behind the colon of From, Sender and the like. Out: the addresses, and where
//! they are. Names, comments, encoded words and folding are passed over; the obsolete forms of §4.4
//! are not understood. Pure. Limits: [`FIELD_MAX`] octets of a field, [`MAILBOXES_MAX`] addresses
//! in it; each octet is looked at a few times, whatever the field holds. Security: what is not
//! understood whole has no addresses at all.

use crate::mail::model::Address;
use std::ops::Range;

/// Octets of a field that is read, at most.
pub const FIELD_MAX: usize = 32 * 1024;

/// Addresses of a field, at most.
pub const MAILBOXES_MAX: usize = 100;

/// An address in a field.
#[derive(Debug)]
pub(super) struct Mailbox {
    /// Where its octets are.
    pub(super) place: Range<usize>,
    /// What they say.
    pub(super) address: Address,
    /// Where its display name is, with the blanks around it; empty without one.
    pub(super) name: Range<usize>,
}

/// The addresses of an address list with groups (RFC 5322 §3.4); `None` when any part of it is not
/// understood, or there is no address.
pub(super) fn mailboxes(value: &[u8]) -> Option<Vec<Mailbox>> {
    read(value, true)
}

/// The addresses of the value of a From or Sender field; `None` when any part of it is not
/// understood, when there is no address, and when it has a group, whose name a reader may take for
/// the author.
pub fn authors(value: &[u8]) -> Option<Vec<Address>> {
    let found = read(value, false)?;
    Some(found.into_iter().map(|mailbox| mailbox.address).collect())
}

fn read(value: &[u8], groups: bool) -> Option<Vec<Mailbox>> {
    if value.len() > FIELD_MAX {
        return None;
    }
    let mut reader = ListReader { value, at: 0 };
    let (mut found, mut in_group) = (Vec::new(), false);
    loop {
        let element = reader.element()?;
        if let Some(mailbox) = element.mailbox {
            found.push(mailbox);
        }
        if found.len() > MAILBOXES_MAX {
            return None;
        }
        if element.is_name && element.end != Some(b':') {
            return None;
        }
        match element.end {
            Some(b':') if groups && !in_group && element.is_name => in_group = true,
            Some(b';') if in_group => in_group = false,
            Some(b',') => {}
            None if !in_group => break,
            _ => return None,
        }
    }
    (!found.is_empty()).then_some(found)
}

struct ListReader<'a> {
    value: &'a [u8],
    at: usize,
}

/// What stands between two separators.
struct Element {
    mailbox: Option<Mailbox>,
    /// It is words without an address: the name of a group.
    is_name: bool,
    /// The separator behind it; `None` at the end of the field.
    end: Option<u8>,
}

impl ListReader<'_> {
    fn element(&mut self) -> Option<Element> {
        let begin = self.at;
        // The words so far: where the first begins and the last ends, and whether they touch.
        let (mut words, mut joined) = (None::<Range<usize>>, true);
        let mut angle = None;
        loop {
            let before = self.at;
            self.skip_blanks()?;
            let end = match self.peek() {
                None => None,
                Some(separator @ (b',' | b';' | b':')) => {
                    self.at += 1;
                    Some(separator)
                }
                Some(b'<') if angle.is_none() => {
                    let name = begin..self.at;
                    angle = Some((self.angle()?, if words.is_some() { name } else { 0..0 }));
                    continue;
                }
                // Nothing but comments may follow `<address>`.
                Some(_) if angle.is_some() => return None,
                Some(_) => {
                    let start = self.at;
                    self.word()?;
                    joined &= words.is_none() || before == start;
                    let first = words.map_or(start, |words| words.start);
                    words = Some(first..self.at);
                    continue;
                }
            };
            let bare = words.clone().filter(|_| joined && angle.is_none());
            let mailbox = match (angle, bare.and_then(|place| self.address(place))) {
                (Some((place, name)), _) => {
                    let address = self.address(place.clone())?;
                    Some(Mailbox { place, address, name })
                }
                (None, Some(address)) => {
                    words.clone().map(|place| Mailbox { place, address, name: 0..0 })
                }
                (None, None) => None,
            };
            let is_name = words.is_some() && mailbox.is_none();
            return Some(Element { mailbox, is_name, end });
        }
    }

    /// The next octet. All reading goes through here and [`ListReader::address`].
    fn peek(&self) -> Option<u8> {
        #[cfg(test)]
        STEPS.with(|steps| steps.set(steps.get() + 1));
        self.value.get(self.at).copied()
    }

    fn address(&self, place: Range<usize>) -> Option<Address> {
        #[cfg(test)]
        STEPS.with(|steps| steps.set(steps.get() + place.len()));
        let text = std::str::from_utf8(self.value.get(place)?).ok()?;
        Address::parse(text).ok()
    }

    /// `<address>`: gives where the address is. No blanks and comments inside, and no route.
    fn angle(&mut self) -> Option<Range<usize>> {
        let start = self.at + 1;
        self.at = start;
        while self.peek()? != b'>' {
            self.word()?;
        }
        self.at += 1;
        Some(start..self.at - 1)
    }

    /// An atom, a quoted string, a literal, a dot or an `@`.
    fn word(&mut self) -> Option<()> {
        match self.peek()? {
            b'"' => self.enclosed(b'"'),
            b'[' => self.enclosed(b']'),
            octet if is_word(octet) => {
                while self.peek().is_some_and(is_word) {
                    self.at += 1;
                }
                Some(())
            }
            _ => None,
        }
    }

    /// From the opening octet behind the closing one.
    fn enclosed(&mut self, close: u8) -> Option<()> {
        self.at += 1;
        loop {
            let octet = self.peek()?;
            self.at += if octet == b'\\' { 2 } else { 1 };
            if octet == close {
                return Some(());
            }
        }
    }

    /// Blanks, line ends and comments, which may hold comments.
    fn skip_blanks(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        while let Some(octet) = self.peek() {
            match octet {
                b'(' => depth += 1,
                b')' if depth == 0 => return None,
                b')' => depth -= 1,
                b'\\' if depth > 0 => self.at += 1,
                b' ' | b'\t' | b'\r' | b'\n' => {}
                _ if depth > 0 => {}
                _ => return Some(()),
            }
            self.at += 1;
        }
        (depth == 0).then_some(())
    }
}

/// An octet of an atom, or a dot or `@` between atoms. Octets above 127 are UTF-8 (RFC 6532).
fn is_word(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || octet > 127 || b"!#$%&'*+-/=?^_`{|}~.@".contains(&octet)
}

#[cfg(test)]
thread_local! {
    /// Octets that were looked at.
    static STEPS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(value: &str) -> Option<Vec<String>> {
        authors(value.as_bytes()).map(|all| all.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn authors_are_addresses_without_groups() {
        for (value, wanted) in [
            (" a@b.example\r\n", vec!["a@b.example"]),
            (" Anna <a@b.example>,\r\n\tc@d.example", vec!["a@b.example", "c@d.example"]),
            (" \"x@y.example, z\" (u@v.example) <a@b.example>", vec!["a@b.example"]),
            (" Anna [x@y.example] <a@b.example>,", vec!["a@b.example"]),
        ] {
            assert_eq!(found(value).unwrap(), wanted, "{value}");
        }
        for value in [
            "",
            " \r\n",
            " x:;",
            " x: a@b.example;",
            " a@b.example, x:;",
            " nobody",
            " <a@b.example",
        ] {
            assert_eq!(found(value), None, "{value}");
        }
    }

    /// Time is not measured: on a busy machine it says nothing.
    #[test]
    fn each_octet_is_looked_at_a_few_times_whatever_the_field_holds() {
        for pattern in [
            "(",
            "((",
            "()",
            "\\",
            "\"",
            "\"\"",
            "<",
            "<>",
            "a",
            "a ",
            "a,",
            ",",
            ":",
            ";",
            "a:;",
            "@",
            ".",
            "[",
            "[]",
            "a@b",
            "<a@b>",
            "\r\n ",
            "=?utf-8?q?",
            "=?utf-8?q?a?= ",
            "(a)",
            "a(b)",
            "\u{e9}",
        ] {
            let value = pattern.repeat(FIELD_MAX / pattern.len());
            for value in [value.clone(), format!("{value} <a@b.example>")] {
                STEPS.with(|steps| steps.set(0));
                let _ = authors(value.as_bytes());
                let _ = mailboxes(value.as_bytes());
                let steps = STEPS.with(std::cell::Cell::get);
                assert!(steps <= 2 * 5 * (value.len() + 1), "{pattern:?}: {steps} steps");
            }
        }
    }
}

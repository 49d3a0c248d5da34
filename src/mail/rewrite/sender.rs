//! Senders that are written anew: `rewrite_from` and `sender_rewrites`.
//!
//! Purpose: a provider that takes mail of one verified address or domain only. In: the
//! reverse-path, and the fields From and Sender of a mail from a client that may relay. Out: the
//! same with other addresses; names, comments, encoded words and folding stay as they are. An
//! entry of `sender_rewrites` that applies comes first; all others become `rewrite_from`. Only
//! the address itself is replaced, so the field stays what it was for every reader; of several
//! authors `rewrite_from` leaves the first one's name. Limits: [`FIELD_MAX`] octets of a field,
//! [`MAILBOXES_MAX`] addresses in it; a field that is longer, has more, or that the parser does
//! not understand whole is left as it is, and the log says so. Pure. Security: the new text has
//! addresses of properties and octets of the old field, in their order; no line end is made.
//! Source: RFC 5322 §3.4 (address lists), §4.4 (their obsolete forms are not understood), §3.6.2.

use crate::mail::model::Address;

/// Octets of a field that is read, at most.
pub const FIELD_MAX: usize = 32 * 1024;

/// Addresses of a field, at most.
pub const MAILBOXES_MAX: usize = 100;

/// Which senders become which.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SenderRules {
    /// Old and new: addresses, or `@` and a domain, whose local parts stay. The old ones are in
    /// lower case.
    pub rewrites: Vec<(String, String)>,
    /// The address that all other senders become.
    pub all: Option<Address>,
}

/// What a field of a mail became.
#[derive(Debug, PartialEq, Eq)]
pub enum NewField {
    /// It stays as it is.
    Same,
    /// Its new value.
    Changed(Vec<u8>),
    /// Its new value; the former one was of another author and belongs into Reply-To.
    Author(Vec<u8>),
    /// It could not be read and stays as it is.
    Unread,
}

impl SenderRules {
    /// Whether nothing is rewritten.
    pub fn is_off(&self) -> bool {
        self.rewrites.is_empty() && self.all.is_none()
    }

    /// The new form of a reverse-path; `None` = it stays. The null sender is no address and is
    /// never asked about.
    pub fn sender(&self, old: &Address) -> Option<Address> {
        let new = match self.listed(old) {
            Some(listed) => listed,
            None => self.all.clone()?,
        };
        (new != *old).then_some(new)
    }

    /// By the entries of the list.
    fn listed(&self, old: &Address) -> Option<Address> {
        if self.rewrites.is_empty() {
            return None;
        }
        let (whole, domain) = (old.as_str().to_lowercase(), old.domain_key());
        let applies = |entry: &str| match entry.strip_prefix('@') {
            Some(other) => other == domain,
            None => entry == whole,
        };
        // An address comes before its domain, wherever they stand in the list.
        let exact = self.rewrites.iter().find(|(entry, _)| *entry == whole);
        let (_, new) = exact.or_else(|| self.rewrites.iter().find(|(entry, _)| applies(entry)))?;
        let text = match new.strip_prefix('@') {
            Some(domain) => format!("{}@{domain}", old.local_part()),
            None => new.clone(),
        };
        Address::parse(&text).ok()
    }

    /// The new value of From (`author`) or Sender: what stands behind the colon.
    pub fn field(&self, value: &[u8], author: bool) -> NewField {
        let Some(mailboxes) = mailboxes(value) else { return NewField::Unread };
        let replaced = mailboxes.iter().map(|mailbox| self.sender(&mailbox.address));
        let replaced: Vec<Option<Address>> = replaced.collect();
        if replaced.iter().all(Option::is_none) {
            return NewField::Same;
        }
        let by_list = |mailbox: &Mailbox| self.listed(&mailbox.address).is_some();
        if self.all.is_none() || mailboxes.iter().all(by_list) {
            return NewField::Changed(with_addresses(value, &mailboxes, &replaced));
        }
        let new = match (&mailboxes[..], &replaced[..]) {
            ([_], _) => with_addresses(value, &mailboxes, &replaced),
            // Several authors become one, who has the name of the first.
            ([first, ..], [new, ..]) => {
                let address = new.as_ref().unwrap_or(&first.address);
                let name = value.get(first.name.clone()).unwrap_or_default();
                let head = if name.is_empty() { &b" "[..] } else { b"" };
                let open = format!("<{address}>\r\n");
                [head, name, open.as_bytes()].concat()
            }
            _ => return NewField::Unread,
        };
        if author { NewField::Author(new) } else { NewField::Changed(new) }
    }
}

/// The value with other addresses in the places of these.
fn with_addresses(value: &[u8], mailboxes: &[Mailbox], new: &[Option<Address>]) -> Vec<u8> {
    let (mut out, mut done) = (Vec::with_capacity(value.len() + 64), 0);
    for (mailbox, new) in mailboxes.iter().zip(new) {
        let Some(new) = new else { continue };
        out.extend_from_slice(value.get(done..mailbox.place.start).unwrap_or_default());
        out.extend_from_slice(new.as_str().as_bytes());
        done = mailbox.place.end;
    }
    out.extend_from_slice(value.get(done..).unwrap_or_default());
    out
}

/// An address in a field.
#[derive(Debug)]
struct Mailbox {
    /// Where its octets are.
    place: std::ops::Range<usize>,
    address: Address,
    /// Where its display name is, with the blanks around it; empty without one.
    name: std::ops::Range<usize>,
}

/// The addresses of an address list with groups (RFC 5322 §3.4); `None` when any part of it is not
/// understood, or there is no address.
fn mailboxes(value: &[u8]) -> Option<Vec<Mailbox>> {
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
            Some(b':') if !in_group && element.is_name => in_group = true,
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
        let (mut words, mut joined) = (None::<std::ops::Range<usize>>, true);
        let mut angle = None;
        loop {
            let before = self.at;
            self.skip_blanks()?;
            let end = match self.value.get(self.at).copied() {
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

    fn address(&self, place: std::ops::Range<usize>) -> Option<Address> {
        let text = std::str::from_utf8(self.value.get(place)?).ok()?;
        Address::parse(text).ok()
    }

    /// `<address>`: gives where the address is. No blanks and comments inside, and no route.
    fn angle(&mut self) -> Option<std::ops::Range<usize>> {
        let start = self.at + 1;
        self.at = start;
        while *self.value.get(self.at)? != b'>' {
            self.word()?;
        }
        self.at += 1;
        Some(start..self.at - 1)
    }

    /// An atom, a quoted string, a literal, a dot or an `@`.
    fn word(&mut self) -> Option<()> {
        match *self.value.get(self.at)? {
            b'"' => self.enclosed(b'"'),
            b'[' => self.enclosed(b']'),
            octet if is_word(octet) => {
                while self.value.get(self.at).copied().is_some_and(is_word) {
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
            let octet = *self.value.get(self.at)?;
            self.at += if octet == b'\\' { 2 } else { 1 };
            if octet == close {
                return Some(());
            }
        }
    }

    /// Blanks, line ends and comments, which may hold comments.
    fn skip_blanks(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        while let Some(octet) = self.value.get(self.at).copied() {
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(to: &str) -> SenderRules {
        SenderRules { rewrites: Vec::new(), all: Some(Address::parse(to).unwrap()) }
    }

    fn listed(entries: &[(&str, &str)]) -> SenderRules {
        let entry = |(old, new): &(&str, &str)| ((*old).to_owned(), (*new).to_owned());
        SenderRules { rewrites: entries.iter().map(entry).collect(), all: None }
    }

    #[test]
    fn one_address_for_all_keeps_the_name_of_the_author() {
        let rules = all("no-reply@ours.example");
        for (old, new) in [
            (" a@b.example\r\n", " no-reply@ours.example\r\n"),
            (" Anna <a@b.example>\r\n", " Anna <no-reply@ours.example>\r\n"),
            (
                " \"A, B\" <a@b.example> (x, (y))\r\n",
                " \"A, B\" <no-reply@ours.example> (x, (y))\r\n",
            ),
            (
                " =?utf-8?q?J=C3=BCrgen?=\r\n <j@b.example>\r\n",
                " =?utf-8?q?J=C3=BCrgen?=\r\n <no-reply@ours.example>\r\n",
            ),
            (" Jürgen M. <j@b.example>\r\n", " Jürgen M. <no-reply@ours.example>\r\n"),
            (" a@b.example (Anna)\r\n", " no-reply@ours.example (Anna)\r\n"),
            (" Anna <a@b.example>,\r\n b@c.example\r\n", " Anna <no-reply@ours.example>\r\n"),
            (" a@b.example, Bert <b@c.example>\r\n", " <no-reply@ours.example>\r\n"),
            (" team: Anna <a@b.example>, b@c.example;\r\n", " Anna <no-reply@ours.example>\r\n"),
        ] {
            let expected = NewField::Author(new.as_bytes().to_vec());
            assert_eq!(rules.field(old.as_bytes(), true), expected, "{old}");
        }
        assert_eq!(rules.field(b" X <no-reply@ours.example>\r\n", true), NewField::Same);
        let sender = rules.field(b" a@b.example\r\n", false);
        assert_eq!(sender, NewField::Changed(b" no-reply@ours.example\r\n".to_vec()));
    }

    #[test]
    fn entries_are_addresses_and_domains() {
        let rules = listed(&[
            ("@old.example", "@new.example"),
            ("root@old.example", "ops@team.example"),
            ("@one.example", "box@two.example"),
            ("a@local", "@new.example"),
        ]);
        for (old, new) in [
            ("Shop@Old.example", Some("Shop@new.example")),
            ("ROOT@old.example", Some("ops@team.example")),
            ("x@one.example", Some("box@two.example")),
            ("a@local", Some("a@new.example")),
            ("b@local", None),
            ("x@sub.old.example", None),
        ] {
            let found = rules.sender(&Address::parse(old).unwrap());
            assert_eq!(found.as_ref().map(Address::as_str), new, "{old}");
        }
        let field = b" g: X <x@old.example>, y@else.example; , root@old.example\r\n";
        let new = b" g: X <x@new.example>, y@else.example; , ops@team.example\r\n";
        assert_eq!(rules.field(field, true), NewField::Changed(new.to_vec()));
        assert_eq!(rules.field(b" y@else.example\r\n", true), NewField::Same);
        let both = SenderRules { all: Some(Address::parse("z@z.example").unwrap()), ..rules };
        assert_eq!(
            both.field(b" x@old.example\r\n", true),
            NewField::Changed(b" x@new.example\r\n".to_vec())
        );
        assert_eq!(
            both.field(b" y@else.example\r\n", true),
            NewField::Author(b" z@z.example\r\n".to_vec())
        );
    }

    #[test]
    fn what_is_not_understood_is_left() {
        let rules = all("no-reply@ours.example");
        let many = format!(" {}\r\n", vec!["a@b.example"; MAILBOXES_MAX + 1].join(","));
        let long = format!(" ({}) a@b.example\r\n", "x".repeat(FIELD_MAX));
        for value in [
            "",
            "\r\n",
            " undisclosed:;\r\n",
            " Anna\r\n",
            " Anna a@b.example\r\n",
            " <@route.example:a@b.example>\r\n",
            " <a@b.example\r\n",
            " <a@b.example> <c@d.example>\r\n",
            " <a@b.example> x\r\n",
            " a @ b.example\r\n",
            " a(c)@b.example\r\n",
            " \"a@b.example\r\n",
            " (a@b.example\r\n",
            " a@b.example)\r\n",
            " < a@b.example >\r\n",
            " a@b@c.example\r\n ,<>\r\n",
            " g: h: a@b.example;\r\n",
            " a@b.example;\r\n",
            " a@b.example\\\r\n",
            " <>\r\n",
            &many,
            &long,
        ] {
            assert_eq!(rules.field(value.as_bytes(), true), NewField::Unread, "{value}");
        }
    }

    proptest! {
        /// Whatever a field holds, only addresses change, and no line end is made.
        #[test]
        fn any_octets_are_left_or_rewritten_whole(
            value in "[a-c@.<>,;:()\"\\\\ \\r\\n\\[\\]é]{0,40}", author: bool,
        ) {
            let rules = all("new@ours.example");
            match rules.field(value.as_bytes(), author) {
                NewField::Changed(new) | NewField::Author(new) => {
                    let again = rules.field(&new, author);
                    prop_assert_eq!(again, NewField::Same, "{:?}", String::from_utf8_lossy(&new));
                }
                NewField::Same | NewField::Unread => {}
            }
            let rules = listed(&[("@b", "@ours.example")]);
            if let NewField::Changed(new) = rules.field(value.as_bytes(), author) {
                let rest = |text: &str| text.replace("@ours.example", "@").replace("@b", "@");
                let new = String::from_utf8(new).unwrap();
                prop_assert_eq!(rest(&new), rest(&value));
            }
        }
    }
}

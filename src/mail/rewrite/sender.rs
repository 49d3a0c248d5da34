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

#[cfg(doc)]
use super::address_list::{FIELD_MAX, MAILBOXES_MAX};
use super::address_list::{Mailbox, mailboxes};
use crate::mail::model::Address;

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

#[cfg(test)]
mod tests {
    use super::super::address_list::{FIELD_MAX, MAILBOXES_MAX};
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

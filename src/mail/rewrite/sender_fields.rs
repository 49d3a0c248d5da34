//! The fields of a header section that name senders, on their way through it.
//!
//! In: fields From and Sender in pieces, as [`HeaderSection`](super::HeaderSection) meets them.
//! Out: the same fields after [`SenderRules`], and the Reply-To field that keeps the former
//! author. Limits: a field is kept in memory up to [`FIELD_MAX`] octets; a longer one passes as
//! it is.

use super::address_list::FIELD_MAX;
use super::sender::{NewField, SenderRules};

/// The fields of one mail.
#[derive(Debug)]
pub struct SenderFields<'a> {
    rules: &'a SenderRules,
    /// The present field, from the first octet of its name; `None` outside of these fields.
    field: Option<Vec<u8>>,
    /// The value of the former From field.
    former: Option<Vec<u8>>,
    has_reply_to: bool,
    unread: bool,
}

impl<'a> SenderFields<'a> {
    /// Before the header section; `None` when nothing is rewritten.
    pub fn new(rules: &'a SenderRules) -> Option<Self> {
        let (field, former, has_reply_to, unread) = (None, None, false, false);
        (!rules.is_off()).then_some(Self { rules, field, former, has_reply_to, unread })
    }

    /// Whether a field had to stay as it was, because it could not be read.
    pub fn has_unread(&self) -> bool {
        self.unread
    }

    /// A field begins, whose name and colon are in `start`. Takes it if it names a sender.
    pub(super) fn begin(&mut self, name: &[u8], start: &mut Vec<u8>) {
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        self.has_reply_to |= is("reply-to");
        if is("from") || is("sender") {
            self.field = Some(std::mem::take(start));
        }
    }

    /// More of the present field; `false` when it is not one of these.
    pub(super) fn take(&mut self, line: &[u8], out: &mut Vec<u8>) -> bool {
        let Some(field) = &mut self.field else { return false };
        field.extend_from_slice(line);
        if field.len() > FIELD_MAX {
            out.append(field);
            (self.field, self.unread) = (None, true);
        }
        true
    }

    /// The field, if there is one, has ended.
    pub(super) fn end(&mut self, out: &mut Vec<u8>) {
        let Some(field) = self.field.take() else { return };
        let colon = field.iter().position(|octet| *octet == b':').unwrap_or(field.len());
        let (name, value) = field.split_at((colon + 1).min(field.len()));
        let author = name.first().is_some_and(|first| first.eq_ignore_ascii_case(&b'f'));
        match self.rules.field(value, author) {
            NewField::Same => out.extend_from_slice(&field),
            NewField::Unread => {
                self.unread = true;
                out.extend_from_slice(&field);
            }
            NewField::Changed(new) => out.extend([name, &new].concat()),
            NewField::Author(new) => {
                out.extend([name, &new].concat());
                self.former.get_or_insert_with(|| value.to_vec());
            }
        }
    }

    /// The header section ends: the former author becomes the address for replies, unless the mail
    /// has one.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        self.end(out);
        if let Some(former) = self.former.take().filter(|_| !self.has_reply_to) {
            out.extend_from_slice(b"Reply-To:");
            out.extend_from_slice(&former);
            if !former.ends_with(b"\n") {
                out.extend_from_slice(b"\r\n");
            }
        }
    }
}

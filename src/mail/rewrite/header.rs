//! The header section of a mail at intake.

use super::sender_fields::SenderFields;
use crate::mail::model::Address;
use memchr::memchr;

/// Rewrites the header section in one pass, and finds its end.
///
/// A header section ends at the first empty line, or before the first line that is neither a field
/// nor the continuation of one. There an empty line is inserted, so that every reader sees the
/// following lines as body and not as a part of the field above. Lines `From ` and `>From ` at the
/// top come from an mbox file and are not a part of the mail, or they begin a text without a header
/// section: they are kept as [`HeaderSection::MBOX_FIELD`].
#[derive(Debug)]
pub struct HeaderSection<'a> {
    drop: &'a [String],
    missing: Option<Missing>,
    /// The fields that name senders, where they are written anew.
    senders: Option<SenderFields<'a>>,
    seen: Seen,
    place: Place,
    /// Whether there was a field; a line that begins with a blank continues it.
    any_field: bool,
    /// Whether the present field is passed on.
    keep: bool,
    /// The start of the present line, until its kind is known.
    start: Vec<u8>,
    /// How many of its octets are a name, if it is a field.
    name: usize,
}

/// The fields that are added to a mail without them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The author: a mailbox in the form of a header field.
    pub from: String,
    /// The time, in the form of RFC 5322 §3.3.
    pub date: String,
    /// The message identifier, with its angle brackets.
    pub message_id: String,
}

/// Which of the fields that may be missing were found.
#[derive(Debug, Default)]
struct Seen {
    from: bool,
    date: bool,
    message_id: bool,
    resent: bool,
    resent_from: bool,
    resent_date: bool,
    resent_message_id: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// At the start of a line whose kind is not known yet.
    Start,
    /// Inside a line that is passed on.
    Kept,
    /// Inside a line that is dropped.
    Dropped,
    /// After the header section.
    Body,
}

/// The kind of a line, by its start.
enum Line {
    Undecided,
    Empty,
    Field,
    Mbox,
    Body,
}

impl<'a> HeaderSection<'a> {
    /// Octets of a line's start that are examined: no field name is longer than a line may be (RFC
    /// 5322 §2.1.1).
    pub const NAME_MAX: usize = 998;

    /// The name that replaces a line `From ` at the top, as in Postfix.
    pub const MBOX_FIELD: &'static str = "X-Mailbox-Line: ";

    /// Content that is not changed: no field is dropped or added.
    pub fn foreign() -> Self {
        Self::submitted(&[], None)
    }

    /// Content that a trusted client submits: fields in `drop` (in lower case) are removed, and
    /// fields of `missing` are added where there are none.
    pub fn submitted(drop: &'a [String], missing: Option<Missing>) -> Self {
        Self {
            drop,
            missing,
            senders: None,
            seen: Seen::default(),
            place: Place::Start,
            any_field: false,
            keep: true,
            start: Vec::new(),
            name: 0,
        }
    }

    /// The same, and fields that name senders are written anew.
    pub fn with_senders(self, senders: Option<SenderFields<'a>>) -> Self {
        Self { senders, ..self }
    }

    /// Whether a field that names senders could not be read, and stayed as it was.
    pub fn has_unread_sender(&self) -> bool {
        self.senders.as_ref().is_some_and(SenderFields::has_unread)
    }

    /// Takes the next octets of the content: appends their replacement to `out`, and gives back the
    /// rest of them, which follows unchanged.
    pub fn take<'p>(&mut self, piece: &'p [u8], out: &mut Vec<u8>) -> &'p [u8] {
        let mut rest = piece;
        while let Some(octet) = rest.first() {
            match self.place {
                Place::Body => return rest,
                Place::Kept | Place::Dropped => {
                    let end = memchr(b'\n', rest).map(|at| at + 1);
                    let (line, later) = rest.split_at(end.unwrap_or(rest.len()));
                    let taken = self.senders.as_mut().is_some_and(|them| them.take(line, out));
                    if self.place == Place::Kept && !taken {
                        out.extend_from_slice(line);
                    }
                    if end.is_some() {
                        self.place = Place::Start;
                    }
                    rest = later;
                }
                Place::Start if self.start.is_empty() && matches!(octet, b' ' | b'\t') => {
                    if self.any_field {
                        self.place = if self.keep { Place::Kept } else { Place::Dropped };
                    } else {
                        self.begin_body(out);
                    }
                }
                Place::Start => {
                    self.start.push(*octet);
                    rest = &rest[1..];
                    self.decide(out);
                }
            }
        }
        rest
    }

    /// The content has ended: appends the remaining output to `out`.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if self.place == Place::Body {
            return;
        }
        if self.start.is_empty() {
            let adds = self.missing.is_some() || self.senders.is_some();
            self.end_field(out);
            // A field that was cut off by the end: added fields begin on a new line.
            if self.place == Place::Kept && adds {
                out.extend_from_slice(b"\r\n");
            }
            self.add_missing(out);
            self.place = Place::Body;
        } else {
            self.begin_body(out);
        }
    }

    fn decide(&mut self, out: &mut Vec<u8>) {
        match self.line() {
            Line::Undecided => return,
            Line::Empty => {
                self.add_missing(out);
                out.append(&mut self.start);
                self.place = Place::Body;
            }
            Line::Field => {
                self.end_field(out);
                self.any_field = true;
                self.keep = self.note_field();
                if self.keep {
                    if let Some(senders) = &mut self.senders {
                        let name = self.start[..self.name].to_vec();
                        senders.begin(&name, &mut self.start);
                    }
                    out.append(&mut self.start);
                }
                self.start.clear();
                self.place = if self.keep { Place::Kept } else { Place::Dropped };
            }
            // A following line that begins with a blank is body: an mbox line is never folded.
            Line::Mbox => {
                out.extend_from_slice(Self::MBOX_FIELD.as_bytes());
                self.place = if self.start.ends_with(b"\n") { Place::Start } else { Place::Kept };
                out.append(&mut self.start);
            }
            Line::Body => self.begin_body(out),
        }
        self.name = 0;
    }

    /// The field before this line has ended.
    fn end_field(&mut self, out: &mut Vec<u8>) {
        if let Some(senders) = &mut self.senders {
            senders.end(out);
        }
    }

    /// The kind of the present line; evaluated at each of its octets until it is known.
    fn line(&mut self) -> Line {
        let Some((last, before)) = self.start.split_last() else { return Line::Undecided };
        match last {
            b'\r' if before.is_empty() => Line::Undecided,
            b'\n' if before == b"\r" => Line::Empty,
            _ if before == b"\r" => Line::Body,
            // Blanks between name and colon: the obsolete grammar (RFC 5322 §4.5).
            b':' if self.name > 0 => Line::Field,
            b' ' | b'\t' => self.shorter(),
            b'!'..=b'~' if *last != b':' && self.name == before.len() => {
                self.name += 1;
                self.shorter()
            }
            _ if !self.any_field && is_mbox(before) && *last != b'\r' => Line::Mbox,
            _ => Line::Body,
        }
    }

    fn shorter(&self) -> Line {
        if self.start.len() > Self::NAME_MAX { Line::Body } else { Line::Undecided }
    }

    /// A line that is not a field: the header section ends before it.
    fn begin_body(&mut self, out: &mut Vec<u8>) {
        self.add_missing(out);
        out.extend_from_slice(b"\r\n");
        out.append(&mut self.start);
        self.place = Place::Body;
    }

    /// Records the field whose name and colon have been read; gives whether it is passed on.
    fn note_field(&mut self) -> bool {
        let name = &self.start[..self.name];
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        if self.drop.iter().any(|dropped| is(dropped)) {
            return false;
        }
        let seen = &mut self.seen;
        seen.from |= is("from");
        seen.date |= is("date");
        seen.message_id |= is("message-id");
        seen.resent |= name.get(..7).is_some_and(|start| start.eq_ignore_ascii_case(b"resent-"));
        seen.resent_from |= is("resent-from");
        seen.resent_date |= is("resent-date");
        seen.resent_message_id |= is("resent-message-id");
        true
    }

    /// RFC 5322 §3.6: From and Date are mandatory, Message-ID is recommended. A resent mail gets no
    /// missing fields: it carries the fields of its resender (§3.6.6), and the original author's
    /// fields must not be invented.
    fn add_missing(&mut self, out: &mut Vec<u8>) {
        if let Some(senders) = &mut self.senders {
            senders.finish(out);
        }
        let Some(missing) = self.missing.take() else { return };
        let Seen { from, date, message_id, resent, resent_from, resent_date, resent_message_id } =
            self.seen;
        let (prefix, from, date, message_id) = if resent {
            ("Resent-", resent_from, resent_date, resent_message_id)
        } else {
            ("", from, date, message_id)
        };
        for (name, value, seen) in [
            ("Message-ID", &missing.message_id, message_id),
            ("Date", &missing.date, date),
            ("From", &missing.from, from),
        ] {
            if !seen {
                out.extend_from_slice(format!("{prefix}{name}: {value}\r\n").as_bytes());
            }
        }
    }
}

/// A mailbox in the form of a header field, where a local part that is neither a dot-atom nor a
/// quoted string must be quoted (RFC 5322 §3.4.1), although RCPT and MAIL accept it in practice.
pub fn header_mailbox(address: &Address) -> String {
    let local = address.local_part();
    let is_fit = local.starts_with('"') || local.split('.').all(|atom| !atom.is_empty());
    if is_fit { address.to_string() } else { format!("\"{local}\"@{}", address.domain_text()) }
}

/// `From `, after any number of `>`.
fn is_mbox(start: &[u8]) -> bool {
    let angles = start.iter().take_while(|octet| **octet == b'>').count();
    start[angles..].starts_with(b"From ")
}

#[cfg(test)]
mod tests {
    use super::super::sender::SenderRules;
    use super::*;
    use proptest::prelude::*;

    fn missing() -> Missing {
        Missing {
            from: "root@a.example".to_owned(),
            date: "Thu, 26 Nov 2026 12:00:00 +0000".to_owned(),
            message_id: "<1@mta.example>".to_owned(),
        }
    }

    const ADDED: &str = "Message-ID: <1@mta.example>\r\nDate: Thu, 26 Nov 2026 12:00:00 \
    +0000\r\nFrom: root@a.example\r\n";

    /// The output for content that comes in pieces of this size.
    fn cut(mut section: HeaderSection<'_>, content: &[u8], size: usize) -> Vec<u8> {
        let mut out = Vec::new();
        for piece in content.chunks(size) {
            let rest = section.take(piece, &mut out);
            out.extend_from_slice(rest);
        }
        section.finish(&mut out);
        out
    }

    fn foreign(content: &str) -> String {
        String::from_utf8(cut(HeaderSection::foreign(), content.as_bytes(), usize::MAX)).unwrap()
    }

    /// With one address for all senders, whatever the sizes of the pieces.
    fn rewritten(content: &str) -> String {
        let all = Address::parse("n@ours.example").ok();
        let rules = SenderRules { rewrites: Vec::new(), all };
        let section = || HeaderSection::foreign().with_senders(SenderFields::new(&rules));
        let whole = cut(section(), content.as_bytes(), usize::MAX);
        for size in 1..9 {
            assert_eq!(cut(section(), content.as_bytes(), size), whole, "{content:?}");
        }
        String::from_utf8(whole).unwrap()
    }

    #[test]
    fn former_authors_get_the_replies_unless_the_mail_says_who() {
        for (old, new) in [
            (
                "Subject: x\r\nfrom : A\r\n <a@b.example>\r\nTo: c@d.example\r\n\r\n\
                 From: e@f.example\r\n",
                "Subject: x\r\nfrom : A\r\n <n@ours.example>\r\nTo: c@d.example\r\n\
                 Reply-To: A\r\n <a@b.example>\r\n\r\nFrom: e@f.example\r\n",
            ),
            (
                "Reply-To: r@b.example\r\nFrom: a@b.example\r\nSender: s@b.example\r\n\r\n",
                "Reply-To: r@b.example\r\nFrom: n@ours.example\r\nSender: n@ours.example\r\n\r\n",
            ),
            ("From: a@b.example\r\n", "From: n@ours.example\r\n\r\nReply-To: a@b.example\r\n"),
            (
                "From: a@b.example\r\nbody\r\n",
                "From: n@ours.example\r\nReply-To: a@b.example\r\n\r\nbody\r\n",
            ),
            ("From: broken <\r\n\r\nx", "From: broken <\r\n\r\nx"),
            ("X-From: a@b.example\r\n\r\nx", "X-From: a@b.example\r\n\r\nx"),
        ] {
            let new = new.replace("n@ours.example\r\n\r\nReply", "n@ours.example\r\nReply");
            assert_eq!(rewritten(old), new, "{old:?}");
        }
        let long = format!("From: ({}) a@b.example\r\n\r\n", "x".repeat(40_000));
        assert_eq!(rewritten(&long), long);
    }

    fn submitted(content: &str) -> String {
        let drop = super::super::RewriteConfig::new("x").drop_headers;
        let section = HeaderSection::submitted(&drop, Some(missing()));
        String::from_utf8(cut(section, content.as_bytes(), usize::MAX)).unwrap()
    }

    #[test]
    fn content_that_begins_with_a_header_section_passes_as_it_is() {
        for content in [
            "",
            "\r\n",
            "\r\nbody\r\n",
            "Subject: x\r\n",
            "Subject: x\r\n\r\nFrom root\r\n",
            "Subject: x\r\n y\r\n\tz\r\n \r\nTo : a@b\r\nFrom: a@b\r\n\r\nBcc: x\r\n",
            "From : a@b\r\n\r\n",
            "From\t: a@b\r\n\r\n",
            ">x:\r\n\r\n",
        ] {
            assert_eq!(foreign(content), content, "{content:?}");
        }
    }

    #[test]
    fn what_is_no_header_section_is_parted_from_the_trace() {
        for content in [
            "Hello.\r\n",
            " Hello.\r\n",
            "\tHello: x\r\n\r\n",
            "Hello\r\nSubject: x\r\n\r\n",
            ": x\r\n",
            " \r\n",
            "J\u{fc}rgen: x\r\n",
            "a b: c\r\n",
            "From\r\n",
            "From \r\n",
            ">From\r\n",
        ] {
            assert_eq!(foreign(content), format!("\r\n{content}"), "{content:?}");
        }
        let long = format!("{}: x\r\n", "a".repeat(HeaderSection::NAME_MAX + 1));
        assert_eq!(foreign(&long), format!("\r\n{long}"));
        let name = format!("{}: x\r\n", "a".repeat(HeaderSection::NAME_MAX));
        assert_eq!(foreign(&name), name);
    }

    #[test]
    fn a_line_that_is_no_field_ends_the_header_section() {
        assert_eq!(
            foreign("Subject: x\r\noops\r\nTo: a@b\r\n\r\nx"),
            "Subject: x\r\n\r\noops\r\nTo: a@b\r\n\r\nx"
        );
        assert_eq!(foreign("Subject: x\r\nFrom root x\r\n"), "Subject: x\r\n\r\nFrom root x\r\n");
    }

    #[test]
    fn mbox_lines_on_top_become_a_field() {
        for line in [
            "From root Thu Nov 26 12:00:00 2026\r\n",
            ">From a\r\n",
            ">>From  a@b\r\n",
            "From root: x\r\n",
        ] {
            let field = format!("X-Mailbox-Line: {line}");
            assert_eq!(
                foreign(&format!("{line}Subject: x\r\n\r\n")),
                format!("{field}Subject: x\r\n\r\n")
            );
            assert_eq!(
                foreign(&format!("{line}{line}Hello\r\n")),
                format!("{field}{field}\r\nHello\r\n")
            );
            assert_eq!(foreign(&format!("{line} folded\r\n")), format!("{field}\r\n folded\r\n"));
            assert_eq!(
                foreign(&format!("\r\n{line}")),
                format!("\r\n{line}"),
                "a body may begin so"
            );
        }
    }

    #[test]
    fn fields_for_nobodys_eyes_are_dropped_from_the_header_section_alone() {
        let whole = format!("Subject: x\r\n{ADDED}");
        for dropped in [
            "Bcc: a@b\r\n",
            "BCC : a@b,\r\n c@d,\r\n\te@f\r\n",
            "bcc:\r\n",
            "Resent-Bcc: a@b\r\n",
            "Return-Path: <a@b>\r\n",
            "Content-Length: 12\r\n",
            "Bcc: a@b\r\nBcc: c@d\r\n \r\n",
        ] {
            assert_eq!(submitted(&format!("{dropped}Subject: x\r\n")), whole, "{dropped}");
            assert_eq!(submitted(&format!("Subject: x\r\n{dropped}")), whole, "{dropped}");
            let body = format!("\r\n{dropped}\r\n{dropped}");
            assert_eq!(
                submitted(&format!("Subject: x\r\n{dropped}{body}")),
                format!("{whole}{body}"),
                "{dropped}"
            );
        }
        assert_eq!(submitted("Bccx: y\r\nX-Bcc: y\r\n"), format!("Bccx: y\r\nX-Bcc: y\r\n{ADDED}"));
        assert_eq!(submitted("Bcc: x\r\n"), ADDED);
        assert_eq!(foreign("Bcc: x\r\n"), "Bcc: x\r\n");
    }

    #[test]
    fn missing_fields_are_added_at_the_end_of_the_header_section() {
        let [id, date, from] =
            [0, 1, 2].map(|at| format!("{}\r\n", ADDED.lines().nth(at).unwrap()));
        for (content, wanted) in [
            (String::new(), ADDED.to_owned()),
            ("\r\n".into(), format!("{ADDED}\r\n")),
            ("Hello\r\n".into(), format!("{ADDED}\r\nHello\r\n")),
            (" Hello\r\n".into(), format!("{ADDED}\r\n Hello\r\n")),
            ("Subject: x".into(), format!("Subject: x\r\n{ADDED}")),
            ("Bcc: x".into(), ADDED.to_owned()),
            ("FROM: x\r\n\r\n".into(), format!("FROM: x\r\n{id}{date}\r\n")),
            (
                "Date : x\r\nmessage-id:\r\n y\r\n".into(),
                format!("Date : x\r\nmessage-id:\r\n y\r\n{from}"),
            ),
            (
                "From: x\r\nDate: x\r\nMessage-Id: x\r\nTo: y\r\n".into(),
                "From: x\r\nDate: x\r\nMessage-Id: x\r\nTo: y\r\n".into(),
            ),
            ("Resent-From: x\r\n".into(), format!("Resent-From: x\r\nResent-{id}Resent-{date}")),
            (
                "Resent-To: x\r\n\r\nDate: x\r\n".into(),
                format!("Resent-To: x\r\nResent-{id}Resent-{date}Resent-{from}\r\nDate: x\r\n"),
            ),
            // A dropped field does not count.
            ("Resent-Bcc: x\r\n".into(), ADDED.to_owned()),
        ] {
            assert_eq!(submitted(&content), wanted, "{content:?}");
        }
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference_and_a_second_pass_changes_nothing(
            parts in prop::collection::vec(
                prop_oneof![
                    Just("Bcc: a\r\n"), Just("Resent-Date: x\r\n"), Just("From root\r\n"),
                    Just(">From x: y\r\n"), Just(" folded\r\n"), Just("\r\n"),
                    Just("Subject: x\r\n"), Just("From: x\r\n"), Just("Date :\r\n"), Just("\r"),
                    Just("\n"), Just("text\r\n"), Just(": "), Just("\u{e9}"), Just("a")
                ],
                0..12
            ),
            size in 1_usize..20,
        ) {
            let content = parts.concat();
            let drop = super::super::RewriteConfig::new("x").drop_headers;
            let pass = |content: &[u8], size| {
                cut(HeaderSection::submitted(&drop, Some(missing())), content, size)
            };
            let once = pass(content.as_bytes(), usize::MAX);
            prop_assert_eq!(&pass(content.as_bytes(), size), &once);
            if content.is_empty() || content.ends_with("\r\n") {
                prop_assert_eq!(pass(&once, size), once);
            }
        }
    }
}

//! The mails, prepared in advance: only their number changes.

use crate::options::Send;
use memchr::memmem::Finder;

/// The header line that identifies a mail: run and number, eight hexadecimal digits each.
const FIELD: &str = "X-Load-Id: ";
const DIGITS: usize = 8;
const LINE: usize = 76;

/// One run's mails.
pub struct Mail {
    /// MAIL, RCPT and DATA, for each recipient.
    envelopes: Vec<Envelope>,
    /// The content with its final dot.
    content: Vec<u8>,
    number_at: usize,
}

/// The commands before a mail's content.
pub struct Envelope {
    pub mail: Vec<u8>,
    pub rcpt: Vec<u8>,
    pub data: Vec<u8>,
    /// The three in one.
    pub group: Vec<u8>,
}

impl Mail {
    pub fn new(options: &Send, run: u32) -> Self {
        let mut content = format!("{FIELD}{run:08x}-").into_bytes();
        let number_at = content.len();
        content.extend_from_slice(
            format!(
                "{:08x}\r\nFrom: <{}>\r\nTo: <{}>\r\nDate: Wed, 25 Nov 2026 00:00:00 \
                +0000\r\nMessage-ID: <{run:08x}@load.example>\r\nSubject: load\r\n\r\n",
                0, options.sender, options.recipient
            )
            .as_bytes(),
        );
        while content.len() + LINE + 2 <= options.size {
            content.extend_from_slice(&[b'x'; LINE]);
            content.extend_from_slice(b"\r\n");
        }
        if let Some(rest) = options.size.checked_sub(content.len() + 2) {
            content.extend(std::iter::repeat_n(b'x', rest));
            content.extend_from_slice(b"\r\n");
        }
        content.extend_from_slice(b".\r\n");
        let envelopes =
            (0..options.domains.max(1)).map(|domain| Envelope::new(options, domain)).collect();
        Self { envelopes, content, number_at }
    }

    pub fn envelope(&self, number: u32) -> &Envelope {
        &self.envelopes[number as usize % self.envelopes.len()]
    }

    /// The content of one mail, final dot included, and what follows in the same write.
    pub fn content(&mut self, number: u32, tail: Tail) -> (&[u8], &[u8]) {
        for (at, octet) in
            self.content[self.number_at..self.number_at + DIGITS].iter_mut().enumerate()
        {
            let digit = (number >> (4 * (DIGITS - 1 - at))) & 15;
            *octet = b"0123456789abcdef"[digit as usize];
        }
        let tail = match tail {
            Tail::Nothing => b"",
            Tail::Quit => &b"QUIT\r\n"[..],
            Tail::Envelope(number) => &self.envelopes[number as usize % self.envelopes.len()].group,
        };
        (&self.content, tail)
    }
}

/// What is sent after a content.
#[derive(Clone, Copy)]
pub enum Tail {
    Nothing,
    Quit,
    Envelope(u32),
}

impl Envelope {
    fn new(options: &Send, domain: u32) -> Self {
        let mail = format!("MAIL FROM:<{}>\r\n", options.sender).into_bytes();
        let rcpt =
            format!("RCPT TO:<{}>\r\n", options.recipient.replace("{}", &format!("{domain:04}")))
                .into_bytes();
        let data = b"DATA\r\n".to_vec();
        let group = [&mail[..], &rcpt, &data].concat();
        Self { mail, rcpt, data, group }
    }
}

/// The id in the header line: run and number.
pub type Id = (u32, u32);

/// Finds the id in the first octets of a mail.
pub struct IdFinder(Finder<'static>);

impl IdFinder {
    pub fn new() -> Self {
        Self(Finder::new(FIELD))
    }

    /// None as long as the line is not there, or not complete.
    pub fn find(&self, content: &[u8]) -> Option<Id> {
        let rest = &content[self.0.find(content)? + FIELD.len()..];
        let text = std::str::from_utf8(rest.get(..2 * DIGITS + 1)?).ok()?;
        let (run, number) = text.split_once('-')?;
        Some((u32::from_str_radix(run, 16).ok()?, u32::from_str_radix(number, 16).ok()?))
    }
}

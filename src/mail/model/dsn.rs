//! What a client asks about notifications of a mail (RFC 3461): RET, ENVID, NOTIFY, ORCPT.
//!
//! Values are kept as they are on the wire, in xtext, and decoded for reports. Limits:
//! [`DsnRequest::ENVID_MAX`], [`RecipientDsn::ORCPT_MAX`]. Security: what was parsed has no control
//! characters, also when it is decoded.

use std::fmt::Write as _;

/// What a client asks about notifications of a mail.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DsnRequest {
    /// RET (§4.3).
    pub ret: Option<ReturnedContent>,
    /// ENVID (§4.4) in xtext.
    pub envelope_id: Option<Box<str>>,
    /// For each recipient in the order of the envelope; fewer where the last ones ask for nothing.
    pub recipients: Vec<RecipientDsn>,
}

/// What is returned of a mail that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReturnedContent {
    /// All of it.
    Full,
    /// Its header section.
    Headers,
}

/// What a client asks about notifications for one recipient.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecipientDsn {
    /// NOTIFY (§4.1); `None`: as if failures and delays were asked for.
    pub notify: Option<DsnNotify>,
    /// ORCPT (§4.2): the type of the address, a semicolon, and the address in xtext.
    pub original: Option<Box<str>>,
}

/// The value of NOTIFY: a set of events, empty for NEVER.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DsnNotify(u8);

impl DsnRequest {
    /// Octets of ENVID, at most (§4.4).
    pub const ENVID_MAX: usize = 100;

    /// Whether an event of the recipient at this place is to be reported.
    pub fn wants(&self, place: usize, event: DsnNotify) -> bool {
        let notify = self.recipients.get(place).and_then(|recipient| recipient.notify);
        notify.unwrap_or(DsnNotify::DEFAULT).contains(event)
    }

    /// Notes what is asked for the recipient at this place.
    pub fn note(&mut self, place: usize, recipient: RecipientDsn) {
        self.recipients.resize(place, RecipientDsn::default());
        self.recipients.push(recipient);
    }

    /// Leaves out what is asked for the recipients that are left out of the envelope: those whose
    /// place in `keep` says no.
    pub fn retain(&mut self, keep: &[bool]) {
        let mut keep = keep.iter().copied();
        self.recipients.retain(|_| keep.next().unwrap_or(true));
    }

    /// The parameters of MAIL, each with a blank before it.
    pub fn mail_parameters(&self) -> String {
        let mut text = String::new();
        if let Some(ret) = self.ret {
            let _ = write!(text, " RET={}", ret.as_str());
        }
        if let Some(id) = &self.envelope_id {
            let _ = write!(text, " ENVID={id}");
        }
        text
    }
}

impl ReturnedContent {
    /// The value of RET.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "FULL",
            Self::Headers => "HDRS",
        }
    }

    /// Reads a value of RET, in any case.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Full, Self::Headers].into_iter().find(|ret| text.eq_ignore_ascii_case(ret.as_str()))
    }
}

impl RecipientDsn {
    /// Octets of ORCPT, at most (§4.2).
    pub const ORCPT_MAX: usize = 500;

    /// The parameters of RCPT, each with a blank before it.
    pub fn parameters(&self) -> String {
        let mut text = String::new();
        if let Some(notify) = self.notify {
            let _ = write!(text, " NOTIFY={}", notify.to_text());
        }
        if let Some(original) = &self.original {
            let _ = write!(text, " ORCPT={original}");
        }
        text
    }

    /// The field Original-Recipient of a report, without its name (RFC 3464 §2.3.1).
    pub fn original_text(&self) -> Option<String> {
        let (kind, address) = self.original.as_deref()?.split_once(';')?;
        Some(format!("{kind};{}", xtext_decoded(address)?))
    }
}

impl DsnNotify {
    /// Nothing is to be reported.
    pub const NEVER: Self = Self(0);
    /// The mail was delivered, or passed on to a host without DSN.
    pub const SUCCESS: Self = Self(1);
    /// It failed.
    pub const FAILURE: Self = Self(2);
    /// It is late.
    pub const DELAY: Self = Self(4);
    /// What is reported if nothing was asked.
    const DEFAULT: Self = Self(2 | 4);

    const NAMES: [(&'static str, Self); 3] =
        [("SUCCESS", Self::SUCCESS), ("FAILURE", Self::FAILURE), ("DELAY", Self::DELAY)];

    /// Whether all of these events are in the set.
    pub fn contains(self, events: Self) -> bool {
        self.0 & events.0 == events.0
    }

    /// Reads a value of NOTIFY, in any case: NEVER, or events between commas.
    pub fn parse(text: &str) -> Option<Self> {
        if text.eq_ignore_ascii_case("NEVER") {
            return Some(Self::NEVER);
        }
        text.split(',').try_fold(Self::NEVER, |set, word| {
            let mut names = Self::NAMES.iter();
            let (_, event) = names.find(|(name, _)| word.eq_ignore_ascii_case(name))?;
            Some(Self(set.0 | event.0))
        })
    }

    /// The value of NOTIFY.
    pub fn to_text(self) -> String {
        let names = Self::NAMES.iter().filter(|(_, event)| self.contains(*event));
        let text = names.map(|(name, _)| *name).collect::<Vec<_>>().join(",");
        if text.is_empty() { "NEVER".to_owned() } else { text }
    }
}

/// Whether this is a value of ENVID: xtext of printable ASCII.
pub fn is_envelope_id(text: &str) -> bool {
    text.len() <= DsnRequest::ENVID_MAX && xtext_decoded(text).is_some()
}

/// Whether this is a value of ORCPT: an atom, a semicolon, xtext of printable ASCII.
pub fn is_original_recipient(text: &str) -> bool {
    let Some((kind, address)) = text.split_once(';') else { return false };
    let atom = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-';
    text.len() <= RecipientDsn::ORCPT_MAX
        && !kind.is_empty()
        && kind.bytes().all(atom)
        && xtext_decoded(address).is_some()
}

/// What xtext stands for (§4): `+` and two digits are the octet of this number. `None`: it is no
/// xtext, is empty, or stands for something that is not printable ASCII.
pub fn xtext_decoded(text: &str) -> Option<String> {
    let mut octets = text.bytes();
    let mut decoded = String::with_capacity(text.len());
    while let Some(octet) = octets.next() {
        let octet = match octet {
            b'+' => 16 * digit(octets.next()?)? + digit(octets.next()?)?,
            b'=' => return None,
            octet if octet.is_ascii_graphic() => octet,
            _ => return None,
        };
        if !(octet == b' ' || octet.is_ascii_graphic()) {
            return None;
        }
        decoded.push(char::from(octet));
    }
    (!decoded.is_empty()).then_some(decoded)
}

/// A hexadecimal digit, in upper case as §4 wants it.
fn digit(octet: u8) -> Option<u8> {
    match octet {
        b'0'..=b'9' => Some(octet - b'0'),
        b'A'..=b'F' => Some(octet - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_a_recipient_stays_with_it() {
        let asks = |notify: &str| RecipientDsn {
            notify: DsnNotify::parse(notify),
            original: Some(format!("rfc822;{notify}@x.example").into()),
        };
        let mut dsn = DsnRequest::default();
        dsn.note(0, asks("NEVER"));
        dsn.note(2, asks("SUCCESS"));
        let mut other = dsn.clone();
        // Of four recipients, the last asks for nothing.
        dsn.retain(&[false, true, true, true]);
        assert_eq!(dsn.recipients, [RecipientDsn::default(), asks("SUCCESS")]);
        other.retain(&[true, false, false, false]);
        assert_eq!(other.recipients, [asks("NEVER")]);
    }

    #[test]
    fn a_set_of_events_is_read_and_written() {
        for (text, written) in [
            ("never", "NEVER"),
            ("success", "SUCCESS"),
            ("DELAY,Failure,SUCCESS", "SUCCESS,FAILURE,DELAY"),
            ("FAILURE,FAILURE", "FAILURE"),
        ] {
            assert_eq!(DsnNotify::parse(text).unwrap().to_text(), written);
        }
        for text in ["", "NEVER,DELAY", "DELAY,", "ALWAYS", "DELAY, FAILURE"] {
            assert_eq!(DsnNotify::parse(text), None, "{text}");
        }
    }

    #[test]
    fn who_asks_for_nothing_hears_of_failures_and_delays() {
        let mut request = DsnRequest::default();
        let asked = |text| RecipientDsn { notify: DsnNotify::parse(text), original: None };
        request.note(1, asked("NEVER"));
        request.note(2, asked("SUCCESS"));
        let wants = |place| {
            [DsnNotify::SUCCESS, DsnNotify::FAILURE, DsnNotify::DELAY]
                .map(|event| request.wants(place, event))
        };
        assert_eq!(wants(0), [false, true, true]);
        assert_eq!(wants(1), [false, false, false]);
        assert_eq!(wants(2), [true, false, false]);
        assert_eq!(wants(3), [false, true, true]);
    }

    #[test]
    fn xtext_is_decoded_and_hides_nothing() {
        for (text, decoded) in [
            ("abc", Some("abc")),
            ("a+2Bb+3D+20", Some("a+b= ")),
            ("", None),
            ("a=b", None),
            ("a+2b", None),
            ("a+0Ab", None),
            ("a+7F", None),
            ("a+C3+BC", None),
            ("a b", None),
            ("a+2", None),
            ("ü", None),
        ] {
            assert_eq!(xtext_decoded(text).as_deref(), decoded, "{text}");
        }
        assert!(is_original_recipient("rfc822;a+2Bb@c.example"));
        assert!(is_original_recipient("x-local;anna"));
        for text in ["rfc822", ";a@b", "rfc822;", "rf c;a", "rfc822;a+0Db"] {
            assert!(!is_original_recipient(text), "{text}");
        }
        assert!(is_envelope_id(&"x".repeat(100)) && !is_envelope_id(&"x".repeat(101)));
    }
}

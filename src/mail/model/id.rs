//! The queue id of a message.

use std::fmt;
use std::str::FromStr;

/// The name of a message in the queue: unique on its data volume, ordered by time of acceptance.
///
/// Written in thirteen characters of Crockford's base 32, so that ids sort as text in the order of
/// acceptance and are easy to read out.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(pub u64);

impl MessageId {
    /// The lowest and the highest id whose text begins so; an empty range if no id can.
    pub fn beginning_with(start: &str) -> (Self, Self) {
        const NONE: (MessageId, MessageId) = (MessageId(u64::MAX), MessageId(0));
        let filled =
            |digit: &str| start.to_owned() + &digit.repeat(LENGTH.saturating_sub(start.len()));
        let Ok(first) = filled("0").parse() else { return NONE };
        // The first of thirteen digits stands for four bits only.
        let last =
            filled("Z").parse().or(if start.is_empty() { Ok(Self(u64::MAX)) } else { Err(()) });
        last.map_or(NONE, |last| (first, last))
    }
}

const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const LENGTH: usize = 13;

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0u8; LENGTH];
        for (place, digit) in text.iter_mut().rev().enumerate() {
            *digit = DIGITS[usize::from((self.0 >> (5 * place)).to_le_bytes()[0] & 31)];
        }
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for MessageId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if text.len() != LENGTH {
            return Err(());
        }
        text.bytes()
            .try_fold(0u64, |value, byte| {
                let digit = DIGITS.iter().position(|d| *d == byte.to_ascii_uppercase())?;
                (value >> 59 == 0).then_some(value << 5 | digit as u64)
            })
            .map(MessageId)
            .ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_number_agree_and_sort_alike() {
        let ids = [0, 1, 31, 32, 1_763_800_000_000_000, u64::MAX];
        for pair in ids.windows(2) {
            assert!(MessageId(pair[0]).to_string() < MessageId(pair[1]).to_string());
        }
        for id in ids {
            assert_eq!(MessageId(id).to_string().parse(), Ok(MessageId(id)));
        }
        for id in ids.map(MessageId) {
            let text = id.to_string();
            for start in (0..=13).map(|length| &text[..length]) {
                let (first, last) = MessageId::beginning_with(start);
                assert!(first <= id && id <= last, "{start}");
                assert!(
                    first.to_string().starts_with(start) && last.to_string().starts_with(start),
                    "{start}"
                );
            }
        }
        for none in ["G", "01U", "00000000000000", "é"] {
            let (first, last) = MessageId::beginning_with(none);
            assert!(first > last, "{none}");
        }
        for bad in ["", "0", "ZZZZZZZZZZZZZ", "00000000000IU", "0000000000é0"] {
            assert_eq!(bad.parse::<MessageId>(), Err(()), "{bad}");
        }
    }
}

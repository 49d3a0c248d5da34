//! BDAT: the chunks of a mail's content (RFC 3030 §2).

use super::command_error::CommandError;

/// What BDAT says about the octets that follow its line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkHeader {
    /// How many they are.
    pub size: u64,
    /// The mail ends with them.
    pub last: bool,
}

/// The argument of BDAT: a number, and perhaps LAST.
///
/// # Errors
/// It is something else. Then nobody knows how much content follows, and it would be read as
/// commands: the session ends.
pub(super) fn chunk_header(rest: &str) -> Result<ChunkHeader, CommandError> {
    let (digits, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let last = match rest.trim_start_matches(' ') {
        "" => false,
        word if word.eq_ignore_ascii_case("LAST") => true,
        _ => return Err(CommandError::Chunk),
    };
    // RFC 3030 §4 gives no limit; twenty digits are more than anybody sends.
    let well_formed =
        (1..=20).contains(&digits.len()) && digits.bytes().all(|octet| octet.is_ascii_digit());
    if !well_formed {
        return Err(CommandError::Chunk);
    }
    Ok(ChunkHeader { size: digits.parse().unwrap_or(u64::MAX), last })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_has_a_size_and_may_be_the_last() {
        for (text, size, last) in [
            ("0", 0, false),
            ("86 LAST", 86, true),
            ("86  last", 86, true),
            ("00086", 86, false),
            ("99999999999999999999 LAST", u64::MAX, true),
        ] {
            assert_eq!(chunk_header(text), Ok(ChunkHeader { size, last }), "{text}");
        }
        for text in ["", "LAST", "-1", "+1", "1x", "1 LAST x", "1 FIRST", "123456789012345678901"] {
            assert_eq!(chunk_header(text), Err(CommandError::Chunk), "{text}");
        }
    }
}

//! Encodes untrusted text so that it cannot break the structure of a report.

use crate::mail::model::Address;

/// One line for people: no control characters, at most `limit` octets.
pub(super) fn line(text: &str, limit: usize) -> String {
    let mut line: String =
        text.chars().map(|c| if c.is_control() || is_separator(c) { ' ' } else { c }).collect();
    if line.len() > limit {
        line.truncate(line.floor_char_boundary(limit));
        line.push_str(" ...");
    }
    line
}

/// The same in ASCII, for a field that allows nothing else (RFC 3464 §2.1.1).
pub(super) fn ascii_line(text: &str, limit: usize) -> String {
    line(text, limit).chars().map(|c| if c.is_ascii() { c } else { '?' }).collect()
}

/// Address type and address for Final-Recipient. Addresses beyond ASCII in the form for a 7-bit
/// report (RFC 6533 §3, utf-8-addr-xtext): each such character, and backslash, plus and equals
/// sign, as its number.
pub(super) fn final_recipient(address: &Address) -> String {
    if address.is_ascii() {
        return format!("rfc822; {address}");
    }
    let mut text = String::from("utf-8; ");
    for c in address.as_str().chars() {
        match c {
            '\\' | '+' | '=' => text.push_str(&format!("\\x{{{:X}}}", u32::from(c))),
            _ if c.is_ascii_graphic() => text.push(c),
            _ => text.push_str(&format!("\\x{{{:X}}}", u32::from(c))),
        }
    }
    text
}

/// Whether octets can be in a part as they are: ASCII without NUL and bare carriage returns, lines
/// short enough for RFC 5322 §2.1.1.
pub(super) fn is_plain(octets: &[u8]) -> bool {
    octets.split(|octet| *octet == b'\n').all(|line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        line.len() <= 998 && line.iter().all(|octet| matches!(octet, b'\t' | b' '..=b'~'))
    })
}

/// Quoted-printable (RFC 2045 §6.7): lines of at most 76 octets, all of them ASCII; CR LF remains a
/// line end.
pub(super) fn quoted_printable(octets: &[u8]) -> Vec<u8> {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = Vec::with_capacity(octets.len() + octets.len() / 4);
    let mut width = 0;
    let mut rest = octets;
    while let Some((octet, after)) = rest.split_first() {
        if rest.starts_with(b"\r\n") {
            out.extend_from_slice(b"\r\n");
            width = 0;
            rest = &rest[2..];
            continue;
        }
        let ends_line = after.is_empty() || after.starts_with(b"\r\n");
        let plain = matches!(octet, b'!'..=b'<' | b'>'..=b'~')
            || (matches!(octet, b' ' | b'\t') && !ends_line);
        // 75 and the soft break make the 76 that are allowed.
        if width + if plain { 1 } else { 3 } > 75 {
            out.extend_from_slice(b"=\r\n");
            width = 0;
        }
        if plain {
            out.push(*octet);
            width += 1;
        } else {
            out.extend_from_slice(&[
                b'=',
                HEX[usize::from(octet >> 4)],
                HEX[usize::from(octet & 15)],
            ]);
            width += 3;
        }
        rest = after;
    }
    out
}

/// Characters that some programs take for a line end.
fn is_separator(c: char) -> bool {
    matches!(c, '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_breaks_out_of_a_line() {
        assert_eq!(line("a\r\nTo: b\u{2028}\u{85}\0c", 100), "a  To: b   c");
        assert_eq!(line("üü", 3), "ü ...");
        assert_eq!(ascii_line("nö\n", 100), "n? ");
    }

    #[test]
    fn addresses_stay_ascii() {
        let form = |text| final_recipient(&Address::parse(text).unwrap());
        assert_eq!(form("a+b@example.org"), "rfc822; a+b@example.org");
        assert_eq!(form("grün+x@bücher.example"), "utf-8; gr\\x{FC}n\\x{2B}x@b\\x{FC}cher.example");
    }

    #[test]
    fn quoted_printable_comes_back() {
        for text in [
            "",
            "a=b\r\n",
            "ü \r\nx",
            "tab\t",
            &"long ".repeat(100),
            &"ü".repeat(100),
            "lone\rlone\nend",
        ] {
            let coded = quoted_printable(text.as_bytes());
            assert!(
                is_plain(&coded) && coded.split(|o| *o == b'\n').all(|line| line.len() <= 77),
                "{text:?}"
            );
            let mail = [b"Content-Transfer-Encoding: quoted-printable\r\n\r\n".as_slice(), &coded]
                .concat();
            let mail = mail_parser::MessageParser::default().parse(&mail).unwrap();
            assert_eq!(mail.body_text(0).unwrap(), text, "{coded:?}");
        }
    }
}

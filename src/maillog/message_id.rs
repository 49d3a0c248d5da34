//! The Message-ID field of a mail.
//!
//! Limits: [`HEADER_MAX`] octets of a header section, [`MESSAGE_ID_MAX`] of its Message-ID.
//! Source: RFC 5322 §2.2.3 (folding), §3.6.4 (Message-ID).

use crate::mail::model::Body;

/// Octets of the header section that are searched for the field.
const HEADER_MAX: usize = 8192;

/// Octets of a Message-ID that are logged.
const MESSAGE_ID_MAX: usize = 250;

/// The value of the field; empty if there is none. Stored content has just been written, so its
/// start is in the page cache. A wait here would delay a mail that is already durable.
pub(super) fn message_id(body: &Body) -> String {
    // It is only for the log: without it the line is shorter, and the mail is delivered all the
    // same.
    parse_message_id(&body.head(HEADER_MAX).unwrap_or_default())
}

fn parse_message_id(head: &[u8]) -> String {
    const NAME: &[u8] = b"message-id:";
    let mut rest = head;
    while let Some(end) = memchr::memchr(b'\n', rest) {
        let line = &rest[..end];
        rest = &rest[end + 1..];
        if line.trim_ascii().is_empty() {
            break;
        }
        let Some((name, value)) = line.split_at_checked(NAME.len()) else { continue };
        if name.eq_ignore_ascii_case(NAME) {
            // Folded after the name: the value is on the next line.
            let folded = rest
                .split(|byte| *byte == b'\n')
                .next()
                .filter(|next| next.starts_with(b" ") || next.starts_with(b"\t"));
            let value =
                if value.trim_ascii().is_empty() { folded.unwrap_or_default() } else { value };
            let text = String::from_utf8_lossy(value.trim_ascii());
            return text[..text.floor_char_boundary(MESSAGE_ID_MAX)].to_owned();
        }
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_id_is_found_in_the_header_alone() {
        for (content, expected) in [
            ("Subject: x\r\nMessage-ID: <a@b>\r\n\r\n", "<a@b>"),
            ("message-id:<a@b>  \r\n\r\n", "<a@b>"),
            ("Message-Id:\r\n <folded@b>\r\nX: y\r\n\r\n", "<folded@b>"),
            ("Message-Id:\r\nX: y\r\n\r\n", ""),
            ("Subject: x\r\n\r\nMessage-ID: <a@b>\r\n", ""),
            ("X-Message-ID: <a@b>\r\n\r\n", ""),
            ("", ""),
        ] {
            assert_eq!(parse_message_id(content.as_bytes()), expected, "{content:?}");
        }
        assert_eq!(
            parse_message_id(format!("Message-ID: {}\r\n", "é".repeat(300)).as_bytes()).len(),
            MESSAGE_ID_MAX
        );
    }
}

//! The domain of the author: that of the first mailbox in a From field (RFC 5322 §3.4, §3.6.2).

/// Octets of a domain, at most (RFC 1035 §2.3.4).
const DOMAIN_MAX: usize = 253;

/// The domain of the first mailbox in the value of a From field, in lower case and A-labels;
/// `None`: there is none, or it is an address literal.
pub fn author_domain(value: &[u8]) -> Option<String> {
    let plain = without_comments(value);
    let first = first_mailbox(&plain)?;
    let at = first.iter().rposition(|octet| *octet == b'@')?;
    let domain: Vec<u8> =
        first[at + 1..].iter().copied().filter(|octet| !octet.is_ascii_whitespace()).collect();
    let domain = std::str::from_utf8(&domain).ok()?.trim_end_matches('.');
    if domain.is_empty() || domain.len() > DOMAIN_MAX || domain.starts_with('[') {
        return None;
    }
    let ascii = idna::domain_to_ascii(domain).ok()?;
    let fits = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b'_');
    (ascii.len() <= DOMAIN_MAX && ascii.bytes().all(fits)).then_some(ascii)
}

/// The text with each quoted string as one `q`, and without comments.
fn without_comments(value: &[u8]) -> Vec<u8> {
    let (mut plain, mut depth, mut quoted, mut escaped) =
        (Vec::with_capacity(value.len()), 0usize, false, false);
    for octet in value {
        if std::mem::take(&mut escaped) {
            continue;
        }
        match octet {
            b'\\' if quoted || depth > 0 => escaped = true,
            b'"' if depth == 0 => {
                quoted = !quoted;
                if quoted {
                    plain.push(b'q');
                }
            }
            _ if quoted => {}
            b'(' => depth += 1,
            b')' if depth > 0 => depth -= 1,
            _ if depth > 0 => {}
            octet => plain.push(*octet),
        }
    }
    plain
}

/// The address of the first mailbox: what is in its angle brackets, or all of it. A group counts as
/// its first member.
fn first_mailbox(plain: &[u8]) -> Option<&[u8]> {
    let open = plain.iter().position(|octet| *octet == b'<');
    let comma = plain.iter().position(|octet| *octet == b',').unwrap_or(plain.len());
    match open {
        Some(open) if open < comma => {
            let rest = &plain[open + 1..];
            let close = rest.iter().position(|octet| *octet == b'>')?;
            Some(after_colon(&rest[..close]))
        }
        _ => {
            let first = after_colon(&plain[..comma]);
            let end = first.iter().position(|octet| *octet == b';');
            Some(&first[..end.unwrap_or(first.len())])
        }
    }
}

/// Without an obsolete route (RFC 5322 §4.4) or the name of a group.
fn after_colon(text: &[u8]) -> &[u8] {
    text.iter().rposition(|octet| *octet == b':').map_or(text, |colon| &text[colon + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_mailbox_gives_the_domain() {
        for (value, domain) in [
            (" a@Example.ORG\r\n", Some("example.org")),
            (" Ann <a@example.org>\r\n", Some("example.org")),
            (" \"b@evil.example\" <a@example.org>", Some("example.org")),
            (" \"x \\\" <b@evil.example>\" <a@example.org>", Some("example.org")),
            (" (b@evil.example) a@example.org (<c@evil.example>)", Some("example.org")),
            (" (a \\) ( nested ) b@evil.example) <a@example.org>", Some("example.org")),
            (" <@relay.example,@b.example:a@example.org>", Some("example.org")),
            (" <@relay.example:a@example.org>", Some("example.org")),
            (" a@example.org, Bob <b@evil.example>", Some("example.org")),
            (" Team: a@example.org, b@evil.example;", Some("example.org")),
            (" Team:;", None),
            (" \"a@evil.example\"@example.org", Some("example.org")),
            (" a@bücher.example", Some("xn--bcher-kva.example")),
            (" a @ example . org", Some("example.org")),
            (" a@\r\n example.org", Some("example.org")),
            (" a@[192.0.2.1]", None),
            (" nobody", None),
            (" Ann <a@example.org", None),
            ("", None),
            (" a@example.org;d=evil.example", Some("example.org")),
        ] {
            assert_eq!(author_domain(value.as_bytes()).as_deref(), domain, "{value}");
        }
        assert_eq!(author_domain(b" a@\xff.example"), None);
        assert_eq!(author_domain(format!("a@{}", "x.".repeat(200)).as_bytes()), None);
    }
}

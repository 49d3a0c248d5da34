//! Signatures that a content has already (RFC 6376 §3.5).

/// The domain of a `DKIM-Signature` field, in lower case, if it has all that a verifier asks for.
/// Whether it is right is not verified: a client that may relay wrote it.
pub(super) fn signing_domain(value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?;
    let (mut domain, mut found) = (None, 0u8);
    for tag in text.split(';') {
        let Some((name, value)) = tag.split_once('=') else { continue };
        let value = value.trim();
        if value.is_empty() {
            continue;
        }
        found |= match name.trim() {
            "v" if value == "1" => 1,
            "a" => 2,
            "b" => 4,
            "bh" => 8,
            "s" => 16,
            "h" if value.split(':').any(|name| name.trim().eq_ignore_ascii_case("from")) => 32,
            "d" => {
                domain = Some(value.to_ascii_lowercase());
                0
            }
            _ => 0,
        };
    }
    domain.filter(|_| found == 63)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_that_a_verifier_would_read_has_a_domain() {
        let whole = " v=1; a=rsa-sha256; c=relaxed/simple; d=Example.org;\r\n\ts=s1; h=To:From;\r\n\
            \tbh=abc=; b=d\r\n\te=";
        assert_eq!(signing_domain(whole.as_bytes()).as_deref(), Some("example.org"));
        for part in ["v=1;", "a=rsa-sha256;", "d=Example.org;", "s=s1;", "bh=abc=;", ":From"] {
            let less = whole.replacen(part, "", 1);
            assert_ne!(less, whole);
            assert_eq!(signing_domain(less.as_bytes()), None, "without {part}");
        }
        assert_eq!(signing_domain(b""), None);
        assert_eq!(signing_domain(b"\xff"), None);
    }
}

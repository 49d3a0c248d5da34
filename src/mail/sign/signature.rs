//! The `DKIM-Signature` fields of a content (RFC 6376 §3.5, §3.7, §5.4).

use super::canonical::relaxed_field;
use super::content_digest::DigestedContent;
use super::header_scan::{KeptField, OVERSIGNED, SIGNED};
use super::key::SigningKey;
use super::key_ring::DomainKeys;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fmt::Write;

/// Octets of a line of the field, about (RFC 5322 §2.1.1 recommends at most 78).
const LINE: usize = 72;

/// How often one name is signed, at most: more of the same field than this are no mail.
const REPEATED_MAX: usize = 100;

/// Why there is no signature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The header section is too large.
    #[error("the header fields that are signed are larger than {} octets", super::FIELDS_MAX)]
    HeaderTooLarge,
    /// One field occurs too often.
    #[error("the header field {0} occurs more than {REPEATED_MAX} times")]
    Repeated(&'static str),
    /// The library failed.
    #[error("the signature could not be computed")]
    Failed,
}

/// One field for each usable key of a domain, each with its CR LF: the prefix of the content. `now`
/// is the time of the signature in seconds since 1970.
///
/// # Errors
/// [`SignatureError`].
pub fn signature_fields(
    content: &DigestedContent,
    domain: &DomainKeys,
    now: u32,
) -> Result<Vec<u8>, SignatureError> {
    let fields = content.header.fields.as_ref().ok_or(SignatureError::HeaderTooLarge)?;
    let signed = signed_fields(fields)?;
    let mut names = Vec::new();
    let mut canonical = Vec::new();
    for (name, field) in &signed {
        names.push(*name);
        if let Some(field) = field {
            relaxed_field(&field.raw, &mut canonical);
            canonical.extend_from_slice(b"\r\n");
        }
    }
    let body_hash = STANDARD.encode(content.body_hash);
    let mut prefix = Vec::with_capacity(1024);
    for (selector, key) in &domain.keys {
        let mut field = unsigned_field(&domain.signing.domain, selector, key, now, &names);
        let _ = write!(field, "\r\n\tbh={body_hash};\r\n\tb=");
        let mut data = canonical.clone();
        // The field itself, without a value of b= and without a line end (§3.7).
        relaxed_field(field.as_bytes(), &mut data);
        let signature = key.sign(&data).ok_or(SignatureError::Failed)?;
        prefix.extend_from_slice(field.as_bytes());
        push_folded(&mut prefix, &STANDARD.encode(signature));
        prefix.extend_from_slice(b"\r\n");
    }
    Ok(prefix)
}

/// The names of `h=`, each with the field that it stands for. Of several fields of one name a
/// verifier takes the last first (§5.4.2); a name beyond them stands for none.
fn signed_fields(
    fields: &[KeptField],
) -> Result<Vec<(&'static str, Option<&KeptField>)>, SignatureError> {
    let mut signed = Vec::new();
    for name in OVERSIGNED.iter().chain(&SIGNED).copied() {
        let before = signed.len();
        let these = fields.iter().rev().filter(|field| field.name == name);
        signed.extend(these.map(|field| (name, Some(field))));
        if signed.len() - before > REPEATED_MAX {
            return Err(SignatureError::Repeated(name));
        }
        if OVERSIGNED.contains(&name) {
            signed.push((name, None));
        }
    }
    Ok(signed)
}

/// The field up to its tag `h=`, folded.
fn unsigned_field(
    domain: &str,
    selector: &str,
    key: &SigningKey,
    now: u32,
    names: &[&str],
) -> String {
    let algorithm = key.algorithm().as_str();
    let mut field = format!(
        "DKIM-Signature: v=1; a={algorithm}; c=relaxed/relaxed;\r\n\td={domain}; s={selector};\r\n\
        \tt={now}; h="
    );
    let mut line = field.len() - field.rfind('\n').unwrap_or_default();
    for (place, name) in names.iter().enumerate() {
        let last = place + 1 == names.len();
        if line + name.len() + 1 > LINE {
            field.push_str("\r\n\t ");
            line = 2;
        }
        field.push_str(name);
        field.push(if last { ';' } else { ':' });
        line += name.len() + 1;
    }
    field
}

/// Base 64, folded; the first line follows `b=` without a blank, which would not be a part of the
/// value.
fn push_folded(out: &mut Vec<u8>, digits: &str) {
    let mut rest = digits.as_bytes();
    while rest.len() > LINE {
        out.extend_from_slice(&rest[..LINE]);
        out.extend_from_slice(b"\r\n\t");
        rest = &rest[LINE..];
    }
    out.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::sign::key::{Algorithm, generate};
    use crate::mail::sign::{ContentDigest, SigningDomain};

    fn fields_of(content: &str) -> Result<String, SignatureError> {
        let key = SigningKey::from_pem(generate(Algorithm::Ed25519).unwrap().as_bytes()).unwrap();
        let domain = DomainKeys {
            signing: SigningDomain::new("example.org", None),
            keys: vec![("postern-ed25519".into(), key.into())],
            problem: None,
        };
        let mut digest = ContentDigest::default();
        digest.take(content.as_bytes());
        signature_fields(&digest.finish(), &domain, 1_800_000_000)
            .map(|fields| String::from_utf8(fields).unwrap())
    }

    #[test]
    fn each_field_counts_and_one_more_of_those_that_nobody_may_add() {
        let text = fields_of("To: a\r\nFrom: b\r\nFrom: c\r\nMIME-Version: 1.0\r\n\r\nx").unwrap();
        let unfolded = text.replace("\r\n\t", " ").replace("  ", "");
        assert!(
            unfolded.starts_with(
                "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed; d=example.org; \
                s=postern-ed25519; t=1800000000; h=from:from:from:to:to:cc:subject:date:reply-to:\
                mime-version; bh="
            ),
            "{unfolded}"
        );
        assert!(text.lines().all(|line| line.len() < 80), "{text}");
        assert!(text.ends_with("\r\n") && !text.contains("l="));
    }

    #[test]
    fn a_field_without_end_is_refused() {
        let many = "To: a\r\n".repeat(REPEATED_MAX + 1);
        assert_eq!(fields_of(&many), Err(SignatureError::Repeated("to")));
        let large = format!("To: {}\r\n\r\n", "a".repeat(super::super::FIELDS_MAX));
        assert_eq!(fields_of(&large), Err(SignatureError::HeaderTooLarge));
    }
}

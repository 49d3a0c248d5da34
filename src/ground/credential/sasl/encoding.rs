//! Lines of base 64, and the limits of what is in them.

use super::failure::SaslFailure;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

/// Octets of a line of base 64, without its end, at most (RFC 4954 §4).
pub const LINE_MAX: usize = 12_288;

/// Octets of an account's name, at most.
pub const NAME_MAX: usize = 255;

/// Octets of a password, at most.
pub const PASSWORD_MAX: usize = 1024;

/// Octets that are kept of a server's words, at most.
pub(super) const SERVER_TEXT_MAX: usize = 200;

/// Octets as a line.
pub(super) fn encode(octets: impl AsRef<[u8]>) -> String {
    BASE64_STANDARD.encode(octets)
}

/// The octets of a line.
pub(super) fn decode(line: &[u8]) -> Result<Vec<u8>, SaslFailure> {
    if line.len() > LINE_MAX {
        return Err(SaslFailure::TooLong);
    }
    BASE64_STANDARD.decode(line).map_err(|_| SaslFailure::NotBase64)
}

/// The text of a line.
pub(super) fn decode_text(line: &[u8]) -> Result<String, SaslFailure> {
    text(decode(line)?)
}

/// Octets that must be UTF-8.
pub(super) fn text(octets: Vec<u8>) -> Result<String, SaslFailure> {
    String::from_utf8(octets).map_err(|_| SaslFailure::Malformed("the message is not UTF-8"))
}

/// A name that may be that of an account.
pub(super) fn checked_name(name: &str) -> Result<(), SaslFailure> {
    if name.is_empty() || name.len() > NAME_MAX || name.contains(char::is_control) {
        return Err(SaslFailure::Malformed("the name is empty, too long, or has odd characters"));
    }
    Ok(())
}

/// A password that an account may have.
pub(super) fn checked_password(password: &str) -> Result<(), SaslFailure> {
    if password.is_empty() || password.len() > PASSWORD_MAX || password.contains('\0') {
        return Err(SaslFailure::Malformed("the password is empty, too long, or has a NUL"));
    }
    Ok(())
}

/// A server's words, for a log.
pub(super) fn server_text(octets: &[u8]) -> String {
    let printable = octets.iter().filter(|octet| (b' '..=b'~').contains(*octet));
    printable.take(SERVER_TEXT_MAX).map(|octet| char::from(*octet)).collect()
}

/// Random printable text without commas: a nonce, the middle of a challenge, or a password that
/// nobody has.
pub fn nonce() -> String {
    let mut octets = [0; 18];
    if aws_lc_rs::rand::fill(&mut octets).is_err() {
        // The kernel has no random numbers, which should never happen.
        octets.iter_mut().for_each(|octet| *octet = fastrand::u8(..));
    }
    encode(octets)
}

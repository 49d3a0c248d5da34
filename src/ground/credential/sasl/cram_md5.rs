//! CRAM-MD5 (RFC 2195): the client shows that it has the password with an HMAC of the challenge.

use super::encoding::{checked_name, nonce, text};
use super::failure::SaslFailure;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use hmac::{Hmac, Mac};
use md5::Md5;
use std::fmt::Write as _;

/// A challenge that nobody has seen before (RFC 2195 §2: in the form of a message-id). The host is
/// not named: clients do not look at it, and strangers need not know it.
pub(super) fn challenge() -> String {
    format!("<{}@postern>", nonce())
}

/// The client's answer to a challenge.
pub(super) fn response(name: &str, password: &str, challenge: &[u8]) -> String {
    format!("{name} {}", digest(password.as_bytes(), challenge))
}

/// Name and digest of a client's answer.
pub(super) fn parse_response(octets: Vec<u8>) -> Result<(String, String), SaslFailure> {
    let response = text(octets)?;
    let (name, digest) = response
        .rsplit_once(' ')
        .ok_or(SaslFailure::Malformed("the response is not a name and a digest"))?;
    checked_name(name)?;
    Ok((name.to_owned(), digest.to_ascii_lowercase()))
}

/// Whether a digest is the one that this password gives; in constant time.
pub(super) fn fits(password: &[u8], challenge: &str, given: &str) -> bool {
    let wanted = digest(password, challenge.as_bytes());
    verify_slices_are_equal(wanted.as_bytes(), given.as_bytes()).is_ok()
}

/// HMAC-MD5 in hexadecimal digits.
fn digest(password: &[u8], challenge: &[u8]) -> String {
    // A key of any length is taken.
    let Ok(mut mac) = <Hmac<Md5> as Mac>::new_from_slice(password) else { return String::new() };
    mac.update(challenge);
    mac.finalize().into_bytes().iter().fold(String::new(), |mut digits, octet| {
        // Writing to a string cannot fail.
        let _ = write!(digits, "{octet:02x}");
        digits
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 2195 §2.
    #[test]
    fn the_example_of_the_rfc_is_reproduced() {
        let challenge = "<1896.697170952@postoffice.reston.mci.net>";
        let wanted = "tim b913a602c7eda7a495b4e6e7334d3890";
        assert_eq!(response("tim", "tanstaaftanstaaf", challenge.as_bytes()), wanted);
        let (name, digest) = parse_response(wanted.to_uppercase().into_bytes()).unwrap();
        assert_eq!(name, "TIM");
        assert!(fits(b"tanstaaftanstaaf", challenge, &digest));
        assert!(!fits(b"tanstaaftanstaaf", "<1896.697170953@postoffice>", &digest));
        assert!(!fits(b"tanstaaf", challenge, &digest) && !fits(b"", challenge, ""));
    }

    #[test]
    fn a_name_may_have_spaces_and_must_be_there() {
        let (name, digest) = parse_response(b"anna maria 0a".to_vec()).unwrap();
        assert_eq!((name.as_str(), digest.as_str()), ("anna maria", "0a"));
        for bad in [&b"anna"[..], b"", b" 0a", b"a\nb 0a", b"\xff 0a"] {
            assert!(parse_response(bad.to_vec()).is_err(), "{bad:?}");
        }
    }
}

//! Credentials of a client: `Basic` (RFC 7617) with the login or a token, `Bearer` (RFC 6750) with
//! a token.
//!
//! The property has the password itself, or a hash of bcrypt (`$2b$…`) or Argon2 (`$argon2id$…`),
//! so that the configuration alone does not permit a login.

use crate::ground::credential::password::Password;
use crate::ground::text::ANY_PADDING;
use base64::Engine;
use std::fmt;

/// The login: properties `username` and `password`.
pub struct Login {
    pub(crate) username: String,
    pub(crate) password: Password,
}

/// A name and its secret, from a header.
#[derive(PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) name: String,
    pub(crate) secret: Vec<u8>,
    /// `Bearer`: a token.
    pub(crate) bearer: bool,
}

impl Login {
    /// A login with these two. An empty password is a password too.
    pub fn new(username: &str, password: &str) -> Self {
        Self { username: username.to_owned(), password: Password::of(password) }
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login(***)")
    }
}

impl Credentials {
    /// From an `Authorization` header. A user name contains no colon, a password may (RFC 7617 §2).
    pub(crate) fn read(header: &[u8]) -> Option<Self> {
        let (scheme, rest) = std::str::from_utf8(header).ok()?.split_once(' ')?;
        let bearer = scheme.eq_ignore_ascii_case("bearer");
        let pair = if bearer {
            rest.trim().as_bytes().to_vec()
        } else if scheme.eq_ignore_ascii_case("basic") {
            ANY_PADDING.decode(rest.trim()).ok()?
        } else {
            return None;
        };
        let colon = memchr::memchr(b':', &pair)?;
        let name = String::from_utf8(pair[..colon].to_vec()).ok()?;
        Some(Self { name, secret: pair[colon + 1..].to_vec(), bearer })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(header: &str) -> Option<(String, Vec<u8>, bool)> {
        Credentials::read(header.as_bytes()).map(|read| (read.name, read.secret, read.bearer))
    }

    #[test]
    fn a_header_names_a_pair_or_nothing() {
        let coded = base64::prelude::BASE64_STANDARD.encode("operator:a:b ü".as_bytes());
        let right = Some(("operator".to_owned(), "a:b ü".as_bytes().to_vec(), false));
        assert_eq!(read(&format!("Basic {coded}")), right);
        assert_eq!(read(&format!("bASIC  {coded}")), right);
        assert_eq!(read("Bearer shop:s3cret"), Some(("shop".to_owned(), b"s3cret".to_vec(), true)));
        for bad in [
            coded.clone(),
            format!("Basic {coded}!"),
            "Basic".into(),
            "Basic \u{0}".into(),
            "Bearer s3cret".into(),
        ] {
            assert_eq!(read(&bad), None, "{bad}");
        }
        assert!(Credentials::read(b"Basic \xff").is_none() && read("Digest a:b").is_none());
    }

    #[test]
    fn it_never_shows_the_password() {
        assert_eq!(format!("{:?}", Login::new("operator", "secret")), "Login(***)");
    }
}

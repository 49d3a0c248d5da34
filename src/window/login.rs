//! The user name and password that the windows ask for (RFC 7617).
//!
//! The password is given as it is, or as a hash of bcrypt (`$2b$…`) or Argon2 (`$argon2id$…`), so that who reads the
//! configuration cannot log in.
//! Limits: [`VERIFYING_MAX`] hashes are computed at once, on threads of their own; a login that was right is known for
//! [`REMEMBERED`] by a keyed digest, so that a page that renews itself does not cost a hash each time.
//! Security: comparisons take the same time for every wrong answer of one length; `brake` slows down whoever guesses.

use super::base64;
use crate::ground::password::{Password, same};
use aws_lc_rs::{digest, hmac, rand};
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// Hashes that are computed at once: each takes memory and a processor for a while.
const VERIFYING_MAX: usize = 2;

/// How long a right login is known without its hash.
const REMEMBERED: Duration = Duration::from_secs(300);

/// The longest password that is hashed.
const PASSWORD_MAX: usize = 1024;

/// Who may look: properties `username` and `password`.
pub struct Login {
    username: String,
    password: Password,
    verifying: Semaphore,
    key: hmac::Key,
    /// The last right login, digested.
    remembered: Mutex<Option<(hmac::Tag, Instant)>>,
}

/// What a header says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// There is none.
    NotAsked,
    /// The right name and password.
    Right,
    /// Anything else.
    Wrong,
}

impl Login {
    /// Asks for these two. An empty password is a password too.
    pub fn new(username: &str, password: &str) -> Self {
        Self {
            username: username.to_owned(),
            password: Password::of(password),
            verifying: Semaphore::new(VERIFYING_MAX),
            key: fresh_key(),
            remembered: Mutex::default(),
        }
    }

    /// The user name.
    pub(super) fn username(&self) -> &str {
        &self.username
    }

    /// Whether an `Authorization` header opens the door.
    pub(super) async fn admits(&self, authorization: Option<&[u8]>) -> Admission {
        let Some(header) = authorization else { return Admission::NotAsked };
        let Some(given) = credentials(header) else { return Admission::Wrong };
        if self.is_right(&given).await { Admission::Right } else { Admission::Wrong }
    }

    async fn is_right(&self, given: &[u8]) -> bool {
        let Some((username, password)) = given.split_once_at_colon() else { return false };
        let known = same(username, self.username.as_bytes());
        if !self.password.is_hash() {
            return self.password.fits(password) & known;
        }
        if password.len() > PASSWORD_MAX {
            return false;
        }
        let tag = hmac::sign(&self.key, given);
        if self.is_remembered(&tag) {
            return true;
        }
        let Ok(_turn) = self.verifying.acquire().await else { return false };
        // Another request with the same login may have been quicker.
        if self.is_remembered(&tag) {
            return true;
        }
        let (wanted, password) = (self.password.clone(), password.to_vec());
        // A wrong name costs the same time as a wrong password.
        let fits = tokio::task::spawn_blocking(move || wanted.fits(&password)).await.unwrap_or(false) & known;
        if fits {
            *self.remembered.lock().unwrap_or_else(PoisonError::into_inner) = Some((tag, Instant::now()));
        }
        fits
    }

    fn is_remembered(&self, tag: &hmac::Tag) -> bool {
        let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.as_ref().is_some_and(|(known, since)| same(known.as_ref(), tag.as_ref()) && since.elapsed() < REMEMBERED)
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login(***)")
    }
}

/// A key that dies with the process.
pub(super) fn fresh_key() -> hmac::Key {
    let mut octets = [0; digest::SHA256_OUTPUT_LEN];
    if rand::fill(&mut octets).is_err() {
        // The kernel has no random numbers, which has never been seen: better a weak key than none.
        octets.iter_mut().for_each(|octet| *octet = fastrand::u8(..));
    }
    hmac::Key::new(hmac::HMAC_SHA256, &octets)
}

trait SplitAtColon {
    fn split_once_at_colon(&self) -> Option<(&[u8], &[u8])>;
}

impl SplitAtColon for [u8] {
    /// A user name holds no colon, a password may (RFC 7617 §2).
    fn split_once_at_colon(&self) -> Option<(&[u8], &[u8])> {
        let place = memchr::memchr(b':', self)?;
        Some((&self[..place], &self[place + 1..]))
    }
}

fn credentials(header: &[u8]) -> Option<Vec<u8>> {
    let (scheme, rest) = std::str::from_utf8(header).ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("basic").then(|| base64::decode(rest.trim()))?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(pair: &str) -> String {
        format!("Basic {}", base64::encode(pair.as_bytes()))
    }

    async fn opens(login: &Login, pair: &str) -> bool {
        login.admits(Some(header(pair).as_bytes())).await == Admission::Right
    }

    #[tokio::test]
    async fn only_the_right_pair_opens_the_door() {
        let login = Login::new("operator", "a:b ü");
        assert!(opens(&login, "operator:a:b ü").await);
        for wrong in ["", ":", "operator", "operator:", "operator:a:b", "operator:a:b ü ", "Operator:a:b ü", "operator:a:b u"]
        {
            assert!(!opens(&login, wrong).await, "{wrong}");
        }
        let right = base64::encode("operator:a:b ü".as_bytes());
        assert_eq!(login.admits(Some(format!("bASIC  {right}").as_bytes())).await, Admission::Right);
        for header in
            [right.clone(), format!("Bearer {right}"), format!("Basic {right}!"), "Basic".into(), "Basic \u{0}".into()]
        {
            assert_eq!(login.admits(Some(header.as_bytes())).await, Admission::Wrong, "{header}");
        }
        assert_eq!(login.admits(None).await, Admission::NotAsked);
        assert_eq!(login.admits(Some(b"Basic \xff")).await, Admission::Wrong);
    }

    #[tokio::test]
    async fn a_hash_is_computed_once_for_a_login_that_is_right() {
        let hash = bcrypt::hash("s3cret", 8).unwrap();
        let login = Login::new("operator", &hash);
        assert!(opens(&login, "operator:s3cret").await);
        let begin = Instant::now();
        assert!(opens(&login, "operator:s3cret").await);
        assert!(begin.elapsed() < Duration::from_millis(5), "a login that is known costs no hash");
        assert!(!opens(&login, "operator:s3cre").await && !opens(&login, "root:s3cret").await);
        assert!(!opens(&login, &format!("operator:{hash}")).await, "the hash is no password");
    }

    #[test]
    fn it_never_shows_the_password() {
        assert_eq!(format!("{:?}", Login::new("operator", "secret")), "Login(***)");
    }
}

//! Hashes of crypt(3) with SHA-256 (`$5$`) and SHA-512 (`$6$`): `$6$[rounds=N$]salt$hash`.
//!
//! Limits: [`ROUNDS_MAX`]. Source: U. Drepper, "Unix crypt using SHA-256 and SHA-512"; crypt(5).

use aws_lc_rs::constant_time::verify_slices_are_equal;
use sha_crypt::{ROUNDS_DEFAULT, ROUNDS_MIN, Sha256Params, Sha512Params};

/// The most rounds: about a second.
pub const ROUNDS_MAX: usize = 1_000_000;

/// Characters of a salt, at most; crypt(3) ignores more.
const SALT_MAX: usize = 16;

struct Parts<'a> {
    is_512: bool,
    rounds: usize,
    salt: &'a str,
    hash: &'a str,
}

/// Whether a text has the form of such a hash.
pub(super) fn is_hash(text: &str) -> bool {
    let is_method = text.starts_with("$5$") || text.starts_with("$6$");
    is_method && text.split('$').count() >= 4
}

/// Whether it is a whole one, which does not take too long.
pub(super) fn check(text: &str) -> Result<(), String> {
    let parts = parts(text).ok_or("begins like a hash of crypt(3) and is none")?;
    if parts.rounds > ROUNDS_MAX {
        return Err(format!("has more than {ROUNDS_MAX} rounds: logins would take long"));
    }
    Ok(())
}

/// Whether the given password is the one of the hash.
pub(super) fn fits(text: &str, given: &[u8]) -> bool {
    let Some(Parts { is_512, rounds, salt, hash }) = parts(text) else { return false };
    let salt = salt.as_bytes();
    let made = match is_512 {
        true => Sha512Params::new(rounds)
            .and_then(|params| sha_crypt::sha512_crypt_b64(given, salt, &params)),
        false => Sha256Params::new(rounds)
            .and_then(|params| sha_crypt::sha256_crypt_b64(given, salt, &params)),
    };
    made.is_ok_and(|made| verify_slices_are_equal(made.as_bytes(), hash.as_bytes()).is_ok())
}

fn parts(text: &str) -> Option<Parts<'_>> {
    let (is_512, rest) = match text.strip_prefix("$6$") {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix("$5$")?),
    };
    let (rounds, rest) = match rest.strip_prefix("rounds=") {
        // As crypt(3): fewer are taken for the least.
        Some(rest) => {
            let (rounds, rest) = rest.split_once('$')?;
            (rounds.parse::<usize>().ok()?.max(ROUNDS_MIN), rest)
        }
        None => (ROUNDS_DEFAULT, rest),
    };
    let (salt, hash) = rest.split_once('$')?;
    let is_coded = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '/';
    let is_whole = hash.len() == if is_512 { 86 } else { 43 } && hash.chars().all(is_coded);
    (is_whole && salt.len() <= SALT_MAX).then_some(Parts { is_512, rounds, salt, hash })
}

//! A stored password: plain, as a hash of bcrypt, Argon2 or crypt(3), or as keys of SCRAM.
//!
//! Limits: a hash that would take longer than some seconds is refused ([`BCRYPT_COST_MAX`],
//! [`ARGON2_WORK_MAX`], [`sha_crypt::ROUNDS_MAX`]): it would keep all other logins waiting.
//! Security: comparisons take the same time for every wrong answer. Source: RFC 9106 (Argon2); the
//! text forms are those of crypt(5), of the PHC and of Dovecot.

use super::sasl::{ScramHash, ScramKeys};
use super::sha_crypt;
use argon2::password_hash::PasswordHash;
use argon2::{Argon2, PasswordVerifier};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};

/// The stored value.
#[derive(Clone)]
pub struct Password(Form);

#[derive(Clone)]
enum Form {
    Plain(Vec<u8>),
    Bcrypt(String),
    Argon2(String),
    ShaCrypt(String),
    Scram(ScramKeys),
}

/// The largest cost of bcrypt: about four seconds.
pub const BCRYPT_COST_MAX: u32 = 16;

/// The largest product of memory in kibibytes and passes of Argon2: 16 GiB, some seconds.
pub const ARGON2_WORK_MAX: u64 = 16 << 20;

impl Password {
    /// A text with the prefix of a hash is one.
    pub fn of(text: &str) -> Self {
        Self(if ["$2a$", "$2b$", "$2y$"].iter().any(|start| text.starts_with(start)) {
            Form::Bcrypt(text.to_owned())
        } else if text.starts_with("$argon2") {
            Form::Argon2(text.to_owned())
        } else if sha_crypt::is_hash(text) {
            Form::ShaCrypt(text.to_owned())
        } else {
            Form::Plain(text.as_bytes().to_vec())
        })
    }

    /// The form in accounts: a hash, SCRAM's keys (`{SCRAM-SHA-256}` and what
    /// [`ScramKeys::parse`] reads; `{SCRAM-SHA-1}`), or `{PLAIN}` and the password itself. A hash
    /// may have Dovecot's scheme prefix.
    ///
    /// # Errors
    /// What is wrong with it, as text that does not contain it.
    pub fn stored(text: &str) -> Result<Self, String> {
        const SCHEMES: [&str; 6] = [
            "{BLF-CRYPT}",
            "{ARGON2ID}",
            "{ARGON2I}",
            "{CRYPT}",
            "{SHA256-CRYPT}",
            "{SHA512-CRYPT}",
        ];
        const KEYS: [(&str, ScramHash); 2] =
            [("{SCRAM-SHA-256}", ScramHash::Sha256), ("{SCRAM-SHA-1}", ScramHash::Sha1)];
        if let Some(plain) = text.strip_prefix("{PLAIN}") {
            return match plain {
                "" => Err("has {PLAIN} without a secret behind it".to_owned()),
                plain => Ok(Self(Form::Plain(plain.as_bytes().to_vec()))),
            };
        }
        for (scheme, hash) in KEYS {
            if let Some(keys) = text.strip_prefix(scheme) {
                return Ok(Self(Form::Scram(ScramKeys::parse(hash, keys)?)));
            }
        }
        let hash = SCHEMES.iter().find_map(|scheme| text.strip_prefix(scheme)).unwrap_or(text);
        Self::check(hash)?;
        let password = Self::of(hash);
        if password.is_hash() {
            Ok(password)
        } else {
            Err("is neither a bcrypt, Argon2, $5$ or $6$ hash, nor SCRAM keys, nor {PLAIN}secret"
                .to_owned())
        }
    }

    /// Octets of memory for one comparison (RFC 9106 §3.1: `m` kibibytes; bcrypt takes 4 KiB).
    pub fn memory(&self) -> u64 {
        let Form::Argon2(hash) = &self.0 else { return 0 };
        let kibibytes = PasswordHash::new(hash).ok().and_then(|hash| hash.params.get_decimal("m"));
        u64::from(kibibytes.unwrap_or(0)) * 1024
    }

    /// Whether a comparison takes long.
    pub fn is_hash(&self) -> bool {
        !matches!(self.0, Form::Plain(_))
    }

    /// Whether the given password is correct. Takes a good part of a second with a hash.
    pub fn fits(&self, given: &[u8]) -> bool {
        match &self.0 {
            Form::Plain(wanted) => same(given, wanted),
            Form::Bcrypt(hash) => bcrypt::verify(given, hash).unwrap_or(false),
            Form::Argon2(hash) => PasswordHash::new(hash)
                .is_ok_and(|hash| Argon2::default().verify_password(given, &hash).is_ok()),
            Form::ShaCrypt(hash) => sha_crypt::fits(hash, given),
            Form::Scram(keys) => std::str::from_utf8(given).is_ok_and(|given| keys.fits(given)),
        }
    }

    /// The password itself, if it is kept.
    pub fn plain(&self) -> Option<&str> {
        let Form::Plain(octets) = &self.0 else { return None };
        std::str::from_utf8(octets).ok()
    }

    /// The keys of SCRAM, if they are kept.
    pub fn scram_keys(&self) -> Option<&ScramKeys> {
        let Form::Scram(keys) = &self.0 else { return None };
        Some(keys)
    }

    /// Whether a text with the prefix of a hash is a valid one.
    ///
    /// # Errors
    /// What is wrong with it, as text that does not contain it.
    pub fn check(text: &str) -> Result<(), String> {
        match Self::of(text).0 {
            Form::Plain(_) if is_other_hash(text) => Err(
                "looks like a hash of another kind than bcrypt, Argon2, $5$ and $6$, which nobody \
                could log in with"
                    .to_owned(),
            ),
            Form::Plain(_) => Ok(()),
            // A comparison with few rounds shows whether it is valid.
            Form::Bcrypt(hash) => match hash.parse::<bcrypt::HashParts>() {
                Ok(parts) if parts.get_cost() > BCRYPT_COST_MAX && parts.get_cost() <= 31 => Err(
                    format!("has more than the cost of {BCRYPT_COST_MAX}: logins would take long"),
                ),
                Ok(parts) if (4..=31).contains(&parts.get_cost()) => Ok(()),
                _ => Err("begins like a bcrypt hash and is none".to_owned()),
            },
            Form::Argon2(hash) => match PasswordHash::new(&hash) {
                Ok(parsed) if work(&parsed) > ARGON2_WORK_MAX => {
                    Err("asks for so much memory and time that logins would take long".to_owned())
                }
                Ok(parsed) if parsed.hash.is_some() => Ok(()),
                Ok(_) | Err(_) => Err("begins like an Argon2 hash and is none".to_owned()),
            },
            Form::ShaCrypt(hash) => sha_crypt::check(&hash),
            Form::Scram(_) => Ok(()),
        }
    }
}

/// Kibibytes and passes of an Argon2 hash, multiplied.
fn work(hash: &PasswordHash<'_>) -> u64 {
    let number = |name| u64::from(hash.params.get_decimal(name).unwrap_or(1));
    number("m").saturating_mul(number("t"))
}

/// Whether a text has the form of crypt(5): `$`, the short name of a method, `$`, and at least two
/// more parts.
fn is_other_hash(text: &str) -> bool {
    let mut parts = text.split('$');
    let is_first = parts.next() == Some("");
    let method = parts.next().unwrap_or_default();
    let is_method =
        ["1", "7", "y", "gy", "md5", "sha1", "scrypt", "pbkdf2-sha256", "apr1"].contains(&method);
    is_first && is_method && parts.count() >= 2
}

/// Compares in constant time. Digests are compared, so that the length does not show either.
pub fn same(given: &[u8], wanted: &[u8]) -> bool {
    let digest_of = |text| digest(&SHA256, text);
    verify_slices_are_equal(digest_of(given).as_ref(), digest_of(wanted).as_ref()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by other programs: Apache's htpasswd and the reference program of Argon2.
    const HASHES: [&str; 2] = [
        "$2y$08$CZM96xlIpNfntPgNwuzarOpLYAyZ6cu6cpTY13vi6HW.96Y68EfDS",
        "$argon2id$v=19$m=4096,t=2,p=1$c2FsdHNhbHRzYWx0$/e3GcjItmBpwkaDcmKKe9jJxL2dVDYkrKlSB+bgh9Gw",
    ];

    #[test]
    fn hashes_of_other_programs_fit_their_password() {
        for hash in HASHES {
            assert_eq!(Password::check(hash), Ok(()), "{hash}");
            let password = Password::of(hash);
            assert!(
                password.is_hash() && password.fits(b"s3cret") && !password.fits(b"s3cre"),
                "{hash}"
            );
            assert!(!password.fits(hash.as_bytes()), "the hash is no password");
        }
        for bad in [
            "$2b$10$short",
            "$argon2id$v=19$m=65536",
            "$argon2id$",
            "$2y$99$aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ] {
            assert!(Password::check(bad).is_err(), "{bad}");
        }
        for other in
            ["$6$salt$hash", "$5$rounds=5000$salt$hash", "$y$j9T$salt$hash", "$1$a$b", "$apr1$a$b"]
        {
            assert!(Password::check(other).is_err(), "{other}");
        }
        for plain in ["$3cret", "$6$", "$6$x", "$a$b$c$d", "s$6$x$y"] {
            assert_eq!(
                Password::check(plain),
                Ok(()),
                "a password may begin with a dollar: {plain}"
            );
        }
    }

    /// A hash must not stop the relay.
    #[test]
    fn a_hash_that_takes_long_is_refused() {
        let bcrypt = HASHES[0].replace("$08$", "$17$");
        let argon2 = HASHES[1].replace("t=2", "t=100000");
        let crypt = format!("$6$rounds=2000000$salt${}", "a".repeat(86));
        for long in [&bcrypt, &argon2, &crypt] {
            let words = Password::check(long).unwrap_err();
            assert!(words.contains("logins would take long"), "{words}");
        }
    }

    #[test]
    fn keys_of_scram_and_crypt_are_stored_too() {
        let keys = ScramKeys::derive(ScramHash::Sha1, "s3cret", b"salt", 4096).to_string();
        let scram = Password::stored(&format!("{{SCRAM-SHA-1}}{keys}")).unwrap();
        assert!(scram.fits(b"s3cret") && !scram.fits(b"s3cre") && scram.is_hash());
        assert!(scram.scram_keys().is_some() && scram.plain().is_none());
        assert!(Password::stored("{SCRAM-SHA-256}4096,YQ==,YQ==,YQ==").is_err());
        // Made by `openssl passwd -6 -salt abcdefgh s3cret`, and with -5.
        for hash in [
            "{SHA512-CRYPT}$6$abcdefgh$Z7KfoKnKTSZrzo5VZ0YubGLQOj9ov6sHo9TmE3zIU/LHKhpE30zCnZ0mcI\
             XYf9r9rQ4DYaXoxAFSPFlcWdxjB.",
            "$5$abcdefgh$OcHWp0Vj4l19dnE2g4tHD4hbItEZgO0bjRV6LjwCLoA",
        ] {
            let crypt = Password::stored(hash).unwrap();
            assert!(crypt.fits(b"s3cret") && !crypt.fits(b"s3cre") && crypt.is_hash(), "{hash}");
        }
        assert_eq!(Password::stored("{PLAIN}s3cret").unwrap().plain(), Some("s3cret"));
    }

    #[test]
    fn accounts_store_hashes_or_say_that_they_do_not() {
        for hash in HASHES {
            assert!(Password::stored(hash).unwrap().fits(b"s3cret"));
        }
        assert!(Password::stored(&format!("{{BLF-CRYPT}}{}", HASHES[0])).unwrap().fits(b"s3cret"));
        let plain = Password::stored("{PLAIN}s3cret").unwrap();
        assert!(plain.fits(b"s3cret") && !plain.fits(b"{PLAIN}s3cret") && !plain.is_hash());
        for bad in ["", "s3cret", "{PLAIN}", "{SSHA}abc", "{CRYPT}s3cret", "$2b$10$short"] {
            assert!(Password::stored(bad).is_err(), "{bad}");
        }
        assert_eq!(
            (Password::of(HASHES[1]).memory(), Password::of(HASHES[0]).memory()),
            (4 << 20, 0)
        );
    }

    /// A comparison that stops at the first difference would be thousands of times faster here.
    #[test]
    fn the_place_of_the_first_difference_takes_no_other_time() {
        let wanted = vec![b'x'; 1 << 20];
        let quickest = |place: usize| {
            let mut given = wanted.clone();
            given[place] = b'y';
            let runs = (0..15).map(|_| {
                let begin = std::time::Instant::now();
                assert!(!same(&given, &wanted));
                begin.elapsed()
            });
            runs.min().unwrap()
        };
        let (first, last) = (quickest(0), quickest(wanted.len() - 1));
        assert!(first * 4 > last && last * 4 > first, "{first:?} and {last:?}");
        assert!(same(&wanted, &wanted));
    }
}

//! Secret values.

use super::to_text::Written;
use super::value::ValueError;
use crate::ground::credential::password::Password;
pub use crate::ground::credential::secret::{MASK, Secret};

impl Written for Secret {
    const SECRET: bool = true;

    fn to_text(&self) -> String {
        self.expose().to_owned()
    }
}

/// A password, or its hash.
pub fn password(text: &str) -> Result<Secret, ValueError> {
    let advice = "make one with 'htpasswd -nbB operator PASSWORD' or 'argon2 SALT -id -e'";
    Password::check(text)
        .map(|()| Secret::new(text.to_owned()))
        .map_err(|words| format!("{words}; {advice}"))
}

/// A password that is sent to another server, as it is.
pub fn login_password(text: &str) -> Result<Secret, ValueError> {
    Ok(Secret::new(text.to_owned()))
}

/// A key that libraries for Standard Webhooks accept: 24 to 64 octets.
pub fn webhook_secret(text: &str) -> Result<Secret, ValueError> {
    let coded = text.strip_prefix("whsec_").unwrap_or_default();
    let digits = coded.trim_end_matches('=');
    let whole = coded.len() - digits.len() <= 2 && digits.len() % 4 != 1;
    let good = whole
        && (32..=86).contains(&digits.len())
        && digits.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'));
    if good {
        return Ok(Secret::new(text.to_owned()));
    }
    Err("must be whsec_ and 24 to 64 octets in base 64: make one with 'echo whsec_$(openssl rand \
    -base64 32)'"
        .into())
}

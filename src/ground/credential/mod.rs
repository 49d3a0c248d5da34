//! Authentication: password hashes, SASL, and the throttle against guessing.

pub mod name_secret;
pub mod password;
pub mod sasl;
pub mod secret;
mod sha_crypt;
pub mod throttle;
pub mod token_source;
pub mod verifier;

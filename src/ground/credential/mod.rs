//! Authentication: password hashes, SASL, and the throttle against guessing.

pub mod password;
pub mod sasl;
pub mod secret;
pub mod throttle;
pub mod verifier;

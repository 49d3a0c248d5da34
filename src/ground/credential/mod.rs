//! Authentication: password hashes, and the throttle against guessing.

pub mod password;
pub mod throttle;
pub mod verifier;

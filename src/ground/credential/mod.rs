//! Proofs of who somebody is: password hashes, and the throttle of those who guess.

pub mod password;
pub mod throttle;
pub mod verifier;

//! What all that listens on a network stands on, whatever it speaks.

mod prefix;

pub use prefix::client_prefix;

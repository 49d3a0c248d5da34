//! The common base of all network listeners, whatever their protocol.

mod prefix;

pub use prefix::client_prefix;

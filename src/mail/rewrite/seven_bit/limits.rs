//! What is looked at, and what encoding makes, at most.

/// The most parts of a message that are told apart; one with more is refused.
pub const PARTS_MAX: usize = 100_000;

/// How deep parts may stand in parts.
pub const DEPTH_MAX: usize = 100;

/// Octets of a line that are looked at as one. A longer line comes in pieces, and is no boundary.
pub const LINE_MAX: usize = 2048;

/// Octets of one header field that are understood; the rest of it passes unread.
pub const FIELD_MAX: usize = 8192;

/// The longest line that encoding makes, without CR LF (RFC 2045 §6.7, §6.8).
pub const LINE_SENT: usize = 76;

/// The longest line that a 7-bit part may have, without CR LF (RFC 5321 §4.5.3.1.6).
pub const LINE_LONGEST: usize = 998;

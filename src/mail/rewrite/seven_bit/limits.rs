//! Limits of what is examined, and of what encoding produces.

/// Parts of a message, at most; a message with more is refused.
pub const PARTS_MAX: usize = 100_000;

/// Levels of nested parts, at most.
pub const DEPTH_MAX: usize = 100;

/// Octets of a line that are examined as one. A longer line comes in pieces, and is not a boundary.
pub const LINE_MAX: usize = 2048;

/// Octets of one header field that are parsed; the rest of it is not read.
pub const FIELD_MAX: usize = 8192;

/// Octets of a line that encoding produces, without CR LF, at most (RFC 2045 §6.7, §6.8).
pub const LINE_SENT: usize = 76;

/// Octets of a line in a 7-bit part, without CR LF, at most (RFC 5321 §4.5.3.1.6).
pub const LINE_LONGEST: usize = 998;

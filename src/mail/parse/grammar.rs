//! How strictly commands and paths are read.

/// How much of the grammar a client has to follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grammar<'a> {
    /// The grammar of RFC 5321.
    Strict,
    /// What applications and devices send, and Postfix accepts: paths without angle brackets,
    /// mailboxes without a domain, blanks within the brackets and before the command, tabs instead
    /// of spaces, a dot after the domain.
    Lenient {
        /// The domain of mailboxes that are given without one.
        origin_domain: &'a str,
    },
}

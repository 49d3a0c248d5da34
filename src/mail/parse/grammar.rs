//! How strictly commands and paths are read.

/// How much of the grammar a client has to keep to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grammar<'a> {
    /// The letter of RFC 5321.
    Strict,
    /// What applications and devices write, and Postfix takes: paths without angle brackets,
    /// mailboxes without a domain, blanks within the brackets and before the command, tabs for
    /// spaces, a dot
    /// behind the domain.
    Lenient {
        /// The domain of mailboxes that are given without one.
        origin_domain: &'a str,
    },
}

//! Why the appliance does not start: one line fixed by the contract, one line with the cause, one
//! exit code.

use super::start_errors;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The exit codes of the appliance, from sysexits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[repr(u8)]
pub enum Exit {
    /// A property is wrong (EX_USAGE).
    Property = 64,
    /// A key or a certificate is missing (EX_NOINPUT).
    Input = 66,
    /// A service or a terminal is not available (EX_UNAVAILABLE).
    Unavailable = 69,
    /// A defect of the program (EX_SOFTWARE).
    Internal = 70,
    /// Something could not be created (EX_CANTCREAT).
    Create = 73,
    /// A permission is missing (EX_NOPERM).
    Permission = 77,
}

impl Exit {
    /// The number for the operating system.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The exit code for a number from a child process.
    pub fn from_code(code: i32) -> Option<Self> {
        [
            Self::Property,
            Self::Input,
            Self::Unavailable,
            Self::Internal,
            Self::Create,
            Self::Permission,
        ]
        .into_iter()
        .find(|exit| i32::from(exit.code()) == code)
    }
}

/// One reason not to start. Displayed, it is the contract's line and, indented below it, the cause.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct Failure {
    /// Begins with `Error: `; scripts search for it, so its text changes only with the contract.
    pub line: String,
    /// What was found and what to do about it; may be empty.
    pub cause: String,
    /// The exit code of the process.
    pub exit: Exit,
}

impl Failure {
    /// A failure with its cause.
    pub fn new(exit: Exit, line: impl Into<String>, cause: impl Into<String>) -> Self {
        Self { line: line.into(), cause: cause.into(), exit }
    }

    /// "failed to preconfigure the MTA": the preparation failed for a reason without a line of its
    /// own.
    pub fn preconfigure(exit: Exit, cause: impl Into<String>) -> Self {
        Self::new(exit, start_errors::PRECONFIGURE, cause)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)?;
        if self.cause.is_empty() { Ok(()) } else { write!(f, "\n  {}", self.cause) }
    }
}

/// The exit code for several failures: a wrong property has precedence, because it can be corrected
/// at once.
pub fn exit_of(failures: &[Failure]) -> Exit {
    let wrong = failures.iter().find(|failure| failure.exit == Exit::Property);
    wrong.or(failures.first()).map_or(Exit::Internal, |failure| failure.exit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_property_decides_the_exit_code() {
        let missing = Failure::new(Exit::Input, "Error: a", "");
        let wrong = Failure::new(Exit::Property, "Error: b", "cause");
        assert_eq!(exit_of(std::slice::from_ref(&missing)), Exit::Input);
        assert_eq!(exit_of(&[missing, wrong.clone()]).code(), 64);
        assert_eq!(wrong.to_string(), "Error: b\n  cause");
        assert_eq!(Exit::from_code(69), Some(Exit::Unavailable));
        assert_eq!(Exit::from_code(1), None);
    }
}

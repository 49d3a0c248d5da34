//! The TLS parameters of a connection.

use std::fmt;

/// The version of the protocol and the cipher suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encryption {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The cipher suite by its name at IANA.
    pub cipher: &'static str,
}

/// `TLSv1.3:TLS_AES_256_GCM_SHA384`.
impl fmt::Display for Encryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.version, self.cipher)
    }
}

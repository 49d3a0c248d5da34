//! How large a key and its certificate chain may be.

/// Octets of a key file. An RSA key of 8192 bits has 6,500.
pub const KEY_MAX: usize = 64 * 1024;

/// Octets of a file with a chain.
pub const CHAIN_MAX: usize = 256 * 1024;

/// Certificates of a chain. More are somebody's whole trust store, which no client wants to be
/// sent.
pub const CERTIFICATES_MAX: usize = 10;

//! Limits of a key and its certificate chain.

/// Octets of a key file. An RSA key of 8192 bits has 6,500.
pub const KEY_MAX: usize = 64 * 1024;

/// Octets of a certificate file, at most.
pub const CHAIN_MAX: usize = 256 * 1024;

/// Certificates of a chain, at most. More would be a whole trust store, which clients do not want.
pub const CERTIFICATES_MAX: usize = 10;

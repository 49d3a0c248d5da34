//! The DKIM keys of the relay, as pages, the API and alerts see them.

/// One domain that signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DkimDomainState {
    /// The domain, in lower case and A-labels.
    pub domain: String,
    /// Its selector; that of an Ed25519 key has a suffix.
    pub selector: String,
    /// The keys that sign now.
    pub keys: Vec<DkimKeyState>,
    /// Why it cannot sign; `None`: it can.
    pub problem: Option<String>,
}

/// The public side of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DkimKeyState {
    /// Its selector.
    pub selector: String,
    /// `rsa-sha256` or `ed25519-sha256`.
    pub algorithm: &'static str,
    /// The value of its TXT record at `SELECTOR._domainkey.DOMAIN`.
    pub record: String,
}

/// The DKIM keys of the relay.
pub trait DkimKeys: Send + Sync {
    /// All domains that sign, by name.
    fn domains(&self) -> Vec<DkimDomainState>;
}

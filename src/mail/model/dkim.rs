//! The DKIM keys of the relay, as pages, the API and alerts see them.

use std::pin::Pin;

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

/// Whether a DNS record is as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordVerdict {
    /// It is.
    Right,
    /// It does not exist.
    Missing,
    /// It is another one.
    Wrong,
    /// It could not be looked up.
    Unknown,
}

/// A DNS record as it is, and as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedRecord {
    /// `dkim`, `spf`, `dmarc` or `ptr`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// What it should be, or an example of it.
    pub expected: String,
    /// What DNS has; untrusted text.
    pub found: Vec<String>,
    /// The result.
    pub verdict: RecordVerdict,
    /// The result in words.
    pub words: String,
}

/// A domain that signs, with the records that receivers look up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DkimDomainReport {
    /// Its keys.
    pub state: DkimDomainState,
    /// The records of its keys, of SPF and of DMARC.
    pub records: Vec<PublishedRecord>,
}

/// What DNS says about the domains that sign, and about the relay's own name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DkimReport {
    /// The domains, by name.
    pub domains: Vec<DkimDomainReport>,
    /// The host names of the addresses of property `hostname`.
    pub hosts: Vec<PublishedRecord>,
}

/// A future of a report.
pub type DkimReportFuture<'a> = Pin<Box<dyn Future<Output = DkimReport> + Send + 'a>>;

/// The DKIM keys of the relay.
pub trait DkimKeys: Send + Sync {
    /// All domains that sign, by name.
    fn domains(&self) -> Vec<DkimDomainState>;

    /// Looks up what DNS has for some of these domains.
    fn report(&self, domains: Vec<DkimDomainState>) -> DkimReportFuture<'_>;
}

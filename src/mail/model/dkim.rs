//! The DKIM keys of the relay, as pages, the API and alerts see them.

use super::admin::Principal;
use std::pin::Pin;
use std::time::Duration;

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
    /// The keys that sign as soon as their records are in DNS.
    pub next: Option<DkimNextKeys>,
    /// Former keys whose records may still be in DNS, the oldest first.
    pub retired: Vec<DkimRetiredKeys>,
}

/// Keys that are not used yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DkimNextKeys {
    /// Their selector; that of an Ed25519 key has a suffix.
    pub selector: String,
    /// Since when they exist, seconds since 1970.
    pub since: u32,
    /// The keys.
    pub keys: Vec<DkimKeyState>,
}

/// Keys that are not used any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DkimRetiredKeys {
    /// Their selector.
    pub selector: String,
    /// Until when their records must stay in DNS, seconds since 1970.
    pub until: u32,
    /// The keys; none, once the relay has removed them.
    pub keys: Vec<DkimKeyState>,
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

impl DkimKeyState {
    /// The name of its TXT record.
    pub fn record_name(&self, domain: &str) -> String {
        format!("{}._domainkey.{domain}", self.selector)
    }
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
    /// Its keys as they were before.
    pub state: DkimDomainState,
    /// The records of its keys, also next and former ones, of SPF and of DMARC.
    pub records: Vec<PublishedRecord>,
    /// The names of former keys' records that are gone, and may be.
    pub gone: Vec<String>,
    /// When DNS was asked, seconds since 1970.
    pub asked: u32,
}

/// What DNS says about the domains that sign, and about the relay's own name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DkimReport {
    /// The domains, by name.
    pub domains: Vec<DkimDomainReport>,
    /// The host names of the addresses of property `hostname`.
    pub hosts: Vec<PublishedRecord>,
}

/// What became of an order to change the keys of a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DkimRotation {
    /// The domain after it.
    pub state: DkimDomainState,
    /// How far it is.
    pub step: RotationStep,
}

/// How far a change of keys is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RotationStep {
    /// The next keys were made; the present ones sign until DNS has the records.
    Begun,
    /// The next keys exist already, and DNS does not have their records yet.
    Waiting,
    /// The next keys sign from now on.
    Switched,
}

/// Why the keys of a domain are not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DkimRotateError {
    /// No such domain signs.
    #[error("'{0}' is no domain that signs with DKIM; see dkim_domains")]
    UnknownDomain(String),
    /// The operator's own key, which the relay does not touch.
    #[error(
        "the key {selector} of {domain} is on the key volume, which this relay never changes: put \
        a new key there as dkim/{domain}/NEW.pem, publish its record, and set \
        dkim_domains={domain}=NEW once DNS has it; see docs/dkim.md"
    )]
    KeyVolume {
        /// The domain.
        domain: String,
        /// The selector that signs.
        selector: String,
    },
    /// Nothing to start from.
    #[error(
        "there is no key {selector} of {domain} on the data volume: set dkim_generate=yes and \
        start again, then there is a first one"
    )]
    NoKey {
        /// The domain.
        domain: String,
        /// The selector that signs.
        selector: String,
    },
    /// Too many changes within the time that records must stay.
    #[error("the keys of {0} were changed too often: records of former keys must stay for a week")]
    TooMany(String),
    /// The data volume, or the library that makes keys.
    #[error("the keys cannot be changed: {0}")]
    Failed(String),
}

/// A future of a report.
pub type DkimReportFuture<'a> = Pin<Box<dyn Future<Output = DkimReport> + Send + 'a>>;

/// A future of an order to change keys.
pub type DkimRotateFuture<'a> =
    Pin<Box<dyn Future<Output = Result<DkimRotation, DkimRotateError>> + Send + 'a>>;

/// The DKIM keys of the relay.
pub trait DkimKeys: Send + Sync {
    /// All domains that sign, by name.
    fn domains(&self) -> Vec<DkimDomainState>;

    /// Looks up what DNS has for these domains, unless that was done within this time. Next keys
    /// whose records are there sign from then on.
    fn report(&self, domains: Vec<DkimDomainState>, age: Duration) -> DkimReportFuture<'_>;

    /// What DNS had when it was last asked, for the domains that are as they were then.
    fn last_report(&self) -> DkimReport;

    /// Records of keys that sign which are not as they should be, as last looked up; each in words
    /// that contain its name.
    fn record_problems(&self) -> Vec<String>;

    /// Makes the next keys of a domain, unless there are some; with `now` they sign from now on,
    /// whether DNS has their records or not.
    fn rotate(&self, domain: String, now: bool, principal: Principal) -> DkimRotateFuture<'_>;
}

//! DNS lookups with typed answers.
//!
//! Purpose: the only place that uses DNS. Other modules see the trait [`Resolver`], implemented
//! with hickory; another resolver (a validating one, for DANE) can replace it. In: names as in
//! mail: any case, UTF-8 labels (sent as RFC 5891 A-labels), no trailing dot. Out: MX records or
//! addresses, or [`DnsError`], which distinguishes "does not exist" from a failed lookup. Limits:
//! [`TRY_TIME`] for a try, [`TOTAL_TIME`] for a query, [`FAMILY_TIME`] between address families,
//! [`QUESTIONS_MAX`] queries at once, [`CACHE_MAX`] answers kept: for at most [`POSITIVE_TIME`],
//! negative ones [`NEGATIVE_TIME`], those about names without a dot and those of a container engine
//! ([`ENGINE`]) [`LOCAL_TIME`]. Security: answers are not validated: an attacker on the path to the
//! name servers controls where mail goes, as everywhere without DNSSEC. Every answer is untrusted.
//! Source: RFC 1035, RFC 2308 (negative answers), RFC 6761 (`localhost`), hosts(5), resolv.conf(5).

mod lookup;
mod resolv_conf;
mod setup;
mod system;

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::time::Duration;

pub use setup::SetupError;
pub use system::system;

/// Time limit of one try before the next one, or the next server.
pub const TRY_TIME: Duration = Duration::from_secs(5);

/// Time limit of a query.
pub const TOTAL_TIME: Duration = Duration::from_secs(15);

/// How long the addresses of one family wait for those of the other. Some name servers never answer
/// queries for IPv6; a host must not be lost for that.
pub const FAMILY_TIME: Duration = Duration::from_secs(2);

/// Queries at the same time; more wait within [`TOTAL_TIME`].
pub const QUESTIONS_MAX: usize = 256;

/// How long a query may occupy one of these. Then it is slow: it must get one of
/// [`SLOW_QUESTIONS_MAX`] other slots or fails, so that silent name servers do not block all
/// queries.
pub const SLOW_QUESTION: Duration = Duration::from_secs(1);

/// Slow queries at the same time.
pub const SLOW_QUESTIONS_MAX: usize = 256;

/// Answers that are cached, at most.
pub const CACHE_MAX: u64 = 128;

/// How long "does not exist" is cached at most: a repaired zone must not delay mail for a day.
pub const NEGATIVE_TIME: Duration = Duration::from_secs(300);

/// How long an answer is cached at most, whatever its TTL: hosts move, and their old address may
/// soon belong to another.
pub const POSITIVE_TIME: Duration = Duration::from_secs(3600);

/// The same for names of the local network. A container engine gives its answers a TTL of ten
/// minutes, but a restarted container gets another address at once.
pub const LOCAL_TIME: Duration = Duration::from_secs(5);

/// The name server that Docker and similar engines set up in containers.
pub const ENGINE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// A future of an answer, independent of the implementation.
pub type DnsFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, DnsError>> + Send + 'a>>;

/// Answers queries about names.
pub trait Resolver: Send + Sync + 'static {
    /// The MX records of a name, in no particular order, as preference and host without trailing
    /// dot. The host of a null MX (RFC 7505) is the empty text. Aliases (CNAME) of `name` are
    /// followed.
    fn mx(&self, name: &str) -> DnsFuture<'_, Vec<(u16, String)>>;

    /// The IPv6 and IPv4 addresses of a host; never an empty list. Aliases are followed.
    fn addresses(&self, name: &str) -> DnsFuture<'_, Vec<IpAddr>>;

    /// The texts of the TXT records of a name, the strings of each joined (RFC 7208 §3.3); never an
    /// empty list. The cache is not used, so that a record that was published just now is seen.
    fn texts(&self, name: &str) -> DnsFuture<'_, Vec<String>>;

    /// The host names of an address (PTR); never an empty list.
    fn host_names(&self, address: IpAddr) -> DnsFuture<'_, Vec<String>>;

    /// Removes a name from the cache, because its hosts do not answer.
    fn forget(&self, _name: &str) {}

    /// Empties the cache.
    fn forget_all(&self) {}
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DnsError {
    /// DNS says that it does not exist: asking again soon is of no use.
    #[error("{0}")]
    Absent(Absence),
    /// The lookup failed: a timeout, SERVFAIL, no name server. Asking later may help.
    #[error("{0}")]
    Failed(String),
}

/// What does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Absence {
    /// The name itself (NXDOMAIN), or it is not valid in DNS.
    #[error("the name does not exist")]
    Name,
    /// The name exists, but not with records of this kind (NODATA).
    #[error("the name has no such records")]
    Records,
}

//! Names to hosts and addresses, with typed answers.
//!
//! Purpose: the one place that asks the domain name system. Rooms see the trait [`Resolver`];
//! behind it stands hickory, so that another resolver (a validating one, for DANE) can take its
//! place.
//! In: names as mail writes them: any case, UTF-8 labels (sent as RFC 5891 A-labels), no trailing
//! dot.
//! Out: MX records or addresses, or [`DnsError`], which tells "it does not exist" from "nobody
//! could say".
//! Limits: [`TRY_TIME`] a try, [`TOTAL_TIME`] a question, [`FAMILY_TIME`] between address families,
//! [`QUESTIONS_MAX`] questions at once, [`CACHE_MAX`] answers kept: for at most [`POSITIVE_TIME`],
//! negative ones [`NEGATIVE_TIME`], those about names without a dot and those of a container engine
//! ([`ENGINE`]) [`LOCAL_TIME`].
//! Security: answers are not validated; whoever controls the path to the name servers controls
//! where mail goes, as everywhere without DNSSEC. Every answer is hostile text.
//! Source: RFC 1035, RFC 2308 (negative answers), RFC 6761 (`localhost`), hosts(5), resolv.conf(5).

mod resolv_conf;
mod system;

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::time::Duration;

pub use system::{SetupError, system};

/// How long one try may take before the next one, or the next server.
pub const TRY_TIME: Duration = Duration::from_secs(5);

/// How long a question may take in all.
pub const TOTAL_TIME: Duration = Duration::from_secs(15);

/// How long the addresses of one family wait for those of the other. Some name servers never answer
/// for IPv6; a host must not be lost for that.
pub const FAMILY_TIME: Duration = Duration::from_secs(2);

/// How many questions may be under way at once; more wait for their turn within [`TOTAL_TIME`].
pub const QUESTIONS_MAX: usize = 256;

/// How long a question may keep its place among these. After that it is slow: it must find a place
/// among [`SLOW_QUESTIONS_MAX`] others or is given up, so that name servers that say nothing do not
/// stop all questions.
pub const SLOW_QUESTION: Duration = Duration::from_secs(1);

/// How many slow questions may be under way at once.
pub const SLOW_QUESTIONS_MAX: usize = 256;

/// How many answers are kept while they are fresh.
pub const CACHE_MAX: u64 = 128;

/// How long "it does not exist" is believed at most: a mended zone must not cost its senders a day.
pub const NEGATIVE_TIME: Duration = Duration::from_secs(300);

/// How long an answer is believed at most, whatever its TTL: hosts move, and their old address may
/// soon be another's.
pub const POSITIVE_TIME: Duration = Duration::from_secs(3600);

/// The same for names of the local network. A container engine gives its answers ten minutes, and a
/// container that is started anew another address at once.
pub const LOCAL_TIME: Duration = Duration::from_secs(5);

/// The name server that Docker and its kin put into containers.
pub const ENGINE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// A future answer that a caller waits for without knowing who gives it.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, DnsError>> + Send + 'a>>;

/// Who answers questions about names.
pub trait Resolver: Send + Sync + 'static {
    /// The MX records of a name, in no particular order, as preference and host without trailing
    /// dot. The host of a null MX (RFC 7505) is the empty text. Aliases (CNAME) of `name` are
    /// followed.
    fn mx(&self, name: &str) -> Answer<'_, Vec<(u16, String)>>;

    /// The IPv6 and IPv4 addresses of a host; never an empty list. Aliases are followed.
    fn addresses(&self, name: &str) -> Answer<'_, Vec<IpAddr>>;

    /// Lets go of what is kept about a name: what it led to does not answer.
    fn forget(&self, _name: &str) {}

    /// Lets go of everything that is kept.
    fn forget_all(&self) {}
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DnsError {
    /// The domain name system said that it is not there: asking again soon is no use.
    #[error("{0}")]
    Absent(Absence),
    /// Nobody could say: a timeout, SERVFAIL, no name server. Asking later may help.
    #[error("{0}")]
    Failed(String),
}

/// What exactly is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Absence {
    /// The name itself (NXDOMAIN), or it is none that DNS could hold.
    #[error("the name does not exist")]
    Name,
    /// The name exists, but not with records of this kind (NODATA).
    #[error("the name has no such records")]
    Records,
}

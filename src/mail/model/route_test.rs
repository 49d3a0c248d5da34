//! A route test: where a message would be sent, and whether its client might send it. No message is
//! created.

use super::{Address, AdminFuture, Destination, RateWait, Reply, Route, RouteError, RouteTrace};
use ipnet::IpNet;
use std::net::IpAddr;

/// The mail that is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteQuestion {
    /// The forward-path.
    pub to: Address,
    /// The reverse-path; `None` is the null sender.
    pub from: Option<Address>,
    /// The client that would send it; `None` = the test does not check a client.
    pub client: Option<IpAddr>,
}

/// What would happen to the message now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteReport {
    /// What the relay would reply to the client; `None` where none was given.
    pub client: Option<ClientVerdict>,
    /// Whether the queue accepts mail now, from anybody; the reply that refuses it.
    pub queue: Result<(), Reply>,
    /// Whether it would go to the address of `redirect_all_to` instead of its recipient.
    pub redirected: bool,
    /// Where the mail would go: to its recipient first, then the carbon copy where there is one.
    pub targets: Vec<TargetReport>,
}

/// What the relay would reply to a client of terminal `in`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientVerdict {
    /// The client's address, without the IPv6 form of an IPv4 one.
    pub address: IpAddr,
    /// The network that it is trusted by; `None` = by none.
    pub network: Option<IpNet>,
    /// The reply that refuses the mail, from MAIL or from RCPT.
    pub reply: Result<(), Reply>,
}

/// One target of the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetReport {
    /// Where it would go, by which rule: what intake would store with it.
    pub destination: Destination,
    /// What was found while the route was determined.
    pub trace: RouteTrace,
    /// The hosts, or why there are none.
    pub route: Result<Route, RouteError>,
    /// How TLS is used with them.
    pub tls: &'static str,
    /// The present state of deliveries to the destination.
    pub status: DestinationStatus,
}

/// The present state of deliveries to a destination. Times are seconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DestinationStatus {
    /// An operator stopped deliveries to it.
    pub paused: bool,
    /// Until when it is suspended because it could not be reached; `None` when it is not.
    pub suspended_until: Option<u32>,
    /// Its rate is used up; `None` when it is not, or when there is none.
    pub rate_wait: Option<RateWait>,
    /// Since when no attempt reached it; `None` when the last one did, or there was none.
    pub unreachable_since: Option<u32>,
    /// Messages that wait for it, those being tried included.
    pub messages: u64,
    /// Of these, in an attempt now.
    pub active: u64,
    /// Of these, waiting for another attempt.
    pub deferred: u64,
    /// Connections open or being opened.
    pub agents: u32,
    /// Of these, open without a message.
    pub idle: u32,
    /// The most of them that are allowed now; fewer than [`DestinationStatus::limit`] while the
    /// destination allows no more, or has not yet shown that it accepts more.
    pub window: u32,
    /// The most that are ever allowed.
    pub limit: u32,
    /// What the last failed attempt said; untrusted text, empty when none failed.
    pub last_error: String,
}

/// Who answers route tests.
pub trait RouteTest: Send + Sync {
    /// Asks the same components as real mail does, and changes nothing.
    fn test(&self, question: RouteQuestion) -> AdminFuture<'_, RouteReport>;
}

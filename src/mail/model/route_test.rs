//! A route test: where a mail would go, and whether its client might send it. No mail is made.

use super::{Address, Answer, Destination, Reply, Route, RouteError, RouteTrace};
use ipnet::IpNet;
use std::net::IpAddr;

/// The mail that is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteQuestion {
    /// The forward-path.
    pub to: Address,
    /// The reverse-path; `None` is the null sender.
    pub from: Option<Address>,
    /// The client that would send it; `None` = nobody asks about one.
    pub client: Option<IpAddr>,
}

/// What would become of the mail now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteReport {
    /// What the client would hear; `None` where none was named.
    pub client: Option<ClientVerdict>,
    /// What a program would hear that shows the login or a token at the HTTP server.
    pub known: Result<(), Reply>,
    /// Where the mail would go: to its recipient first, then the carbon copy where there is one.
    pub targets: Vec<TargetReport>,
}

/// What a client of terminal `in` would hear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientVerdict {
    /// The client's address, without the IPv6 form of an IPv4 one.
    pub address: IpAddr,
    /// The network that it is trusted by; `None` = by none.
    pub network: Option<IpNet>,
    /// The reply that refuses the mail, from MAIL or from RCPT.
    pub reply: Result<(), Reply>,
}

/// One way of the mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetReport {
    /// Where it would go, by which rule: what intake would store with it.
    pub destination: Destination,
    /// What was found on the way to the route.
    pub trace: RouteTrace,
    /// The hosts, or why there are none.
    pub route: Result<Route, RouteError>,
    /// How TLS is used with them.
    pub tls: &'static str,
    /// How deliveries to the destination stand now.
    pub status: DestinationStatus,
}

/// How deliveries to a destination stand. Moments are seconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DestinationStatus {
    /// An operator lets nothing go there.
    pub paused: bool,
    /// Until when it is left alone because it could not be reached; `None` when it is not.
    pub suspended_until: Option<u32>,
    /// Since when no attempt reached it; `None` when the last one did, or there was none.
    pub unreachable_since: Option<u32>,
    /// Messages that wait for it, those being tried included.
    pub messages: u64,
    /// Connections open or being opened.
    pub couriers: u32,
    /// The most of them that are allowed now; fewer than [`DestinationStatus::limit`] while the
    /// destination allows no more, or has still to show that it takes more.
    pub window: u32,
    /// The most that are ever allowed.
    pub limit: u32,
    /// What the last failed attempt said; hostile text, empty when none failed.
    pub last_error: String,
}

/// Who answers route tests.
pub trait RouteTest: Send + Sync {
    /// Asks what a real mail would ask, and changes nothing.
    fn test(&self, question: RouteQuestion) -> Answer<'_, RouteReport>;
}

//! What was found while a route was determined, to explain why mail is sent where it is sent.

use std::net::SocketAddr;

/// The steps of one lookup. What it does not hold was not asked, or not answered in time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RouteTrace {
    /// How the hosts were found.
    pub lookup: Option<HostLookup>,
    /// All hosts that were found, best first, with the use of each.
    pub hosts: Vec<TracedHost>,
}

/// How the hosts of a destination were found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostLookup {
    /// The destination is an address: nothing was looked up.
    Address,
    /// An operator named this very host, `[host]`: no MX records were asked for.
    Exact,
    /// A name without a dot is a host of the local network: no MX records were asked for.
    LocalName,
    /// So many MX records (RFC 5321 §5.1).
    Mx(usize),
    /// No MX records: the name is its own mail host (RFC 5321 §5.1).
    NoMx,
    /// A null MX record (RFC 7505): the domain takes no mail.
    NullMx,
}

impl HostLookup {
    /// The name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Exact => "exact",
            Self::LocalName => "local_name",
            Self::Mx(_) => "mx",
            Self::NoMx => "no_mx",
            Self::NullMx => "null_mx",
        }
    }
}

/// A host that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TracedHost {
    /// The preference of its MX record; `None` for a host without one.
    pub preference: Option<u16>,
    /// Its name, or its address in text; untrusted.
    pub host: String,
    /// Those that mail could be sent to, in the order in which they are tried.
    pub addresses: Vec<SocketAddr>,
    /// How it is used.
    pub used: HostUse,
}

/// How a host is used in the route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostUse {
    /// It is a part of the route.
    Used,
    /// It is this host itself.
    ThisHost,
    /// Its preference is no better than that of this host (RFC 5321 §5.1).
    NotPreferred,
    /// The domain name system has no address of it.
    NoAddress,
    /// It has no address that mail could be sent to.
    Unusable,
    /// It is an address in text, or nothing at all, and no name (RFC 5321 §5.1).
    NotAName,
    /// No name server gave an answer; the resolver's error.
    Unanswered(String),
    /// It has not been answered yet.
    Pending,
    /// The route is long enough without it.
    OverLimit,
}

impl HostUse {
    /// The name in the API.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Used => "used",
            Self::ThisHost => "this_host",
            Self::NotPreferred => "not_preferred",
            Self::NoAddress => "no_address",
            Self::Unusable => "unusable",
            Self::NotAName => "not_a_name",
            Self::Unanswered(_) => "unanswered",
            Self::Pending => "pending",
            Self::OverLimit => "over_limit",
        }
    }
}

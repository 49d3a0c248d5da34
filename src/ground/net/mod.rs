//! The common base of all network listeners, whatever their protocol: listening sockets, the peer's
//! class, slots for sessions, byte streams with time limits, TLS handshakes.
//!
//! [`bind`] opens a socket, [`accept_loop`] accepts its connections, [`TlsAcceptor`] does their TLS
//! handshakes, and [`client_prefix`] gives the address by which clients are counted: all listeners
//! use these. Where a session is a dialogue of commands, as in SMTP, [`serve`] also gives each
//! connection a slot (a [`SessionSlot`]) and a [`Wire`], which has limits of time and memory, and
//! reads into a buffer of at most [`Wire::INPUT_MAX`]. HTTP has slots and time limits of its own.
//! Limits: [`ConnectionLimits`] where [`serve`] is used. Security: untrusted clients cannot take
//! the slots of trusted ones. Nothing is parsed here but the PROXY header of listed proxies.

mod accept;
mod bind;
mod handshake;
mod limits;
mod log_rate_limit;
mod peer;
mod prefix;
mod proxied;
mod proxy_header;
mod serve;
mod sessions;
mod source_address;
mod stream;
mod wire;

pub use accept::{Service, accept_loop, report_panic};
pub use bind::bind;
pub use handshake::{HandshakeError, TlsAcceptor};
pub use limits::{ConnectionLimits, WIDE_MAX};
pub use log_rate_limit::LogRateLimit;
pub use peer::{Peer, PeerClass};
pub use prefix::client_prefix;
pub use proxied::{PROXY_HEADER_TIME, PROXY_HEADERS_MAX};
pub use proxy_header::{
    BINARY_MAX, LINE_MAX, ProxyHeader, ProxyHeaderError, ProxyHeaderParser, SIGNATURE,
};
pub use serve::{Listener, Refused, ServerProtocol, serve};
pub use sessions::{Milestone, NoSlot, SessionPermit, SessionSlot};
pub use source_address::source_address;
pub use stream::{Stream, TlsParameters};
pub use wire::{Wire, WireError};

//! The common base of all network listeners, whatever their protocol: listening sockets, the peer's
//! class, slots for sessions, byte streams with time limits, TLS handshakes.
//!
//! [`bind`] opens a socket and [`accept_loop`] accepts its connections; HTTP uses only these. Where
//! a session is a dialogue, [`serve`] gives each connection a slot in a table of [`Sessions`] and a
//! [`Wire`], which has limits of time and memory. Limits: [`ConnectionLimits`]. Security: untrusted
//! clients cannot take the slots of trusted ones. Input is only read into a buffer of
//! [`Wire::INPUT_MAX`]; the protocol's code parses it.

mod accept;
mod bind;
mod handshake;
mod limits;
mod log_rate_limit;
mod peer;
mod prefix;
mod serve;
mod sessions;
mod source_address;
mod stream;
mod wire;

pub use accept::{Service, accept_loop, report_panic};
pub use bind::bind;
pub use handshake::{HandshakeError, TlsAcceptor};
pub use limits::{ConnectionLimits, WIDE_MAX};
pub use log_rate_limit::Rarely;
pub use peer::{Peer, PeerClass};
pub use prefix::client_prefix;
pub use serve::{Listener, Refused, ServerProtocol, serve};
pub use sessions::{Full, Milestone, SessionSlot};
pub use source_address::source_address;
pub use stream::{Stream, TlsParameters};
pub use wire::{Wire, WireError};

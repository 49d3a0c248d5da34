//! What all that listens on a network stands on, whatever it speaks: listening sockets, who is at
//! the other end, places for sessions, byte streams with time limits, handshakes of TLS.
//!
//! [`bind`] opens a socket and [`accept_loop`] takes its connections; HTTP goes on from there.
//! Where a session is a dialogue, [`serve`] gives each connection a place in a table of
//! [`Sessions`] and a [`Wire`], which can neither hang nor grow.
//! Limits: [`ConnectionLimits`].
//! Security: strangers can fill their own places and never those of trusted clients. Nothing is
//! read here but into a buffer of [`Wire::INPUT_MAX`]; what the octets mean is the business of
//! whoever speaks.

mod accept;
mod bind;
mod handshake;
mod limits;
mod peer;
mod prefix;
mod rarely;
mod serve;
mod sessions;
mod stream;
mod wire;

pub use accept::{Accept, Service, accept_loop};
pub use bind::bind;
pub use handshake::{HandshakeError, TlsAcceptor};
pub use limits::{ConnectionLimits, WIDE_MAX};
pub use peer::{Peer, Source};
pub use prefix::client_prefix;
pub use rarely::Rarely;
pub use serve::{Listener, Protocol, Refused, serve};
pub use sessions::{Full, Milestone, SessionSlot, Sessions};
pub use stream::{Stream, TlsParameters};
pub use wire::{Wire, WireError};

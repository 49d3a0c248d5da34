//! Terminal `in`: listeners, limits, timeouts, TLS; a byte stream with a peer.
//!
//! Purpose: strangers' connections become [`Wire`]s that can neither hang nor grow. In: listening
//! sockets and a signal to stop. Out: one task a session, running what the corridor gives.
//! Limits: [`Limits`]; a connection over the limits is answered 421 and closed at once and costs no
//! task. Who gets a place: [`Sessions`]. What clients did lately: [`Conduct`].
//! Security: a session's panic ends that session and is counted. Nothing is read here but into a
//! buffer of [`Wire::INPUT_MAX`]; what the octets mean is the business of the next room.
//! Source: RFC 5321 §3.8 (421), §4.5.3.2 (timeouts); RFC 3207 (STARTTLS), RFC 8314 §3 (implicit
//! TLS).

mod conduct;
pub mod counters;
mod handshake;
mod limits;
mod listen;
mod peer;
mod rarely;
mod sessions;
mod stream;
mod wire;

pub use conduct::{Conduct, Noted, Summary};
pub use handshake::Tls;
pub use limits::{Limits, WIDE_MAX};
pub use listen::{Listener, Porter, Stop, bind, draining, serve};
pub use peer::{Peer, Source};
pub use sessions::{Full, Progress, Sessions, Ticket, Visit};
pub use stream::Stream;
pub use wire::{Wire, WireError};

//! Terminal `in`: what is of SMTP in taking connections; a byte stream with a peer.
//!
//! Purpose: strangers' connections become [`Wire`]s that can neither hang nor grow. In: listening
//! sockets and a signal to stop. Out: one task a session, running what the corridor gives.
//! Limits: [`Limits`]; a connection over the limits is answered 421 and closed at once and costs no
//! task. Who gets a place: `Sessions` in `ground/net`, on which all of this stands. What clients
//! did lately: [`Conduct`].
//! Security: a session's panic ends that session and is counted. Nothing is read here but into a
//! buffer of [`Wire::INPUT_MAX`]; what the octets mean is the business of the next room.
//! Source: RFC 5321 §3.8 (421), §4.5.3.2 (timeouts); RFC 3207 (STARTTLS), RFC 8314 §3 (implicit
//! TLS).

mod conduct;
pub mod counters;
mod limits;
mod listen;
mod stage;
mod tls;

#[cfg(doc)]
use crate::ground::net::Wire;
pub use conduct::{Conduct, Noted, Summary};
pub use limits::Limits;
pub use listen::{ClientClassifier, SmtpListener, serve};
pub use stage::SmtpStage;
pub use tls::Tls;

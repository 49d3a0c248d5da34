//! Terminal `in`, the SMTP part of accepting connections: gives a byte stream with a peer.
//!
//! Purpose: gives the connections of SMTP clients, trusted or not, to `ground/net`, which makes
//! [`Wire`]s of them with limits of time and memory. In: listening sockets and a signal to stop.
//! Out: one task for each session, which runs the given function. Limits: [`Limits`]; a connection
//! over the limits is answered 421 and closed at once and costs no task. `ground/net/sessions.rs`
//! decides who gets a slot. The recent errors of clients: [`Conduct`]. Security: a panic ends only
//! its session and is counted. Input is only read into the buffer of the [`Wire`]; the next room
//! parses it. Source: RFC 5321 §3.8 (421), §4.5.3.2 (timeouts); RFC 3207 (STARTTLS), RFC 8314 §3
//! (implicit TLS).

mod client_error_rate;
pub mod counters;
mod limits;
mod listen;
mod stage;
mod tls;

#[cfg(doc)]
use crate::ground::net::Wire;
pub use client_error_rate::{Conduct, Noted, Summary};
pub use limits::Limits;
pub use listen::{ClientClassifier, SmtpListener, no_slot, serve};
pub use stage::SmtpStage;
pub use tls::SmtpTls;

//! Mail: from acceptance to delivery.
//!
//! A mail passes the modules ("rooms") in this order: [`accept`] gives a byte stream with a peer,
//! [`parse`] turns octets into commands and content, [`admit`] decides whether the client may send
//! to a recipient, [`spool`] makes the mail durable, [`schedule`] decides when it is attempted,
//! [`route`] finds the hosts, [`sign`] makes its DKIM signatures, [`deliver`] sends it, [`bounce`]
//! notifies the sender of a failure,
//! [`history`] keeps the results for a while. [`model`] has the common types.
//!
//! No room imports another. The other modules here (the "corridor") connect them: [`inbound`] runs
//! the sessions, which pass their mail to the [`intake`] and so to the spool; [`outbound`] takes
//! messages from the schedule to their outcomes; [`admin`] serves pages, API and tool, and imports
//! mail of another queue; [`route_test`] shows where a message would be sent, [`upstream_test`]
//! whether an upstream would take it; [`dkim_keys`] keeps the keys for signatures. Only a bounce
//! goes the other way: a draft that enters the spool.

pub mod accept;
pub mod admin;
pub mod admit;
pub mod authentication;
mod author_fields;
pub mod bounce;
pub mod deliver;
pub mod device;
pub mod dkim_keys;
mod dkim_records;
mod dkim_volume;
pub mod events;
pub mod history;
mod hold;
pub mod inbound;
mod incoming_message;
pub mod intake;
pub mod model;
pub mod outbound;
pub mod parse;
mod received;
mod resend;
pub mod rewrite;
pub mod route;
pub mod route_test;
pub mod schedule;
pub mod session;
pub mod sessions;
pub mod sign;
pub mod spool;
mod submit;
mod transfer;
pub mod upstream;
pub mod upstream_test;

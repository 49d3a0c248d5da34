//! The walk of a mail, and the corridor that joins its rooms.
//!
//! A mail passes the rooms in this order: [`accept`] gives a byte stream with a peer, [`parse`]
//! turns bytes into commands and content, [`admit`] says who may send what to whom, [`spool`] makes
//! it durable, [`schedule`] says when, [`route`] where, [`deliver`] hands it on, [`bounce`] words a
//! failure for the sender, [`history`] remembers
//! for a while what became of it. [`model`] holds the nouns.
//!
//! No room imports another. This corridor joins them with owned values: [`inbound`] walks sessions
//! from accept to the [`intake`], which hands their mail to the spool, [`outbound`] walks a message
//! from schedule to its outcomes, [`admin`] answers pages, API and tool, and takes mail of another
//! queue in. The one way back is a bounce:
//! a draft that re-enters the spool.

pub mod accept;
pub mod admin;
pub mod admit;
pub mod bounce;
pub mod deliver;
pub mod events;
pub mod history;
pub mod inbound;
pub mod intake;
pub mod model;
pub mod outbound;
pub mod parse;
pub mod rewrite;
pub mod route;
pub mod schedule;
pub mod session;
pub mod sessions;
pub mod spool;
mod submit;
mod trace;
mod transfer;

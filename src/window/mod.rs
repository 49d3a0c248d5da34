//! What people and monitors see of the appliance; and operators do about it.
//!
//! [`server`] listens and holds the limits, `routes` says which path leads where, [`ui`] makes the page for people, [`api`] the
//! answers for programs, [`metrics`] the numbers for monitors, [`push`] carries them to terminal `mon`, [`cli`] is the
//! operator's tool at the other end of the control socket, [`hooks`] tells other programs, [`pair`] the shape of a mail outside of any queue.

pub mod access;
mod alerts;
mod answer;
pub mod api;
mod base64;
mod brake;
mod carry;
pub mod cli;
mod client;
mod forwarded;
pub mod hooks;
pub mod hosts;
mod login;
pub mod maillog;
pub mod metrics;
mod next;
mod origin;
pub mod pair;
pub mod parts;
mod peer;
pub mod places;
pub mod pulse;
pub mod push;
pub mod repeats;
mod rights;
mod routes;
mod searches;
mod secure;
pub mod server;
pub mod space;
pub mod token;
pub mod ui;
mod veil;
pub mod vitals;
mod words;

pub use login::Login;

//! The HTTP server of the box: listeners, limits, who may ask for what, and the table of routes.
//!
//! [`server`] listens at `ui_port` and the control socket and holds the limits, [`places`] shares
//! out the connections, [`router`] finds who answers in the table of [`route`], [`access`] and
//! [`rights`] who may go there, [`hosts`] and [`origin`] from which page. [`state`] is what the
//! server remembers. Its handlers stand in [`crate::api`] and [`crate::ui`].

pub mod access;
pub(crate) mod answer;
pub mod counters;
mod forwarded;
pub mod hosts;
pub mod idempotency;
pub(crate) mod login;
mod origin;
mod peer;
pub mod places;
pub(crate) mod rights;
pub mod route;
pub(crate) mod router;
mod searches;
pub mod server;
pub mod state;
mod tls;
pub mod token;
pub(crate) mod visit;

pub use login::Login;

//! The HTTP server: listeners, limits, access control, and the table of routes.
//!
//! [`server`] listens at `ui_port` and the control socket and applies the limits, [`places`]
//! divides the connections, [`router`] finds the handler in the table of [`route`], [`access`] and
//! [`rights`] check the client, [`hosts`] and [`origin`] check the page from which a request comes.
//! [`state`] is the server's state. The handlers are in [`crate::api`] and [`crate::ui`].

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

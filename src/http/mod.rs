//! The HTTP server: listeners, limits, access control, and the table of routes.
//!
//! [`server`] listens at `ui_port` and the control socket and applies the limits,
//! [`request_limits`] divides the connections, [`router`] finds the handler in the table of
//! [`route`], [`access`] and [`rights`] check the client, [`allowed_hosts`] and [`origin`] check
//! the page from which a request comes. [`state`] is the server's state. The handlers are in
//! [`crate::api`] and [`crate::ui`].

pub mod access;
pub mod allowed_hosts;
pub mod counters;
mod forwarded;
pub mod idempotency;
pub(crate) mod login;
mod origin;
mod peer_watch;
pub(crate) mod request;
pub mod request_limits;
pub(crate) mod response;
pub(crate) mod rights;
pub mod route;
pub(crate) mod router;
pub(crate) mod searches;
pub mod server;
pub mod state;
mod tls;
pub mod token;

pub use login::Login;

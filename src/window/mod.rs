//! What people and monitors see of the appliance; read-only towards mail, except through the control socket.

pub mod api;
pub mod metrics;
pub mod push;
pub mod server;
pub mod ui;

//! The common base of all modules; knows neither mail nor the appliance.

pub mod clock;
pub mod control_group;
pub mod credential;
pub mod disk;
pub mod dns;
pub mod endpoint;
pub mod folder;
pub mod gateway;
pub mod host;
pub mod http;
pub mod lock;
#[cfg(test)]
mod lock_tests;
pub mod locked;
pub mod log;
pub mod memory;
pub mod net;
pub mod not_ready;
pub mod pace;
pub mod public;
pub mod routes;
pub mod steady;
pub mod stop;
pub mod sync;
pub mod sys;
pub mod text;
pub mod threads;
pub mod tls;
pub mod turns;
pub mod web_address;
pub mod words;
pub mod worker;

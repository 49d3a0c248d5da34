//! The common base of all modules; knows neither mail nor the appliance.

pub mod clock;
pub mod control_group;
pub mod credential;
pub mod disk;
pub mod display_text;
pub mod dns;
pub mod endpoint;
pub mod fair_queue;
pub mod file_lock;
pub mod folder;
pub mod gateway;
pub mod host;
pub mod http;
pub mod lock;
#[cfg(test)]
mod lock_tests;
pub mod log;
pub mod memory;
pub mod monotonic_clock;
pub mod net;
pub mod not_ready;
pub mod public_address;
pub mod rate_limit;
pub mod routes;
pub mod stop;
pub mod sync;
pub mod sys;
pub mod text;
pub mod threads;
pub mod tls;
pub mod token_bucket;
pub mod web_address;
pub mod worker;

//! The relay's health for monitors and people: counters in Prometheus' forms, pushes to terminal
//! `mon`, rates over time, alerts, and the condition of terminals and volumes.

pub(crate) mod ages;
pub(crate) mod alerts;
pub mod components;
pub mod counters;
pub mod disk_alerts;
pub mod gauges;
pub(crate) mod probe;
pub mod push;
pub mod rates;
pub mod state;
pub mod watchdog;

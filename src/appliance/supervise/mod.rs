//! The parts of the supervisor: the core's identity, and how it is started, watched, confined and
//! stopped.
//!
//! Purpose: `postern init` has the few privileges and keeps one core running; all parts are
//! synchronous. In: settings, signals, the core's status lines ([`status`]). Out: a running core, a
//! readiness file, events, an exit code. Limits: one core; restarts wait from 1 s to 60 s
//! ([`backoff`]); a stop lasts `drain_time` and 15 s at most ([`core_supervisor`]). Security: the
//! core gets its own uid, no capability but binding low ports, `no_new_privs`, and confines itself
//! with Landlock ([`confine`]); its properties are sent over its standard input.

mod alerts_query;
pub mod backoff;
pub mod carrier_supervisor;
pub mod child;
pub mod confine;
pub mod core_supervisor;
pub mod file_watch;
mod hang_report;
pub mod health;
pub mod identity;
pub mod orders;
pub mod rundir;
pub mod signals;
pub mod status;
pub mod upstream_files;
pub mod users_file;
pub mod watchdog;
pub mod worker_process;

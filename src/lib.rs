//! Postern, a mail relay appliance: the modules.
//!
//! * [`appliance`]: the sealed box and its words (properties, terminals, volumes, counters, the
//!   supervisor). Knows nothing of mail.
//! * [`ground`]: what every room stands on (system calls, clock, disk, DNS, TLS, log). Knows
//!   neither mail nor appliance.
//! * [`mail`]: the walk of a mail, room by room: accept, parse, admit, spool, schedule, route,
//!   deliver, bounce.
//! * [`http`], [`api`], [`ui`]: the server at `ui_port` and the control socket, its JSON API, its
//!   pages. [`monitor`]: counters, rates, alerts. [`webhooks`]: events for other programs.
//!   [`maillog`]: Postfix's lines on terminal `log`. [`cli`]: the operator's tool. [`export`]: the
//!   shape of a mail outside of any queue.
//! * [`init`] is the supervisor (`postern init`), [`core`] the relay under it (`postern core`),
//!   [`sink`] a destination for trials, [`demo`] both with a little mail to look at, [`volumes`]
//!   brings data volumes without a relay before the operator's tool.
//!
//! ARCHITECTURE.md tells the walk of one mail and who may import whom; `tests/architecture` holds
//! the code to it.

pub mod api;
pub mod appliance;
pub mod carrier;
pub mod cli;
pub mod core;
pub mod demo;
pub mod export;
pub mod ground;
pub mod http;
pub mod init;
pub mod mail;
pub mod maillog;
pub mod monitor;
pub mod sink;
pub mod ui;
pub mod volumes;
pub mod webhooks;

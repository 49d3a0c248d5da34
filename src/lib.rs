//! Postern, a mail relay appliance: the modules.
//!
//! * [`appliance`]: the parts of an appliance (properties, terminals, volumes, counters, the
//!   supervisor). Contains nothing about mail.
//! * [`ground`]: the common base (system calls, clock, disk, DNS, TLS, log). Contains nothing about
//!   mail or the appliance.
//! * [`mail`]: the modules of a mail in their order: accept, parse, admit, spool, schedule, route,
//!   deliver, bounce.
//! * [`http`], [`api`], [`ui`]: the server at `ui_port` and the control socket, its JSON API, its
//!   pages. [`monitor`]: counters, rates, alerts. [`webhooks`]: events for other programs.
//!   [`oauth`]: access tokens for upstreams. [`maillog`]: log lines in Postfix's format on terminal
//!   `log`. [`cli`]: the operator's tool. [`export`]: the format of an exported mail.
//! * [`init`] is the supervisor (`postern init`), [`core`] the relay under it (`postern core`),
//!   [`sink`] a destination for tests, [`demo`] both with a few mails, [`volumes`] opens data
//!   volumes without a relay for the operator's tool.
//!
//! ARCHITECTURE.md describes the path of a mail and the permitted imports; `tests/architecture`
//! checks them.

pub mod api;
pub mod appliance;
pub mod carrier_process;
pub mod cli;
pub mod core;
pub mod demo;
pub mod directory;
pub mod export;
pub mod ground;
pub mod http;
pub mod init;
pub mod mail;
pub mod maillog;
pub mod monitor;
pub mod oauth;
pub mod sink;
pub mod ui;
pub mod volumes;
pub mod webhooks;

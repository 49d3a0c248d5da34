//! Postern, a mail relay appliance: the plan of the house.
//!
//! * [`appliance`]: the sealed box and its words (properties, terminals, volumes, counters, the supervisor). Knows
//!   nothing of mail.
//! * [`ground`]: what every room stands on (system calls, clock, disk, DNS, TLS, log). Knows neither mail nor appliance.
//! * [`mail`]: the walk of a mail, room by room: accept, parse, admit, spool, schedule, route, deliver, bounce.
//! * [`window`]: what people and monitors see.
//! * [`init`] is the supervisor (`postern init`), [`core`] the relay under it (`postern core`), [`sink`] a destination
//!   for trials, [`volumes`] brings data volumes without a relay before the operator's tool.
//!
//! ARCHITECTURE.md tells the walk of one mail and who may import whom; `tests/architecture` holds the code to it.

pub mod appliance;
pub mod carrier;
pub mod core;
pub mod ground;
pub mod init;
pub mod mail;
pub mod sink;
pub mod volumes;
pub mod window;

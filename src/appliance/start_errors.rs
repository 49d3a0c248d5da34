//! The error lines of a failed start, literally as in the contract: operators' scripts search for
//! them.
//!
//! In: nothing. Out: one constant for each. Their meaning, what to do and the exit codes are in
//! `appliance/mta.toml`, and a test compares both. `ui_port`'s line is made of the property's name
//! and its complaint. Source: the founding document, "Error Messages".

/// The key volume is configured and cannot be used.
pub const KEY_VOLUME: &str = "Error: failed to mount key volume.";
/// Logs are on, and the share cannot be mounted.
pub const LOG_SHARE: &str = "Error: failed to mount log share.";
/// Logs are on, and there is no share.
pub const LOG_UNCONNECTED: &str =
    "Error: logs are enabled but the 'log' terminal is not connected.";
/// The preparation failed for a reason without a line of its own.
pub const PRECONFIGURE: &str = "Error: failed to preconfigure the MTA";
/// The core did not start.
pub const START: &str = "Error: failed to start the MTA server. Please see the \
/var/log/appliance/log log file in MTA for more details on the failure";
/// The HTTP server did not start.
pub const UI: &str = "Error: failed to initialize the UI backend";
/// A key or certificate is missing or unusable.
pub const NO_KEYS: &str = "Error: couldn't find ssl keys on the key volume!";
/// TLS is on, and no source of the keys is configured.
pub const KEYS_UNDEFINED: &str = "Error: ssl_disabled=no, but ssl key files are not defined!";
/// Two sources of the keys are configured.
pub const TWO_PLACES: &str =
    "Error: both the key volume and the 'fs' terminal are connected; use one of them.";
/// The export cannot be mounted.
pub const EXPORT: &str = "Error: failed to mount the 'fs' terminal.";
/// The data volume is missing or cannot be written.
pub const DATA_VOLUME: &str = "Error: failed to mount data volume.";
/// The mail log would be outside of the share.
pub const OUTSIDE_SHARE: &str = "Error: maillog_filename must stay inside the log share";
/// A file of an upstream is missing or unusable.
pub const UPSTREAM_FILES: &str = "Error: a file of smart_relay or of an upstream cannot be used";

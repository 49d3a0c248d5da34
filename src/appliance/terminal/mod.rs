//! Terminals: the named network doors, and whether something is wired to them.
//!
//! A terminal that is not set, whose name does not resolve, or whose name resolves to [`NOWHERE`] is not connected: so it was
//! in AppLogic, and so a grid can be described before all its boxes exist. Terminal `mon` is the exception: a monitor that
//! starts later must be found, so an unknown name counts as connected and the pushes try again.
//! In: settings. Out: settings with unconnected terminals taken out, or failures.
//! Limits: this version serves `in`, `mon` and `net` ([`gateway`]); asking for another one stops the start ([`not_served`])
//! instead of being ignored.

pub mod gateway;

use crate::appliance::failure::{Exit, Failure};
use crate::appliance::property::Settings;
use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs};

/// The address that AppLogic gives to a terminal without a wire.
pub const NOWHERE: Ipv4Addr = Ipv4Addr::new(0, 255, 255, 255);

/// Takes terminals out of the settings that are set but not connected, and tells which.
///
/// # Errors
/// Logs are on and terminal `log` is not connected.
pub fn connect(settings: &mut Settings) -> Result<Vec<String>, Failure> {
    let mut notes = Vec::new();
    let mut take_out = |name: &str, terminal: &mut Option<String>, host: Option<String>, unknown_is_connected: bool| {
        if let Some(host) = host
            && let Some(why) = unconnected(&host, unknown_is_connected)
        {
            notes.push(format!("terminal {name} is not connected: {why}"));
            *terminal = None;
        }
    };
    let log_host = settings.terminal_log.as_deref().and_then(share_host);
    let fs_host = settings.terminal_fs.as_deref().and_then(export_host);
    let mon_host = settings.terminal_mon.as_deref().and_then(url_host);
    take_out("log", &mut settings.terminal_log, log_host, false);
    take_out("fs", &mut settings.terminal_fs, fs_host, false);
    take_out("mon", &mut settings.terminal_mon, mon_host, true);
    if settings.logs_enabled && settings.terminal_log.is_none() {
        return Err(Failure::new(
            Exit::Unavailable,
            "Error: logs are enabled but the 'log' terminal is not connected.",
            notes.join("; "),
        ));
    }
    Ok(notes)
}

/// What the settings ask for and this version does not have, as the failures that stop the start.
pub fn not_served(settings: &Settings) -> Vec<Failure> {
    let mut failures = Vec::new();
    let mut refuse = |failure: Failure| failures.push(failure);
    if settings.logs_enabled && settings.terminal_log.is_some() {
        refuse(Failure::new(
            Exit::Unavailable,
            "Error: failed to mount log share.",
            "this version does not write to log shares yet; set logs_enabled=no, the log goes to standard error",
        ));
    }
    if settings.terminal_fs.is_some() {
        refuse(Failure::new(
            Exit::Unavailable,
            "Error: failed to mount the 'fs' terminal.",
            "this version does not mount exports yet; unset terminal_fs",
        ));
    }
    failures
}

/// Why a host counts as not connected, if it does.
fn unconnected(host: &str, unknown_is_connected: bool) -> Option<String> {
    match (host, 0_u16).to_socket_addrs() {
        Ok(mut addresses) => {
            addresses.any(|address| address.ip() == IpAddr::V4(NOWHERE)).then(|| format!("{host} is {NOWHERE}"))
        }
        Err(_) if unknown_is_connected => None,
        Err(error) => Some(format!("{host} does not resolve ({error})")),
    }
}

/// `//server[:port]/share[/path]` or `server`; a path of this machine has no host.
fn share_host(text: &str) -> Option<String> {
    match text.strip_prefix("//") {
        Some(rest) => rest.split('/').next().map(without_port),
        None if text.starts_with('/') => None,
        None => Some(without_port(text)),
    }
}

/// `server[:port]:/export`; a path of this machine has no host.
fn export_host(text: &str) -> Option<String> {
    if text.starts_with('/') {
        return None;
    }
    text.split(":/").next().map(without_port)
}

fn url_host(text: &str) -> Option<String> {
    text.strip_prefix("http://").and_then(|rest| rest.split('/').next()).map(without_port)
}

fn without_port(text: &str) -> String {
    match text.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest).to_owned(),
        None => text.split(':').next().unwrap_or(text).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::appliance::property::{Machine, read};
    use std::ffi::OsString;

    fn settings(vars: &[(&str, &str)]) -> Settings {
        let vars = vars.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let machine = Machine { uid: 1, key_volume: false, writable_run: true, runtime_dir: None };
        read(vars, &machine).unwrap().settings
    }

    #[test]
    fn hosts_are_found_in_every_form() {
        assert_eq!(share_host("//nas:445/share/logs").as_deref(), Some("nas"));
        assert_eq!(share_host("nas").as_deref(), Some("nas"));
        assert_eq!(share_host("/mnt/logs"), None);
        assert_eq!(export_host("nas:/keys").as_deref(), Some("nas"));
        assert_eq!(export_host("[2001:db8::1]:2049:/keys").as_deref(), Some("2001:db8::1"));
        assert_eq!(url_host("http://mon:9091/x").as_deref(), Some("mon"));
    }

    #[test]
    fn nowhere_is_not_connected() {
        let mut settings =
            settings(&[("MTA_TERMINAL_MON", "http://0.255.255.255:9091"), ("MTA_TERMINAL_LOG", "0.255.255.255")]);
        let notes = connect(&mut settings).unwrap();
        assert_eq!(notes.len(), 2, "{notes:?}");
        assert_eq!((settings.terminal_mon, settings.terminal_log), (None, None));
    }

    #[test]
    fn a_monitor_may_come_later_but_logs_may_not() {
        let mut settings = settings(&[
            ("MTA_TERMINAL_MON", "http://nobody.invalid:9091"),
            ("MTA_TERMINAL_LOG", "//nobody.invalid/share"),
            ("MTA_LOGS_ENABLED", "yes"),
        ]);
        let failure = connect(&mut settings).unwrap_err();
        assert_eq!(failure.line, "Error: logs are enabled but the 'log' terminal is not connected.");
        assert!(failure.cause.contains("nobody.invalid"), "{failure}");
        assert_eq!(failure.exit, Exit::Unavailable);
        assert!(settings.terminal_mon.is_some());
    }

    #[test]
    fn what_is_not_served_is_said() {
        assert!(not_served(&settings(&[])).is_empty());
        let asked =
            settings(&[("MTA_TERMINAL_LOG", "/mnt/logs"), ("MTA_LOGS_ENABLED", "yes"), ("MTA_TERMINAL_FS", "/mnt/keys")]);
        assert_eq!(not_served(&asked).len(), 2);
    }
}

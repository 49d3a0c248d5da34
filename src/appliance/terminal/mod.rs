//! Terminals: the named network connections, and whether they are connected.
//!
//! A terminal that is not set, whose name does not resolve, or whose name resolves to [`NOWHERE`]
//! is not connected: as in AppLogic, so that a grid can be described before all its machines exist.
//! Terminal `mon` is the exception: a monitor may start later, so an unknown name counts as
//! connected and the pushes try again. In: settings. Out: settings without unconnected terminals,
//! or failures. Limits: those of the modules below: [`gateway`] (terminal `net`), [`log`] and
//! [`fs`], [`port_check`] (terminal `in`), [`next_hop_check`]. The order: [`gateway::connect`],
//! since servers may be behind it; [`connect`]; then [`log`] and [`fs`] mount the two file servers.

mod export;
pub mod gateway;
pub mod host_lookup;
mod mounted;
pub mod next_hop_check;
pub mod port_check;
mod remote_directory;
mod share;

pub use export::export_text;
pub use mounted::{fs, log};
pub use share::share_text;

use crate::appliance::failure::{Exit, Failure};
use crate::appliance::mount::Mounter;
use crate::appliance::property::Settings;
use crate::appliance::start_errors;
use crate::ground::host::{Host, HostSpec};
use export::ExportLocation;
use host_lookup::ResolvedHosts;
use share::ShareLocation;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// The address that AppLogic gives to a terminal that is not connected.
pub const NOWHERE: Ipv4Addr = Ipv4Addr::new(0, 255, 255, 255);

/// Time limit to look up the names of all terminals.
const LOOKUP_PATIENCE: Duration = Duration::from_secs(30);

/// Removes terminals from the settings that are set but not connected, and tells which.
///
/// # Errors
/// Logs are on and terminal `log` is not connected.
pub fn connect(settings: &mut Settings, mounter: &Mounter<'_>) -> Result<Vec<String>, Failure> {
    let names = ResolvedHosts::look_up(hosts(settings), LOOKUP_PATIENCE, mounter);
    connect_known(settings, &names)
}

/// The hosts of terminals `log`, `fs` and `mon`.
pub fn hosts(settings: &Settings) -> Vec<String> {
    hosts_of(settings).into_iter().flatten().collect()
}

/// [`connect`], with names that were looked up before.
///
/// # Errors
/// Its own.
pub fn connect_known(
    settings: &mut Settings,
    names: &ResolvedHosts,
) -> Result<Vec<String>, Failure> {
    let unknown_is_connected = [false, false, true];
    let hosts = hosts_of(settings);
    let whys = hosts
        .iter()
        .zip(unknown_is_connected)
        .map(|(host, lenient)| unconnected(host.as_deref()?, lenient, names));
    let whys: Vec<_> = whys.collect();
    let terminals = [
        ("log", &mut settings.terminal_log),
        ("fs", &mut settings.terminal_fs),
        ("mon", &mut settings.terminal_mon),
    ];
    let mut notes = Vec::new();
    for ((name, terminal), why) in terminals.into_iter().zip(whys) {
        if let Some(why) = why {
            notes.push(format!("terminal {name} is not connected: {why}"));
            *terminal = None;
        }
    }
    if settings.logs_enabled && settings.terminal_log.is_none() {
        return Err(Failure::new(
            Exit::Unavailable,
            start_errors::LOG_UNCONNECTED,
            notes.join("; "),
        ));
    }
    Ok(notes)
}

/// Warnings that [`connect`] does not give: a monitor whose name does not resolve now, and names
/// for which a start would wait longer.
pub fn preflight(settings: &Settings, names: &ResolvedHosts) -> Vec<String> {
    let [log, fs, mon] = hosts_of(settings);
    let late = [("log", log), ("fs", fs)].into_iter().filter_map(|(name, host)| {
        let late = late(&host?, names)?;
        Some(format!("terminal {name}: {late}"))
    });
    let mon = mon.and_then(|host| {
        let why = names.of(&host)?.err()?;
        Some(format!("terminal mon: {why}; pushes begin when it does"))
    });
    late.chain(mon).collect()
}

/// The text about a host without an answer yet, if an answer matters.
fn late(host: &str, names: &ResolvedHosts) -> Option<String> {
    let why = names.of(host)?.err().filter(|_| names.is_unanswered(host))?;
    Some(format!("{why}; a start waits {} s for it", LOOKUP_PATIENCE.as_secs()))
}

fn hosts_of(settings: &Settings) -> [Option<String>; 3] {
    [
        settings.terminal_log.as_deref().and_then(share_host),
        settings.terminal_fs.as_deref().and_then(export_host),
        settings.terminal_mon.as_deref().and_then(url_host),
    ]
}

/// Why a host counts as not connected, if it does.
fn unconnected(host: &str, unknown_is_connected: bool, names: &ResolvedHosts) -> Option<String> {
    match names.of(host)? {
        Ok(addresses) => {
            let nowhere = addresses.iter().any(|address| address.ip() == IpAddr::V4(NOWHERE));
            nowhere.then(|| format!("{host} is {NOWHERE}"))
        }
        Err(_) if unknown_is_connected || names.is_unanswered(host) => None,
        Err(why) => Some(why.to_owned()),
    }
}

/// A path of this machine has no host.
fn share_host(text: &str) -> Option<String> {
    match ShareLocation::parse(text).ok()? {
        ShareLocation::Remote(remote) => Some(bare(&remote.server)),
        ShareLocation::Path(_) => None,
    }
}

/// A path of this machine has no host.
fn export_host(text: &str) -> Option<String> {
    match ExportLocation::parse(text).ok()? {
        ExportLocation::Remote(remote) => Some(bare(&remote.server)),
        ExportLocation::Path(_) => None,
    }
}

fn bare(server: &HostSpec) -> String {
    match &server.host {
        Host::Name(name) => name.clone(),
        Host::Address(address) => address.to_string(),
    }
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

    fn connected(settings: &mut Settings) -> Result<Vec<String>, Failure> {
        // A forked child of this process, which has many threads, would not be reliable.
        let names = ResolvedHosts::ask(&hosts(settings), LOOKUP_PATIENCE);
        connect_known(settings, &names)
    }

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
        let mut settings = settings(&[
            ("MTA_TERMINAL_MON", "http://0.255.255.255:9091"),
            ("MTA_TERMINAL_LOG", "0.255.255.255"),
        ]);
        let notes = connected(&mut settings).unwrap();
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
        let failure = connected(&mut settings).unwrap_err();
        assert_eq!(
            failure.line,
            "Error: logs are enabled but the 'log' terminal is not connected."
        );
        assert!(failure.cause.contains("nobody.invalid"), "{failure}");
        assert_eq!(failure.exit, Exit::Unavailable);
        assert!(settings.terminal_mon.is_some());
        let names = ResolvedHosts::ask(&hosts(&settings), LOOKUP_PATIENCE);
        let told = preflight(&settings, &names);
        assert!(
            told.len() == 1 && told[0].starts_with("terminal mon: nobody.invalid does not resolve"),
            "{told:?}"
        );
    }

    #[test]
    fn a_name_that_is_late_may_still_be_connected() {
        let mut settings = settings(&[
            ("MTA_TERMINAL_FS", "keys.invalid:/keys"),
            ("MTA_TERMINAL_LOG", "//nas.invalid/share"),
            ("MTA_LOGS_ENABLED", "yes"),
        ]);
        let names = ResolvedHosts::none_answered(&hosts(&settings), "no answer within 0 s");
        assert_eq!(connect_known(&mut settings, &names), Ok(Vec::new()));
        assert!(settings.terminal_log.is_some() && settings.terminal_fs.is_some());
        let told = preflight(&settings, &names);
        assert!(
            told[0]
                .starts_with("terminal log: nas.invalid does not resolve (no answer within 0 s)"),
            "{told:?}"
        );
        assert!(
            told[1].starts_with("terminal fs: ") && told[1].ends_with("a start waits 30 s for it"),
            "{told:?}"
        );
    }
}

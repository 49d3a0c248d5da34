//! `postern check`: every property, its effective value, its origin, and which clients may relay.

use super::environment::{LoadedProperties, load};
use super::relay_summary;
use crate::appliance::class::PREFIX;
use crate::appliance::failure::{Exit, exit_of};
use crate::appliance::preflight::preflight;
use crate::ground::gateway::default_gateways;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

/// Reads and validates every property of this process and reports. Exit 0, or 64 with every problem
/// on standard error (also for a proxy that is trusted and not listed, as far as the relay that
/// runs here has met one), or 1 when the start would fail for another reason that can be detected
/// now.
pub fn run() -> ExitCode {
    match load() {
        Ok(loaded) => {
            let (text, would_start) = report(&loaded);
            let written = std::io::stdout().write_all(text.as_bytes());
            let proxies = loaded.settings.unlisted_proxies();
            for proxy in &proxies {
                let _ = writeln!(
                    std::io::stderr(),
                    "Error: proxy_networks does not list {proxy}, which is a proxy (the running \
                    relay got a PROXY header from there) and trusted: all of its clients might \
                    relay. Add it to MTA_PROXY_NETWORKS, or take it out of \
                    MTA_SMTPD_TRUSTED_NETWORKS"
                );
            }
            match written {
                Ok(()) if !proxies.is_empty() => ExitCode::from(Exit::Property.code()),
                Ok(()) if would_start => ExitCode::SUCCESS,
                _ => ExitCode::FAILURE,
            }
        }
        Err(refused) => {
            let mut stderr = std::io::stderr();
            for problem in &refused.problems {
                let _ = writeln!(stderr, "{problem}");
            }
            ExitCode::from(exit_of(&refused.problems).code())
        }
    }
}

/// The report, and whether nothing was found that would stop the start.
fn report(loaded: &LoadedProperties) -> (String, bool) {
    let mut text = table(loaded).into_iter().fold(String::new(), |text, line| text + &line + "\n");
    let words =
        relay_summary::who_may_relay(&loaded.settings.smtpd_trusted_networks, &default_gateways());
    let _ = write!(text, "\nWho may relay: {}\n", words.statement);
    if let Some(devices) = loaded.settings.devices() {
        let _ = writeln!(text, "{devices}");
    }
    let logins = relay_summary::who_may_log_in(&loaded.settings);
    let who = logins.as_ref().map_or("nobody; see smtp_users.", |words| &words.statement);
    let _ = writeln!(text, "Who may log in: {who}");
    if !loaded.settings.allowed_sender_domains.is_empty() {
        let domains = loaded.settings.allowed_sender_domains.join(", ");
        let _ = writeln!(text, "Who may be the sender: addresses in {domains}, and no others.");
    }
    for warning in logins.iter().flat_map(|words| &words.warnings) {
        let _ = writeln!(text, "WARNING: {warning}.");
    }
    for note in &loaded.notes {
        let _ = writeln!(text, "NOTE: {note}.");
    }
    for warning in words.warnings.iter().chain(&loaded.warnings) {
        let _ = writeln!(text, "WARNING: {warning}.");
    }
    let outlook = preflight(&loaded.settings);
    let places = outlook.places_of_strangers;
    if let Some(note) = relay_summary::gateway_share(
        &loaded.settings.smtpd_trusted_networks,
        &default_gateways(),
        places,
    ) {
        let _ = writeln!(text, "NOTE: {note}.");
    }
    for warning in outlook.warnings {
        let _ = writeln!(text, "WARNING: {warning}.");
    }
    for note in outlook.notes {
        let _ = writeln!(text, "NOTE: {note}.");
    }
    let would_start = outlook.failures.is_empty();
    for failure in outlook.failures {
        let _ = writeln!(
            text,
            "WARNING: `postern init` would stop here with: {} ({})",
            failure.line, failure.cause
        );
    }
    (text, would_start)
}

/// One line for each property in the order of the class: name, value (secrets masked), origin.
pub fn table(loaded: &LoadedProperties) -> Vec<String> {
    let shown = loaded.settings.shown();
    let rows: Vec<_> = shown
        .iter()
        .map(|property| {
            let value = if property.value.is_empty() { "(empty)" } else { &property.value };
            (property.name.as_str(), value, property.origin())
        })
        .collect();
    let names = rows.iter().map(|(name, _, _)| name.len()).max().unwrap_or_default();
    let values = rows
        .iter()
        .map(|(_, value, _)| value.chars().count())
        .filter(|width| *width <= 40)
        .max()
        .unwrap_or_default();
    let lines = rows
        .iter()
        .map(|(name, value, source)| format!("{name:names$}  {value:values$}  {source}"));
    std::iter::once(format!(
        "{:names$}  {:values$}  source (set by {PREFIX}<NAME> or {PREFIX}<NAME>_FILE)",
        "property", "value"
    ))
    .chain(lines)
    .collect()
}

#[cfg(test)]
mod tests {
    use super::super::environment::read;
    use super::super::machine::Machine;
    use super::super::secret::MASK;
    use super::*;
    use std::ffi::OsString;

    #[test]
    fn the_report_masks_secrets_and_names_sources() {
        let vars = [
            ("MTA_PASSWORD", "hunter2"),
            ("MTA_USERNAME", "anna"),
            ("MTA_SSL_DISABLED", "no"),
            ("MTA_VOLUME_KEY", "/sys"),
        ];
        let vars = vars.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let machine = Machine { uid: 1, key_volume: false, writable_run: true, runtime_dir: None };
        let (text, would_start) = report(&read(vars, &machine).unwrap());
        assert!(!would_start);
        assert!(!text.contains("hunter2"), "{text}");
        let line =
            |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
        assert!(line("password").contains(MASK) && line("password").ends_with("MTA_PASSWORD"));
        assert!(line("ui_port").ends_with("default"));
        assert!(line("cc_mta").contains("(empty)"));
        assert!(text.contains("would stop here with: Error: couldn't find ssl keys"), "{text}");
    }
}

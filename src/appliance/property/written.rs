//! Values as texts: what `postern check` shows, and what the core is handed.
//!
//! In: [`Settings`]. Out: one text a property, in the form in which a person would write it, which
//! [`Settings::from_texts`] reads back to the same value.
//! Security: secrets are in it; who shows it masks them.

use super::settings::Settings;
use super::value;
use crate::ground::host::HostSpec;
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

impl Settings {
    /// All effective values as texts, secrets included; a property without a value is the empty
    /// text.
    pub fn to_values(&self) -> BTreeMap<&'static str, String> {
        // Taken apart in full, so that a new field cannot be forgotten here.
        let Self {
            hostname,
            logs_enabled,
            maillog_filename,
            syslog_name,
            maillog_buffer_limit,
            smtpd_trusted_networks,
            smart_relay,
            cc_mta,
            username,
            password,
            ui_port,
            ssl_disabled,
            ui_tls,
            ui_read_only,
            ui_public,
            ui_url,
            ui_hosts,
            api_tokens,
            proxy_networks,
            ssl_key_file,
            ssl_cert_file,
            timezone,
            smtp_port,
            smtps_port,
            listen,
            volume_data,
            volume_key,
            terminal_log,
            terminal_fs,
            terminal_mon,
            terminal_net,
            mon_interval,
            message_size_limit,
            queue_lifetime,
            log_format,
            history_enabled,
            history_size,
            history_time,
            address_masking,
            webhook_url,
            webhook_events,
            webhook_secret,
            webhook_allow,
            webhook_ca,
            run_dir,
            minimal_backoff_time,
            maximal_backoff_time,
            origin_domain,
            message_drop_headers,
            always_add_missing_headers,
            delay_warning_time,
            drain_time,
            watchdog_time,
            session_limit,
            session_limit_per_address,
            session_reserve,
            destination_concurrency_limit,
            destination_recipient_limit,
            bounce_address,
            dns_servers,
            worker_threads,
            local_mail_hosts,
        } = self;
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let host =
            |value: &Option<HostSpec>| value.as_ref().map(ToString::to_string).unwrap_or_default();
        BTreeMap::from([
            ("hostname", hostname.clone()),
            ("logs_enabled", yes_no(*logs_enabled)),
            ("maillog_filename", text(maillog_filename)),
            ("syslog_name", syslog_name.clone()),
            ("maillog_buffer_limit", octets(*maillog_buffer_limit)),
            ("smtpd_trusted_networks", joined(smtpd_trusted_networks.iter().map(network))),
            ("smart_relay", host(smart_relay)),
            ("cc_mta", host(cc_mta)),
            ("username", text(username)),
            (
                "password",
                password.as_ref().map(|secret| secret.expose().to_owned()).unwrap_or_default(),
            ),
            ("ui_port", ui_port.to_string()),
            ("ssl_disabled", yes_no(*ssl_disabled)),
            ("ui_tls", yes_no(*ui_tls)),
            ("ui_read_only", yes_no(*ui_read_only)),
            ("ui_public", yes_no(*ui_public)),
            ("ui_url", ui_url.as_ref().map(ToString::to_string).unwrap_or_default()),
            ("ui_hosts", joined(ui_hosts.iter().cloned())),
            (
                "api_tokens",
                api_tokens.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            ),
            ("proxy_networks", joined(proxy_networks.iter().map(network))),
            ("ssl_key_file", text(ssl_key_file)),
            ("ssl_cert_file", text(ssl_cert_file)),
            ("timezone", text(timezone)),
            ("smtp_port", smtp_port.to_string()),
            ("smtps_port", smtps_port.to_string()),
            ("listen", joined(listen.iter().map(address))),
            ("volume_data", volume_data.display().to_string()),
            (
                "volume_key",
                volume_key.as_ref().map(|path| path.display().to_string()).unwrap_or_default(),
            ),
            ("terminal_log", text(terminal_log)),
            ("terminal_fs", text(terminal_fs)),
            ("terminal_mon", text(terminal_mon)),
            ("terminal_net", text(terminal_net)),
            ("mon_interval", span(*mon_interval)),
            ("message_size_limit", octets(*message_size_limit)),
            ("queue_lifetime", span(*queue_lifetime)),
            ("log_format", log_format.as_str().to_owned()),
            ("history_enabled", yes_no(*history_enabled)),
            ("history_size", octets(*history_size)),
            ("history_time", span(*history_time)),
            ("address_masking", address_masking.as_str().to_owned()),
            ("webhook_url", joined(webhook_url.iter().map(ToString::to_string))),
            (
                "webhook_events",
                joined(webhook_events.iter().map(|event| event.as_str().to_owned())),
            ),
            (
                "webhook_secret",
                webhook_secret
                    .as_ref()
                    .map(|secret| secret.expose().to_owned())
                    .unwrap_or_default(),
            ),
            ("webhook_allow", joined(webhook_allow.iter().map(network))),
            (
                "webhook_ca",
                webhook_ca.as_ref().map(|path| path.display().to_string()).unwrap_or_default(),
            ),
            ("run_dir", run_dir.display().to_string()),
            ("minimal_backoff_time", span(*minimal_backoff_time)),
            ("maximal_backoff_time", span(*maximal_backoff_time)),
            ("origin_domain", text(origin_domain)),
            ("message_drop_headers", value::header_names_text(message_drop_headers)),
            ("always_add_missing_headers", yes_no(*always_add_missing_headers)),
            ("delay_warning_time", span(*delay_warning_time)),
            ("drain_time", span(*drain_time)),
            ("watchdog_time", span(*watchdog_time)),
            ("session_limit", session_limit.to_string()),
            ("session_limit_per_address", session_limit_per_address.to_string()),
            (
                "session_reserve",
                session_reserve.map(|reserve| reserve.to_string()).unwrap_or_default(),
            ),
            ("destination_concurrency_limit", destination_concurrency_limit.to_string()),
            ("destination_recipient_limit", destination_recipient_limit.to_string()),
            ("bounce_address", text(bounce_address)),
            ("dns_servers", joined(dns_servers.iter().map(ToString::to_string))),
            ("worker_threads", worker_threads.to_string()),
            ("local_mail_hosts", joined(local_mail_hosts.iter().map(network))),
        ])
    }
}

fn yes_no(flag: bool) -> String {
    if flag { "yes" } else { "no" }.to_owned()
}

fn joined(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(", ")
}

/// A single address without its prefix length, as people write it.
pub(super) fn network(network: &IpNet) -> String {
    if network.prefix_len() == network.max_prefix_len() {
        network.addr().to_string()
    } else {
        network.to_string()
    }
}

fn address(address: &IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

/// As a person would write it: `5d`, `1h30m`.
pub(super) fn span(duration: Duration) -> String {
    const UNITS: [(u128, &str); 7] = [
        (86_400_000_000_000, "d"),
        (3_600_000_000_000, "h"),
        (60_000_000_000, "m"),
        (1_000_000_000, "s"),
        (1_000_000, "ms"),
        (1_000, "us"),
        (1, "ns"),
    ];
    let mut rest = duration.as_nanos();
    let mut text = String::new();
    for (length, unit) in UNITS {
        if rest >= length {
            text += &format!("{}{unit}", rest / length);
            rest %= length;
        }
    }
    if text.is_empty() { "0".to_owned() } else { text }
}

fn octets(octets: u64) -> String {
    match octets {
        n if n % (1 << 30) == 0 => format!("{}G", n >> 30),
        n if n % (1 << 20) == 0 => format!("{}M", n >> 20),
        n if n % (1 << 10) == 0 => format!("{}K", n >> 10),
        n => n.to_string(),
    }
}

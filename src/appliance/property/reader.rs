//! From texts to typed values: the whole record at once, so that all mistakes are told together.

use super::account::accounts;
use super::environment::Source;
use super::settings::{MASK, Secret, Settings, Texts};
use super::value::{self, Complaint};
use super::written::span;
use crate::appliance::class::{PREFIX, class};
use crate::appliance::failure::{Exit, Failure};
use crate::appliance::lines;
use crate::appliance::terminal;
use crate::ground::clock;
use crate::ground::credential::password::Password;
use crate::ground::host::HostSpec;
use std::collections::BTreeMap;

/// Gives types to texts, and reports every value that is wrong.
pub fn read(
    texts: Texts,
    sources: &BTreeMap<&'static str, Source>,
) -> Result<Settings, Vec<Failure>> {
    let mut reader = Reader { sources, problems: Vec::new() };
    let settings = reader.all(texts);
    if let Some(settings) = &settings {
        reader.check_together(settings);
    }
    match settings {
        Some(settings) if reader.problems.is_empty() => Ok(settings),
        _ => Err(reader.problems),
    }
}

/// Reads values one by one and remembers what is wrong.
struct Reader<'a> {
    sources: &'a BTreeMap<&'static str, Source>,
    problems: Vec<Failure>,
}

impl Reader<'_> {
    fn all(&mut self, texts: Texts) -> Option<Settings> {
        let text = |text: &str| Ok::<_, Complaint>(text.to_owned());
        let host = |text: &str| text.parse::<HostSpec>().map_err(|_| HOST.to_owned());
        let hostname = self.required("hostname", texts.hostname, value::host_name);
        let logs_enabled = self.required("logs_enabled", texts.logs_enabled, value::flag);
        let maillog_filename = self.optional("maillog_filename", texts.maillog_filename, text);
        let syslog_name = self.required("syslog_name", texts.syslog_name, value::syslog_name);
        let maillog_buffer_limit =
            self.required("maillog_buffer_limit", texts.maillog_buffer_limit, value::buffer_limit);
        let smtpd_trusted_networks =
            self.required("smtpd_trusted_networks", texts.smtpd_trusted_networks, value::networks);
        let smart_relay = self.optional("smart_relay", texts.smart_relay, host);
        let cc_mta = self.optional("cc_mta", texts.cc_mta, host);
        let username = self.optional("username", texts.username, user_name);
        let password = self.optional("password", texts.password, password);
        let ui_port = self.required("ui_port", texts.ui_port, value::port);
        let ui_tls = self.required("ui_tls", texts.ui_tls, value::flag);
        let ui_read_only = self.required("ui_read_only", texts.ui_read_only, value::flag);
        let ui_public = self.required("ui_public", texts.ui_public, value::flag);
        let ui_url = self.optional("ui_url", texts.ui_url, str::parse);
        let ui_hosts = self.optional("ui_hosts", texts.ui_hosts, value::host_names);
        let api_tokens = self.optional("api_tokens", texts.api_tokens, accounts);
        let proxy_networks = self.optional("proxy_networks", texts.proxy_networks, value::networks);
        let ssl_disabled = self.required("ssl_disabled", texts.ssl_disabled, value::flag);
        let ssl_key_file = self.optional("ssl_key_file", texts.ssl_key_file, text);
        let ssl_cert_file = self.optional("ssl_cert_file", texts.ssl_cert_file, text);
        let timezone = self.optional("timezone", texts.timezone, time_zone);
        let smtp_port = self.required("smtp_port", texts.smtp_port, value::port);
        let smtps_port = self.required("smtps_port", texts.smtps_port, value::port);
        let listen = self.required("listen", texts.listen, value::addresses);
        let volume_data = self.required("volume_data", texts.volume_data, value::absolute_path);
        let volume_key = self.optional("volume_key", texts.volume_key, value::absolute_path);
        let terminal_log = self.optional("terminal_log", texts.terminal_log, terminal::share_text);
        let terminal_fs = self.optional("terminal_fs", texts.terminal_fs, terminal::export_text);
        let terminal_mon = self.optional("terminal_mon", texts.terminal_mon, value::http_url);
        let terminal_net = self.optional("terminal_net", texts.terminal_net, text);
        let mon_interval = self.required("mon_interval", texts.mon_interval, value::duration);
        let message_size_limit =
            self.required("message_size_limit", texts.message_size_limit, value::size);
        let queue_lifetime = self.required("queue_lifetime", texts.queue_lifetime, value::duration);
        let history_enabled = self.required("history_enabled", texts.history_enabled, value::flag);
        let history_size = self.required("history_size", texts.history_size, value::size);
        let history_time = self.required("history_time", texts.history_time, value::duration);
        let address_masking = self.required("address_masking", texts.address_masking, str::parse);
        let log_format = self.required("log_format", texts.log_format, str::parse);
        let webhook_url =
            self.optional("webhook_url", texts.webhook_url, |text| value::list(text, str::parse));
        let webhook_events = self
            .required("webhook_events", texts.webhook_events, |text| value::list(text, str::parse));
        let webhook_secret = self.optional("webhook_secret", texts.webhook_secret, webhook_secret);
        let webhook_allow = self.optional("webhook_allow", texts.webhook_allow, value::networks);
        let webhook_ca = self.optional("webhook_ca", texts.webhook_ca, value::absolute_path);
        let run_dir = self.required("run_dir", texts.run_dir, value::run_dir);
        let minimal_backoff_time =
            self.required("minimal_backoff_time", texts.minimal_backoff_time, value::duration);
        let maximal_backoff_time =
            self.required("maximal_backoff_time", texts.maximal_backoff_time, value::duration);
        let origin_domain = self.optional("origin_domain", texts.origin_domain, value::host_name);
        let message_drop_headers =
            self.required("message_drop_headers", texts.message_drop_headers, value::header_names);
        let always_add_missing_headers = self.required(
            "always_add_missing_headers",
            texts.always_add_missing_headers,
            value::flag,
        );
        let delay_warning_time =
            self.required("delay_warning_time", texts.delay_warning_time, value::duration_or_zero);
        let drain_time = self.required("drain_time", texts.drain_time, value::duration_or_zero);
        let watchdog_time =
            self.required("watchdog_time", texts.watchdog_time, value::watchdog_time);
        let session_limit = self.required("session_limit", texts.session_limit, value::count);
        let session_limit_per_address = self.required(
            "session_limit_per_address",
            texts.session_limit_per_address,
            value::count,
        );
        let session_reserve =
            self.optional("session_reserve", texts.session_reserve, value::count_or_zero);
        let destination_concurrency_limit = self.required(
            "destination_concurrency_limit",
            texts.destination_concurrency_limit,
            value::count,
        );
        let bounce_address = self.optional("bounce_address", texts.bounce_address, value::mailbox);
        let destination_recipient_limit = self.required(
            "destination_recipient_limit",
            texts.destination_recipient_limit,
            value::count,
        );
        let dns_servers = self.optional("dns_servers", texts.dns_servers, value::servers);
        let worker_threads = self.optional("worker_threads", texts.worker_threads, value::threads);
        let local_mail_hosts =
            self.optional("local_mail_hosts", texts.local_mail_hosts, value::networks);
        Some(Settings {
            hostname: hostname?,
            logs_enabled: logs_enabled?,
            maillog_filename,
            syslog_name: syslog_name?,
            maillog_buffer_limit: maillog_buffer_limit?,
            smtpd_trusted_networks: smtpd_trusted_networks?,
            smart_relay,
            cc_mta,
            username,
            password,
            ui_port: ui_port?,
            ssl_disabled: ssl_disabled?,
            ui_tls: ui_tls?,
            ui_read_only: ui_read_only?,
            ui_public: ui_public?,
            ui_url,
            ui_hosts: ui_hosts.unwrap_or_default(),
            api_tokens: api_tokens.unwrap_or_default(),
            proxy_networks: proxy_networks.unwrap_or_default(),
            ssl_key_file,
            ssl_cert_file,
            timezone,
            smtp_port: smtp_port?,
            smtps_port: smtps_port?,
            listen: listen?,
            volume_data: volume_data?,
            volume_key,
            terminal_log,
            terminal_fs,
            terminal_mon,
            terminal_net,
            mon_interval: mon_interval?,
            message_size_limit: message_size_limit?,
            queue_lifetime: queue_lifetime?,
            log_format: log_format?,
            history_enabled: history_enabled?,
            history_size: history_size?,
            history_time: history_time?,
            address_masking: address_masking?,
            webhook_url: webhook_url.unwrap_or_default(),
            webhook_events: webhook_events?,
            webhook_secret,
            webhook_allow: webhook_allow.unwrap_or_default(),
            webhook_ca,
            run_dir: run_dir?,
            minimal_backoff_time: minimal_backoff_time?,
            maximal_backoff_time: maximal_backoff_time?,
            origin_domain,
            message_drop_headers: message_drop_headers?,
            always_add_missing_headers: always_add_missing_headers?,
            delay_warning_time: delay_warning_time?,
            drain_time: drain_time?,
            watchdog_time: watchdog_time?,
            session_limit: session_limit?,
            session_limit_per_address: session_limit_per_address?,
            session_reserve,
            destination_concurrency_limit: destination_concurrency_limit?,
            destination_recipient_limit: destination_recipient_limit?,
            bounce_address,
            dns_servers: dns_servers.unwrap_or_default(),
            worker_threads: worker_threads.flatten().unwrap_or_else(value::usual_threads),
            local_mail_hosts: local_mail_hosts.unwrap_or_default(),
        })
    }

    /// The rules that speak of more than one value.
    fn check_together(&mut self, s: &Settings) {
        if s.logs_enabled && s.terminal_log.is_none() {
            self.problem(
                lines::LOG_UNCONNECTED,
                "MTA_LOGS_ENABLED=yes needs MTA_TERMINAL_LOG; set it, or set MTA_LOGS_ENABLED=no",
            );
        }
        if s.volume_key.is_some() && s.terminal_fs.is_some() {
            self.problem(
                lines::TWO_PLACES,
                "keys come from one place: unset MTA_TERMINAL_FS, or unset MTA_VOLUME_KEY and \
                unmount /key",
            );
        }
        if !s.ssl_disabled && s.volume_key.is_none() && s.terminal_fs.is_none() {
            self.problem(
                lines::KEYS_UNDEFINED,
                "there is no key volume and no terminal fs: mount one at /key (or name it in \
                MTA_VOLUME_KEY), or set MTA_SSL_DISABLED=yes",
            );
        }
        if s.maillog_filename
            .as_deref()
            .is_some_and(|name| name.split('/').any(|part| part == ".."))
        {
            self.problem(
                lines::OUTSIDE_SHARE,
                "MTA_MAILLOG_FILENAME must not contain '..': write a name such as srv1/maillog",
            );
        }
        if s.maillog_filename
            .as_deref()
            .is_some_and(|name| name.split('/').all(|part| matches!(part, "" | ".")))
        {
            self.problem(
                lines::OUTSIDE_SHARE,
                "MTA_MAILLOG_FILENAME names no file below the share: write a name such as \
                srv1/maillog",
            );
        }
        if s.minimal_backoff_time > s.maximal_backoff_time {
            self.problem(
                "Error: minimal_backoff_time must not be longer than maximal_backoff_time",
                format!(
                    "they are {} and {}",
                    span(s.minimal_backoff_time),
                    span(s.maximal_backoff_time)
                ),
            );
        }
        if s.session_reserve.is_some_and(|reserve| reserve > s.session_limit) {
            self.problem(
                "Error: session_reserve must not be more than session_limit",
                format!(
                    "session_limit is {}; set MTA_SESSION_RESERVE to less, or leave it empty \
                for a fifth",
                    s.session_limit
                ),
            );
        }
        if s.run_dir == s.volume_data {
            self.problem(
                "Error: run_dir and volume_data must differ",
                format!(
                    "both are {}; leave MTA_RUN_DIR to its default, or name another directory",
                    s.run_dir.display()
                ),
            );
        }
        if s.ui_port == s.smtp_port {
            self.problem(
                "Error: ui_port and smtp_port must differ",
                format!("both are {}; set MTA_UI_PORT or MTA_SMTP_PORT to another port", s.ui_port),
            );
        }
        if s.username
            .as_ref()
            .is_some_and(|name| s.api_tokens.iter().any(|token| token.name == *name))
        {
            self.problem(
                "Error: api_tokens must not have the name of username",
                "a token sends and the login does everything: give the token another name in \
                MTA_API_TOKENS",
            );
        }
        if s.ui_tls && s.ssl_disabled {
            self.problem(
                "Error: ui_tls=yes needs key and certificate",
                "they are those of terminal in: set MTA_SSL_DISABLED=no, MTA_SSL_KEY_FILE and \
                MTA_SSL_CERT_FILE",
            );
        }
        if !s.ssl_disabled && [s.smtp_port, s.ui_port].contains(&s.smtps_port) {
            self.problem(
                "Error: smtps_port must differ from smtp_port and ui_port",
                format!("two of them are {}; set MTA_SMTPS_PORT to another port", s.smtps_port),
            );
        }
    }

    fn required<T>(
        &mut self,
        name: &'static str,
        text: Option<String>,
        read: impl FnOnce(&str) -> Result<T, Complaint>,
    ) -> Option<T> {
        if text.as_deref().unwrap_or_default().trim().is_empty() {
            self.problem(
                format!("Error: {name} has no value"),
                format!("set {PREFIX}{}", name.to_uppercase()),
            );
            return None;
        }
        self.optional(name, text, read)
    }

    fn optional<T>(
        &mut self,
        name: &'static str,
        text: Option<String>,
        read: impl FnOnce(&str) -> Result<T, Complaint>,
    ) -> Option<T> {
        let text = text?;
        let secret = class().property(name).is_some_and(|property| property.secret);
        // Blanks at the ends are slips of the pen, except in a secret, where every character
        // counts.
        let text = if secret { text.as_str() } else { text.trim() };
        if text.is_empty() {
            return None;
        }
        match read(text) {
            Ok(value) => Some(value),
            Err(complaint) => {
                let shown = if secret { MASK.to_owned() } else { without_credentials(text) };
                let cause = match self.sources.get(name) {
                    Some(Source::File(path)) => format!("{} holds '{shown}'", path.display()),
                    _ => format!("{PREFIX}{} is '{shown}'", name.to_uppercase()),
                };
                self.problem(format!("Error: {name} {complaint}"), cause);
                None
            }
        }
    }

    fn problem(&mut self, line: impl Into<String>, cause: impl Into<String>) {
        self.problems.push(Failure::new(Exit::Property, line, cause));
    }
}

/// People write user names and passwords in front of hosts; errors end up in logs.
fn without_credentials(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((_, host)) => format!("{MASK}@{host}"),
        None => text.to_owned(),
    }
}

const HOST: &str =
    "must be a host: write host, host:port, [host]:port, an IPv4 address or [IPv6]:port";

/// A password, or its hash.
fn password(text: &str) -> Result<Secret, Complaint> {
    let advice = "make one with 'htpasswd -nbB operator PASSWORD' or 'argon2 SALT -id -e'";
    Password::check(text)
        .map(|()| Secret::new(text.to_owned()))
        .map_err(|words| format!("{words}; {advice}"))
}

/// A key that Standard Webhooks' libraries take: 24 to 64 octets.
fn webhook_secret(text: &str) -> Result<Secret, Complaint> {
    let coded = text.strip_prefix("whsec_").unwrap_or_default();
    let digits = coded.trim_end_matches('=');
    let whole = coded.len() - digits.len() <= 2 && digits.len() % 4 != 1;
    let good = whole
        && (32..=86).contains(&digits.len())
        && digits.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'));
    if good {
        return Ok(Secret::new(text.to_owned()));
    }
    Err("must be whsec_ and 24 to 64 octets in base 64: make one with 'echo whsec_$(openssl rand \
    -base64 32)'"
        .into())
}

/// HTTP's basic authentication has no room for a colon in the name (RFC 7617 §2).
fn user_name(text: &str) -> Result<String, Complaint> {
    if text.contains(':') { Err("must not contain a colon".into()) } else { Ok(text.to_owned()) }
}

fn time_zone(text: &str) -> Result<String, Complaint> {
    match clock::set_zone(text) {
        Ok(()) => Ok(text.to_owned()),
        Err(_) => {
            Err("is not a known time zone: write an IANA name such as Europe/Berlin or UTC".into())
        }
    }
}

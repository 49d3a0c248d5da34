//! The typed values of all properties, and their way to the core as one JSON object of the texts
//! that `written` makes.

use super::account::Account;
use super::choice::{AddressMasking, LogFormat, WebhookEvent};
use super::environment::Source;
use super::reader;
use super::webhook::Webhook;
use crate::appliance::failure::{Exit, Failure};
use crate::ground::host::HostSpec;
use crate::ground::web_address::WebAddress;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Every property with its type. Meanings and defaults: `appliance/mta.toml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The relay's own name, lower case, without a dot at the end.
    pub hostname: String,
    /// Whether the mail log goes to terminal `log`.
    pub logs_enabled: bool,
    /// The mail log's file, relative to the log share.
    pub maillog_filename: Option<String>,
    /// The name that stands before each program's in the mail log.
    pub syslog_name: String,
    /// Octets of the mail log that wait for the share on the data volume.
    pub maillog_buffer_limit: u64,
    /// Who may relay.
    pub smtpd_trusted_networks: Vec<IpNet>,
    /// The one next hop of everything.
    pub smart_relay: Option<HostSpec>,
    /// Where carbon copies go; does nothing while `smart_relay` is set.
    pub cc_mta: Option<HostSpec>,
    /// Who may see the stats UI.
    pub username: Option<String>,
    /// The password that goes with it.
    pub password: Option<Secret>,
    /// Port of the stats UI.
    pub ui_port: u16,
    /// Whether TLS is off.
    pub ssl_disabled: bool,
    /// The stats UI is shown inside TLS alone.
    pub ui_tls: bool,
    /// The stats UI takes no orders.
    pub ui_read_only: bool,
    /// Everybody sees what only a login shows otherwise; orders still take one.
    pub ui_public: bool,
    /// Where browsers find the stats UI.
    pub ui_url: Option<WebAddress>,
    /// More names under which it may be asked for.
    pub ui_hosts: Vec<String>,
    /// Programs that may send by HTTP.
    pub api_tokens: Vec<Account>,
    /// Proxies whose word on a client's address is taken.
    pub proxy_networks: Vec<IpNet>,
    /// Private key, relative to the key volume.
    pub ssl_key_file: Option<String>,
    /// Certificate chain, relative to the key volume.
    pub ssl_cert_file: Option<String>,
    /// IANA name of the time zone.
    pub timezone: Option<String>,
    /// Port of SMTP.
    pub smtp_port: u16,
    /// Port of SMTP inside TLS.
    pub smtps_port: u16,
    /// Addresses of terminal `in`; `::` means dual stack.
    pub listen: Vec<IpAddr>,
    /// The data volume.
    pub volume_data: PathBuf,
    /// The key volume, where there is one.
    pub volume_key: Option<PathBuf>,
    /// The log share as it was written.
    pub terminal_log: Option<String>,
    /// The export with keys as it was written.
    pub terminal_fs: Option<String>,
    /// The Pushgateway: `http://host[:port][/path]` without a slash at the end.
    pub terminal_mon: Option<String>,
    /// The gateway as it was written.
    pub terminal_net: Option<String>,
    /// Pace of the pushes.
    pub mon_interval: Duration,
    /// Largest mail, in octets.
    pub message_size_limit: u64,
    /// Age at which a mail goes back.
    pub queue_lifetime: Duration,
    /// Form of log lines.
    pub log_format: LogFormat,
    /// The data volume keeps what became of mail.
    pub history_enabled: bool,
    /// Octets of it, at most.
    pub history_size: u64,
    /// Its age, at most.
    pub history_time: Duration,
    /// How it writes addresses.
    pub address_masking: AddressMasking,
    /// Who is told of events.
    pub webhook_url: Vec<Webhook>,
    /// Of which.
    pub webhook_events: Vec<WebhookEvent>,
    /// What events are signed with: `whsec_` and base 64.
    pub webhook_secret: Option<Secret>,
    /// Where events may go beside the public internet.
    pub webhook_allow: Vec<IpNet>,
    /// A file with more authorities that receivers may have their certificates from.
    pub webhook_ca: Option<PathBuf>,
    /// Directory of the control socket and of the readiness file.
    pub run_dir: PathBuf,
    /// First pause between delivery attempts.
    pub minimal_backoff_time: Duration,
    /// Longest pause between delivery attempts; never less than the first.
    pub maximal_backoff_time: Duration,
    /// The domain of mailboxes that clients give without one; none = the host name.
    pub origin_domain: Option<String>,
    /// Header fields that are dropped from mail of clients that may relay, in lower case.
    pub message_drop_headers: Vec<String>,
    /// Whether their mail gets the header fields that it must have and has not.
    pub always_add_missing_headers: bool,
    /// Age at which the sender is told of a delay; zero = never.
    pub delay_warning_time: Duration,
    /// How long sessions may finish after SIGTERM.
    pub drain_time: Duration,
    /// How long a core may hang before it is ended and started again; zero = for ever.
    pub watchdog_time: Duration,
    /// Sessions at one time.
    pub session_limit: u32,
    /// Sessions at one time from one address.
    pub session_limit_per_address: u32,
    /// Sessions kept for trusted clients; without it a fifth of all.
    pub session_reserve: Option<u32>,
    /// Connections at one time to one destination.
    pub destination_concurrency_limit: u32,
    /// Recipients of one transaction with a next hop.
    pub destination_recipient_limit: u32,
    /// Who hears of bounces that reached nobody.
    pub bounce_address: Option<String>,
    /// Name servers; empty = those of /etc/resolv.conf.
    pub dns_servers: Vec<SocketAddr>,
    /// Threads that carry mail (sessions and couriers), from 1 to [`super::value::THREADS_MAX`].
    pub worker_threads: usize,
    /// Addresses of this host that are another mail server's.
    pub local_mail_hosts: Vec<IpNet>,
}

/// A value that must not be read over a shoulder: masked in every output.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// What is shown in place of a secret.
pub const MASK: &str = "********";

impl Secret {
    /// Takes the value into custody.
    pub fn new(value: String) -> Self {
        Self(value)
    }

    /// The value itself, for the one comparison it is there for.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

/// The texts of all properties, one field each: what `envy` reads an environment into, and
/// `serde_json` the core's input.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Texts {
    pub(super) hostname: Option<String>,
    pub(super) logs_enabled: Option<String>,
    pub(super) maillog_filename: Option<String>,
    pub(super) syslog_name: Option<String>,
    pub(super) maillog_buffer_limit: Option<String>,
    pub(super) smtpd_trusted_networks: Option<String>,
    pub(super) smart_relay: Option<String>,
    pub(super) cc_mta: Option<String>,
    pub(super) username: Option<String>,
    pub(super) password: Option<String>,
    pub(super) ui_port: Option<String>,
    pub(super) ssl_disabled: Option<String>,
    pub(super) ui_tls: Option<String>,
    pub(super) ui_read_only: Option<String>,
    pub(super) ui_public: Option<String>,
    pub(super) ui_url: Option<String>,
    pub(super) ui_hosts: Option<String>,
    pub(super) api_tokens: Option<String>,
    pub(super) proxy_networks: Option<String>,
    pub(super) ssl_key_file: Option<String>,
    pub(super) ssl_cert_file: Option<String>,
    pub(super) timezone: Option<String>,
    pub(super) smtp_port: Option<String>,
    pub(super) smtps_port: Option<String>,
    pub(super) listen: Option<String>,
    pub(super) volume_data: Option<String>,
    pub(super) volume_key: Option<String>,
    pub(super) terminal_log: Option<String>,
    pub(super) terminal_fs: Option<String>,
    pub(super) terminal_mon: Option<String>,
    pub(super) terminal_net: Option<String>,
    pub(super) mon_interval: Option<String>,
    pub(super) message_size_limit: Option<String>,
    pub(super) queue_lifetime: Option<String>,
    pub(super) minimal_backoff_time: Option<String>,
    pub(super) maximal_backoff_time: Option<String>,
    pub(super) origin_domain: Option<String>,
    pub(super) message_drop_headers: Option<String>,
    pub(super) always_add_missing_headers: Option<String>,
    pub(super) delay_warning_time: Option<String>,
    pub(super) drain_time: Option<String>,
    pub(super) watchdog_time: Option<String>,
    pub(super) session_limit: Option<String>,
    pub(super) session_limit_per_address: Option<String>,
    pub(super) session_reserve: Option<String>,
    pub(super) destination_concurrency_limit: Option<String>,
    pub(super) destination_recipient_limit: Option<String>,
    pub(super) bounce_address: Option<String>,
    pub(super) dns_servers: Option<String>,
    pub(super) worker_threads: Option<String>,
    pub(super) local_mail_hosts: Option<String>,
    pub(super) log_format: Option<String>,
    pub(super) history_enabled: Option<String>,
    pub(super) history_size: Option<String>,
    pub(super) history_time: Option<String>,
    pub(super) address_masking: Option<String>,
    pub(super) webhook_url: Option<String>,
    pub(super) webhook_events: Option<String>,
    pub(super) webhook_secret: Option<String>,
    pub(super) webhook_allow: Option<String>,
    pub(super) webhook_ca: Option<String>,
    pub(super) run_dir: Option<String>,
}

impl Settings {
    /// Of [`Settings::session_limit`], the places kept for trusted clients.
    pub fn sessions_reserved(&self) -> u32 {
        self.session_reserve.unwrap_or(self.session_limit / 5)
    }

    /// Gives types to texts. `sources` only serves the wording of problems.
    ///
    /// # Errors
    /// Every value that is wrong, each with its own failure.
    pub fn from_texts(
        texts: Texts,
        sources: &BTreeMap<&'static str, Source>,
    ) -> Result<Self, Vec<Failure>> {
        reader::read(texts, sources)
    }

    /// Reads what [`Settings::to_json`] wrote: the core's side of the hand-over.
    ///
    /// # Errors
    /// The text is no such object, or a value is wrong; both mean that somebody else than the
    /// supervisor started the core.
    pub fn from_json(json: &str) -> Result<Self, Vec<Failure>> {
        let texts = serde_json::from_str::<Texts>(json).map_err(|error| {
            let cause = format!(
                "the core did not get its properties ({error}); start it by `postern init`"
            );
            vec![Failure::preconfigure(Exit::Property, cause)]
        })?;
        Self::from_texts(texts, &BTreeMap::new())
    }

    /// All effective values, secrets included, as one JSON object of texts.
    pub fn to_json(&self) -> String {
        // A map of texts: nothing of it can fail to become JSON.
        serde_json::to_string(&self.to_values()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::environment::{Machine, read};
    use super::*;
    use crate::appliance::class::class;
    use std::collections::BTreeSet;
    use std::ffi::OsString;

    fn settings(vars: &[(&str, &str)]) -> Result<Settings, Vec<String>> {
        let vars = vars.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let machine =
            Machine { uid: 1000, key_volume: false, writable_run: false, runtime_dir: None };
        match read(vars, &machine) {
            Ok(loaded) => Ok(loaded.settings),
            Err(refused) => Err(refused.problems.iter().map(ToString::to_string).collect()),
        }
    }

    #[test]
    fn class_texts_and_settings_have_the_same_properties() {
        let class: BTreeSet<_> =
            class().property.iter().map(|property| property.name.clone()).collect();
        let texts = serde_json::to_value(Texts::default()).unwrap();
        let texts: BTreeSet<_> = texts.as_object().unwrap().keys().cloned().collect();
        let values = settings(&[]).unwrap().to_values();
        let values: BTreeSet<_> = values.keys().map(|name| (*name).to_owned()).collect();
        assert_eq!(class, texts);
        assert_eq!(class, values);
    }

    #[test]
    fn defaults_are_those_of_the_class() {
        let values = settings(&[]).unwrap().to_values();
        for property in class().property.iter().filter(|property| property.default_note.is_none()) {
            assert_eq!(values[property.name.as_str()], property.default, "{}", property.name);
        }
    }

    #[test]
    fn no_sender_gets_a_delay_notice_that_nobody_asked_for() {
        assert_eq!(settings(&[]).unwrap().delay_warning_time, Duration::ZERO);
        assert_eq!(
            settings(&[("MTA_DELAY_WARNING_TIME", "4h")]).unwrap().delay_warning_time,
            Duration::from_secs(14_400)
        );
    }

    #[test]
    fn all_values_survive_the_way_to_the_core() {
        let settings = settings(&[
            ("MTA_HOSTNAME", "Relay.Example"),
            ("MTA_SMTPD_TRUSTED_NETWORKS", "127.0.0.1,10.0.0.0/8 2001:db8::/32"),
            ("MTA_SMART_RELAY", "[smart.example]:2525"),
            ("MTA_CC_MTA", "cc.example"),
            ("MTA_USERNAME", "anna"),
            ("MTA_PASSWORD", " s\"ecret\\ "),
            ("MTA_LISTEN", "0.0.0.0, [::1]"),
            ("MTA_TERMINAL_MON", "http://mon:9091"),
            ("MTA_MESSAGE_SIZE_LIMIT", "1000000"),
            ("MTA_QUEUE_LIFETIME", "2d 1h 30m 1s"),
            ("MTA_MON_INTERVAL", "1500ms"),
            ("MTA_DELAY_WARNING_TIME", "4h"),
            ("MTA_ORIGIN_DOMAIN", "Example.com"),
            ("MTA_MESSAGE_DROP_HEADERS", "no"),
            ("MTA_ALWAYS_ADD_MISSING_HEADERS", "off"),
            ("MTA_DNS_SERVERS", "192.0.2.1 [2001:db8::1]:5353"),
            ("MTA_LOG_FORMAT", "JSON"),
            ("MTA_VOLUME_KEY", "/keys"),
            ("MTA_TIMEZONE", "UTC"),
            ("MTA_SYSLOG_NAME", "mail.relay-1"),
            ("MTA_MAILLOG_BUFFER_LIMIT", "100K"),
            ("MTA_WEBHOOK_URL", "https://hooks.example/x, slack+https://hooks.slack.com/y"),
            ("MTA_WEBHOOK_EVENTS", "Bounced deferred"),
            ("MTA_WEBHOOK_SECRET", "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="),
            ("MTA_WEBHOOK_ALLOW", "10.0.0.0/8"),
            ("MTA_UI_PUBLIC", "yes"),
            ("MTA_UI_URL", "https://Mail.Example:8443/mta/"),
            ("MTA_UI_HOSTS", "relay.example, mta.internal.example"),
            ("MTA_API_TOKENS", "shop:{PLAIN}s3cret;senders=a@b.example,b.example;networks=10.0.0.0/8;rate=10/m app:{PLAIN}x"),
            ("MTA_PROXY_NETWORKS", "10.0.0.0/8 ::1"),
        ])
        .unwrap();
        assert_eq!(settings.password.as_ref().map(Secret::expose), Some(" s\"ecret\\ "));
        assert_eq!(Settings::from_json(&settings.to_json()), Ok(settings));
    }

    #[test]
    fn blanks_alone_are_no_value() {
        let settings = settings(&[
            ("MTA_USERNAME", "  "),
            ("MTA_PASSWORD", "  "),
            ("MTA_SMART_RELAY", " a.example "),
        ])
        .unwrap();
        assert_eq!(settings.username, None);
        assert_eq!(settings.password.unwrap().expose(), "  ");
        assert_eq!(settings.smart_relay.unwrap().to_string(), "a.example");
    }

    #[test]
    fn secrets_are_masked() {
        let settings = settings(&[("MTA_PASSWORD", "hunter2")]).unwrap();
        assert!(!format!("{settings:?}").contains("hunter2"));
        assert_eq!(settings.password.unwrap().to_string(), MASK);
    }

    #[test]
    fn the_core_refuses_a_hand_over_that_is_none() {
        assert!(Settings::from_json("").is_err());
        assert!(Settings::from_json("{\"hostnam\":\"a\"}").is_err());
        let problems = Settings::from_json("{}").unwrap_err();
        assert!(problems.iter().any(|problem| problem.line == "Error: hostname has no value"));
    }

    #[test]
    fn each_rule_has_its_line() {
        let far = format!("/{}", "x".repeat(96));
        for (vars, line) in [
            (&[("MTA_UI_PORT", "0")][..], "Error: ui_port value must be between 1 and 65535"),
            (&[("MTA_UI_PORT", "http")], "Error: ui_port value must be between 1 and 65535"),
            (&[("MTA_LOGS_ENABLED", "perhaps")], "Error: logs_enabled value must be yes or no"),
            (
                &[("MTA_LOGS_ENABLED", "yes")],
                "Error: logs are enabled but the 'log' terminal is not connected.",
            ),
            (
                &[("MTA_SSL_DISABLED", "no")],
                "Error: ssl_disabled=no, but ssl key files are not defined!",
            ),
            (
                &[("MTA_MAILLOG_FILENAME", "../x")],
                "Error: maillog_filename must stay inside the log share",
            ),
            (
                &[("MTA_MAILLOG_FILENAME", "./")],
                "Error: maillog_filename must stay inside the log share",
            ),
            (
                &[("MTA_QUEUE_LIFETIME", "1M")],
                "Error: queue_lifetime value must have m for minutes or d for days",
            ),
            (
                &[("MTA_VOLUME_KEY", "/k"), ("MTA_TERMINAL_FS", "nas:/keys")],
                "Error: both the key volume and the 'fs' terminal are connected; use one of them.",
            ),
            (
                &[("MTA_MINIMAL_BACKOFF_TIME", "2h")],
                "Error: minimal_backoff_time must not be longer than maximal_backoff_time\n  they \
                are 2h and 1h",
            ),
            (&[("MTA_ORIGIN_DOMAIN", "a@b")], "Error: origin_domain must be a host name"),
            (
                &[("MTA_MESSAGE_DROP_HEADERS", "yes")],
                "Error: message_drop_headers must be names of header fields",
            ),
            (
                &[("MTA_MESSAGE_DROP_HEADERS", "Bcc:")],
                "Error: message_drop_headers must be names of header fields",
            ),
            (
                &[("MTA_MESSAGE_DROP_HEADERS", "bcc received")],
                "Error: message_drop_headers must not contain Received",
            ),
            (&[("MTA_RUN_DIR", "/data")], "Error: run_dir and volume_data must differ"),
            (
                &[("MTA_RUN_DIR", &far)],
                "Error: run_dir is too long for the path of a socket: make it 3 octets shorter",
            ),
            (
                &[("MTA_WATCHDOG_TIME", "14s")],
                "Error: watchdog_time value must be 0 or at least 15s",
            ),
            (&[("MTA_SYSLOG_NAME", "post fix")], "Error: syslog_name must be"),
            (
                &[("MTA_SESSION_RESERVE", "11"), ("MTA_SESSION_LIMIT", "10")],
                "Error: session_reserve must not be more than session_limit",
            ),
            (
                &[("MTA_SESSION_RESERVE", "-1")],
                "Error: session_reserve value must be between 0 and 1000000",
            ),
            (
                &[("MTA_MAILLOG_BUFFER_LIMIT", "1K")],
                "Error: maillog_buffer_limit value must be at least 64K",
            ),
            (
                &[("MTA_WORKER_THREADS", "257")],
                "Error: worker_threads value must be between 1 and 256, or 0 for half of the \
                processors\n  MTA_WORKER_THREADS is '257'",
            ),
            (&[("MTA_WORKER_THREADS", "-1")], "Error: worker_threads value must be"),
            (&[("MTA_WORKER_THREADS", "all")], "Error: worker_threads value must be"),
            (&[("MTA_SMTP_PORT", "80")], "Error: ui_port and smtp_port must differ"),
            (
                &[("MTA_WEBHOOK_SECRET", "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXG")],
                "Error: webhook_secret must be whsec_ and 24 to 64 octets in base 64",
            ),
            (&[("MTA_UI_URL", "mail.example")], "Error: ui_url must be the page's address"),
            (&[("MTA_UI_HOSTS", "a.example:80")], "Error: ui_hosts contains 'a.example:80'"),
            (&[("MTA_API_TOKENS", "shop:s3cret")], "Error: api_tokens has a wrong entry"),
            (
                &[
                    ("MTA_USERNAME", "anna"),
                    ("MTA_PASSWORD", "x"),
                    ("MTA_API_TOKENS", "anna:{PLAIN}y"),
                ],
                "Error: api_tokens must not have the name of username",
            ),
            (&[("MTA_UI_TLS", "yes")], "Error: ui_tls=yes needs key and certificate"),
            (
                &[("MTA_BOUNCE_ADDRESS", "postmaster")],
                "Error: bounce_address must be an address such as postmaster@example.org",
            ),
            (&[("MTA_TIMEZONE", "Mars/Base")], "Error: timezone is not a known time zone"),
            (&[("MTA_USERNAME", "a:b")], "Error: username must not contain a colon"),
            (
                &[("MTA_PASSWORD", "$2y$08$short")],
                "Error: password begins like a bcrypt hash and is none; make one with",
            ),
            (
                &[("MTA_PASSWORD", "$argon2id$x")],
                "Error: password begins like an Argon2 hash and is none; make one with",
            ),
            (
                &[("MTA_PASSWORD", "$6$salt$hash")],
                "Error: password looks like a hash of another kind than bcrypt and Argon2",
            ),
            (
                &[("MTA_API_TOKENS", "shop:{PLAIN}")],
                "Error: api_tokens has a wrong entry, number 1: the hash of 'shop' has {PLAIN}",
            ),
            (
                &[("MTA_TERMINAL_FS", "//nas/share")],
                "Error: terminal_fs must be server[:port]:/export",
            ),
            (
                &[("MTA_TERMINAL_LOG", "nas:/export")],
                "Error: terminal_log must be //server[:port]/share",
            ),
            (&[("MTA_SMART_RELAY", "smtp://x")], "Error: smart_relay must be a host"),
        ] {
            let problems = settings(vars).unwrap_err();
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert!(problems[0].starts_with(line), "{problems:?}");
        }
        assert!(settings(&[("MTA_MAILLOG_FILENAME", "/srv1/mail..log")]).is_ok());
    }

    #[test]
    fn mail_gets_as_many_threads_as_wanted_or_half_of_the_processors() {
        let processors = std::thread::available_parallelism().unwrap().get();
        for text in ["", "0"] {
            let settings = settings(&[("MTA_WORKER_THREADS", text)]).unwrap();
            assert_eq!(settings.worker_threads, processors.div_ceil(2).min(256), "{text:?}");
            assert_eq!(settings.to_values()["worker_threads"], settings.worker_threads.to_string());
        }
        assert_eq!(settings(&[("MTA_WORKER_THREADS", "1")]).unwrap().worker_threads, 1);
        assert_eq!(settings(&[("MTA_WORKER_THREADS", "256")]).unwrap().worker_threads, 256);
    }
}

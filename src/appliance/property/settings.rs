//! The table of properties: the type and the reader of each.
//!
//! A new property is an entry of `appliance/mta.toml` (default, meaning), a line here, and the
//! place that uses it.

use super::account::{Account, accounts, users};
use super::choice::{
    AddressMasking, LogFormat, OtherRecipients, SmartRelayMode, UpstreamTls, WebhookEvent,
    webhook_events,
};
use super::destination_rate::{DestinationRate, destination_rates};
use super::dkim::{DkimDomain, DkimFailure, dkim_domains};
use super::mail_address::{self, SenderRewrite};
use super::name::{self, HeaderNames};
use super::named_upstream::NamedUpstream;
use super::network;
use super::oauth;
use super::preset::Preset;
use super::properties_macro::properties;
use super::proxy::{ProxyNetwork, proxy_networks};
use super::secret::{self, Secret};
use super::value;
use super::webhook::{Webhook, webhooks};
use crate::appliance::terminal;
use crate::ground::endpoint::Endpoint;
use crate::ground::host::HostSpec;
use crate::ground::rate_limit::RateLimit;
use crate::ground::token_bucket::Rate;
use crate::ground::web_address::WebAddress;
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

properties! {
    /// Every property with its type. Meanings and defaults: docs/properties.md. Sizes are in
    /// octets.
    pub struct Settings {
        // This relay.
        /// In lower case, without a dot at the end.
        hostname: String = name::host_name;
        timezone: Option<String> = name::time_zone;
        log_format: LogFormat = LogFormat::from_str;
        /// Obeyed before the other properties are read.
        import_environment: bool = value::flag;
        run_dir: PathBuf = value::run_dir;
        worker_threads: usize = value::threads;
        drain_time: Duration = value::duration_or_zero;
        /// Zero = for ever.
        watchdog_time: Duration = value::watchdog_time;

        // Volumes and terminals, as configured.
        volume_data: PathBuf = value::absolute_path;
        volume_key: Option<PathBuf> = value::absolute_path;
        terminal_log: Option<String> = terminal::share_text;
        terminal_fs: Option<String> = terminal::export_text;
        /// `http://host[:port][/path]` without a slash at the end.
        terminal_mon: Option<String> = name::http_url;
        terminal_net: Option<String> = value::text;
        mon_interval: Duration = value::duration;

        // Clients.
        /// `::` means both families.
        listen: Vec<IpAddr> = network::addresses;
        smtp_port: u16 = value::port;
        smtps_port: u16 = value::port;
        smtpd_trusted_networks: Vec<IpNet> = network::networks;
        /// See [`Settings::smtp_proxies`], [`Settings::http_proxies`].
        proxy_networks: Vec<ProxyNetwork> = proxy_networks;
        xclient_networks: Vec<IpNet> = network::networks;
        /// Opens only when there are users.
        submission_port: u16 = value::port;
        smtp_users: Vec<Account> = users;
        plaintext_auth_networks: Vec<IpNet> = network::networks;
        /// In lower case. Empty = any.
        allowed_sender_domains: Vec<String> = name::host_names;
        session_limit: u32 = value::count;
        session_limit_per_address: u32 = value::count;
        /// See [`Settings::sessions_reserved`].
        session_reserve: Option<u32> = value::count_or_zero;

        // TLS. Files are relative to the root of the key volume.
        ssl_disabled: bool = value::flag;
        ssl_key_file: Option<String> = value::text;
        ssl_cert_file: Option<String> = value::text;

        // Accepted mail, and changes to it.
        message_size_limit: u64 = value::size;
        /// None = the host name.
        origin_domain: Option<String> = name::host_name;
        message_drop_headers: HeaderNames = name::header_names;
        always_add_missing_headers: bool = value::flag;

        // DKIM.
        /// Empty = every domain with a key.
        dkim_domains: Vec<DkimDomain> = dkim_domains;
        dkim_generate: bool = value::flag;
        dkim_failure: DkimFailure = DkimFailure::from_str;
        dkim_sign_again: bool = value::flag;

        // Routing.
        smart_relay: Option<HostSpec> = name::host;
        smart_relay_preset: Option<Preset> = Preset::from_str;
        smart_relay_username: Option<String> = value::text;
        smart_relay_password: Option<Secret> = secret::login_password;
        /// None = that of the preset.
        smart_relay_oauth_token_url: Option<Endpoint> = oauth::token_url;
        smart_relay_oauth_tenant: Option<String> = oauth::tenant;
        smart_relay_oauth_client_id: Option<String> = value::text;
        smart_relay_oauth_client_secret: Option<Secret> = secret::login_password;
        smart_relay_oauth_refresh_token: Option<Secret> = secret::login_password;
        /// None = that of the preset, or none.
        smart_relay_oauth_scope: Option<String> = value::text;
        smart_relay_tls: UpstreamTls = UpstreamTls::from_str;
        smart_relay_ca: Option<PathBuf> = value::absolute_path;
        smart_relay_cert_file: Option<PathBuf> = value::absolute_path;
        smart_relay_key_file: Option<PathBuf> = value::absolute_path;
        /// None = the limit of the preset, or none but `destination_concurrency_limit`.
        smart_relay_connections: Option<u32> = value::count;
        smart_relay_mode: SmartRelayMode = SmartRelayMode::from_str;
        /// None = the rate of the preset, or none.
        smart_relay_rate: Option<RateLimit> = RateLimit::from_str;
        smart_relay_mails_per_connection: Option<u32> = value::count;
        /// None = the limit of the preset, or none but `destination_recipient_limit`.
        smart_relay_recipient_limit: Option<u32> = value::count;
        cc_mta: Option<HostSpec> = name::host;
        /// Empty = those of /etc/resolv.conf.
        dns_servers: Vec<SocketAddr> = network::servers;
        local_mail_hosts: Vec<IpNet> = network::networks;
        destination_concurrency_limit: u32 = value::count;
        destination_recipient_limit: u32 = value::count;
        /// Of [`super::destination_rate::DestinationRate::domain`] each once. Empty = no limit.
        destination_rates: Vec<DestinationRate> = destination_rates;

        // The queue.
        queue_lifetime: Duration = value::duration;
        minimal_backoff_time: Duration = value::duration;
        /// Never less than the first pause.
        maximal_backoff_time: Duration = value::duration;
        /// Zero = never.
        delay_warning_time: Duration = value::duration_or_zero;
        bounce_address: Option<String> = name::mailbox;

        // Modes for staging and devices.
        redirect_all_to: Option<String> = mail_address::address;
        /// In lower case: addresses, domains, `*.` and a domain. Empty = every recipient.
        recipient_allow: Vec<String> = mail_address::patterns;
        recipient_others: OtherRecipients = OtherRecipients::from_str;
        capture: bool = value::flag;
        /// 0 = off.
        device_port: u16 = value::port_or_zero;
        device_networks: Vec<IpNet> = network::networks;
        device_user: String = name::user_name;
        /// Of all devices together; `None` = no limit.
        device_rate: Option<Rate> = Rate::from_str;
        rewrite_from: Option<String> = mail_address::address;
        sender_rewrites: Vec<SenderRewrite> = mail_address::rewrites;

        // The mail log.
        logs_enabled: bool = value::flag;
        /// Relative to the log share.
        maillog_filename: Option<String> = value::text;
        syslog_name: String = name::syslog_name;
        maillog_buffer_limit: u64 = value::buffer_limit;

        // The history.
        history_enabled: bool = value::flag;
        history_size: u64 = value::size;
        history_time: Duration = value::duration;
        /// Zero = not kept.
        history_content: Duration = value::duration_or_zero;
        address_masking: AddressMasking = AddressMasking::from_str;

        // The pages and the API.
        ui_port: u16 = value::port;
        ui_tls: bool = value::flag;
        ui_read_only: bool = value::flag;
        ui_public: bool = value::flag;
        ui_url: Option<WebAddress> = WebAddress::from_str;
        ui_hosts: Vec<String> = name::host_names;
        username: Option<String> = name::user_name;
        password: Option<Secret> = secret::password;
        api_tokens: Vec<Account> = accounts;

        // Webhooks.
        webhook_url: Vec<Webhook> = webhooks;
        webhook_events: Vec<WebhookEvent> = webhook_events;
        webhook_secret: Option<Secret> = secret::webhook_secret;
        webhook_allow: Vec<IpNet> = network::networks;
        webhook_ca: Option<PathBuf> = value::absolute_path;
    }
    groups {
        /// Upstreams beside `smart_relay`, or instead of it, by name.
        upstream: NamedUpstream;
    }
}

impl Settings {
    /// Of [`Settings::session_limit`], the sessions reserved for trusted clients: a fifth unless
    /// the property is set.
    pub fn sessions_reserved(&self) -> u32 {
        self.session_reserve.unwrap_or(self.session_limit / 5)
    }
}

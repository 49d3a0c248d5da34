//! The variables of other relay images, and what they are here.
//!
//! docs/migration.md shows this table, one section for each image; a test holds one against the
//! other.

use super::convert;

/// An image whose variables are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Image {
    /// `boky/postfix`, and its name `docker-postfix`.
    Boky,
    /// The relay part of `docker-mailserver`.
    Mailserver,
    /// `juanluisbaptiste/postfix`.
    Juanluis,
    /// `namshi/smtp`, and `ixdotai/smtp`, which has the same variables.
    Namshi,
}
use Image::{Boky, Juanluis, Mailserver, Namshi};

impl Image {
    /// Its name, as people know it.
    pub fn name(self) -> &'static str {
        match self {
            Boky => "boky/postfix",
            Mailserver => "docker-mailserver",
            Juanluis => "juanluisbaptiste/postfix",
            Namshi => "namshi/smtp",
        }
    }
}

/// One variable of other images.
pub struct ForeignVariable {
    /// Its name; `POSTFIX_` and the parameter for those that set one of Postfix.
    pub name: &'static str,
    /// The images that have it.
    pub images: &'static [Image],
    /// What it is here.
    pub meaning: Meaning,
}

/// Gives the text for a property, nothing, or why not.
pub type Conversion = fn(&str) -> Result<Option<String>, String>;

/// What a variable is here.
pub enum Meaning {
    /// A property, with the same value.
    Becomes(&'static str),
    /// A property, with the value in another form.
    Converted(&'static str, Conversion),
    /// A property with a host; its port is in another variable.
    Host {
        /// The property.
        property: &'static str,
        /// The variable with the port.
        port: &'static str,
        /// The image's default; empty = none.
        default_port: &'static str,
    },
    /// The port of the host in that variable, and the property that both become.
    PortOf(&'static str, &'static str),
    /// A property, and a preset of the upstream unless another variable chooses one.
    WithPreset {
        /// The property.
        property: &'static str,
        /// The preset.
        preset: &'static str,
        /// The variable that chooses one; empty = none.
        unless: &'static str,
    },
    /// It has no effect here, for this reason.
    NoEffect(&'static str),
    /// It cannot be taken over; what to do instead.
    Impossible(&'static str),
}
use Meaning::{Becomes, Converted, Host, Impossible, NoEffect, PortOf, WithPreset};

const TLS_FILES: &str = "TLS for clients is MTA_SSL_DISABLED=no, with MTA_SSL_KEY_FILE and \
    MTA_SSL_CERT_FILE on the key volume";
const RESTRICTIONS: &str = "who may send what is MTA_SMTPD_TRUSTED_NETWORKS, MTA_SMTP_USERS and \
    MTA_ALLOWED_SENDER_DOMAINS";
const FIRST_TOKEN: &str = "the first access token is requested with the refresh token";
const NO_DOMAINS: &str = "this version takes mail for no domain of its own; remove it";
const NO_TABLES: &str = "there are no lookup tables; sender addresses are changed by \
    MTA_REWRITE_FROM and MTA_SENDER_REWRITES";
const ALWAYS: &str = "this is always so";

const fn row(name: &'static str, images: &'static [Image], meaning: Meaning) -> ForeignVariable {
    ForeignVariable { name, images, meaning }
}

/// The table, by image; a variable that several images have stands with the first.
pub static FOREIGN_VARIABLES: &[ForeignVariable] = &[
    // The upstream.
    row("RELAYHOST", &[Boky], Becomes("smart_relay")),
    row("RELAYHOST_USERNAME", &[Boky], Becomes("smart_relay_username")),
    row("RELAYHOST_PASSWORD", &[Boky], Becomes("smart_relay_password")),
    row("XOAUTH2_CLIENT_ID", &[Boky], Becomes("smart_relay_oauth_client_id")),
    row("XOAUTH2_SECRET", &[Boky], Becomes("smart_relay_oauth_client_secret")),
    row("XOAUTH2_INITIAL_REFRESH_TOKEN", &[Boky], Becomes("smart_relay_oauth_refresh_token")),
    row("XOAUTH2_TOKEN_ENDPOINT", &[Boky], Becomes("smart_relay_oauth_token_url")),
    row("XOAUTH2_INITIAL_ACCESS_TOKEN", &[Boky], NoEffect(FIRST_TOKEN)),
    row("RELAYHOST_TLS_LEVEL", &[Boky], Converted("smart_relay_tls", convert::tls_level)),
    row("POSTFIX_relayhost", &[Boky], Becomes("smart_relay")),
    row(
        "POSTFIX_smtp_tls_security_level",
        &[Boky],
        Converted("smart_relay_tls", convert::tls_level),
    ),
    row(
        "POSTFIX_smtp_sasl_password_maps",
        &[Boky],
        Impossible("the login is MTA_SMART_RELAY_USERNAME and MTA_SMART_RELAY_PASSWORD_FILE"),
    ),
    row(
        "POSTFIX_smtp_sasl_auth_enable",
        &[Boky],
        NoEffect("the relay logs in where it has a login"),
    ),
    row(
        "POSTFIX_smtp_sasl_security_options",
        &[Boky],
        NoEffect("a login never goes over a connection without TLS"),
    ),
    row("POSTFIX_smtp_use_tls", &[Boky], NoEffect("next hops get TLS where they offer it")),
    // This host.
    row("POSTFIX_myhostname", &[Boky], Becomes("hostname")),
    row("POSTFIX_myorigin", &[Boky], Becomes("origin_domain")),
    row("POSTFIX_mydomain", &[Boky], Becomes("origin_domain")),
    row("POSTFIX_inet_interfaces", &[Boky], Converted("listen", convert::interfaces)),
    row("POSTFIX_inet_protocols", &[Boky], Converted("listen", convert::protocols)),
    row("TZ", &[Boky, Mailserver, Juanluis, Namshi], Becomes("timezone")),
    row("LOG_FORMAT", &[Boky], Converted("log_format", convert::log_format)),
    // Clients.
    row("POSTFIX_mynetworks", &[Boky], Converted("smtpd_trusted_networks", convert::networks)),
    row("ALLOWED_SENDER_DOMAINS", &[Boky], Becomes("allowed_sender_domains")),
    row(
        "ALLOW_EMPTY_SENDER_DOMAINS",
        &[Boky],
        NoEffect("without MTA_ALLOWED_SENDER_DOMAINS clients that may relay use any sender"),
    ),
    row("SMTPD_SASL_USERS", &[Boky], Converted("smtp_users", convert::users)),
    row("POSTFIX_smtpd_recipient_restrictions", &[Boky], Impossible(RESTRICTIONS)),
    row("POSTFIX_smtpd_relay_restrictions", &[Boky], Impossible(RESTRICTIONS)),
    row("POSTFIX_smtpd_sender_restrictions", &[Boky], Impossible(RESTRICTIONS)),
    row("POSTFIX_smtpd_client_restrictions", &[Boky], Impossible(RESTRICTIONS)),
    row("POSTFIX_smtpd_tls_cert_file", &[Boky], Impossible(TLS_FILES)),
    row("POSTFIX_smtpd_tls_key_file", &[Boky], Impossible(TLS_FILES)),
    row("POSTFIX_smtpd_tls_security_level", &[Boky], Impossible(TLS_FILES)),
    row("POSTFIX_mydestination", &[Boky], Impossible(NO_DOMAINS)),
    row("POSTFIX_relay_domains", &[Boky], Impossible(NO_DOMAINS)),
    // Mail and the queue.
    row(
        "POSTFIX_message_size_limit",
        &[Boky, Mailserver],
        Converted("message_size_limit", convert::size),
    ),
    row("POSTFIX_mailbox_size_limit", &[Boky], NoEffect("there are no mailboxes")),
    row("POSTFIX_maximal_queue_lifetime", &[Boky], Converted("queue_lifetime", convert::days)),
    row(
        "POSTFIX_bounce_queue_lifetime",
        &[Boky],
        NoEffect("bounces have the lifetime of all mail, MTA_QUEUE_LIFETIME"),
    ),
    row(
        "POSTFIX_minimal_backoff_time",
        &[Boky],
        Converted("minimal_backoff_time", convert::seconds),
    ),
    row(
        "POSTFIX_maximal_backoff_time",
        &[Boky],
        Converted("maximal_backoff_time", convert::seconds),
    ),
    row(
        "POSTFIX_queue_run_delay",
        &[Boky],
        NoEffect("each message has its own time; see MTA_MINIMAL_BACKOFF_TIME"),
    ),
    row("POSTFIX_delay_warning_time", &[Boky], Converted("delay_warning_time", convert::hours)),
    row(
        "POSTFIX_default_destination_concurrency_limit",
        &[Boky],
        Converted("destination_concurrency_limit", convert::count),
    ),
    row(
        "POSTFIX_smtp_destination_concurrency_limit",
        &[Boky],
        Converted("destination_concurrency_limit", convert::count),
    ),
    row(
        "POSTFIX_default_destination_recipient_limit",
        &[Boky],
        Converted("destination_recipient_limit", convert::count),
    ),
    row(
        "POSTFIX_smtp_destination_recipient_limit",
        &[Boky],
        Converted("destination_recipient_limit", convert::count),
    ),
    row("POSTFIX_always_add_missing_headers", &[Boky], Becomes("always_add_missing_headers")),
    row(
        "POSTFIX_always_bcc",
        &[Boky],
        Impossible("a copy of every mail goes to the server that MTA_CC_MTA names"),
    ),
    row("POSTFIX_smtp_header_checks", &[Boky], Impossible(NO_TABLES)),
    row("POSTFIX_header_checks", &[Boky], Impossible(NO_TABLES)),
    row("SMTP_HEADER_CHECKS", &[Boky], Impossible(NO_TABLES)),
    row("MASQUERADED_DOMAINS", &[Boky], Impossible(NO_TABLES)),
    row(
        "ANONYMIZE_EMAILS",
        &[Boky],
        Impossible("addresses in history and webhooks are masked by MTA_ADDRESS_MASKING"),
    ),
    // Signatures.
    row("DKIM_SELECTOR", &[Boky], Converted("dkim_domains", convert::selectors)),
    row("DKIM_AUTOGENERATE", &[Boky], Converted("dkim_generate", convert::switch)),
    // What is always so, or nothing here.
    row("POSTFIX_smtputf8_enable", &[Boky], NoEffect(ALWAYS)),
    row("POSTFIX_maillog_file", &[Boky], NoEffect("log lines go to standard error")),
    row("POSTFIX_compatibility_level", &[Boky], NoEffect("it is about Postfix's own defaults")),
    row("POSTFIX_disable_vrfy_command", &[Boky], NoEffect("VRFY tells nobody anything")),
    row("POSTFIX_smtpd_banner", &[Boky], NoEffect("the greeting has the host name alone")),
    row("INBOUND_DEBUGGING", &[Boky], NoEffect("there are no levels of logging")),
    row("SKIP_ROOT_SPOOL_CHOWN", &[Boky], NoEffect("the owner of the data volume is checked")),
    // docker-mailserver.
    row(
        "RELAY_HOST",
        &[Mailserver],
        Host { property: "smart_relay", port: "RELAY_PORT", default_port: "25" },
    ),
    row("RELAY_PORT", &[Mailserver], PortOf("RELAY_HOST", "smart_relay")),
    row("RELAY_USER", &[Mailserver], Becomes("smart_relay_username")),
    row("RELAY_PASSWORD", &[Mailserver], Becomes("smart_relay_password")),
    row("DEFAULT_RELAY_HOST", &[Mailserver], Becomes("smart_relay")),
    row("OVERRIDE_HOSTNAME", &[Mailserver], Becomes("hostname")),
    row("POSTMASTER_ADDRESS", &[Mailserver], Becomes("bounce_address")),
    row(
        "PERMIT_DOCKER",
        &[Mailserver],
        Impossible("write the networks into MTA_SMTPD_TRUSTED_NETWORKS"),
    ),
    row("SSL_TYPE", &[Mailserver], Impossible(TLS_FILES)),
    row("LOG_LEVEL", &[Mailserver], NoEffect("there are no levels of logging")),
    // juanluisbaptiste/postfix.
    row(
        "SMTP_SERVER",
        &[Juanluis],
        Host { property: "smart_relay", port: "SMTP_PORT", default_port: "587" },
    ),
    row("SMTP_PORT", &[Juanluis], PortOf("SMTP_SERVER", "smart_relay")),
    row("SMTP_USERNAME", &[Juanluis], Becomes("smart_relay_username")),
    row("SMTP_PASSWORD", &[Juanluis], Becomes("smart_relay_password")),
    row("SERVER_HOSTNAME", &[Juanluis], Becomes("hostname")),
    row("SMTP_NETWORKS", &[Juanluis], Converted("smtpd_trusted_networks", convert::networks)),
    row("MESSAGE_SIZE_LIMIT", &[Juanluis], Converted("message_size_limit", convert::size)),
    row("OVERWRITE_FROM", &[Juanluis], Converted("rewrite_from", convert::address)),
    row("ALWAYS_ADD_MISSING_HEADERS", &[Juanluis], Becomes("always_add_missing_headers")),
    row("LOG_SUBJECT", &[Juanluis], NoEffect("subjects are in the history and on the page")),
    row("SMTP_HEADER_TAG", &[Juanluis], Impossible("no header field is added; remove it")),
    row("DESTINATION", &[Juanluis], Impossible(NO_DOMAINS)),
    row("DEBUG", &[Juanluis], NoEffect("there are no levels of logging")),
    // namshi/smtp.
    row("MAILNAME", &[Namshi], Becomes("hostname")),
    row(
        "SMARTHOST_ADDRESS",
        &[Namshi],
        Host { property: "smart_relay", port: "SMARTHOST_PORT", default_port: "25" },
    ),
    row("SMARTHOST_PORT", &[Namshi], PortOf("SMARTHOST_ADDRESS", "smart_relay")),
    row("SMARTHOST_USER", &[Namshi], Becomes("smart_relay_username")),
    row("SMARTHOST_PASSWORD", &[Namshi], Becomes("smart_relay_password")),
    row(
        "SMARTHOST_ALIASES",
        &[Namshi],
        NoEffect("the login goes to the host that MTA_SMART_RELAY names, whatever its other names"),
    ),
    row("RELAY_NETWORKS", &[Namshi], Converted("smtpd_trusted_networks", convert::colon_networks)),
    row("RELAY_DOMAINS", &[Namshi], Impossible(NO_DOMAINS)),
    row("KEY_PATH", &[Namshi], Impossible(TLS_FILES)),
    row("CERTIFICATE_PATH", &[Namshi], Impossible(TLS_FILES)),
    row("PORT", &[Namshi], Becomes("smtp_port")),
    row("BIND_IP", &[Namshi], Converted("listen", convert::interfaces)),
    row(
        "GMAIL_USER",
        &[Namshi],
        WithPreset { property: "smart_relay_username", preset: "gmail", unless: "" },
    ),
    row("GMAIL_PASSWORD", &[Namshi], Becomes("smart_relay_password")),
    row(
        "SES_USER",
        &[Namshi],
        WithPreset {
            property: "smart_relay_username",
            preset: "ses:us-east-1",
            unless: "SES_REGION",
        },
    ),
    row("SES_PASSWORD", &[Namshi], Becomes("smart_relay_password")),
    row("SES_REGION", &[Namshi], Converted("smart_relay_preset", convert::ses_region)),
    row("SES_PORT", &[Namshi], NoEffect("the preset knows the port")),
];

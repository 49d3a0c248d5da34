//! Recognizes settings of other mail programs, and property names without their prefix.
//!
//! Purpose: users of Postfix, Exim or another image often write `RELAYHOST`. The error for such a
//! variable names the property to use. In: the name of a variable, without `MTA_`. Out: what to
//! write instead, as text. Source: postconf(5), and the variables of widespread mail images.

use super::import;
use super::name_lookup::{FILE, PropertyNames, variable};
use crate::appliance::class::PREFIX;

/// The meaning of another program's setting here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// This property.
    Property(&'static str),
    /// No property; a text about what to do instead.
    Words(&'static str),
}
use Meaning::{Property as Is, Words};

/// Names without their underscores, and whether only mail relays have such a variable.
const WORDS: &[(&str, bool, Meaning)] = &[
    ("RELAYHOST", true, Is("smart_relay")),
    ("SMARTHOST", true, Is("smart_relay")),
    ("SMARTHOSTADDRESS", true, Is("smart_relay")),
    ("SMARTRELAYHOST", true, Is("smart_relay")),
    ("RELAYSERVER", true, Is("smart_relay")),
    ("SMTPRELAY", true, Is("smart_relay")),
    ("RELAY", false, Is("smart_relay")),
    ("UPSTREAM", false, Is("smart_relay")),
    ("NEXTHOP", false, Is("smart_relay")),
    ("SMTPSERVER", false, Is("smart_relay")),
    ("RELAYPORT", false, Words("the port follows the host: MTA_SMART_RELAY=host:port")),
    ("SMARTHOSTPORT", false, Words("the port follows the host: MTA_SMART_RELAY=host:port")),
    ("SMARTRELAYPORT", true, Words("the port follows the host: MTA_SMART_RELAY=host:port")),
    ("MYNETWORKS", true, Is("smtpd_trusted_networks")),
    ("RELAYNETWORKS", true, Is("smtpd_trusted_networks")),
    ("RELAYFROMHOSTS", true, Is("smtpd_trusted_networks")),
    ("TRUSTEDNETWORKS", false, Is("smtpd_trusted_networks")),
    ("ALLOWEDNETWORKS", false, Is("smtpd_trusted_networks")),
    ("NETWORKS", false, Is("smtpd_trusted_networks")),
    ("MYHOSTNAME", true, Is("hostname")),
    ("MAILNAME", true, Is("hostname")),
    ("PRIMARYHOSTNAME", true, Is("hostname")),
    ("SERVERHOSTNAME", false, Is("hostname")),
    ("HOST", false, Is("hostname")),
    ("MYORIGIN", true, Is("origin_domain")),
    ("MYDOMAIN", true, Is("origin_domain")),
    ("DOMAIN", false, Is("origin_domain")),
    ("PORT", false, Is("smtp_port")),
    ("INETINTERFACES", true, Is("listen")),
    ("BIND", false, Is("listen")),
    ("ADDRESS", false, Is("listen")),
    ("HTTPPORT", false, Is("ui_port")),
    ("WEBPORT", false, Is("ui_port")),
    ("METRICSPORT", false, Is("ui_port")),
    ("TZ", false, Is("timezone")),
    ("TIMEZONENAME", false, Is("timezone")),
    ("TLS", false, Words("TLS for clients is MTA_SSL_DISABLED=no, with a key and a certificate")),
    ("SSL", false, Words("TLS for clients is MTA_SSL_DISABLED=no, with a key and a certificate")),
    (
        "STARTTLS",
        false,
        Words("TLS for clients is MTA_SSL_DISABLED=no, with a key and a certificate"),
    ),
    (
        "TLSENABLED",
        false,
        Words("TLS for clients is MTA_SSL_DISABLED=no, with a key and a certificate"),
    ),
    (
        "SMTPDUSETLS",
        true,
        Words("TLS for clients is MTA_SSL_DISABLED=no, with a key and a certificate"),
    ),
    (
        "SMTPDTLSSECURITYLEVEL",
        true,
        Words("TLS for clients is MTA_SSL_DISABLED=no, with a key and a certificate"),
    ),
    (
        "SMTPTLSSECURITYLEVEL",
        true,
        Words("next hops get STARTTLS where they offer it; there is nothing to set"),
    ),
    ("SMTPDTLSKEYFILE", true, Is("ssl_key_file")),
    ("SMTPDTLSCERTFILE", true, Is("ssl_cert_file")),
    ("TLSKEY", false, Is("ssl_key_file")),
    ("TLSKEYFILE", false, Is("ssl_key_file")),
    ("TLSCERT", false, Is("ssl_cert_file")),
    ("TLSCERTFILE", false, Is("ssl_cert_file")),
    (
        "LOGLEVEL",
        false,
        Words("there are no levels of logging; MTA_LOG_FORMAT is the form of the lines"),
    ),
    (
        "DEBUG",
        false,
        Words("there are no levels of logging; MTA_LOG_FORMAT is the form of the lines"),
    ),
    (
        "VERBOSE",
        false,
        Words("there are no levels of logging; MTA_LOG_FORMAT is the form of the lines"),
    ),
    ("MAXIMALQUEUELIFETIME", true, Is("queue_lifetime")),
    ("BOUNCEQUEUELIFETIME", true, Is("queue_lifetime")),
    ("QUEUERUNDELAY", true, Is("minimal_backoff_time")),
    ("MAXMESSAGESIZE", false, Is("message_size_limit")),
    ("MAILBOXSIZELIMIT", true, Is("message_size_limit")),
    ("SIZELIMIT", false, Is("message_size_limit")),
    ("ALWAYSBCC", true, Words("a copy of every mail goes to the server that MTA_CC_MTA names")),
    ("BOUNCENOTICERECIPIENT", true, Is("bounce_address")),
    ("POSTMASTER", false, Is("bounce_address")),
    ("QUEUEDIRECTORY", true, Is("volume_data")),
    ("DATA", false, Is("volume_data")),
    ("DATADIR", false, Is("volume_data")),
    ("PUSHGATEWAY", false, Is("terminal_mon")),
    ("GATEWAY", false, Is("terminal_net")),
    ("NAMESERVERS", false, Is("dns_servers")),
    ("DNS", false, Is("dns_servers")),
    ("USER", false, Is("username")),
    ("WEBHOOK", false, Is("webhook_url")),
];

/// Names of the server that gets all mail, without underscores; and whether they have no other
/// meaning.
const SERVERS: [(&str, bool); 6] = [
    ("SMARTRELAY", true),
    ("RELAYHOST", true),
    ("SMARTHOST", true),
    ("SMTPSASL", true),
    ("RELAY", false),
    ("UPSTREAM", false),
];
/// Names for the credentials of a login there.
const LOGINS: [&str; 8] =
    ["USERNAME", "USER", "LOGIN", "PASSWORD", "PASSWD", "PASS", "AUTH", "AUTHENABLE"];

/// The text about credentials for a next hop.
const LOGIN_WORDS: &str = "the login at MTA_SMART_RELAY is MTA_SMART_RELAY_USERNAME and \
    MTA_SMART_RELAY_PASSWORD_FILE";

/// Names of properties that are also common in the environment of other programs; all others are
/// unique to Postern.
const ANYBODYS: [&str; 28] = [
    "hostname",
    "username",
    "password",
    "listen",
    "timezone",
    "log_format",
    "logs_enabled",
    "run_dir",
    "dns_servers",
    "worker_threads",
    "ssl_disabled",
    "ssl_key_file",
    "ssl_cert_file",
    "smtp_port",
    "smtps_port",
    "ui_port",
    "ui_url",
    "ui_tls",
    "ui_hosts",
    "api_tokens",
    "proxy_networks",
    "webhook_url",
    "webhook_secret",
    "webhook_events",
    "webhook_ca",
    "webhook_allow",
    "history_size",
    "session_limit",
];

/// The advice for an unknown variable `MTA_<name>`, if another relay has a similar setting.
pub fn advice(name: &str) -> Option<String> {
    let plain = plain(name);
    let found =
        WORDS.iter().find(|(word, _, _)| *word == plain).map(|(_, _, meaning)| match meaning {
            Is(property) => format!("did you mean {}?", variable(property)),
            Words(words) => (*words).to_owned(),
        });
    found.or_else(|| is_login(&plain, false).then(|| LOGIN_WORDS.to_owned()))
}

/// The advice for a variable without `MTA_`, if it was certainly meant for a mail relay.
pub fn without_prefix(names: PropertyNames<'_>, variable: &str) -> Option<String> {
    let is_upper = !variable.contains(|c: char| c.is_ascii_lowercase());
    let ours = |name: &str| {
        let named = names.variable(name)?;
        (!ANYBODYS.contains(&named.property.name.as_str())).then(|| named.variable())
    };
    let file = || ours(variable.strip_suffix(FILE)?).map(|meant| meant + FILE);
    if let Some(meant) = ours(variable).or_else(file) {
        return Some(format!(
            "{variable} is ignored: the names of all properties begin with {PREFIX}, write {meant}"
        ));
    }
    // Images with Postfix accept any of its parameters so: POSTFIX_myhostname.
    let name = variable.strip_prefix("POSTFIX_");
    let plain = plain(name.unwrap_or(variable));
    let known = WORDS
        .iter()
        .find(|(word, clear, _)| *word == plain && (name.is_some() || (*clear && is_upper)));
    let words = match known {
        Some((_, _, Is(property))) => format!("write {}", super::name_lookup::variable(property)),
        Some((_, _, Words(words))) => (*words).to_owned(),
        None if import::is_of_relays_alone(variable) => import::meaning(variable)?,
        None if is_upper && is_login(&plain, true) => LOGIN_WORDS.to_owned(),
        None if name.is_some() => "`postern describe` lists all properties".to_owned(),
        None => return None,
    };
    Some(format!(
        "{variable} is ignored: it is a setting of another relay; {words}, or set \
        MTA_IMPORT_ENVIRONMENT=yes to take all such variables over"
    ))
}

/// `surely`: only if the server can only be a smart relay.
fn is_login(plain: &str, surely: bool) -> bool {
    SERVERS.iter().any(|(server, clear)| (*clear || !surely) && plain.starts_with(server))
        && LOGINS.iter().any(|login| plain.ends_with(login))
}

fn plain(name: &str) -> String {
    let name = name.strip_suffix(FILE).filter(|name| by_plain(name)).unwrap_or(name);
    name.chars().filter(|c| *c != '_').collect::<String>().to_ascii_uppercase()
}

/// Whether a name without `_FILE` is in the table or a login: `TLS_KEY_FILE` itself is in the
/// table.
fn by_plain(name: &str) -> bool {
    let plain: String = name.chars().filter(|c| *c != '_').collect::<String>().to_ascii_uppercase();
    let whole = format!("{plain}FILE");
    WORDS.iter().all(|(word, _, _)| *word != whole)
        && (WORDS.iter().any(|(word, _, _)| *word == plain) || is_login(&plain, false))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::appliance::class::class;
    use std::collections::BTreeSet;

    #[test]
    fn the_table_names_properties_that_there_are_each_word_once() {
        let mut words = BTreeSet::new();
        for (word, _, meaning) in WORDS {
            assert!(words.insert(word), "{word} stands there twice");
            assert!(!word.contains('_'), "{word}");
            let own = class()
                .property
                .iter()
                .any(|property| property.name.replace('_', "").to_uppercase() == *word);
            assert!(!own, "{word} is a property's own name");
            if let Is(property) = meaning {
                assert!(class().property(property).is_some(), "{property}");
            }
        }
        assert!(ANYBODYS.iter().all(|name| class().property(name).is_some()));
    }

    #[test]
    fn words_of_other_relays_are_understood() {
        for (name, words) in [
            ("RELAYHOST", "did you mean MTA_SMART_RELAY?"),
            ("RELAY_HOST", "did you mean MTA_SMART_RELAY?"),
            ("SMARTHOST", "did you mean MTA_SMART_RELAY?"),
            ("MYNETWORKS", "did you mean MTA_SMTPD_TRUSTED_NETWORKS?"),
            ("TRUSTED_NETWORKS", "did you mean MTA_SMTPD_TRUSTED_NETWORKS?"),
            ("PORT", "did you mean MTA_SMTP_PORT?"),
            ("TZ", "did you mean MTA_TIMEZONE?"),
            ("TLS", "MTA_SSL_DISABLED=no"),
            ("LOG_LEVEL", "MTA_LOG_FORMAT"),
            ("TLS_KEY_FILE", "did you mean MTA_SSL_KEY_FILE?"),
            ("RELAYHOST_FILE", "did you mean MTA_SMART_RELAY?"),
            ("RELAYHOST_USERNAME", "MTA_SMART_RELAY_USERNAME and"),
            ("SMARTHOST_AUTH", "MTA_SMART_RELAY_USERNAME and"),
        ] {
            assert!(advice(name).unwrap_or_default().contains(words), "{name}: {:?}", advice(name));
        }
        for name in ["XYZZY", "HOSTNME", "PASSWORT", "FILE", ""] {
            assert_eq!(advice(name), None, "{name}");
        }
    }

    #[test]
    fn a_forgotten_prefix_is_noticed_where_nobody_else_has_the_name() {
        for (variable, words) in [
            ("SMART_RELAY", "write MTA_SMART_RELAY"),
            ("SMTPD_TRUSTED_NETWORKS", "write MTA_SMTPD_TRUSTED_NETWORKS"),
            ("SMTPD_TRUSTED_NETWORKS_FILE", "write MTA_SMTPD_TRUSTED_NETWORKS_FILE"),
            ("QUEUE_LIFETIME", "write MTA_QUEUE_LIFETIME"),
            ("RELAYHOST", "write MTA_SMART_RELAY"),
            ("MYNETWORKS", "write MTA_SMTPD_TRUSTED_NETWORKS"),
            ("POSTFIX_myhostname", "write MTA_HOSTNAME"),
            ("POSTFIX_smtpd_tls_key_file", "write MTA_SSL_KEY_FILE"),
            ("POSTFIX_smtp_helo_name", "postern describe"),
            ("RELAYHOST_PASSWORD", "write MTA_SMART_RELAY_PASSWORD, or set MTA_IMPORT"),
        ] {
            let told = without_prefix(PropertyNames::of_class(), variable).unwrap_or_default();
            assert!(
                told.starts_with(&format!("{variable} is ignored: ")) && told.contains(words),
                "{variable}: {told}"
            );
        }
        for variable in [
            "HOSTNAME",
            "PASSWORD",
            "TZ",
            "PORT",
            "DEBUG",
            "relayhost",
            "UPSTREAM_USER",
            "PATH",
            "DATA_DIR",
            "_",
        ] {
            assert_eq!(without_prefix(PropertyNames::of_class(), variable), None, "{variable}");
        }
    }
}

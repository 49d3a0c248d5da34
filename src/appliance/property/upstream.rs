//! Upstreams as they are used: the properties of one, with what its preset fills in.
//!
//! In: [`Settings`]. Out: [`ConfiguredUpstream`]s, the rules that their properties violate, and
//! warnings about providers. The rules: a login needs user name, password and TLS, or user name,
//! OAuth2 and TLS; a client certificate needs its key. Limits: only the values are checked; their
//! files are in `appliance/supervise/property_files.rs`. Security: with a login there is no form of
//! TLS other than those that verify the certificate.

use super::choice::{SmartRelayMode, UpstreamTls};
use super::name_lookup::variable;
use super::named_upstream::NamedUpstream;
use super::oauth::{ConfiguredOAuth, OAuthValues};
use super::preset::{Preset, Provider, by_host};
use super::secret::Secret;
use super::settings::Settings;
use super::value_source::ValueOrigin;
use crate::appliance::failure::{Exit, Failure};
use crate::ground::host::HostSpec;
use crate::ground::rate_limit::RateLimit;
use crate::ground::tls::TlsLevel;
use std::iter;
use std::path::{Path, PathBuf};

/// The name of the upstream that the properties `smart_relay…` describe.
pub const DEFAULT: &str = "default";

/// The priority of an upstream for which none is set.
const PRIORITY: u32 = 10;

/// The same with TLS from the start (RFC 8314 §3.3).
const SUBMISSIONS: u16 = 465;
/// The ports with TLS from the start: the registered one, and the one that providers offer where
/// that is blocked.
const IMPLICIT: [u16; 2] = [SUBMISSIONS, 2465];

/// A server that takes our outgoing mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfiguredUpstream {
    /// `default` for `smart_relay`.
    pub name: String,
    /// How the names of its properties begin.
    pub prefix: String,
    /// Its host, with a port unless that is 25.
    pub host: HostSpec,
    /// TLS with it.
    pub tls: TlsLevel,
    /// User name and password; `None` = no login, or one by OAuth2.
    pub login: Option<(String, Secret)>,
    /// How access tokens are requested; `None` = no login by OAuth2.
    pub oauth: Option<ConfiguredOAuth>,
    /// The file of authorities; `None` = those of the public web.
    pub ca: Option<PathBuf>,
    /// The files of a client certificate and of its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// The file of the password; `None` when it was not in a file.
    pub password_file: Option<PathBuf>,
    /// Connections, at most.
    pub connections: Option<u32>,
    /// Recipients of one transaction, at most.
    pub recipient_limit: Option<u32>,
    /// The senders whose mail it takes: addresses, domains, `*.` with a domain; empty = any.
    pub senders: Vec<String>,
    /// The same of recipients.
    pub recipients: Vec<String>,
    /// The lowest of a group comes first.
    pub priority: u32,
    /// Its share among those of the same priority; at least 1.
    pub weight: u32,
    /// Transactions in a time.
    pub rate: Option<RateLimit>,
    /// Mails over one connection, at most.
    pub mails_per_connection: Option<u32>,
    pub(super) provider: Option<&'static Provider>,
}

impl Settings {
    /// The upstreams, `smart_relay` first.
    pub fn upstreams(&self) -> Vec<ConfiguredUpstream> {
        self.upstream_values().filter_map(|values| values.resolve().ok().flatten()).collect()
    }

    /// Whether some mail goes to the hosts of its recipients' domains.
    pub fn goes_by_domain(&self) -> bool {
        self.smart_relay_mode == SmartRelayMode::Fallback
            || !self.upstreams().iter().any(ConfiguredUpstream::is_for_all)
    }

    /// The host of `smart_relay`, or that of its preset.
    pub fn smart_relay_host(&self) -> Option<HostSpec> {
        self.upstreams().into_iter().find(|one| one.name == DEFAULT).map(|one| one.host)
    }

    /// Every rule that the properties of upstreams violate.
    pub(super) fn upstream_problems(&self) -> Vec<Failure> {
        let of_values = self.upstream_values().filter_map(|values| values.resolve().err());
        of_values.flatten().chain(self.of_names()).chain(self.of_mode()).collect()
    }

    /// A name that is taken.
    fn of_names(&self) -> Option<Failure> {
        let property = format!("upstream_{DEFAULT}_host");
        self.upstream.contains_key(DEFAULT).then(|| {
            let line = "Error: no upstream can have the name default";
            let cause = format!(
                "smart_relay is the upstream {DEFAULT}: give {} another name",
                variable(&property)
            );
            Failure::new(Exit::Property, line, cause)
        })
    }

    /// A fallback that there is not.
    fn of_mode(&self) -> Option<Failure> {
        let is_wanted = self.smart_relay_mode == SmartRelayMode::Fallback;
        let has_one = || self.upstreams().iter().any(ConfiguredUpstream::is_for_all);
        (is_wanted && !has_one()).then(|| {
            Failure::new(
                Exit::Property,
                "Error: smart_relay_mode=fallback needs smart_relay",
                format!(
                    "set {} to the host that gets what others do not take, or an upstream without \
                    senders and recipients",
                    variable("smart_relay")
                ),
            )
        })
    }

    fn upstream_values(&self) -> impl Iterator<Item = UpstreamValues<'_>> {
        let named = self.upstream.iter().map(|(name, record)| named_values(name, record));
        iter::once(self.smart_relay_properties()).chain(named)
    }

    fn smart_relay_properties(&self) -> UpstreamValues<'_> {
        UpstreamValues {
            name: DEFAULT,
            prefix: "smart_relay".to_owned(),
            host_name: "smart_relay".to_owned(),
            host: self.smart_relay.as_ref(),
            preset: self.smart_relay_preset.as_ref(),
            username: self.smart_relay_username.as_deref(),
            password: self.smart_relay_password.as_ref(),
            password_source: self.sources.get("smart_relay_password"),
            oauth: OAuthValues {
                token_url: self.smart_relay_oauth_token_url.as_ref(),
                tenant: self.smart_relay_oauth_tenant.as_deref(),
                client_id: self.smart_relay_oauth_client_id.as_deref(),
                client_secret: self.smart_relay_oauth_client_secret.as_ref(),
                client_secret_source: self.sources.get("smart_relay_oauth_client_secret"),
                refresh_token: self.smart_relay_oauth_refresh_token.as_ref(),
                refresh_token_source: self.sources.get("smart_relay_oauth_refresh_token"),
                scope: self.smart_relay_oauth_scope.as_deref(),
            },
            tls: self.smart_relay_tls,
            ca: self.smart_relay_ca.as_deref(),
            cert_file: self.smart_relay_cert_file.as_deref(),
            key_file: self.smart_relay_key_file.as_deref(),
            connections: self.smart_relay_connections,
            senders: &[],
            recipients: &[],
            priority: PRIORITY,
            weight: 1,
            recipient_limit: self.smart_relay_recipient_limit,
            rate: self.smart_relay_rate.as_ref(),
            mails_per_connection: self.smart_relay_mails_per_connection,
        }
    }
}

fn named_values<'a>(name: &'a str, record: &'a NamedUpstream) -> UpstreamValues<'a> {
    UpstreamValues {
        name,
        prefix: format!("upstream_{name}"),
        host_name: format!("upstream_{name}_host"),
        host: record.host.as_ref(),
        preset: record.preset.as_ref(),
        username: record.username.as_deref(),
        password: record.password.as_ref(),
        password_source: record.sources.get("password"),
        oauth: OAuthValues {
            token_url: record.oauth_token_url.as_ref(),
            tenant: record.oauth_tenant.as_deref(),
            client_id: record.oauth_client_id.as_deref(),
            client_secret: record.oauth_client_secret.as_ref(),
            client_secret_source: record.sources.get("oauth_client_secret"),
            refresh_token: record.oauth_refresh_token.as_ref(),
            refresh_token_source: record.sources.get("oauth_refresh_token"),
            scope: record.oauth_scope.as_deref(),
        },
        tls: record.tls,
        ca: record.ca.as_deref(),
        cert_file: record.cert_file.as_deref(),
        key_file: record.key_file.as_deref(),
        connections: record.connections,
        senders: &record.senders,
        recipients: &record.recipients,
        priority: record.priority,
        weight: record.weight,
        recipient_limit: record.recipient_limit,
        rate: record.rate.as_ref(),
        mails_per_connection: record.mails_per_connection,
    }
}

/// The values of the properties of one upstream.
struct UpstreamValues<'a> {
    name: &'a str,
    prefix: String,
    /// The property that has the host.
    host_name: String,
    host: Option<&'a HostSpec>,
    preset: Option<&'a Preset>,
    username: Option<&'a str>,
    password: Option<&'a Secret>,
    password_source: Option<&'a ValueOrigin>,
    oauth: OAuthValues<'a>,
    tls: UpstreamTls,
    ca: Option<&'a Path>,
    cert_file: Option<&'a Path>,
    key_file: Option<&'a Path>,
    connections: Option<u32>,
    senders: &'a [String],
    recipients: &'a [String],
    priority: u32,
    weight: u32,
    recipient_limit: Option<u32>,
    rate: Option<&'a RateLimit>,
    mails_per_connection: Option<u32>,
}

impl UpstreamValues<'_> {
    /// The upstream; `None` when nothing describes one.
    fn resolve(&self) -> Result<Option<ConfiguredUpstream>, Vec<Failure>> {
        let (host, preset_host) = (self.host.cloned(), self.preset.map(Preset::host));
        let mut problems: Vec<Failure> = self.of_login().into_iter().collect();
        problems.extend(self.of_certificate());
        let Some(mut host) = host.or(preset_host.clone()) else {
            problems.extend(self.of_host());
            return if problems.is_empty() { Ok(None) } else { Err(problems) };
        };
        let provider = self.preset.map(|preset| preset.provider).or_else(|| by_host(&host));
        let tls = self.tls_level(&host);
        host.port = self.port(&host, tls, preset_host.as_ref());
        let username = self.username.or(provider.and_then(|provider| provider.username));
        let login = username.zip(self.password);
        let oauth = self.oauth.resolve(&self.prefix, self.username, provider);
        let oauth = oauth.unwrap_or_else(|bad| {
            problems.extend(bad);
            None
        });
        let has_login = login.is_some() || oauth.is_some();
        if has_login && matches!(tls, TlsLevel::Plain | TlsLevel::Opportunistic) {
            problems.push(self.without_tls());
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let password_file = match self.password_source {
            Some(ValueOrigin::File(path)) if self.password.is_some() => Some(path.clone()),
            _ => None,
        };
        Ok(Some(ConfiguredUpstream {
            name: self.name.to_owned(),
            prefix: self.prefix.clone(),
            host,
            tls,
            login: login.map(|(name, password)| (name.to_owned(), password.clone())),
            oauth,
            ca: self.ca.map(Path::to_owned),
            certificate: self
                .cert_file
                .zip(self.key_file)
                .map(|(cert, key)| (cert.to_owned(), key.to_owned())),
            password_file,
            connections: self.connections.or(provider.and_then(|provider| provider.connections)),
            recipient_limit: self
                .recipient_limit
                .or(provider.and_then(|provider| provider.recipients)),
            senders: self.senders.to_vec(),
            recipients: self.recipients.to_vec(),
            priority: self.priority,
            weight: self.weight,
            rate: self.rate.cloned().or(provider.and_then(Provider::rate_limit)),
            mails_per_connection: self.mails_per_connection,
            provider,
        }))
    }

    fn tls_level(&self, host: &HostSpec) -> TlsLevel {
        let is_implicit = host.port.is_some_and(|port| IMPLICIT.contains(&port));
        match self.tls {
            UpstreamTls::None => TlsLevel::Plain,
            UpstreamTls::Opportunistic => TlsLevel::Opportunistic,
            UpstreamTls::Implicit => TlsLevel::Implicit,
            UpstreamTls::Auto | UpstreamTls::Required if is_implicit => TlsLevel::Implicit,
            UpstreamTls::Required => TlsLevel::Required,
            UpstreamTls::Auto
                if self.password.is_some()
                    || self.oauth.first().is_some()
                    || self.preset.is_some() =>
            {
                TlsLevel::Required
            }
            UpstreamTls::Auto => TlsLevel::Opportunistic,
        }
    }

    /// The port that was written, or else the one that the preset or the form of TLS gives.
    fn port(&self, host: &HostSpec, tls: TlsLevel, preset: Option<&HostSpec>) -> Option<u16> {
        if self.host.is_some() && host.port.is_some() {
            return host.port;
        }
        match tls {
            TlsLevel::Implicit => Some(SUBMISSIONS),
            _ => preset.and_then(|preset| preset.port),
        }
    }

    fn of_login(&self) -> Option<Failure> {
        if let Some(field) = self.oauth.first() {
            return self.of_both_logins(field);
        }
        let fixed = self
            .preset
            .and_then(|preset| preset.provider.username)
            .or_else(|| self.host.and_then(by_host)?.username);
        match (self.username.or(fixed.filter(|_| self.password.is_some())), self.password) {
            (Some(_), None) => Some(self.problem(
                format!("Error: {}_username needs {}_password", self.prefix, self.prefix),
                format!(
                    "set {}_FILE to a file that holds the password, or unset {}",
                    self.variable("password"),
                    self.variable("username")
                ),
            )),
            (None, Some(_)) => Some(self.problem(
                format!("Error: {}_password needs {}_username", self.prefix, self.prefix),
                format!("set {}", self.variable("username")),
            )),
            _ => None,
        }
    }

    /// A password beside OAuth2, which this property switches on.
    fn of_both_logins(&self, field: &str) -> Option<Failure> {
        let prefix = &self.prefix;
        self.password?;
        Some(self.problem(
            format!("Error: {prefix}_password and {prefix}_{field} exclude each other"),
            format!(
                "unset {} for a login by OAuth2, or {} for one with the password",
                self.variable("password"),
                self.variable(field)
            ),
        ))
    }

    fn of_certificate(&self) -> Option<Failure> {
        let (set, missing) = match (self.cert_file, self.key_file) {
            (Some(_), None) => ("cert_file", "key_file"),
            (None, Some(_)) => ("key_file", "cert_file"),
            _ => return None,
        };
        Some(self.problem(
            format!("Error: {}_{set} needs {}_{missing}", self.prefix, self.prefix),
            format!("set {}", self.variable(missing)),
        ))
    }

    /// Something describes an upstream that has no host.
    fn of_host(&self) -> Option<Failure> {
        let set = [
            ("username", self.username.is_some()),
            ("password", self.password.is_some()),
            ("ca", self.ca.is_some()),
            ("cert_file", self.cert_file.is_some()),
            ("connections", self.connections.is_some()),
            ("senders", !self.senders.is_empty()),
            ("recipients", !self.recipients.is_empty()),
            ("priority", self.priority != PRIORITY),
            ("weight", self.weight != 1),
            ("recipient_limit", self.recipient_limit.is_some()),
            ("rate", self.rate.is_some()),
            ("mails_per_connection", self.mails_per_connection.is_some()),
            ("tls", self.tls != UpstreamTls::Auto),
        ];
        let set = set.into_iter().find(|(_, is_set)| *is_set).map(|(field, _)| field);
        let field = set.or_else(|| self.oauth.first())?;
        Some(self.problem(
            format!("Error: {}_{field} needs {}", self.prefix, self.host_name),
            format!(
                "set {} to the host and port that mail goes to, or {} to its provider",
                variable(&self.host_name),
                self.variable("preset")
            ),
        ))
    }

    fn without_tls(&self) -> Failure {
        let secret = if self.password.is_some() { "password" } else { "access token" };
        self.problem(
            format!(
                "Error: {}_tls={} would send the {secret} without verified TLS",
                self.prefix,
                self.tls.as_str()
            ),
            format!(
                "unset {}, or set it to required; for a certificate of an authority of your own \
                set {}",
                self.variable("tls"),
                self.variable("ca")
            ),
        )
    }

    fn problem(&self, line: String, cause: String) -> Failure {
        Failure::new(Exit::Property, line, cause)
    }

    fn variable(&self, field: &str) -> String {
        variable(&format!("{}_{field}", self.prefix))
    }
}

impl ConfiguredUpstream {
    /// The property that has the host.
    pub fn host_property(&self) -> String {
        let field = if self.name == DEFAULT { "" } else { "_host" };
        format!("{}{field}", self.prefix)
    }

    /// Whether it takes mail of every sender to every recipient.
    pub fn is_for_all(&self) -> bool {
        self.senders.is_empty() && self.recipients.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::super::environment::read;
    use super::super::machine::Machine;
    use super::*;
    use std::ffi::OsString;

    const LOGIN: [(&str, &str); 2] =
        [("MTA_SMART_RELAY_USERNAME", "anna"), ("MTA_SMART_RELAY_PASSWORD", "hunter2")];

    fn settings(vars: &[&[(&str, &str)]]) -> Result<Settings, Vec<String>> {
        let vars = vars.concat();
        let vars = vars.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let machine =
            Machine { uid: 1000, key_volume: false, writable_run: false, runtime_dir: None };
        let words = |failures: Vec<Failure>| failures.iter().map(ToString::to_string).collect();
        read(vars, &machine).map(|loaded| loaded.settings).map_err(|bad| words(bad.problems))
    }

    fn upstream(vars: &[&[(&str, &str)]]) -> ConfiguredUpstream {
        settings(vars).unwrap().upstreams().remove(0)
    }

    #[test]
    fn the_form_of_tls_follows_login_port_and_property() {
        use TlsLevel::{Implicit, Opportunistic, Plain, Required};
        let relay = |host| [("MTA_SMART_RELAY", host)];
        let tls = |value| [("MTA_SMART_RELAY_TLS", value)];
        for (host, login, asked, expected) in [
            ("relay.example", false, "", Opportunistic),
            ("relay.example:587", true, "", Required),
            ("relay.example:587", true, "auto", Required),
            ("relay.example:465", false, "", Implicit),
            ("relay.example:2465", true, "required", Implicit),
            ("relay.example:4650", true, "IMPLICIT", Implicit),
            ("relay.example", false, "required", Required),
            ("relay.example:465", false, "none", Plain),
            ("relay.example", false, "opportunistic", Opportunistic),
        ] {
            let login = if login { &LOGIN[..] } else { &[] };
            assert_eq!(
                upstream(&[&relay(host), login, &tls(asked)]).tls,
                expected,
                "{host} {asked}"
            );
        }
        let implicit = upstream(&[&relay("relay.example"), &tls("implicit")]);
        assert_eq!(implicit.host.to_string(), "relay.example:465");
    }

    #[test]
    fn a_preset_fills_in_what_is_not_set() {
        let preset = |word| [("MTA_SMART_RELAY_PRESET", word)];
        let gmail = upstream(&[&preset("gmail"), &LOGIN]);
        assert_eq!(gmail.host.to_string(), "[smtp.gmail.com]:587");
        assert_eq!((gmail.tls, gmail.recipient_limit), (TlsLevel::Required, Some(100)));
        let other = [("MTA_SMART_RELAY", "smtp-broadcasts.postmarkapp.com")];
        let postmark = upstream(&[&preset("postmark"), &other, &LOGIN]);
        assert_eq!(postmark.host.to_string(), "smtp-broadcasts.postmarkapp.com:587");
        let office = upstream(&[&preset("office365"), &LOGIN]);
        assert_eq!(office.connections, Some(3));
        let rate = |upstream: &ConfiguredUpstream| upstream.rate.as_ref().map(ToString::to_string);
        assert_eq!(rate(&office).as_deref(), Some("30/min + 10000/day"));
        assert_eq!((rate(&gmail), gmail.mails_per_connection), (None, None));
        let limits = [
            ("MTA_SMART_RELAY_RATE", "5/s"),
            ("MTA_SMART_RELAY_RECIPIENT_LIMIT", "10"),
            ("MTA_SMART_RELAY_MAILS_PER_CONNECTION", "20"),
        ];
        let limited = upstream(&[&preset("office365"), &LOGIN, &limits]);
        assert_eq!(rate(&limited).as_deref(), Some("5/s"));
        assert_eq!((limited.recipient_limit, limited.mails_per_connection), (Some(10), Some(20)));
        let more = [("MTA_SMART_RELAY_CONNECTIONS", "2")];
        assert_eq!(upstream(&[&preset("office365"), &LOGIN, &more]).connections, Some(2));
        let key = upstream(&[&preset("sendgrid"), &LOGIN[1..]]);
        assert_eq!(key.login.unwrap().0, "apikey");
        let implicit =
            upstream(&[&preset("gmail"), &LOGIN, &[("MTA_SMART_RELAY_TLS", "implicit")]]);
        assert_eq!(implicit.host.to_string(), "[smtp.gmail.com]:465");
    }

    #[test]
    fn half_an_upstream_is_an_error_that_says_what_to_do() {
        let relay = [("MTA_SMART_RELAY", "relay.example:587")];
        for (vars, words) in [
            (
                &[&relay[..], &LOGIN[..1]][..],
                "Error: smart_relay_username needs smart_relay_password\n  set \
                MTA_SMART_RELAY_PASSWORD_FILE to a file",
            ),
            (&[&relay, &LOGIN[1..]], "Error: smart_relay_password needs smart_relay_username"),
            (&[&LOGIN], "Error: smart_relay_username needs smart_relay\n  set MTA_SMART_RELAY to"),
            (
                &[&relay, &LOGIN, &[("MTA_SMART_RELAY_TLS", "none")]],
                "Error: smart_relay_tls=none would send the password without verified TLS",
            ),
            (
                &[&relay, &LOGIN, &[("MTA_SMART_RELAY_TLS", "opportunistic")]],
                "Error: smart_relay_tls=opportunistic would send the password",
            ),
            (
                &[&relay, &[("MTA_SMART_RELAY_CERT_FILE", "/c")]],
                "Error: smart_relay_cert_file needs smart_relay_key_file",
            ),
            (
                &[&relay, &LOGIN[..1], &[("MTA_SMART_RELAY_PASSWORD", "a\nb")]],
                "Error: MTA_SMART_RELAY_PASSWORD contains control characters",
            ),
        ] {
            let told = settings(vars).unwrap_err();
            assert!(told.iter().any(|told| told.contains(words)), "{told:?}");
            assert!(!told.iter().any(|told| told.contains("hunter2")), "{told:?}");
        }
    }
}

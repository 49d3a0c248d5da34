//! OAuth2 at upstreams: the properties `…_oauth_…` of one, with what its preset fills in.
//!
//! In: the values, and the provider of the upstream. Out: a [`ConfiguredOAuth`], or every rule that
//! they violate. The grant follows from them: with a refresh token that of the refresh token, else
//! that of client credentials. Limits: only the values are checked. Security: a token endpoint
//! without TLS is refused unless it is on this machine. Source: RFC 6749 §4.4 and §6, RFC 8252
//! §8.3 (loopback).

use super::name_lookup::variable;
use super::preset::{OAuthProvider, Provider, TENANT};
use super::secret::Secret;
use super::to_text::Written;
use super::value::ValueError;
use super::value_source::ValueOrigin;
use crate::appliance::failure::{Exit, Failure};
use crate::ground::endpoint::Endpoint;
use std::net::IpAddr;
use std::path::PathBuf;

/// Octets of a tenant's name, at most: those of a domain.
const TENANT_MAX: usize = 253;

/// How access tokens are requested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfiguredOAuth {
    /// The mailbox: the user name of the login.
    pub mailbox: String,
    /// The token endpoint.
    pub token_url: Endpoint,
    /// The client identifier.
    pub client_id: String,
    /// The client secret; `None`: a public client.
    pub client_secret: Option<Secret>,
    /// The refresh token; `None`: the grant is that of client credentials.
    pub refresh_token: Option<Secret>,
    /// The scope; `None`: none is asked for.
    pub scope: Option<String>,
    /// The file of the client secret; `None` when it was not in a file.
    pub client_secret_file: Option<PathBuf>,
    /// The file of the refresh token; `None` when it was not in a file.
    pub refresh_token_file: Option<PathBuf>,
}

/// The values of the properties of one upstream.
#[derive(Debug, Default)]
pub(super) struct OAuthValues<'a> {
    pub(super) token_url: Option<&'a Endpoint>,
    pub(super) tenant: Option<&'a str>,
    pub(super) client_id: Option<&'a str>,
    pub(super) client_secret: Option<&'a Secret>,
    pub(super) client_secret_source: Option<&'a ValueOrigin>,
    pub(super) refresh_token: Option<&'a Secret>,
    pub(super) refresh_token_source: Option<&'a ValueOrigin>,
    pub(super) scope: Option<&'a str>,
}

impl OAuthValues<'_> {
    /// The first property that is set, without the prefix; `None`: OAuth2 is not used.
    pub(super) fn first(&self) -> Option<&'static str> {
        let set = [
            ("oauth_client_id", self.client_id.is_some()),
            ("oauth_token_url", self.token_url.is_some()),
            ("oauth_tenant", self.tenant.is_some()),
            ("oauth_client_secret", self.client_secret.is_some()),
            ("oauth_refresh_token", self.refresh_token.is_some()),
            ("oauth_scope", self.scope.is_some()),
        ];
        set.into_iter().find(|(_, is_set)| *is_set).map(|(field, _)| field)
    }

    /// What is used; `None`: nothing is set. `prefix` is how the names of the properties begin.
    ///
    /// # Errors
    /// Every rule that the values violate.
    pub(super) fn resolve(
        &self,
        prefix: &str,
        mailbox: Option<&str>,
        provider: Option<&Provider>,
    ) -> Result<Option<ConfiguredOAuth>, Vec<Failure>> {
        let Some(first) = self.first() else { return Ok(None) };
        let rules = Rules { prefix, first };
        let service = provider.and_then(|provider| provider.oauth);
        let mut problems = Vec::new();
        if mailbox.is_none() {
            problems.push(rules.needs("username", "the mailbox"));
        }
        if self.client_id.is_none() {
            problems.push(rules.needs("oauth_client_id", "the id of the client, as registered"));
        }
        problems.extend(self.of_grant(&rules, provider, service));
        let token_url = match self.endpoint(&rules, provider, service) {
            Ok(url) => Some(url),
            Err(problem) => {
                problems.push(problem);
                None
            }
        };
        let (Some(mailbox), Some(client_id), Some(token_url), []) =
            (mailbox, self.client_id, token_url, &problems[..])
        else {
            return Err(problems);
        };
        let usual_scope = service.and_then(|service| match self.refresh_token {
            Some(_) => service.refresh_scope,
            None => service.client_scope,
        });
        Ok(Some(ConfiguredOAuth {
            mailbox: mailbox.to_owned(),
            token_url,
            client_id: client_id.to_owned(),
            client_secret: self.client_secret.cloned(),
            refresh_token: self.refresh_token.cloned(),
            scope: self.scope.or(usual_scope).map(str::to_owned),
            client_secret_file: file(self.client_secret, self.client_secret_source),
            refresh_token_file: file(self.refresh_token, self.refresh_token_source),
        }))
    }

    fn of_grant(
        &self,
        rules: &Rules<'_>,
        provider: Option<&Provider>,
        service: Option<&OAuthProvider>,
    ) -> Option<Failure> {
        if self.refresh_token.is_some() {
            return None;
        }
        if let (Some(provider), None) = (provider, service.map_or(Some(""), |one| one.client_scope))
            && self.token_url.is_none()
        {
            let what = format!("a refresh token: {} gives no other kind", provider.title);
            return Some(rules.needs("oauth_refresh_token", &what));
        }
        self.client_secret.is_none().then(|| {
            let what = "a file that holds the secret of the client; or set \
                the refresh token of a mailbox";
            rules.needs("oauth_client_secret", what)
        })
    }

    fn endpoint(
        &self,
        rules: &Rules<'_>,
        provider: Option<&Provider>,
        service: Option<&OAuthProvider>,
    ) -> Result<Endpoint, Failure> {
        let takes_tenant = service.is_some_and(|service| service.token_url.contains(TENANT));
        match (self.token_url, self.tenant, service) {
            (Some(_), Some(_), _) => Err(rules.problem(
                &format!(
                    "{0}_oauth_token_url and {0}_oauth_tenant exclude each other",
                    rules.prefix
                ),
                format!("unset {}: the URL names the tenant", rules.variable("oauth_tenant")),
            )),
            (Some(url), None, _) => Ok(url.clone()),
            (None, Some(_), _) if !takes_tenant => Err(rules.problem(
                &format!("{0}_oauth_tenant needs {0}_preset=office365", rules.prefix),
                format!(
                    "set {}; other providers have no tenants, and want {}",
                    rules.variable("preset"),
                    rules.variable("oauth_token_url")
                ),
            )),
            (None, None, Some(_)) if takes_tenant => {
                let title = provider.map_or("", |provider| provider.title);
                let what = format!("the domain or the id of your tenant at {title}");
                Err(rules.needs("oauth_tenant", &what))
            }
            (None, tenant, Some(service)) => {
                let url = service.token_url.replace(TENANT, tenant.unwrap_or_default());
                url.parse().map_err(|_| rules.needs("oauth_token_url", "the token endpoint"))
            }
            (None, _, None) => Err(rules.needs(
                "oauth_token_url",
                "the token endpoint of the provider, such as https://host/path",
            )),
        }
    }
}

/// The words of violated rules.
struct Rules<'a> {
    prefix: &'a str,
    /// The property that switches OAuth2 on.
    first: &'static str,
}

impl Rules<'_> {
    fn needs(&self, field: &str, what: &str) -> Failure {
        let suffix = match field {
            "oauth_client_secret" | "oauth_refresh_token" => "_FILE",
            _ => "",
        };
        self.problem(
            &format!("{0}_{1} needs {0}_{field}", self.prefix, self.first),
            format!("set {}{suffix} to {what}", self.variable(field)),
        )
    }

    fn problem(&self, line: &str, cause: String) -> Failure {
        Failure::new(Exit::Property, format!("Error: {line}"), cause)
    }

    fn variable(&self, field: &str) -> String {
        variable(&format!("{}_{field}", self.prefix))
    }
}

fn file(secret: Option<&Secret>, source: Option<&ValueOrigin>) -> Option<PathBuf> {
    match source {
        Some(ValueOrigin::File(path)) if secret.is_some() => Some(path.clone()),
        _ => None,
    }
}

/// The URL of a token endpoint.
pub fn token_url(text: &str) -> Result<Endpoint, ValueError> {
    let endpoint: Endpoint = text
        .parse()
        .map_err(|_| "must be the URL of a token endpoint, such as https://host/path".to_owned())?;
    let is_local = endpoint.host == "localhost"
        || endpoint.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    if endpoint.tls || is_local {
        return Ok(endpoint);
    }
    Err("must begin with https://: the secret of the client would be sent without TLS".to_owned())
}

/// The name of a tenant: a domain or an id, which becomes a part of a path.
pub fn tenant(text: &str) -> Result<String, ValueError> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    if text.len() <= TENANT_MAX && !text.starts_with('.') && text.bytes().all(fits) {
        return Ok(text.to_owned());
    }
    Err("must be the domain or the id of a tenant, such as example.onmicrosoft.com".to_owned())
}

impl Written for Endpoint {
    fn to_text(&self) -> String {
        self.expose().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::super::environment::read;
    use super::super::machine::Machine;
    use super::*;
    use crate::appliance::property::Settings;
    use std::ffi::OsString;

    const HOST: (&str, &str) = ("SMART_RELAY", "relay.example:587");
    const USER: (&str, &str) = ("SMART_RELAY_USERNAME", "box@here.example");
    const URL: (&str, &str) = ("SMART_RELAY_OAUTH_TOKEN_URL", "https://login.example/token");
    const ID: (&str, &str) = ("SMART_RELAY_OAUTH_CLIENT_ID", "client");
    const SECRET: (&str, &str) = ("SMART_RELAY_OAUTH_CLIENT_SECRET", "hunter2");
    const REFRESH: (&str, &str) = ("SMART_RELAY_OAUTH_REFRESH_TOKEN", "hunter3");
    const TENANT: (&str, &str) = ("SMART_RELAY_OAUTH_TENANT", "here.example");
    const PASSWORD: (&str, &str) = ("SMART_RELAY_PASSWORD", "hunter2");

    fn preset(word: &'static str) -> (&'static str, &'static str) {
        ("SMART_RELAY_PRESET", word)
    }

    fn settings(vars: &[(&str, &str)]) -> Result<Settings, Vec<String>> {
        let vars = vars
            .iter()
            .map(|(name, value)| (OsString::from(format!("MTA_{name}")), OsString::from(value)));
        let machine =
            Machine { uid: 1000, key_volume: false, writable_run: false, runtime_dir: None };
        let words = |failures: Vec<Failure>| failures.iter().map(ToString::to_string).collect();
        read(vars, &machine).map(|loaded| loaded.settings).map_err(|bad| words(bad.problems))
    }

    fn oauth(vars: &[(&str, &str)]) -> ConfiguredOAuth {
        settings(vars).unwrap().upstreams().remove(0).oauth.unwrap()
    }

    #[test]
    fn presets_fill_in_endpoint_and_scope_by_the_grant() {
        let microsoft = [preset("office365"), USER, TENANT, ID, SECRET];
        let made = oauth(&microsoft);
        let url = "https://login.microsoftonline.com/here.example/oauth2/v2.0/token";
        assert_eq!(made.token_url.expose(), url);
        assert_eq!(made.scope.as_deref(), Some("https://outlook.office365.com/.default"));
        let made = oauth(&[&microsoft[..], &[REFRESH]].concat());
        let scope = "https://outlook.office.com/SMTP.Send offline_access";
        assert_eq!(made.scope.as_deref(), Some(scope));
        let own = ("SMART_RELAY_OAUTH_SCOPE", "mail");
        assert_eq!(oauth(&[&microsoft[..], &[own]].concat()).scope.as_deref(), Some("mail"));
        for word in ["gmail", "gmail-relay"] {
            let made = oauth(&[preset(word), USER, ID, SECRET, REFRESH]);
            assert_eq!(made.token_url.expose(), "https://oauth2.googleapis.com/token");
            assert_eq!(made.scope, None);
        }
        let made = oauth(&[HOST, USER, URL, ID, SECRET]);
        assert_eq!(made.token_url.expose(), URL.1);
        assert!(!format!("{made:?}").contains("hunter"), "{made:?}");
        // A public client.
        assert_eq!(oauth(&[HOST, USER, URL, ID, REFRESH]).client_secret, None);
    }

    #[test]
    fn upstreams_with_names_have_the_same_properties() {
        let named: Vec<_> = [preset("office365"), USER, TENANT, ID, SECRET]
            .map(|(name, value)| (name.replace("SMART_RELAY", "UPSTREAM_EAST"), value))
            .into();
        let vars = |all: &[(String, &'static str)]| {
            let vars: Vec<_> = all.iter().map(|(name, value)| (name.as_str(), *value)).collect();
            settings(&vars)
        };
        let upstream = vars(&named).unwrap().upstreams().remove(0);
        assert_eq!((upstream.name.as_str(), upstream.tls.as_str()), ("east", "required"));
        assert!(upstream.oauth.unwrap().token_url.expose().contains("/here.example/"));
        let told = vars(&named[..4]).unwrap_err();
        let words = "upstream_east_oauth_client_id needs upstream_east_oauth_client_secret";
        assert!(told[0].contains(words), "{told:?}");
    }

    #[test]
    fn what_is_missing_or_contradicts_stops_the_start() {
        let local = |url| ("SMART_RELAY_OAUTH_TOKEN_URL", url);
        for (vars, words) in [
            (&[HOST, USER, URL, SECRET][..], "oauth_token_url needs smart_relay_oauth_client_id"),
            (&[HOST, USER, ID, SECRET], "oauth_client_id needs smart_relay_oauth_token_url"),
            (&[HOST, USER, URL, ID], "oauth_client_id needs smart_relay_oauth_client_secret"),
            (&[HOST, URL, ID, SECRET], "oauth_client_id needs smart_relay_username"),
            (&[USER, URL, ID, SECRET], "Error: smart_relay_username needs smart_relay\n"),
            (
                &[HOST, USER, URL, ID, SECRET, PASSWORD],
                "smart_relay_password and smart_relay_oauth_client_id exclude each other",
            ),
            (
                &[preset("office365"), USER, ID, SECRET],
                "oauth_client_id needs smart_relay_oauth_tenant",
            ),
            (
                &[preset("office365"), USER, URL, TENANT, ID, SECRET],
                "oauth_token_url and smart_relay_oauth_tenant exclude each other",
            ),
            (&[HOST, USER, TENANT, ID, SECRET], "oauth_tenant needs smart_relay_preset=office365"),
            (
                &[preset("gmail"), USER, ID, SECRET],
                "oauth_client_id needs smart_relay_oauth_refresh_token",
            ),
            (&[HOST, USER, local("http://login.example/token"), ID, SECRET], "must begin with"),
            (&[HOST, USER, local("login.example"), ID, SECRET], "must be the URL of a token"),
            (
                &[preset("office365"), USER, ("SMART_RELAY_OAUTH_TENANT", "a/b"), ID, SECRET],
                "must be the domain or the id of a tenant",
            ),
            (
                &[HOST, USER, URL, ID, SECRET, ("SMART_RELAY_TLS", "none")],
                "smart_relay_tls=none would send the access token without verified TLS",
            ),
        ] {
            let told = settings(vars).unwrap_err();
            assert!(told.iter().any(|told| told.contains(words)), "{words}: {told:?}");
            assert!(!told.iter().any(|told| told.contains("hunter")), "{told:?}");
        }
        for url in ["http://127.0.0.1:8080/t", "http://[::1]:8080/t", "http://localhost/t"] {
            assert_eq!(oauth(&[HOST, USER, local(url), ID, SECRET]).token_url.expose(), url);
        }
    }
}

//! Presets of upstreams: what large providers of outgoing mail want, by name.
//!
//! In: a word such as `gmail` or `ses:eu-west-1`. Out: host, port, the form of TLS, the user name
//! where it is the same for everybody, and limits. A property that is set has precedence over its
//! preset. [`by_host`] finds the provider of a host that was written out. Limits: one row for each
//! provider. Source: the documentation of the providers, November 2026.

use super::to_text::Written;
use super::value::ValueError;
use crate::ground::host::{Host, HostSpec};
use crate::ground::rate_limit::RateLimit;
use std::str::FromStr;

/// A provider of outgoing mail.
#[derive(Debug, PartialEq, Eq)]
pub struct Provider {
    /// The word of the property.
    pub word: &'static str,
    /// Its name, for people.
    pub title: &'static str,
    /// Its host; `REGION` stands for the region of the preset.
    host: &'static str,
    /// The port with STARTTLS that is used.
    port: u16,
    /// The ports at which it speaks TLS from the first octet; none: it has no such port.
    pub implicit_ports: &'static [u16],
    /// The user name, where all customers have the same.
    pub username: Option<&'static str>,
    /// What its user name and password are, for people.
    pub login: &'static str,
    /// Whether it takes mail from known addresses without a login.
    pub login_optional: bool,
    /// Connections at the same time, at most.
    pub connections: Option<u32>,
    /// Recipients of one transaction, at most.
    pub recipients: Option<u32>,
    /// Its OAuth2 service; `None`: no login by OAuth2 is known.
    pub oauth: Option<&'static OAuthProvider>,
    /// Mails in a time, as a property says it; empty: not known, or different for each account.
    pub rate: &'static str,
}

/// The OAuth2 service of a provider.
#[derive(Debug, PartialEq, Eq)]
pub struct OAuthProvider {
    /// Its token endpoint; [`TENANT`] stands for the tenant.
    pub token_url: &'static str,
    /// The scope of the grant of client credentials; `None`: it has no such grant for mail.
    pub client_scope: Option<&'static str>,
    /// The scope of the grant of a refresh token; `None`: none has to be named.
    pub refresh_scope: Option<&'static str>,
}

/// What stands for the tenant in the URL of a token endpoint.
pub const TENANT: &str = "TENANT";

/// Microsoft's service. Source: "Authenticate an IMAP, POP or SMTP connection using OAuth".
const MICROSOFT: OAuthProvider = OAuthProvider {
    token_url: "https://login.microsoftonline.com/TENANT/oauth2/v2.0/token",
    client_scope: Some("https://outlook.office365.com/.default"),
    refresh_scope: Some("https://outlook.office.com/SMTP.Send offline_access"),
};

/// Google's service. Source: "Using OAuth 2.0 to Access Google APIs"; "OAuth 2.0 Mechanism".
const GOOGLE: OAuthProvider = OAuthProvider {
    token_url: "https://oauth2.googleapis.com/token",
    client_scope: None,
    refresh_scope: None,
};

/// A provider that is like most others; each row says what is different.
const USUAL: Provider = Provider {
    word: "",
    title: "",
    host: "",
    port: 587,
    implicit_ports: &[465],
    username: None,
    login: "",
    login_optional: false,
    connections: None,
    recipients: None,
    oauth: None,
    rate: "",
};

/// The providers.
const PROVIDERS: &[Provider] = &[
    Provider {
        word: "ses",
        title: "Amazon SES",
        host: "email-smtp.REGION.amazonaws.com",
        implicit_ports: &[465, 2465],
        login: "SMTP credentials made in the SES console for this region, not an access key",
        recipients: Some(50),
        ..USUAL
    },
    Provider {
        word: "office365",
        title: "Microsoft 365",
        host: "smtp.office365.com",
        implicit_ports: &[],
        login: "a mailbox and OAuth2, or its password; SMTP AUTH allowed for that mailbox",
        connections: Some(3),
        oauth: Some(&MICROSOFT),
        rate: "30/min + 10000/day",
        ..USUAL
    },
    Provider {
        word: "gmail",
        title: "Gmail",
        host: "smtp.gmail.com",
        login: "the whole address and an app password, not the password of the account",
        recipients: Some(100),
        oauth: Some(&GOOGLE),
        ..USUAL
    },
    Provider {
        word: "gmail-relay",
        title: "the SMTP relay of Google Workspace",
        host: "smtp-relay.gmail.com",
        login: "a Workspace address and an app password, unless the relay's address is registered",
        login_optional: true,
        recipients: Some(100),
        oauth: Some(&GOOGLE),
        ..USUAL
    },
    Provider {
        word: "sendgrid",
        title: "SendGrid",
        host: "smtp.sendgrid.net",
        username: Some("apikey"),
        login: "the word apikey and an API key",
        ..USUAL
    },
    Provider {
        word: "mailgun",
        title: "Mailgun",
        host: "smtp.mailgun.org",
        login: "the SMTP user of a domain, such as postmaster@DOMAIN, and its SMTP password",
        ..USUAL
    },
    Provider {
        word: "mailgun-eu",
        title: "Mailgun in Europe",
        host: "smtp.eu.mailgun.org",
        login: "the SMTP user of a domain, such as postmaster@DOMAIN, and its SMTP password",
        ..USUAL
    },
    Provider {
        word: "postmark",
        title: "Postmark",
        host: "smtp.postmarkapp.com",
        implicit_ports: &[],
        login: "the token of a server, as user name and as password",
        recipients: Some(50),
        ..USUAL
    },
    Provider {
        word: "brevo",
        title: "Brevo",
        host: "smtp-relay.brevo.com",
        login: "the SMTP login and an SMTP key, not an API key",
        ..USUAL
    },
    Provider {
        word: "mailjet",
        title: "Mailjet",
        host: "in-v3.mailjet.com",
        login: "the API key and the secret key",
        ..USUAL
    },
    Provider {
        word: "resend",
        title: "Resend",
        host: "smtp.resend.com",
        implicit_ports: &[465, 2465],
        username: Some("resend"),
        login: "the word resend and an API key",
        ..USUAL
    },
];

impl Provider {
    /// Mails in a time, where that is known.
    pub fn rate_limit(&self) -> Option<RateLimit> {
        self.rate.parse().ok()
    }
}

/// A provider with its region, as in a property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preset {
    /// Its row.
    pub provider: &'static Provider,
    region: Option<String>,
}

impl Preset {
    /// Its host, with the port.
    pub fn host(&self) -> HostSpec {
        let region = self.region.as_deref().unwrap_or_default();
        let name = self.provider.host.replace("REGION", region);
        HostSpec { host: Host::Name(name), port: Some(self.provider.port), exact: true }
    }
}

/// The provider that a host belongs to; `None` for all others.
pub fn by_host(spec: &HostSpec) -> Option<&'static Provider> {
    let Host::Name(name) = &spec.host else { return None };
    let name = name.trim_end_matches('.');
    PROVIDERS.iter().find(|provider| match provider.host.split_once("REGION") {
        Some((start, end)) => name
            .strip_prefix(start)
            .is_some_and(|rest| rest.len() > end.len() && rest.ends_with(end)),
        None => name == provider.host,
    })
}

impl FromStr for Preset {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let text = text.to_ascii_lowercase();
        let (word, region) = match text.split_once(':') {
            Some((word, region)) => (word, Some(region)),
            None => (text.as_str(), None),
        };
        let provider =
            PROVIDERS.iter().find(|provider| provider.word == word).ok_or_else(|| {
                let words: Vec<&str> = PROVIDERS.iter().map(|provider| provider.word).collect();
                format!("must be one of {}; ses is written ses:REGION", words.join(", "))
            })?;
        let is_region = |region: &str| {
            !region.is_empty()
                && region.len() <= 63
                && region.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        match (provider.host.contains("REGION"), region) {
            (true, Some(region)) if is_region(region) => {
                Ok(Self { provider, region: Some(region.to_owned()) })
            }
            (true, _) => Err(format!("must name a region, such as {word}:eu-west-1")),
            (false, Some(_)) => Err(format!("must be {word} alone: it has no regions")),
            (false, None) => Ok(Self { provider, region: None }),
        }
    }
}

impl Written for Preset {
    fn to_text(&self) -> String {
        match &self.region {
            Some(region) => format!("{}:{region}", self.provider.word),
            None => self.provider.word.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preset_is_a_word_and_a_host() {
        for (text, host) in [
            ("ses:eu-west-1", "[email-smtp.eu-west-1.amazonaws.com]:587"),
            ("Office365", "[smtp.office365.com]:587"),
            ("gmail", "[smtp.gmail.com]:587"),
            ("gmail-relay", "[smtp-relay.gmail.com]:587"),
            ("sendgrid", "[smtp.sendgrid.net]:587"),
            ("mailgun", "[smtp.mailgun.org]:587"),
            ("mailgun-eu", "[smtp.eu.mailgun.org]:587"),
            ("postmark", "[smtp.postmarkapp.com]:587"),
            ("brevo", "[smtp-relay.brevo.com]:587"),
            ("mailjet", "[in-v3.mailjet.com]:587"),
            ("resend", "[smtp.resend.com]:587"),
        ] {
            let preset: Preset = text.parse().unwrap();
            assert_eq!(preset.host().to_string(), host);
            assert_eq!(preset.to_text(), text.to_ascii_lowercase());
            assert_eq!(by_host(&preset.host()), Some(preset.provider));
            let rate = preset.provider.rate_limit().map(|rate| rate.to_string());
            assert_eq!(rate.unwrap_or_default(), preset.provider.rate);
        }
        for (bad, words) in [
            ("ses", "must name a region"),
            ("ses:", "must name a region"),
            ("ses:eu.west", "must name a region"),
            ("gmail:eu", "has no regions"),
            ("hotmail", "must be one of ses, office365, gmail"),
        ] {
            assert!(bad.parse::<Preset>().unwrap_err().contains(words), "{bad}");
        }
    }

    #[test]
    fn other_hosts_belong_to_no_provider() {
        for host in ["relay.example", "email-smtp..amazonaws.com", "smtp.gmail.com.example"] {
            assert_eq!(host.parse().ok().as_ref().and_then(by_host), None, "{host}");
        }
        assert_eq!(by_host(&"smtp.gmail.com".parse().unwrap()).unwrap().word, "gmail");
    }
}

//! Properties of webhooks: `webhook_url`, `webhook_ca`.

use super::to_text::Written;
use super::value::{ValueError, list};
use crate::appliance::failure::{Exit, Failure};
use crate::ground::endpoint::Endpoint;
use crate::ground::tls::{self, Authorities};
use std::fmt;
use std::path::Path;
use std::str::FromStr;

/// A receiver: `[slack+]http[s]://host[:port][/path]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// It accepts lines for people, as Slack does; else it gets events for programs.
    pub slack: bool,
    /// Its URL.
    pub endpoint: Endpoint,
}

/// The prefix of the URL of a receiver for people.
const SLACK: &str = "slack+";

/// Receivers.
pub fn webhooks(text: &str) -> Result<Vec<Webhook>, ValueError> {
    list(text, str::parse)
}

impl FromStr for Webhook {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let address = text.strip_prefix(SLACK);
        let endpoint = address.unwrap_or(text).parse();
        let endpoint = endpoint.map_err(|_| {
            "must be addresses such as https://host/path or https://host:port/path; for Slack \
            write slack+https://…"
                .to_owned()
        })?;
        Ok(Self { slack: address.is_some(), endpoint })
    }
}

impl fmt::Display for Webhook {
    /// As it was written: it contains a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.slack { SLACK } else { "" }, self.endpoint.expose())
    }
}

impl Written for Webhook {
    const SECRET: bool = true;

    fn to_text(&self) -> String {
        self.to_string()
    }
}

/// Reads the file in property `webhook_ca`; without one there are no authorities.
///
/// # Errors
/// The file cannot be read or has no certificates in PEM form.
pub fn authorities(file: Option<&Path>) -> Result<Authorities, Failure> {
    let Some(path) = file else { return Ok(Authorities::new()) };
    let failure =
        |cause: String| Failure::new(Exit::Input, "Error: webhook_ca cannot be used", cause);
    let pem =
        std::fs::read(path).map_err(|error| failure(format!("{}: {error}", path.display())))?;
    tls::authorities(&pem).ok_or_else(|| {
        failure(format!("{} holds no certificates of authorities in PEM form", path.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_is_written_back_as_it_was() {
        for text in [
            "https://hooks.example/x?y=1",
            "slack+https://hooks.slack.com/services/T0/B0/x",
            "http://app:8080/",
        ] {
            let webhook: Webhook = text.parse().unwrap();
            assert_eq!(
                (webhook.to_string().as_str(), webhook.slack),
                (text, text.starts_with(SLACK))
            );
        }
        assert!("slack:https://a/".parse::<Webhook>().is_err());
    }
}

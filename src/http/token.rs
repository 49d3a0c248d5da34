//! Tokens of programs that may send by HTTP: property `api_tokens`.
//!
//! A token permits to send mail and to see the numbers, and nothing else.

use crate::ground::credential::password::Password;
use crate::ground::token_bucket::{Bucket, Rate};
use crate::mail::model::Address;
use ipnet::IpNet;
use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// A program that may send.
pub struct Token {
    /// Its name, for the audit log.
    pub name: String,
    password: Password,
    senders: Vec<String>,
    networks: Vec<IpNet>,
    rate: Option<Rate>,
    left: Option<Bucket>,
}

impl Token {
    /// A token without limits of its own. `stored` is its hash, as [`Password::stored`] takes it.
    ///
    /// # Errors
    /// As [`Password::stored`].
    pub fn new(name: &str, stored: &str) -> Result<Self, String> {
        let password = Password::stored(stored)?;
        Ok(Self {
            name: name.to_owned(),
            password,
            senders: Vec::new(),
            networks: Vec::new(),
            rate: None,
            left: None,
        })
    }

    /// Limits it to senders (addresses, or domains without `@`; in lower case), networks and a
    /// rate. An empty list is no limit.
    pub fn limited(self, senders: Vec<String>, networks: Vec<IpNet>, rate: Option<Rate>) -> Self {
        Self { senders, networks, rate, left: rate.map(Bucket::new), ..self }
    }

    /// Its secret.
    pub(crate) fn password(&self) -> &Password {
        &self.password
    }

    /// The networks from which it may be used; empty = any.
    pub(crate) fn networks(&self) -> &[IpNet] {
        &self.networks
    }

    /// Whether it may be used from here. `direct` is the address of a client without a proxy: a
    /// proxy's statement about its client is never trusted.
    pub(crate) fn may_come_from(&self, direct: Option<IpAddr>) -> bool {
        let inside =
            |address: IpAddr| self.networks.iter().any(|network| network.contains(&address));
        self.networks.is_empty() || direct.is_some_and(inside)
    }

    /// Whether it may send mail with this reverse-path.
    ///
    /// # Errors
    /// A text that says why not.
    pub(crate) fn may_send_as(&self, sender: Option<&Address>) -> Result<(), String> {
        let allowed = |sender: &Address| {
            let text = sender.to_string().to_lowercase();
            let domain = text.rsplit_once('@').map_or("", |(_, domain)| domain);
            self.senders.iter().any(|one| *one == text || *one == domain)
        };
        // The null sender is that of notifications, whose real sender is not known.
        if !self.senders.is_empty() && !sender.is_some_and(allowed) {
            let shown = sender.map_or_else(|| "<>".to_owned(), |sender| sender.to_string());
            return Err(format!(
                "the token '{}' may not send as {shown}: see senders= in api_tokens",
                self.name
            ));
        }
        Ok(())
    }

    /// Counts a mail against its rate.
    ///
    /// # Errors
    /// The rate is used up; the next mail may be sent after this time.
    pub(crate) fn take(&self, now: Instant) -> Result<(), Duration> {
        self.left.as_ref().map_or(Ok(()), |left| left.take(now))
    }

    /// Its rate, for texts.
    pub(crate) fn rate(&self) -> Option<Rate> {
        self.rate
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({}, ***)", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_held_to_its_senders_networks_and_rate() {
        let senders = vec!["shop@example.org".to_owned(), "news.example".to_owned()];
        let networks = vec!["10.0.0.0/8".parse().unwrap()];
        let token = Token::new("shop", "{PLAIN}s3cret").unwrap().limited(
            senders,
            networks,
            "2/h".parse().ok(),
        );
        let now = Instant::now();
        let may = |text: &str| token.may_send_as(Address::parse(text).ok().as_ref());
        assert_eq!((may("Shop@Example.org"), may("any@NEWS.example")), (Ok(()), Ok(())));
        for other in ["other@example.org", "a@sub.news.example", ""] {
            assert!(may(other).is_err(), "{other}");
        }
        assert_eq!((token.take(now), token.take(now)), (Ok(()), Ok(())));
        assert!(token.take(now).is_err_and(|wait| wait > Duration::from_secs(1000)));
        assert!(
            token.may_come_from("10.1.2.3".parse().ok())
                && !token.may_come_from("192.0.2.1".parse().ok())
        );
        assert!(!token.may_come_from(None), "behind a proxy");
        assert!(!format!("{token:?}").contains("s3cret"));
    }
}

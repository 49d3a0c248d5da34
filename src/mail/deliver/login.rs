//! The login at an upstream: AUTH after the EHLO of an encrypted connection (RFC 4954 §4).
//!
//! In: the mechanisms of the EHLO reply, and our credentials. Out: a connection that is logged in,
//! or a temporary outcome, because a refusal of us is not a refusal of the mail. Limits:
//! [`ROUNDS_MAX`] challenges; [`MECHANISMS_MAX`] mechanisms are read. Security: without TLS and a
//! verified certificate nothing of the credentials is sent, whatever the peer says. What we say is
//! masked in the transcript, and so is what a peer repeats of it, in any reply.

use super::client::Connection;
use super::reply_classification::ReplyStage;
use super::upstream::UpstreamAccess;
use super::wire::SmtpError;
use crate::ground::credential::sasl::{
    ClientCredentials, SaslClient, SaslFailure, SaslMechanism, choose_mechanism,
};
use crate::ground::credential::secret::MASK;
use crate::mail::model::{Enhanced, Outcome, Reply, UpstreamStage};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::time::Duration;

/// Challenges of one login, at most: SCRAM has two.
const ROUNDS_MAX: usize = 6;

/// Mechanisms of a peer that are read, at most.
const MECHANISMS_MAX: usize = 32;

/// Mechanisms that are tried: a peer may list one that it does not do.
const ATTEMPTS_MAX: usize = 3;

/// How one mechanism ended.
enum LoginEnd {
    Success,
    /// The peer does not do this mechanism after all (504, RFC 4954 §4).
    NotThisOne(Reply),
    Refused(Reply),
}

impl Connection {
    /// Logs in. To be called after the EHLO whose reply is the last one.
    ///
    /// # Errors
    /// The outcome for the mail: temporary.
    pub(super) async fn log_in(
        &mut self,
        access: &UpstreamAccess,
        credentials: &ClientCredentials,
    ) -> Result<(), Outcome> {
        if !self.verified {
            return Err(self.not_logged_in("the connection is not encrypted and verified"));
        }
        let mut offered = mechanisms(self.wire.last_lines());
        if offered.is_empty() {
            return Err(self.not_logged_in("it offers no login (AUTH) over this connection"));
        }
        let mut last = None;
        for _ in 0..ATTEMPTS_MAX {
            let names = offered.iter().map(String::as_str);
            let Some(mechanism) = choose_mechanism(names, credentials) else { break };
            match self.authenticate(mechanism, credentials).await? {
                LoginEnd::Success => {
                    self.mechanism = Some(mechanism.name());
                    return Ok(());
                }
                LoginEnd::NotThisOne(reply) => {
                    offered.retain(|name| !name.eq_ignore_ascii_case(mechanism.name()));
                    last = Some(reply);
                }
                LoginEnd::Refused(reply) => return Err(self.refused_login(access, &reply)),
            }
        }
        match last {
            Some(reply) => Err(self.refused_login(access, &reply)),
            None => {
                let offered = offered.join(" ");
                Err(self.not_logged_in(&format!(
                    "it offers the mechanisms {offered}, and {}_password serves none of them",
                    access.prefix
                )))
            }
        }
    }

    /// One exchange by one mechanism.
    async fn authenticate(
        &mut self,
        mechanism: SaslMechanism,
        credentials: &ClientCredentials,
    ) -> Result<LoginEnd, Outcome> {
        let (host, port) = (self.host().to_owned(), self.address().port());
        let client = SaslClient::new(mechanism, credentials, &host, port);
        let mut client = client.map_err(|failure| self.not_logged_in(&failure.to_string()))?;
        let verb = format!("AUTH {}", mechanism.name());
        let mut line = match client.initial_response() {
            Some(response) => format!("{verb} {response}"),
            None => verb.clone(),
        };
        let mut shown = if line == verb { verb } else { format!("{verb} {MASK}") };
        for _ in 0..=ROUNDS_MAX {
            match self.say_secret(&line, &shown).await? {
                235 => {
                    let proved = client.succeeded();
                    return match proved {
                        Ok(()) => Ok(LoginEnd::Success),
                        Err(failure) => Err(self.not_logged_in(&failure.to_string())),
                    };
                }
                334 => {}
                504 => return Ok(LoginEnd::NotThisOne(self.wire.last_reply())),
                400.. => return Ok(LoginEnd::Refused(self.wire.last_reply())),
                code => return Err(self.not_logged_in(&format!("it answered AUTH with {code}"))),
            }
            let challenge = self.wire.last_lines().next().unwrap_or_default();
            let challenge = String::from_utf8_lossy(challenge).into_owned();
            let (next, answer) = respond(client, challenge).await;
            client = match next {
                Some(client) => client,
                None => return Err(self.not_logged_in("the login was interrupted")),
            };
            match answer {
                Ok(answer) => (line, shown) = (answer, MASK.to_owned()),
                Err(failure) => {
                    // RFC 4954 §4: the client ends the exchange so; the reply does not matter.
                    let _ = self.say_secret("*", "*").await;
                    return Err(self.not_logged_in(&failure.to_string()));
                }
            }
        }
        Err(self.not_logged_in("it asks for too many answers"))
    }

    /// Sends one line of the exchange, of which the transcript has `shown`, and gives the code of
    /// the reply.
    async fn say_secret(&mut self, line: &str, shown: &str) -> Result<u16, Outcome> {
        let limit: Duration = self.client.timeouts().hello;
        let asked = async {
            self.wire.say_secret(line, shown, limit).await?;
            self.wire.reply(limit).await
        };
        asked
            .await
            .map_err(|trouble: SmtpError| trouble.outcome(&self.relay, "in reply to AUTH", 2))
    }

    /// The refusal of the login in the last reply.
    fn refused_login(&self, access: &UpstreamAccess, reply: &Reply) -> Outcome {
        self.client.refused(ReplyStage::Login);
        access.monitor.judge(&access.name, UpstreamStage::Login, reply, "");
        let Enhanced(_, subject, detail) = reply.enhanced.unwrap_or(Enhanced(4, 7, 8));
        let text =
            format!("{} refuses the login of {}_username: {reply}", self.relay, access.prefix);
        Outcome::own(Reply::new(451, (4, subject, detail), text))
    }

    fn not_logged_in(&self, why: &str) -> Outcome {
        let text = format!("no login at {}: {why}", self.relay);
        Outcome::own(Reply::new(451, (4, 7, 8), text))
    }
}

/// SCRAM takes long on purpose, and other mail is not to wait for that.
async fn respond(
    mut client: SaslClient,
    challenge: String,
) -> (Option<SaslClient>, Result<String, SaslFailure>) {
    if !client.mechanism().has_proof() {
        let answer = client.respond(&challenge);
        return (Some(client), answer);
    }
    let work = move || {
        let answer = client.respond(&challenge);
        (Some(client), answer)
    };
    tokio::task::spawn_blocking(work).await.unwrap_or((None, Err(SaslFailure::Cancelled)))
}

/// The mechanisms of an EHLO reply: `AUTH PLAIN LOGIN`, and `AUTH=PLAIN` of old servers.
fn mechanisms<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for line in lines.skip(1) {
        let Ok(line) = std::str::from_utf8(line) else { continue };
        let Some((verb, names)) = line.split_once([' ', '=']) else { continue };
        if !verb.eq_ignore_ascii_case("AUTH") {
            continue;
        }
        for name in names.split([' ', '=']).filter(|name| is_mechanism(name)) {
            if all.len() < MECHANISMS_MAX && !all.iter().any(|one| one.eq_ignore_ascii_case(name)) {
                all.push(name.to_owned());
            }
        }
    }
    all
}

/// RFC 4422 §3.1.
fn is_mechanism(name: &str) -> bool {
    (1..=20).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// The forms in which a peer could repeat a secret.
pub(super) fn searched_secrets(credentials: &ClientCredentials) -> Vec<String> {
    let mut all = Vec::new();
    for secret in credentials.password.iter().chain(&credentials.token) {
        let (name, secret) = (&credentials.name, secret.expose());
        // The longest first: the shorter ones may be parts of it.
        all.push(STANDARD.encode(format!("\0{name}\0{secret}")));
        all.push(STANDARD.encode(secret));
        all.push(secret.to_owned());
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mechanisms_are_found_in_both_forms_once() {
        let lines = [
            "AUTH PLAIN of the greeting",
            "SIZE 1000",
            "AUTH PLAIN login SCRAM-SHA-256 bad/name",
            "AUTH=PLAIN CRAM-MD5",
            "AUTHOR X",
        ];
        let found = mechanisms(lines.iter().map(|line| line.as_bytes()));
        assert_eq!(found, ["PLAIN", "login", "SCRAM-SHA-256", "CRAM-MD5"]);
        assert!(mechanisms([&b"AUTH PLAIN"[..]].into_iter()).is_empty());
        let many = (0..100).map(|n| format!(" M{n}")).collect::<String>();
        let many = format!("AUTH{many}");
        assert_eq!(mechanisms([b"x", many.as_bytes()].into_iter()).len(), MECHANISMS_MAX);
    }
}

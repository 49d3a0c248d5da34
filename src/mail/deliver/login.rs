//! The login at an upstream: AUTH after the EHLO of an encrypted connection (RFC 4954 §4).
//!
//! In: the mechanisms of the EHLO reply, and our credentials. Out: a connection that is logged in,
//! or a temporary outcome, because a refusal of us is not a refusal of the mail. An access token
//! that is refused is a [`TokenRefusal`]: the caller tries another one. Limits:
//! [`ROUNDS_MAX`] challenges; [`MECHANISMS_MAX`] mechanisms are read. Security: without TLS and a
//! verified certificate nothing of the credentials is sent, whatever the peer says. What we say is
//! masked in the transcript, and so is what a peer repeats of it, in any reply.

use super::SmtpClient;
use super::client::{Connection, Failed, TokenRefusal};
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
    /// The access token has expired or was withdrawn.
    TokenRefused(Reply),
}

impl Connection {
    /// Logs in. To be called after the EHLO whose reply is the last one.
    ///
    /// # Errors
    /// The outcome for the mail: temporary. Or the token is refused, which says nothing yet.
    pub(super) async fn log_in(
        &mut self,
        access: &UpstreamAccess,
        credentials: &ClientCredentials,
    ) -> Result<(), Failed> {
        if !self.verified {
            return Err(self.not_logged_in("the connection is not encrypted and verified").into());
        }
        let mut offered = mechanisms(self.wire.last_lines());
        if offered.is_empty() {
            let why = "it offers no login (AUTH) over this connection";
            return Err(self.not_logged_in(why).into());
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
                LoginEnd::Refused(reply) => {
                    return Err(self.client.refused_login(access, &self.relay, &reply).into());
                }
                LoginEnd::TokenRefused(reply) => {
                    let token = credentials.token.clone();
                    let refused = token.map(|token| Failed::Token(TokenRefusal { token, reply }));
                    return Err(refused.unwrap_or_else(|| self.not_logged_in("no token").into()));
                }
            }
        }
        match last {
            Some(reply) => Err(self.client.refused_login(access, &self.relay, &reply).into()),
            None => {
                let offered = offered.join(" ");
                let ours = if credentials.token.is_some() {
                    "an access token".to_owned()
                } else {
                    format!("{}_password", access.prefix)
                };
                let why = format!("it offers the mechanisms {offered}, and {ours} serves none");
                Err(self.not_logged_in(&why).into())
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
                400.. => return Ok(self.login_end(&client)),
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
        // Only the argument: the name of the mechanism is no secret.
        let secret = match shown.strip_suffix(MASK) {
            Some(before) => line.strip_prefix(before).unwrap_or(line),
            None => "",
        };
        let asked = async {
            self.wire.say_secret((line, secret), shown, limit).await?;
            self.wire.reply(limit).await
        };
        asked
            .await
            .map_err(|trouble: SmtpError| trouble.outcome(&self.relay, "in reply to AUTH", 2))
    }

    /// What the last reply, which is an error, says. Servers refuse a token with 535, most of them
    /// after a challenge with their reasons, which then stand behind the reply.
    fn login_end(&self, client: &SaslClient) -> LoginEnd {
        let mut reply = self.wire.last_reply();
        let has_token =
            matches!(client.mechanism(), SaslMechanism::XOauth2 | SaslMechanism::OAuthBearer);
        if !has_token || reply.code != 535 {
            return LoginEnd::Refused(reply);
        }
        if let Some(reasons) = client.refusal() {
            let reasons = self.wire.masked(&reasons.to_string());
            reply.text = format!("{} ({reasons})", reply.text).into();
        }
        LoginEnd::TokenRefused(reply)
    }

    fn not_logged_in(&self, why: &str) -> Outcome {
        let text = format!("no login at {}: {why}", self.relay);
        Outcome::own(Reply::new(451, (4, 7, 8), text))
    }
}

impl SmtpClient {
    /// The outcome for a refusal of the login, which is judged and remembered.
    pub(super) fn refused_login(
        &self,
        access: &UpstreamAccess,
        relay: &str,
        reply: &Reply,
    ) -> Outcome {
        self.refused(ReplyStage::Login);
        access.monitor.judge(&access.name, UpstreamStage::Login, reply, "");
        let Enhanced(_, subject, detail) = reply.enhanced.unwrap_or(Enhanced(4, 7, 8));
        let text = format!("{relay} refuses the login of {}_username: {reply}", access.prefix);
        Outcome::own(Reply::new(451, (4, subject, detail), text))
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

/// Digits of a piece of a secret in base 64 that are looked for, at least: fewer are in any text.
const PIECE_MIN: usize = 4;

/// The forms in which a peer could repeat a secret.
pub(super) fn searched_secrets(credentials: &ClientCredentials) -> Vec<String> {
    let mut all = Vec::new();
    for secret in credentials.password.iter().chain(&credentials.token) {
        let (name, secret) = (&credentials.name, secret.expose());
        // The longest first: the shorter ones may be parts of it.
        all.push(STANDARD.encode(format!("\0{name}\0{secret}")));
        all.push(STANDARD.encode(secret));
        let pieces = (0..3).map(|shift| inside_base_64(secret, shift));
        all.extend(pieces.filter(|piece| piece.len() >= PIECE_MIN));
        all.push(secret.to_owned());
    }
    all
}

/// The digits of a secret somewhere in a longer text in base 64: those that depend on nothing else.
/// `shift`: octets before it, modulo 3.
fn inside_base_64(secret: &str, shift: usize) -> String {
    let coded = STANDARD.encode(format!("{}{secret}", "\0".repeat(shift)));
    let whole = (shift + secret.len()) * 8 / 6;
    coded.get((shift * 8).div_ceil(6)..whole).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_in_any_text_in_base_64() {
        for secret in ["abcd", "s3cret", "planted-token"] {
            for before in 0..6 {
                let text = format!("{}{secret}, it says", "x".repeat(before));
                let inside = inside_base_64(secret, before % 3);
                assert!(inside.len() + 2 >= secret.len() * 8 / 6 && inside.len() >= 4);
                assert!(STANDARD.encode(&text).contains(&inside), "{text}: {inside}");
            }
        }
    }

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

//! The client's side: which mechanism, and what to say.

use super::cram_md5;
use super::encoding::{
    PASSWORD_MAX, checked_name, decode, decode_text, encode, nonce, server_text,
};
use super::failure::SaslFailure;
use super::mechanism::SaslMechanism;
use super::scram::ScramHash;
use super::scram_client::ScramClient;
use super::token;
use crate::ground::credential::secret::Secret;

/// Octets of an initial response in base 64, at most: with `AUTH` and the mechanism's name the line
/// must stay within the 512 octets of a command (RFC 5321 §4.5.3.1.4). A longer one is sent when
/// the server asks for it.
pub const INITIAL_RESPONSE_MAX: usize = 480;

/// Octets of a token, at most.
const TOKEN_MAX: usize = 8192;

/// What we can show to a server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientCredentials {
    /// The name of the account; may be empty when a certificate is all that is shown.
    pub name: String,
    /// Its password.
    pub password: Option<Secret>,
    /// An OAuth2 access token. With one, no password is sent.
    pub token: Option<Secret>,
    /// Whether the connection has a certificate of ours.
    pub has_certificate: bool,
}

/// The best of the mechanisms that a server offers (names, as in its reply to EHLO), for what we
/// have: with a token XOAUTH2 and OAUTHBEARER; with a password SCRAM-SHA-256, SCRAM-SHA-1,
/// CRAM-MD5, PLAIN and LOGIN; with a certificate EXTERNAL. `None`: there is none for us.
pub fn choose_mechanism<'a>(
    offered: impl IntoIterator<Item = &'a str>,
    credentials: &ClientCredentials,
) -> Option<SaslMechanism> {
    let offered = offered.into_iter().filter_map(SaslMechanism::parse);
    offered
        .filter_map(|mechanism| Some((rank(mechanism, credentials)?, mechanism)))
        .min()
        .map(|(_, mechanism)| mechanism)
}

/// `None`: we have nothing to show in this mechanism.
fn rank(mechanism: SaslMechanism, credentials: &ClientCredentials) -> Option<u8> {
    let is_usable = match mechanism {
        SaslMechanism::XOauth2 | SaslMechanism::OAuthBearer => credentials.token.is_some(),
        SaslMechanism::External => credentials.has_certificate,
        _ => credentials.password.is_some() && credentials.token.is_none(),
    };
    is_usable.then_some(u8::from(mechanism == SaslMechanism::External))
}

/// One login.
///
/// ```text
/// AUTH name [initial_response()]      -> 334 challenge
/// respond(challenge)                  -> 334 challenge, and so on, or 235
/// succeeded() after 235
/// ```
pub struct SaslClient {
    mechanism: SaslMechanism,
    /// What the client says first, until it has been said.
    first: Option<Vec<u8>>,
    exchange: Exchange,
    failure: Option<SaslFailure>,
}

/// What is said after the first message.
enum Exchange {
    /// Nothing.
    Once,
    Login {
        name: String,
        password: Secret,
    },
    LoginPassword(Secret),
    CramMd5 {
        name: String,
        password: Secret,
    },
    Scram(ScramClient),
    /// The server's refusal must be acknowledged with this.
    Token(&'static [u8]),
}

impl SaslClient {
    /// A login with this mechanism. `host` and `port` are the server's, as we called it.
    ///
    /// # Errors
    /// [`SaslFailure::Malformed`]: the credentials lack what the mechanism needs, or have
    /// characters that cannot be sent.
    pub fn new(
        mechanism: SaslMechanism,
        credentials: &ClientCredentials,
        host: &str,
        port: u16,
    ) -> Result<Self, SaslFailure> {
        let name = credentials.name.clone();
        if mechanism != SaslMechanism::External || !name.is_empty() {
            checked_name(&name)?;
        }
        let password = || whole(credentials.password.as_ref(), PASSWORD_MAX);
        let token = || whole(credentials.token.as_ref(), TOKEN_MAX);
        let scram = |hash| {
            let scram = ScramClient::new(hash, &name, password()?, nonce());
            Ok((Some(scram.first().into_bytes()), Exchange::Scram(scram)))
        };
        let (first, exchange) = match mechanism {
            SaslMechanism::ScramSha256 => scram(ScramHash::Sha256)?,
            SaslMechanism::ScramSha1 => scram(ScramHash::Sha1)?,
            SaslMechanism::CramMd5 => (None, Exchange::CramMd5 { name, password: password()? }),
            SaslMechanism::Plain => {
                let message = format!("\0{name}\0{}", password()?.expose());
                (Some(message.into_bytes()), Exchange::Once)
            }
            SaslMechanism::Login => (None, Exchange::Login { name, password: password()? }),
            SaslMechanism::XOauth2 => {
                let message = token::xoauth2(&name, token()?.expose());
                (Some(message.into_bytes()), Exchange::Token(b""))
            }
            SaslMechanism::OAuthBearer => {
                let message = token::oauthbearer(&name, token()?.expose(), host, port);
                (Some(message.into_bytes()), Exchange::Token(token::ACKNOWLEDGED))
            }
            SaslMechanism::External => (Some(name.into_bytes()), Exchange::Once),
        };
        Ok(Self { mechanism, first, exchange, failure: None })
    }

    /// The mechanism.
    pub fn mechanism(&self) -> SaslMechanism {
        self.mechanism
    }

    /// What may stand behind the mechanism's name: base 64, or `=` for an empty response. `None`:
    /// nothing; the server asks first, or for a response that is longer than
    /// [`INITIAL_RESPONSE_MAX`].
    pub fn initial_response(&mut self) -> Option<String> {
        let response = encode(self.first.as_ref()?);
        if response.len() > INITIAL_RESPONSE_MAX {
            return None;
        }
        self.first = None;
        Some(if response.is_empty() { "=".to_owned() } else { response })
    }

    /// The next line, for what stands behind 334 (without the end of the line). Base 64; may be
    /// empty. With SCRAM this takes as long as the server wants iterations, a third of a second at
    /// most.
    ///
    /// # Errors
    /// The exchange cannot go on: cancel it with `*`.
    pub fn respond(&mut self, challenge: &str) -> Result<String, SaslFailure> {
        if let Some(first) = self.first.take() {
            return Ok(encode(first));
        }
        let challenge = challenge.trim_end().as_bytes();
        match std::mem::replace(&mut self.exchange, Exchange::Once) {
            Exchange::Once => Err(SaslFailure::Malformed("the server asks once more")),
            // Servers word their questions differently, and some not in base 64.
            Exchange::Login { name, password } => {
                self.exchange = Exchange::LoginPassword(password);
                Ok(encode(name))
            }
            Exchange::LoginPassword(password) => Ok(encode(password.expose())),
            Exchange::CramMd5 { name, password } => {
                let challenge = decode(challenge)?;
                Ok(encode(cram_md5::response(&name, password.expose(), &challenge)))
            }
            Exchange::Scram(mut scram) => {
                let response = scram.respond(&decode_text(challenge)?)?;
                self.exchange = Exchange::Scram(scram);
                Ok(encode(response))
            }
            Exchange::Token(acknowledgement) => {
                let words = decode(challenge).unwrap_or_else(|_| challenge.to_vec());
                self.failure = Some(SaslFailure::ServerError(server_text(&words)));
                Ok(encode(acknowledgement))
            }
        }
    }

    /// To be asked after 235: whether this is a login.
    ///
    /// # Errors
    /// The server did not prove that it knows the account, or has refused the token before.
    pub fn succeeded(&self) -> Result<(), SaslFailure> {
        match (&self.failure, &self.exchange) {
            (Some(failure), _) => Err(failure.clone()),
            (None, Exchange::Scram(scram)) if scram.is_proved() => Ok(()),
            (None, _) if self.mechanism.has_proof() => Err(SaslFailure::ServerNotProved),
            (None, _) => Ok(()),
        }
    }

    /// What the server said against a token, before it refused the login.
    pub fn refusal(&self) -> Option<&SaslFailure> {
        self.failure.as_ref()
    }
}

/// A secret that is there and can be sent.
fn whole(secret: Option<&Secret>, longest: usize) -> Result<Secret, SaslFailure> {
    let secret = secret.ok_or(SaslFailure::Malformed("there is no secret for the mechanism"))?;
    let text = secret.expose();
    if text.is_empty() || text.len() > longest || text.contains(char::is_control) {
        const WORDS: &str = "the secret is empty, too long, or has control characters";
        return Err(SaslFailure::Malformed(WORDS));
    }
    Ok(secret.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials() -> ClientCredentials {
        let password = Some(Secret::new("pencil".to_owned()));
        ClientCredentials { name: "user".to_owned(), password, ..ClientCredentials::default() }
    }

    fn chosen(offered: &str, credentials: &ClientCredentials) -> Option<SaslMechanism> {
        choose_mechanism(offered.split(' '), credentials)
    }

    #[test]
    fn the_best_of_what_is_offered_is_chosen() {
        let all = "LOGIN PLAIN XOAUTH2 GSSAPI EXTERNAL CRAM-MD5 scram-sha-1 SCRAM-SHA-256";
        let with_password = credentials();
        let order = ["SCRAM-SHA-256", "scram-sha-1", "CRAM-MD5", "PLAIN", "LOGIN"];
        let mut offered = all.to_owned();
        for name in order {
            assert_eq!(chosen(&offered, &with_password), SaslMechanism::parse(name));
            offered = offered.replace(name, "-");
        }
        assert_eq!(chosen(&offered, &with_password), None);
        let token = Some(Secret::new("t".to_owned()));
        let with_token = ClientCredentials { token, ..with_password.clone() };
        assert_eq!(chosen(all, &with_token), Some(SaslMechanism::XOauth2));
        assert_eq!(chosen("OAUTHBEARER PLAIN", &with_token), Some(SaslMechanism::OAuthBearer));
        assert_eq!(chosen("PLAIN LOGIN", &with_token), None);
        let certified = ClientCredentials { has_certificate: true, ..Default::default() };
        assert_eq!(chosen(all, &certified), Some(SaslMechanism::External));
        let both = ClientCredentials { has_certificate: true, ..with_password };
        assert_eq!(chosen("EXTERNAL LOGIN", &both), Some(SaslMechanism::Login));
    }

    #[test]
    fn a_long_initial_response_waits_for_the_server() {
        for (length, at_once) in [(300, true), (320, true), (345, false), (4000, false)] {
            let token = Some(Secret::new("t".repeat(length)));
            let credentials = ClientCredentials { token, ..credentials() };
            let made = SaslClient::new(SaslMechanism::XOauth2, &credentials, "mx.example", 587);
            let mut client = made.unwrap();
            let initial = client.initial_response();
            assert_eq!(initial.is_some(), at_once, "{length}");
            let line = initial.unwrap_or_else(|| client.respond("").unwrap());
            assert!(!at_once || "AUTH XOAUTH2 \r\n".len() + line.len() <= 512);
            assert_eq!(client.initial_response(), None, "it is said once");
        }
    }

    /// Success after such an answer would be a server that contradicts itself.
    #[test]
    fn a_refused_token_is_acknowledged_and_is_no_login() {
        let token = Some(Secret::new("expired".to_owned()));
        let credentials = ClientCredentials { token, ..credentials() };
        for (mechanism, wanted) in
            [(SaslMechanism::XOauth2, ""), (SaslMechanism::OAuthBearer, "AQ==")]
        {
            let mut client = SaslClient::new(mechanism, &credentials, "mx.example", 587).unwrap();
            assert!(client.initial_response().is_some() && client.refusal().is_none());
            let challenge = encode(r#"{"status":"401","schemes":"bearer"}"#);
            assert_eq!(client.respond(&challenge).as_deref(), Ok(wanted));
            let words = r#"the server says: {"status":"401","schemes":"bearer"}"#;
            assert_eq!(client.refusal().unwrap().to_string(), words);
            assert!(client.succeeded().is_err() && client.respond("").is_err());
        }
    }

    #[test]
    fn plain_login_and_external_say_what_servers_expect() {
        let mut plain = SaslClient::new(SaslMechanism::Plain, &credentials(), "", 0).unwrap();
        assert_eq!(plain.initial_response().as_deref(), Some("AHVzZXIAcGVuY2ls"));
        assert!(plain.succeeded().is_ok() && plain.respond("").is_err());
        let mut login = SaslClient::new(SaslMechanism::Login, &credentials(), "", 0).unwrap();
        assert_eq!(login.initial_response(), None);
        assert_eq!(login.respond("Username").as_deref(), Ok("dXNlcg=="));
        assert_eq!(login.respond("UGFzc3dvcmQ6").as_deref(), Ok("cGVuY2ls"));
        let nobody = ClientCredentials { has_certificate: true, ..Default::default() };
        let mut external = SaslClient::new(SaslMechanism::External, &nobody, "", 0).unwrap();
        assert_eq!(external.initial_response().as_deref(), Some("="));
    }

    #[test]
    fn secrets_that_cannot_be_sent_are_refused() {
        for bad in ["", "a\r\nRSET", "a\0b", &"a".repeat(PASSWORD_MAX + 1)] {
            let password = Some(Secret::new(bad.to_owned()));
            let credentials = ClientCredentials { password, ..credentials() };
            for mechanism in [SaslMechanism::Plain, SaslMechanism::ScramSha1] {
                assert!(SaslClient::new(mechanism, &credentials, "", 0).is_err());
            }
        }
        assert!(SaslClient::new(SaslMechanism::XOauth2, &credentials(), "", 0).is_err());
        let nameless = ClientCredentials { name: String::new(), ..credentials() };
        assert!(SaslClient::new(SaslMechanism::Plain, &nameless, "", 0).is_err());
    }

    #[test]
    fn a_server_that_skips_its_proof_is_not_believed() {
        for mechanism in [SaslMechanism::ScramSha256, SaslMechanism::ScramSha1] {
            let mut client = SaslClient::new(mechanism, &credentials(), "", 0).unwrap();
            assert_eq!(client.succeeded(), Err(SaslFailure::ServerNotProved));
            assert!(client.initial_response().is_some() && client.respond("!").is_err());
            assert_eq!(client.succeeded(), Err(SaslFailure::ServerNotProved));
        }
    }
}

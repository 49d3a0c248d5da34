//! The server's side: what to ask the client, and what to ask about its account.

use super::cram_md5;
use super::encoding::{checked_name, checked_password, decode, encode, nonce, text};
use super::failure::SaslFailure;
use super::mechanism::SaslMechanism;
use super::scram::{ScramHash, ScramKeys};
use super::scram_server::{FirstMessage, ScramServer};
use super::token;
use crate::ground::credential::secret::Secret;

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub enum ServerStep {
    /// The client must be asked this (base 64, may be empty); its line goes to
    /// [`SaslServer::step`].
    Challenge(String),
    /// The caller must find out this, for [`SaslServer::answer`].
    Ask(CredentialQuestion),
    /// The client has logged in to this account.
    Done(String),
    /// It has not; the exchange is over.
    Failed(SaslFailure),
}

/// A question about an account. Whether the account exists must not show in the time that the
/// answer takes.
#[derive(Debug, PartialEq, Eq)]
pub enum CredentialQuestion {
    /// Is this the account's password? Answer: [`CredentialAnswer::Account`].
    Password {
        /// The account.
        name: String,
        /// What the client sent.
        password: Secret,
    },
    /// What is the account's password? Answer: [`CredentialAnswer::Password`].
    StoredPassword {
        /// The account.
        name: String,
    },
    /// Which keys does it have? Answer: [`CredentialAnswer::Keys`].
    StoredKeys {
        /// The account.
        name: String,
        /// The hash function of the mechanism.
        hash: ScramHash,
    },
    /// Is this token valid for this account? Answer: [`CredentialAnswer::Account`].
    Token {
        /// The account; `None`: that of the token.
        name: Option<String>,
        /// What the client sent.
        token: Secret,
    },
    /// May the holder of the connection's certificate be this account? Answer:
    /// [`CredentialAnswer::Account`].
    Certificate {
        /// The account; `None`: that of the certificate.
        name: Option<String>,
    },
}

/// What the caller found out.
#[derive(Clone)]
pub enum CredentialAnswer {
    /// The account whose credentials these are; `None`: they are wrong.
    Account(Option<String>),
    /// The account's password in plain text; `None`: there is no such account or password.
    Password(Option<Secret>),
    /// The account's keys; for an unknown one keys that nobody can know, with the same salt
    /// each time.
    Keys(ScramKeys),
}

/// One login: [`SaslServer::start`], then what each [`ServerStep`] says.
pub struct SaslServer {
    mechanism: SaslMechanism,
    state: State,
}

enum State {
    /// The client's first message is awaited.
    First,
    LoginPassword {
        name: String,
    },
    CramMd5 {
        challenge: String,
    },
    Scram {
        server: ScramServer,
        name: String,
    },
    /// The proof is under way; the client acknowledges it with an empty line.
    ScramProof {
        name: String,
    },
    AskedForVerdict,
    AskedForPassword {
        name: String,
        challenge: String,
        digest: String,
    },
    AskedForKeys(FirstMessage),
    /// The client must acknowledge why its token was refused.
    TokenRefused,
    Over,
}

impl SaslServer {
    /// A login with this mechanism.
    pub fn new(mechanism: SaslMechanism) -> Self {
        Self { mechanism, state: State::First }
    }

    /// The mechanism.
    pub fn mechanism(&self) -> SaslMechanism {
        self.mechanism
    }

    /// The first step, with the initial response if the client sent one (base 64; `=`: empty).
    pub fn start(&mut self, initial: Option<&[u8]>) -> ServerStep {
        match (self.mechanism, initial) {
            (SaslMechanism::CramMd5, None) => {
                let challenge = cram_md5::challenge();
                let step = ServerStep::Challenge(encode(&challenge));
                self.state = State::CramMd5 { challenge };
                step
            }
            // RFC 4954 §4: here the server begins.
            (SaslMechanism::CramMd5, Some(_)) => {
                self.fail(SaslFailure::Malformed("the mechanism has no initial response"))
            }
            (SaslMechanism::Login, None) => ServerStep::Challenge(encode("Username:")),
            (_, None) => ServerStep::Challenge(String::new()),
            (_, Some(b"=")) => self.step(b""),
            (_, Some(line)) => self.step(line),
        }
    }

    /// The client's next line, without its end.
    pub fn step(&mut self, line: &[u8]) -> ServerStep {
        if line == b"*" {
            return self.fail(SaslFailure::Cancelled);
        }
        let step = decode(line).and_then(|message| self.message(message));
        step.unwrap_or_else(|failure| self.fail(failure))
    }

    /// The answer to [`ServerStep::Ask`].
    pub fn answer(&mut self, answer: CredentialAnswer) -> ServerStep {
        let step = match (std::mem::replace(&mut self.state, State::Over), answer) {
            (State::AskedForVerdict, CredentialAnswer::Account(account)) => self.verdict(account),
            (
                State::AskedForPassword { name, challenge, digest },
                CredentialAnswer::Password(password),
            ) => {
                let wanted = password.as_ref().map_or("", Secret::expose);
                let fits = cram_md5::fits(wanted.as_bytes(), &challenge, &digest);
                if fits && password.is_some() { Ok(name) } else { Err(SaslFailure::Wrong) }
                    .map(ServerStep::Done)
            }
            (State::AskedForKeys(first), CredentialAnswer::Keys(keys)) => {
                let name = first.name().to_owned();
                let (server, challenge) = first.challenge(keys, &nonce());
                self.state = State::Scram { server, name };
                Ok(ServerStep::Challenge(encode(challenge)))
            }
            _ => Err(SaslFailure::Malformed("the answer is to another question")),
        };
        step.unwrap_or_else(|failure| self.fail(failure))
    }

    fn message(&mut self, message: Vec<u8>) -> Result<ServerStep, SaslFailure> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::First => self.first(message),
            State::LoginPassword { name } => {
                let password = text(message)?;
                self.ask_about_password(name, password)
            }
            State::CramMd5 { challenge } => {
                let (name, digest) = cram_md5::parse_response(message)?;
                let question = CredentialQuestion::StoredPassword { name: name.clone() };
                self.state = State::AskedForPassword { name, challenge, digest };
                Ok(ServerStep::Ask(question))
            }
            State::Scram { server, name } => {
                let proof = server.prove(&text(message)?)?;
                self.state = State::ScramProof { name };
                Ok(ServerStep::Challenge(encode(proof)))
            }
            State::ScramProof { name } if message.is_empty() => Ok(ServerStep::Done(name)),
            State::ScramProof { .. } => {
                Err(SaslFailure::Malformed("the client says more than it should"))
            }
            State::TokenRefused => Err(SaslFailure::Wrong),
            _ => Err(SaslFailure::Malformed("the exchange is over")),
        }
    }

    /// The client's first message.
    fn first(&mut self, message: Vec<u8>) -> Result<ServerStep, SaslFailure> {
        let message = text(message)?;
        let question = match self.mechanism {
            SaslMechanism::Plain => {
                let (name, password) = parse_plain(&message)?;
                return self.ask_about_password(name, password);
            }
            SaslMechanism::Login => {
                checked_name(&message)?;
                self.state = State::LoginPassword { name: message };
                return Ok(ServerStep::Challenge(encode("Password:")));
            }
            SaslMechanism::ScramSha256 => return self.ask_for_keys(ScramHash::Sha256, &message),
            SaslMechanism::ScramSha1 => return self.ask_for_keys(ScramHash::Sha1, &message),
            SaslMechanism::CramMd5 => {
                return Err(SaslFailure::Malformed("the mechanism has no initial response"));
            }
            SaslMechanism::XOauth2 => {
                let (name, token) = token::parse_xoauth2(&message)?;
                CredentialQuestion::Token { name: Some(name), token: Secret::new(token) }
            }
            SaslMechanism::OAuthBearer => {
                let (name, token) = token::parse_oauthbearer(&message)?;
                CredentialQuestion::Token { name, token: Secret::new(token) }
            }
            SaslMechanism::External => {
                let name = Some(message).filter(|name| !name.is_empty());
                name.as_deref().map(checked_name).transpose()?;
                CredentialQuestion::Certificate { name }
            }
        };
        self.state = State::AskedForVerdict;
        Ok(ServerStep::Ask(question))
    }

    fn ask_about_password(
        &mut self,
        name: String,
        password: String,
    ) -> Result<ServerStep, SaslFailure> {
        checked_name(&name)?;
        checked_password(&password)?;
        self.state = State::AskedForVerdict;
        let password = Secret::new(password);
        Ok(ServerStep::Ask(CredentialQuestion::Password { name, password }))
    }

    fn ask_for_keys(&mut self, hash: ScramHash, message: &str) -> Result<ServerStep, SaslFailure> {
        let first = FirstMessage::parse(message)?;
        let name = first.name().to_owned();
        self.state = State::AskedForKeys(first);
        Ok(ServerStep::Ask(CredentialQuestion::StoredKeys { name, hash }))
    }

    fn verdict(&mut self, account: Option<String>) -> Result<ServerStep, SaslFailure> {
        let refusal = match (account, self.mechanism) {
            (Some(account), _) => return Ok(ServerStep::Done(account)),
            (None, SaslMechanism::XOauth2) => token::XOAUTH2_REFUSAL,
            (None, SaslMechanism::OAuthBearer) => token::OAUTHBEARER_REFUSAL,
            (None, _) => return Err(SaslFailure::Wrong),
        };
        self.state = State::TokenRefused;
        Ok(ServerStep::Challenge(encode(refusal)))
    }

    fn fail(&mut self, failure: SaslFailure) -> ServerStep {
        self.state = State::Over;
        ServerStep::Failed(failure)
    }
}

/// Name and password of PLAIN's message (RFC 4616 §2).
fn parse_plain(message: &str) -> Result<(String, String), SaslFailure> {
    let parts: Vec<&str> = message.splitn(4, '\0').collect();
    match parts[..] {
        [identity, name, _] if !identity.is_empty() && identity != name => {
            Err(SaslFailure::OtherIdentity)
        }
        [_, name, password] => Ok((name.to_owned(), password.to_owned())),
        _ => Err(SaslFailure::Malformed("the message is not identity, name and password")),
    }
}

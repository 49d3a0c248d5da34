//! SCRAM on the client's side (RFC 5802 §5).

use super::encoding::{decode, encode, server_text};
use super::failure::SaslFailure;
use super::scram::{ITERATIONS_MAX, ITERATIONS_MIN, ScramHash, prepared, xor};
use super::scram_message::{Attributes, escaped, is_printable};
use crate::ground::credential::secret::Secret;

/// No channel binding, and no other identity.
const HEADER: &str = "n,,";

/// One exchange.
pub(super) struct ScramClient {
    hash: ScramHash,
    password: Secret,
    nonce: String,
    first_bare: String,
    state: State,
}

enum State {
    /// The first message is under way.
    First,
    /// The proof is under way; the server must show this signature.
    Final { key: Vec<u8>, auth_message: String },
    /// It did.
    Proved,
}

impl ScramClient {
    /// An exchange for this account; the nonce must never have been used before.
    pub(super) fn new(hash: ScramHash, name: &str, password: Secret, nonce: String) -> Self {
        let first_bare = format!("n={},r={nonce}", escaped(&prepared(name)));
        Self { hash, password, nonce, first_bare, state: State::First }
    }

    /// The first message.
    pub(super) fn first(&self) -> String {
        format!("{HEADER}{}", self.first_bare)
    }

    /// The answer to a challenge.
    pub(super) fn respond(&mut self, challenge: &str) -> Result<String, SaslFailure> {
        let (state, response) = match &self.state {
            State::First => self.proof(challenge)?,
            State::Final { key, auth_message } => {
                self.verify(key, auth_message, challenge)?;
                (State::Proved, String::new())
            }
            State::Proved => return Err(SaslFailure::Malformed("the server asks once more")),
        };
        self.state = state;
        Ok(response)
    }

    /// Whether the server has proved that it knows the account.
    pub(super) fn is_proved(&self) -> bool {
        matches!(self.state, State::Proved)
    }

    fn proof(&self, server_first: &str) -> Result<(State, String), SaslFailure> {
        let mut attributes = Attributes::of(server_first);
        let nonce = attributes.take('r')?;
        let salt = decode(attributes.take('s')?.as_bytes())?;
        let iterations = attributes.take('i')?.parse().unwrap_or(0);
        let is_ours = nonce.starts_with(&self.nonce) && nonce.len() > self.nonce.len();
        if !is_ours || !is_printable(nonce) || salt.is_empty() {
            return Err(SaslFailure::Malformed("the server's nonce or salt is not right"));
        }
        if !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations) {
            return Err(SaslFailure::Iterations(iterations));
        }
        let without_proof = format!("c={},r={nonce}", encode(HEADER));
        let auth_message = format!("{},{server_first},{without_proof}", self.first_bare);
        let salted = self.hash.salted_password(self.password.expose(), &salt, iterations);
        let client_key = self.hash.client_key(&salted);
        let stored_key = self.hash.digest(&client_key);
        let signature = self.hash.hmac(&stored_key, auth_message.as_bytes());
        let proof = encode(xor(&client_key, &signature));
        let key = self.hash.server_key(&salted);
        Ok((State::Final { key, auth_message }, format!("{without_proof},p={proof}")))
    }

    fn verify(&self, key: &[u8], message: &str, server_final: &str) -> Result<(), SaslFailure> {
        let mut attributes = Attributes::of(server_final);
        let Ok(signature) = attributes.take('v') else {
            return Err(match server_final.strip_prefix("e=") {
                Some(error) => SaslFailure::ServerError(server_text(error.as_bytes())),
                None => SaslFailure::ServerNotProved,
            });
        };
        let signature = decode(signature.as_bytes()).map_err(|_| SaslFailure::ServerNotProved)?;
        match self.hash.verify(key, message.as_bytes(), &signature) {
            true => Ok(()),
            false => Err(SaslFailure::ServerNotProved),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(hash: ScramHash, nonce: &str) -> ScramClient {
        ScramClient::new(hash, "user", Secret::new("pencil".to_owned()), nonce.to_owned())
    }

    /// RFC 5802 §5.
    #[test]
    fn the_example_with_sha_1_is_reproduced() {
        let mut client = client(ScramHash::Sha1, "fyko+d2lbbFgONRv9qkxdawL");
        assert_eq!(client.first(), "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL");
        let response = client
            .respond("r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096");
        let wanted = "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,\
            p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=";
        assert_eq!(response.as_deref(), Ok(wanted));
        assert!(!client.is_proved());
        assert_eq!(client.respond("v=rmF9pqV8S7suAoZWja4dJRkFsKQ=").as_deref(), Ok(""));
        assert!(client.is_proved() && client.respond("v=").is_err());
    }

    /// RFC 7677 §3.
    #[test]
    fn the_example_with_sha_256_is_reproduced() {
        let mut client = client(ScramHash::Sha256, "rOprNGfwEbeRWgbNEkqO");
        let response = client.respond(
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
            s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        );
        let wanted = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
            p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        assert_eq!(response.as_deref(), Ok(wanted));
        let end = client.respond("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        assert_eq!(end.as_deref(), Ok(""));
        assert!(client.is_proved());
    }

    #[test]
    fn a_server_that_proves_nothing_is_not_believed() {
        for bad in ["", "v=", "v=AAAA", "x", "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G5="] {
            let mut client = client(ScramHash::Sha256, "abc");
            client.respond("r=abcd,s=QSXCR+Q6sek8bf92,i=4096").unwrap();
            assert_eq!(client.respond(bad), Err(SaslFailure::ServerNotProved), "{bad}");
            assert!(!client.is_proved());
        }
        let mut client = client(ScramHash::Sha256, "abc");
        client.respond("r=abcd,s=QSXCR+Q6sek8bf92,i=4096").unwrap();
        let error = SaslFailure::ServerError("invalid-proof".to_owned());
        assert_eq!(client.respond("e=invalid-proof"), Err(error));
    }

    #[test]
    fn a_first_message_that_is_not_an_answer_to_ours_is_refused() {
        for bad in [
            "",
            "r=abc,s=QSXC,i=4096",
            "r=xbcd,s=QSXC,i=4096",
            "r=abcd,s=,i=4096",
            "r=abcd,s=!,i=4096",
            "m=x,r=abcd,s=QSXC,i=4096",
            "r=abcd,s=QSXC",
            "e=other-error",
        ] {
            assert!(client(ScramHash::Sha256, "abc").respond(bad).is_err(), "{bad}");
        }
        for iterations in [0, 1, ITERATIONS_MIN - 1, ITERATIONS_MAX + 1] {
            let first = format!("r=abcd,s=QSXC,i={iterations}");
            let response = client(ScramHash::Sha256, "abc").respond(&first);
            assert_eq!(response, Err(SaslFailure::Iterations(iterations)));
        }
    }
}

//! SCRAM on the server's side (RFC 5802 §5).

use super::encoding::{checked_name, decode, encode};
use super::failure::SaslFailure;
use super::scram::ScramKeys;
use super::scram_message::{Attributes, ClientFirst};

/// The client's first message, kept until the keys of its account are known.
pub(super) struct FirstMessage {
    header: String,
    bare: String,
    name: String,
    client_nonce: String,
}

/// An exchange whose challenge is under way.
pub(super) struct ScramServer {
    keys: ScramKeys,
    header: String,
    /// Both first messages, with a comma between them.
    messages: String,
    nonce: String,
}

impl FirstMessage {
    /// Reads it.
    pub(super) fn parse(message: &str) -> Result<Self, SaslFailure> {
        let first = ClientFirst::parse(message)?;
        checked_name(&first.name)?;
        Ok(Self {
            header: first.header.to_owned(),
            bare: first.bare.to_owned(),
            client_nonce: first.nonce.to_owned(),
            name: first.name,
        })
    }

    /// Who logs in.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The challenge, with the keys of the account, or others that nobody can know.
    pub(super) fn challenge(self, keys: ScramKeys, nonce: &str) -> (ScramServer, String) {
        let nonce = format!("{}{nonce}", self.client_nonce);
        let challenge = format!("r={nonce},{}", keys.announced());
        let messages = format!("{},{challenge}", self.bare);
        (ScramServer { keys, header: self.header, messages, nonce }, challenge)
    }
}

impl ScramServer {
    /// The server's proof, when the client's is right.
    pub(super) fn prove(&self, client_final: &str) -> Result<String, SaslFailure> {
        const MALFORMED: SaslFailure = SaslFailure::Malformed("the final message has no proof");
        let (without_proof, proof) = client_final.rsplit_once(",p=").ok_or(MALFORMED)?;
        let mut attributes = Attributes::of(without_proof);
        let (header, nonce) = (attributes.take('c')?, attributes.take('r')?);
        if header != encode(&self.header) || nonce != self.nonce {
            return Err(SaslFailure::Malformed("the final message is not of this exchange"));
        }
        let proof = decode(proof.as_bytes())?;
        let auth_message = format!("{},{without_proof}", self.messages);
        let signature = self.keys.verify(&auth_message, &proof)?;
        Ok(format!("v={}", encode(signature)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::scram::ScramHash;
    use super::*;

    /// RFC 7677 §3, with the keys that its password has.
    #[test]
    fn the_example_with_sha_256_is_reproduced() {
        let salt = decode(b"W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let keys = ScramKeys::derive(ScramHash::Sha256, "pencil", &salt, 4096);
        let first = FirstMessage::parse("n,,n=user,r=rOprNGfwEbeRWgbNEkqO").ok().unwrap();
        assert_eq!(first.name(), "user");
        let (server, challenge) = first.challenge(keys, "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0");
        let nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        assert_eq!(challenge, format!("r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"));
        let proof = "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        let end = server.prove(&format!("c=biws,r={nonce},p={proof}"));
        assert_eq!(end.as_deref(), Ok("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
        let wrong = format!("c=biws,r={nonce},p={}", proof.replace("dHz", "dHy"));
        assert_eq!(server.prove(&wrong), Err(SaslFailure::Wrong));
        for bad in [
            String::new(),
            format!("c=biws,r={nonce}"),
            format!("c=biws,r={nonce}x,p={proof}"),
            format!("c=eSws,r={nonce},p={proof}"),
            format!("r={nonce},c=biws,p={proof}"),
            format!("c=biws,r={nonce},x=1,p={proof}"),
            format!("c=biws,r={nonce},p=!"),
            format!("c=biws,r={nonce},p="),
        ] {
            assert!(server.prove(&bad).is_err(), "{bad}");
        }
    }
}

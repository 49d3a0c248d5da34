#![no_main]
//! Both sides of each mechanism against any lines: none panics, a server never takes a client for
//! an account whose secret it did not show, and a client of SCRAM believes no server without proof.

use libfuzzer_sys::fuzz_target;
use postern::ground::credential::sasl::{
    ClientCredentials, CredentialAnswer, CredentialQuestion, LINE_MAX, SaslClient, SaslMechanism,
    SaslServer, ScramKeys, ServerStep,
};
use postern::ground::credential::secret::Secret;

fuzz_target!(|input: (u8, bool, Vec<&str>)| {
    let (choice, has_initial, lines) = input;
    let mechanism = SaslMechanism::ALL[usize::from(choice) % SaslMechanism::ALL.len()];
    serve(mechanism, has_initial, &lines);
    log_in(mechanism, has_initial, &lines);
});

/// A client that says these lines.
fn serve(mechanism: SaslMechanism, has_initial: bool, lines: &[&str]) {
    let mut server = SaslServer::new(mechanism);
    let mut rest = lines.iter();
    let initial = if has_initial { rest.next() } else { None };
    let mut step = server.start(initial.map(|line| line.as_bytes()));
    loop {
        step = match step {
            ServerStep::Challenge(challenge) => {
                assert!(challenge.len() <= LINE_MAX);
                match rest.next() {
                    Some(line) => server.step(line.as_bytes()),
                    None => break,
                }
            }
            ServerStep::Ask(question) => server.answer(refusal(question)),
            ServerStep::Done(name) => panic!("{name} logged in without a secret"),
            ServerStep::Failed(_) => break,
        };
    }
    assert!(matches!(server.step(b"*"), ServerStep::Failed(_)));
    assert!(matches!(server.step(b""), ServerStep::Failed(_)), "it is over");
}

/// Nothing that the client can show is right.
fn refusal(question: CredentialQuestion) -> CredentialAnswer {
    match question {
        CredentialQuestion::StoredPassword { .. } => CredentialAnswer::Password(None),
        CredentialQuestion::StoredKeys { hash, .. } => {
            CredentialAnswer::Keys(ScramKeys::derive(hash, "nobody knows it", b"salt", 1))
        }
        _ => CredentialAnswer::Account(None),
    }
}

/// A server that says these lines.
fn log_in(mechanism: SaslMechanism, has_initial: bool, lines: &[&str]) {
    let secret = || Some(Secret::new("s3cret".to_owned()));
    let credentials = ClientCredentials {
        name: "anna".to_owned(),
        password: secret(),
        token: secret(),
        has_certificate: true,
    };
    let made = SaslClient::new(mechanism, &credentials, "mx.example", 587);
    let mut client = made.expect("these credentials can be sent");
    if has_initial {
        client.initial_response();
    }
    for line in lines {
        if let Ok(response) = client.respond(line) {
            assert!(!response.contains(['\r', '\n']) && response.len() <= LINE_MAX);
        }
    }
    assert!(!mechanism.has_proof() || client.succeeded().is_err(), "nothing was proved");
}

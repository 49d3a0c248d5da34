//! The two sides against each other, and the server against what clients may say.

use super::encoding::encode;
use super::*;
use crate::ground::credential::secret::Secret;
use proptest::prelude::*;

/// The account that there is.
struct Account<'a> {
    name: &'a str,
    secret: &'a str,
}

/// The caller's answers for one account.
fn answer(question: CredentialQuestion, account: &Account<'_>) -> CredentialAnswer {
    let own = |name: &str| name == account.name;
    match question {
        CredentialQuestion::Password { name, password } => {
            let is_right = own(&name) && password.expose() == account.secret;
            CredentialAnswer::Account(is_right.then_some(name))
        }
        CredentialQuestion::StoredPassword { name } => {
            CredentialAnswer::Password(own(&name).then(|| Secret::new(account.secret.to_owned())))
        }
        CredentialQuestion::StoredKeys { name, hash } => {
            let secret = if own(&name) { account.secret } else { "nobody knows" };
            CredentialAnswer::Keys(ScramKeys::derive(hash, secret, b"salt", 4096))
        }
        CredentialQuestion::Token { name, token } => {
            let is_right = name.as_deref().is_none_or(own) && token.expose() == account.secret;
            CredentialAnswer::Account(is_right.then(|| account.name.to_owned()))
        }
        CredentialQuestion::Certificate { name } => {
            let is_right = name.as_deref().is_none_or(own);
            CredentialAnswer::Account(is_right.then(|| account.name.to_owned()))
        }
    }
}

/// A whole login; what each side says of its end.
fn login(
    mechanism: SaslMechanism,
    credentials: &ClientCredentials,
    account: &Account<'_>,
) -> (Result<(), SaslFailure>, Result<String, SaslFailure>) {
    let mut client = SaslClient::new(mechanism, credentials, "mx.example", 587).unwrap();
    let mut server = SaslServer::new(mechanism);
    let initial = client.initial_response();
    let mut step = server.start(initial.as_ref().map(String::as_bytes));
    for _ in 0..10 {
        step = match step {
            ServerStep::Challenge(challenge) => match client.respond(&challenge) {
                Ok(line) => server.step(line.as_bytes()),
                Err(_) => server.step(b"*"),
            },
            ServerStep::Ask(question) => server.answer(answer(question, account)),
            ServerStep::Done(name) => return (client.succeeded(), Ok(name)),
            ServerStep::Failed(failure) => return (client.succeeded(), Err(failure)),
        };
    }
    panic!("the exchange has no end");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn both_sides_agree_who_is_who(
        name in "[a-z,=@. ü]{1,40}",
        secret in "[!-~]{1,40}",
        other in "[!-~]{1,40}",
    ) {
        for mechanism in SaslMechanism::ALL {
            let credentials = ClientCredentials {
                name: name.clone(),
                password: Some(Secret::new(secret.clone())),
                token: Some(Secret::new(secret.clone())),
                has_certificate: true,
            };
            let account = Account { name: &name, secret: &secret };
            let (client, server) = login(mechanism, &credentials, &account);
            prop_assert_eq!(server.as_ref(), Ok(&name), "{}", mechanism);
            prop_assert_eq!(client, Ok(()), "{}", mechanism);

            let wrong = Account { name: &name, secret: &other };
            let (_, server) = login(mechanism, &credentials, &wrong);
            let is_free = mechanism == SaslMechanism::External || other == secret;
            prop_assert_eq!(server.is_ok(), is_free, "{}", mechanism);
            let stranger = Account { name: "somebody else entirely", secret: &secret };
            prop_assert!(login(mechanism, &credentials, &stranger).1.is_err(), "{}", mechanism);
        }
    }

    #[test]
    fn no_line_of_a_client_harms_the_server(
        lines in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 0..6),
        is_coded in any::<bool>(),
    ) {
        let account = Account { name: "anna", secret: "s3cret" };
        for mechanism in SaslMechanism::ALL {
            let mut server = SaslServer::new(mechanism);
            let mut step = server.start(None);
            for line in &lines {
                let line = if is_coded { encode(line).into_bytes() } else { line.clone() };
                step = server.step(&line);
                if let ServerStep::Ask(question) = step {
                    step = server.answer(answer(question, &account));
                }
            }
            let is_in = matches!(step, ServerStep::Done(_));
            prop_assert!(!is_in || mechanism == SaslMechanism::External);
        }
    }
}

fn plain(message: &str) -> ServerStep {
    SaslServer::new(SaslMechanism::Plain).start(Some(encode(message).as_bytes()))
}

/// RFC 4616 §4.
#[test]
fn plain_takes_the_examples_of_its_rfc() {
    let question = |name: &str, password: &str| {
        let (name, password) = (name.to_owned(), Secret::new(password.to_owned()));
        ServerStep::Ask(CredentialQuestion::Password { name, password })
    };
    assert_eq!(plain("\0tim\0tanstaaftanstaaf"), question("tim", "tanstaaftanstaaf"));
    assert_eq!(plain("tim\0tim\0xipj3plmq"), question("tim", "xipj3plmq"));
    let other = ServerStep::Failed(SaslFailure::OtherIdentity);
    assert_eq!(plain("Ursel\0Kurt\0xipj3plmq"), other);
    for bad in ["", "tim", "\0tim", "\0\0secret", "\0tim\0", "\0tim\0a\0b", "\0a\nb\0secret"] {
        let step = plain(bad);
        assert!(matches!(step, ServerStep::Failed(SaslFailure::Malformed(_))), "{bad:?}: {step:?}");
    }
    let long = plain(&format!("\0tim\0{}", "x".repeat(PASSWORD_MAX + 1)));
    assert!(matches!(long, ServerStep::Failed(SaslFailure::Malformed(_))));
}

#[test]
fn a_line_has_a_limit_and_the_client_may_give_up() {
    for mechanism in SaslMechanism::ALL {
        let failed = |line: &[u8]| {
            let mut server = SaslServer::new(mechanism);
            assert!(matches!(server.start(None), ServerStep::Challenge(_)));
            let step = server.step(line);
            let again = server.step(b"YQ==");
            assert!(matches!(again, ServerStep::Failed(_)), "it is over: {again:?}");
            step
        };
        assert_eq!(failed(b"*"), ServerStep::Failed(SaslFailure::Cancelled));
        assert_eq!(failed(&vec![b'A'; LINE_MAX + 1]), ServerStep::Failed(SaslFailure::TooLong));
        for bad in ["!", "A", "YQ", "YQ==\r", "=", "YQ== "] {
            let step = failed(bad.as_bytes());
            assert_eq!(step, ServerStep::Failed(SaslFailure::NotBase64), "{bad:?}");
        }
    }
}

#[test]
fn login_takes_the_name_with_the_command_or_after_it() {
    for initial in [None, Some(&b"dGlt"[..])] {
        let mut server = SaslServer::new(SaslMechanism::Login);
        let mut step = server.start(initial);
        if initial.is_none() {
            assert_eq!(step, ServerStep::Challenge("VXNlcm5hbWU6".to_owned()));
            step = server.step(b"dGlt");
        }
        assert_eq!(step, ServerStep::Challenge("UGFzc3dvcmQ6".to_owned()));
        let (name, password) = ("tim".to_owned(), Secret::new("pw".to_owned()));
        let question = CredentialQuestion::Password { name, password };
        assert_eq!(server.step(b"cHc="), ServerStep::Ask(question));
        let wrong = server.answer(CredentialAnswer::Account(None));
        assert_eq!(wrong, ServerStep::Failed(SaslFailure::Wrong));
    }
}

#[test]
fn cram_md5_has_no_initial_response_and_no_challenge_twice() {
    let mut server = SaslServer::new(SaslMechanism::CramMd5);
    assert!(matches!(server.start(Some(b"dGlt")), ServerStep::Failed(SaslFailure::Malformed(_))));
    let challenge = || SaslServer::new(SaslMechanism::CramMd5).start(None);
    assert!(challenge() != challenge());
}

/// RFC 7628 §3.2.3.
#[test]
fn a_refused_token_is_explained_before_the_refusal() {
    let account = Account { name: "anna", secret: "valid" };
    for (mechanism, message, words) in [
        (
            SaslMechanism::XOauth2,
            "user=anna\x01auth=Bearer expired\x01\x01",
            r#"{"status":"401","schemes":"bearer","scope":""}"#,
        ),
        (
            SaslMechanism::OAuthBearer,
            "n,a=anna,\x01auth=Bearer expired\x01\x01",
            r#"{"status":"invalid_token"}"#,
        ),
    ] {
        let mut server = SaslServer::new(mechanism);
        let ServerStep::Ask(question) = server.start(Some(encode(message).as_bytes())) else {
            panic!("no question");
        };
        let step = server.answer(answer(question, &account));
        assert_eq!(step, ServerStep::Challenge(encode(words)));
        assert_eq!(server.step(b"AQ=="), ServerStep::Failed(SaslFailure::Wrong));
    }
}

#[test]
fn nothing_printable_shows_a_secret() {
    let (name, password) = ("tim".to_owned(), Secret::new("hunter2".to_owned()));
    let question = CredentialQuestion::Password { name: name.clone(), password: password.clone() };
    let credentials =
        ClientCredentials { name, password: Some(password), ..ClientCredentials::default() };
    let shown = format!("{:?} {credentials:?}", ServerStep::Ask(question));
    assert!(!shown.contains("hunter2") && shown.contains("tim"), "{shown}");
}

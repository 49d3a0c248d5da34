//! Logins of SMTP clients (RFC 4954): from what SASL asks to what the directory knows.
//!
//! In: questions of a [`SaslServer`](crate::ground::credential::sasl::SaslServer) about an account,
//! and the client's address. Out: their answers, and at the end the user. Limits: one hash at a
//! time in the whole process, and few that wait ([`Verifier`]); attempts for one name from one
//! address become slow ([`LoginThrottle`]); a client waits [`PATIENCE`] for its turn. Security: an
//! unknown name costs the work of a known one and gets the same replies; of SCRAM it gets a salt of
//! its own that stays, also over restarts, as long as those of users. Attempts for one name or from
//! one address do not delay others, and who logged in from there in the last day is not delayed.
//! What a client gives as a name may be a password: only names of users are logged. A password
//! without TLS is taken only from property `plaintext_auth_networks`.

use super::model::{Authentication, Refusal, Reply};
use super::parse::AuthOffer;
use crate::directory::{Directory, DirectoryUnavailable, DirectoryUser, FoundUser};
use crate::ground::credential::name_secret::NameSecret;
use crate::ground::credential::password::Password;
use crate::ground::credential::sasl::{
    CredentialAnswer, CredentialQuestion, ScramHash, ScramKeys, nobodys_password,
};
use crate::ground::credential::secret::Secret;
use crate::ground::credential::throttle::LoginThrottle;
use crate::ground::credential::verifier::{
    CachedLogin, LoginClass, LoginService, PasswordCheck, Verifier,
};
use ipnet::IpNet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long a client waits for its turn before it gets a temporary error.
pub const PATIENCE: Duration = Duration::from_secs(8);

/// The longest pause before it is looked again whether it is a client's turn.
const STEP: Duration = Duration::from_millis(200);

/// Octets of the salt of a name without kept keys (RFC 5802 leaves it to the server; Dovecot's and
/// Postgres' salts have as many).
const SALT_LENGTH: usize = 16;

/// Iterations of SCRAM for passwords that are kept in plain text (RFC 7677 §4), and for names that
/// do not exist.
const ITERATIONS: u32 = 4096;

/// Everything about logins that sessions share.
pub struct Authenticator {
    directory: Arc<dyn Directory>,
    verifier: Arc<Verifier>,
    throttle: LoginThrottle,
    /// Makes salts that stay the same for each name.
    secret: NameSecret,
    plaintext: Vec<IpNet>,
    submission_ports: Vec<u16>,
    patience: Duration,
}

/// The login of a session.
#[derive(Clone)]
pub(super) struct LoginState {
    /// The user.
    pub user: Arc<DirectoryUser>,
    /// How it logged in: the name of the mechanism, or of the command that named the user.
    pub mechanism: &'static str,
}

/// Why a question has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoAnswer {
    /// Too many attempts for this name from this address.
    Wait(Duration),
    /// Too many clients log in at once.
    Busy,
    /// The directory does not answer.
    Unavailable(DirectoryUnavailable),
}

/// One login of one client.
pub(super) struct LoginAttempt<'a> {
    authenticator: &'a Authenticator,
    client: IpAddr,
    whose: LoginClass,
    /// The name that the client gave.
    name: String,
    /// There is a user of that name.
    is_name_of_user: bool,
    /// The user whose secret is being checked.
    user: Option<Arc<DirectoryUser>>,
    /// The throttle counts it as wrong so far.
    is_counted: bool,
}

impl Authenticator {
    /// Logins of the users of a directory; `secret` gives all other names their salts. Clients of
    /// the networks `plaintext` may log in without
    /// TLS; clients of `submission_ports` must log in, unless they are trusted.
    pub fn new(
        (directory, secret): (Arc<dyn Directory>, NameSecret),
        verifier: Arc<Verifier>,
        plaintext: Vec<IpNet>,
        submission_ports: Vec<u16>,
    ) -> Self {
        Self {
            directory,
            verifier,
            throttle: LoginThrottle::by_pairs(),
            secret,
            plaintext,
            submission_ports,
            patience: PATIENCE,
        }
    }

    /// How a client may log in at this port of ours.
    pub(super) fn offer(&self, client: IpAddr, port: Option<u16>, trusted: bool) -> AuthOffer {
        let is_submission = port.is_some_and(|port| self.submission_ports.contains(&port));
        AuthOffer {
            mechanisms: self.directory.mechanisms(),
            without_tls: self.plaintext.iter().any(|network| network.contains(&client)),
            required: is_submission && !trusted,
        }
    }

    /// A client begins to log in.
    pub(super) fn attempt(&self, client: IpAddr, trusted: bool) -> LoginAttempt<'_> {
        let whose = if trusted { LoginClass::Own } else { LoginClass::Stranger };
        let (name, is_name_of_user, user) = (String::new(), false, None);
        let is_counted = false;
        LoginAttempt { authenticator: self, client, whose, name, is_name_of_user, user, is_counted }
    }

    /// The user that a proxy names, if there is one that may come from this address. Only of
    /// proxies that are listed: the user has shown no secret here.
    pub(super) async fn named(&self, name: &str, client: IpAddr) -> Option<Arc<DirectoryUser>> {
        match self.directory.look_up(name).await {
            Ok(FoundUser::Known(user)) if user.may_come_from(client) => Some(user),
            _ => None,
        }
    }

    /// The user of a session, as the directory has it now; `None`: it may no longer send.
    pub(super) fn present(
        &self,
        user: &DirectoryUser,
        client: IpAddr,
    ) -> Option<Arc<DirectoryUser>> {
        self.directory.present(user).filter(|user| user.may_come_from(client))
    }
}

impl LoginAttempt<'_> {
    /// The name that the client gave, if there is such a user. Any other may be a password that was
    /// typed into the wrong field.
    pub(super) fn name(&self) -> Option<&str> {
        self.is_name_of_user.then_some(&self.name)
    }

    /// The answer to a question.
    pub(super) async fn answer(
        &mut self,
        question: CredentialQuestion,
    ) -> Result<CredentialAnswer, NoAnswer> {
        Ok(match question {
            CredentialQuestion::Password { name, password } => {
                let is_right = self.check(&name, &password).await?;
                CredentialAnswer::Account(is_right.then_some(name))
            }
            CredentialQuestion::StoredPassword { name } => {
                self.find(&name).await?;
                self.begin().await?;
                let password = self.user.as_ref().and_then(|user| user.password().plain());
                CredentialAnswer::Password(password.map(|plain| Secret::new(plain.to_owned())))
            }
            CredentialQuestion::StoredKeys { name, hash } => {
                CredentialAnswer::Keys(self.keys(&name, hash).await?)
            }
            // These mechanisms are not offered.
            CredentialQuestion::Token { .. } | CredentialQuestion::Certificate { .. } => {
                CredentialAnswer::Account(None)
            }
        })
    }

    /// The client has shown its secret: the user.
    pub(super) fn succeeded(self) -> Option<Arc<DirectoryUser>> {
        let (throttle, now) = (&self.authenticator.throttle, Instant::now().into_std());
        throttle.right(&self.name, self.client, now);
        self.user
    }

    /// Looks for the user, who must be allowed to log in from here. Gives back who stands in for
    /// an unknown one.
    async fn find(&mut self, name: &str) -> Result<Option<Arc<DirectoryUser>>, NoAnswer> {
        name.clone_into(&mut self.name);
        let found = self.authenticator.directory.look_up(name).await;
        let found = found.map_err(NoAnswer::Unavailable)?;
        self.is_name_of_user = matches!(found, FoundUser::Known(_));
        match found {
            FoundUser::Known(user) if user.may_come_from(self.client) => {
                self.user = Some(user);
                Ok(None)
            }
            FoundUser::Known(user) => Ok(Some(user)),
            FoundUser::Unknown(stand_in) => Ok(stand_in),
        }
    }

    async fn check(&mut self, name: &str, password: &Secret) -> Result<bool, NoAnswer> {
        let stand_in = self.find(name).await?;
        let (verifier, secret) = (&self.authenticator.verifier, password.expose().as_bytes());
        let remembered = self.user.as_ref().map(|user| user.remembered_as());
        let known = || {
            let now = Instant::now().into_std();
            remembered.as_ref().map_or(CachedLogin::No, |name| verifier.known(name, secret, now))
        };
        if known() == CachedLogin::No {
            self.begin().await?;
        }
        let own = self.user.as_ref().map(|user| user.password());
        let account = remembered.as_deref().zip(own);
        let stand_in: Option<&Password> = stand_in.as_ref().map(|user| user.password());
        let until = Instant::now() + self.authenticator.patience;
        loop {
            // Another session of the same client may have been faster.
            let whose = match known() {
                CachedLogin::Right => return Ok(true),
                CachedLogin::Earlier => LoginClass::Own,
                CachedLogin::No => self.class(),
            };
            let whose = (LoginService::Smtp, whose);
            match verifier.compare(account, stand_in, secret, whose).await {
                PasswordCheck::Right => return Ok(true),
                PasswordCheck::Wrong => return Ok(false),
                PasswordCheck::Busy if known() == CachedLogin::Earlier => return Ok(true),
                PasswordCheck::Busy => self.wait_for_turn(until).await?,
            }
        }
    }

    async fn keys(&mut self, name: &str, hash: ScramHash) -> Result<ScramKeys, NoAnswer> {
        let stand_in = self.find(name).await?;
        self.begin().await?;
        let kept = |user: &Arc<DirectoryUser>| {
            user.password().scram_keys().filter(|keys| keys.hash() == hash).cloned()
        };
        let plain = self.user.as_ref().and_then(|user| user.password().plain());
        let own = self.user.as_ref().and_then(kept);
        let like = own.as_ref().or(stand_in.as_ref().and_then(kept).as_ref()).cloned();
        let iterations = like.as_ref().map_or(ITERATIONS, |keys| keys.iterations());
        let length = like.as_ref().map_or(SALT_LENGTH, |keys| keys.salt_length());
        // Of a name without keys the salt is always the same, too, and nobody knows the password.
        let salt = self.authenticator.secret.octets("salt", name, length);
        let secret = plain.map_or_else(nobodys_password, str::to_owned);
        let until = Instant::now() + self.authenticator.patience;
        let whose = (LoginService::Smtp, self.class());
        loop {
            let (secret, salt) = (secret.clone(), salt.clone());
            let make = move || ScramKeys::derive(hash, &secret, &salt, iterations);
            // Also for those whose keys are kept: all take the same time.
            match self.authenticator.verifier.derive(whose, make).await {
                Some(made) => {
                    return Ok(own.unwrap_or(made));
                }
                None => self.wait_for_turn(until).await?,
            }
        }
    }

    /// An attempt for this name begins. Many sessions of one client may log in at once, and all but
    /// the first wait until it has.
    async fn begin(&mut self) -> Result<(), NoAnswer> {
        let until = Instant::now() + self.authenticator.patience;
        let throttle = &self.authenticator.throttle;
        loop {
            let now = Instant::now();
            match throttle.begin(&self.name, self.client, now.into_std()) {
                Ok(()) => {
                    self.is_counted = true;
                    return Ok(());
                }
                Err(pause) if now + STEP >= until => return Err(NoAnswer::Wait(pause)),
                Err(pause) => tokio::time::sleep(pause.min(STEP)).await,
            }
        }
    }

    /// In which order it waits for its turn.
    fn class(&self) -> LoginClass {
        let (throttle, now) = (&self.authenticator.throttle, Instant::now().into_std());
        if throttle.is_known(&self.name, self.client, now) { LoginClass::Own } else { self.whose }
    }

    async fn wait_for_turn(&self, until: Instant) -> Result<(), NoAnswer> {
        if Instant::now() + STEP >= until {
            if self.is_counted {
                self.authenticator.throttle.taken_back(&self.name, self.client);
            }
            return Err(NoAnswer::Busy);
        }
        tokio::time::sleep(STEP).await;
        Ok(())
    }
}

impl NoAnswer {
    /// The reply to the client; the same for names that exist and others.
    pub(super) fn reply(&self) -> (Reply, Refusal) {
        let (enhanced, words) = match self {
            Self::Wait(pause) => {
                let seconds = pause.as_secs().max(1);
                let words = "Too many wrong logins for this name from your address; try again in";
                ((4, 7, 0), format!("{words} {seconds} s"))
            }
            Self::Busy => ((4, 7, 0), "Many clients log in at once; try again later".to_owned()),
            Self::Unavailable(_) => ((4, 3, 0), "Logins cannot be checked at present".to_owned()),
        };
        (Reply::new(454, enhanced, words), Refusal::Auth)
    }
}

impl LoginState {
    /// The login, for events.
    pub(super) fn event(&self) -> Authentication<'_> {
        Authentication { user: self.user.name(), mechanism: self.mechanism }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::{UserLimits, UserList};

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));

    fn authenticator() -> Authenticator {
        let limits =
            UserLimits { networks: vec!["10.0.0.0/8".parse().unwrap()], ..UserLimits::default() };
        let users = vec![
            DirectoryUser::new("anna", "{PLAIN}s3cret", UserLimits::default()).unwrap(),
            DirectoryUser::new("near", "{PLAIN}s3cret", limits).unwrap(),
        ];
        with_users(users)
    }

    fn with_users(users: Vec<DirectoryUser>) -> Authenticator {
        let secret = NameSecret::new(&[7; 32]);
        let list = Arc::new(UserList::new(users, secret.clone()));
        let plaintext = vec!["10.0.0.0/8".parse().unwrap()];
        Authenticator::new((list, secret), Arc::default(), plaintext, vec![587])
    }

    async fn keys_of(all: &Authenticator, name: &str) -> ScramKeys {
        let question =
            CredentialQuestion::StoredKeys { name: name.to_owned(), hash: ScramHash::Sha256 };
        match all.attempt(HERE, false).answer(question).await {
            Ok(CredentialAnswer::Keys(keys)) => keys,
            _ => panic!("another answer"),
        }
    }

    fn salt_of(keys: &ScramKeys) -> String {
        keys.to_string().split(',').nth(1).unwrap().to_owned()
    }

    async fn login(all: &Authenticator, name: &str, secret: &str) -> Result<bool, NoAnswer> {
        let mut attempt = all.attempt(HERE, false);
        let password = Secret::new(secret.to_owned());
        let question = CredentialQuestion::Password { name: name.to_owned(), password };
        let is_right = match attempt.answer(question).await? {
            CredentialAnswer::Account(account) => account.is_some(),
            _ => panic!("another answer"),
        };
        if is_right {
            assert_eq!(attempt.succeeded().unwrap().name(), name);
        }
        Ok(is_right)
    }

    #[tokio::test]
    async fn the_right_secret_of_a_user_from_a_permitted_place_logs_in() {
        let all = authenticator();
        assert_eq!(login(&all, "anna", "s3cret").await, Ok(true));
        for (name, secret) in [("anna", "s3cre"), ("Anna", "s3cret"), ("near", "s3cret"), ("", "")]
        {
            assert_eq!(login(&all, name, secret).await, Ok(false), "{name}");
        }
    }

    #[tokio::test]
    async fn known_and_unknown_names_are_throttled_alike_and_others_are_not() {
        let all = Authenticator { patience: Duration::ZERO, ..authenticator() };
        for name in ["anna", "nobody"] {
            for _ in 0..5 {
                assert_eq!(login(&all, name, "guess").await, Ok(false));
            }
            let mut waits = Vec::new();
            for _ in 0..12 {
                if let Err(no_answer) = login(&all, name, "guess").await {
                    waits.push(no_answer);
                }
            }
            assert!(!waits.is_empty(), "{name}");
            let words = waits[0].reply().0.to_string();
            assert!(words.starts_with("454 4.7.0 Too many wrong logins for this name"), "{words}");
        }
        assert_eq!(login(&all, "ben", "guess").await, Ok(false), "another name");
    }

    #[tokio::test]
    async fn scram_asks_unknown_names_with_a_salt_that_stays() {
        let all = authenticator();
        let announced = async |name: &str| keys_of(&all, name).await;
        let (known, unknown) = (announced("anna").await, announced("nobody").await);
        assert_eq!(salt_of(&known), salt_of(&announced("anna").await));
        assert_eq!(salt_of(&unknown), salt_of(&announced("nobody").await));
        assert_eq!(salt_of(&known).len(), salt_of(&unknown).len());
        assert!(known.fits("s3cret") && !unknown.fits("s3cret"));
        let restarted = authenticator();
        assert_eq!(salt_of(&unknown), salt_of(&keys_of(&restarted, "nobody").await));
        assert_eq!(salt_of(&known), salt_of(&keys_of(&restarted, "anna").await));
    }

    #[tokio::test]
    async fn salts_are_as_long_as_those_of_kept_keys() {
        for length in [8, 12, 24, 64] {
            let keys = ScramKeys::derive(ScramHash::Sha256, "s3cret", &vec![1; length], 5000);
            let stored = format!("{{SCRAM-SHA-256}}{keys}");
            let user = DirectoryUser::new("anna", &stored, UserLimits::default()).unwrap();
            let all = with_users(vec![user]);
            let (known, unknown) = (keys_of(&all, "anna").await, keys_of(&all, "nobody").await);
            assert!(known == keys, "{length}");
            assert_eq!((unknown.salt_length(), unknown.iterations()), (length, 5000));
            assert_ne!(salt_of(&known), salt_of(&unknown));
        }
    }

    /// A crowd behind one address: one of them guesses, the others have their own names.
    #[tokio::test]
    async fn nobody_waits_for_guesses_at_another_name() {
        let all = Authenticator { patience: Duration::ZERO, ..authenticator() };
        for number in 0..2000 {
            let mut attempt = all.attempt(HERE, false);
            let name = format!("name{number}");
            let answer = attempt.answer(CredentialQuestion::StoredPassword { name }).await;
            assert!(answer.is_ok(), "{number}");
        }
        for _ in 0..20 {
            let _ = login(&all, "ben", "guess").await;
        }
        assert_eq!(login(&all, "anna", "s3cret").await, Ok(true));
        // Who has logged in by a mechanism without a password is known, too.
        let ask = async || {
            let mut attempt = all.attempt(HERE, false);
            let question = CredentialQuestion::StoredPassword { name: "anna".to_owned() };
            let answer = attempt.answer(question).await;
            answer.map(|_| attempt)
        };
        assert!(ask().await.is_ok_and(|attempt| attempt.succeeded().is_some()));
        for _ in 0..20 {
            assert!(ask().await.is_ok());
        }
    }

    /// The user may be forgotten by the verifier meanwhile: then nothing was counted.
    #[tokio::test]
    async fn only_an_attempt_that_was_counted_is_taken_back() {
        let all = Authenticator { patience: Duration::ZERO, ..authenticator() };
        let begun = async || {
            let mut attempt = all.attempt(HERE, false);
            "anna".clone_into(&mut attempt.name);
            (attempt.begin().await, attempt)
        };
        let busy = Err(NoAnswer::Busy);
        for _ in 0..100 {
            let (begun, attempt) = begun().await;
            assert_eq!(begun, Ok(()), "all are taken back");
            assert_eq!(attempt.wait_for_turn(Instant::now()).await, busy);
        }
        while begun().await.0.is_ok() {}
        for _ in 0..100 {
            let mut attempt = all.attempt(HERE, false);
            "anna".clone_into(&mut attempt.name);
            assert_eq!(attempt.wait_for_turn(Instant::now()).await, busy);
        }
        assert!(begun().await.0.is_err(), "nothing is taken back");
    }

    #[tokio::test]
    async fn only_names_of_users_are_told() {
        let all = authenticator();
        for (name, told) in [("anna", Some("anna")), ("near", Some("near")), ("hunter2", None)] {
            let mut attempt = all.attempt(HERE, false);
            let question = CredentialQuestion::StoredPassword { name: name.to_owned() };
            assert!(attempt.answer(question).await.is_ok());
            assert_eq!(attempt.name(), told);
        }
    }

    #[test]
    fn only_ports_for_submission_demand_a_login_and_not_of_trusted_clients() {
        let all = authenticator();
        assert!(all.offer(HERE, Some(587), false).required);
        assert!(!all.offer(HERE, Some(587), true).required);
        assert!(!all.offer(HERE, Some(25), false).required);
        assert!(!all.offer(HERE, None, false).without_tls);
        assert!(all.offer("10.1.2.3".parse().unwrap(), None, false).without_tls);
    }
}

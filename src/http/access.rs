//! Authentication at `ui_port`, and the client's rights.
//!
//! In: an `Authorization` header. Out: a [`Caller`], or why there is none. Limits: those of
//! [`Verifier`] (one hash at a time) and of `throttle` (login attempts for an account from an
//! address).

use crate::ground::credential::password::Password;
use crate::ground::credential::throttle::LoginThrottle;
use crate::ground::credential::verifier::{
    CachedLogin, LoginClass, LoginService, PasswordCheck, Verifier, same_name,
};
use crate::ground::web_address::WebAddress;
use crate::http::allowed_hosts::AllowedHosts;
use crate::http::forwarded::RequestClient;
use crate::http::login::{Credentials, Login};
use crate::http::rights::Rights;
use crate::http::token::Token;
use ipnet::IpNet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Whether an address is one of certain ones.
pub type Near = Box<dyn Fn(IpAddr) -> bool + Send + Sync>;

/// The access rules from the properties.
#[derive(Default)]
pub struct Access {
    /// Properties `username` and `password`; this login may do everything.
    pub login: Option<Login>,
    /// Property `api_tokens`: programs that may send.
    pub tokens: Vec<Token>,
    /// Property `ui_public`: everybody may read without a login.
    pub public: bool,
    /// Property `ui_read_only`: no operator actions for anybody.
    pub read_only: bool,
    /// The names of this server.
    pub hosts: AllowedHosts,
    /// Property `ui_url`: the external URL.
    pub outside: Option<WebAddress>,
    /// Property `proxy_networks`.
    pub proxies: Vec<IpNet>,
    /// Whether a client may relay by its address: such clients have reserved connections here, but
    /// no further right.
    pub near: Option<Near>,
    /// Compares passwords; shared by everything that does.
    pub verifier: Arc<Verifier>,
}

/// The authenticated client.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Caller<'a> {
    /// A client of the control socket.
    Control,
    /// The login, with its user name.
    Login(&'a str),
    /// A program with a token.
    Token(&'a Token),
    /// Not authenticated.
    Anybody,
}

/// The result of checking the `Authorization` header.
pub(crate) enum Admission<'a> {
    /// The header authenticates the client; without a header, if none is needed, it is not
    /// authenticated.
    In(Caller<'a>),
    /// There is no header, and one is needed.
    NotAsked,
    /// It is wrong.
    Wrong,
    /// This client must wait before its next attempt.
    Wait(Duration),
    /// Too many passwords wait to be checked.
    Busy,
}

impl Access {
    /// The rights of a caller.
    pub(crate) fn rights(&self, caller: Caller<'_>) -> Rights {
        match caller {
            Caller::Control => Rights::All,
            Caller::Login(_) if self.read_only => Rights::ReadOnly,
            Caller::Login(_) => Rights::All,
            Caller::Token(_) => Rights::Send,
            Caller::Anybody if self.public && self.login.is_none() => Rights::Public,
            Caller::Anybody => Rights::Anybody,
        }
    }

    /// Whether a connection may use the slots reserved for trusted clients: it comes from this
    /// machine itself (`local`), or from a client that may relay. A proxy does not count, because
    /// any client may be behind it.
    pub(crate) fn is_own(&self, peer: IpAddr, local: bool) -> bool {
        let near = || self.near.as_ref().is_some_and(|near| near(peer));
        !self.proxies.iter().any(|network| network.contains(&peer)) && (local || near())
    }

    /// The highest rights at `ui_port`, to describe what is shown there.
    pub(crate) fn port_rights(&self) -> Rights {
        let login = self.login.as_ref();
        self.rights(login.map_or(Caller::Anybody, |login| Caller::Login(&login.username)))
    }

    /// Checks an `Authorization` header. `needed`: without one nothing is shown.
    pub(crate) async fn admit(
        &self,
        throttle: &LoginThrottle,
        authorization: Option<&[u8]>,
        client: RequestClient,
        needed: bool,
    ) -> Admission<'_> {
        if self.login.is_none() && self.tokens.is_empty() {
            return Admission::In(Caller::Anybody);
        }
        let Some(header) = authorization else {
            return if needed { Admission::NotAsked } else { Admission::In(Caller::Anybody) };
        };
        let given = Credentials::read(header);
        let account = given.as_ref().and_then(|given| self.account(given));
        let name = account.map_or("", |(name, ..)| name);
        let secret = given.as_ref().map_or(&b""[..], |given| &given.secret);
        let known = if account.is_some() {
            self.verifier.known(name, secret, Instant::now())
        } else {
            CachedLogin::No
        };
        if known != CachedLogin::Right {
            let guess = known == CachedLogin::No;
            if guess && let Err(pause) = throttle.begin(name, client.address, Instant::now()) {
                return Admission::Wait(pause);
            }
            let stand_in = self
                .login
                .as_ref()
                .map(|login| &login.password)
                .or_else(|| self.tokens.first().map(Token::password));
            let whose =
                if guess && !self.is_near(client) { LoginClass::Stranger } else { LoginClass::Own };
            let whose = (LoginService::Http, whose);
            let account = account.map(|(name, password, _)| (name, password));
            match self.verifier.compare(account, stand_in, secret, whose).await {
                PasswordCheck::Right if guess => {
                    throttle.right(name, client.address, Instant::now());
                }
                // It was correct in this process, whose passwords do not change: the hash would
                // only renew the time until it is forgotten.
                PasswordCheck::Busy if known == CachedLogin::Earlier => {}
                PasswordCheck::Right => {}
                PasswordCheck::Wrong => return Admission::Wrong,
                PasswordCheck::Busy => {
                    throttle.taken_back(name, client.address);
                    return Admission::Busy;
                }
            }
        }
        match account {
            Some((_, _, Caller::Token(token)))
                if !token.may_come_from(client.direct.then_some(client.address)) =>
            {
                Admission::Wrong
            }
            Some((_, _, caller)) => Admission::In(caller),
            None => Admission::Wrong,
        }
    }

    /// Whether a client is trusted by its address, without a proxy in between.
    pub(crate) fn is_near(&self, client: RequestClient) -> bool {
        client.direct && self.is_own(client.address, client.address.is_loopback())
    }

    /// The account of a name, whatever the secret.
    fn account(&self, given: &Credentials) -> Option<(&str, &Password, Caller<'_>)> {
        let login = self
            .login
            .as_ref()
            .filter(|login| !given.bearer && same_name(&given.name, &login.username));
        if let Some(login) = login {
            return Some((&login.username, &login.password, Caller::Login(&login.username)));
        }
        let token = self.tokens.iter().find(|token| token.name == given.name)?;
        Some((&token.name, token.password(), Caller::Token(token)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::prelude::{BASE64_STANDARD, Engine};

    const HERE: RequestClient =
        RequestClient { address: IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), direct: true };

    fn basic(pair: &str) -> Vec<u8> {
        format!("Basic {}", BASE64_STANDARD.encode(pair.as_bytes())).into_bytes()
    }

    async fn rights(access: &Access, header: &[u8], from: RequestClient) -> Option<Rights> {
        match access.admit(&LoginThrottle::default(), Some(header), from, true).await {
            Admission::In(caller) => Some(access.rights(caller)),
            _ => None,
        }
    }

    #[tokio::test]
    async fn only_the_right_pair_opens_the_door() {
        let tokens = vec![Token::new("shop", "{PLAIN}t0ken").unwrap()];
        let access =
            Access { login: Some(Login::new("operator", "a:b ü")), tokens, ..Access::default() };
        assert_eq!(rights(&access, &basic("operator:a:b ü"), HERE).await, Some(Rights::All));
        assert_eq!(rights(&access, &basic("shop:t0ken"), HERE).await, Some(Rights::Send));
        assert_eq!(rights(&access, b"Bearer shop:t0ken", HERE).await, Some(Rights::Send));
        for wrong in [
            "",
            ":",
            "operator",
            "operator:",
            "operator:a:b",
            "operator:a:b ü ",
            "Operator:a:b ü",
            "shop:",
            "shop:a:b ü",
        ] {
            assert_eq!(rights(&access, &basic(wrong), HERE).await, None, "{wrong}");
        }
        for wrong in [&b"Bearer operator:a:b \xc3\xbc"[..], b"Bearer t0ken", b"", b"\xff"] {
            assert_eq!(rights(&access, wrong, HERE).await, None);
        }
        assert!(matches!(
            access.admit(&LoginThrottle::default(), None, HERE, true).await,
            Admission::NotAsked
        ));
        assert!(matches!(
            access.admit(&LoginThrottle::default(), None, HERE, false).await,
            Admission::In(Caller::Anybody)
        ));
    }

    #[tokio::test]
    async fn a_token_is_not_trusted_by_what_a_proxy_says() {
        let token = Token::new("shop", "{PLAIN}x").unwrap();
        let token = token.limited(Vec::new(), vec!["127.0.0.0/8".parse().unwrap()], None);
        let access = Access { tokens: vec![token], ..Access::default() };
        assert_eq!(rights(&access, b"Bearer shop:x", HERE).await, Some(Rights::Send));
        assert_eq!(
            rights(&access, b"Bearer shop:x", RequestClient { direct: false, ..HERE }).await,
            None
        );
        assert_eq!(
            rights(
                &access,
                b"Bearer shop:x",
                RequestClient { address: "192.0.2.1".parse().unwrap(), direct: true }
            )
            .await,
            None
        );
    }

    #[test]
    fn the_places_of_our_own_are_not_for_whoever_comes_through_a_proxy() {
        let here = HERE.address;
        let access = |proxies: &[&str]| Access {
            proxies: proxies.iter().map(|text| text.parse().unwrap()).collect(),
            near: Some(Box::new(|address| address == IpAddr::from([10, 0, 0, 7]))),
            ..Access::default()
        };
        assert!(access(&[]).is_own(here, true) && access(&[]).is_own([10, 0, 0, 7].into(), false));
        assert!(!access(&[]).is_own([10, 0, 0, 8].into(), false));
        assert!(
            !access(&["127.0.0.0/8"]).is_own(here, true)
                && !access(&["10.0.0.0/24"]).is_own([10, 0, 0, 7].into(), false)
        );
    }

    #[tokio::test]
    async fn a_login_that_was_right_lately_gets_through_while_others_guess() {
        let hash = bcrypt::hash("s3cret", 4).unwrap();
        let access = Access { login: Some(Login::new("operator", &hash)), ..Access::default() };
        let throttle = LoginThrottle::default();
        let ask = async |pair: &str| access.admit(&throttle, Some(&basic(pair)), HERE, true).await;
        assert!(matches!(ask("operator:s3cret").await, Admission::In(_)));
        let mut waits = 0;
        for n in 0..20 {
            waits += u32::from(matches!(ask(&format!("operator:{n}")).await, Admission::Wait(_)));
            assert!(matches!(ask("operator:s3cret").await, Admission::In(_)));
        }
        assert_eq!(waits, 15);
    }
    #[tokio::test(flavor = "multi_thread")]
    async fn guesses_from_many_addresses_keep_nobody_out_who_is_near() {
        let hash = bcrypt::hash("s3cret", 8).unwrap();
        let access =
            Arc::new(Access { login: Some(Login::new("operator", &hash)), ..Access::default() });
        let throttle = Arc::new(LoginThrottle::default());
        let guesses: Vec<_> = (0..200u32)
            .map(|n| {
                let (access, throttle) = (access.clone(), throttle.clone());
                let stranger = RequestClient {
                    address: IpAddr::from((0xc633_0000 | n).to_be_bytes()),
                    direct: true,
                };
                tokio::spawn(async move {
                    let guess = basic(&format!("operator:{n}"));
                    matches!(
                        access.admit(&throttle, Some(&guess), stranger, true).await,
                        Admission::Busy
                    )
                })
            })
            .collect();
        tokio::task::yield_now().await;
        let right = access.admit(&throttle, Some(&basic("operator:s3cret")), HERE, true).await;
        assert!(matches!(right, Admission::In(_)));
        let mut busy = 0;
        for guess in guesses {
            busy += u32::from(guess.await.unwrap());
        }
        assert!(busy > 100, "{busy}: there was no crowd");
    }
}

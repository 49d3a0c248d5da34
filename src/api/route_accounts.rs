//! Which accounts may submit a message by HTTP: the part of a route test that the server itself
//! decides.
//!
//! In: the reverse-path, and the client where one was given. Out: an [`AccountView`] for the login
//! and for each token, by the same rules as `POST /api/v1/messages`. Not asked: passwords, and the
//! rate of a token.

use crate::http::access::{Access, Caller};
use crate::http::rights::RequiredRight;
use crate::http::token::Token;
use crate::mail::model::Address;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// The login or a token, and whether it may submit the message by HTTP.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AccountView {
    /// The name of the token; `null` = the login.
    pub token: Option<String>,
    /// Whether it may submit such a message, while the queue accepts mail.
    pub may_send: bool,
    /// The networks from which the token may be used, without a proxy in between; empty = any.
    pub networks: Vec<String>,
    /// Why it may not; `null` where it may.
    pub reason: Option<String>,
}

/// The login first, then the tokens in their order.
pub(super) fn accounts_view(
    access: &Access,
    from: Option<&Address>,
    client: Option<IpAddr>,
) -> Vec<AccountView> {
    let login = access.login.as_ref().map(|login| {
        let may = access.rights(Caller::Login(&login.username)).may(RequiredRight::Send);
        view(None, Vec::new(), may.map_err(str::to_owned))
    });
    let tokens = access.tokens.iter().map(|token| {
        let networks = token.networks().iter().map(ToString::to_string).collect();
        view(Some(token.name.clone()), networks, may_send(token, from, client))
    });
    login.into_iter().chain(tokens).collect()
}

fn view(token: Option<String>, networks: Vec<String>, may: Result<(), String>) -> AccountView {
    AccountView { token, may_send: may.is_ok(), networks, reason: may.err() }
}

fn may_send(token: &Token, from: Option<&Address>, client: Option<IpAddr>) -> Result<(), String> {
    if let Some(client) = client.filter(|client| !token.may_come_from(Some(*client))) {
        let name = &token.name;
        return Err(format!(
            "the token '{name}' may not be used from {client}: see networks= in api_tokens"
        ));
    }
    token.may_send_as(from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::login::Login;

    fn access(read_only: bool) -> Access {
        let token = |name| Token::new(name, "{PLAIN}t0ken").unwrap();
        let networks = vec!["10.0.0.0/8".parse().unwrap()];
        let tokens = vec![
            token("shop").limited(vec!["shop.example".to_owned()], Vec::new(), None),
            token("near").limited(Vec::new(), networks, None),
        ];
        let login = Some(Login::new("operator", "s3cret"));
        Access { login, tokens, read_only, ..Access::default() }
    }

    fn may(access: &Access, from: &str, client: &str) -> Vec<bool> {
        let views = accounts_view(access, Address::parse(from).ok().as_ref(), client.parse().ok());
        assert!(views.iter().all(|view| view.may_send == view.reason.is_none()));
        views.into_iter().map(|view| view.may_send).collect()
    }

    #[test]
    fn each_account_is_held_to_its_own_rules() {
        let (open, read_only) = (access(false), access(true));
        assert_eq!(may(&open, "a@shop.example", ""), [true, true, true]);
        assert_eq!(may(&open, "a@shop.example", "10.1.2.3"), [true, true, true]);
        assert_eq!(may(&open, "a@shop.example", "192.0.2.1"), [true, true, false]);
        assert_eq!(may(&open, "a@else.example", "10.1.2.3"), [true, false, true]);
        assert_eq!(may(&open, "", ""), [true, false, true], "the null sender");
        assert_eq!(may(&read_only, "a@shop.example", ""), [false, true, true]);
        assert!(may(&Access::default(), "a@shop.example", "").is_empty());
        assert_eq!(accounts_view(&open, None, None)[2].networks, ["10.0.0.0/8"]);
    }
}

//! A route test as text, for the page and for the operator's tool.

use super::delivery_state::DeliveryState;
use super::route_accounts::AccountView;
use super::route_test::{ClientView, RouteHostView, RouteTestView, TargetStatusView, TargetView};
use crate::ground::display_text::{counted, span};

/// Why nobody may submit mail by HTTP.
pub(crate) const NO_ACCOUNTS: &str =
    "nobody may send by HTTP: neither username and password nor api_tokens are set";

impl RouteTestView {
    /// Whether the message would be accepted and can be delivered: the queue accepts mail, its
    /// client may send it, where one was given, and all of its targets have hosts.
    pub fn would_go(&self) -> bool {
        self.queue_reply.is_none()
            && self.client.as_ref().is_none_or(|client| client.may_send)
            && self.targets.iter().all(|target| target.error.is_none())
    }
}

impl AccountView {
    /// Which account it is, with its networks, or why it may not send the mail.
    pub fn words(&self) -> String {
        let account = match &self.token {
            None => "with the login".to_owned(),
            Some(name) => format!("with the token '{name}'"),
        };
        match &self.reason {
            Some(reason) => format!("{account}: {reason}"),
            None if self.networks.is_empty() => account,
            None => format!("{account}, from {} without a proxy", self.networks.join(", ")),
        }
    }
}

impl ClientView {
    /// Whether it may send the mail, and why.
    pub fn words(&self) -> String {
        let Self { address, network, reply, .. } = self;
        match (reply, network) {
            (Some(reply), _) => format!("{address} may not send this: {reply}"),
            (None, Some(network)) => {
                format!("{address} may send this: {network} in smtpd_trusted_networks applies")
            }
            (None, None) => format!("{address} may send this"),
        }
    }
}

impl TargetView {
    /// By which rule the mail goes there.
    pub fn rule_words(&self) -> &'static str {
        match self.rule.as_str() {
            "smart_relay" => "property smart_relay: it receives all mail",
            "upstream" => "properties upstream_<name>_…: of its sender, its recipient, or the rest",
            "redirect" => "property redirect_all_to: its address gets all mail",
            "carbon_copy" => "property cc_mta: it gets a copy of every mail",
            _ => "the domain of the recipient",
        }
    }

    /// How its hosts were found.
    pub fn lookup_words(&self) -> String {
        match (self.lookup.as_deref(), self.mx_records) {
            (Some("mx"), Some(records)) => mx_words(records, self.hosts.len()),
            (Some("no_mx"), _) => "no MX record: the name is its own mail host".to_owned(),
            (Some("null_mx"), _) => "a null MX record: the domain accepts no mail".to_owned(),
            (Some("address"), _) => "an address: nothing to look up".to_owned(),
            (Some("exact"), _) => "a host in square brackets: no MX lookup".to_owned(),
            (Some("local_name"), _) => {
                "a name without a dot is a host of the local network: no MX lookup".to_owned()
            }
            _ => "not known: the lookup failed, see the error".to_owned(),
        }
    }

    /// How TLS is used with its hosts.
    pub fn tls_words(&self) -> String {
        format!("{}: {}", self.tls, level_words(&self.tls))
    }
}

/// What a form of TLS means.
fn level_words(level: &str) -> &'static str {
    match level {
        "required" => "STARTTLS and a verified certificate, or no mail is sent",
        "implicit" => "TLS from the first octet and a verified certificate, or no mail is sent",
        "none" => "plain text",
        _ => {
            "STARTTLS where the host offers it, its certificate is not verified, plain text where \
            TLS fails"
        }
    }
}

/// How many MX records there are; of many the best hosts are used. A host that is named twice
/// counts among those that are left out.
fn mx_words(records: usize, hosts: usize) -> String {
    let all = counted(records as u64, "MX record");
    match records.saturating_sub(hosts) {
        0 => all,
        more => format!("{all}: the best {hosts} hosts, and {more} more that are not used"),
    }
}

impl RouteHostView {
    /// Why it is not used; `None` when it is.
    pub fn refusal(&self) -> Option<String> {
        Some(match self.used.as_str() {
            "used" => return None,
            "this_host" => "this is this relay itself".to_owned(),
            "not_preferred" => "its preference is no better than that of this relay".to_owned(),
            "no_address" => "it has no address".to_owned(),
            "unusable" => "it has no address that mail could be sent to".to_owned(),
            "not_a_name" => "this is not a host name".to_owned(),
            "over_limit" => "there are enough hosts before it".to_owned(),
            "pending" => "its addresses were not answered in time".to_owned(),
            _ => {
                let cause = self.cause.as_deref().unwrap_or("no answer");
                format!("its addresses could not be looked up: {cause}")
            }
        })
    }
}

impl TargetStatusView {
    /// Whether a mail that comes in now waits until the destination is resumed, its suspension
    /// ends, or its rate has a permit.
    pub fn waits(&self) -> bool {
        self.paused || self.suspended_seconds.is_some() || self.rate_limit.is_some()
    }

    /// What the state means for a mail that comes in now.
    pub fn words(&self) -> String {
        let Self { couriers, window, limit, .. } = self;
        let limited =
            || self.rate_limit.clone().unwrap_or_else(|| "mail is sent at once".to_owned());
        let state = match (self.state, self.suspended_seconds.map(span)) {
            (DeliveryState::Paused, _) => "an operator has paused delivery; mail waits".to_owned(),
            (DeliveryState::Unreachable, Some(time)) => {
                format!("it could not be reached; the next attempt is in {time}")
            }
            (DeliveryState::Unreachable, None) => "the last attempts did not reach it".to_owned(),
            (_, Some(time)) => format!("the next attempt is in {time} at the earliest"),
            (DeliveryState::Busy, None) => match couriers {
                1 => "its only connection is in use; mail waits for it".to_owned(),
                all => format!("all of its {all} connections are in use; mail waits for one"),
            },
            _ => limited(),
        };
        let waiting = counted(self.messages, "message");
        format!(
            "{state}; {waiting} queued, {couriers} of {window} connections open (at most {limit})"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(state: DeliveryState) -> TargetStatusView {
        TargetStatusView {
            state,
            paused: state == DeliveryState::Paused,
            suspended_seconds: None,
            rate_limit: None,
            unreachable_since: None,
            messages: 1,
            couriers: 2,
            window: 5,
            limit: 20,
            last_error: String::new(),
        }
    }

    #[test]
    fn a_state_is_told_with_what_it_means() {
        use DeliveryState::{Busy, Delivering, Idle, Paused, RateLimited, Suspended, Unreachable};
        assert_eq!(
            status(Idle).words(),
            "mail is sent at once; 1 message queued, 2 of 5 connections open (at most 20)"
        );
        let suspended = |state| TargetStatusView { suspended_seconds: Some(90), ..status(state) };
        for (status, words, waits) in [
            (suspended(Paused), "an operator has paused delivery; mail waits;", true),
            (
                suspended(Unreachable),
                "it could not be reached; the next attempt is in 1 min;",
                true,
            ),
            (status(Unreachable), "the last attempts did not reach it;", false),
            (suspended(Suspended), "the next attempt is in 1 min at the earliest;", true),
            (
                TargetStatusView { couriers: 20, window: 20, ..status(Busy) },
                "all of its 20 connections are in use; mail waits for one;",
                false,
            ),
            (status(Delivering), "mail is sent at once;", false),
            (
                TargetStatusView {
                    rate_limit: Some("rate 1/s of destination_rates: next at 12:03:20".to_owned()),
                    ..status(RateLimited)
                },
                "rate 1/s of destination_rates: next at 12:03:20;",
                true,
            ),
        ] {
            let told = status.words();
            assert!(told.starts_with(words) && status.waits() == waits, "{told}");
        }
    }

    #[test]
    fn mail_that_the_queue_does_not_accept_does_not_go() {
        let view = |reply: Option<&str>| RouteTestView {
            to: "a@b.example".to_owned(),
            from: String::new(),
            client: None,
            queue_reply: reply.map(str::to_owned),
            accounts: Vec::new(),
            targets: Vec::new(),
        };
        assert!(view(None).would_go() && !view(Some("452 4.3.1 full")).would_go());
    }

    #[test]
    fn an_account_is_told_with_what_limits_it() {
        let account = AccountView {
            token: Some("shop".to_owned()),
            may_send: true,
            networks: vec!["10.0.0.0/8".to_owned(), "192.0.2.1/32".to_owned()],
            reason: None,
        };
        assert_eq!(
            account.words(),
            "with the token 'shop', from 10.0.0.0/8, 192.0.2.1/32 without a proxy"
        );
        let refused = AccountView { reason: Some("read-only".to_owned()), ..account.clone() };
        assert_eq!(refused.words(), "with the token 'shop': read-only");
        let login = AccountView { token: None, networks: Vec::new(), ..account };
        assert_eq!(login.words(), "with the login");
    }

    #[test]
    fn tls_is_told_as_it_is_used() {
        for (tls, words) in [
            ("required", "verified certificate, or no mail"),
            ("implicit", "TLS from the first octet"),
            ("none", "plain text"),
            ("opportunistic", "is not verified"),
        ] {
            assert!(level_words(tls).contains(words), "{tls}");
        }
    }

    #[test]
    fn hosts_that_are_left_out_are_counted() {
        assert_eq!(mx_words(1, 1), "1 MX record");
        assert_eq!(
            mx_words(25, 20),
            "25 MX records: the best 20 hosts, and 5 more that are not used"
        );
    }
}

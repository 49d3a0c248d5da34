//! A route test as text, for the page and for the operator's tool.

use super::route_test::{ClientView, RouteHostView, RouteTestView, TargetStatusView, TargetView};
use crate::ground::display_text::{counted, span};

impl RouteTestView {
    /// Whether the message would be accepted and can be delivered: its client may send it, where
    /// one was given, and all of its targets have hosts.
    pub fn would_go(&self) -> bool {
        self.client.as_ref().is_none_or(|client| client.may_send)
            && self.targets.iter().all(|target| target.error.is_none())
    }
}

impl ClientView {
    /// Whether it may send the mail, and why.
    pub fn words(&self) -> String {
        let Self { address, network, reply, .. } = self;
        match (reply, network) {
            (Some(reply), _) => format!("{address} may not send this: {reply}"),
            (None, Some(network)) => {
                format!("{address} may send this: it is in {network} of smtpd_trusted_networks")
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
            "carbon_copy" => "property cc_mta: it gets a copy of every mail",
            _ => "the domain of the recipient",
        }
    }

    /// How its hosts were found.
    pub fn lookup_words(&self) -> String {
        match (self.lookup.as_deref(), self.mx_records) {
            (Some("mx"), Some(records)) => counted(records as u64, "MX record"),
            (Some("no_mx"), _) => "no MX record: the name is its own mail host".to_owned(),
            (Some("null_mx"), _) => "a null MX record: the domain accepts no mail".to_owned(),
            (Some("address"), _) => "an address: nothing to look up".to_owned(),
            (Some("exact"), _) => "a host in square brackets: no MX lookup".to_owned(),
            (Some("local_name"), _) => {
                "a name without a dot is a host of the local network: no MX lookup".to_owned()
            }
            _ => "not known: the lookup was not answered".to_owned(),
        }
    }

    /// How TLS is used with its hosts.
    pub fn tls_words(&self) -> String {
        let words = "STARTTLS where the host offers it, its certificate is not verified, plain \
        text where TLS fails";
        format!("{}: {words}", self.tls)
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
    /// The state in a word or two, as the queue shows it, and whether mail is sent there now.
    pub fn state(&self) -> (&'static str, bool) {
        match self {
            _ if self.paused => ("paused", false),
            _ if self.suspended_seconds.is_some() => ("suspended", false),
            _ if self.unreachable_since.is_some() => ("unreachable", true),
            _ if self.window < self.limit && self.couriers >= self.window => ("throttled", true),
            _ => ("ready", true),
        }
    }

    /// What that means for a mail that comes in now.
    pub fn words(&self) -> String {
        let Self { couriers, window, limit, .. } = self;
        let state = match (self.state().0, self.suspended_seconds) {
            ("paused", _) => "an operator has paused delivery; mail waits".to_owned(),
            (_, Some(seconds)) => {
                format!("it could not be reached; the next attempt is in {}", span(seconds))
            }
            ("unreachable", _) => "the last attempts did not reach it".to_owned(),
            ("throttled", _) => "all connections that it allows are in use".to_owned(),
            _ => "mail is sent at once".to_owned(),
        };
        let waiting = counted(self.messages, "message");
        format!(
            "{state}; {waiting} queued, {couriers} of {window} connections in use (at most {limit})"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> TargetStatusView {
        TargetStatusView {
            paused: false,
            suspended_seconds: None,
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
        assert_eq!(
            status().words(),
            "mail is sent at once; 1 message queued, 2 of 5 connections in use (at most 20)"
        );
        let since = || Some("2026-11-27T10:00:00Z".to_owned());
        for (status, word, goes) in [
            (
                TargetStatusView { paused: true, suspended_seconds: Some(9), ..status() },
                "paused",
                false,
            ),
            (TargetStatusView { suspended_seconds: Some(90), ..status() }, "suspended", false),
            (TargetStatusView { unreachable_since: since(), ..status() }, "unreachable", true),
            (TargetStatusView { couriers: 5, ..status() }, "throttled", true),
            (TargetStatusView { couriers: 20, window: 20, ..status() }, "ready", true),
        ] {
            assert_eq!(status.state(), (word, goes), "{status:?}");
        }
        let suspended = TargetStatusView { suspended_seconds: Some(90), ..status() };
        assert!(
            suspended.words().contains("the next attempt is in 1 min"),
            "{}",
            suspended.words()
        );
    }
}

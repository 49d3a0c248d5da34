//! `GET /api/v1/route?to=…`: where a mail would go, and whether its client might send it.
//!
//! In: `to`, and `from` and `client` where they matter. Out: a [`RouteTestView`]; its texts are in
//! `route_words`. Limits: one lookup of a visitor at a time and few in all (`http::searches`), each
//! at most [`TEST_PATIENCE`] long, with a pause after it; the relay ends a lookup
//! earlier. Security: needs the login, because it makes the relay ask name servers; hosts and
//! replies are untrusted text.

use super::delivery_state::DeliveryState;
use super::route_accounts::{AccountView, accounts_view};
use super::state::AppState;
use super::{HttpResponse, admin_error, error, since};
use crate::ground::clock;
use crate::ground::dns::TOTAL_TIME;
use crate::http::request::RequestHead;
use crate::http::response;
use crate::mail::model::{
    Address, ClientVerdict, Destination, DestinationStatus, HostLookup, HostUse, Reply,
    RouteQuestion, TargetReport, TracedHost,
};
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::timeout;

/// Time limit of a test: that of two lookups one after the other, as real mail may need them, with
/// time to report.
const TEST_PATIENCE: Duration = TOTAL_TIME.saturating_mul(2).saturating_add(REPORT_TIME);

/// See [`TEST_PATIENCE`].
const REPORT_TIME: Duration = Duration::from_secs(5);

/// What would happen to a message.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RouteTestView {
    /// The forward-path; a local part alone is completed with the domain that the client's mail
    /// gets.
    pub to: String,
    /// The reverse-path; empty for the null sender.
    pub from: String,
    /// What the relay would reply to the client; `null` where none was given.
    pub client: Option<ClientView>,
    /// The reply that refuses mail from anybody now; `null` = the queue accepts mail.
    pub queue_reply: Option<String>,
    /// Who may submit the message by HTTP; empty = nobody, because neither the login nor a token
    /// is configured.
    pub accounts: Vec<AccountView>,
    /// Where the mail would go: to the recipient first, then the carbon copy.
    pub targets: Vec<TargetView>,
}

/// What the relay would reply to a client of terminal `in`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ClientView {
    /// Its address.
    pub address: String,
    /// Whether it may send the mail.
    pub may_send: bool,
    /// The network of `smtpd_trusted_networks` that it is trusted by; `null` = by none.
    pub network: Option<String>,
    /// The reply that rejects the message; `null` where it is accepted.
    pub reply: Option<String>,
}

/// One target of the message.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TargetView {
    /// The destination's name, as in the queue.
    pub destination: String,
    /// By which rule: `domain`, `smart_relay`, `upstream`, `carbon_copy` or `redirect`.
    pub rule: String,
    /// How the hosts were found: `mx`, `no_mx`, `null_mx`, `address`, `exact` or `local_name`;
    /// `null` where the lookup failed: the error says why.
    pub lookup: Option<String>,
    /// How many MX records there are.
    pub mx_records: Option<usize>,
    /// The hosts that were named, best first: of MX records the best 20.
    pub hosts: Vec<RouteHostView>,
    /// Why there is no route, as a reply; `null` where there is one.
    pub error: Option<String>,
    /// How TLS is used: `opportunistic`.
    pub tls: String,
    /// The present state of deliveries.
    pub status: TargetStatusView,
}

/// A host that was considered for the route.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RouteHostView {
    /// Its name, or its address in text.
    pub host: String,
    /// The preference of its MX record.
    pub preference: Option<u16>,
    /// Address and port, in the order in which they are tried.
    pub addresses: Vec<String>,
    /// `used`, or why not: `this_host`, `not_preferred`, `no_address`, `unusable`, `not_a_name`,
    /// `unanswered`, `pending` or `over_limit`.
    pub used: String,
    /// The resolver's error, where it got no answer.
    pub cause: Option<String>,
}

/// The present state of deliveries to a destination.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TargetStatusView {
    /// The state in a word.
    pub state: DeliveryState,
    /// Whether an operator stopped deliveries to it.
    pub paused: bool,
    /// For how many more seconds nothing is attempted; `null` when it is not suspended.
    pub suspended_seconds: Option<u64>,
    /// Why and until when mail waits although nothing is wrong: a rate is used up; `null` when
    /// none is.
    #[serde(default)]
    pub rate_limit: Option<String>,
    /// Since when it cannot be reached, RFC 3339; `null` when the last attempt reached it, or there
    /// was none.
    pub unreachable_since: Option<String>,
    /// Messages that wait for it.
    pub messages: u64,
    /// Connections open or being opened.
    pub couriers: u32,
    /// The most of them that are allowed now.
    pub window: u32,
    /// The most that are ever allowed.
    pub limit: u32,
    /// What the last failed attempt said; empty when none failed.
    pub last_error: String,
}

/// The description of the request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RouteQuery {
    pub(crate) to: String,
    pub(crate) from: String,
    pub(crate) client: String,
}

impl RouteQuery {
    /// From a query string.
    ///
    /// # Errors
    /// The message for a parameter that is unknown or given twice.
    pub(crate) fn parse(query: &str) -> Result<Self, String> {
        let mut fields = [("to", None), ("from", None), ("client", None)];
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let field = fields.iter_mut().find(|(known, _)| *known == name);
            match field {
                Some((_, field @ None)) => *field = Some(value.trim().to_owned()),
                Some(_) => return Err(format!("{name}: once is enough")),
                None => return Err("known parameters are to, from, client".to_owned()),
            }
        }
        let [to, from, client] = fields.map(|(_, value)| value.unwrap_or_default());
        Ok(Self { to, from, client })
    }

    /// What it means; `read` reads a mailbox as from a client that may relay.
    fn question<E: ToString>(
        &self,
        read: impl Fn(&str) -> Result<Address, E>,
    ) -> Result<RouteQuestion, String> {
        if self.to.is_empty() {
            return Err("to: the recipient is missing; write to=somebody@example.org".to_owned());
        }
        let mailbox = |name: &str, text: &str| {
            // A local part alone gets this relay's own domain, which a domain must not.
            if text.contains('.') && !text.contains('@') {
                return Err(format!("{name}: an address is expected, such as anna@example.org"));
            }
            read(text).map_err(|error| format!("{name}: {}", error.to_string()))
        };
        let from = match self.from.as_str() {
            "" | "<>" => None,
            text => Some(mailbox("from", text)?),
        };
        let client = match self.client.as_str() {
            "" => None,
            text => Some(
                address(text)
                    .ok_or("client: an IP address is expected, such as 192.0.2.7 or 2001:db8::7")?,
            ),
        };
        Ok(RouteQuestion { to: mailbox("to", &self.to)?, from, client })
    }
}

/// An address, with or without the brackets of IPv6.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok()
}

/// `GET /api/v1/route`
pub(super) async fn route(app: &AppState, visit: &RequestHead<'_>) -> HttpResponse {
    let view = match RouteQuery::parse(visit.query) {
        Ok(query) => route_test(app, visit, &query).await,
        Err(words) => Err(RouteRefusal::Question(words)),
    };
    match view {
        Ok(view) => response::json(StatusCode::OK, &view),
        Err(RouteRefusal::Question(words)) => error(StatusCode::BAD_REQUEST, &words),
        Err(RouteRefusal::Answer(answer)) => *answer,
    }
}

/// Why there is no view.
pub(crate) enum RouteRefusal {
    /// The request makes no sense; the text says what to write.
    Question(String),
    /// The replies that reject the client's mail.
    Answer(Box<HttpResponse>),
}

/// The error of a test that took longer than [`TEST_PATIENCE`].
const LATE: &str = "the relay did not answer the route test in time; see /healthz";

/// The test, for programs and for the page.
pub(crate) async fn route_test(
    app: &AppState,
    visit: &RequestHead<'_>,
    query: &RouteQuery,
) -> Result<RouteTestView, RouteRefusal> {
    let read = |text: &str| app.views.submission.mailbox(text);
    let question = query.question(read).map_err(RouteRefusal::Question)?;
    let refused = |answer| RouteRefusal::Answer(Box::new(answer));
    let turn = visit.turn(&app.route_tests, "route_test", "route tests").await;
    let _turn = turn.map_err(refused)?;
    let accounts = accounts_view(&app.http.access, question.from.as_ref(), question.client);
    let (to, from) = (question.to.to_string(), question.from.as_ref().map(Address::to_string));
    let report = timeout(TEST_PATIENCE, app.views.route_test.test(question)).await;
    let report = report.map_err(|_| refused(error(StatusCode::GATEWAY_TIMEOUT, LATE)))?;
    let report = report.map_err(|fault| refused(admin_error(&fault)))?;
    let (now, targets) = (clock::now(), report.targets.into_iter());
    Ok(RouteTestView {
        to,
        from: from.unwrap_or_default(),
        client: report.client.map(client_view),
        queue_reply: report.queue.err().map(|reply| reply.to_string()),
        accounts,
        targets: targets.map(|target| target_view(target, report.redirected, now)).collect(),
    })
}

fn client_view(verdict: ClientVerdict) -> ClientView {
    ClientView {
        address: verdict.address.to_string(),
        may_send: verdict.reply.is_ok(),
        network: verdict.network.map(|network| network.to_string()),
        reply: verdict.reply.err().as_ref().map(Reply::to_string),
    }
}

fn target_view(target: TargetReport, redirected: bool, now: u32) -> TargetView {
    let rule = match &target.destination {
        _ if redirected => "redirect",
        Destination::Domain(_) => "domain",
        Destination::SmartRelay(_) => "smart_relay",
        Destination::Upstreams(_) => "upstream",
        Destination::Copy(_) => "carbon_copy",
    };
    let mx_records = match target.trace.lookup {
        Some(HostLookup::Mx(records)) => Some(records),
        _ => None,
    };
    TargetView {
        destination: target.destination.to_string(),
        rule: rule.to_owned(),
        lookup: target.trace.lookup.map(|lookup| lookup.as_str().to_owned()),
        mx_records,
        hosts: target.trace.hosts.into_iter().map(host_view).collect(),
        error: target.route.err().map(|error| error.to_string()),
        tls: target.tls.to_owned(),
        status: status_view(target.status, now),
    }
}

fn host_view(host: TracedHost) -> RouteHostView {
    RouteHostView {
        preference: host.preference,
        addresses: host.addresses.iter().map(ToString::to_string).collect(),
        used: host.used.as_str().to_owned(),
        cause: match host.used {
            HostUse::Unanswered(cause) => Some(cause),
            _ => None,
        },
        host: host.host,
    }
}

fn status_view(status: DestinationStatus, now: u32) -> TargetStatusView {
    TargetStatusView {
        state: DeliveryState::from(&status),
        paused: status.paused,
        suspended_seconds: status.suspended_until.map(|until| since(now, until)),
        rate_limit: status.rate_wait.map(|wait| wait.words(clock::soon)),
        unreachable_since: status.unreachable_since.map(clock::rfc3339),
        messages: status.messages,
        couriers: status.agents,
        window: status.window,
        limit: status.limit,
        last_error: status.last_error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(query: &str) -> Result<RouteQuestion, String> {
        RouteQuery::parse(query)?.question(Address::parse)
    }

    #[test]
    fn a_question_has_a_recipient_and_perhaps_more() {
        let asked = question("to=+a%40b.example&from=%3C%3E&client=%5B2001:db8::7%5D").unwrap();
        assert_eq!((asked.to.as_str(), &asked.from), ("a@b.example", &None));
        assert_eq!(asked.client, "2001:db8::7".parse().ok());
        let asked = question("to=a@b.example&from=c@d.example&client=").unwrap();
        assert_eq!((asked.from.unwrap().as_str(), asked.client), ("c@d.example", None));
    }

    #[test]
    fn what_makes_no_sense_is_told_with_what_to_write() {
        for (query, words) in [
            ("", "to: the recipient is missing"),
            ("from=a@b.example", "to: the recipient is missing"),
            ("to=b.example", "to: an address is expected, such as anna@example.org"),
            ("to=a@b..example", "to: this is not a mailbox"),
            ("to=a@b.example&from=x", "from: this is not a mailbox"),
            ("to=a@b.example&client=relay.example", "client: an IP address is expected"),
            ("to=a@b.example&to=c@d.example", "to: once is enough"),
            ("to=a@b.example&helo=x", "known parameters are to, from, client"),
        ] {
            let told = question(query).unwrap_err();
            assert!(told.starts_with(words), "{query}: {told}");
        }
    }
}

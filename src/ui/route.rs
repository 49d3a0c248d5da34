//! The page of route tests: where a mail would go, and whether its client might send it.
//!
//! Limits: [`HOSTS_SHOWN`] hosts of a destination, [`ACCOUNTS_SHOWN`] accounts.

use super::destinations::state;
use super::text::{ShortText, encoded, text};
use super::{PageError, PageFrame};
use crate::api::state::AppState;
use crate::api::{
    self, AccountView, ClientView, NO_ACCOUNTS, RouteHostView, RouteQuery, RouteRefusal, TargetView,
};
use crate::http::request::RequestHead;
use askama::Template;

/// The most hosts of a destination; a router looks at no more.
const HOSTS_SHOWN: usize = 20;

/// The login and tokens that are shown, at most.
const ACCOUNTS_SHOWN: usize = 20;

/// Characters of a name, and of a reply.
const NAME_SHOWN: usize = 80;
const REPLY_SHOWN: usize = 400;

#[derive(Template)]
#[template(path = "route.html", config = "src/ui/askama.toml")]
struct Page {
    frame: PageFrame,
    query: RouteQuery,
    /// The same question to the API.
    json: String,
    /// Why the question makes no sense.
    complaint: Option<String>,
    result: Option<Outcome>,
}

struct Outcome {
    /// What goes wrong, with the worst first.
    alerts: Vec<String>,
    /// Why mail waits that would be accepted.
    waits: Vec<String>,
    /// Where a mail goes that goes right, in one line.
    good: Option<String>,
    to: ShortText,
    from: ShortText,
    /// Whether a client may send it, and the reply.
    client: Option<(bool, ShortText)>,
    /// The login and the tokens: whether each may submit it by HTTP, with the reason.
    accounts: Vec<(bool, ShortText)>,
    /// How many tokens are not shown.
    more_accounts: usize,
    targets: Vec<Target>,
}

struct Target {
    name: ShortText,
    rule: &'static str,
    lookup: String,
    tls: String,
    error: Option<ShortText>,
    hosts: Vec<Host>,
    /// A state and its CSS class.
    state: (&'static str, &'static str),
    status: String,
    since: Option<String>,
    last_error: ShortText,
}

struct Host {
    preference: String,
    name: ShortText,
    addresses: String,
    refusal: Option<ShortText>,
}

/// The page: the form alone, or with what came of it.
pub(super) async fn page(app: &AppState, visit: &RequestHead<'_>) -> Result<String, PageError> {
    let query = RouteQuery::parse(visit.query).map_err(PageError::Query)?;
    let (mut complaint, mut result) = (None, None);
    if query != RouteQuery::default() {
        match api::route_test(app, visit, &query).await {
            Ok(view) => result = Some(outcome(&view)),
            Err(RouteRefusal::Question(words)) => complaint = Some(words),
            Err(RouteRefusal::Answer(answer)) => return Err(PageError::Answer(answer)),
        }
    }
    let frame = PageFrame::of(app, visit, "route");
    let fields = [("to", &query.to), ("from", &query.from), ("client", &query.client)];
    let fields = fields.map(|(name, value)| format!("{name}={}", encoded(value)));
    Page { frame, json: fields.join("&"), query, complaint, result }
        .render()
        .map_err(PageError::Render)
}

fn outcome(view: &api::RouteTestView) -> Outcome {
    let full = view.queue_reply.as_ref();
    let full = full.map(|reply| format!("The queue accepts no mail: {reply}"));
    let refused = view.client.as_ref().filter(|client| !client.may_send);
    let mut alerts: Vec<String> =
        full.or_else(|| refused.map(ClientView::words)).into_iter().collect();
    alerts.iter_mut().for_each(|words| *words = text(words, REPLY_SHOWN).shown);
    for target in &view.targets {
        if let Some(error) = &target.error {
            let words = format!("No route to {}: {error}", target.destination);
            alerts.push(text(&words, REPLY_SHOWN).shown);
        }
    }
    let held_up = view.targets.iter().filter(|one| one.error.is_none() && one.status.waits());
    let waits = held_up.map(|one| {
        let words = format!("Mail for {} waits: {}", one.destination, one.status.words());
        text(&words, REPLY_SHOWN).shown
    });
    let places: Vec<String> = view.targets.iter().map(place).collect();
    let good = view.would_go().then(|| text(&places.join(" and "), REPLY_SHOWN).shown);
    let account = |one: &AccountView| (one.may_send, text(&one.words(), REPLY_SHOWN));
    Outcome {
        alerts,
        waits: waits.collect(),
        good,
        to: text(&view.to, NAME_SHOWN),
        from: text(if view.from.is_empty() { "<>" } else { &view.from }, NAME_SHOWN),
        client: view.client.as_ref().map(client),
        accounts: view.accounts.iter().take(ACCOUNTS_SHOWN).map(account).collect(),
        more_accounts: view.accounts.len().saturating_sub(ACCOUNTS_SHOWN),
        targets: view.targets.iter().map(target).collect(),
    }
}

/// A destination, with its state where mail waits for it.
fn place(target: &TargetView) -> String {
    let TargetView { destination, status, .. } = target;
    if status.waits() {
        format!("{destination} (but waits: {})", status.state.as_str())
    } else {
        destination.clone()
    }
}

fn client(client: &ClientView) -> (bool, ShortText) {
    (client.may_send, text(&client.words(), REPLY_SHOWN))
}

fn target(target: &TargetView) -> Target {
    Target {
        name: text(&target.destination, NAME_SHOWN),
        rule: target.rule_words(),
        lookup: target.lookup_words(),
        tls: target.tls_words(),
        error: target.error.as_ref().map(|error| text(error, REPLY_SHOWN)),
        hosts: target.hosts.iter().take(HOSTS_SHOWN).map(host).collect(),
        state: state(target.status.state),
        status: target.status.words(),
        since: target.status.unreachable_since.clone(),
        last_error: text(&target.status.last_error, REPLY_SHOWN),
    }
}

fn host(host: &RouteHostView) -> Host {
    Host {
        preference: host.preference.map_or("–".to_owned(), |preference| preference.to_string()),
        name: text(&host.host, NAME_SHOWN),
        addresses: host.addresses.join(", "),
        refusal: host.refusal().map(|words| text(&words, REPLY_SHOWN)),
    }
}

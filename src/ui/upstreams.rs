//! The upstreams: a card on the first page, a page with all that is known, and the test of one.
//!
//! In: what `GET /api/v1/upstreams` gives; the form of a test. Out: pages. Limits: [`CARD_MAX`]
//! upstreams on the first page, those in trouble first. Security: errors, lines of the dialogue and
//! certificates are untrusted text; the form has this process's token.

use super::actions::{check_token, fields};
use super::text::{ShortText, text};
use super::{PageError, PageFrame};
use crate::api::state::AppState;
use crate::api::{
    self, TestRefusal, UpstreamLoginView, UpstreamMailsView, UpstreamState, UpstreamTestOrder,
    UpstreamTestSide, UpstreamTestStepView, UpstreamTestView, UpstreamView,
};
use crate::ground::display_text::{count, harmless, shorten};
use crate::http::request::RequestHead;
use askama::Template;
use hyper::body::Incoming;

/// Upstreams on the first page.
const CARD_MAX: usize = 5;

/// Characters of an error: on the first page, and on that of the upstreams.
const ERROR_SHORT: usize = 110;
const ERROR_SHOWN: usize = 500;

#[derive(Template)]
#[template(path = "upstreams.html", config = "src/ui/askama.toml")]
struct Page {
    frame: PageFrame,
    cards: Vec<Card>,
    test: Option<TestResult>,
    complaint: Option<String>,
}

/// One upstream.
struct Card {
    name: String,
    host: String,
    rules: String,
    state: &'static str,
    class: &'static str,
    error: Option<String>,
    since: Option<String>,
    paused_until: Option<String>,
    refused_senders: u64,
    hour: String,
    day: String,
    connections: String,
    login: String,
    tls: String,
    tls_time: Option<String>,
    relay: String,
    certificate: Option<Certificate>,
}

struct Certificate {
    names: String,
    issuer: String,
    until: String,
}

struct TestResult {
    upstream: String,
    host: String,
    well: bool,
    problem: String,
    advice: String,
    seconds: String,
    steps: Vec<Step>,
}

struct Step {
    at: String,
    class: &'static str,
    mark: char,
    side: &'static str,
    text: String,
}

/// A row of the card on the first page.
pub(super) struct Row {
    pub(super) name: String,
    pub(super) host: String,
    pub(super) state: &'static str,
    pub(super) class: &'static str,
    pub(super) since: Option<String>,
    pub(super) error: ShortText,
    pub(super) sent: String,
    pub(super) failed: String,
    pub(super) tls: String,
}

/// `GET /upstreams`
pub(super) fn page(app: &AppState, visit: &RequestHead<'_>) -> Result<String, PageError> {
    render(app, visit, None, None)
}

/// `POST /upstreams/NAME/test`: runs the test, and shows it above the upstreams.
pub(super) async fn test(
    app: &AppState,
    visit: &RequestHead<'_>,
    name: &str,
    content: Incoming,
) -> Result<String, PageError> {
    let (mut order, mut token) = (UpstreamTestOrder::default(), String::new());
    for (field, value) in form_urlencoded::parse(&fields(content).await?) {
        match &*field {
            "csrf" => token = value.into_owned(),
            "from" => order.from = value.into_owned(),
            "to" => order.to = value.into_owned(),
            _ => {}
        }
    }
    check_token(app, &token)?;
    match api::test_upstream(app, visit, name, &order).await {
        Ok(view) => render(app, visit, Some(result(view)), None),
        Err(TestRefusal::Address(words)) => render(app, visit, None, Some(words)),
        Err(refusal) => {
            let (status, words) = refusal.answer();
            Err(PageError::Answer(Box::new(api::error(status, &words))))
        }
    }
}

/// The upstreams for the first page, and how many more there are.
pub(super) fn rows(app: &AppState, visit: &RequestHead<'_>) -> (Vec<Row>, usize) {
    let mut upstreams = api::upstreams_view(app, visit).upstreams;
    let more = upstreams.len().saturating_sub(CARD_MAX);
    upstreams.truncate(CARD_MAX);
    (upstreams.into_iter().map(row).collect(), more)
}

fn render(
    app: &AppState,
    visit: &RequestHead<'_>,
    test: Option<TestResult>,
    complaint: Option<String>,
) -> Result<String, PageError> {
    let cards = api::upstreams_view(app, visit).upstreams.into_iter().map(card).collect();
    let frame = PageFrame::of(app, visit, "upstreams");
    Page { frame, cards, test, complaint }.render().map_err(PageError::Render)
}

fn row(upstream: UpstreamView) -> Row {
    Row {
        state: upstream.state.words(),
        class: class(upstream.state),
        since: upstream.since,
        error: text(&upstream.last_error, ERROR_SHORT),
        sent: count(upstream.last_hour.sent),
        failed: count(upstream.last_hour.failed),
        tls: upstream.tls.words(),
        name: upstream.name,
        host: upstream.host,
    }
}

fn card(upstream: UpstreamView) -> Card {
    let has_error = !upstream.last_error.is_empty();
    let error = || shorten(&harmless(&upstream.last_error), ERROR_SHOWN);
    let most = upstream.connections_max.map(|most| format!(", {most} at most"));
    Card {
        state: upstream.state.words(),
        class: class(upstream.state),
        error: has_error.then(error),
        since: upstream.since,
        paused_until: upstream.paused_until,
        refused_senders: upstream.refused_senders,
        hour: mails(upstream.last_hour),
        day: mails(upstream.last_day),
        connections: format!("{} open{}", upstream.connections, most.unwrap_or_default()),
        login: login(&upstream.login),
        tls: upstream.tls.words(),
        tls_time: upstream.tls.time,
        relay: upstream.tls.relay,
        certificate: upstream.tls.certificate.map(|certificate| Certificate {
            names: match certificate.names.is_empty() {
                true => "no name".to_owned(),
                false => certificate.names.join(", "),
            },
            issuer: certificate.issuer,
            until: certificate.valid_until,
        }),
        name: upstream.name,
        host: upstream.host,
        rules: upstream.rules,
    }
}

fn class(state: UpstreamState) -> &'static str {
    match state {
        UpstreamState::Refused | UpstreamState::TlsFailed | UpstreamState::Unreachable => "bad",
        UpstreamState::Throttled | UpstreamState::SendersRefused => "warn",
        UpstreamState::Good => "active",
        UpstreamState::Unused => "",
    }
}

fn mails(mails: UpstreamMailsView) -> String {
    format!("{} sent, {} failed", count(mails.sent), count(mails.failed))
}

fn login(login: &UpstreamLoginView) -> String {
    let name = match (&login.username, login.used) {
        (Some(name), _) => name.clone(),
        (None, true) => "with a password".to_owned(),
        (None, false) => return "none".to_owned(),
    };
    match &login.mechanism {
        Some(mechanism) => format!("{name}, by {mechanism}"),
        None => name,
    }
}

fn result(view: UpstreamTestView) -> TestResult {
    TestResult {
        upstream: view.upstream,
        host: view.host,
        well: view.well,
        problem: harmless(&view.problem),
        advice: view.advice,
        seconds: format!("{:.1}", view.seconds),
        steps: view.steps.iter().map(step).collect(),
    }
}

fn step(step: &UpstreamTestStepView) -> Step {
    let (class, side) = match step.kind {
        UpstreamTestSide::Sent => ("sent", "we:"),
        UpstreamTestSide::Received => ("received", "it:"),
        UpstreamTestSide::Note => ("note", "remark:"),
    };
    Step {
        at: format!("{:.3}", step.seconds),
        class,
        mark: step.kind.mark(),
        side,
        text: harmless(&step.text),
    }
}

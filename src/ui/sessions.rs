//! The page of sessions: who is here, and who was refused and why.
//!
//! Limits: [`SESSIONS`] sessions; the examples that the roll keeps.

use super::text::{Text, text};
use super::{Frame, Refused};
use crate::api;
use crate::ground::words::{count, size, span};
use crate::http::state::AppState;
use crate::http::visit::Visit;
use askama::Template;

/// The most sessions on the page; `/api/v1/sessions` has more.
const SESSIONS: usize = 100;

/// Characters of a hostile text.
const SHOWN: usize = 60;

#[derive(Template)]
#[template(path = "sessions.html", config = "src/ui/askama.toml")]
struct Page {
    frame: Frame,
    total: String,
    sessions: Vec<Session>,
    more: usize,
    reasons: Vec<Reason>,
    any_refused: bool,
}

struct Session {
    client: String,
    helo: Text,
    age: String,
    since: String,
    state: String,
    tls: String,
    mail: Option<(Text, u32)>,
    messages: String,
    octets: String,
}

struct Reason {
    name: String,
    meaning: &'static str,
    total: String,
    examples: Vec<Example>,
}

struct Example {
    time: String,
    client: String,
    helo: Text,
    command: String,
    from: Text,
    to: Text,
    reply: Text,
}

/// The page.
pub(super) fn page(app: &AppState, visit: &Visit<'_>) -> Result<String, Refused> {
    let found = api::sessions_view(app);
    let session = |session: &api::SessionView| Session {
        client: format!("{} port {}", session.client, session.port),
        helo: text(&session.helo, SHOWN),
        age: span(session.seconds),
        since: session.since.clone(),
        state: session.state.to_lowercase(),
        tls: if session.tls.is_empty() { "plain text".to_owned() } else { session.tls.clone() },
        mail: (!session.sender.is_empty())
            .then(|| (text(&session.sender, SHOWN), session.recipients)),
        messages: count(session.messages),
        octets: size(session.octets),
    };
    let refusals = api::refusals_view(app);
    let reasons: Vec<Reason> =
        refusals.reasons.iter().filter(|reason| reason.total > 0).map(reason).collect();
    let page = Page {
        frame: Frame::of(app, visit, "sessions"),
        total: count(found.total as u64),
        more: found.total.saturating_sub(SESSIONS),
        sessions: found.sessions.iter().take(SESSIONS).map(session).collect(),
        any_refused: !reasons.is_empty(),
        reasons,
    };
    page.render().map_err(Refused::Render)
}

fn reason(reason: &api::ReasonView) -> Reason {
    let example = |example: &api::ExampleView| Example {
        time: example.time.clone(),
        client: example.client.clone(),
        helo: text(&example.helo, SHOWN),
        command: example.command.clone(),
        from: text(&example.from, SHOWN),
        to: text(&example.to, SHOWN),
        reply: text(&example.reply, 2 * SHOWN),
    };
    Reason {
        name: reason.reason.replace('_', " "),
        meaning: match reason.reason.as_str() {
            "relay" => "they may not send through this appliance; see smtpd_trusted_networks",
            "syntax" => "a command or an address that follows no grammar",
            "limit" => "a line, a mail or a session over its limit, or too slow",
            "bare_line" => "a bare CR or LF, as smuggled mail has",
            "loop" => "mail that goes in circles",
            "storage" => "the data volume could not take it",
            "memory" => "there was too little memory",
            "sessions_all" => "no place was left (421, in limit, too); see session_limit",
            "sessions_strangers" => {
                "no place was left for unknown clients (421, in limit, too); see session_reserve"
            }
            "sessions_address" => {
                "the address had all that one may have (421, in limit, too); see \
                session_limit_per_address"
            }
            "sessions_memory" => "there was no memory for another session (421, in limit, too)",
            "sessions_early" => "they sent too much before the greeting (421, in limit, too)",
            _ => "the appliance was stopping",
        },
        total: count(reason.total),
        examples: reason.last.iter().map(example).collect(),
    }
}

//! The page of sessions: which clients are connected, and which were rejected and why.
//!
//! Limits: [`SESSIONS`] sessions; the examples that the session registry keeps.

use super::text::{ShortText, text};
use super::{PageError, PageFrame};
use crate::api;
use crate::api::state::AppState;
use crate::ground::display_text::{count, size, span};
use crate::http::request::RequestHead;
use askama::Template;

/// Sessions on the page, at most; `/api/v1/sessions` has more.
const SESSIONS: usize = 100;

/// Characters of an untrusted text.
const SHOWN: usize = 60;

#[derive(Template)]
#[template(path = "sessions.html", config = "src/ui/askama.toml")]
struct Page {
    frame: PageFrame,
    total: String,
    sessions: Vec<Session>,
    more: usize,
    reasons: Vec<Reason>,
    any_refused: bool,
}

struct Session {
    client: String,
    helo: ShortText,
    age: String,
    since: String,
    state: String,
    tls: String,
    user: Option<ShortText>,
    mail: Option<(ShortText, u32)>,
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
    helo: ShortText,
    command: String,
    from: ShortText,
    to: ShortText,
    reply: ShortText,
}

/// The page.
pub(super) fn page(app: &AppState, visit: &RequestHead<'_>) -> Result<String, PageError> {
    let found = api::sessions_view(app);
    let session = |session: &api::SessionView| Session {
        client: format!("{} port {}", session.client, session.port),
        helo: text(&session.helo, SHOWN),
        age: span(session.seconds),
        since: session.since.clone(),
        state: session.state.to_lowercase(),
        tls: if session.tls.is_empty() { "without TLS".to_owned() } else { session.tls.clone() },
        user: (!session.user.is_empty()).then(|| text(&session.user, SHOWN)),
        mail: (!session.sender.is_empty())
            .then(|| (text(&session.sender, SHOWN), session.recipients)),
        messages: count(session.messages),
        octets: size(session.octets),
    };
    let refusals = api::refusals_view(app);
    let reasons: Vec<Reason> =
        refusals.reasons.iter().filter(|reason| reason.total > 0).map(reason).collect();
    let page = Page {
        frame: PageFrame::of(app, visit, "sessions"),
        total: count(found.total as u64),
        more: found.total.saturating_sub(SESSIONS),
        sessions: found.sessions.iter().take(SESSIONS).map(session).collect(),
        any_refused: !reasons.is_empty(),
        reasons,
    };
    page.render().map_err(PageError::Render)
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
            "relay" => "relay access denied; see smtpd_trusted_networks",
            "syntax" => "syntax error in a command or an address",
            "limit" => "a line, message or session over its limit, or a timeout",
            "bare_line" => "a bare CR or LF, as in SMTP smuggling",
            "loop" => "mail loop",
            "storage" => "the data volume could not be written",
            "memory" => "not enough memory",
            "auth" => "a login is missing or wrong; see smtp_users",
            "sender" => {
                "the client may not send as this sender; see senders= in smtp_users and \
                allowed_sender_domains"
            }
            "sessions_all" => {
                "session limit reached (421, counted under limit, too); see session_limit"
            }
            "sessions_strangers" => {
                "session limit for unknown clients reached (421, counted under limit, too); see \
                session_reserve"
            }
            "sessions_address" => {
                "session limit of one address reached (421, counted under limit, too); see \
                session_limit_per_address"
            }
            "sessions_memory" => {
                "not enough memory for another session (421, counted under limit, too)"
            }
            "sessions_early" => "data sent before the greeting (421, counted under limit, too)",
            _ => "Postern was stopping",
        },
        total: count(reason.total),
        examples: reason.last.iter().map(example).collect(),
    }
}

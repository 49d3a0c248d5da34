//! SMTP sessions, rejections, and the last log lines.
//!
//! Limits: [`SESSIONS_MAX`] sessions, [`LINES_MAX`] lines.

use super::{HttpResponse, error, since};
use crate::api::state::AppState;
use crate::ground::clock;
use crate::http::response;
use crate::mail::model::{Refusal, RefusedExample, SESSION_REFUSALS, SessionInfo};
use hyper::StatusCode;
use serde::{Deserialize, Serialize};

/// Sessions in an answer, at most.
pub const SESSIONS_MAX: usize = 500;

/// Log lines in an answer, at most.
pub const LINES_MAX: usize = 1000;

/// Log lines by default.
const LINES: usize = 200;

/// The open sessions.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SessionsView {
    /// The oldest first, at most [`SESSIONS_MAX`].
    pub sessions: Vec<SessionView>,
    /// How many there are.
    pub total: usize,
}

/// An open session.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SessionView {
    /// The client's address.
    pub client: String,
    /// Its port.
    pub port: u16,
    /// When it connected, RFC 3339.
    pub since: String,
    /// Since then.
    pub seconds: u64,
    /// Its last action: a command, `connect`.
    pub state: String,
    /// Its HELO name.
    pub helo: String,
    /// Protocol version and cipher suite; empty in plain text.
    pub tls: String,
    /// The user that has logged in; empty without a login.
    #[serde(default)]
    pub user: String,
    /// The reverse-path of the mail in progress.
    pub sender: String,
    /// Its recipients.
    pub recipients: u32,
    /// Mails accepted so far.
    pub messages: u32,
    /// Octets of these.
    pub octets: u64,
}

/// The rejections.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RefusalsView {
    /// Every reason, including those without a rejection.
    pub reasons: Vec<ReasonView>,
}

/// A reason of rejections.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReasonView {
    /// Its name, as in `mta_refused_total`; `sessions_…` as in `mta_sessions_refused_total`: those
    /// are in `limit`, too.
    pub reason: String,
    /// How often since the start.
    pub total: u64,
    /// The last examples, newest first.
    pub last: Vec<ExampleView>,
}

/// A rejected command.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExampleView {
    /// When, RFC 3339.
    pub time: String,
    /// The client's address.
    pub client: String,
    /// Its HELO name.
    pub helo: String,
    /// The command.
    pub command: String,
    /// The reverse-path, where one was known.
    pub from: String,
    /// The forward-path, where one was known.
    pub to: String,
    /// The reply.
    pub reply: String,
}

/// The last lines of the log.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LogView {
    /// Newest last.
    pub lines: Vec<String>,
}

/// The filter for log lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LogQuery {
    /// A text in them, whatever its case.
    pub(crate) filter: String,
    /// `warn`: warnings and errors; `error`: errors.
    pub(crate) level: String,
    limit: Option<usize>,
}

/// `GET /api/v1/sessions`
pub(super) fn sessions(app: &AppState) -> HttpResponse {
    response::json(StatusCode::OK, &sessions_view(app))
}

/// The open sessions, for programs and for the page.
pub(crate) fn sessions_view(app: &AppState) -> SessionsView {
    let (sessions, total) = app.views.sessions.sessions(SESSIONS_MAX);
    let now = clock::now();
    let view = |session: SessionInfo| SessionView {
        client: session.client.to_string(),
        port: session.port,
        since: clock::rfc3339(session.since),
        seconds: since(session.since, now),
        state: session.state.to_owned(),
        helo: session.helo,
        tls: session.tls,
        user: session.user,
        sender: session.sender,
        recipients: session.recipients,
        messages: session.messages,
        octets: session.octets,
    };
    SessionsView { sessions: sessions.into_iter().map(view).collect(), total }
}

/// `GET /api/v1/refusals`
pub(super) fn refusals(app: &AppState) -> HttpResponse {
    response::json(StatusCode::OK, &refusals_view(app))
}

/// The rejections, for programs and for the page.
pub(crate) fn refusals_view(app: &AppState) -> RefusalsView {
    let example = |example: RefusedExample| ExampleView {
        time: clock::rfc3339(example.at),
        client: example.client.to_string(),
        helo: example.helo,
        command: example.command.to_owned(),
        from: example.from,
        to: example.to,
        reply: example.reply,
    };
    let reason = |reason: &Refusal| ReasonView {
        reason: reason.as_str().to_owned(),
        total: app
            .monitor
            .counters
            .accept
            .refused_total
            .with_label_values(&[reason.as_str()])
            .get(),
        last: app.views.sessions.refused(*reason).into_iter().map(example).collect(),
    };
    let no_place = |label: &&'static str| ReasonView {
        reason: format!("sessions_{label}"),
        total: app
            .monitor
            .counters
            .accept
            .sessions_refused_total
            .with_label_values(&[*label])
            .get(),
        last: app.views.sessions.turned_away(label).into_iter().map(example).collect(),
    };
    RefusalsView {
        reasons: Refusal::ALL
            .iter()
            .map(reason)
            .chain(SESSION_REFUSALS.iter().map(no_place))
            .collect(),
    }
}

/// `GET /api/v1/log?filter=TEXT&level=warn&limit=N`
pub(super) fn log(app: &AppState, query: &str) -> HttpResponse {
    match LogQuery::parse(query) {
        Ok(asked) => response::json(StatusCode::OK, &LogView { lines: log_lines(app, &asked) }),
        Err(words) => error(StatusCode::BAD_REQUEST, &words),
    }
}

/// The lines, for programs and for the page.
pub(crate) fn log_lines(app: &AppState, asked: &LogQuery) -> Vec<String> {
    let filter = asked.filter.to_lowercase();
    let levels: &[&str] = match asked.level.as_str() {
        "warn" => &["WARN", "ERROR"],
        "error" => &["ERROR"],
        _ => &[],
    };
    app.views.tail.last(asked.limit.unwrap_or(LINES), |line| {
        (levels.is_empty() || level_of(line).is_some_and(|level| levels.contains(&level)))
            && (filter.is_empty() || line.to_lowercase().contains(&filter))
    })
}

impl LogQuery {
    /// From a query string.
    ///
    /// # Errors
    /// What is wrong with it, as text.
    pub(crate) fn parse(query: &str) -> Result<Self, String> {
        let mut asked = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match (&*name, &*value) {
                ("filter", text) => {
                    text.chars().take(200).collect::<String>().clone_into(&mut asked.filter)
                }
                ("level", word @ ("" | "info" | "warn" | "error")) => {
                    word.clone_into(&mut asked.level)
                }
                ("limit", number) => match number.parse() {
                    Ok(limit @ 1..=LINES_MAX) => asked.limit = Some(limit),
                    _ => return Err(format!("limit: a number from 1 to {LINES_MAX} is expected")),
                },
                _ => {
                    return Err(
                        "known parameters are filter, level=info, warn or error, and limit"
                            .to_owned(),
                    );
                }
            }
        }
        Ok(asked)
    }
}

/// The level of a line, plain or JSON.
pub(crate) fn level_of(line: &str) -> Option<&str> {
    match line.strip_prefix('{') {
        Some(json) => json.split_once("\"level\":\"")?.1.split('"').next(),
        None => line.split(' ').nth(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_tell_their_level() {
        assert_eq!(level_of("2026-11-22T12:00:00.123+01:00 WARN something"), Some("WARN"));
        assert_eq!(level_of(r#"{"time":"2026","level":"ERROR","message":"x"}"#), Some("ERROR"));
        assert_eq!(level_of(""), None);
    }

    #[test]
    fn what_is_asked_of_the_log_is_understood_or_refused() {
        let asked = LogQuery::parse("filter=a+b&level=warn&limit=5").unwrap();
        assert_eq!(
            (asked.filter.as_str(), asked.level.as_str(), asked.limit),
            ("a b", "warn", Some(5))
        );
        for bad in ["level=debug", "limit=0", "limit=1001", "x=y"] {
            assert!(LogQuery::parse(bad).is_err(), "{bad}");
        }
    }
}

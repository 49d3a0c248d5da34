//! The answers for programs, under `/api/v1`, and the shapes they have.
//!
//! A file for each part of the appliance that programs ask about; here is which path leads where. The operator's tool (`cli`)
//! reads the same shapes at the other end of the control socket.
//! Limits: the queue answers within [`ADMIN_PATIENCE`] or the client hears 504; each part names its own.
//! Security: addresses, names and errors are hostile text; JSON's own escapes make them harmless here, whoever shows them must
//! escape them again.

mod ages;
mod filter;
mod groups;
mod history;
pub mod idempotency;
mod index;
pub(crate) mod next_attempt;
mod orders;
mod queue;
mod rates;
pub(crate) mod redact;
mod send;
mod sessions;
mod status;
mod stream;
mod text;
pub(crate) mod transfer;

pub use ages::AgesView;
pub(crate) use ages::ages_view;
pub use filter::FilterView;
pub(crate) use groups::view as groups_view;
pub use groups::{GroupView, GroupsView};
pub use history::{AttemptView, AttemptsView, FinishedView, HistoryView};
pub(crate) use history::{HistoryQuery, attempts_view, finished_view, history_view};
pub use orders::{HitView, IDS_MAX, OrderView, Remark};
pub(crate) use orders::{Wish, carry_out};
pub use queue::{
    DESTINATIONS_MAX, DestinationView, DestinationsView, MessageView, PAGE_MAX, PageView, RECIPIENTS_SHOWN, RecipientView,
};
pub(crate) use queue::{PageQuery, destination_view, message_with_subject, page};
pub use rates::RatesView;
pub use send::SentView;
pub use sessions::{ExampleView, LogView, ReasonView, RefusalsView, SessionView, SessionsView};
pub(crate) use sessions::{LogQuery, level_of, log_lines, refusals_view, sessions_view};
pub use status::{DiskView, LatencyView, QueueView, StatusView, TotalsView};
pub(crate) use status::{alerts, latency, status_view};
pub(crate) use text::view as text_view;
pub use text::{AttachmentView, HeaderView, TextView, read as read_text};

use crate::http::answer::{self, Answer};
use crate::http::rights::Need;
use crate::http::router::Visit;
use crate::http::server::Window;
use crate::mail::model::{AdminError, Answer as AdminAnswer, MessageId};
use hyper::body::Incoming;
use hyper::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::time::timeout;

/// How long the queue may take.
const ADMIN_PATIENCE: Duration = Duration::from_secs(30);

/// The description of this API for programs: OpenAPI 3.1.
const DOCUMENT: &str = include_str!("openapi.json");

/// What went wrong.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ErrorView {
    /// In words.
    pub error: String,
}

/// Where a path under `/api/v1/` leads.
pub(crate) enum Route<'a> {
    Status,
    Ages,
    Index,
    Destinations,
    Groups,
    Rates,
    Stream,
    Sessions,
    Refusals,
    Log,
    Queue,
    Import,
    Message(&'a str),
    Body(&'a str),
    Text(&'a str),
    Mail(&'a str),
    Attempts(&'a str),
    History,
    Finished(&'a str),
    Orders,
    Send,
    Document,
}

impl<'a> Route<'a> {
    /// `rest` is the path behind `/api/v1/`.
    pub(crate) fn find(rest: &'a str, method: &Method) -> Option<Self> {
        let mut steps = rest.splitn(3, '/');
        Some(match (steps.next()?, steps.next(), steps.next()) {
            ("status", None, None) => Self::Status,
            ("ages", None, None) => Self::Ages,
            ("", None, None) => Self::Index,
            ("destinations", None, None) => Self::Destinations,
            ("groups", None, None) => Self::Groups,
            ("rates", None, None) => Self::Rates,
            ("stream", None, None) => Self::Stream,
            ("sessions", None, None) => Self::Sessions,
            ("refusals", None, None) => Self::Refusals,
            ("log", None, None) => Self::Log,
            ("queue", None, None) if method == Method::POST => Self::Import,
            ("queue", None, None) => Self::Queue,
            ("queue", Some(id), None) => Self::Message(id),
            ("queue", Some(id), Some("body")) => Self::Body(id),
            ("queue", Some(id), Some("text")) => Self::Text(id),
            ("queue", Some(id), Some("mail")) => Self::Mail(id),
            ("queue", Some(id), Some("attempts")) => Self::Attempts(id),
            ("history", None, None) => Self::History,
            ("history", Some(id), None) => Self::Finished(id),
            ("orders", None, None) => Self::Orders,
            ("messages", None, None) => Self::Send,
            ("openapi.json", None, None) => Self::Document,
            _ => return None,
        })
    }

    /// How a client may ask.
    pub(crate) fn methods(&self) -> &'static [Method] {
        match self {
            Self::Orders | Self::Send => &[Method::POST],
            Self::Queue | Self::Import => &[Method::GET, Method::HEAD, Method::POST],
            _ => &[Method::GET, Method::HEAD],
        }
    }

    /// What a client must be allowed to do.
    pub(crate) fn need(&self) -> Need {
        match self {
            Self::Status | Self::Ages | Self::Rates | Self::Stream | Self::Document | Self::Index => Need::Numbers,
            Self::Destinations
            | Self::Groups
            | Self::Sessions
            | Self::Refusals
            | Self::Log
            | Self::Attempts(_)
            | Self::History
            | Self::Finished(_)
            | Self::Queue
            | Self::Message(_) => Need::Look,
            Self::Body(_) | Self::Text(_) => Need::Read,
            Self::Orders => Need::Order,
            Self::Send => Need::Send,
            Self::Import | Self::Mail(_) => Need::Carry,
        }
    }

    /// The answer to a client that may ask.
    pub(crate) async fn answer(self, window: &Window, visit: &Visit<'_>, content: Incoming) -> Answer {
        match self {
            Self::Status => status::status(window, visit).await,
            Self::Ages => ages::ages(window).await,
            Self::Index => index::index(visit),
            Self::Destinations => queue::destinations(window),
            Self::Rates => rates::rates(window, visit.query),
            Self::Stream => stream::stream(window, visit).await,
            Self::Sessions => sessions::sessions(window),
            Self::Refusals => sessions::refusals(window),
            Self::Log => sessions::log(window, visit.query),
            Self::Groups => groups::groups(window, visit).await,
            Self::Queue => queue::queue(window, visit).await,
            Self::Import => transfer::import(window, content).await,
            Self::Message(id) => match id.parse() {
                Ok(id) => queue::message(window, id).await,
                Err(()) => no_id(id),
            },
            Self::Body(id) => match id.parse::<MessageId>() {
                Ok(id) => queue::body(window, id).await,
                Err(()) => no_id(id),
            },
            Self::Text(id) => match id.parse::<MessageId>() {
                Ok(id) => text::text(window, id).await,
                Err(()) => no_id(id),
            },
            Self::Mail(id) => match id.parse::<MessageId>() {
                Ok(id) => transfer::mail(window, id, visit.query).await,
                Err(()) => no_id(id),
            },
            Self::Attempts(id) => match id.parse::<MessageId>() {
                Ok(id) => history::attempts(window, visit, id).await,
                Err(()) => no_id(id),
            },
            Self::History => history::history(window, visit).await,
            Self::Finished(id) => match id.parse::<MessageId>() {
                Ok(id) => history::one(window, visit, id).await,
                Err(()) => no_id(id),
            },
            Self::Document => answer::found(answer::JSON, DOCUMENT),
            Self::Orders => orders::order(window, visit, content).await,
            Self::Send => send::send(window, visit, content).await,
        }
    }
}

/// An error as programs read it.
pub(crate) fn error(status: StatusCode, words: &str) -> Answer {
    answer::json(status, &ErrorView { error: words.to_owned() })
}

fn no_id(text: &str) -> Answer {
    let shown: String = text.chars().take(40).collect();
    error(StatusCode::NOT_FOUND, &format!("'{shown}' is no queue id; an id has 13 letters and digits"))
}

pub(crate) async fn ask<T>(question: AdminAnswer<'_, T>) -> Result<T, Answer> {
    match timeout(ADMIN_PATIENCE, question).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(fault)) => Err(admin_error(&fault)),
        Err(_) => Err(error(StatusCode::GATEWAY_TIMEOUT, "the queue did not answer in time; is the data volume well?")),
    }
}

pub(crate) fn admin_error(fault: &AdminError) -> Answer {
    let status = match fault {
        AdminError::Unknown => StatusCode::NOT_FOUND,
        AdminError::Storage(_) => StatusCode::SERVICE_UNAVAILABLE,
        AdminError::Busy | AdminError::Changed(_) => StatusCode::CONFLICT,
        AdminError::NoDestination(_) => StatusCode::BAD_REQUEST,
        AdminError::Damaged | AdminError::Refused(_) => StatusCode::UNPROCESSABLE_ENTITY,
    };
    error(status, &fault.to_string())
}

/// Seconds from one moment to another, none when it lies behind.
fn since(from: u32, to: u32) -> u64 {
    u64::from(to.saturating_sub(from))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    /// The path of each route as the document writes it; `None` for those of the control socket. A new route must say.
    fn documented(route: &Route<'_>) -> Option<&'static str> {
        Some(match route {
            Route::Status => "/status",
            Route::Destinations => "/destinations",
            Route::Groups => "/groups",
            Route::Rates => "/rates",
            Route::Stream => "/stream",
            Route::Sessions => "/sessions",
            Route::Refusals => "/refusals",
            Route::Log => "/log",
            Route::Queue => "/queue",
            Route::Message(_) => "/queue/{id}",
            Route::Body(_) => "/queue/{id}/body",
            Route::Text(_) => "/queue/{id}/text",
            Route::Attempts(_) => "/queue/{id}/attempts",
            Route::History => "/history",
            Route::Finished(_) => "/history/{id}",
            Route::Orders => "/orders",
            Route::Send => "/messages",
            Route::Document => "/openapi.json",
            Route::Ages => "/ages",
            Route::Index => "/",
            Route::Import | Route::Mail(_) => return None,
        })
    }

    #[test]
    fn the_document_says_what_is_there() {
        let document: Value = serde_json::from_str(DOCUMENT).unwrap();
        let paths = document["paths"].as_object().unwrap();
        for (path, operations) in paths {
            let asked = path.trim_start_matches('/').replace("{id}", "0000000000001");
            for method in operations.as_object().unwrap().keys() {
                let method: Method = method.to_uppercase().parse().unwrap();
                let route = Route::find(&asked, &method).unwrap_or_else(|| panic!("there is no {path}"));
                assert!(route.methods().contains(&method), "{method} {path}");
                assert_eq!(documented(&route), Some(path.as_str()));
                assert!(route.need() != Need::Carry, "{path}");
            }
        }
        assert_eq!(paths.len(), 20, "a path for each route that documented() names");
    }
}

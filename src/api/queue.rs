//! The contents of the queue: pages of messages, destinations, single messages.
//!
//! Limits: a page has at most [`PAGE_MAX`] messages with at most [`RECIPIENTS_SHOWN`] recipients
//! each; messages are read in small groups, so that a page of large envelopes is never completely
//! in memory.

use super::delivery_state::DeliveryState;
use super::filter::FilterView;
use super::{ADMIN_PATIENCE, HttpResponse, ask, error, since};
use crate::api::state::AppState;
use crate::api::transfer::stream;
use crate::export::target_name;
use crate::ground::clock;
use crate::http::request::RequestHead;
use crate::http::response::{self, MAIL, ResponseBody};
use crate::mail::model::{
    Body, DESTINATIONS_MAX, DeliveryStatus, DestinationSummary, Message, MessageId, MessageKind,
    Target, TargetProgress, TargetStatus,
};
use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{self, HeaderValue};
use mail_parser::MessageParser;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// Messages of one page of the queue, at most.
pub const PAGE_MAX: usize = 500;

/// Messages of a page by default.
const PAGE: usize = 100;

/// Recipients of each message on a page; the answer for a single message has all.
pub const RECIPIENTS_SHOWN: usize = 5;

/// Messages read at once.
const BUNCH: usize = 16;

/// Time limit of a search for a page.
const SEARCH_PATIENCE: Duration = Duration::from_millis(800);

/// Time limit to read the subjects of a group; without them the page has none.
const SUBJECTS_PATIENCE: Duration = Duration::from_millis(300);

/// How much of a message is read to find its subject.
const HEAD_MAX: usize = 32 * 1024;

/// One destination's share of the queue.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DestinationView {
    /// A domain, an address literal, or the smart relay.
    pub name: String,
    /// Its state in a word.
    pub state: DeliveryState,
    /// Messages that wait for it.
    pub messages: u64,
    /// Of these, in an attempt now.
    pub active: u64,
    /// Age of the oldest.
    pub oldest_age_seconds: Option<u64>,
    /// Seconds until the next attempt, 0 = now; `null` when all are being attempted, or while it is
    /// paused.
    pub next_try_seconds: Option<u64>,
    /// The error of the last failed attempt; empty when none failed.
    pub last_error: String,
    /// Messages that wait for another attempt.
    pub deferred: u64,
    /// Connections open or being opened.
    pub couriers: u32,
    /// Connections that are allowed now, at most.
    pub window: u32,
    /// How long it is still suspended because it was unreachable; `null` when it is not.
    pub suspended_seconds: Option<u64>,
    /// Why and until when its mail waits although nothing is wrong: a rate is used up; `null` when
    /// none is.
    #[serde(default)]
    pub rate_limit: Option<String>,
    /// Since when it cannot be reached, RFC 3339; `null` when it can.
    #[serde(default)]
    pub unreachable_since: Option<String>,
    /// Whether an operator has paused it.
    pub paused: bool,
    /// Messages by age, one number for each of `age_bounds_seconds` and one for the older ones.
    pub ages: Vec<u64>,
}

impl DestinationView {
    /// Why its mail waits, as far as it is known; empty when nothing is.
    pub(crate) fn reason(&self) -> &str {
        match (&self.rate_limit, self.state) {
            (Some(limit), DeliveryState::RateLimited) => limit,
            _ => &self.last_error,
        }
    }
}

/// A query of the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PageQuery {
    pub(crate) after: Option<MessageId>,
    pub(crate) limit: usize,
    /// Whether the subject of each message is wanted, which requires reading each content.
    pub(crate) subjects: bool,
    pub(crate) filter: FilterView,
}

impl PageQuery {
    /// From a query string.
    ///
    /// # Errors
    /// What is wrong with it, as text.
    pub(crate) fn parse(query: &str) -> Result<Self, String> {
        let mut asked =
            Self { after: None, limit: PAGE, subjects: false, filter: FilterView::default() };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match (&*name, &*value) {
                ("after", "") => asked.after = None,
                ("after", id) => {
                    asked.after =
                        Some(id.parse().map_err(|()| "after: this is not a queue id".to_owned())?)
                }
                ("limit", number) => match number.parse() {
                    Ok(number @ 1..=PAGE_MAX) => asked.limit = number,
                    _ => return Err(format!("limit: a number from 1 to {PAGE_MAX} is expected")),
                },
                (name, text) => match asked.filter.field(name) {
                    Some(field) => *field = text.to_owned(),
                    None => {
                        return Err(format!(
                            "known parameters are after, limit, {}",
                            FilterView::NAMES.join(", ")
                        ));
                    }
                },
            }
        }
        asked.filter.filter()?;
        Ok(asked)
    }
}

/// All destinations, those with the most messages first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DestinationsView {
    /// At most [`DESTINATIONS_MAX`].
    pub destinations: Vec<DestinationView>,
    /// The highest age of each number in `ages`.
    pub age_bounds_seconds: Vec<u32>,
}

/// A page of the queue, oldest first: in the order of acceptance, here or by another queue.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PageView {
    /// At most as many as were requested.
    pub messages: Vec<MessageView>,
    /// The value of `after` for the next page; `null` on the last one.
    pub next: Option<String>,
    /// How many messages were checked for this page.
    pub scanned: u64,
    /// `false`: the time limit was reached or the page is full; the next one may have more.
    pub complete: bool,
}

/// A message in the queue.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MessageView {
    /// Queue id.
    pub id: String,
    /// When it was accepted, RFC 3339.
    pub arrived: String,
    /// Since then.
    pub age_seconds: u64,
    /// Octets of its content.
    pub size_bytes: u64,
    /// The reverse-path; empty for the null sender.
    pub sender: String,
    /// `mail`, or `notification` when generated locally.
    pub kind: String,
    /// Whether an operator holds it.
    pub held: bool,
    /// `active`, `deferred`, `held` or `waiting`; only in a page of the queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The client's address; `null` when generated locally.
    pub client: Option<String>,
    /// The client's HELO name.
    pub helo: String,
    /// The decoded subject, only if one message was requested; masked if property `address_masking`
    /// masks addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// How many recipients it has.
    pub recipients_total: usize,
    /// How many of them are pending.
    pub recipients_pending: usize,
    /// Seconds until the next attempt for any recipient, 0 = now; `null` when held, or when all its
    /// destinations are paused.
    pub next_try_seconds: Option<u64>,
    /// Whether all destinations that it waits for are paused by an operator; absent = no.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// The recipients; in a page of the queue only the first pending ones.
    pub recipients: Vec<RecipientView>,
    /// The carbon copy to `cc_mta`, if there is one.
    pub copy: Option<RecipientView>,
}

/// The status of one recipient.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RecipientView {
    /// The forward-path; `cc_mta` for the carbon copy.
    pub address: String,
    /// `pending`, `delivered`, `bounced` or `dropped`.
    pub status: DeliveryStatus,
    /// Attempts that ended in a temporary failure.
    pub attempts: u16,
    /// Seconds until the next attempt, 0 = now; `null` unless pending, and while it is held or its
    /// destination is paused.
    pub next_try_seconds: Option<u64>,
    /// Whether its destination is paused by an operator; absent = no.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// The error of the last attempt.
    pub last_reply: String,
}

/// `GET /api/v1/destinations`
pub(super) fn destinations(app: &AppState) -> HttpResponse {
    let now = clock::now();
    let destinations = app
        .views
        .admin
        .destinations(DESTINATIONS_MAX)
        .into_iter()
        .map(|d| destination_view(d, now))
        .collect();
    response::json(
        StatusCode::OK,
        &DestinationsView { destinations, age_bounds_seconds: DestinationSummary::AGES.to_vec() },
    )
}

pub(crate) fn destination_view(destination: DestinationSummary, now: u32) -> DestinationView {
    DestinationView {
        state: DeliveryState::from(&destination),
        name: destination.destination.to_string(),
        messages: destination.messages,
        active: destination.active,
        oldest_age_seconds: destination.oldest.map(|oldest| since(oldest, now)),
        next_try_seconds: destination.next_attempt.map(|next| since(now, next)),
        last_error: destination.last_error,
        deferred: destination.deferred,
        couriers: destination.agents,
        window: destination.window,
        suspended_seconds: destination.suspended_until.map(|until| since(now, until)),
        rate_limit: destination.rate_wait.map(|wait| wait.words(clock::soon)),
        unreachable_since: destination.unreachable_since.map(clock::rfc3339),
        paused: destination.paused,
        ages: destination.ages.to_vec(),
    }
}

/// `GET /api/v1/queue?after=ID&limit=N&…`, with the conditions of a [`FilterView`].
pub(super) async fn queue(app: &AppState, visit: &RequestHead<'_>) -> HttpResponse {
    let asked = match PageQuery::parse(visit.query) {
        Ok(asked) => asked,
        Err(words) => return error(StatusCode::BAD_REQUEST, &words),
    };
    match page(app, visit, &asked).await {
        Ok(page) => response::json(StatusCode::OK, &page),
        Err(answer) => answer,
    }
}

/// A page of the queue, for the API and for people.
pub(crate) async fn page(
    app: &AppState,
    visit: &RequestHead<'_>,
    asked: &PageQuery,
) -> Result<PageView, HttpResponse> {
    let filter = asked.filter.filter().map_err(|words| error(StatusCode::BAD_REQUEST, &words))?;
    let _search = if filter.is_empty() { None } else { visit.search().await? };
    let (now, deadline) = (clock::now(), Instant::now() + SEARCH_PATIENCE);
    let mut view = PageView { messages: Vec::new(), next: None, scanned: 0, complete: false };
    let mut after = asked.after;
    loop {
        let (wanted, patience) = (
            BUNCH.min(asked.limit - view.messages.len()),
            deadline.saturating_duration_since(Instant::now()),
        );
        let found = ask(app.views.admin.find(filter.clone(), after, wanted, patience)).await?;
        after = found.next;
        view.scanned += found.scanned;
        let contents = found.messages.iter().map(|(message, _)| message.body.clone());
        let subjects = match asked.subjects {
            true => subjects(app, contents.collect()).await.into_iter().map(Some).collect(),
            false => vec![None; found.messages.len()],
        };
        let views = found.messages.iter().zip(subjects).map(|((message, standing), subject)| {
            let state = Some(standing.as_str().to_owned());
            MessageView { state, subject, ..message_view(message, now, Some(RECIPIENTS_SHOWN)) }
        });
        view.messages.extend(views);
        if found.complete || view.messages.len() >= asked.limit || Instant::now() >= deadline {
            view.complete = found.complete;
            view.next = after.filter(|_| !found.complete).map(|id| id.to_string());
            return Ok(view);
        }
    }
}

/// `GET /api/v1/queue/ID`
pub(super) async fn message(app: &AppState, id: MessageId) -> HttpResponse {
    match message_with_subject(app, id).await {
        Ok(view) => response::json(StatusCode::OK, &view),
        Err(answer) => answer,
    }
}

/// A message, for programs and for the page.
pub(crate) async fn message_with_subject(
    app: &AppState,
    id: MessageId,
) -> Result<MessageView, HttpResponse> {
    let message = ask(app.views.admin.show(id)).await?;
    let mut view = message_view(&message, clock::now(), None);
    let head = tokio::task::spawn_blocking(move || message.body.head(HEAD_MAX));
    // If the content cannot be read now, the envelope is still shown.
    if let Ok(Ok(Ok(head))) = timeout(ADMIN_PATIENCE, head).await {
        view.subject = Some(subject(&head, app.facts.masks_subjects));
    }
    Ok(view)
}

/// The subjects of some messages, in their order; empty for a content without one, all empty when
/// they are not read in time.
async fn subjects(app: &AppState, contents: Vec<Body>) -> Vec<String> {
    let (number, masked) = (contents.len(), app.facts.masks_subjects);
    let read = tokio::task::spawn_blocking(move || {
        let of = |body: Body| body.head(HEAD_MAX).map(|head| subject(&head, masked));
        contents.into_iter().map(|body| of(body).unwrap_or_default()).collect()
    });
    match timeout(SUBJECTS_PATIENCE, read).await {
        Ok(Ok(subjects)) => subjects,
        _ => vec![String::new(); number],
    }
}

/// The subject in the beginning of a content; if masked, only its first character.
fn subject(head: &[u8], masked: bool) -> String {
    let parsed = MessageParser::new().parse_headers(head);
    let subject = parsed.and_then(|mail| mail.subject().map(str::to_owned)).unwrap_or_default();
    match subject.chars().next() {
        Some(first) if masked => format!("{first}***"),
        _ => subject,
    }
}

/// `GET /api/v1/queue/ID/body`: the content as it will be sent, not dot-stuffed.
pub(super) async fn body(app: &AppState, id: MessageId) -> HttpResponse {
    let body = match ask(app.views.admin.show(id)).await {
        Ok(message) => message.body,
        Err(answer) => return answer,
    };
    let mut answer = match body {
        Body::Memory(bytes) => response::found(MAIL, bytes),
        Body::Stored(content, len) => {
            let pieces = stream(Bytes::new(), Body::Stored(content, len));
            response::answer(StatusCode::OK, MAIL, ResponseBody::Pieces(pieces, len))
        }
    };
    // A browser saves it as a file and never shows it as a page of this server.
    if let Ok(name) = HeaderValue::from_str(&format!("attachment; filename=\"{id}.eml\"")) {
        answer.headers_mut().insert(header::CONTENT_DISPOSITION, name);
    }
    answer
}

fn message_view(message: &Message, now: u32, shown: Option<usize>) -> MessageView {
    let envelope = &message.envelope;
    let paused = |progress: &TargetProgress| {
        progress.status == TargetStatus::Pending && progress.due == TargetProgress::PAUSED
    };
    let waits = |progress: &TargetProgress| {
        !message.held && progress.status == TargetStatus::Pending && !paused(progress)
    };
    let due = |progress: &TargetProgress| waits(progress).then(|| since(now, progress.due));
    let view = |progress: &TargetProgress| RecipientView {
        address: target_name(envelope, progress.target),
        status: progress.status.into(),
        attempts: progress.attempts,
        next_try_seconds: due(progress),
        paused: paused(progress),
        last_reply: progress.reason.clone(),
    };
    let recipients = || message.progress.iter().filter(|progress| progress.target != Target::Copy);
    let pending = || recipients().filter(|progress| progress.status == TargetStatus::Pending);
    MessageView {
        id: message.id.to_string(),
        arrived: clock::rfc3339(message.arrived),
        age_seconds: since(message.arrived, now),
        size_bytes: message.body.len(),
        sender: envelope.sender_text().to_owned(),
        kind: match message.kind {
            MessageKind::Mail => "mail".to_owned(),
            MessageKind::Notification => "notification".to_owned(),
        },
        held: message.held,
        state: None,
        client: message.origin.peer.map(|peer| peer.to_string()),
        helo: message.origin.helo.to_string(),
        subject: None,
        recipients_total: envelope.recipients.len(),
        recipients_pending: pending().count(),
        next_try_seconds: message.progress.iter().filter_map(due).min(),
        paused: {
            let mut pending = message
                .progress
                .iter()
                .filter(|progress| progress.status == TargetStatus::Pending)
                .peekable();
            pending.peek().is_some() && pending.all(paused)
        },
        recipients: match shown {
            Some(limit) => pending().take(limit).map(view).collect(),
            None => recipients().map(view).collect(),
        },
        copy: message.progress.iter().find(|progress| progress.target == Target::Copy).map(view),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_asked_for_in_one_way_only() {
        let plain =
            PageQuery { after: None, limit: PAGE, subjects: false, filter: FilterView::default() };
        assert_eq!(PageQuery::parse(""), Ok(plain.clone()));
        assert_eq!(
            PageQuery::parse("limit=7&after=0000000000010"),
            Ok(PageQuery { after: Some(MessageId(32)), limit: 7, ..plain.clone() })
        );
        let filter =
            FilterView { sender: "a b@c".into(), older: "2h".into(), ..FilterView::default() };
        assert_eq!(PageQuery::parse("sender=a+b%40c&older=2h"), Ok(PageQuery { filter, ..plain }));
        for bad in
            ["limit=0", "limit=501", "limit=x", "after=1", "page=2", "limit", "older=x", "state=y"]
        {
            assert!(PageQuery::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_masked_subject_is_its_first_character() {
        let head = b"From: a@b\r\nSubject: =?utf-8?q?=C3=9Cber_alles?=\r\n\r\n";
        assert_eq!(
            (subject(head, false), subject(head, true)),
            ("Über alles".into(), "Ü***".into())
        );
        assert_eq!((subject(b"From: a@b\r\n", true), subject(b"", false)), Default::default());
    }
}

//! The answers for programs, under `/api/v1`, and the shapes they have.
//!
//! The operator's tool (`cli`) reads the same shapes at the other end of the control socket.
//! Limits: a page of the queue has at most [`PAGE_MAX`] messages with at most [`RECIPIENTS_SHOWN`] recipients each; messages
//! are asked for in small bunches, so that a page of large envelopes is never in memory whole. The desk answers within
//! [`DESK_PATIENCE`] or the client hears 504.
//! Security: addresses, names and errors are hostile text; JSON's own escapes make them harmless here, whoever shows them must
//! escape them again.

use super::answer::{self, Answer, Content, MAIL};
use super::carry::each_piece;
use super::metrics;
use super::pair::{status_name, target_name};
use super::server::Window;
use crate::appliance::counter::Counters;
use crate::ground::clock;
use crate::mail::model::{
    Answer as DeskAnswer, Body, DeskError, DestinationSummary, Kind, Message, MessageId, Order, Progress, Refusal, Selection,
    Status, Target,
};
use http_body_util::{BodyExt, Limited};
use hyper::StatusCode;
use hyper::body::Incoming;
use mail_parser::MessageParser;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// The most messages of one page of the queue.
pub const PAGE_MAX: usize = 500;

/// Messages of a page when nothing is said.
const PAGE: usize = 100;

/// Recipients that a page shows of each message; the message's own answer shows all.
pub const RECIPIENTS_SHOWN: usize = 5;

/// The most destinations that are shown.
pub const DESTINATIONS_MAX: usize = 1000;

/// How many messages are asked for at once.
const BUNCH: usize = 16;

/// How long the desk may take.
const DESK_PATIENCE: Duration = Duration::from_secs(30);

/// The longest order.
const ORDER_MAX: usize = 4096;

/// How long an order may take to arrive.
const ORDER_PATIENCE: Duration = Duration::from_secs(10);

/// How much of a message is read to find its subject.
const HEAD_MAX: usize = 32 * 1024;

/// Pieces of a content that are read ahead of the reader.
const PIECES: usize = 2;

/// The appliance at a glance.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StatusView {
    /// Property `hostname`.
    pub hostname: String,
    /// The program's version.
    pub version: String,
    /// When the core started, RFC 3339.
    pub started: String,
    /// Since then.
    pub uptime_seconds: u64,
    /// Whether mail is taken.
    pub ready: bool,
    /// Why not; empty when ready.
    pub not_ready_reason: String,
    /// The queue in numbers.
    pub queue: QueueView,
    /// SMTP sessions open now.
    pub smtp_active_sessions: i64,
    /// Totals since the start.
    pub totals: TotalsView,
    /// The data volume.
    pub disk: DiskView,
    /// Resident memory of the core.
    pub memory_resident_bytes: i64,
    /// Who may relay, in words.
    pub who_may_relay: String,
    /// Terminals and their states.
    pub terminals: Vec<PartView>,
    /// Volumes and their states.
    pub volumes: Vec<PartView>,
}

/// The queue in numbers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct QueueView {
    /// Messages in the queue.
    pub messages: u64,
    /// Their octets.
    pub bytes: u64,
    /// Of these messages: in a try right now.
    pub active: u64,
    /// Waiting for another try.
    pub deferred: u64,
    /// Held by an operator.
    pub held: u64,
    /// Age of the oldest; `null` when the queue is empty.
    pub oldest_age_seconds: Option<u64>,
}

/// Totals since the start.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TotalsView {
    /// SMTP sessions.
    pub smtp_sessions: u64,
    /// Messages answered 250.
    pub accepted: u64,
    /// Octets of those.
    pub accepted_bytes: u64,
    /// Recipients that a next hop took.
    pub delivered: u64,
    /// Tries that failed for now.
    pub deferred: u64,
    /// Recipients that failed for good.
    pub bounced: u64,
    /// Refusals by reason.
    pub refused: BTreeMap<String, u64>,
}

/// The data volume's space.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DiskView {
    /// Free octets.
    pub free_bytes: i64,
    /// Octets in all; 0 when not known yet.
    pub size_bytes: i64,
}

/// A terminal or a volume.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PartView {
    /// Its name.
    pub name: String,
    /// Its state in words.
    pub state: String,
}

/// One destination's share of the queue.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DestinationView {
    /// A domain, an address literal, or the smart relay.
    pub name: String,
    /// Messages that wait for it.
    pub messages: u64,
    /// Of these, in a try right now.
    pub active: u64,
    /// Age of the oldest.
    pub oldest_age_seconds: Option<u64>,
    /// Seconds until the next try, 0 = now; `null` when all are being tried or held.
    pub next_try_seconds: Option<u64>,
    /// What the last failed try said; empty when none failed.
    pub last_error: String,
}

/// All destinations, those with the most messages first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DestinationsView {
    /// At most [`DESTINATIONS_MAX`].
    pub destinations: Vec<DestinationView>,
}

/// A page of the queue, in the order of acceptance.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PageView {
    /// At most as many as were asked for.
    pub messages: Vec<MessageView>,
    /// What to ask for as `after` to get the next page; `null` on the last one.
    pub next: Option<String>,
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
    /// `mail`, or `notification` when made here.
    pub kind: String,
    /// Whether an operator holds it.
    pub held: bool,
    /// The client's address; `null` when made here.
    pub client: Option<String>,
    /// What the client called itself.
    pub helo: String,
    /// The decoded subject, only where one message was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// How many recipients it has.
    pub recipients_total: usize,
    /// How many of them still wait.
    pub recipients_pending: usize,
    /// Seconds until the next try of any, 0 = now; `null` when held.
    pub next_try_seconds: Option<u64>,
    /// The recipients; in a page of the queue only the first ones that still wait.
    pub recipients: Vec<RecipientView>,
    /// The carbon copy to `cc_mta`, where there is one.
    pub copy: Option<RecipientView>,
}

/// Where one recipient stands.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RecipientView {
    /// The forward-path; `cc_mta` for the carbon copy.
    pub address: String,
    /// `pending`, `delivered`, `failed` or `dropped`.
    pub status: String,
    /// Tries that ended in a temporary failure.
    pub attempts: u16,
    /// Seconds until the next try, 0 = now; `null` unless pending.
    pub next_try_seconds: Option<u64>,
    /// What the last try said.
    pub last_reply: String,
}

/// What an operator wants done, as it is sent: `{"order":"retry","domain":"example.org"}`. Exactly one of the three selections.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderView {
    /// `retry`, `hold`, `release` or `delete`.
    pub order: String,
    /// One message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// All with a pending recipient in this domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// All.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
}

/// How many messages an order hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HitView {
    /// Messages.
    pub messages: u64,
}

/// What went wrong.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ErrorView {
    /// In words.
    pub error: String,
}

/// `GET /api/v1/status`
pub(super) async fn status(window: &Window) -> Answer {
    answer::json(StatusCode::OK, &status_view(window).await)
}

/// What the page and the program see alike.
pub(super) async fn status_view(window: &Window) -> StatusView {
    let summary = metrics::refresh(window).await;
    let (now, facts, counters) = (clock::now(), &window.facts, &window.counters);
    let ready = window.ready.borrow().clone();
    StatusView {
        hostname: facts.hostname.clone(),
        version: facts.version.clone(),
        started: clock::rfc3339(facts.started),
        uptime_seconds: since(facts.started, now),
        ready: ready.is_ok(),
        not_ready_reason: ready.err().unwrap_or_default(),
        queue: QueueView {
            messages: summary.messages,
            bytes: summary.bytes,
            active: summary.active,
            deferred: summary.deferred,
            held: summary.held,
            oldest_age_seconds: summary.oldest.map(|oldest| since(oldest, now)),
        },
        smtp_active_sessions: counters.smtp_active_sessions.get(),
        totals: totals(counters),
        disk: DiskView { free_bytes: counters.disk_free_bytes.get(), size_bytes: counters.disk_size_bytes.get() },
        memory_resident_bytes: counters.memory_resident_bytes.get(),
        who_may_relay: facts.who_may_relay.clone(),
        terminals: parts(&window.terminals()),
        volumes: parts(&facts.volumes),
    }
}

/// `GET /api/v1/destinations`
pub(super) fn destinations(window: &Window) -> Answer {
    let now = clock::now();
    let destinations = window.desk.destinations(DESTINATIONS_MAX).into_iter().map(|d| destination_view(d, now)).collect();
    answer::json(StatusCode::OK, &DestinationsView { destinations })
}

pub(super) fn destination_view(destination: DestinationSummary, now: u32) -> DestinationView {
    DestinationView {
        name: destination.name,
        messages: destination.messages,
        active: destination.active,
        oldest_age_seconds: destination.oldest.map(|oldest| since(oldest, now)),
        next_try_seconds: destination.next_try.map(|next| since(now, next)),
        last_error: destination.last_error,
    }
}

/// `GET /api/v1/queue?after=ID&limit=N`
pub(super) async fn queue(window: &Window, query: &str) -> Answer {
    let (mut after, limit) = match page_query(query) {
        Ok(page) => page,
        Err(words) => return error(StatusCode::BAD_REQUEST, &words),
    };
    let now = clock::now();
    let mut messages = Vec::new();
    let mut ended = false;
    while !ended && messages.len() < limit {
        let wanted = BUNCH.min(limit - messages.len());
        let bunch = match ask(window.desk.list(after, wanted)).await {
            Ok(bunch) => bunch,
            Err(answer) => return answer,
        };
        // A short bunch is no end: messages may have left the queue while it was read.
        ended = bunch.is_empty();
        after = bunch.last().map(|message| message.id).or(after);
        messages.extend(bunch.iter().map(|message| message_view(message, now, Some(RECIPIENTS_SHOWN))));
    }
    let next = if ended { None } else { after.map(|id| id.to_string()) };
    answer::json(StatusCode::OK, &PageView { messages, next })
}

/// `GET /api/v1/queue/ID`
pub(super) async fn message(window: &Window, id: MessageId) -> Answer {
    let message = match ask(window.desk.show(id)).await {
        Ok(message) => message,
        Err(answer) => return answer,
    };
    let mut view = message_view(&message, clock::now(), None);
    let head = tokio::task::spawn_blocking(move || message.body.head(HEAD_MAX));
    // A content that cannot be read now still has an envelope to show.
    if let Ok(Ok(Ok(head))) = timeout(DESK_PATIENCE, head).await {
        let parsed = MessageParser::new().parse_headers(&head[..]);
        view.subject = Some(parsed.and_then(|mail| mail.subject().map(str::to_owned)).unwrap_or_default());
    }
    answer::json(StatusCode::OK, &view)
}

/// `GET /api/v1/queue/ID/body`, on the control socket: the content as it will be sent, not dot-stuffed.
pub(super) async fn body(window: &Window, id: MessageId) -> Answer {
    let body = match ask(window.desk.show(id)).await {
        Ok(message) => message.body,
        Err(answer) => return answer,
    };
    match body {
        Body::Memory(bytes) => answer::found(MAIL, bytes),
        Body::Stored(content, len) => {
            let (sender, pieces) = mpsc::channel(PIECES);
            tokio::task::spawn_blocking(move || {
                let body = Body::Stored(content, len);
                // Without a reader nobody wants the rest.
                if let Err(error) = each_piece(&body, |piece| sender.blocking_send(Ok(piece)).is_ok()) {
                    let _ = sender.blocking_send(Err(error));
                }
            });
            answer::answer(StatusCode::OK, MAIL, Content::Pieces(pieces, len))
        }
    }
}

/// `POST /api/v1/orders`, on the control socket.
pub(super) async fn order(window: &Window, content: Incoming) -> Answer {
    let content = match timeout(ORDER_PATIENCE, Limited::new(content, ORDER_MAX).collect()).await {
        Ok(Ok(content)) => content.to_bytes(),
        Ok(Err(_)) => return error(StatusCode::PAYLOAD_TOO_LARGE, "the order could not be read, or is over 4 KiB"),
        Err(_) => return error(StatusCode::REQUEST_TIMEOUT, "the order took too long to arrive"),
    };
    let view: OrderView = match serde_json::from_slice(&content) {
        Ok(view) => view,
        Err(fault) => return error(StatusCode::BAD_REQUEST, &format!("this is no order: {fault}")),
    };
    let (order, selection) = match parse_order(&view) {
        Ok(parsed) => parsed,
        Err(words) => return error(StatusCode::BAD_REQUEST, &words),
    };
    // The desk writes the audit line.
    match window.desk.order(order, selection).await {
        Ok(messages) => answer::json(StatusCode::OK, &HitView { messages }),
        Err(fault) => desk_error(&fault),
    }
}

/// An error as programs read it.
pub(super) fn error(status: StatusCode, words: &str) -> Answer {
    answer::json(status, &ErrorView { error: words.to_owned() })
}

pub(super) async fn ask<T>(question: DeskAnswer<'_, T>) -> Result<T, Answer> {
    match timeout(DESK_PATIENCE, question).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(fault)) => Err(desk_error(&fault)),
        Err(_) => Err(error(StatusCode::GATEWAY_TIMEOUT, "the queue did not answer in time; is the data volume well?")),
    }
}

pub(super) fn desk_error(fault: &DeskError) -> Answer {
    let status = match fault {
        DeskError::Unknown => StatusCode::NOT_FOUND,
        DeskError::Storage(_) => StatusCode::SERVICE_UNAVAILABLE,
        DeskError::Busy => StatusCode::CONFLICT,
        DeskError::Damaged | DeskError::Refused(_) => StatusCode::UNPROCESSABLE_ENTITY,
    };
    error(status, &fault.to_string())
}

fn page_query(query: &str) -> Result<(Option<MessageId>, usize), String> {
    let (mut after, mut limit) = (None, PAGE);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("after", "")) => after = None,
            Some(("after", id)) => after = Some(id.parse().map_err(|()| "after: this is no queue id".to_owned())?),
            Some(("limit", number)) => match number.parse() {
                Ok(number @ 1..=PAGE_MAX) => limit = number,
                _ => return Err(format!("limit: a number from 1 to {PAGE_MAX} is wanted")),
            },
            _ => return Err("only after=ID and limit=N are known here".to_owned()),
        }
    }
    Ok((after, limit))
}

fn parse_order(view: &OrderView) -> Result<(Order, Selection), String> {
    let order = match view.order.as_str() {
        "retry" => Order::Retry,
        "hold" => Order::Hold,
        "release" => Order::Release,
        "delete" => Order::Delete,
        _ => return Err("order: retry, hold, release or delete is wanted".to_owned()),
    };
    let selection = match (&view.id, &view.domain, view.all) {
        (Some(id), None, false) => Selection::One(id.parse().map_err(|()| "id: this is no queue id".to_owned())?),
        (None, Some(domain), false) if !domain.is_empty() => Selection::Domain(domain.clone()),
        (None, None, true) => Selection::All,
        _ => return Err("say which messages: exactly one of id, domain and all".to_owned()),
    };
    Ok((order, selection))
}

fn message_view(message: &Message, now: u32, shown: Option<usize>) -> MessageView {
    let envelope = &message.envelope;
    let due = |progress: &Progress| (!message.held && progress.status == Status::Pending).then(|| since(now, progress.due));
    let view = |progress: &Progress| RecipientView {
        address: target_name(envelope, progress.target),
        status: status_name(progress.status).to_owned(),
        attempts: progress.attempts,
        next_try_seconds: due(progress),
        last_reply: progress.reason.clone(),
    };
    let recipients = || message.progress.iter().filter(|progress| progress.target != Target::Copy);
    let pending = || recipients().filter(|progress| progress.status == Status::Pending);
    MessageView {
        id: message.id.to_string(),
        arrived: clock::rfc3339(message.arrived),
        age_seconds: since(message.arrived, now),
        size_bytes: message.body.len(),
        sender: envelope.sender_text().to_owned(),
        kind: match message.kind {
            Kind::Mail => "mail".to_owned(),
            Kind::Notification => "notification".to_owned(),
        },
        held: message.held,
        client: message.origin.peer.map(|peer| peer.to_string()),
        helo: message.origin.helo.to_string(),
        subject: None,
        recipients_total: envelope.recipients.len(),
        recipients_pending: pending().count(),
        next_try_seconds: message.progress.iter().filter_map(due).min(),
        recipients: match shown {
            Some(limit) => pending().take(limit).map(view).collect(),
            None => recipients().map(view).collect(),
        },
        copy: message.progress.iter().find(|progress| progress.target == Target::Copy).map(view),
    }
}

fn totals(counters: &Counters) -> TotalsView {
    let refused = |reason: Refusal| counters.refused_total.with_label_values(&[reason.as_str()]).get();
    TotalsView {
        smtp_sessions: counters.smtp_sessions_total.get(),
        accepted: counters.accepted_total.get(),
        accepted_bytes: counters.accepted_bytes.get(),
        delivered: counters.delivered_total.get(),
        deferred: counters.deferred_total.get(),
        bounced: counters.bounced_total.get(),
        refused: Refusal::ALL.iter().map(|reason| (reason.as_str().to_owned(), refused(*reason))).collect(),
    }
}

fn parts(rows: &[(String, String)]) -> Vec<PartView> {
    rows.iter().map(|(name, state)| PartView { name: name.clone(), state: state.clone() }).collect()
}

/// Seconds from one moment to another, none when it lies behind.
fn since(from: u32, to: u32) -> u64 {
    u64::from(to.saturating_sub(from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_asked_for_in_one_way_only() {
        assert_eq!(page_query(""), Ok((None, PAGE)));
        assert_eq!(page_query("limit=7&after=0000000000010"), Ok((Some(MessageId(32)), 7)));
        for bad in ["limit=0", "limit=501", "limit=x", "after=1", "page=2", "limit"] {
            assert!(page_query(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_order_names_exactly_one_selection() {
        let parse = |text: &str| serde_json::from_str(text).map_err(|e| e.to_string()).and_then(|view| parse_order(&view));
        assert_eq!(parse(r#"{"order":"hold","all":true}"#), Ok((Order::Hold, Selection::All)));
        assert_eq!(parse(r#"{"order":"retry","id":"0000000000010"}"#), Ok((Order::Retry, Selection::One(MessageId(32)))));
        assert_eq!(parse(r#"{"order":"delete","domain":"b"}"#), Ok((Order::Delete, Selection::Domain("b".into()))));
        for bad in [
            "{}",
            r#"{"order":"delete"}"#,
            r#"{"order":"delete","all":false}"#,
            r#"{"order":"delete","domain":""}"#,
            r#"{"order":"delete","domain":"b","all":true}"#,
            r#"{"order":"delete","id":"0000000000010","domain":"b"}"#,
            r#"{"order":"explode","all":true}"#,
            r#"{"order":"delete","all":true,"really":true}"#,
            r#"{"order":"delete","id":"1"}"#,
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}

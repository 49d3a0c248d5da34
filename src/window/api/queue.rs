//! What is in the queue: page by page, by destination, message by message.
//!
//! Limits: a page has at most [`PAGE_MAX`] messages with at most [`RECIPIENTS_SHOWN`] recipients each; messages are asked for in
//! small bunches, so that a page of large envelopes is never in memory whole.

use super::{Answer, DESK_PATIENCE, ask, error, since};
use crate::ground::clock;
use crate::mail::model::{Body, DestinationSummary, Kind, Message, MessageId, Progress, Status, Target};
use crate::window::answer::{self, Content, MAIL};
use crate::window::carry::each_piece;
use crate::window::pair::{status_name, target_name};
use crate::window::server::Window;
use hyper::StatusCode;
use mail_parser::MessageParser;
use serde::{Deserialize, Serialize};
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

/// How much of a message is read to find its subject.
const HEAD_MAX: usize = 32 * 1024;

/// Pieces of a content that are read ahead of the reader.
const PIECES: usize = 2;

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

/// `GET /api/v1/destinations`
pub(super) fn destinations(window: &Window) -> Answer {
    let now = clock::now();
    let destinations = window.desk.destinations(DESTINATIONS_MAX).into_iter().map(|d| destination_view(d, now)).collect();
    answer::json(StatusCode::OK, &DestinationsView { destinations })
}

pub(in crate::window) fn destination_view(destination: DestinationSummary, now: u32) -> DestinationView {
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
}

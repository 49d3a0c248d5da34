//! The page of a message: sender, recipients and their status, delivery attempts, and content.
//!
//! Limits: [`RECIPIENTS`] recipients are shown; of the content what [`api::text_view`] gives.
//! Security: the text of the mail is shown as text, never as markup of the page, and nothing is
//! loaded. Its HTML is a separate document in a sandboxed frame; an attachment is a download.

use super::actions::see_other;
use super::text::{ShortText, text};
use super::{PageError, PageFrame};
use crate::api::next_attempt::NextAttempt;
use crate::api::state::AppState;
use crate::api::{self, MessageView, RecipientView, TextView, message_parts};
use crate::ground::display_text::{count, fine_span, harmless, size, span};
use crate::http::request::RequestHead;
use crate::http::response::{self, HttpResponse};
use crate::http::rights::RequiredRight;
use crate::mail::model::{DeliveryStatus, MessageId};
use askama::Template;
use hyper::StatusCode;

/// Recipients on the page, at most; `/api/v1/queue/ID` has all.
const RECIPIENTS: usize = 200;

/// Attempts on the page, and recipients of each, at most.
const TRIES: usize = 30;
const RECIPIENTS_OF_A_TRY: usize = 20;

/// Characters of an address and of a reply.
const NAME_SHOWN: usize = 90;
const REPLY_SHOWN: usize = 300;

/// Characters of the text that are shown before "more".
const TEXT_SHOWN: usize = 20_000;

#[derive(Template)]
#[template(path = "message.html", config = "src/ui/askama.toml")]
struct Page {
    frame: PageFrame,
    message: MessageView,
    subject: String,
    sender: String,
    arrived: String,
    age: String,
    size: String,
    from: String,
    recipients: Vec<Recipient>,
    more: usize,
    content: Content,
    /// `None`: the search failed.
    tries: Option<Vec<AttemptRow>>,
}

/// An attempt for some recipients.
pub(super) struct AttemptRow {
    pub(super) time: String,
    /// `None`: it is a note about the message.
    pub(super) status: Option<DeliveryStatus>,
    /// The destination, or the host, or the note.
    pub(super) place: ShortText,
    pub(super) relay: String,
    pub(super) tls: String,
    pub(super) took: String,
    pub(super) outcomes: Vec<(ShortText, DeliveryStatus, ShortText)>,
    pub(super) transcript: String,
}

struct Recipient {
    address: ShortText,
    status: DeliveryStatus,
    attempts: String,
    next: String,
    reply: ShortText,
}

/// The content of the mail, or why it is not shown.
enum Content {
    Hidden(&'static str),
    Unreadable,
    Shown { view: TextView, text: String, more: bool },
}

/// The page of a message.
///
/// # Errors
/// There is no message of this id, or the queue cannot be read.
pub(super) async fn page(
    app: &AppState,
    visit: &RequestHead<'_>,
    id: MessageId,
) -> Result<String, PageError> {
    let (_, notice) = super::notice::split(visit.query);
    let refused = |answer| PageError::Answer(Box::new(answer));
    let message = api::message_with_subject(app, id).await.map_err(refused)?;
    let content = match visit.right(RequiredRight::Read) {
        Err(reason) => Content::Hidden(reason),
        Ok(()) => match api::text_view(app, id).await {
            Ok(view) => {
                let whole = harmless_lines(&view.text);
                let text: String = whole.chars().take(TEXT_SHOWN).collect();
                Content::Shown {
                    more: view.truncated || text.len() < whole.len(),
                    text,
                    view: harmless_view(view),
                }
            }
            Err(_) => Content::Unreadable,
        },
    };
    let page = Page {
        frame: PageFrame::of(app, visit, "queue").with_notice(notice),
        subject: harmless(message.subject.as_deref().unwrap_or_default()),
        sender: sender(&message.sender, message.client.is_none()),
        arrived: message.arrived.clone(),
        age: span(message.age_seconds),
        size: size(message.size_bytes),
        from: match &message.client {
            Some(client) if message.helo.is_empty() => format!("client {client}"),
            Some(client) => format!("client {client} (HELO {})", harmless(&message.helo)),
            None => "generated locally".to_owned(),
        },
        recipients: message
            .recipients
            .iter()
            .chain(&message.copy)
            .take(RECIPIENTS)
            .map(|one| recipient(&message, one))
            .collect(),
        more: message.recipients.len().saturating_sub(RECIPIENTS),
        content,
        tries: match visit.search().await {
            Ok(_search) => tries(app, visit, id).await,
            Err(_) => None,
        },
        message,
    };
    page.render().map_err(PageError::Render)
}

/// `GET /queue/ID/html`: the HTML of a message, for the frame on its page.
pub(super) async fn html(app: &AppState, visit: &RequestHead<'_>, id: MessageId) -> HttpResponse {
    match message_parts::html(app, id).await {
        Ok(Some(html)) => response::mail_html(html),
        Ok(None) => visit.error(StatusCode::NOT_FOUND, "this message has no HTML"),
        Err(refusal) => refusal,
    }
}

/// `GET /queue/ID/attachment?n=0`: an attachment as a file. Each visitor may extract one at a time,
/// because that takes the memory of the whole message.
pub(super) async fn attachment(
    app: &AppState,
    visit: &RequestHead<'_>,
    id: MessageId,
) -> HttpResponse {
    let place = visit.query.strip_prefix("n=").and_then(|place| place.parse().ok());
    let Some(place) = place else {
        return visit.error(StatusCode::BAD_REQUEST, "n: the place of the attachment is wanted");
    };
    let _search = match visit.search().await {
        Ok(search) => search,
        Err(answer) => return answer,
    };
    match message_parts::attachment(app, id, place).await {
        Ok(Some(found)) => response::mail_attachment(&found.name, found.content),
        Ok(None) => visit.error(StatusCode::NOT_FOUND, "this message has no such attachment"),
        Err(refusal) => refusal,
    }
}

/// For a message that is not in the queue: redirects to its page in the history, if it is there. So
/// links of the queue page still work when the mail has just left the queue.
pub(super) async fn left(app: &AppState, visit: &RequestHead<'_>, id: MessageId) -> HttpResponse {
    let _search = match visit.search().await {
        Ok(search) => search,
        Err(answer) => return answer,
    };
    match api::finished_view(app, id).await {
        Ok(Some(_)) => see_other(&format!("{}history/{id}", visit.root())),
        Ok(None) => {
            visit.error(StatusCode::NOT_FOUND, "no such message is in the queue or in the history")
        }
        Err(answer) => answer,
    }
}

/// The sender. A null sender means a notification if it was generated locally, and any mail if a
/// client sent it.
pub(super) fn sender(path: &str, made_here: bool) -> String {
    match (path, made_here) {
        ("", true) => "<> (bounce or notification)".to_owned(),
        ("", false) => "<>".to_owned(),
        _ => harmless(path),
    }
}

/// The last attempts of a message in the history; `None` if the search failed. The caller has the
/// permission to search.
pub(super) async fn tries(
    app: &AppState,
    visit: &RequestHead<'_>,
    id: MessageId,
) -> Option<Vec<AttemptRow>> {
    let found = api::attempts_view(app, visit, id).await.ok()?;
    let slow_to_stop = found.attempts.len().saturating_sub(TRIES);
    Some(found.attempts.iter().skip(slow_to_stop).map(one_try).collect())
}

fn one_try(attempt: &api::AttemptView) -> AttemptRow {
    let worst = attempt.outcomes.iter().map(|ending| ending.status).max();
    let place = match (attempt.destination.as_str(), &attempt.transcript[..]) {
        ("", [remark]) if worst.is_none() => remark.trim_start_matches("* "),
        ("", _) => &attempt.relay,
        (destination, _) => destination,
    };
    AttemptRow {
        time: attempt.time.clone(),
        status: worst,
        place: text(place, NAME_SHOWN),
        relay: harmless(&attempt.relay),
        tls: harmless(&attempt.tls),
        took: if attempt.duration_seconds > 0.0 {
            fine_span(attempt.duration_seconds)
        } else {
            String::new()
        },
        outcomes: attempt
            .outcomes
            .iter()
            .take(RECIPIENTS_OF_A_TRY)
            .map(|ending| {
                (text(&ending.to, NAME_SHOWN), ending.status, text(&ending.reply, REPLY_SHOWN))
            })
            .collect(),
        transcript: harmless_lines(&attempt.transcript.join("\n")),
    }
}

fn recipient(message: &MessageView, recipient: &RecipientView) -> Recipient {
    let has_ended = recipient.status != DeliveryStatus::Pending;
    Recipient {
        address: text(&recipient.address, NAME_SHOWN),
        status: recipient.status,
        // Failed attempts are counted; for a finished recipient the last attempt did not fail
        // temporarily.
        attempts: count(u64::from(recipient.attempts) + u64::from(has_ended)),
        next: NextAttempt::of_recipient(message, recipient).to_string(),
        reply: text(&recipient.last_reply, REPLY_SHOWN),
    }
}

fn harmless_view(mut view: TextView) -> TextView {
    for header in &mut view.headers {
        (header.name, header.value) = (harmless(&header.name), harmless(&header.value));
    }
    view.parts.iter_mut().for_each(|part| part.name = harmless(&part.name));
    view
}

/// As [`harmless`], but with the line ends.
fn harmless_lines(text: &str) -> String {
    text.lines().map(harmless).collect::<Vec<_>>().join("\n")
}

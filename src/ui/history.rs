//! The pages of the delivery history: messages that have left the queue.

use super::actions::{check_token, fields, see_other};
use super::message::{AttemptRow, sender, tries};
use super::queue::{PAGE_SIZES, page_size};
use super::text::{ShortText, encoded, text};
use super::{PageError, PageFrame};
use crate::api::state::AppState;
use crate::api::{self, FinishedView, HistoryQuery, OriginalRecipients, ResendView};
use crate::ground::display_text::{size, span};
use crate::http::request::RequestHead;
use crate::http::response::HttpResponse;
use crate::mail::model::{DeliveryStatus, HistoryFilter, MessageId};
use askama::Template;
use hyper::body::Incoming;

/// Recipients that a row shows.
const RECIPIENTS: usize = 2;

/// Characters of an address and of a reply.
const NAME_SHOWN: usize = 44;
const REPLY_SHOWN: usize = 110;

#[derive(Template)]
#[template(path = "history.html", config = "src/ui/askama.toml")]
struct Page {
    frame: PageFrame,
    kept: bool,
    wanted: HistoryFilter,
    any_wanted: bool,
    limits: [usize; 4],
    page_size: usize,
    rows: Vec<Row>,
    next: Option<String>,
}

struct Row {
    id: String,
    finished: String,
    took: String,
    sender: ShortText,
    recipients: Vec<ShortText>,
    more: usize,
    status: DeliveryStatus,
    reply: ShortText,
    relay: ShortText,
}

#[derive(Template)]
#[template(path = "finished.html", config = "src/ui/askama.toml")]
struct One {
    frame: PageFrame,
    entry: FinishedView,
    sender: String,
    took: String,
    size: String,
    recipients: Vec<(ShortText, DeliveryStatus, ShortText)>,
    /// `None`: the search failed.
    tries: Option<Vec<AttemptRow>>,
    resend: Resend,
}

/// Whether the message can be sent again.
enum Resend {
    /// No content is kept, or the visitor may give no orders.
    No(&'static str),
    Yes {
        undelivered: usize,
        all: usize,
        /// Makes a form that is sent twice send one message.
        key: String,
    },
}

/// The list for a query.
pub(super) async fn page(app: &AppState, visit: &RequestHead<'_>) -> Result<String, PageError> {
    let page_size = page_size(visit.query);
    let asked = HistoryQuery {
        limit: Some(page_size),
        ..HistoryQuery::parse(visit.query).map_err(PageError::Query)?
    };
    let wanted = asked.wanted.clone();
    let _search = visit.search().await.map_err(|answer| PageError::Answer(Box::new(answer)))?;
    let found = api::history_view(app, asked)
        .await
        .map_err(|answer| PageError::Answer(Box::new(answer)))?;
    let fields =
        [("search", &wanted.search), ("recipient", &wanted.recipient), ("sender", &wanted.sender)];
    let mut base: String =
        fields.iter().map(|(name, text)| format!("{name}={}&", encoded(text))).collect();
    if let Some(status) = wanted.status {
        base += &format!("status={status}&");
    }
    base += &format!("limit={page_size}&");
    let page = Page {
        frame: PageFrame::of(app, visit, "history"),
        limits: PAGE_SIZES,
        page_size,
        kept: found.kept,
        any_wanted: wanted != HistoryFilter::default(),
        wanted,
        rows: found.entries.iter().map(row).collect(),
        next: found.next.map(|after| format!("history?{base}after={after}")),
    };
    page.render().map_err(PageError::Render)
}

/// One message that has left the queue.
pub(super) async fn one(
    app: &AppState,
    visit: &RequestHead<'_>,
    id: MessageId,
) -> Result<String, PageError> {
    let refused = |answer| PageError::Answer(Box::new(answer));
    // One permission for both searches: after the first this visitor would have to pause.
    let _search = visit.search().await.map_err(refused)?;
    let Some(entry) = api::finished_view(app, id).await.map_err(refused)? else {
        return Err(PageError::Missing(
            "no such message has completed, as far as the history goes back; it may still be queued",
        ));
    };
    let tries = tries(app, visit, id).await;
    let frame = PageFrame::of(app, visit, "history");
    let page = One {
        resend: match frame.actions {
            Some(reason) => Resend::No(reason),
            None => resend(app, id).await,
        },
        frame,
        sender: sender(&entry.sender, entry.client.is_empty()),
        took: span(entry.took_seconds),
        size: size(entry.size_bytes),
        recipients: entry
            .recipients
            .iter()
            .map(|ending| (text(&ending.to, 90), ending.status, text(&ending.reply, 300)))
            .collect(),
        entry,
        tries,
    };
    page.render().map_err(PageError::Render)
}

async fn resend(app: &AppState, id: MessageId) -> Resend {
    let history = &app.views.history;
    match history.kept(id).await {
        Ok(Some(kept)) => Resend::Yes {
            undelivered: kept.undelivered().len(),
            all: kept.envelope.recipients.len(),
            key: format!("{:016x}", fastrand::u64(..)),
        },
        _ if history.content_time().is_zero() => Resend::No(api::NOT_KEPT),
        _ => Resend::No("the content of this message is not kept (any more): see history_content"),
    }
}

/// `POST /history/ID/resend`: the form of that page.
pub(super) async fn send_again(
    app: &AppState,
    visit: &RequestHead<'_>,
    id: MessageId,
    content: Incoming,
) -> Result<HttpResponse, PageError> {
    let content = fields(content).await?;
    let (mut view, mut token, mut key) = (ResendView::default(), String::new(), String::new());
    for (name, value) in form_urlencoded::parse(&content) {
        match (&*name, &*value) {
            ("csrf", value) => value.clone_into(&mut token),
            ("key", value) => value.clone_into(&mut key),
            ("recipients", "all") => view.recipients = Some(OriginalRecipients::All),
            ("recipients", _) => view.recipients = Some(OriginalRecipients::Undelivered),
            _ => {}
        }
    }
    check_token(app, &token)?;
    // Both buttons of the form have the same key, and are two orders.
    let choice = if view.recipients == Some(OriginalRecipients::All) { "all" } else { "" };
    let key = (!key.is_empty()).then(|| format!("{key}{choice}"));
    let sent = api::resend(app, visit, id, &view, key.as_deref()).await;
    let (new, _) = sent.map_err(|answer| PageError::Answer(Box::new(answer)))?;
    Ok(see_other(&format!("{}queue/{new}?done=resend", visit.root())))
}

fn row(entry: &FinishedView) -> Row {
    let worst = entry.recipients.iter().map(|recipient| recipient.status).max();
    let status = worst.unwrap_or(DeliveryStatus::Delivered);
    let told = entry.recipients.iter().find(|recipient| recipient.status == status);
    Row {
        id: entry.id.clone(),
        finished: entry.finished.clone(),
        took: span(entry.took_seconds),
        sender: text(if entry.sender.is_empty() { "<>" } else { &entry.sender }, NAME_SHOWN),
        recipients: entry
            .recipients
            .iter()
            .take(RECIPIENTS)
            .map(|recipient| text(&recipient.to, NAME_SHOWN))
            .collect(),
        more: entry.recipients.len().saturating_sub(RECIPIENTS),
        status,
        reply: text(told.map_or("", |recipient| &recipient.reply), REPLY_SHOWN),
        relay: text(&entry.relay, NAME_SHOWN),
    }
}

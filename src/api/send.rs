//! `POST /api/v1/messages`: a program submits a mail without SMTP.
//!
//! The envelope is in the query (`from` once, `to` once for each recipient), the content is the
//! mail in the form of a file, of the type `message/rfc822`. Errors are the same as in an SMTP
//! session; 201 has the meaning of 250. A client with the login or a token may send to anybody; an
//! address alone is never trusted here. Addresses are read as from a client that may relay: `root`
//! gets the domain `origin_domain`. Limits: the mail's size is that of SMTP; a connection to
//! `ui_port` lives for a minute, and so does an upload. Source: RFC 5321 §4.2 (replies); The
//! Idempotency-Key HTTP Header Field (IETF draft).

use super::{HttpResponse, error};
use crate::api::state::AppState;
use crate::api::transfer::pieces;
use crate::ground::lock::Lock;
use crate::http::access::Caller;
use crate::http::idempotency::{Fingerprint, KeyClaim, KeyState};
use crate::http::request::RequestHead;
use crate::http::response;
use crate::mail::model::{ContentPieces, MessageId, Reply, Submission, SubmittedEnvelope};
use aws_lc_rs::digest;
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

/// Seconds after which a mail that could not be stored may be sent again.
const TRY_AGAIN: u64 = 30;

/// Octets of an idempotency key, at most.
const KEY_MAX: usize = 255;

/// The answer for a submitted mail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentView {
    /// Its queue id.
    pub id: String,
    /// Whether it was sent already by an earlier request with this key.
    pub repeated: bool,
}

/// Accepts a mail.
pub(crate) async fn send(
    app: &AppState,
    visit: &RequestHead<'_>,
    content: Incoming,
) -> HttpResponse {
    let media = visit
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    if !media.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("message/rfc822") {
        let words = "the content is a whole mail, header and text: send it as 'Content-Type: \
        message/rfc822'";
        return error(StatusCode::UNSUPPORTED_MEDIA_TYPE, words);
    }
    let submitted = match submitted(&*app.views.submission, visit) {
        Ok(submitted) => submitted,
        Err(words) => return error(StatusCode::BAD_REQUEST, &words),
    };
    if let Caller::Token(token) = visit.caller
        && let Err(words) = token.may_send_as(submitted.sender.as_ref())
    {
        return visit.error(StatusCode::FORBIDDEN, &words);
    }
    let key = match key(visit.headers) {
        // A key belongs to its user: others do not learn of that user's mail.
        Ok(key) => key.map(|key| format!("{} {key}", visit.principal().user)),
        Err(words) => return error(StatusCode::BAD_REQUEST, words),
    };
    let Some(key) = key else {
        return match within_rate(app, visit) {
            Ok(()) => take(app, submitted, content, None).await,
            Err(refusal) => *refusal,
        };
    };
    let envelope = format!("{:?} {:?}", submitted.sender, submitted.recipients);
    match app.views.idempotency_keys.begin(&key) {
        KeyState::New(claim) => match within_rate(app, visit) {
            Ok(()) => take(app, submitted, content, Some((claim, envelope))).await,
            Err(refusal) => *refusal,
        },
        KeyState::UnderWay => error(
            StatusCode::CONFLICT,
            "a request with this Idempotency-Key is in progress; try again later",
        ),
        KeyState::Known(print, id) => match printed(content).await {
            Some(other) if other.with(&envelope) == print => sent(app, id, true),
            _ => error(
                StatusCode::UNPROCESSABLE_ENTITY,
                "this Idempotency-Key was used for another mail",
            ),
        },
    }
}

fn submitted(
    submission: &dyn Submission,
    visit: &RequestHead<'_>,
) -> Result<SubmittedEnvelope, String> {
    let address = |name: &str, text: &str| {
        let shown: String = text.chars().take(80).collect();
        submission
            .mailbox(text)
            .map_err(|fault| format!("{name}: '{shown}' is not an address: {fault}"))
    };
    let (mut sender, mut recipients) = (None, Vec::new());
    for (name, value) in form_urlencoded::parse(visit.query.as_bytes()) {
        match &*name {
            "from" if sender.is_some() => return Err("from: exactly one is expected".to_owned()),
            "from" if matches!(value.trim(), "" | "<>") => sender = Some(None),
            "from" => sender = Some(Some(address("from", &value)?)),
            "to" => {
                let recipient = address("to", &value)?;
                if !recipients.contains(&recipient) {
                    recipients.push(recipient);
                }
            }
            _ => return Err("known parameters are from and to".to_owned()),
        }
    }
    let sender =
        sender.ok_or("from: the sender of the envelope is expected; empty for the null sender")?;
    if recipients.is_empty() {
        return Err(
            "to: at least one recipient of the envelope is expected; the header of the message is \
            not used"
                .to_owned(),
        );
    }
    // At this point the client has a login or a token, or uses the control socket.
    let client = visit.client.map(|client| client.address);
    Ok(SubmittedEnvelope { client, authenticated: true, sender, recipients })
}

/// Applies a token's rate. A repeated request with the key of a sent mail does not count.
fn within_rate(app: &AppState, visit: &RequestHead<'_>) -> Result<(), Box<HttpResponse>> {
    let Caller::Token(token) = visit.caller else { return Ok(()) };
    token.take(Instant::now()).map_err(|wait| {
        app.http.refused("token_rate");
        let rate = token.rate().map(|rate| rate.to_string()).unwrap_or_default();
        let words = format!("the token '{}' may send {rate} (rate= in api_tokens)", token.name);
        Box::new(visit.later(StatusCode::TOO_MANY_REQUESTS, &words, wait.as_secs() + 1))
    })
}

pub(super) fn key(headers: &HeaderMap) -> Result<Option<&str>, &'static str> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let key = value.to_str().ok().filter(|key| (1..=KEY_MAX).contains(&key.len()));
    key.map(Some).ok_or("Idempotency-Key: 1 to 255 printable ASCII characters are expected")
}

/// Submits the mail. In a task of its own: a client that disconnects now may repeat the request
/// with the same key, and must get the result.
async fn take(
    app: &AppState,
    submitted: SubmittedEnvelope,
    content: Incoming,
    claim: Option<(KeyClaim, String)>,
) -> HttpResponse {
    let submission = Arc::clone(&app.views.submission);
    let task = tokio::spawn(async move {
        let (pump, pieces) = pieces(content, Bytes::new());
        let printing = Printing::new(pieces);
        let context = Arc::clone(&printing.context);
        let ((), taken) = tokio::join!(pump, submission.submit(submitted, Box::new(printing)));
        match (taken, claim) {
            (Ok(id), Some((claim, envelope))) => {
                claim.done(print(&context).with(&envelope), id).await;
                Ok(id)
            }
            (Ok(id), None) => Ok(id),
            (Err((reply, _)), _) => Err(reply),
        }
    });
    match task.await {
        Ok(Ok(id)) => sent(app, id, false),
        Ok(Err(reply)) => refused(&reply),
        Err(_) => error(StatusCode::INTERNAL_SERVER_ERROR, "the message was cut off; try again"),
    }
}

/// Reads a content to its end, only to compute its hash.
async fn printed(content: Incoming) -> Option<Fingerprint> {
    let (pump, pieces) = pieces(content, Bytes::new());
    let mut printing = Printing::new(pieces);
    let read = async {
        while let Some(piece) = printing.next().await {
            piece.ok()?;
        }
        Some(print(&printing.context))
    };
    let ((), read) = tokio::join!(pump, read);
    read
}

/// Content that is hashed while it is read.
struct Printing {
    pieces: Box<dyn ContentPieces>,
    context: Arc<Lock<digest::Context>>,
}

impl Printing {
    fn new(pieces: Box<dyn ContentPieces>) -> Self {
        Self { pieces, context: Arc::new(Lock::leaf(digest::Context::new(&digest::SHA256))) }
    }
}

impl ContentPieces for Printing {
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Option<io::Result<Bytes>>> + Send + '_>> {
        Box::pin(async {
            let piece = self.pieces.next().await;
            if let Some(Ok(piece)) = &piece {
                self.context.lock().update(piece);
            }
            piece
        })
    }
}

fn print(context: &Lock<digest::Context>) -> Fingerprint {
    Fingerprint::of(&context.lock())
}

pub(super) fn sent(app: &AppState, id: MessageId, repeated: bool) -> HttpResponse {
    let base = app.http.access.outside.as_ref().map_or("", |outside| outside.path.as_str());
    let status = if repeated { StatusCode::OK } else { StatusCode::CREATED };
    let mut answer = response::json(status, &SentView { id: id.to_string(), repeated });
    if let Ok(place) = HeaderValue::from_str(&format!("{base}/api/v1/queue/{id}")) {
        answer.headers_mut().insert(header::LOCATION, place);
    }
    answer
}

/// An SMTP reply as an HTTP answer.
pub(super) fn refused(reply: &Reply) -> HttpResponse {
    let status = match reply.code {
        552 => StatusCode::PAYLOAD_TOO_LARGE,
        // X.4.Z: the content was cut off. A data volume that does not answer is 451 as well, but
        // not the client's fault.
        451 if reply.enhanced.is_some_and(|enhanced| enhanced.1 == 4) => {
            StatusCode::REQUEST_TIMEOUT
        }
        400..=499 => StatusCode::SERVICE_UNAVAILABLE,
        550 | 554 if reply.enhanced.is_some_and(|enhanced| enhanced.1 == 7) => {
            StatusCode::FORBIDDEN
        }
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    };
    let mut answer = error(status, &reply.to_string());
    if status == StatusCode::SERVICE_UNAVAILABLE {
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(TRY_AGAIN));
    }
    answer
}

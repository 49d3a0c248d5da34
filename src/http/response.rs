//! Responses of the HTTP server: their content and headers.

use crate::ground::text::{harmless, harmless_json};
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde::{Deserialize, Serialize};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::mpsc;

/// The content of an answer.
pub(crate) enum ResponseBody {
    /// The whole content at once.
    Whole(Bytes),
    /// In pieces, with the number of octets still to come.
    Pieces(mpsc::Receiver<io::Result<Bytes>>, u64),
    /// In pieces, of unknown length.
    Endless(mpsc::Receiver<io::Result<Bytes>>),
}

/// Content with what must be kept for it. The server drops a body as soon as it has all of it in
/// its own buffer, so what must be kept until the kernel has the last octet is attached to every
/// piece as well.
pub(crate) struct GuardedBody<T, P> {
    pub(crate) content: ResponseBody,
    /// Kept until the server has read all of the content.
    pub(crate) _turn: Option<T>,
    /// Kept until the kernel has all of it.
    pub(crate) unread: Option<P>,
}

/// A piece of an answer.
struct Piece<M> {
    octets: Bytes,
    _mark: M,
}

/// What is kept with each piece of an answer until the kernel has it.
pub(crate) trait Unread {
    /// Dropped with the piece.
    type Mark: Send + 'static;

    /// Makes one for another piece.
    fn mark(&self) -> Self::Mark;
}

impl<M> AsRef<[u8]> for Piece<M> {
    fn as_ref(&self) -> &[u8] {
        &self.octets
    }
}

impl<T: Unpin, P: Unread + Unpin> Body for GuardedBody<T, P> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        let frame = Pin::new(&mut this.content).poll_frame(context);
        let Some(unread) = &this.unread else { return frame };
        let kept = |octets| Bytes::from_owner(Piece { octets, _mark: unread.mark() });
        frame.map(|frame| frame.map(|frame| frame.map(|frame| frame.map_data(kept))))
    }

    fn is_end_stream(&self) -> bool {
        self.content.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.content.size_hint()
    }
}

impl From<Bytes> for ResponseBody {
    fn from(bytes: Bytes) -> Self {
        Self::Whole(bytes)
    }
}

/// Octets of an answer in pieces that are in memory, approximately.
const PIECES: usize = 64 * 1024;

/// The same for a stream of events: all streams share an event, and each has its own first one.
const EVENT: usize = 8 * 1024;

pub(crate) type HttpResponse = Response<ResponseBody>;

/// No external resources, no frames, no scripts except the one style sheet and the one script of
/// this appliance; forms are sent only to this server.
const CONTENT_SECURITY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; \
connect-src 'self'; img-src 'self'; \
                                base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// The policy of a page that shows a mail's HTML in a frame: [`CONTENT_SECURITY`], and frames of
/// this server.
const CONTENT_SECURITY_WITH_FRAME: &str = "default-src 'none'; style-src 'self'; \
script-src 'self'; connect-src 'self'; img-src 'self'; frame-src 'self'; \
base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// The policy of a mail's HTML: a separate origin, no script, no form, nothing from elsewhere (CSP
/// Level 3 §6), in a frame or opened alone.
const CONTENT_SECURITY_OF_MAIL: &str = "default-src 'none'; style-src 'unsafe-inline'; \
img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'; sandbox";

/// Headers of every answer. With `no-referrer` browsers would send `Origin: null` with this
/// server's own forms (Fetch §3.1), and their origin could not be checked. The numbers of the queue
/// must not be cached, framed or sent as referrer.
const EVERYWHERE: [(HeaderName, &str); 7] = [
    (header::CACHE_CONTROL, "no-store"),
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY),
    (header::REFERRER_POLICY, "same-origin"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

pub(crate) const EVENTS: &str = "text/event-stream";
pub(crate) const HTML: &str = "text/html; charset=utf-8";
pub(crate) const JSON: &str = "application/json";
pub(crate) const MAIL: &str = "message/rfc822";
pub(crate) const OCTETS: &str = "application/octet-stream";
pub(crate) const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
pub(crate) const TEXT: &str = "text/plain; charset=utf-8";

/// An answer of one type.
pub(crate) fn answer(
    status: StatusCode,
    kind: &'static str,
    content: ResponseBody,
) -> HttpResponse {
    let mut answer = Response::new(content);
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    for (name, value) in EVERYWHERE {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}

/// 200 with text of one type.
pub(crate) fn found(kind: &'static str, text: impl Into<Bytes>) -> HttpResponse {
    answer(StatusCode::OK, kind, ResponseBody::Whole(text.into()))
}

/// 200 with a page that shows a mail's HTML in a frame.
pub(crate) fn found_with_frame(page: String) -> HttpResponse {
    with_policy(found(HTML, page), CONTENT_SECURITY_WITH_FRAME)
}

/// 200 with the HTML of a mail, which is untrusted: only pages of this server may frame it, and
/// browsers run no script of it, load nothing for it, and look up no name for it.
pub(crate) fn mail_html(html: String) -> HttpResponse {
    let mut answer = with_policy(found(HTML, html), CONTENT_SECURITY_OF_MAIL);
    let headers = answer.headers_mut();
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("SAMEORIGIN"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert("x-dns-prefetch-control", HeaderValue::from_static("off"));
    answer
}

/// 200 with an attachment of a mail: always a download, never a page, whatever its declared type.
/// The name is untrusted (RFC 6266 §4.3, RFC 8187 §3.2).
pub(crate) fn mail_attachment(name: &str, content: Vec<u8>) -> HttpResponse {
    let mut answer = with_policy(found(OCTETS, content), CONTENT_SECURITY_OF_MAIL);
    let name = file_name(name);
    let plain: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || ".-_ ".contains(c) { c } else { '_' })
        .collect();
    let mut coded = String::with_capacity(name.len());
    for octet in name.bytes() {
        match octet {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' => {
                coded.push(char::from(octet));
            }
            _ => coded.push_str(&format!("%{octet:02X}")),
        }
    }
    let value = format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{coded}");
    if let Ok(value) = HeaderValue::from_str(&value) {
        answer.headers_mut().insert(header::CONTENT_DISPOSITION, value);
    }
    answer
}

/// A file name without directories and control characters that does not begin with a dot;
/// `attachment` if nothing is left.
fn file_name(hostile: &str) -> String {
    let last = hostile.rsplit(['/', '\\']).next().unwrap_or_default();
    let name = harmless(last);
    match name.trim_start_matches(['.', ' ']).trim() {
        "" => "attachment".to_owned(),
        name => name.to_owned(),
    }
}

fn with_policy(mut answer: HttpResponse, policy: &'static str) -> HttpResponse {
    answer.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    answer
}

/// A file of this appliance for its pages; its URL changes with its content, so it may be cached.
pub(crate) fn asset(kind: &'static str, text: &'static str) -> HttpResponse {
    let mut answer = found(kind, text);
    answer
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=86400"));
    answer
}

/// JSON, with a line end for terminals.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> HttpResponse {
    match serde_json::to_string(value) {
        Ok(text) => answer(status, JSON, ResponseBody::Whole((harmless_json(text) + "\n").into())),
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

/// A line for people.
pub(crate) fn plain(status: StatusCode, line: impl Into<Bytes>) -> HttpResponse {
    answer(status, TEXT, ResponseBody::Whole(line.into()))
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Pieces(pieces, left) => pieces.poll_recv(context).map(|piece| {
                let piece = piece?;
                if let Ok(bytes) = &piece {
                    *left = left.saturating_sub(bytes.len() as u64);
                }
                Some(piece.map(Frame::data))
            }),
            Self::Endless(pieces) => {
                pieces.poll_recv(context).map(|piece| piece.map(|piece| piece.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl ResponseBody {
    /// Octets of it that are in memory.
    pub(crate) fn octets(&self) -> usize {
        match self {
            Self::Whole(bytes) => bytes.len(),
            Self::Pieces(..) => PIECES,
            Self::Endless(_) => EVENT,
        }
    }

    /// Octets still to come, if known.
    fn left(&self) -> Option<u64> {
        match self {
            Self::Whole(bytes) => Some(bytes.len() as u64),
            Self::Pieces(_, left) => Some(*left),
            Self::Endless(_) => None,
        }
    }
}

/// An error.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ErrorView {
    /// The error text.
    pub error: String,
}

/// An error in the form for programs.
pub(crate) fn error(status: StatusCode, words: &str) -> HttpResponse {
    json(status, &ErrorView { error: words.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attachment_has_a_name_and_no_type_of_its_own() {
        let header = |name: &str, header: &str| {
            let answer = mail_attachment(name, vec![1]);
            answer.headers()[header].to_str().unwrap().to_owned()
        };
        for (name, disposition) in [
            ("bill.pdf", "filename=\"bill.pdf\"; filename*=UTF-8''bill.pdf"),
            ("../..\\a\"b\r\nX: y", "filename=\"a_b__X_ y\"; filename*=UTF-8''a%22b"),
            ("Grü.html", "filename=\"Gr_.html\"; filename*=UTF-8''Gr%C3%BC.html"),
            ("..", "filename=\"attachment\"; filename*=UTF-8''attachment"),
        ] {
            let found = header(name, "content-disposition");
            assert!(found.starts_with(&format!("attachment; {disposition}")), "{found}");
        }
        assert_eq!(header("x.html", "content-type"), "application/octet-stream");
        assert_eq!(header("x.html", "x-content-type-options"), "nosniff");
        assert!(header("x.html", "content-security-policy").ends_with("; sandbox"));
    }
}

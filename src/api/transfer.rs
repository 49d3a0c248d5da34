//! Export and import of mail over the control socket.
//!
//! In both directions the body of a request or answer is one line of JSON, the mail's
//! [`ExportedMessage`], followed by the mail's content as it is. Limits: [`export::HEAD_MAX`]
//! octets for the line; contents are transferred in pieces, [`PIECES`] at a time in memory; a
//! client that sends nothing for [`PATIENCE`] is disconnected.

use crate::api::state::AppState;
use crate::api::{self, admin_error, ask};
use crate::export::{self, ExportedMessage};
use crate::http::response::{self, HttpResponse, ResponseBody};
use crate::mail::model::{Body, ContentPieces, MessageId};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use serde::{Deserialize, Serialize};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// A content is read in pieces of this size, at most [`PIECES`] in advance.
const PIECE: usize = 64 * 1024;
const PIECES: usize = 2;

/// Time limit for the next piece of an import.
const PATIENCE: Duration = Duration::from_secs(60);

/// The media type of a line of JSON followed by content.
const PAIR: &str = "application/octet-stream";

/// The answer for an imported mail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportedView {
    /// Its new queue id.
    pub id: String,
}

/// `GET /api/v1/queue/ID/mail`, with `?still` after all its attempts have ended.
pub(crate) async fn mail(app: &AppState, id: MessageId, query: &str) -> HttpResponse {
    let still = match query {
        "" => false,
        "still" => true,
        _ => return api::error(StatusCode::BAD_REQUEST, "the only known parameter is 'still'"),
    };
    let message = match ask(app.views.admin.export(id, still)).await {
        Ok(message) => message,
        Err(answer) => return answer,
    };
    let unreadable = |error: &dyn std::fmt::Display| {
        api::error(StatusCode::SERVICE_UNAVAILABLE, &format!("the content cannot be read: {error}"))
    };
    let (body, version) = (message.body.clone(), message.version());
    let crc = match tokio::task::spawn_blocking(move || checksum(&body)).await {
        Ok(Ok(crc)) => crc,
        Ok(Err(error)) => return unreadable(&error),
        Err(error) => return unreadable(&error),
    };
    let head = match serde_json::to_string(&ExportedMessage::of(&message, crc)) {
        Ok(json) => Bytes::from(json + "\n"),
        Err(error) => return unreadable(&error),
    };
    let len = head.len() as u64 + message.body.len();
    let mut answer = response::answer(
        StatusCode::OK,
        PAIR,
        ResponseBody::Pieces(stream(head, message.body), len),
    );
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{version:016x}\"")) {
        answer.headers_mut().insert(header::ETAG, tag);
    }
    answer
}

/// `POST /api/v1/queue`
pub(crate) async fn import(app: &AppState, mut content: Incoming) -> HttpResponse {
    let (view, rest) = match head(&mut content).await {
        Ok(head) => head,
        Err(words) => return api::error(StatusCode::UNPROCESSABLE_ENTITY, &words),
    };
    let imported = match view.imported() {
        Ok(imported) => imported,
        Err(words) => return api::error(StatusCode::UNPROCESSABLE_ENTITY, &words),
    };
    let (pump, pieces) = pieces(content, rest);
    let ((), taken) = tokio::join!(pump, app.views.admin.import(imported, pieces));
    match taken {
        Ok(id) => response::json(StatusCode::OK, &ImportedView { id: id.to_string() }),
        Err(fault) => admin_error(&fault),
    }
}

/// The content of a request, preceded by `first`: a future that reads it, and the channel of its
/// pieces.
pub(crate) fn pieces(
    mut content: Incoming,
    first: Bytes,
) -> (impl Future<Output = ()>, Box<dyn ContentPieces>) {
    let (sender, pieces) = mpsc::channel(PIECES);
    // The rest that is not needed is read all the same: a client reads the answer only when it has
    // sent everything.
    let pump = async move {
        let _ = sender.send(Ok(first)).await;
        loop {
            let piece = match timeout(PATIENCE, content.frame()).await {
                Ok(None) => return,
                Ok(Some(Ok(frame))) => Ok(frame.into_data().unwrap_or_default()),
                Ok(Some(Err(error))) => Err(io::Error::other(error)),
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            };
            let broken = piece.is_err();
            let _ = sender.send(piece).await;
            if broken {
                return;
            }
        }
    };
    (pump, Box::new(Received(pieces)))
}

/// The line of JSON, and the octets that came after it.
async fn head(content: &mut Incoming) -> Result<(ExportedMessage, Bytes), String> {
    let mut read = BytesMut::new();
    loop {
        if let Some(end) = memchr::memchr(b'\n', &read) {
            let line = read.split_to(end + 1);
            return Ok((ExportedMessage::read(&line)?, read.freeze()));
        }
        if read.len() > export::HEAD_MAX {
            return Err(format!("the first line has more than {} octets", export::HEAD_MAX));
        }
        match timeout(PATIENCE, content.frame()).await {
            Ok(Some(Ok(frame))) => read.extend_from_slice(&frame.into_data().unwrap_or_default()),
            _ => return Err("a line of JSON is expected, and the content behind it".to_owned()),
        }
    }
}

struct Received(mpsc::Receiver<io::Result<Bytes>>);

impl ContentPieces for Received {
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Option<io::Result<Bytes>>> + Send + '_>> {
        Box::pin(self.0.recv())
    }
}

/// A content for a client, preceded by `head`. It uses a thread that waits for the disk only while
/// a piece is read, and none while the client is slow.
pub(super) fn stream(head: Bytes, body: Body) -> mpsc::Receiver<io::Result<Bytes>> {
    let (sender, pieces) = mpsc::channel(PIECES);
    tokio::spawn(async move {
        // Without a reader the rest is not needed.
        if !head.is_empty() && sender.send(Ok(head)).await.is_err() {
            return;
        }
        let (body, mut offset) = (Arc::new(body), 0);
        while offset < body.len() {
            let source = Arc::clone(&body);
            let read = tokio::task::spawn_blocking(move || piece(&source, offset)).await;
            let read = read.unwrap_or_else(|defect| Err(io::Error::other(defect)));
            offset += read.as_ref().map_or(0, |piece| piece.len() as u64);
            let broken = read.is_err();
            if sender.send(read).await.is_err() || broken {
                return;
            }
        }
    });
    pieces
}

/// A piece of a content from `offset` on, or all of it if it is in memory. Blocks.
fn piece(body: &Body, offset: u64) -> io::Result<Bytes> {
    let (content, len) = match body {
        Body::Memory(bytes) => {
            return Ok(
                bytes.slice(usize::try_from(offset).unwrap_or(bytes.len()).min(bytes.len())..)
            );
        }
        Body::Stored(content, len) => (content, *len),
    };
    let mut piece = vec![0; PIECE.min(usize::try_from(len - offset).unwrap_or(PIECE))];
    let read = content.read_at(offset, &mut piece)?;
    if read == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    piece.truncate(read);
    Ok(piece.into())
}

/// CRC-32 of a content. Blocks.
pub(crate) fn checksum(body: &Body) -> io::Result<u32> {
    let mut hasher = crc32fast::Hasher::new();
    each_piece(body, |piece| {
        hasher.update(&piece);
        true
    })?;
    Ok(hasher.finalize())
}

/// Passes a content in pieces to `take`, as long as that returns `true`. Blocks.
pub(crate) fn each_piece(body: &Body, mut take: impl FnMut(Bytes) -> bool) -> io::Result<()> {
    let mut offset = 0;
    while offset < body.len() {
        let piece = piece(body, offset)?;
        offset += piece.len() as u64;
        if !take(piece) {
            return Ok(());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::model::StoredContent as Stored;
    use tokio::runtime::Builder;

    /// Content of any length, for tests.
    struct Zeros(u64);

    impl Stored for Zeros {
        fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
            Ok(into.len().min(usize::try_from(self.0 - offset).unwrap_or(usize::MAX)))
        }
    }

    #[test]
    fn a_client_that_does_not_read_holds_no_thread_for_the_disk() {
        let runtime =
            Builder::new_current_thread().max_blocking_threads(1).enable_time().build().unwrap();
        runtime.block_on(async {
            let len = 20 * PIECE as u64 + 7;
            let mut pieces =
                stream(Bytes::from_static(b"head"), Body::Stored(Arc::new(Zeros(len)), len));
            tokio::time::sleep(Duration::from_millis(100)).await;
            let other = tokio::task::spawn_blocking(|| 42);
            assert_eq!(
                timeout(Duration::from_secs(5), other).await.expect("a thread is free").unwrap(),
                42
            );
            let mut got = 0;
            while let Some(piece) = pieces.recv().await {
                got += piece.unwrap().len() as u64;
            }
            assert_eq!(got, 4 + len);
            let mut short = stream(Bytes::new(), Body::Stored(Arc::new(Zeros(5)), 6));
            assert_eq!(short.recv().await.unwrap().unwrap().len(), 5);
            short.recv().await.unwrap().unwrap_err();
            assert!(short.recv().await.is_none());
        });
    }
}

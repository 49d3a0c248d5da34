//! Requests to the core over its control socket.

use super::tool_error::{
    EX_DATAERR, EX_NOINPUT, EX_NOPERM, EX_SOFTWARE, EX_TEMPFAIL, EX_UNAVAILABLE, EX_USAGE,
    ToolError,
};
use crate::api::ErrorView;
use crate::api::transfer::ImportedView;
use crate::export::{ExportedMessage, HEAD_MAX};
use crate::ground::display_text::harmless;
use crate::ground::folder::{Folder, FolderLock};
use crate::ground::http::{self, ReceivedResponse};
use crate::ground::not_ready;
use crate::http::response::ResponseBody;
use crate::mail::model::MessageId;
use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Limited};
use hyper::header::{ETAG, HOST};
use hyper::{Method, Request, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::future::Future;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Time limit of a request. An order over a million messages takes a while.
const PATIENCE: Duration = Duration::from_secs(300);

/// How long a core may be silent before it is checked whether it is alive, and how long that check
/// may take.
const ALIVE_PACE: Duration = Duration::from_secs(3);
const ALIVE_PATIENCE: Duration = Duration::from_secs(5);

/// The text about an order without an answer. The core drops it if the client has disconnected
/// before it begins.
const UNSURE: &str = ". An action that had begun may still be carried out; the rest is dropped: \
check the queue when the core answers again";

/// Octets of an answer without contents, at most: a message with a thousand recipients, or a page
/// of the queue.
const ANSWER_MAX: usize = 16 * 1024 * 1024;

/// A core with a control socket.
pub(super) struct Core {
    socket: PathBuf,
}

impl Core {
    /// Allows one move out of this queue at a time: two would hold, write and delete the same
    /// messages, and each would have their files.
    pub(super) fn only_move(&self) -> Result<FolderLock, ToolError> {
        let run_dir = run_dir(&self.socket);
        let locked = Folder::open(&run_dir).and_then(|folder| folder.lock());
        let locked = locked.map_err(|error| {
            ToolError::new(
                EX_NOPERM,
                format!("cannot lock {} for the move: {error}", run_dir.display()),
            )
        })?;
        locked.ok_or_else(|| {
            let words = "another 'postern queue export --move' is under way here; repeat the \
            command when it has ended";
            ToolError::new(EX_TEMPFAIL, words)
        })
    }

    /// The first existing socket that belongs to this user or to root.
    pub(super) fn find(candidates: Vec<PathBuf>) -> Result<Self, ToolError> {
        let own = nix::unistd::getuid().as_raw();
        let looked: Vec<String> =
            candidates.iter().map(|path| path.display().to_string()).collect();
        let given = candidates.len() == 1;
        let (mut candidates, ours) = (candidates, |uid| uid == own || uid == 0);
        candidates.retain(|path| given || is_trusted(path, ours));
        let trusted = |path: &&PathBuf| {
            given || own == 0 || path.metadata().is_ok_and(|meta| ours(meta.uid()))
        };
        match candidates.iter().filter(|path| path.exists()).find(trusted) {
            Some(socket) => Ok(Self { socket: socket.clone() }),
            None => Err(candidates.iter().find_map(|path| restarts(path)).unwrap_or_else(|| {
                ToolError::new(
                    EX_UNAVAILABLE,
                    format!(
                        "no appliance is running here: there is no {}. \
                     Start it with 'postern init', or say where its socket is with --socket or \
                     MTA_RUN_DIR",
                        looked.join(", no ")
                    ),
                )
            })),
        }
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ToolError> {
        self.ask(Method::GET, path, Bytes::new()).await
    }

    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        content: &impl Serialize,
    ) -> Result<T, ToolError> {
        let content = serde_json::to_vec(content)
            .map_err(|error| ToolError::new(EX_SOFTWARE, error.to_string()))?;
        self.ask(Method::POST, path, content.into()).await
    }

    /// Copies a message's content to standard output, in pieces.
    pub(super) async fn copy_body(
        &self,
        id: &str,
        json: bool,
        out: &mut dyn Write,
    ) -> Result<(), ToolError> {
        let mut reply =
            self.send(Method::GET, &format!("/api/v1/queue/{id}/body"), Bytes::new()).await?;
        if !reply.response.status().is_success() {
            return Err(refusal(reply).await);
        }
        let mut rest = Vec::new();
        if json {
            write!(out, "{{\"id\":\"{id}\",\"content_base64\":\"")?;
        }
        while let Some(frame) = reply.response.body_mut().frame().await {
            let cut =
                |error| ToolError::new(EX_UNAVAILABLE, format!("the content was cut off: {error}"));
            let Ok(piece) = frame.map_err(cut)?.into_data() else { continue };
            if json {
                rest.extend_from_slice(&piece);
                let even = rest.len() - rest.len() % 3;
                write!(out, "{}", BASE64_STANDARD.encode(&rest[..even]))?;
                rest.drain(..even);
            } else {
                out.write_all(&piece)?;
            }
        }
        if json {
            writeln!(out, "{}\"}}", BASE64_STANDARD.encode(&rest))?;
        }
        Ok(out.flush()?)
    }

    /// A message with its content to be read, and its version; with `still` after all its attempts
    /// have ended.
    pub(super) async fn mail(
        &self,
        id: MessageId,
        still: bool,
    ) -> Result<(ExportedMessage, String, ContentDownload), ToolError> {
        let query = if still { "?still" } else { "" };
        let reply = self
            .send(Method::GET, &format!("/api/v1/queue/{id}/mail{query}"), Bytes::new())
            .await?;
        if !reply.response.status().is_success() {
            return Err(refusal(reply).await);
        }
        let tag = reply
            .response
            .headers()
            .get(ETAG)
            .and_then(|tag| tag.to_str().ok())
            .unwrap_or_default();
        let version = tag.trim_matches('"').to_owned();
        let mut content = ContentDownload { reply, read: Bytes::new() };
        let mut head = BytesMut::new();
        let end = loop {
            if let Some(end) = memchr::memchr(b'\n', &head) {
                break end;
            }
            match content.next().await? {
                Some(piece) if head.len() <= HEAD_MAX => head.extend_from_slice(&piece),
                _ => {
                    return Err(ToolError::new(
                        EX_SOFTWARE,
                        "unexpected response: it has no envelope",
                    ));
                }
            }
        };
        let line = head.split_to(end + 1);
        content.read = head.freeze();
        let view = ExportedMessage::read(&line).map_err(|words| {
            ToolError::new(EX_SOFTWARE, format!("unexpected response: {words}"))
        })?;
        Ok((view, version, content))
    }

    /// Imports a mail; gives its new id. Code 65: this mail is rejected, others may be accepted.
    pub(super) async fn import(
        &self,
        view: &ExportedMessage,
        mut content: mpsc::Receiver<io::Result<Bytes>>,
    ) -> Result<String, ToolError> {
        let mut head = serde_json::to_vec(view)
            .map_err(|error| ToolError::new(EX_SOFTWARE, error.to_string()))?;
        head.push(b'\n');
        let len = head.len() as u64 + view.content.size;
        let (sender, pieces) = mpsc::channel(2);
        let feed = async move {
            if sender.send(Ok(Bytes::from(head))).await.is_err() {
                return;
            }
            while let Some(piece) = content.recv().await
                && sender.send(piece).await.is_ok()
            {}
        };
        let (reply, ()) = tokio::join!(
            self.send(Method::POST, "/api/v1/queue", ResponseBody::Pieces(pieces, len)),
            feed
        );
        let reply = reply?;
        if !reply.response.status().is_success() {
            return Err(refusal(reply).await);
        }
        let imported: ImportedView = understand(&read(reply).await?)?;
        Ok(imported.id)
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        content: Bytes,
    ) -> Result<T, ToolError> {
        let orders = method == Method::POST;
        let reply = self.send(method, path, content).await?;
        if !reply.response.status().is_success() {
            return Err(refusal(reply).await);
        }
        understand(&self.while_alive(read(reply), orders).await?)
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        content: impl Into<ResponseBody>,
    ) -> Result<ReceivedResponse, ToolError> {
        let orders = method == Method::POST;
        let silent = move |words: &str| {
            ToolError::new(EX_UNAVAILABLE, format!("{words}{}", if orders { UNSURE } else { "" }))
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "postern")
            .body(content.into())
            .map_err(|error| ToolError::new(EX_SOFTWARE, error.to_string()))?;
        let answer = async {
            let stream = UnixStream::connect(&self.socket)
                .await
                .map_err(|error| self.unreachable(&error))?;
            http::send(stream, request)
                .await
                .map_err(|error| silent(&format!("no answer: {error}")))
        };
        let exchange = self.while_alive(answer, orders);
        timeout(PATIENCE, exchange)
            .await
            .unwrap_or_else(|_| Err(silent("the appliance does not answer")))
    }

    /// Waits for an answer as long as the core is alive: an order over a million messages takes a
    /// while, and a core that hangs would never answer.
    async fn while_alive<T>(
        &self,
        answer: impl Future<Output = Result<T, ToolError>>,
        orders: bool,
    ) -> Result<T, ToolError> {
        let mut answer = pin!(answer);
        loop {
            match timeout(ALIVE_PACE, &mut answer).await {
                Ok(answer) => return answer,
                Err(_) => self.is_alive(orders).await?,
            }
        }
    }

    /// Asks the core for its health, in parallel to the other request.
    async fn is_alive(&self, orders: bool) -> Result<(), ToolError> {
        let ask = async {
            let stream = UnixStream::connect(&self.socket).await.ok()?;
            let request = Request::get("/healthz")
                .header(HOST, "postern")
                .body(ResponseBody::Whole(Bytes::new()))
                .ok()?;
            let mut reply = http::send(stream, request).await.ok()?;
            let is_well = reply.response.status().is_success();
            let words = if is_well { String::new() } else { http::words(&mut reply).await };
            Some((is_well, words))
        };
        let why = match timeout(ALIVE_PATIENCE, ask).await {
            Ok(Some((true, _))) => return Ok(()),
            Ok(Some((false, words))) => words,
            Ok(None) | Err(_) => not_ready::why(&run_dir(&self.socket))
                .map(|why| format!(": {why}"))
                .unwrap_or_default(),
        };
        let (words, unsure) = (harmless(&why), if orders { UNSURE } else { "" });
        Err(ToolError::new(
            EX_UNAVAILABLE,
            format!(
                "the core does not answer{words}; see `postern health` and the appliance \
                log{unsure}"
            ),
        ))
    }

    fn unreachable(&self, error: &io::Error) -> ToolError {
        if error.kind() != io::ErrorKind::PermissionDenied
            && let Some(restarts) = restarts(&self.socket)
        {
            return restarts;
        }
        let advice = match error.kind() {
            io::ErrorKind::PermissionDenied => "run this as the user of the appliance or as root",
            _ => "no appliance is running here; start it with 'postern init'",
        };
        ToolError::new(
            EX_UNAVAILABLE,
            format!("cannot reach {}: {error}; {advice}", self.socket.display()),
        )
    }
}

/// Consecutive links that are followed, as many as the kernel follows (path_resolution(7)).
const LINKS_MAX: usize = 40;

/// The run directory of a socket, which may be given by a link or a relative path.
fn run_dir(socket: &Path) -> PathBuf {
    // Links lead there even while the socket is being created again.
    let mut path = socket.to_owned();
    for _ in 0..LINKS_MAX {
        let Ok(target) = std::fs::read_link(&path) else { break };
        path = parent(&path).join(target);
    }
    let directory = parent(&path);
    std::fs::canonicalize(&directory).unwrap_or(directory)
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => PathBuf::from("."),
        Some(parent) => parent.to_owned(),
        None => path.to_owned(),
    }
}

/// Whether no other user can have created the directory of a socket: below /tmp any user could, and
/// would control its contents.
fn is_trusted(socket: &Path, ours: impl Fn(u32) -> bool) -> bool {
    let Some(directory) = socket.parent() else { return false };
    let is_open = |above: &Path| above.metadata().is_ok_and(|meta| meta.mode() & 0o002 != 0);
    !directory.parent().is_some_and(is_open)
        || directory.symlink_metadata().is_ok_and(|meta| ours(meta.uid()))
}

/// The appliance runs but its core does not yet, as the supervisor records next to the socket.
fn restarts(socket: &Path) -> Option<ToolError> {
    let why = not_ready::why(&run_dir(socket))?;
    let words = format!(
        "the appliance runs, but its core cannot answer now: {}; try again in a moment",
        harmless(&why)
    );
    Some(ToolError::new(EX_TEMPFAIL, words))
}

/// A content that is being received.
pub(super) struct ContentDownload {
    reply: ReceivedResponse,
    /// The part that came together with the envelope.
    read: Bytes,
}

impl ContentDownload {
    /// The next piece; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, ToolError> {
        if !self.read.is_empty() {
            return Ok(Some(std::mem::take(&mut self.read)));
        }
        match timeout(PATIENCE, self.reply.response.body_mut().frame()).await {
            Ok(None) => Ok(None),
            Ok(Some(Ok(frame))) => Ok(Some(frame.into_data().unwrap_or_default())),
            Ok(Some(Err(error))) => {
                Err(ToolError::new(EX_UNAVAILABLE, format!("the content was cut off: {error}")))
            }
            Err(_) => Err(ToolError::new(EX_UNAVAILABLE, "no content was received in time")),
        }
    }
}

fn understand<T: DeserializeOwned>(answer: &[u8]) -> Result<T, ToolError> {
    serde_json::from_slice(answer)
        .map_err(|error| ToolError::new(EX_SOFTWARE, format!("unexpected response: {error}")))
}

async fn read(reply: ReceivedResponse) -> Result<Bytes, ToolError> {
    let ReceivedResponse { mut response, .. } = reply;
    match timeout(PATIENCE, Limited::new(response.body_mut(), ANSWER_MAX).collect()).await {
        Ok(Ok(content)) => Ok(content.to_bytes()),
        Ok(Err(error)) => {
            Err(ToolError::new(EX_UNAVAILABLE, format!("the response was cut off: {error}")))
        }
        Err(_) => Err(ToolError::new(EX_UNAVAILABLE, "the response did not end in time")),
    }
}

/// The core's error text, and the exit code for it.
async fn refusal(reply: ReceivedResponse) -> ToolError {
    let status = reply.response.status();
    let code = match status {
        StatusCode::NOT_FOUND => EX_NOINPUT,
        StatusCode::BAD_REQUEST => EX_USAGE,
        StatusCode::UNPROCESSABLE_ENTITY => EX_DATAERR,
        StatusCode::CONFLICT => EX_TEMPFAIL,
        _ => EX_UNAVAILABLE,
    };
    match read(reply).await {
        Ok(bytes) => match serde_json::from_slice::<ErrorView>(&bytes) {
            Ok(view) => ToolError::new(code, harmless(&view.error)),
            Err(_) => ToolError::new(EX_SOFTWARE, format!("the appliance answered {status}")),
        },
        Err(trouble) => trouble,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::not_ready::{FILE, LOCK};
    use nix::fcntl::{Flock, FlockArg};
    use std::fs::{File, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_socket_is_locked_by_its_own_directory_however_it_is_named() {
        let (there, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (socket, link) = (there.path().join("control.sock"), elsewhere.path().join("link"));
        let _listener = UnixListener::bind(&socket).unwrap();
        // A link to a link.
        let between = elsewhere.path().join("between");
        symlink(&socket, &between).unwrap();
        symlink("between", &link).unwrap();
        let lock = |socket: PathBuf| Core { socket }.only_move();
        let first = lock(socket.clone()).unwrap();
        assert_eq!(lock(link.clone()).err().map(|trouble| trouble.code), Some(EX_TEMPFAIL));
        // A core that is started again creates its socket again.
        std::fs::remove_file(&socket).unwrap();
        assert_eq!(lock(link.clone()).err().map(|trouble| trouble.code), Some(EX_TEMPFAIL));
        drop(first);
        assert!(lock(link).is_ok());
        assert!(lock(PathBuf::from("control.sock")).is_ok(), "a name alone");
    }

    #[test]
    fn a_reason_is_believed_while_its_supervisor_lives() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("control.sock");
        std::fs::write(directory.path().join(FILE), "it starts\n").unwrap();
        let code = || Core::find(vec![socket.clone()]).err().map(|trouble| trouble.code);
        assert_eq!(code(), Some(EX_UNAVAILABLE));
        let file = File::create(directory.path().join(LOCK)).unwrap();
        assert_eq!(code(), Some(EX_UNAVAILABLE), "it was killed");
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).unwrap();
        assert_eq!(code(), Some(EX_TEMPFAIL));
        drop(lock);
    }

    #[test]
    fn what_anybody_may_have_made_is_not_trusted() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("postern-7/control.sock");
        std::fs::create_dir(directory.path().join("postern-7")).unwrap();
        let own = nix::unistd::getuid().as_raw();
        assert!(is_trusted(&socket, |_| false), "nobody else may make anything there");
        std::fs::set_permissions(directory.path(), Permissions::from_mode(0o1777)).unwrap();
        assert!(is_trusted(&socket, |uid| uid == own) && !is_trusted(&socket, |uid| uid != own));
    }
}

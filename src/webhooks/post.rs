//! One request to a receiver.

use crate::ground::endpoint::Endpoint;
use crate::ground::http::{self, ConnectError};
use crate::ground::public_address::Public;
use crate::ground::tls;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, RETRY_AFTER};
use hyper::{Method, Request, StatusCode};
use rustls::ClientConfig;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// Time limit of a request, including DNS lookup and handshake.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a receiver did not accept an event; text for the log.
#[derive(Debug, thiserror::Error)]
pub(super) enum PostError {
    #[error("no answer within {} s", .0.as_secs())]
    Slow(Duration),
    #[error(
        "{0} is not on the public internet: name its network in MTA_WEBHOOK_ALLOW if events may \
        go there"
    )]
    Guarded(IpAddr),
    #[error("{0}")]
    Connect(ConnectError),
    #[error("no TLS: {0}")]
    Tls(io::Error),
    #[error("no HTTP: {0}")]
    Http(#[from] hyper::Error),
    #[error("the request could not be made: {0}")]
    Request(#[from] hyper::http::Error),
    #[error("it answered {status}{words}")]
    Answer { status: StatusCode, retry_after: Option<Duration>, words: String },
}

impl From<ConnectError> for PostError {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Forbidden(address) => Self::Guarded(address),
            other => Self::Connect(other),
        }
    }
}

impl PostError {
    /// The receiver has understood the event and rejects it: repeating it is of no use.
    pub(super) fn is_refusal(&self) -> bool {
        const LATER: [StatusCode; 3] =
            [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
        match self {
            Self::Answer { status, .. } => status.is_client_error() && !LATER.contains(status),
            _ => false,
        }
    }

    /// How long the receiver asks to wait.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Answer { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// How receivers are reached.
pub(super) struct WebhookTransport {
    pub(super) guard: Public,
    pub(super) tls: Arc<ClientConfig>,
}

impl WebhookTransport {
    /// Posts a content. Redirects are not followed: they would bypass the check of addresses.
    pub(super) async fn post(
        &self,
        to: &Endpoint,
        headers: &[(&str, String)],
        content: String,
    ) -> Result<(), PostError> {
        let mut request = http::request(Method::POST, &to.authority, &to.target)
            .header(CONTENT_TYPE, "application/json");
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let request = request.body(Full::new(Bytes::from(content)))?;
        timeout(PATIENCE, self.send(to, request)).await.unwrap_or(Err(PostError::Slow(PATIENCE)))
    }

    async fn send(&self, to: &Endpoint, request: Request<Full<Bytes>>) -> Result<(), PostError> {
        let connected = http::connect(&to.host, to.port, |address| self.guard.permits(address));
        let (stream, address) = connected.await?;
        let mut reply = if to.tls {
            let name = tls::server_name(&to.host, address);
            let stream = TlsConnector::from(self.tls.clone())
                .connect(name, stream)
                .await
                .map_err(PostError::Tls)?;
            http::send(stream, request).await?
        } else {
            http::send(stream, request).await?
        };
        let status = reply.response.status();
        if status.is_success() {
            return Ok(());
        }
        let seconds = reply
            .response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let words = http::words(&mut reply).await;
        Err(PostError::Answer { status, retry_after: seconds.map(Duration::from_secs), words })
    }
}

//! The access to an upstream: its form of TLS, the authorities that verify it, and the login.
//!
//! In: what the properties and their files say; newer content while the relay runs; access tokens
//! of a [`TokenSource`]. Out: what the next connection uses, or why there is no token. Security: a
//! form of TLS that does not verify has no credentials; the password is in no `Debug` output.

use crate::ground::credential::sasl::ClientCredentials;
use crate::ground::credential::secret::Secret;
use crate::ground::credential::token_source::{TokenFailure, TokenSource};
use crate::ground::lock::Lock;
use crate::ground::tls::TlsLevel;
use crate::mail::model::{Outcome, Reply, UpstreamMonitor, UpstreamStage};
use rustls::ClientConfig;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// The upstreams by name.
pub type UpstreamAccesses = BTreeMap<Arc<str>, Arc<UpstreamAccess>>;

/// How an upstream is reached.
#[derive(Debug)]
pub struct UpstreamAccess {
    /// Its name.
    pub name: Arc<str>,
    /// How the names of its properties begin, for texts that say what to do.
    pub prefix: String,
    /// TLS with it.
    pub tls: TlsLevel,
    /// What it takes, at most.
    pub limits: UpstreamLimits,
    /// Connections at the same time, at most.
    pub connections_max: Option<u32>,
    /// Judges its replies.
    pub(super) monitor: Arc<dyn UpstreamMonitor>,
    secrets: Lock<UpstreamSecrets>,
    /// Connections that are open, or being opened.
    connections: AtomicU32,
}

/// A connection that counts as one of its upstream until this is dropped.
#[derive(Debug)]
pub(super) struct UpstreamPermit(Arc<UpstreamAccess>);

/// What an upstream takes at most; `None`: it has no limit of its own.
#[derive(Debug, Clone, Copy, Default)]
pub struct UpstreamLimits {
    /// Recipients of one transaction.
    pub recipients: Option<usize>,
    /// Mails over one connection.
    pub mails: Option<u32>,
}

/// What its files hold.
#[derive(Debug, Clone)]
pub struct UpstreamSecrets {
    /// Verifies its certificate, and shows ours.
    pub client: Arc<ClientConfig>,
    /// What is shown to it; `None`: there is no login.
    pub credentials: Option<Arc<ClientCredentials>>,
    /// Where the access token of the credentials comes from; `None`: there is none.
    pub tokens: Option<Arc<dyn TokenSource>>,
}

impl UpstreamAccess {
    /// An upstream with its first secrets.
    pub fn new(
        name: &str,
        prefix: &str,
        tls: TlsLevel,
        limits: UpstreamLimits,
        monitor: Arc<dyn UpstreamMonitor>,
        secrets: UpstreamSecrets,
    ) -> Self {
        Self {
            name: name.into(),
            prefix: prefix.to_owned(),
            tls,
            limits,
            monitor,
            secrets: Lock::leaf(secrets),
            connections_max: None,
            connections: AtomicU32::new(0),
        }
    }

    /// The same with a limit of connections.
    #[must_use]
    pub fn with_connections_max(self, most: Option<u32>) -> Self {
        Self { connections_max: most, ..self }
    }

    /// Connections that are open now, or being opened.
    pub fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }

    /// A permit for one more connection; `None`: there are as many as there may be.
    pub(super) fn enter(self: &Arc<Self>) -> Option<UpstreamPermit> {
        let most = self.connections_max.unwrap_or(u32::MAX);
        let one_more = |open: u32| (open < most).then_some(open.saturating_add(1));
        let entered = self.connections.fetch_update(Ordering::AcqRel, Ordering::Relaxed, one_more);
        entered.is_ok().then(|| UpstreamPermit(self.clone()))
    }

    /// The same access, with another judge of its replies.
    pub(super) fn watched_by(&self, monitor: Arc<dyn UpstreamMonitor>) -> Self {
        Self {
            name: self.name.clone(),
            prefix: self.prefix.clone(),
            tls: self.tls,
            limits: self.limits,
            connections_max: self.connections_max,
            connections: AtomicU32::new(0),
            monitor,
            secrets: Lock::leaf(self.secrets.lock().clone()),
        }
    }

    /// The next connection uses these. `true`: the login is another one.
    pub fn replace(&self, secrets: UpstreamSecrets) -> bool {
        let mut used = self.secrets.lock();
        let changed = used.credentials != secrets.credentials;
        *used = secrets;
        changed
    }

    /// Why nothing is sent to it now; `None`: it takes mail, as far as is known.
    pub(super) fn paused(&self) -> Option<String> {
        self.monitor.paused(&self.name).map(|(_, said)| said)
    }

    /// Those in use, with an access token where the login has one. `refused`: a token that the
    /// upstream did not accept.
    ///
    /// # Errors
    /// The outcome where there is no token: temporary.
    pub(super) async fn secrets(
        &self,
        refused: Option<&Secret>,
    ) -> Result<UpstreamSecrets, Outcome> {
        let mut secrets = self.secrets.lock().clone();
        if let (Some(tokens), Some(credentials)) = (&secrets.tokens, &mut secrets.credentials) {
            let token = tokens.token(refused).await.map_err(|failure| self.no_token(failure))?;
            let former = (**credentials).clone();
            *credentials = Arc::new(ClientCredentials { token: Some(token), ..former });
        }
        Ok(secrets)
    }

    /// The upstream is judged as if it had refused the login, or had taken no more for now: without
    /// a token it is of no use.
    fn no_token(&self, failure: TokenFailure) -> Outcome {
        let TokenFailure { is_refusal, text } = failure;
        let (code, class, detail) = if is_refusal { (535, 5, 8) } else { (454, 4, 0) };
        let said = Reply::new(code, (class, 7, detail), text.clone());
        self.monitor.judge(&self.name, UpstreamStage::Login, &said, "");
        let text = format!("no login for {}_username: {text}", self.prefix);
        Outcome::own(Reply::new(451, (4, 7, detail), text))
    }
}

impl Drop for UpstreamPermit {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A connection that the monitor of its upstream counts, until this is dropped.
pub(super) struct ReadyUpstream(Arc<UpstreamAccess>);

impl ReadyUpstream {
    /// One more of this upstream.
    pub fn new(access: Arc<UpstreamAccess>) -> Self {
        Self(access)
    }
}

impl Drop for ReadyUpstream {
    fn drop(&mut self) {
        self.0.monitor.disconnected(&self.0.name);
    }
}

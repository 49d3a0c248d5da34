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
use crate::mail::model::{Destination, Outcome, Reply, UpstreamMonitor, UpstreamStage};
use rustls::ClientConfig;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The upstreams by name.
pub type UpstreamAccesses = BTreeMap<Arc<str>, Arc<UpstreamAccess>>;

/// How long a destination that waits for a connection is remembered: longer than the longest pause
/// after which it asks again.
const WAIT_KEPT: Duration = Duration::from_secs(300);

/// Destinations that wait for connections of one upstream, at most; others ask again later.
const QUEUE_MAX: usize = 64;

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
    queue: Lock<ConnectionQueue>,
    /// Whether the queue has an entry.
    is_waited_for: AtomicBool,
}

/// Destinations that wait for a connection, and until when each is remembered.
#[derive(Debug, Default)]
struct ConnectionQueue(VecDeque<(Destination, Instant)>);

impl ConnectionQueue {
    /// Whether a destination gets a connection: those before it in the queue get theirs first.
    fn may_enter(&mut self, whose: &Destination, open: u32, most: u32, now: Instant) -> bool {
        self.0.retain(|(_, until)| *until > now);
        let place = self.0.iter().position(|(waits, _)| waits == whose);
        let ahead = u32::try_from(place.unwrap_or(self.0.len())).unwrap_or(u32::MAX);
        if open.saturating_add(ahead) < most {
            place.map(|place| self.0.remove(place));
            return true;
        }
        let until = now + WAIT_KEPT;
        match place {
            Some(place) => self.0[place].1 = until,
            None if self.0.len() < QUEUE_MAX => self.0.push_back((whose.clone(), until)),
            None => {}
        }
        false
    }
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
            queue: Lock::leaf(ConnectionQueue::default()),
            is_waited_for: AtomicBool::new(false),
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

    /// A permit for one more connection of a destination; `None`: there are as many as there may
    /// be, or other destinations have waited for longer. Then it waits in their queue.
    pub(super) fn enter(self: &Arc<Self>, whose: &Destination) -> Option<UpstreamPermit> {
        if let Some(most) = self.connections_max {
            let mut queue = self.queue.lock();
            if !queue.may_enter(whose, self.connections(), most, Instant::now()) {
                self.is_waited_for.store(true, Ordering::Relaxed);
                return None;
            }
            self.is_waited_for.store(!queue.0.is_empty(), Ordering::Relaxed);
            self.connections.fetch_add(1, Ordering::AcqRel);
        } else {
            self.connections.fetch_add(1, Ordering::AcqRel);
        }
        Some(UpstreamPermit(self.clone()))
    }

    /// Whether destinations wait for one of its connections.
    pub(super) fn is_waited_for(&self) -> bool {
        self.is_waited_for.load(Ordering::Relaxed)
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
            queue: Lock::leaf(ConnectionQueue::default()),
            is_waited_for: AtomicBool::new(false),
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
    /// `shared`: another upstream takes the mail meanwhile, so that one connection after a pause
    /// is enough.
    pub(super) fn paused(&self, shared: bool) -> Option<String> {
        let paused = self.monitor.paused(&self.name).map(|(_, said)| said);
        let is_probed = || "it is being asked again".to_owned();
        paused.or_else(|| (shared && !self.monitor.may_probe(&self.name)).then(is_probed))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_get_connections_in_the_order_in_which_they_asked() {
        let at = |name: &str| Destination::domain(name).unwrap();
        let (mut queue, now) = (ConnectionQueue::default(), Instant::now());
        assert!(queue.may_enter(&at("a.example"), 1, 2, now));
        assert!(!queue.may_enter(&at("b.example"), 2, 2, now));
        assert!(!queue.may_enter(&at("c.example"), 2, 2, now));
        // One has ended: whoever has just closed it waits behind the others.
        assert!(!queue.may_enter(&at("a.example"), 1, 2, now));
        assert!(!queue.may_enter(&at("c.example"), 1, 2, now));
        assert!(queue.may_enter(&at("b.example"), 1, 2, now));
        assert!(queue.may_enter(&at("c.example"), 1, 2, now));
        // One that does not come back is forgotten.
        assert!(queue.may_enter(&at("d.example"), 0, 1, now + WAIT_KEPT));
        assert!(queue.0.is_empty());
    }
}

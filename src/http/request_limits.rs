//! Limits of connections and requests at `ui_port`, divided so that no untrusted client can use all
//! of them.
//!
//! An idle connection (without a request in progress) is closed when another one needs its slot:
//! first those without any request yet, of the address that has most of them, the oldest first. So
//! half-open requests do not block others. If there are none, a connection is closed whose client
//! does not read its answer, after [`UNREAD_PATIENCE`]. If those are more than half of all, they
//! are closed first, and at once. In its first [`MOMENT`] a connection is not closed for an
//! untrusted client that has as many as its own address: a request takes a moment to arrive, and
//! many addresses that connect again and again would otherwise close all others before that. If the
//! table is full of such new connections, an untrusted client is rejected. Connections of trusted
//! clients (from this machine, or clients that may relay) are never closed for untrusted ones,
//! first use the slots of untrusted ones, have [`OWN_CONNECTIONS_MAX`] reserved slots, and only
//! then replace each other. A request is in progress until the server has the last piece of its
//! answer: a client that does not read a short answer occupies its connection and the memory of
//! that answer, but no request slot. Requests for health and metrics have reserved slots. Limits:
//! [`CONNECTIONS_MAX`], three quarters of them for one address; [`REQUESTS_MAX`] requests in
//! progress, half of them for one client, and [`OWN_REQUESTS_MAX`] more for trusted clients;
//! [`MONITORS_MAX`] more for metrics, [`MONITORS_PER_CLIENT_MAX`] of them for an untrusted client;
//! [`ANSWERS_MAX`] octets of unread answers (less where memory is scarce), with a part reserved for
//! metrics; a client's anonymous requests at the rate [`PACE`], for [`CLIENTS_MAX`] clients. An
//! IPv6 /64 prefix counts as one address, with trusted clients in it counted separately.

mod connections;

use crate::ground::lock::{Guard, Level, Lock};
use crate::ground::net::client_prefix;
use crate::ground::token_bucket::{Bucket, Rate};
use crate::http::counters::HttpCounters;
use crate::http::forwarded::RequestClient;
use crate::http::response::Unread;
pub use connections::{
    CONNECTIONS_MAX, CONNECTIONS_PER_ADDRESS_MAX, MOMENT, OWN_CONNECTIONS_MAX, UNREAD_PATIENCE,
};
use connections::{HttpConnection, Open};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Requests in progress, except health and metrics.
pub const REQUESTS_MAX: usize = 64;

/// Of these for one client.
pub const REQUESTS_PER_CLIENT_MAX: usize = REQUESTS_MAX / 2;

/// Slots reserved for requests from this machine itself and from clients that may relay.
pub const OWN_REQUESTS_MAX: usize = 8;

/// Requests for metrics and status in progress; as many more from this machine itself and clients
/// that may relay.
pub const MONITORS_MAX: usize = 8;

/// Of these for one untrusted client.
pub const MONITORS_PER_CLIENT_MAX: usize = 3;

/// Octets of unread answers, where memory is ample.
pub const ANSWERS_MAX: usize = 64 << 20;

/// Of these reserved for metrics and status, in percent; they may use the others, too.
const MONITORS_PERCENT: usize = 25;

/// Shorter answers are not counted: the server's buffer for a connection contains them, which
/// limits them by the number of connections.
const SHORT: usize = 4 << 10;

/// The rate of anonymous requests of a client.
pub const PACE: Rate = Rate { count: 1000, per: Duration::from_secs(10) };

/// Clients whose rate is tracked, at most.
const CLIENTS_MAX: usize = 4096;

/// The kind of a request, for the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestClass {
    /// A health check: always permitted.
    Health,
    /// Metrics and status.
    Monitor,
    /// All else.
    Other,
}

/// All slots.
pub(crate) struct RequestLimits {
    open: Lock<Open>,
    paces: Lock<HashMap<IpAddr, Bucket>>,
    /// Unread answers.
    answers: Memory,
    /// The part reserved for metrics and status.
    monitors: Memory,
    counters: Arc<HttpCounters>,
}

/// Memory for answers.
struct Memory {
    /// Kilobytes in all.
    all: u32,
    free: Arc<Semaphore>,
}

/// A connection's slot; dropping it releases the slot.
pub(crate) struct ConnectionPermit {
    places: Arc<RequestLimits>,
    number: u64,
    /// From this machine, or a client that may relay.
    own: bool,
    give_way: Arc<Notify>,
}

/// A request's slot; dropping it releases the slot.
pub(crate) struct RequestPermit {
    place: Arc<ConnectionPermit>,
    kind: RequestClass,
    own: bool,
    client: IpAddr,
}

/// The client of an answer, which may or may not read it.
pub(crate) struct ResponseReader {
    place: Arc<ConnectionPermit>,
    kind: RequestClass,
    /// Memory of [`RequestLimits::answers`] or [`RequestLimits::monitors`], until the connection
    /// has written the last piece.
    memory: Option<Arc<OwnedSemaphorePermit>>,
}

/// A piece of an answer that the connection has not written yet: the kernel's buffer is full, or
/// that of TLS above it.
pub(crate) struct PendingPiece {
    place: Arc<ConnectionPermit>,
    _memory: Option<Arc<OwnedSemaphorePermit>>,
}

impl RequestLimits {
    /// `answers` is in octets.
    pub(crate) fn new(counters: Arc<HttpCounters>, answers: usize) -> Arc<Self> {
        let monitors = answers / 100 * MONITORS_PERCENT;
        let (answers, monitors) = (Memory::new(answers - monitors), Memory::new(monitors));
        let (open, paces) = (Lock::leaf(Open::default()), Lock::new(Level::Outer, HashMap::new()));
        Arc::new(Self { open, paces, answers, monitors, counters })
    }

    /// A slot for a connection. `own`: it comes from this machine, or from a client that may relay.
    /// `None`: there is none, and no connection can be closed for it.
    pub(crate) fn enter(
        self: &Arc<Self>,
        address: IpAddr,
        own: bool,
    ) -> Option<Arc<ConnectionPermit>> {
        let address = client_prefix(address);
        let mut open = self.lock();
        if !open.has_room(address, own, Instant::now()) {
            drop(open);
            self.refused("connection");
            return None;
        }
        let (number, give_way) = (open.next, Arc::new(Notify::new()));
        open.next += 1;
        let connection = HttpConnection {
            address,
            own,
            busy: false,
            asked: false,
            since: Instant::now(),
            unread: None,
            waited: Duration::ZERO,
            give_way: Arc::clone(&give_way),
        };
        open.connections.insert(number, connection);
        Some(Arc::new(ConnectionPermit { places: Arc::clone(self), number, own, give_way }))
    }

    /// Whether a client without authentication may send a request now.
    ///
    /// # Errors
    /// How long it must wait.
    pub(crate) fn pace(&self, client: IpAddr) -> Result<(), Duration> {
        let (mut paces, now) = (self.paces.lock(), Instant::now());
        if paces.len() >= CLIENTS_MAX && !paces.contains_key(&client_prefix(client)) {
            // A slow client gains little by being forgotten, and a fast one is not forgotten.
            paces.retain(|_, bucket| !bucket.is_half_full(now));
            if paces.len() >= CLIENTS_MAX {
                paces.clear();
            }
        }
        let taken =
            paces.entry(client_prefix(client)).or_insert_with(|| Bucket::new(PACE)).take(now);
        drop(paces);
        taken.inspect_err(|_| self.refused("request"))
    }

    fn refused(&self, reason: &str) {
        self.counters.http_refused_total.with_label_values(&[reason]).inc();
    }

    fn lock(&self) -> Guard<'_, Open> {
        self.open.lock()
    }
}

impl ConnectionPermit {
    /// Ends when the connection must be closed for another.
    pub(crate) async fn given_away(&self) {
        self.give_way.notified().await;
    }

    /// Whether a client without authentication may send a request now; see [`RequestLimits::pace`].
    pub(crate) fn pace(&self, client: IpAddr) -> Result<(), Duration> {
        self.places.pace(client)
    }

    /// A slot for a request of this connection; `None`: there is none, or the connection was just
    /// closed for another.
    pub(crate) fn begin(
        self: &Arc<Self>,
        kind: RequestClass,
        client: RequestClient,
    ) -> Option<RequestPermit> {
        // Behind an unknown proxy there may be any client.
        let (own, client) = (self.own && client.direct, client_prefix(client.address));
        let mut open = self.places.lock();
        let room = match kind {
            RequestClass::Health => true,
            RequestClass::Monitor => {
                let for_client = if own { MONITORS_MAX } else { MONITORS_PER_CLIENT_MAX };
                open.monitors.of(own) < MONITORS_MAX
                    && open.monitors.of_client(own, client) < for_client
            }
            RequestClass::Other => {
                let for_all = if own { REQUESTS_MAX + OWN_REQUESTS_MAX } else { REQUESTS_MAX };
                open.requests.all() < for_all
                    && open.requests.of_client(own, client) < REQUESTS_PER_CLIENT_MAX
            }
        };
        let connection = open.connections.get_mut(&self.number).filter(|_| room);
        let Some(connection) = connection else {
            drop(open);
            self.places.refused("request");
            return None;
        };
        (connection.busy, connection.asked) = (true, true);
        match kind {
            RequestClass::Health => {}
            RequestClass::Monitor => open.monitors.add(own, client),
            RequestClass::Other => open.requests.add(own, client),
        }
        Some(RequestPermit { place: Arc::clone(self), kind, own, client })
    }

    /// Changes the entry of this connection, if it was not closed.
    fn note(&self, change: impl FnOnce(&mut HttpConnection)) {
        if let Some(connection) = self.places.lock().connections.get_mut(&self.number) {
            change(connection);
        }
    }
}

impl Memory {
    fn new(octets: usize) -> Self {
        let all = u32::try_from(octets / 1024).unwrap_or(u32::MAX);
        Self { all, free: Arc::new(Semaphore::new(all as usize)) }
    }

    /// Memory for so many octets, or all of it if that is less: a larger answer is sent when no
    /// other one is unread.
    fn take(&self, octets: usize) -> Option<OwnedSemaphorePermit> {
        let kilobytes = u32::try_from(octets.div_ceil(1024)).unwrap_or(u32::MAX).min(self.all);
        Arc::clone(&self.free).try_acquire_many_owned(kilobytes).ok()
    }
}

impl RequestPermit {
    /// The client of the answer.
    pub(crate) fn reader(&self) -> ResponseReader {
        ResponseReader { place: Arc::clone(&self.place), kind: self.kind, memory: None }
    }
}

impl ResponseReader {
    /// Takes memory for an answer of so many octets; `false`: slow clients occupy all of it. Short
    /// answers, including health, need none.
    pub(crate) fn may_have(&mut self, octets: usize) -> bool {
        if self.kind == RequestClass::Health || octets <= SHORT {
            return true;
        }
        let places = &self.place.places;
        let own =
            (self.kind == RequestClass::Monitor).then(|| places.monitors.take(octets)).flatten();
        self.memory = own.or_else(|| places.answers.take(octets)).map(Arc::new);
        if self.memory.is_none() {
            places.refused("memory");
        }
        self.memory.is_some()
    }
}

impl Unread for ResponseReader {
    type Mark = PendingPiece;

    fn mark(&self) -> PendingPiece {
        self.place.note(|connection| connection.sends(Instant::now()));
        PendingPiece { place: Arc::clone(&self.place), _memory: self.memory.clone() }
    }
}

impl Drop for PendingPiece {
    fn drop(&mut self) {
        self.place.note(|connection| connection.sent(Instant::now()));
    }
}

impl Drop for RequestPermit {
    fn drop(&mut self) {
        let mut open = self.place.places.lock();
        if let Some(connection) = open.connections.get_mut(&self.place.number) {
            (connection.busy, connection.since) = (false, Instant::now());
        }
        match self.kind {
            RequestClass::Health => {}
            RequestClass::Monitor => open.monitors.remove(self.own, self.client),
            RequestClass::Other => open.requests.remove(self.own, self.client),
        }
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.places.lock().connections.remove(&self.number);
    }
}

#[cfg(test)]
mod tests;

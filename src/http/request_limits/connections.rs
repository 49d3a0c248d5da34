//! The connections to `ui_port`, and which of them is closed when another one needs its slot.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Connections at the same time, on all addresses of `ui_port` together.
pub const CONNECTIONS_MAX: usize = 128;

/// Of these from one address.
pub const CONNECTIONS_PER_ADDRESS_MAX: usize = CONNECTIONS_MAX / 4 * 3;

/// Slots reserved for connections from this machine itself and from clients that may relay: a flood
/// of connections must not make the health check or the operator's monitor fail.
pub const OWN_CONNECTIONS_MAX: usize = 8;

/// How long a new connection without a request is not closed for an untrusted client: its request,
/// and the TLS handshake before it, take a moment to arrive.
pub const MOMENT: Duration = Duration::from_secs(1);

/// How long in total a client may leave its answers unread before its connection is closed for
/// others, if there is no idle one.
pub const UNREAD_PATIENCE: Duration = Duration::from_secs(5);

/// The connections and requests of now.
#[derive(Default)]
pub(super) struct Open {
    pub(super) next: u64,
    pub(super) connections: HashMap<u64, HttpConnection>,
    /// Requests for metrics and status in progress.
    pub(super) monitors: UnderWay,
    /// All others in progress, except health.
    pub(super) requests: UnderWay,
}

/// Requests in progress of each client, untrusted (`false`) and trusted. A client behind a proxy on
/// a trusted machine counts as untrusted, with that machine's address.
#[derive(Default)]
pub(super) struct UnderWay(HashMap<(bool, IpAddr), usize>);

/// One connection.
pub(super) struct HttpConnection {
    pub(super) address: IpAddr,
    /// From this machine, or from a client that may relay.
    pub(super) own: bool,
    /// Whether a request is in progress; there is one at a time.
    pub(super) busy: bool,
    /// Whether there was any request.
    pub(super) asked: bool,
    /// When it last had something to do.
    pub(super) since: Instant,
    /// Pieces of answers that the kernel has not accepted yet, and since when there are any.
    pub(super) unread: Option<(usize, Instant)>,
    /// How long there were any before. It only grows, so reading an answer now and then does not
    /// help a slow client.
    pub(super) waited: Duration,
    pub(super) give_way: Arc<Notify>,
}

impl Open {
    /// Whether there is a slot for another connection of an address; closes another connection if
    /// that frees one.
    pub(super) fn has_room(&mut self, address: IpAddr, own: bool, now: Instant) -> bool {
        // An untrusted client may be in the same network as a trusted one; only its own connections
        // are closed for it.
        let of_it =
            |connection: &HttpConnection| connection.own == own && connection.address == address;
        let here = self.connections.values().filter(|connection| of_it(connection)).count();
        if here >= CONNECTIONS_PER_ADDRESS_MAX {
            let least = self.idle(of_it).or_else(|| self.unread(of_it, self.patience(of_it), now));
            return self.give_way(least);
        }
        if self.connections.len() < CONNECTIONS_MAX {
            return true;
        }
        let (strangers, ours) = (
            |connection: &HttpConnection| !connection.own,
            |connection: &HttpConnection| connection.own,
        );
        if !own {
            return self.give_way(self.least(strangers, here, now));
        }
        let stranger = self.least(strangers, here, now).or_else(|| self.idle(strangers));
        if self.give_way(stranger.or_else(|| self.unread(strangers, Duration::ZERO, now))) {
            return true;
        }
        self.connections.len() < CONNECTIONS_MAX + OWN_CONNECTIONS_MAX || {
            let least = self.least(ours, here, now).or_else(|| self.idle(ours));
            self.give_way(least)
        }
    }

    /// Closes a connection. `false`: there was none to close.
    pub(super) fn give_way(&mut self, least: Option<u64>) -> bool {
        let Some(gone) = least.and_then(|number| self.connections.remove(&number)) else {
            return false;
        };
        gone.give_way.notify_one();
        true
    }

    /// The connection among these that needs its slot least, for a new one of an address that has
    /// `here` already. `None`: all are busy, or in their first moment.
    pub(super) fn least(
        &self,
        of: impl Fn(&HttpConnection) -> bool + Copy,
        here: usize,
        now: Instant,
    ) -> Option<u64> {
        let patience = self.patience(of);
        let crowd_unread = if patience.is_zero() { self.unread(of, patience, now) } else { None };
        let silent = self.crowds(|connection| of(connection) && connection.is_idle());
        let ripe = |connection: &HttpConnection| {
            let crowd = silent.get(&connection.address).copied().unwrap_or_default();
            of(connection) && (!connection.has_a_moment(now) || (crowd > 1 && crowd > here))
        };
        crowd_unread.or_else(|| self.idle(ripe)).or_else(|| self.unread(of, patience, now))
    }

    /// How long such connections may leave their answers unread before they are closed for others.
    fn patience(&self, of: impl Fn(&HttpConnection) -> bool) -> Duration {
        let unread = self
            .connections
            .values()
            .filter(|connection| of(connection) && connection.unread.is_some())
            .count();
        // So many at a time are not slow clients but a flood that fills the table, and would do so
        // again within the time limit.
        if unread > CONNECTIONS_MAX / 2 { Duration::ZERO } else { UNREAD_PATIENCE }
    }

    /// Idle connections among these.
    fn idle(&self, of: impl Fn(&HttpConnection) -> bool) -> Option<u64> {
        let is_one = |connection: &HttpConnection| of(connection) && connection.is_idle();
        let crowds = self.crowds(is_one);
        let order = |connection: &HttpConnection| {
            let crowd = crowds.get(&connection.address).copied().unwrap_or_default();
            (connection.asked, std::cmp::Reverse(crowd), connection.since)
        };
        let idle = self.connections.iter().filter(|(_, connection)| is_one(connection));
        idle.min_by_key(|(_, connection)| order(connection)).map(|(number, _)| *number)
    }

    /// Connections among these whose clients do not read, whether or not more of the answer
    /// follows.
    fn unread(
        &self,
        of: impl Fn(&HttpConnection) -> bool,
        patience: Duration,
        now: Instant,
    ) -> Option<u64> {
        let crowds = self.crowds(|connection| of(connection) && connection.unread.is_some());
        let unread = self.connections.iter().filter(|(_, connection)| of(connection)).filter_map(
            |(number, connection)| {
                let waited = connection.waited(now).filter(|waited| *waited >= patience)?;
                Some((
                    crowds.get(&connection.address).copied().unwrap_or_default(),
                    waited,
                    *number,
                ))
            },
        );
        unread.max().map(|(.., number)| number)
    }

    /// How many such connections each address has.
    fn crowds(&self, is_one: impl Fn(&HttpConnection) -> bool) -> HashMap<IpAddr, usize> {
        let mut crowds = HashMap::new();
        for connection in self.connections.values().filter(|connection| is_one(connection)) {
            *crowds.entry(connection.address).or_default() += 1;
        }
        crowds
    }
}

impl HttpConnection {
    /// Whether no request is in progress, and no answer is unread.
    fn is_idle(&self) -> bool {
        !self.busy && self.unread.is_none()
    }

    /// Whether it is new, so that its first request may be arriving.
    fn has_a_moment(&self, now: Instant) -> bool {
        !self.asked && now.saturating_duration_since(self.since) < MOMENT
    }

    /// How long in total its client has left answers unread; `None`: nothing is unread now.
    pub(super) fn waited(&self, now: Instant) -> Option<Duration> {
        self.unread.map(|(_, since)| self.waited + now.saturating_duration_since(since))
    }

    /// Another piece waits for the kernel.
    pub(super) fn sends(&mut self, now: Instant) {
        let (pieces, since) = self.unread.unwrap_or((0, now));
        self.unread = Some((pieces + 1, since));
    }

    /// The kernel has accepted one of them.
    pub(super) fn sent(&mut self, now: Instant) {
        match self.unread {
            Some((pieces, since)) if pieces > 1 => self.unread = Some((pieces - 1, since)),
            _ => {
                self.waited = self.waited(now).unwrap_or(self.waited);
                (self.unread, self.since) = (None, now);
            }
        }
    }
}

impl UnderWay {
    pub(super) fn all(&self) -> usize {
        self.0.values().sum()
    }

    /// Of trusted clients, or of untrusted ones.
    pub(super) fn of(&self, own: bool) -> usize {
        self.0.iter().filter(|((theirs, _), _)| *theirs == own).map(|(_, number)| number).sum()
    }

    pub(super) fn of_client(&self, own: bool, client: IpAddr) -> usize {
        self.0.get(&(own, client)).copied().unwrap_or_default()
    }

    pub(super) fn add(&mut self, own: bool, client: IpAddr) {
        *self.0.entry((own, client)).or_default() += 1;
    }

    pub(super) fn remove(&mut self, own: bool, client: IpAddr) {
        if let Some(number) = self.0.get_mut(&(own, client)) {
            *number -= 1;
            if *number == 0 {
                self.0.remove(&(own, client));
            }
        }
    }
}

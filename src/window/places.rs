//! Room at `ui_port`: connections and requests, shared so that no stranger takes all of it.
//!
//! A connection that has no request under way gives way when another one needs its place: first those that have asked for
//! nothing yet, of the address that holds most of them, the oldest first. So half-open requests cost others nothing. Requests for
//! health and metrics have room that no other request takes.
//! Limits: [`CONNECTIONS_MAX`], three quarters of them for one address; [`REQUESTS_MAX`] requests under way, half of them for one client;
//! [`MONITORS_MAX`] for metrics beside those; answers that are not taken yet by [`ANSWERS_MAX`] (less where memory is scarce), with a
//! part that metrics alone may take; a client's anonymous requests at the pace of [`PACE`], of [`CLIENTS_MAX`] clients.
//! An IPv6 network of 64 bits counts as one address.

use super::brake::network;
use super::forwarded::Client;
use crate::appliance::counter::Counters;
use crate::ground::lock::{Guard, Level, Lock};
use crate::ground::pace::{Bucket, Rate};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// The most connections at once, on all addresses of `ui_port` together.
pub const CONNECTIONS_MAX: usize = 128;

/// Of these from one address.
pub const CONNECTIONS_PER_ADDRESS_MAX: usize = CONNECTIONS_MAX / 4 * 3;

/// Places beside those for connections from this machine itself and from clients that may relay: a crowd must not make the
/// appliance look ill to its own health check, nor to the monitor of its operator.
pub const OWN_CONNECTIONS_MAX: usize = 8;

/// The most requests under way, but for health and metrics.
pub const REQUESTS_MAX: usize = 64;

/// Of these for one client.
pub const REQUESTS_PER_CLIENT_MAX: usize = REQUESTS_MAX / 2;

/// The most requests for metrics and status under way; as many more from this machine itself and clients that may relay.
pub const MONITORS_MAX: usize = 8;

/// Octets of answers that clients have still to take, where memory is ample.
pub const ANSWERS_MAX: usize = 64 << 20;

/// Of these for metrics and status alone, in percent; they may have of the others, too.
const MONITORS_PERCENT: usize = 25;

/// Shorter answers are not counted: what they take is bounded by the number of requests.
const SHORT: usize = 4 << 10;

/// How often a client that nobody knows may ask.
pub const PACE: Rate = Rate { count: 1000, per: Duration::from_secs(10) };

/// Clients whose pace is remembered.
const CLIENTS_MAX: usize = 4096;

/// What a request is about, as far as room goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Whether the appliance is well: always.
    Health,
    /// Numbers for monitors.
    Monitor,
    /// All else.
    Other,
}

/// All places.
pub(super) struct Places {
    open: Lock<Open>,
    paces: Lock<HashMap<IpAddr, Bucket>>,
    /// Answers that clients have still to take.
    answers: Memory,
    /// The same of metrics and status alone.
    monitors: Memory,
    counters: Arc<Counters>,
}

/// Memory for answers.
struct Memory {
    /// Kilobytes in all.
    all: u32,
    free: Arc<Semaphore>,
}

#[derive(Default)]
struct Open {
    next: u64,
    connections: HashMap<u64, Connection>,
    /// Requests for metrics and status under way, of others and of our own.
    monitors: [usize; 2],
    /// Requests under way of each client.
    requests: HashMap<IpAddr, usize>,
}

struct Connection {
    address: IpAddr,
    /// Requests under way: none or one.
    busy: bool,
    /// Whether it has ever asked for something.
    asked: bool,
    /// When it last had something to do.
    since: Instant,
    give_way: Arc<Notify>,
}

/// A connection's place; dropping it gives it back.
pub(super) struct Place {
    places: Arc<Places>,
    number: u64,
    /// Of this machine, or a client that may relay.
    own: bool,
    give_way: Arc<Notify>,
}

/// A request's room; dropping it gives it back.
pub(super) struct Turn {
    place: Arc<Place>,
    kind: Kind,
    own: bool,
    client: IpAddr,
    /// Of [`Places::answers`], while the answer is on its way.
    _memory: Option<OwnedSemaphorePermit>,
}

impl Places {
    /// `answers` are octets.
    pub(super) fn new(counters: Arc<Counters>, answers: usize) -> Arc<Self> {
        let monitors = answers / 100 * MONITORS_PERCENT;
        let (answers, monitors) = (Memory::new(answers - monitors), Memory::new(monitors));
        let (open, paces) = (Lock::leaf(Open::default()), Lock::new(Level::Outer, HashMap::new()));
        Arc::new(Self { open, paces, answers, monitors, counters })
    }

    /// A place for a connection. `own`: it comes from this machine, or from a client that may relay. `None`: there is none, and nobody gives way.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr, own: bool) -> Option<Arc<Place>> {
        let address = network(address);
        let mut open = self.lock();
        let from_here = open.connections.values().filter(|connection| connection.address == address).count();
        let full = open.connections.len() >= CONNECTIONS_MAX;
        if from_here >= CONNECTIONS_PER_ADDRESS_MAX || full {
            let only = (from_here >= CONNECTIONS_PER_ADDRESS_MAX).then_some(address);
            let beside = own && open.connections.len() < CONNECTIONS_MAX + OWN_CONNECTIONS_MAX;
            if !open.make_room(only) && !beside {
                drop(open);
                self.refused("connection");
                return None;
            }
        }
        let (number, give_way) = (open.next, Arc::new(Notify::new()));
        open.next += 1;
        let connection =
            Connection { address, busy: false, asked: false, since: Instant::now(), give_way: Arc::clone(&give_way) };
        open.connections.insert(number, connection);
        Some(Arc::new(Place { places: Arc::clone(self), number, own, give_way }))
    }

    /// Whether a client that nobody knows may ask now.
    ///
    /// # Errors
    /// How long it must wait.
    pub(super) fn pace(&self, client: IpAddr) -> Result<(), Duration> {
        let mut paces = self.paces.lock();
        if paces.len() >= CLIENTS_MAX && !paces.contains_key(&network(client)) {
            // Whoever asks slowly loses nothing by this.
            paces.clear();
        }
        let taken = paces.entry(network(client)).or_insert_with(|| Bucket::new(PACE)).take(Instant::now());
        drop(paces);
        taken.inspect_err(|_| self.refused("request"))
    }

    fn refused(&self, reason: &str) {
        self.counters.window_refused_total.with_label_values(&[reason]).inc();
    }

    fn lock(&self) -> Guard<'_, Open> {
        self.open.lock()
    }
}

impl Open {
    /// Lets the connection go that needs its place least; of one address where it is given. `false`: all are busy.
    fn make_room(&mut self, only: Option<IpAddr>) -> bool {
        let mut idle: HashMap<IpAddr, usize> = HashMap::new();
        for connection in self.connections.values().filter(|connection| !connection.busy) {
            *idle.entry(connection.address).or_default() += 1;
        }
        let candidates = self
            .connections
            .iter()
            .filter(|(_, connection)| !connection.busy && only.is_none_or(|address| address == connection.address));
        let order = |connection: &Connection| {
            let crowd = idle.get(&connection.address).copied().unwrap_or_default();
            (connection.asked, std::cmp::Reverse(crowd), connection.since)
        };
        let least = candidates.min_by_key(|(_, connection)| order(connection)).map(|(number, _)| *number);
        let Some(gone) = least.and_then(|number| self.connections.remove(&number)) else { return false };
        gone.give_way.notify_one();
        true
    }
}

impl Place {
    /// Ends when the connection must give way.
    pub(super) async fn given_away(&self) {
        self.give_way.notified().await;
    }

    /// Whether a client that nobody knows may ask now; see [`Places::pace`].
    pub(super) fn pace(&self, client: IpAddr) -> Result<(), Duration> {
        self.places.pace(client)
    }

    /// Room for a request of this connection; `None`: there is none, or the connection has just given way.
    pub(super) fn begin(self: &Arc<Self>, kind: Kind, client: Client) -> Option<Turn> {
        // Through a proxy that nobody knows of there comes anybody as well.
        let (own, client) = (self.own && client.direct, network(client.address));
        let mut open = self.places.lock();
        let room = match kind {
            Kind::Health => true,
            Kind::Monitor => open.monitors[usize::from(own)] < MONITORS_MAX,
            Kind::Other => {
                let all: usize = open.requests.values().sum();
                let own = open.requests.get(&client).copied().unwrap_or_default();
                all < REQUESTS_MAX && own < REQUESTS_PER_CLIENT_MAX
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
            Kind::Health => {}
            Kind::Monitor => open.monitors[usize::from(own)] += 1,
            Kind::Other => *open.requests.entry(client).or_default() += 1,
        }
        Some(Turn { place: Arc::clone(self), kind, own, client, _memory: None })
    }
}

impl Memory {
    fn new(octets: usize) -> Self {
        let all = u32::try_from(octets / 1024).unwrap_or(u32::MAX);
        Self { all, free: Arc::new(Semaphore::new(all as usize)) }
    }

    /// Memory for so many octets, or all there is where that is less: an answer that is larger goes when no other one is on its way.
    fn take(&self, octets: usize) -> Option<OwnedSemaphorePermit> {
        let kilobytes = u32::try_from(octets.div_ceil(1024)).unwrap_or(u32::MAX).min(self.all);
        Arc::clone(&self.free).try_acquire_many_owned(kilobytes).ok()
    }
}

impl Turn {
    /// Memory for an answer of so many octets, until it is sent; `false`: slow readers have all of it. Short answers, those about
    /// health among them, need none.
    pub(super) fn may_answer(&mut self, octets: usize) -> bool {
        if self.kind == Kind::Health || octets <= SHORT {
            return true;
        }
        let places = &self.place.places;
        let own = (self.kind == Kind::Monitor).then(|| places.monitors.take(octets)).flatten();
        self._memory = own.or_else(|| places.answers.take(octets));
        if self._memory.is_none() {
            places.refused("memory");
        }
        self._memory.is_some()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut open = self.place.places.lock();
        if let Some(connection) = open.connections.get_mut(&self.place.number) {
            (connection.busy, connection.since) = (false, Instant::now());
        }
        match self.kind {
            Kind::Health => {}
            Kind::Monitor => open.monitors[usize::from(self.own)] -= 1,
            Kind::Other => {
                if let Some(number) = open.requests.get_mut(&self.client) {
                    *number -= 1;
                    if *number == 0 {
                        open.requests.remove(&self.client);
                    }
                }
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().connections.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> Arc<Places> {
        Places::new(Arc::new(Counters::new(&[]).unwrap()), 1 << 20)
    }

    fn address(number: usize) -> IpAddr {
        IpAddr::from(u32::try_from(number + (10 << 24)).unwrap().to_be_bytes())
    }

    fn client(number: usize) -> Client {
        Client { address: address(number), direct: true }
    }

    #[test]
    fn who_asks_for_nothing_gives_way_to_whoever_comes() {
        let places = places();
        let asked = places.enter(address(1), false).unwrap();
        drop(asked.begin(Kind::Other, client(1)).unwrap());
        let silent: Vec<_> = (0..300).map(|number| places.enter(address(2 + number % 3), false).unwrap()).collect();
        assert_eq!(places.lock().connections.len(), CONNECTIONS_MAX);
        assert!(asked.begin(Kind::Other, client(1)).is_some(), "it has asked before, and they have not");
        assert!(silent[0].begin(Kind::Health, client(2)).is_none(), "the oldest is gone");
        assert!(silent[299].begin(Kind::Health, client(2)).is_some());
        drop(silent);
        assert_eq!(places.lock().connections.len(), 1);
    }

    #[test]
    fn requests_of_one_client_leave_room_for_others_and_for_monitors() {
        let places = places();
        let enter = |number: usize| places.enter(address(number), false).unwrap();
        let many: Vec<_> = (0..REQUESTS_PER_CLIENT_MAX).filter_map(|_| enter(1).begin(Kind::Other, client(1))).collect();
        assert_eq!(many.len(), REQUESTS_PER_CLIENT_MAX);
        assert!(enter(1).begin(Kind::Other, client(1)).is_none());
        let others: Vec<_> =
            (0..40).filter_map(|number| enter(100 + number).begin(Kind::Other, client(100 + number))).collect();
        assert_eq!(many.len() + others.len(), REQUESTS_MAX);
        let monitors: Vec<_> = (0..20).filter_map(|_| enter(7).begin(Kind::Monitor, client(7))).collect();
        assert_eq!(monitors.len(), MONITORS_MAX);
        let near = places.enter(address(9), true).unwrap();
        let of_ours = near.begin(Kind::Monitor, client(9));
        assert!(of_ours.is_some(), "monitors of our own have places that strangers cannot take");
        drop(of_ours);
        let behind = near.begin(Kind::Monitor, Client { direct: false, ..client(9) });
        assert!(behind.is_none(), "whoever comes through a proxy is none of ours, wherever the proxy is");
        drop(near);
        assert!(enter(8).begin(Kind::Health, client(8)).is_some());
        drop((many, others, monitors));
        assert!(places.lock().requests.is_empty() && places.lock().monitors == [0, 0]);
        assert!(enter(1).begin(Kind::Other, client(1)).is_some());
    }

    #[test]
    fn slow_readers_cannot_take_all_memory() {
        let places = places();
        let enter = |number| places.enter(address(number), false).unwrap();
        let mut turns: Vec<_> = (0..4).filter_map(|_| enter(1).begin(Kind::Other, client(1))).collect();
        let taken: Vec<_> = turns.iter_mut().map(|turn| turn.may_answer(250 << 10)).collect();
        assert_eq!(taken, [true, true, true, false]);
        let mut other = enter(2).begin(Kind::Other, client(2)).unwrap();
        assert!(!other.may_answer(100 << 10) && other.may_answer(SHORT));
        let monitor = |kind, octets| enter(3).begin(kind, client(3)).unwrap().may_answer(octets);
        assert!(monitor(Kind::Health, 100) && monitor(Kind::Monitor, 200 << 10));
        drop(turns);
        assert!(enter(2).begin(Kind::Other, client(2)).unwrap().may_answer(700 << 10));
    }

    #[test]
    fn an_answer_larger_than_all_memory_goes_alone() {
        let places = places();
        let begin = |number| places.enter(address(number), false).unwrap().begin(Kind::Other, client(number)).unwrap();
        let (mut large, mut other) = (begin(1), begin(2));
        assert!(large.may_answer(5 << 20) && !other.may_answer(SHORT + 1));
        drop(large);
        assert!(other.may_answer(SHORT + 1));
    }

    #[test]
    fn a_client_that_nobody_knows_is_held_to_a_pace() {
        let places = places();
        let taken = (0..3000).filter(|_| places.pace(address(1)).is_ok()).count();
        assert!((1000..1500).contains(&taken), "{taken}");
        assert!(places.pace(address(2)).is_ok());
    }
}

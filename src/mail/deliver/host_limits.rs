//! The limit of connections to one host.
//!
//! Many names can lead to one host. Whatever the names of the destinations, one host gets no more
//! than its share of the delivery agents, and one that does not greet gets only a few, for which
//! its destinations wait in turn.
//!
//! A destination that waits for a host without a free connection is notified when one has ended
//! ([`HostLimits::next_vacancy`]). This is an invitation and no reservation: another may be
//! quicker, and then it waits again. Clients and senders are served in turn, and an idle connection
//! is closed when others wait ([`HostPermit::yields_slot`]).
//!
//! Limits: [`HOST_MAX`], [`HOST_UNPROVEN_MAX`]; [`REMEMBERED_MAX`] hosts are remembered;
//! [`WAITING_MAX`] wait for one host.

use crate::ground::fair_queue::{FairQueue, ShareMarks};
use crate::ground::lock::{Guard, Lock};
use crate::ground::net::client_prefix;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;

/// Connections to one host address, open or being opened. Of IPv6, to one network of 64 bits.
pub const HOST_MAX: u32 = 250;

/// Of these, connections that wait for their greeting, to a host that has never greeted or has
/// ended as many in a row without a greeting.
pub const HOST_UNPROVEN_MAX: u32 = 10;

/// Destinations in the queue of one host that are notified; others have to retry. When the queue is
/// full, the last one of the client with the most is removed for one of a client with fewer.
pub const WAITING_MAX: usize = 1_000;

/// Hosts without connections that are remembered as good.
const REMEMBERED_MAX: usize = 10_000;

/// All hosts with a connection, and some more.
pub(super) struct HostLimits {
    known: Lock<Known>,
    /// Notified when a destination can be invited.
    vacancy_notify: Notify,
}

impl Default for HostLimits {
    fn default() -> Self {
        Self { known: Lock::leaf(Known::default()), vacancy_notify: Notify::new() }
    }
}

#[derive(Default)]
struct Known {
    hosts: HashMap<IpAddr, Host>,
    /// A host that a destination waits for, once for each of its connections that has ended.
    free: VecDeque<IpAddr>,
}

struct Host {
    connections: u32,
    /// Of these, those that wait for their greeting.
    opening: u32,
    /// Connections in a row that ended without a greeting.
    silent: u32,
    /// The destinations that wait for a connection to end.
    waiting: FairQueue<u32>,
    /// Idle connections that are about to be closed, because others wait.
    leaving: u32,
}

impl Default for Host {
    fn default() -> Self {
        Self {
            connections: 0,
            opening: 0,
            silent: HOST_UNPROVEN_MAX,
            waiting: FairQueue::default(),
            leaving: 0,
        }
    }
}

impl Host {
    fn is_proven(&self) -> bool {
        self.silent < HOST_UNPROVEN_MAX
    }

    fn has_room(&self) -> bool {
        self.connections < HOST_MAX && (self.is_proven() || self.opening < HOST_UNPROVEN_MAX)
    }
}

/// A destination that may try again, because a connection to a host has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostVacancy {
    /// As given to [`super::SmtpClient::wait_for_room`].
    pub who: u32,
    host: IpAddr,
}

impl HostLimits {
    /// Whether [`HostLimits::enter`] would succeed at one of these addresses. If not, `who` is
    /// invited when it may.
    pub fn wait_for_room(&self, addresses: &[IpAddr], who: u32, marks: ShareMarks) -> bool {
        let mut known = self.lock();
        let hosts: BTreeSet<IpAddr> = addresses.iter().copied().map(client_prefix).collect();
        if hosts.iter().any(|host| known.hosts.get(host).is_none_or(Host::has_room)) {
            return true;
        }
        for host in hosts {
            if let Some(host) = known.hosts.get_mut(&host)
                && !host.waiting.contains(&who)
                && (host.waiting.len() < WAITING_MAX || host.waiting.displace(marks))
            {
                host.waiting.push(marks, who);
            }
        }
        false
    }

    /// Waits until [`HostLimits::next_vacancy`] may give something.
    pub async fn wait_for_vacancy(&self) {
        self.vacancy_notify.notified().await;
    }

    /// The next to be invited, until there is none.
    pub fn next_vacancy(&self) -> Option<HostVacancy> {
        let mut known = self.lock();
        while let Some(host) = known.free.pop_front() {
            if let Some(state) = known.hosts.get_mut(&host)
                && state.has_room()
                && let Some((_, who)) = state.waiting.pop(|_| true)
            {
                return Some(HostVacancy { who, host });
            }
        }
        None
    }

    /// An invited destination does not use the invitation: the next one in the queue gets it.
    pub fn pass_vacancy_on(&self, invitation: HostVacancy) {
        self.lock().free.push_back(invitation.host);
    }

    /// A slot for one connection; `None` when the host has no free one.
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Arc<HostPermit>> {
        let address = client_prefix(address);
        let mut known = self.lock();
        if known.hosts.len() >= REMEMBERED_MAX && !known.hosts.contains_key(&address) {
            known.hosts.retain(|_, host| host.connections > 0);
        }
        let host = known.hosts.entry(address).or_default();
        if !host.has_room() {
            return None;
        }
        host.connections += 1;
        host.opening += 1;
        Some(Arc::new(HostPermit {
            hosts: self.clone(),
            address,
            opening: AtomicBool::new(true),
            leaving: AtomicBool::new(false),
        }))
    }

    fn lock(&self) -> Guard<'_, Known> {
        self.known.lock()
    }
}

/// A connection's slot; it is free when the last reference is dropped.
pub(super) struct HostPermit {
    hosts: Arc<HostLimits>,
    address: IpAddr,
    /// It waits for a greeting. Changed under the lock of the hosts.
    opening: AtomicBool,
    /// It is about to be closed. Changed under the lock of the hosts.
    leaving: AtomicBool,
}

impl HostPermit {
    /// A connection is opened in this slot, which is not its first.
    pub fn opens(&self) {
        let mut known = self.hosts.lock();
        if let Some(host) = known.hosts.get_mut(&self.address)
            && !self.opening.swap(true, Ordering::Relaxed)
        {
            host.opening += 1;
        }
    }

    /// Whether its idle connection should be closed: more wait for the host than there are free
    /// connections.
    pub fn yields_slot(&self) -> bool {
        let mut known = self.hosts.lock();
        let Some(host) = known.hosts.get_mut(&self.address) else { return false };
        let wanted = host.connections as usize + host.waiting.len()
            > HOST_MAX as usize + host.leaving as usize;
        if wanted && !self.leaving.swap(true, Ordering::Relaxed) {
            host.leaving += 1;
        }
        wanted
    }

    /// Its connection is not closed after all.
    pub fn keeps_slot(&self) {
        let mut known = self.hosts.lock();
        if self.leaving.swap(false, Ordering::Relaxed)
            && let Some(host) = known.hosts.get_mut(&self.address)
        {
            host.leaving = host.leaving.saturating_sub(1);
        }
    }

    /// The host greeted, or did not and will not.
    pub fn greeted(&self, greeted: bool) {
        let mut known = self.hosts.lock();
        let Known { hosts, free } = &mut *known;
        let Some(host) = hosts.get_mut(&self.address) else { return };
        if self.opening.swap(false, Ordering::Relaxed) {
            host.opening = host.opening.saturating_sub(1);
        }
        host.silent = if greeted { 0 } else { host.silent.saturating_add(1) };
        if greeted && !host.waiting.is_empty() {
            let room = host.waiting.len().min(HOST_MAX.saturating_sub(host.connections) as usize);
            free.extend(std::iter::repeat_n(self.address, room));
            self.hosts.vacancy_notify.notify_one();
        }
    }
}

impl Drop for HostPermit {
    fn drop(&mut self) {
        let mut known = self.hosts.lock();
        let Known { hosts, free } = &mut *known;
        let Some(host) = hosts.get_mut(&self.address) else { return };
        host.connections = host.connections.saturating_sub(1);
        if self.leaving.swap(false, Ordering::Relaxed) {
            host.leaving = host.leaving.saturating_sub(1);
        }
        // The one that waited for the greeting has given up.
        if self.opening.swap(false, Ordering::Relaxed) {
            host.opening = host.opening.saturating_sub(1);
            host.silent = host.silent.saturating_add(1);
        }
        if !host.waiting.is_empty() {
            free.push_back(self.address);
            self.hosts.vacancy_notify.notify_one();
        } else if host.connections == 0 && !host.is_proven() {
            hosts.remove(&self.address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u16) -> IpAddr {
        IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, n])
    }

    fn enter(hosts: &Arc<HostLimits>, most: u16) -> Vec<Arc<HostPermit>> {
        (0..most).filter_map(|n| hosts.enter(address(n))).collect()
    }

    fn room_at(hosts: &HostLimits, addresses: &[IpAddr]) -> bool {
        let known = hosts.lock();
        addresses
            .iter()
            .any(|address| known.hosts.get(&client_prefix(*address)).is_none_or(Host::has_room))
    }

    fn has_room(hosts: &HostLimits) -> bool {
        room_at(hosts, &[address(200)])
    }

    #[test]
    fn a_silent_host_gets_few_connections_whatever_its_addresses_and_a_greeting_one_more() {
        let hosts = Arc::<HostLimits>::default();
        let places = enter(&hosts, 100);
        assert_eq!(places.len(), HOST_UNPROVEN_MAX as usize);
        assert!(!has_room(&hosts) && room_at(&hosts, &[address(1), [192, 0, 2, 1].into()]));
        places[0].greeted(true);
        let more = enter(&hosts, 1000);
        assert_eq!(more.len(), (HOST_MAX - HOST_UNPROVEN_MAX) as usize);
        drop((more, places));
        assert!(hosts.lock().hosts.is_empty(), "none of the others had a greeting");
    }

    #[test]
    fn a_host_that_greets_no_more_has_few_openings_whether_they_fail_or_are_dropped() {
        for fails in [true, false] {
            let hosts = Arc::<HostLimits>::default();
            let first = hosts.enter(address(0)).unwrap();
            first.greeted(true);
            for _ in 0..HOST_UNPROVEN_MAX {
                assert!(
                    hosts.lock().hosts[&client_prefix(address(0))].is_proven(),
                    "one opening says nothing about the others"
                );
                let place = hosts.enter(address(1)).unwrap();
                if fails {
                    place.greeted(false);
                }
            }
            let opening = enter(&hosts, 300);
            assert_eq!(
                opening.len(),
                HOST_UNPROVEN_MAX as usize,
                "the connection that is open does not count"
            );
            opening[3].greeted(true);
            assert!(has_room(&hosts));
        }
    }

    #[test]
    fn a_place_that_is_used_again_counts_once() {
        let hosts = Arc::<HostLimits>::default();
        let place = hosts.enter(address(0)).unwrap();
        place.greeted(true);
        let others = enter(&hosts, 1000);
        assert_eq!(others.len(), HOST_MAX as usize - 1);
        let again = place.clone();
        again.opens();
        drop(place);
        assert!(!has_room(&hosts));
        again.greeted(true);
        drop(again);
        assert!(has_room(&hosts));
    }

    #[test]
    fn who_waits_is_invited_once_for_each_connection_that_ends() {
        let hosts = Arc::<HostLimits>::default();
        let mut places = enter(&hosts, 10);
        let wait = |who| hosts.wait_for_room(&[address(7), address(8)], who, (0, 0));
        assert!((1..=3).all(|who| !wait(who)) && !wait(1));
        assert_eq!(hosts.next_vacancy(), None);
        places.pop();
        let first = hosts.next_vacancy().unwrap();
        assert_eq!((first.who, hosts.next_vacancy()), (1, None));
        // It declines, so that the next one may.
        hosts.pass_vacancy_on(first);
        assert_eq!(hosts.next_vacancy().unwrap().who, 2);
        // Another was quicker: there is no invitation in vain.
        places.pop();
        places.extend(enter(&hosts, 10));
        assert_eq!(hosts.next_vacancy(), None);
        // A greeting raises the limit for all.
        assert!(!wait(4));
        places[0].greeted(true);
        assert_eq!(
            [hosts.next_vacancy(), hosts.next_vacancy(), hosts.next_vacancy()]
                .map(|one| one.map(|one| one.who)),
            [Some(3), Some(4), None]
        );
        assert!(wait(5));
    }

    /// Waits for the host on behalf of a client.
    fn wait(hosts: &HostLimits, who: u32, client: u8) {
        assert!(!hosts.wait_for_room(&[address(7)], who, (client, 0)));
    }

    /// Ends a connection; gives the one that is invited.
    fn next(hosts: &HostLimits, places: &mut Vec<Arc<HostPermit>>) -> Option<u32> {
        places.pop();
        hosts.next_vacancy().map(|one| one.who)
    }

    #[test]
    fn a_client_with_thousands_of_destinations_keeps_no_other_from_its_invitation() {
        let hosts = Arc::<HostLimits>::default();
        let mut places = enter(&hosts, 10);
        let many = 5 * u32::try_from(WAITING_MAX).unwrap();
        (0..many).for_each(|who| wait(&hosts, who, 1));
        wait(&hosts, many, 2);
        let waiting =
            |hosts: &HostLimits| hosts.lock().hosts[&client_prefix(address(0))].waiting.len();
        assert_eq!(waiting(&hosts), WAITING_MAX, "no more than before");
        let invited = [next(&hosts, &mut places), next(&hosts, &mut places)];
        assert!(invited.contains(&Some(many)) && invited.contains(&Some(0)), "{invited:?}");
        // A client that has its share takes nothing from others.
        places.extend(enter(&hosts, 10));
        (0..9).for_each(|who| wait(&hosts, many + 1 + who, 1));
        assert_eq!(waiting(&hosts), WAITING_MAX);
        assert_eq!(next(&hosts, &mut places), Some(1));
    }

    #[test]
    fn connections_without_work_give_way_as_many_as_are_wanted() {
        let hosts = Arc::<HostLimits>::default();
        hosts.enter(address(0)).unwrap().greeted(true);
        let mut places: Vec<_> = (0..HOST_MAX).map(|_| hosts.enter(address(0)).unwrap()).collect();
        places.iter().for_each(|place| place.greeted(true));
        assert!(!places[0].yields_slot(), "nobody waits");
        (0..3).for_each(|who| wait(&hosts, who, 1));
        let going =
            |places: &[Arc<HostPermit>]| places.iter().filter(|place| place.yields_slot()).count();
        assert_eq!(going(&places[..100]), 3);
        // One has work after all, and another is closed instead.
        places[0].keeps_slot();
        assert_eq!(going(&places[100..]), 1);
        let (_gone, _goes) = (places.remove(1), places.remove(1));
        drop((_gone, _goes));
        assert_eq!(
            [hosts.next_vacancy(), hosts.next_vacancy(), hosts.next_vacancy()]
                .map(|one| one.map(|one| one.who)),
            [Some(0), Some(1), None]
        );
        assert_eq!(going(&places[..50]), 0, "the one that goes is enough for the one that waits");
    }
}

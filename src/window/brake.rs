//! Slows down whoever guesses passwords.
//!
//! After [`FREE`] wrong ones from an address the next must wait a second, then two, four, and so on up to [`PAUSE_MAX`]; a right
//! one ends it. Right logins from other addresses never wait.
//! Limits: [`KNOWN_MAX`] addresses are remembered, an IPv6 network of 64 bits as one; the one that is quiet longest makes room.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Wrong passwords that cost nothing: people mistype.
const FREE: u32 = 5;

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Without a wrong password for so long all is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(3600);

/// Addresses that are remembered.
const KNOWN_MAX: usize = 4096;

/// Who was wrong lately.
#[derive(Default)]
pub(super) struct Brake {
    known: Mutex<HashMap<IpAddr, Wrong>>,
}

#[derive(Clone, Copy)]
struct Wrong {
    times: u32,
    last: Instant,
}

impl Brake {
    /// How long an address must wait before its next password is looked at.
    pub(super) fn pause(&self, client: IpAddr, now: Instant) -> Option<Duration> {
        let wrong = *self.lock().get(&network(client))?;
        (wrong.last + pause_after(wrong.times)).checked_duration_since(now).filter(|left| !left.is_zero())
    }

    /// A wrong password came from an address.
    pub(super) fn wrong(&self, client: IpAddr, now: Instant) {
        let mut known = self.lock();
        if known.len() >= KNOWN_MAX && !known.contains_key(&network(client)) {
            let quietest = known.iter().min_by_key(|(_, wrong)| wrong.last).map(|(address, _)| *address);
            quietest.map(|address| known.remove(&address));
        }
        let wrong = known.entry(network(client)).or_insert(Wrong { times: 0, last: now });
        if now.saturating_duration_since(wrong.last) > FORGOTTEN {
            wrong.times = 0;
        }
        *wrong = Wrong { times: wrong.times.saturating_add(1), last: now };
    }

    /// A right one came.
    pub(super) fn right(&self, client: IpAddr) {
        let mut known = self.lock();
        // The usual case takes no look into the table.
        if !known.is_empty() {
            known.remove(&network(client));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<IpAddr, Wrong>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pause_after(times: u32) -> Duration {
    match times.checked_sub(FREE) {
        None => Duration::ZERO,
        Some(doublings) => Duration::from_secs(1 << doublings.min(6)).min(PAUSE_MAX),
    }
}

/// Who has one IPv6 address has 2^64 of them.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guessing_becomes_slow_and_a_right_one_ends_it() {
        let (brake, mut now) = (Brake::default(), Instant::now());
        let client: IpAddr = "192.0.2.7".parse().unwrap();
        for _ in 0..FREE - 1 {
            brake.wrong(client, now);
            assert_eq!(brake.pause(client, now), None);
        }
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            brake.wrong(client, now);
            assert_eq!(brake.pause(client, now), Some(Duration::from_secs(seconds)));
            now += Duration::from_secs(seconds);
            assert_eq!(brake.pause(client, now), None);
        }
        assert_eq!(brake.pause("192.0.2.8".parse().unwrap(), now), None, "others do not wait");
        brake.right(client);
        brake.wrong(client, now);
        assert_eq!(brake.pause(client, now), None);
    }

    #[test]
    fn a_network_of_addresses_is_one_guesser_and_the_table_has_an_end() {
        let (brake, now) = (Brake::default(), Instant::now());
        for n in 0..10u16 {
            brake.wrong(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, n)), now);
        }
        assert!(brake.pause("2001:db8:0:1::ffff".parse().unwrap(), now).is_some());
        assert!(brake.pause("2001:db8:0:2::1".parse().unwrap(), now).is_none());
        for n in 0..2 * u32::try_from(KNOWN_MAX).unwrap() {
            brake.wrong(IpAddr::from(n.to_be_bytes()), now);
        }
        assert_eq!(brake.lock().len(), KNOWN_MAX);
    }
}

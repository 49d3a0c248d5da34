//! The login throttle: slows down password guessing.
//!
//! After [`FREE`] attempts for an account from an address the next must wait a second, then two,
//! four, and so on up to [`PAUSE_MAX`]. An attempt counts before it is checked, so that many in
//! parallel are not all checked; a correct one resets the count. Recently correct logins do not
//! count (`Verifier::known`), and other accounts and other addresses never wait. Limits:
//! [`KNOWN_MAX`] pairs are remembered, an IPv6 /64 prefix as one address and all unknown names as
//! one account; the pair without an attempt for the longest is removed first.

use crate::ground::lock::{Guard, Lock};
use crate::ground::net::client_prefix;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Attempts without a pause: people mistype.
const FREE: u32 = 5;

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// After so long without an attempt the pair is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(3600);

/// Pairs of account and address that are remembered, at most.
const KNOWN_MAX: usize = 4096;

/// Recent attempts.
#[derive(Default)]
pub(crate) struct LoginThrottle {
    known: Lock<HashMap<Pair, Tries>>,
}

/// An account (empty = one that does not exist) and the client's address.
type Pair = (String, IpAddr);

#[derive(Clone, Copy)]
struct Tries {
    times: u32,
    last: Instant,
}

impl LoginThrottle {
    /// An attempt begins, and counts as wrong until [`LoginThrottle::right`] is called.
    ///
    /// # Errors
    /// How long this address must wait; then the attempt does not count.
    pub(crate) fn begin(
        &self,
        account: &str,
        client: IpAddr,
        now: Instant,
    ) -> Result<(), Duration> {
        let pair = (account.to_owned(), client_prefix(client));
        let mut known = self.lock();
        let tries = known
            .get(&pair)
            .copied()
            .filter(|tries| now.saturating_duration_since(tries.last) <= FORGOTTEN);
        let tries = tries.unwrap_or(Tries { times: 0, last: now });
        let pause = (tries.last + pause_after(tries.times)).saturating_duration_since(now);
        if !pause.is_zero() {
            return Err(pause);
        }
        if known.len() >= KNOWN_MAX && !known.contains_key(&pair) {
            let quietest =
                known.iter().min_by_key(|(_, tries)| tries.last).map(|(pair, _)| pair.clone());
            quietest.map(|quietest| known.remove(&quietest));
        }
        known.insert(pair, Tries { times: tries.times.saturating_add(1), last: now });
        Ok(())
    }

    /// The attempt was correct.
    pub(crate) fn right(&self, account: &str, client: IpAddr) {
        self.lock().remove(&(account.to_owned(), client_prefix(client)));
    }

    /// The attempt was not checked after all.
    pub(crate) fn taken_back(&self, account: &str, client: IpAddr) {
        if let Some(tries) = self.lock().get_mut(&(account.to_owned(), client_prefix(client))) {
            tries.times = tries.times.saturating_sub(1);
        }
    }

    fn lock(&self) -> Guard<'_, HashMap<Pair, Tries>> {
        self.known.lock()
    }
}

fn pause_after(times: u32) -> Duration {
    match times.checked_sub(FREE) {
        None => Duration::ZERO,
        Some(doublings) => Duration::from_secs(1 << doublings.min(6)).min(PAUSE_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv6Addr;

    #[test]
    fn guessing_becomes_slow_and_a_right_one_ends_it() {
        let (throttle, mut now) = (LoginThrottle::default(), Instant::now());
        let client: IpAddr = "192.0.2.7".parse().unwrap();
        for _ in 0..FREE {
            assert_eq!(throttle.begin("anna", client, now), Ok(()));
        }
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(
                throttle.begin("anna", client, now),
                Err(Duration::from_secs(seconds)),
                "before it is looked at"
            );
            assert_eq!(
                throttle.begin("anna", client, now),
                Err(Duration::from_secs(seconds)),
                "what waits does not count"
            );
            now += Duration::from_secs(seconds);
            assert_eq!(throttle.begin("anna", client, now), Ok(()));
        }
        assert_eq!(
            throttle.begin("anna", "192.0.2.8".parse().unwrap(), now),
            Ok(()),
            "others do not wait"
        );
        assert_eq!(throttle.begin("ben", client, now), Ok(()), "nor do other accounts");
        throttle.right("anna", client);
        assert_eq!(throttle.begin("anna", client, now), Ok(()));
        assert_eq!(throttle.begin("anna", client, now + FORGOTTEN * 2), Ok(()));
    }

    #[test]
    fn a_network_of_addresses_is_one_guesser_and_the_table_has_an_end() {
        let (throttle, now) = (LoginThrottle::default(), Instant::now());
        for n in 0..10u16 {
            let _ =
                throttle.begin("", IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, n)), now);
        }
        assert!(throttle.begin("", "2001:db8:0:1::ffff".parse().unwrap(), now).is_err());
        assert!(throttle.begin("", "2001:db8:0:2::1".parse().unwrap(), now).is_ok());
        for n in 0..2 * u32::try_from(KNOWN_MAX).unwrap() {
            let _ = throttle.begin("", IpAddr::from(n.to_be_bytes()), now);
        }
        assert_eq!(throttle.lock().len(), KNOWN_MAX);
    }
}

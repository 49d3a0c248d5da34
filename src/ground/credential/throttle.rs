//! The login throttle: slows down password guessing.
//!
//! After [`FREE`] attempts for an account from an address the next must wait a second, then two,
//! four, and so on up to [`PAUSE_MAX`]. An attempt counts before it is checked, so that many in
//! parallel are not all checked; a correct one resets the count. Other accounts and other addresses
//! never wait, nor do recently correct passwords (`Verifier::known`). Where mechanisms show no
//! password ([`LoginThrottle::by_pairs`]), an account that logged in from an address in the last
//! day is known there and does not wait; that ends with [`GOOD_FREE`] wrong attempts in a row,
//! until the next correct one. Limits: [`PAIRS_MAX`] pairs of account and address are remembered,
//! an IPv6 /64 prefix as one address. Where there are more, those go first whose loss helps nobody
//! who guesses: pairs without a pause and without a login, and of those the one without an attempt
//! for the longest. Security: names are kept as keyed digests, whether they exist or not.

use super::verifier::fresh_key;
use crate::ground::lock::Lock;
use crate::ground::net::client_prefix;
use aws_lc_rs::hmac;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Attempts without a pause: people mistype.
const FREE: u32 = 5;

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Wrong attempts in a row of a pair that has logged in, before it is slowed down like any other:
/// more than the sessions that one client has at a time.
const GOOD_FREE: u32 = 100;

/// After so long without an attempt the pair is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(3600);

/// After so long without a correct login a pair is no longer known.
const GOOD: Duration = Duration::from_secs(86_400);

/// Pairs of account and address that are remembered, at most.
const PAIRS_MAX: usize = 4096;

/// Recent attempts.
pub(crate) struct LoginThrottle {
    /// Wrong attempts in a row of a pair that has logged in, before it waits.
    good_free: u32,
    /// Makes digests of names.
    key: hmac::Key,
    pairs: Lock<HashMap<Pair, Tries>>,
}

/// The digest of an account's name, and the client's address.
type Pair = ([u8; 16], IpAddr);

#[derive(Clone, Copy)]
struct Tries {
    /// Attempts since the last correct one.
    times: u32,
    /// When the last one began.
    last: Instant,
    /// The last correct one.
    right: Option<Instant>,
}

impl Default for LoginThrottle {
    fn default() -> Self {
        Self { good_free: 0, key: fresh_key(), pairs: Lock::default() }
    }
}

impl LoginThrottle {
    /// One by which an account does not wait where it logged in lately.
    pub(crate) fn by_pairs() -> Self {
        Self { good_free: GOOD_FREE, ..Self::default() }
    }

    /// An attempt begins, and counts as wrong until [`LoginThrottle::right`] is called. `account`
    /// is empty where all unknown names count together.
    ///
    /// # Errors
    /// How long this address must wait; then the attempt does not count.
    pub(crate) fn begin(
        &self,
        account: &str,
        client: IpAddr,
        now: Instant,
    ) -> Result<(), Duration> {
        let pair = self.pair(account, client);
        let mut pairs = self.pairs.lock();
        let good = |tries: &Tries| tries.is_good(self.good_free, now);
        let is_remembered = |tries: &Tries| good(tries) || !tries.is_forgotten(now);
        let tries = pairs.get(&pair).copied().filter(is_remembered);
        let tries = tries.unwrap_or(Tries { times: 0, last: now, right: None });
        let pause = if good(&tries) { Duration::ZERO } else { pause_after(tries.times) };
        let pause = (tries.last + pause).saturating_duration_since(now);
        if !pause.is_zero() {
            return Err(pause);
        }
        let times = tries.times.saturating_add(1);
        self.put(&mut pairs, pair, Tries { times, last: now, ..tries }, now);
        Ok(())
    }

    /// The attempt was correct.
    pub(crate) fn right(&self, account: &str, client: IpAddr, now: Instant) {
        let pair = self.pair(account, client);
        let tries = Tries { times: 0, last: now, right: Some(now) };
        self.put(&mut self.pairs.lock(), pair, tries, now);
    }

    /// The attempt was not checked after all.
    pub(crate) fn taken_back(&self, account: &str, client: IpAddr) {
        if let Some(tries) = self.pairs.lock().get_mut(&self.pair(account, client)) {
            tries.times = tries.times.saturating_sub(1);
        }
    }

    /// Whether the account has logged in from this address in the last day, and no more than
    /// [`GOOD_FREE`] wrong attempts have come since.
    pub(crate) fn is_known(&self, account: &str, client: IpAddr, now: Instant) -> bool {
        let pair = self.pair(account, client);
        self.pairs.lock().get(&pair).is_some_and(|tries| tries.is_good(self.good_free, now))
    }

    fn put(&self, pairs: &mut HashMap<Pair, Tries>, pair: Pair, tries: Tries, now: Instant) {
        if pairs.len() >= PAIRS_MAX && !pairs.contains_key(&pair) {
            let is_worth =
                |tries: &Tries| tries.is_good(self.good_free, now) || tries.times >= FREE;
            let worth = |tries: &Tries| (is_worth(tries), tries.last);
            let least = pairs.iter().min_by_key(|(_, tries)| worth(tries)).map(|(pair, _)| *pair);
            least.map(|least| pairs.remove(&least));
        }
        pairs.insert(pair, tries);
    }

    fn pair(&self, account: &str, client: IpAddr) -> Pair {
        let tag = hmac::sign(&self.key, account.as_bytes());
        let mut digest = [0; 16];
        digest.iter_mut().zip(tag.as_ref()).for_each(|(octet, of_tag)| *octet = *of_tag);
        (digest, client_prefix(client))
    }
}

impl Tries {
    /// Whether it has logged in lately, and fewer than `free` wrong attempts have come since.
    fn is_good(&self, free: u32, now: Instant) -> bool {
        let is_recent = |right: Instant| now.saturating_duration_since(right) < GOOD;
        self.times < free && self.right.is_some_and(is_recent)
    }

    fn is_forgotten(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) > FORGOTTEN
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
        throttle.right("anna", client, now);
        assert_eq!(throttle.begin("anna", client, now), Ok(()));
    }

    #[test]
    fn guesses_are_forgotten_after_an_hour() {
        let (throttle, now) = (LoginThrottle::default(), Instant::now());
        let client: IpAddr = "192.0.2.7".parse().unwrap();
        while throttle.begin("anna", client, now).is_ok() {}
        assert_eq!(throttle.begin("anna", client, now + FORGOTTEN * 2), Ok(()));
        assert_eq!(throttle.begin("anna", client, now + FORGOTTEN * 2), Ok(()));
    }

    /// Whoever shares its address, and however many sessions it opens at once.
    #[test]
    fn who_logged_in_from_here_does_not_wait_while_others_guess() {
        let (throttle, now) = (LoginThrottle::by_pairs(), Instant::now());
        let client: IpAddr = "192.0.2.7".parse().unwrap();
        assert_eq!(throttle.begin("anna", client, now), Ok(()));
        throttle.right("anna", client, now);
        while throttle.begin("ben", client, now).is_ok() {}
        let later = now + FORGOTTEN * 20;
        assert!(throttle.is_known("anna", client, later));
        for _ in 0..GOOD_FREE {
            assert_eq!(throttle.begin("anna", client, later), Ok(()));
        }
        assert!(throttle.begin("anna", client, later).is_err(), "these were no sessions of hers");
        throttle.right("anna", client, later);
        assert_eq!(throttle.begin("anna", client, later), Ok(()));
        let elsewhere = "192.0.2.8".parse().unwrap();
        assert!(!throttle.is_known("anna", elsewhere, later), "from there she never came");
        assert!(!throttle.is_known("anna", client, later + GOOD));
    }

    /// Or whoever guesses would only have to try enough names.
    #[test]
    fn a_full_table_forgets_neither_pauses_nor_logins_first() {
        let (throttle, now) = (LoginThrottle::by_pairs(), Instant::now());
        let client: IpAddr = "192.0.2.7".parse().unwrap();
        while throttle.begin("anna", client, now).is_ok() {}
        assert_eq!(throttle.begin("carla", client, now), Ok(()));
        throttle.right("carla", client, now);
        for n in 0..2 * PAIRS_MAX {
            let _ = throttle.begin(&n.to_string(), client, now + Duration::from_millis(1));
        }
        assert!(throttle.begin("anna", client, now + Duration::from_millis(2)).is_err());
        assert!(throttle.is_known("carla", client, now));
        assert_eq!(throttle.pairs.lock().len(), PAIRS_MAX);
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
        for n in 0..2 * u32::try_from(PAIRS_MAX).unwrap() {
            let _ = throttle.begin("", IpAddr::from(n.to_be_bytes()), now);
        }
        assert_eq!(throttle.pairs.lock().len(), PAIRS_MAX);
    }
}

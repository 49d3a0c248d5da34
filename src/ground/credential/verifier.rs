//! Compares passwords with hashes, one at a time in the whole process.
//!
//! Purpose: clients that guess passwords must not use more memory and processor time than one hash
//! does. SMTP and HTTP have a queue each and take turns, so that the clients of one cannot keep
//! those of the other out. Limits: [`WAITING_MAX`] comparisons wait in a queue, of untrusted
//! clients [`STRANGERS_WAITING_MAX`]; a correct login needs no hash for [`REMEMBERED`] and is not
//! taken for a guess for [`RECOGNISED`]; [`KNOWN_MAX`] such logins are remembered. Security: only a
//! keyed digest (HMAC, RFC 2104) is remembered, under a key that ends with the process; no password
//! is kept.

use super::password::{Password, same};
use super::sasl::ScramKeys;
use crate::ground::lock::Lock;
use crate::ground::worker::Worker;
use aws_lc_rs::{digest, hmac, rand};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// Comparisons of trusted clients that wait, at most; the next one gets an error and must be
/// repeated.
pub const WAITING_MAX: usize = 16;

/// The same for untrusted clients. One of them at a time waits among the trusted ones, so that they
/// cannot delay these.
pub const STRANGERS_WAITING_MAX: usize = 12;

/// How long a correct login needs no hash.
pub const REMEMBERED: Duration = Duration::from_secs(300);

/// How long a correct login is not taken for a guess, so that it need not wait while others guess.
pub const RECOGNISED: Duration = Duration::from_secs(86_400);

/// Correct logins that are remembered, at most; the oldest is removed first.
pub const KNOWN_MAX: usize = 1024;

/// Octets of a password that is hashed, at most.
pub const PASSWORD_MAX: usize = 1024;

/// What is known about a login without a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CachedLogin {
    /// It was correct recently.
    Right,
    /// It was correct in the last day; it must be compared again, and does not count as a guess.
    Earlier,
    /// Nothing.
    No,
}

/// The result of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PasswordCheck {
    /// It fits.
    Right,
    /// It is not correct.
    Wrong,
    /// Too many comparisons wait already.
    Busy,
}

/// Where a client logs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginService {
    /// At a port for mail.
    Smtp,
    /// At the pages and the API.
    Http,
}

/// The class of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginClass {
    /// A client that may relay by its address, or a login that was correct in the last day.
    Own,
    /// Any other client.
    Stranger,
}

/// Compares passwords, and remembers correct ones.
pub struct Verifier {
    /// Of each queue one waits here, and they come in turn.
    turn: Arc<Semaphore>,
    smtp: LoginQueue,
    http: LoginQueue,
    key: hmac::Key,
    known: Lock<HashMap<[u8; digest::SHA256_OUTPUT_LEN], Instant>>,
    /// A login must not wait for threads that wait for a disk.
    worker: Worker,
}

/// The comparisons of one service that wait.
struct LoginQueue {
    /// The next one.
    next: Semaphore,
    /// One waiting untrusted client waits among the trusted ones; the others wait behind it.
    stranger: Semaphore,
    strangers_waiting: AtomicUsize,
    waiting: AtomicUsize,
}

impl Default for LoginQueue {
    fn default() -> Self {
        Self {
            next: Semaphore::new(1),
            stranger: Semaphore::new(1),
            strangers_waiting: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
        }
    }
}

impl Default for Verifier {
    fn default() -> Self {
        Self {
            turn: Arc::new(Semaphore::new(1)),
            smtp: LoginQueue::default(),
            http: LoginQueue::default(),
            key: fresh_key(),
            known: Lock::default(),
            worker: Worker::new("passwords"),
        }
    }
}

impl Verifier {
    /// Whether this secret of this account was correct recently.
    pub fn known(&self, account: &str, secret: &[u8], now: Instant) -> CachedLogin {
        let known = self.known.lock();
        match known
            .get(&self.digest(account, secret))
            .map(|since| now.saturating_duration_since(*since))
        {
            Some(age) if age < REMEMBERED => CachedLogin::Right,
            Some(age) if age < RECOGNISED => CachedLogin::Earlier,
            Some(_) | None => CachedLogin::No,
        }
    }

    /// Compares a secret with its account's; `None`: there is no such account, which takes as long
    /// as `stand_in`.
    pub async fn compare(
        &self,
        account: Option<(&str, &Password)>,
        stand_in: Option<&Password>,
        secret: &[u8],
        whose: (LoginService, LoginClass),
    ) -> PasswordCheck {
        let Some(password) = account.map(|(_, password)| password).or(stand_in) else {
            return PasswordCheck::Wrong;
        };
        let fits = if !password.is_hash() {
            password.fits(secret)
        } else if secret.len() > PASSWORD_MAX {
            false
        } else {
            let (password, secret) = (password.clone(), secret.to_vec());
            match self.in_turn(whose, move || password.fits(&secret)).await {
                Some(fits) => fits.unwrap_or(false),
                None => return PasswordCheck::Busy,
            }
        };
        match account {
            Some((name, _)) if fits => {
                self.remember(name, secret);
                PasswordCheck::Right
            }
            _ => PasswordCheck::Wrong,
        }
    }

    /// Makes keys of SCRAM, which takes as long as a hash with so many iterations. `None`: too many
    /// comparisons wait.
    pub async fn derive(
        &self,
        whose: (LoginService, LoginClass),
        make: impl FnOnce() -> ScramKeys + Send + 'static,
    ) -> Option<ScramKeys> {
        self.in_turn(whose, make).await.flatten()
    }

    /// Does work on the thread for passwords. `None`: too many wait; inside: the thread is gone.
    async fn in_turn<T: Send + 'static>(
        &self,
        (service, class): (LoginService, LoginClass),
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<Option<T>> {
        let queue = match service {
            LoginService::Smtp => &self.smtp,
            LoginService::Http => &self.http,
        };
        let mut among_strangers = None;
        if class == LoginClass::Stranger {
            let place = Waiting::join(&queue.strangers_waiting, STRANGERS_WAITING_MAX)?;
            among_strangers = Some((place, queue.stranger.acquire().await.ok()?));
        }
        let waiting = Waiting::join(&queue.waiting, WAITING_MAX)?;
        let next = queue.next.acquire().await.ok()?;
        let turn = self.turn.clone().acquire_owned().await.ok()?;
        drop((waiting, among_strangers, next));
        // The turn ends with the hash, also when the caller has disconnected.
        let done = self.worker.run(move || {
            let _turn = turn;
            work()
        });
        Some(done.await)
    }

    fn remember(&self, account: &str, secret: &[u8]) {
        let digest = self.digest(account, secret);
        let mut known = self.known.lock();
        if known.len() >= KNOWN_MAX && !known.contains_key(&digest) {
            let oldest = known.iter().min_by_key(|(_, since)| **since).map(|(digest, _)| *digest);
            oldest.map(|oldest| known.remove(&oldest));
        }
        known.insert(digest, Instant::now());
    }

    fn digest(&self, account: &str, secret: &[u8]) -> [u8; digest::SHA256_OUTPUT_LEN] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&(account.len() as u64).to_be_bytes());
        context.update(account.as_bytes());
        context.update(secret);
        let mut octets = [0; digest::SHA256_OUTPUT_LEN];
        octets.copy_from_slice(context.sign().as_ref());
        octets
    }
}

/// A place among the waiting comparisons, returned when this is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn join(waiting: &'a AtomicUsize, most: usize) -> Option<Self> {
        let more = |number| (number < most).then_some(number + 1);
        waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok().map(|_| Self(waiting))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A key that ends with the process.
pub fn fresh_key() -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, &fresh_octets())
}

/// Random octets for a key.
pub fn fresh_octets() -> [u8; digest::SHA256_OUTPUT_LEN] {
    let mut octets = [0; digest::SHA256_OUTPUT_LEN];
    if rand::fill(&mut octets).is_err() {
        // The kernel has no random numbers, which should never happen: a weak key is better than
        // none.
        octets.iter_mut().for_each(|octet| *octet = fastrand::u8(..));
    }
    octets
}

/// Whether a name is the wanted one; the time depends only on the given one.
pub fn same_name(given: &str, wanted: &str) -> bool {
    same(given.as_bytes(), wanted.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    const OWN: (LoginService, LoginClass) = (LoginService::Smtp, LoginClass::Own);
    const STRANGER: (LoginService, LoginClass) = (LoginService::Smtp, LoginClass::Stranger);

    #[tokio::test]
    async fn a_right_login_costs_its_hash_once() {
        let (verifier, password) =
            (Verifier::default(), Password::of(&bcrypt::hash("s3cret", 8).unwrap()));
        let account = Some(("anna", &password));
        assert_eq!(verifier.known("anna", b"s3cret", Instant::now()), CachedLogin::No);
        assert_eq!(verifier.compare(account, None, b"s3cret", OWN).await, PasswordCheck::Right);
        assert_eq!(verifier.compare(account, None, b"s3cre", OWN).await, PasswordCheck::Wrong);
        assert_eq!(
            verifier.compare(None, Some(&password), b"s3cret", OWN).await,
            PasswordCheck::Wrong,
            "nobody's password"
        );
        let now = Instant::now();
        let known = |account, secret: &[u8], later| verifier.known(account, secret, now + later);
        assert_eq!(known("anna", b"s3cret", Duration::ZERO), CachedLogin::Right);
        assert_eq!(known("anna", b"s3cret", REMEMBERED), CachedLogin::Earlier);
        assert_eq!(known("anna", b"s3cret", RECOGNISED), CachedLogin::No);
        for (account, secret) in [("anna", &b"s3cre"[..]), ("ann", b"as3cret"), ("", b"annas3cret")]
        {
            assert_eq!(known(account, secret, Duration::ZERO), CachedLogin::No);
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn hashes_are_computed_one_after_the_other_and_few_wait() {
        let verifier = Arc::new(Verifier::default());
        let password = Password::of(&bcrypt::hash("s3cret", 9).unwrap());
        let guesses: Vec<_> = (0..60)
            .map(|n: u32| {
                let (verifier, password) = (verifier.clone(), password.clone());
                tokio::spawn(async move {
                    verifier.compare(Some(("a", &password)), None, &n.to_be_bytes(), STRANGER).await
                })
            })
            .collect();
        let mut busy = 0;
        for guess in guesses {
            busy += usize::from(guess.await.unwrap() == PasswordCheck::Busy);
        }
        assert!(
            (60 - STRANGERS_WAITING_MAX - 3..60).contains(&busy),
            "{busy} were told to come again"
        );
    }

    /// An operator's first login of the day, while SMTP has a full queue.
    #[tokio::test(flavor = "multi_thread")]
    async fn guesses_by_smtp_keep_nobody_waiting_at_the_pages() {
        let verifier = Arc::new(Verifier::default());
        let done = Arc::new(AtomicUsize::new(0));
        let hash = bcrypt::hash("s3cret", 8).unwrap();
        let guesses: Vec<_> = (0..WAITING_MAX + STRANGERS_WAITING_MAX)
            .map(|n| {
                let (verifier, done) = (verifier.clone(), done.clone());
                let whose = if n < WAITING_MAX { OWN } else { STRANGER };
                let password = Password::of(&hash);
                tokio::spawn(async move {
                    let account = Some(("a", &password));
                    verifier.compare(account, None, &n.to_be_bytes(), whose).await;
                    done.fetch_add(1, Ordering::Relaxed);
                })
            })
            .collect();
        while verifier.smtp.waiting.load(Ordering::Relaxed) < WAITING_MAX / 2 {
            tokio::task::yield_now().await;
        }
        let before = done.load(Ordering::Relaxed);
        let password = Password::of(&hash);
        let whose = (LoginService::Http, LoginClass::Stranger);
        let checked = verifier.compare(Some(("o", &password)), None, b"s3cret", whose).await;
        assert_eq!(checked, PasswordCheck::Right);
        let ahead = done.load(Ordering::Relaxed) - before;
        // The one that was being computed, the one that was next, and what ended just then.
        assert!(ahead <= 4, "{ahead} of SMTP came first");
        for guess in guesses {
            guess.await.unwrap();
        }
    }
}

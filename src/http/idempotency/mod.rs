//! Idempotency keys of submitted mails, so that a program that did not get the answer may repeat
//! the request.
//!
//! A key is durable before the answer is given ([`key_file`]). After a crash between the mail's
//! sync and its key's, the key is unknown: the mail may be duplicated, but not lost. Limits:
//! [`KEYS_MAX`] keys for [`KEPT`]. Source: The Idempotency-Key HTTP Header Field (IETF draft).

mod entry;
mod key_file;

use crate::ground::clock;
use crate::ground::disk::Disk;
use crate::ground::lock::Lock;
use crate::mail::model::MessageId;
pub(crate) use entry::Fingerprint;
use entry::{IdempotencyEntry, KEYS_MAX};
use key_file::KeyFile;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// How long a key is remembered, in seconds.
const KEPT: u32 = 86_400;

/// The known keys.
pub struct IdempotencyKeys {
    state: Arc<Lock<State>>,
    key_file: Arc<Lock<Option<KeyFile>>>,
}

#[derive(Default)]
struct State {
    /// By the hash of the key. `None`: in progress.
    known: HashMap<Fingerprint, Option<(Fingerprint, MessageId)>>,
    /// The oldest first, with the second since 1970.
    order: VecDeque<(u32, Fingerprint)>,
}

/// The state of a key.
pub(crate) enum KeyState {
    /// Unknown. The claim decides its further state; if it is dropped before, the key is free
    /// again.
    New(KeyClaim),
    /// A mail is being submitted with it now.
    UnderWay,
    /// A mail was submitted with it.
    Known(Fingerprint, MessageId),
}

/// The exclusive use of a key.
pub(crate) struct KeyClaim {
    state: Arc<Lock<State>>,
    key_file: Arc<Lock<Option<KeyFile>>>,
    key: Fingerprint,
}

impl IdempotencyKeys {
    /// With the keys stored on the volume; without a volume, keys are only in memory.
    pub fn open(disk: Option<&dyn Disk>) -> Self {
        let (key_file, kept) = disk.and_then(KeyFile::open).unzip();
        let mut state = State::default();
        kept.into_iter().flatten().for_each(|kept| state.note(kept));
        state.forget(clock::age);
        Self { state: Arc::new(Lock::leaf(state)), key_file: Arc::new(Lock::leaf(key_file)) }
    }

    /// Claims a key.
    pub(crate) fn begin(&self, key: &str) -> KeyState {
        let mut state = self.state.lock();
        state.forget(clock::age);
        let key = Fingerprint::of_text(key);
        match state.known.get(&key) {
            Some(Some((print, id))) => return KeyState::Known(*print, *id),
            Some(None) => return KeyState::UnderWay,
            None => {}
        }
        state.known.insert(key, None);
        KeyState::New(KeyClaim {
            state: Arc::clone(&self.state),
            key_file: Arc::clone(&self.key_file),
            key,
        })
    }
}

impl KeyClaim {
    /// The mail is in the queue; returns when the key is durable, if the volume can be written.
    pub(crate) async fn done(self, print: Fingerprint, id: MessageId) {
        let kept = IdempotencyEntry { since: clock::now(), key: self.key, print, id };
        self.state.lock().note(kept);
        let key_file = Arc::clone(&self.key_file);
        // A mail that is in the queue is answered 201, even if its key cannot be stored.
        let _ = tokio::task::spawn_blocking(move || {
            key_file.lock().as_mut().map(|key_file| key_file.write(&kept))
        })
        .await;
    }
}

impl Drop for KeyClaim {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        if state.known.get(&self.key).is_some_and(Option::is_none) {
            state.known.remove(&self.key);
        }
    }
}

impl State {
    fn note(&mut self, kept: IdempotencyEntry) {
        self.known.insert(kept.key, Some((kept.print, kept.id)));
        self.order.push_back((kept.since, kept.key));
    }

    /// Forgets old keys, by the age of a second since 1970.
    fn forget(&mut self, age: impl Fn(u32) -> u32) {
        let is_old = |state: &Self| {
            let oldest = state.order.front().is_some_and(|(since, _)| age(*since) > KEPT);
            oldest || state.order.len() > KEYS_MAX
        };
        while is_old(self) {
            if let Some((_, key)) = self.order.pop_front() {
                self.known.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::digest;

    fn print(text: &[u8]) -> Fingerprint {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(text);
        Fingerprint::of(&context)
    }

    #[tokio::test]
    async fn a_key_stands_for_one_mail() {
        let idempotency_keys = IdempotencyKeys::open(None);
        let KeyState::New(claim) = idempotency_keys.begin("a") else {
            panic!("a new key is known")
        };
        assert!(matches!(idempotency_keys.begin("a"), KeyState::UnderWay));
        drop(claim);
        let KeyState::New(claim) = idempotency_keys.begin("a") else {
            panic!("a mail that was refused keeps its key")
        };
        claim.done(print(b"x"), MessageId(7)).await;
        match idempotency_keys.begin("a") {
            KeyState::Known(known, id) => assert_eq!((known, id), (print(b"x"), MessageId(7))),
            _ => panic!("the key is forgotten"),
        }
        assert_ne!(print(b"x"), print(b"y"));
        assert_ne!(print(b"x").with("a"), print(b"x").with("b"));
    }

    #[tokio::test]
    async fn the_oldest_keys_are_forgotten() {
        let idempotency_keys = IdempotencyKeys::open(None);
        for key in 0..KEYS_MAX + 10 {
            let KeyState::New(claim) = idempotency_keys.begin(&key.to_string()) else {
                panic!("{key} is known")
            };
            claim.done(print(b""), MessageId(1)).await;
        }
        assert!(matches!(idempotency_keys.begin("0"), KeyState::New(_)));
        assert!(matches!(idempotency_keys.begin(&KEYS_MAX.to_string()), KeyState::Known(..)));
        assert!(idempotency_keys.state.lock().known.len() <= KEYS_MAX + 2);
        idempotency_keys.state.lock().forget(|since| clock::age(since) + KEPT + 1);
        assert!(matches!(idempotency_keys.begin(&KEYS_MAX.to_string()), KeyState::New(_)));
    }
}

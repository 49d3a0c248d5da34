//! Mails that programs handed in under a key, so that whoever did not hear the answer may ask again.
//!
//! Limits: [`KEYS_MAX`] keys for [`KEPT`], in memory: after a restart a key is new again.
//! Source: The Idempotency-Key HTTP Header Field (IETF draft).

use crate::mail::model::MessageId;
use aws_lc_rs::digest;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Keys that are known at once; the oldest is forgotten first.
const KEYS_MAX: usize = 10_000;

/// How long a key is known.
const KEPT: Duration = Duration::from_secs(86_400);

/// What a content, or a whole request, is known by: its SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Print([u8; digest::SHA256_OUTPUT_LEN]);

impl Print {
    /// Of a content that has been read.
    pub(super) fn of(context: &digest::Context) -> Self {
        Self::from(context.clone().finish())
    }

    /// Together with what else must be the same.
    pub(super) fn with(&self, text: &str) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&self.0);
        context.update(text.as_bytes());
        Self::from(context.finish())
    }

    fn from(digest: digest::Digest) -> Self {
        let mut octets = [0; digest::SHA256_OUTPUT_LEN];
        octets.copy_from_slice(digest.as_ref());
        Self(octets)
    }
}

/// The keys that are known.
#[derive(Default)]
pub(super) struct Repeats(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// `None`: under way.
    known: HashMap<String, Option<(Print, MessageId)>>,
    /// The oldest first.
    order: VecDeque<(Instant, String)>,
}

/// What a key is.
pub(super) enum Begun {
    /// Not known. The ticket says what becomes of it; when it is dropped before, the key is free again.
    New(Ticket),
    /// A mail comes in with it just now.
    UnderWay,
    /// A mail has come in with it.
    Known(Print, MessageId),
}

/// The right to use a key.
pub(super) struct Ticket {
    state: Arc<Mutex<State>>,
    key: String,
}

impl Repeats {
    /// Takes a key.
    pub(super) fn begin(&self, key: &str) -> Begun {
        let mut state = lock(&self.0);
        state.forget(Instant::now());
        match state.known.get(key) {
            Some(Some((print, id))) => return Begun::Known(*print, *id),
            Some(None) => return Begun::UnderWay,
            None => {}
        }
        state.known.insert(key.to_owned(), None);
        Begun::New(Ticket { state: Arc::clone(&self.0), key: key.to_owned() })
    }
}

impl Ticket {
    /// The mail is in the queue.
    pub(super) fn done(self, print: Print, id: MessageId) {
        let mut state = lock(&self.state);
        state.known.insert(self.key.clone(), Some((print, id)));
        state.order.push_back((Instant::now(), self.key.clone()));
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        if state.known.get(&self.key).is_some_and(Option::is_none) {
            state.known.remove(&self.key);
        }
    }
}

impl State {
    fn forget(&mut self, now: Instant) {
        let is_old = |state: &Self| {
            let oldest = state.order.front().is_some_and(|(since, _)| now.saturating_duration_since(*since) > KEPT);
            oldest || state.order.len() > KEYS_MAX
        };
        while is_old(self) {
            if let Some((_, key)) = self.order.pop_front() {
                self.known.remove(&key);
            }
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(text: &[u8]) -> Print {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(text);
        Print::of(&context)
    }

    #[test]
    fn a_key_stands_for_one_mail() {
        let repeats = Repeats::default();
        let Begun::New(ticket) = repeats.begin("a") else { panic!("a new key is known") };
        assert!(matches!(repeats.begin("a"), Begun::UnderWay));
        drop(ticket);
        let Begun::New(ticket) = repeats.begin("a") else { panic!("a mail that was refused keeps its key") };
        ticket.done(print(b"x"), MessageId(7));
        match repeats.begin("a") {
            Begun::Known(known, id) => assert_eq!((known, id), (print(b"x"), MessageId(7))),
            _ => panic!("the key is forgotten"),
        }
        assert_ne!(print(b"x"), print(b"y"));
        assert_ne!(print(b"x").with("a"), print(b"x").with("b"));
    }

    #[test]
    fn the_oldest_keys_are_forgotten() {
        let repeats = Repeats::default();
        for key in 0..KEYS_MAX + 10 {
            let Begun::New(ticket) = repeats.begin(&key.to_string()) else { panic!("{key} is known") };
            ticket.done(print(b""), MessageId(1));
        }
        assert!(matches!(repeats.begin("0"), Begun::New(_)));
        assert!(matches!(repeats.begin(&KEYS_MAX.to_string()), Begun::Known(..)));
        assert!(lock(&repeats.0).known.len() <= KEYS_MAX + 2);
        lock(&repeats.0).forget(Instant::now() + KEPT + Duration::from_secs(1));
        assert!(matches!(repeats.begin(&KEYS_MAX.to_string()), Begun::New(_)));
    }
}

//! From many hands into one: sessions and couriers hand in, the committer takes all there is and
//! answers.
//!
//! In: one thing at a time, from any thread, without waiting for the disk. Out: everything handed
//! in since the last time, in that order.
//! Promises, checked in `tests/model` over all orders in which threads can meet: whatever is handed
//! in is taken, though nobody hands in anything after it; after the close the taker gets what was
//! handed in before, then the end; whoever asks hears the taker's answer, or that the queue is
//! closing.
//! Limits: none here; see the room's page.

use super::store::SpoolError;
use crate::ground::lock::{Guard, Lock};
use crate::ground::sync::Condvar;
use std::future::Future;
use std::time::Duration;
use tokio::sync::oneshot;

/// Where the answer to one thing goes.
pub type Reply = oneshot::Sender<Result<(), SpoolError>>;

/// What waits for the taker.
pub struct CommitQueue<T> {
    pending: Lock<Pending<T>>,
    bell: Condvar,
}

struct Pending<T> {
    things: Vec<T>,
    closed: bool,
}

impl<T> CommitQueue<T> {
    /// Open, and empty.
    pub fn new() -> Self {
        Self {
            pending: Lock::leaf(Pending { things: Vec::new(), closed: false }),
            bell: Condvar::new(),
        }
    }

    /// Hands something in. After the close it is dropped, and with it its [`Reply`]: whoever waits
    /// for that hears of it.
    pub fn submit(&self, thing: T) {
        let mut pending = self.lock();
        if pending.closed {
            return;
        }
        let first = pending.things.is_empty();
        pending.things.push(thing);
        drop(pending);
        // The taker sleeps only while there is nothing; whoever comes second need not ring again.
        if first {
            self.bell.notify_one();
        }
    }

    /// Hands something in and waits for the answer.
    pub async fn ask(&self, thing: impl FnOnce(Reply) -> T) -> Result<(), SpoolError> {
        let (reply, answer) = oneshot::channel();
        self.submit(thing(reply));
        answer.await.unwrap_or_else(|_| Err(SpoolError::Failed("the queue is closing".to_owned())))
    }

    /// The same, but not for longer than until `give_up`; then `None`, and the taker's answer finds
    /// nobody. So both sides know in the end whether it was heard.
    pub async fn ask_until(
        &self,
        thing: impl FnOnce(Reply) -> T,
        give_up: impl Future<Output = ()>,
    ) -> Option<Result<(), SpoolError>> {
        let (reply, mut answer) = oneshot::channel();
        self.submit(thing(reply));
        let closing = || Err(SpoolError::Failed("the queue is closing".to_owned()));
        tokio::select! {
            biased;
            heard = &mut answer => return Some(heard.unwrap_or_else(|_| closing())),
            () = give_up => {}
        }
        // From here on nothing can be answered; what was answered before counts.
        answer.close();
        answer.try_recv().ok()
    }

    /// Everything handed in, waiting for it as long as `patience` says; empty when nothing came,
    /// `None` at the end.
    pub fn take(&self, patience: impl FnOnce() -> Duration) -> Option<Vec<T>> {
        let mut pending = self.lock();
        if pending.things.is_empty() && !pending.closed {
            pending = pending.wait(&self.bell, patience());
        }
        if pending.things.is_empty() && pending.closed {
            return None;
        }
        Some(std::mem::take(&mut pending.things))
    }

    /// Nothing more is taken in; what was handed in before is still given out.
    pub fn close(&self) {
        self.lock().closed = true;
        self.bell.notify_one();
    }

    /// The taker is gone: nothing more is taken in, and whoever waits for an answer hears so.
    pub fn abandon(&self) {
        let mut pending = self.lock();
        pending.closed = true;
        let things = std::mem::take(&mut pending.things);
        drop(pending);
        drop(things);
    }

    /// How much waits.
    pub fn len(&self) -> usize {
        self.lock().things.len()
    }

    fn lock(&self) -> Guard<'_, Pending<T>> {
        self.pending.lock()
    }
}

/// Gives the answer. `false`: whoever waited for it has given up.
pub fn answer(reply: Option<Reply>, result: Result<(), SpoolError>) -> bool {
    reply.is_none_or(|reply| reply.send(result).is_ok())
}

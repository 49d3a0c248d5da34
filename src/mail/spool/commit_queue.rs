//! The commit queue: many sessions and delivery agents submit operations; one thread, the
//! committer, takes all of them and sends the results.
//!
//! In: one operation at a time, from any thread, without waiting for the disk. Out: all operations
//! submitted since the last time, in their order. Promises, checked in `tests/model` over all
//! orders of threads: every submitted operation is taken, even if none follows it; after the close
//! the taker gets what was submitted before, then the end; a waiting caller gets the taker's
//! result, or the error that the queue is closing. Limits: none here; see the module page of
//! `spool`.

use super::spool_trait::SpoolError;
use crate::ground::lock::{Guard, Lock};
use crate::ground::sync::Condvar;
use std::future::Future;
use std::time::Duration;
use tokio::sync::oneshot;

/// Where the result of an operation is sent.
pub type CommitSender = oneshot::Sender<Result<(), SpoolError>>;

/// The operations that wait for the taker.
pub struct CommitQueue<T> {
    pending: Lock<Pending<T>>,
    work_notify: Condvar,
}

struct Pending<T> {
    things: Vec<T>,
    closed: bool,
}

impl<T> CommitQueue<T> {
    /// An open and empty queue.
    pub fn new() -> Self {
        Self {
            pending: Lock::leaf(Pending { things: Vec::new(), closed: false }),
            work_notify: Condvar::new(),
        }
    }

    /// Submits an operation. After the close it is dropped together with its [`CommitSender`],
    /// which the waiting caller sees.
    pub fn submit(&self, thing: T) {
        let mut pending = self.lock();
        if pending.closed {
            return;
        }
        let first = pending.things.is_empty();
        pending.things.push(thing);
        drop(pending);
        // The taker sleeps only while the queue is empty, so only the first operation must wake it.
        if first {
            self.work_notify.notify_one();
        }
    }

    /// Submits an operation and waits for its result.
    pub async fn ask(&self, thing: impl FnOnce(CommitSender) -> T) -> Result<(), SpoolError> {
        let (reply, answer) = oneshot::channel();
        self.submit(thing(reply));
        answer.await.unwrap_or_else(|_| Err(SpoolError::Failed("the queue is closing".to_owned())))
    }

    /// The same, but no longer than until `give_up`; then `None`, and the taker cannot deliver its
    /// result. So both sides know in the end whether the result was received.
    pub async fn ask_until(
        &self,
        thing: impl FnOnce(CommitSender) -> T,
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
        // From here on no result can be sent; one that was sent before counts.
        answer.close();
        answer.try_recv().ok()
    }

    /// All submitted operations; waits for them as long as `patience` gives. Empty when none came,
    /// `None` at the end.
    pub fn take(&self, patience: impl FnOnce() -> Duration) -> Option<Vec<T>> {
        let mut pending = self.lock();
        if pending.things.is_empty() && !pending.closed {
            pending = pending.wait(&self.work_notify, patience());
        }
        if pending.things.is_empty() && pending.closed {
            return None;
        }
        Some(std::mem::take(&mut pending.things))
    }

    /// Accepts no more operations; those submitted before are still given out.
    pub fn close(&self) {
        self.lock().closed = true;
        self.work_notify.notify_one();
    }

    /// The taker is gone: no more operations are accepted, and every waiting caller gets an error.
    pub fn abandon(&self) {
        let mut pending = self.lock();
        pending.closed = true;
        let things = std::mem::take(&mut pending.things);
        drop(pending);
        drop(things);
    }

    /// How many operations wait.
    pub fn len(&self) -> usize {
        self.lock().things.len()
    }

    fn lock(&self) -> Guard<'_, Pending<T>> {
        self.pending.lock()
    }
}

/// Sends the result. `false`: the caller does not wait any more.
pub fn answer(reply: Option<CommitSender>, result: Result<(), SpoolError>) -> bool {
    reply.is_none_or(|reply| reply.send(result).is_ok())
}

//! The commit queue alone: every order with at most [`PREEMPTIONS`] interruptions of a thread that
//! could have continued.

use crate::sync::{block_on, thread};
use std::sync::Arc;
use std::time::Duration;

#[path = "../../src/mail/spool/commit_queue.rs"]
#[allow(dead_code, unreachable_pub, reason = "the models use a part of it")]
mod queue;

/// The module of this name for the queue's source.
mod spool_trait {
    pub use crate::mail::spool::SpoolError;
}

use queue::{CommitQueue, CommitSender, answer};

const PREEMPTIONS: usize = 2;

const FOR_EVER: Duration = Duration::MAX;

fn check(story: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(PREEMPTIONS);
    model.check(story);
}

/// Takes until the end and answers everything; the first so many waits time out at once.
fn serve(queue: &CommitQueue<(u32, Option<CommitSender>)>, mut hasty: u32) -> Vec<u32> {
    let mut taken = Vec::new();
    let patience = |hasty: &mut u32| match *hasty {
        0 => FOR_EVER,
        _ => {
            *hasty -= 1;
            Duration::ZERO
        }
    };
    while let Some(things) = queue.take(|| patience(&mut hasty)) {
        for (number, reply) in things {
            taken.push(number);
            answer(reply, Ok(()));
        }
    }
    queue.abandon();
    taken
}

#[test]
fn whoever_asks_is_answered() {
    check(|| {
        let queue = Arc::new(CommitQueue::new());
        let askers = [1, 2].map(|number| {
            let queue = queue.clone();
            thread::spawn(move || block_on(queue.ask(|reply| (number, Some(reply)))))
        });
        let inside = queue.clone();
        let taker = thread::spawn(move || serve(&inside, 0));
        for principal in askers {
            assert_eq!(principal.join().unwrap(), Ok(()));
        }
        queue.close();
        let mut taken = taker.join().unwrap();
        taken.sort_unstable();
        assert_eq!(taken, [1, 2]);
    });
}

#[test]
fn a_wait_that_times_out_misses_nothing() {
    for hasty in 1..3 {
        check(move || {
            let queue = Arc::new(CommitQueue::new());
            let inside = queue.clone();
            let taker = thread::spawn(move || serve(&inside, hasty));
            let inside = queue.clone();
            let principal = thread::spawn(move || block_on(inside.ask(|reply| (1, Some(reply)))));
            assert_eq!(principal.join().unwrap(), Ok(()));
            queue.close();
            assert_eq!(taker.join().unwrap(), [1]);
        });
    }
}

#[test]
fn who_gives_up_and_the_taker_agree_on_what_was_heard() {
    check(|| {
        let queue = Arc::new(CommitQueue::new());
        let inside = queue.clone();
        let taker = thread::spawn(move || {
            let mut heard = Vec::new();
            while let Some(things) = inside.take(|| FOR_EVER) {
                heard.extend(things.into_iter().map(|(_, reply)| answer(reply, Ok(()))));
            }
            heard
        });
        let inside = queue.clone();
        let ask = async move { inside.ask_until(|reply| (1, Some(reply)), async {}).await };
        let principal = thread::spawn(move || block_on(ask));
        let heard = principal.join().unwrap();
        assert!(matches!(heard, None | Some(Ok(()))), "{heard:?}");
        queue.close();
        assert_eq!(taker.join().unwrap(), [heard.is_some()]);
    });
}

#[test]
fn what_was_handed_in_before_the_close_is_given_out_in_order() {
    check(|| {
        let queue = Arc::new(CommitQueue::new());
        let inside = queue.clone();
        let taker = thread::spawn(move || serve(&inside, 0));
        queue.submit((1, None));
        queue.submit((2, None));
        queue.submit((3, None));
        queue.close();
        assert_eq!(taker.join().unwrap(), [1, 2, 3]);
    });
}

#[test]
fn whoever_asks_during_the_close_hears_of_it() {
    check(|| {
        let queue = Arc::new(CommitQueue::new());
        let inside = queue.clone();
        let taker = thread::spawn(move || serve(&inside, 0));
        let inside = queue.clone();
        let principal = thread::spawn(move || block_on(inside.ask(|reply| (1, Some(reply)))));
        queue.close();
        let answered = principal.join().unwrap().is_ok();
        let taken = taker.join().unwrap();
        assert_eq!(taken.contains(&1), answered);
    });
}

#[test]
fn nobody_waits_for_a_taker_that_is_gone() {
    check(|| {
        let queue = Arc::new(CommitQueue::new());
        let askers = [1, 2].map(|number| {
            let queue = queue.clone();
            thread::spawn(move || block_on(queue.ask(|reply| (number, Some(reply)))))
        });
        // It takes once, and ends without an answer, as after a panic.
        drop(queue.take(|| FOR_EVER));
        queue.abandon();
        for principal in askers {
            assert!(principal.join().unwrap().is_err());
        }
    });
}

//! The lock of all state that threads share: a mutex whose order is checked.
//!
//! Purpose: two threads that take the same two locks in different order can wait for each other for
//! ever, and a machine with few processors hardly ever shows it. Here each lock has a [`Level`],
//! and a thread may take a lock only while all that it holds are of lower levels. Debug and test
//! builds check this for each lock that is taken, whether or not anybody waits, and panic with the
//! names of both levels. Release builds pay nothing for it.
//! In: a value. Out: a [`Guard`], which cannot leave its thread, so that no task holds one across
//! an await.
//!
//! A panic elsewhere leaves what a lock guards usable: all changes under these locks are single
//! steps. So a poisoned mutex is taken as it is.

use crate::ground::sync::{Condvar, Mutex, MutexGuard};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::PoisonError;
use std::time::Duration;

/// When a lock may be taken: after those of all lower levels, never together with another of its
/// own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// What keeps the order of a longer step (an answer that is made once, records that must not
    /// overtake each other). It may be held while others are asked.
    Outer,
    /// The index of the queue: progress that is on its way to the disk is forgotten with a message.
    Index,
    /// Everything else: nothing is asked while it is held.
    Leaf,
    /// What a log line needs: a line may be written anywhere.
    Log,
    /// What is only noted, for moments, under any other lock: that a call to the disk has begun or
    /// ended.
    Last,
}

/// A value that threads share.
pub struct Lock<T> {
    #[cfg(debug_assertions)]
    level: Level,
    value: Mutex<T>,
}

/// The value, as long as this lives.
#[must_use = "the lock is free again when this is dropped"]
pub struct Guard<'a, T> {
    value: MutexGuard<'a, T>,
    // Behind the value: the mutex is free before its level is.
    _held: Held,
}

impl<T> Lock<T> {
    /// A lock of a level. In release builds the level is only a word to readers.
    #[cfg_attr(not(debug_assertions), allow(unused_variables, reason = "nothing is checked there"))]
    pub fn new(level: Level, value: T) -> Self {
        Self {
            #[cfg(debug_assertions)]
            level,
            value: Mutex::new(value),
        }
    }

    /// A lock that is held while nothing else is asked: the usual one.
    pub fn leaf(value: T) -> Self {
        Self::new(Level::Leaf, value)
    }

    /// Waits for the value and takes it.
    ///
    /// # Panics
    /// In debug builds, when this thread holds a lock of the same or a higher level: a defect of
    /// the caller.
    #[track_caller]
    pub fn lock(&self) -> Guard<'_, T> {
        #[cfg(debug_assertions)]
        let held = Held::enter(self.level);
        #[cfg(not(debug_assertions))]
        let held = Held {};
        Guard { value: self.value.lock().unwrap_or_else(PoisonError::into_inner), _held: held }
    }
}

impl<T: Default> Default for Lock<T> {
    /// A [`Lock::leaf`].
    fn default() -> Self {
        Self::leaf(T::default())
    }
}

impl<T> fmt::Debug for Lock<T> {
    /// Says nothing of the value: to look at it is to wait for it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lock(..)")
    }
}

impl<T> Guard<'_, T> {
    /// Frees the lock, waits for the bell or the end of `patience`, and takes the lock again. It
    /// may return early for no reason.
    pub fn wait(self, bell: &Condvar, patience: Duration) -> Self {
        let Guard { value, _held } = self;
        let value = bell.wait_timeout(value, patience).unwrap_or_else(PoisonError::into_inner).0;
        Self { value, _held }
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

/// That this thread holds a lock of a level.
#[cfg(not(debug_assertions))]
struct Held {}

/// That this thread holds a lock of a level.
#[cfg(debug_assertions)]
struct Held(Level);

#[cfg(debug_assertions)]
#[allow(
    clippy::missing_const_for_thread_local,
    reason = "the model checker's threads know no such form"
)]
mod check {
    use super::{Held, Level};
    use crate::ground::sync::thread_local;
    use std::cell::Cell;

    thread_local! {
        /// The levels whose locks this thread holds, a bit for each.
        static LEVELS: Cell<u8> = Cell::new(0);
    }

    const ALL: [Level; 5] = [Level::Outer, Level::Index, Level::Leaf, Level::Log, Level::Last];

    impl Held {
        #[track_caller]
        pub(super) fn enter(level: Level) -> Self {
            let held = LEVELS.with(Cell::get);
            if held >> level as u8 != 0 {
                let names: Vec<Level> =
                    ALL.into_iter().filter(|level| held & bit(*level) != 0).collect();
                panic!(
                    "a lock of the level {level:?} is wanted while locks of {names:?} are held: \
                    see ground::lock"
                );
            }
            LEVELS.with(|levels| levels.set(held | bit(level)));
            Self(level)
        }
    }

    impl Drop for Held {
        fn drop(&mut self) {
            LEVELS.with(|levels| levels.set(levels.get() & !bit(self.0)));
        }
    }

    fn bit(level: Level) -> u8 {
        1 << level as u8
    }
}

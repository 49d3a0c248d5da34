//! The lock for all shared state: a mutex whose order is checked.
//!
//! Purpose: two threads that take the same two locks in different order can deadlock, and on a
//! machine with few processors this rarely shows. Here each lock has a [`Level`], and a thread may
//! take a lock only while all that it holds are of lower levels. Debug and test builds check this
//! each time a lock is taken, and panic with the names of both levels. Release builds have no
//! overhead. In: a value. Out: a [`Guard`], which cannot leave its thread, so that no task holds
//! one across an await.
//!
//! After a panic the guarded value is still valid, because all changes under these locks are single
//! steps. So a poisoned mutex is used as it is.

use crate::ground::sync::{Condvar, Mutex, MutexGuard};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::PoisonError;
use std::time::Duration;

/// When a lock may be taken: after those of all lower levels, never together with another of the
/// same level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// For the order of a longer step (an answer that is computed once, records that must not
    /// overtake each other). Other locks may be taken while it is held.
    Outer,
    /// The index of the queue: unwritten progress is removed together with a message.
    Index,
    /// Everything else: no other lock is taken while it is held.
    Leaf,
    /// For log lines: a line may be written anywhere.
    Log,
    /// For short notes under any other lock: that a disk access has begun or ended.
    Last,
}

/// A value shared by threads.
pub struct Lock<T> {
    #[cfg(debug_assertions)]
    level: Level,
    value: Mutex<T>,
}

/// Access to the value, as long as this exists.
#[must_use = "the lock is free again when this is dropped"]
pub struct Guard<'a, T> {
    value: MutexGuard<'a, T>,
    // Declared after the value: the mutex is released before its level.
    _held: Held,
}

impl<T> Lock<T> {
    /// A lock of a level. In release builds the level is only documentation.
    #[cfg_attr(not(debug_assertions), allow(unused_variables, reason = "nothing is checked there"))]
    pub fn new(level: Level, value: T) -> Self {
        Self {
            #[cfg(debug_assertions)]
            level,
            value: Mutex::new(value),
        }
    }

    /// A lock under which no other lock is taken: the usual one.
    pub fn leaf(value: T) -> Self {
        Self::new(Level::Leaf, value)
    }

    /// Waits for the lock and takes it.
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
    /// Does not show the value, because that would need the lock.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lock(..)")
    }
}

impl<T> Guard<'_, T> {
    /// Releases the lock, waits for the notification or the end of `patience`, and takes the lock
    /// again. It may return early without a reason.
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

/// Marks that this thread holds a lock of a level.
#[cfg(not(debug_assertions))]
struct Held {}

/// Marks that this thread holds a lock of a level.
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
        /// The levels whose locks this thread holds, one bit for each.
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

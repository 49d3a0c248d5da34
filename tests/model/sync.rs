//! Locks, threads and times in place of `ground::sync`: those of loom.

use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::pin::pin;
use std::sync::{Arc, LockResult, PoisonError};
use std::task::{Context, Poll, Wake};
use std::time::Duration;

pub use loom::sync::atomic;
pub use loom::thread_local;

pub struct Mutex<T>(loom::sync::Mutex<T>);

pub struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    inner: loom::sync::MutexGuard<'a, T>,
}

pub struct Condvar(loom::sync::Condvar);

/// The clock does not advance.
#[derive(Clone, Copy)]
pub struct Instant;

impl<T> Mutex<T> {
    pub fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(MutexGuard { mutex: self, inner })
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

impl Condvar {
    pub fn new() -> Self {
        Self(loom::sync::Condvar::new())
    }

    pub fn notify_one(&self) {
        self.0.notify_one();
    }

    /// A wait of no time ends at once; every other one lasts until the notification.
    pub fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        patience: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, ())> {
        let MutexGuard { mutex, inner } = guard;
        let inner = if patience.is_zero() {
            drop(inner);
            mutex.0.lock().unwrap_or_else(PoisonError::into_inner)
        } else {
            self.0.wait(inner).unwrap_or_else(PoisonError::into_inner)
        };
        Ok((MutexGuard { mutex, inner }, ()))
    }
}

impl Instant {
    pub fn now() -> Self {
        Self
    }

    pub fn elapsed(&self) -> Duration {
        Duration::ZERO
    }
}

/// A single event, for one waiter.
struct Once<T>(loom::sync::Mutex<Option<T>>, loom::sync::Condvar);

impl<T: 'static> Once<T> {
    fn new() -> Arc<Self> {
        Arc::new(Self(loom::sync::Mutex::new(None), loom::sync::Condvar::new()))
    }

    fn happens(&self, value: T) {
        *self.0.lock().unwrap() = Some(value);
        self.1.notify_all();
    }

    fn wait(&self) -> T {
        let mut state = self.0.lock().unwrap();
        loop {
            if let Some(value) = state.take() {
                return value;
            }
            state = self.1.wait(state).unwrap();
        }
    }
}

impl Wake for Once<()> {
    fn wake(self: Arc<Self>) {
        self.happens(());
    }
}

/// Runs a future to its end on this thread.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let woken = Once::new();
    let waker = woken.clone().into();
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => woken.wait(),
        }
    }
}

pub mod thread {
    use super::Once;
    use std::sync::Arc;

    pub struct Builder;

    pub struct JoinHandle<T>(Arc<Once<T>>);

    impl Builder {
        pub fn new() -> Self {
            Self
        }

        pub fn name(self, _: String) -> Self {
            self
        }

        pub fn spawn<T: Send + 'static>(
            self,
            work: impl FnOnce() -> T + Send + 'static,
        ) -> std::io::Result<JoinHandle<T>> {
            Ok(spawn(work))
        }
    }

    impl<T: 'static> JoinHandle<T> {
        pub fn join(self) -> std::thread::Result<T> {
            Ok(self.0.wait())
        }
    }

    pub fn spawn<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        let end = Once::new();
        let inside = end.clone();
        loom::thread::spawn(move || inside.happens(work()));
        JoinHandle(end)
    }
}

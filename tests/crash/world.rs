//! A deterministic environment: a clock that advances only on request, and two threads that never
//! run at the same time.
//!
//! The history runs; the committer is stopped until the history waits for it, then runs until it
//! waits itself. So the same seed makes the same calls of the disk in the same order, on any
//! machine.

use std::cell::RefCell;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Condvar as Bell, LazyLock, Mutex as Lock, MutexGuard as Locked, PoisonError};
use std::task::{Context, Poll, Wake};
use std::thread::Thread;
use std::time::Duration;

/// How long a future may make no progress, on the real clock, before it counts as stuck.
const FOR_EVER: Duration = Duration::from_secs(60);

/// Reads and writes of contents; one such thread at a time, since the history waits for it.
static BLOCKING: LazyLock<tokio::runtime::Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_current_thread().build().unwrap());

/// An environment; clones are the same one.
#[derive(Clone)]
pub struct World(Arc<(Lock<State>, Bell)>);

struct State {
    now: Duration,
    committer: Committer,
    /// Something was submitted since the committer last checked.
    was_woken: bool,
    random: fastrand::Rng,
}

#[derive(Clone, Copy, PartialEq)]
enum Committer {
    Absent,
    Running,
    Waiting { until: Duration },
}

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

impl World {
    /// A new environment, which this thread uses from now on.
    pub fn enter_new(seed: u64) -> Self {
        let state = State {
            now: Duration::from_secs(1_800_000_000),
            committer: Committer::Absent,
            was_woken: false,
            random: fastrand::Rng::with_seed(seed),
        };
        let world = Self(Arc::new((Lock::new(state), Bell::new())));
        world.enter();
        world
    }

    /// Runs a future to its end; the committer runs whenever there is something to do.
    pub fn drive<F: Future>(&self, future: F) -> F::Output {
        struct Unpark(Thread);
        impl Wake for Unpark {
            fn wake(self: Arc<Self>) {
                self.0.unpark();
            }
        }
        let _blocking = BLOCKING.enter();
        let waker = Arc::new(Unpark(std::thread::current())).into();
        let mut context = Context::from_waker(&waker);
        let mut future = pin!(future);
        let mut since = std::time::Instant::now();
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return output;
            }
            if self.let_run() {
                since = std::time::Instant::now();
                continue;
            }
            assert!(since.elapsed() < FOR_EVER, "nobody answers, and nobody will");
            std::thread::park_timeout(FOR_EVER);
        }
    }

    /// Lets the committer take what was submitted; gives whether there was anything.
    pub fn let_run(&self) -> bool {
        let mut ran = false;
        while self.lock().was_woken && self.wake() {
            ran = true;
        }
        ran
    }

    /// Time passes; the committer does its timed work.
    pub fn pass(&self, time: Duration) {
        self.let_run();
        let end = self.lock().now + time;
        loop {
            let mut state = self.lock();
            match state.committer {
                Committer::Waiting { until } if until <= end => state.now = state.now.max(until),
                _ => {
                    state.now = end;
                    return;
                }
            }
            drop(state);
            self.wake();
        }
    }

    fn current() -> Self {
        WORLD.with_borrow(Clone::clone).expect("this thread is in no world")
    }

    fn enter(&self) {
        fastrand::seed(self.lock().random.u64(..));
        WORLD.set(Some(self.clone()));
    }

    fn now(&self) -> Duration {
        self.lock().now
    }

    /// The committer runs until it waits again, or ends. `false`: there is none that waits.
    fn wake(&self) -> bool {
        let mut state = self.lock();
        if !matches!(state.committer, Committer::Waiting { .. }) {
            return false;
        }
        state.committer = Committer::Running;
        state.was_woken = false;
        self.0.1.notify_all();
        self.stand_by(state);
        true
    }

    /// Waits while the committer runs.
    fn stand_by<'a>(&'a self, mut state: Locked<'a, State>) {
        while state.committer == Committer::Running {
            state = self.0.1.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The committer waits for a notification.
    fn pause(&self, patience: Duration) {
        let mut state = self.lock();
        state.committer = Committer::Waiting { until: state.now.saturating_add(patience) };
        self.0.1.notify_all();
        while state.committer != Committer::Running {
            state = self.0.1.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> Locked<'_, State> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The clock, in place of `ground::clock`.
pub mod clock {
    use super::World;
    use std::time::Duration;

    pub fn now() -> u32 {
        u32::try_from(World::current().now().as_secs()).unwrap_or(u32::MAX)
    }

    /// No two calls give the same value, as on a real machine.
    pub fn now_micros() -> u64 {
        let world = World::current();
        let mut state = world.lock();
        state.now += Duration::from_micros(1);
        u64::try_from(state.now.as_micros()).unwrap_or(u64::MAX)
    }

    pub fn steady_micros() -> u64 {
        now_micros()
    }
}

/// Locks, threads and times, in place of `ground::sync`.
pub mod sync {
    use super::{Committer, World};
    use std::ops::{Deref, DerefMut};
    use std::sync::{LockResult, PoisonError};
    use std::time::Duration;

    pub use std::sync::atomic;
    pub use std::thread_local;

    #[derive(Default)]
    pub struct Mutex<T>(std::sync::Mutex<T>);

    pub struct MutexGuard<'a, T> {
        mutex: &'a Mutex<T>,
        inner: std::sync::MutexGuard<'a, T>,
    }

    pub struct Condvar(World);

    #[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
    pub struct Instant(Duration);

    impl<T> Mutex<T> {
        pub fn new(value: T) -> Self {
            Self(std::sync::Mutex::new(value))
        }

        pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
            match self.0.lock() {
                Ok(inner) => Ok(MutexGuard { mutex: self, inner }),
                Err(poisoned) => {
                    Err(PoisonError::new(MutexGuard { mutex: self, inner: poisoned.into_inner() }))
                }
            }
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
        #[allow(clippy::new_without_default, reason = "as the one of the standard library")]
        pub fn new() -> Self {
            Self(World::current())
        }

        pub fn notify_one(&self) {
            self.0.lock().was_woken = true;
        }

        pub fn wait_timeout<'a, T>(
            &self,
            guard: MutexGuard<'a, T>,
            patience: Duration,
        ) -> LockResult<(MutexGuard<'a, T>, ())> {
            let mutex = guard.mutex;
            drop(guard);
            self.0.pause(patience);
            match mutex.lock() {
                Ok(guard) => Ok((guard, ())),
                Err(poisoned) => Err(PoisonError::new((poisoned.into_inner(), ()))),
            }
        }
    }

    impl Instant {
        pub fn now() -> Self {
            Self(World::current().now())
        }

        pub fn elapsed(&self) -> Duration {
            World::current().now() - self.0
        }
    }

    pub mod thread {
        use super::{Committer, World};

        pub struct Builder(std::thread::Builder);

        pub struct JoinHandle<T>(std::thread::JoinHandle<T>, World);

        /// However the committer ends, no thread waits for it.
        struct End(World);

        impl Builder {
            #[allow(clippy::new_without_default, reason = "as the one of the standard library")]
            pub fn new() -> Self {
                Self(std::thread::Builder::new())
            }

            pub fn name(self, name: String) -> Self {
                Self(self.0.name(name))
            }

            /// The committer; it runs until it waits for the first time.
            pub fn spawn<T: Send + 'static>(
                self,
                work: impl FnOnce() -> T + Send + 'static,
            ) -> std::io::Result<JoinHandle<T>> {
                let world = World::current();
                world.lock().committer = Committer::Running;
                let inside = world.clone();
                let handle = self.0.spawn(move || {
                    let _end = End(inside.clone());
                    inside.enter();
                    work()
                })?;
                world.stand_by(world.lock());
                Ok(JoinHandle(handle, world))
            }
        }

        impl<T> JoinHandle<T> {
            pub fn join(self) -> std::thread::Result<T> {
                while self.1.wake() {}
                self.0.join()
            }
        }

        impl Drop for End {
            fn drop(&mut self) {
                self.0.lock().committer = Committer::Absent;
                self.0.0.1.notify_all();
            }
        }
    }
}

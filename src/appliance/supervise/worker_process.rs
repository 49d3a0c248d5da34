//! Worker processes: work that may hang, done by a child process.
//!
//! Purpose: an access to files of a dead file server can block a process in the kernel for minutes.
//! The supervisor is PID 1 and must handle signals all the time, so it never accesses them itself:
//! it forks a child, and waits for it with a time limit. In: a closure. Out: its value, sent back
//! through a pipe as JSON. Limits: an answer has at most [`ANSWER_LIMIT`] octets, and comes within
//! the time limit or not at all. Security: the child has the same rights, and none of the
//! descriptors.

use super::signals::SupervisorSignals;
use crate::ground::sys::fork_with_pipe;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// Octets of an answer, at most.
pub const ANSWER_LIMIT: usize = 4 << 20;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WorkerError {
    /// The time is up; the child was killed, which takes effect only when the kernel lets it go.
    #[error("no answer within {} s", .0.as_secs())]
    Late(Duration),
    /// A signal that ends the appliance has come.
    #[error("the appliance was stopped meanwhile")]
    Stopped,
    /// There is no child, or it ended without an answer.
    #[error("the child process for it failed: {0}")]
    Broken(String),
}

/// Work under way.
#[derive(Debug)]
pub struct WorkerProcess<T> {
    child: Pid,
    pipe: OwnedFd,
    answer: Vec<u8>,
    patience: Duration,
    deadline: Instant,
    over: bool,
    value: PhantomData<T>,
}

/// Does `work` in a child process and waits for its value, at most for `patience` and not beyond a
/// signal that ends the appliance. Only for a process with a single thread.
///
/// # Errors
/// [`WorkerError`].
pub fn run<T, W>(patience: Duration, signals: &SupervisorSignals, work: W) -> Result<T, WorkerError>
where
    T: Serialize + DeserializeOwned,
    W: FnOnce() -> T,
{
    let mut worker = WorkerProcess::begin(patience, work)
        .map_err(|error| WorkerError::Broken(error.to_string()))?;
    loop {
        if let Some(end) = worker.look() {
            return end;
        }
        if signals.stop_has_come() {
            return Err(WorkerError::Stopped);
        }
        wait(&worker, signals);
    }
}

impl<T: Serialize + DeserializeOwned> WorkerProcess<T> {
    /// Starts a child process for `work`. Only for a process with a single thread.
    ///
    /// # Errors
    /// No process can be created.
    pub fn begin(patience: Duration, work: impl FnOnce() -> T) -> io::Result<Self> {
        let (child, pipe) = fork_with_pipe(|pipe| {
            // A parent that does not read any more does not need it.
            let _ = serde_json::to_writer(io::BufWriter::new(pipe), &work());
        })?;
        let deadline = Instant::now() + patience;
        Ok(Self {
            child,
            pipe,
            answer: Vec::new(),
            patience,
            deadline,
            over: false,
            value: PhantomData,
        })
    }

    /// The process that does it.
    pub fn child(&self) -> Pid {
        self.child
    }

    /// When its time is up.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The value, or why there will be none; `None` while neither is known. Does not block. To be
    /// called when [`WorkerProcess::as_fd`] is readable or the deadline has passed, and not again
    /// after an answer.
    pub fn look(&mut self) -> Option<Result<T, WorkerError>> {
        let mut buffer = [0; 16 * 1024];
        loop {
            match nix::unistd::read(&self.pipe, &mut buffer) {
                Ok(0) => return Some(self.end()),
                Ok(count) if self.answer.len() + count > ANSWER_LIMIT => {
                    return Some(Err(WorkerError::Broken("its answer is too long".to_owned())));
                }
                Ok(count) => self.answer.extend_from_slice(&buffer[..count]),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) if Instant::now() < self.deadline => return None,
                Err(Errno::EAGAIN) => return Some(Err(WorkerError::Late(self.patience))),
                Err(error) => return Some(Err(WorkerError::Broken(error.to_string()))),
            }
        }
    }

    fn end(&mut self) -> Result<T, WorkerError> {
        self.over = true;
        // Usually it has ended with its answer; if not, or if it was reaped elsewhere, it is not
        // waited for.
        let _ = waitpid(self.child, Some(WaitPidFlag::WNOHANG));
        serde_json::from_slice(&self.answer)
            .map_err(|_| WorkerError::Broken("it ended without an answer".to_owned()))
    }
}

impl<T> AsFd for WorkerProcess<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

impl<T> Drop for WorkerProcess<T> {
    fn drop(&mut self) {
        if !self.over {
            // The supervisor reaps it, when the kernel lets it go; that is where its end is
            // noticed.
            let _ = kill(self.child, Signal::SIGKILL);
        }
    }
}

fn wait<T>(worker: &WorkerProcess<T>, signals: &SupervisorSignals) {
    let left = worker.deadline.saturating_duration_since(Instant::now());
    let timeout =
        i32::try_from(left.as_millis() + 1).ok().and_then(|ms| PollTimeout::try_from(ms).ok());
    let mut fds = [
        PollFd::new(worker.pipe.as_fd(), PollFlags::POLLIN),
        PollFd::new(signals.as_fd(), PollFlags::POLLIN),
    ];
    // An interruption or a failure wakes the loop, which checks everything anyway.
    let _ = poll(&mut fds, timeout.unwrap_or(PollTimeout::MAX));
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn an_answer_comes_back_however_long_it_is() {
        let signals = SupervisorSignals::block().unwrap();
        let answer = run(PATIENCE, &signals, || Ok::<_, String>("x".repeat(300_000)));
        assert_eq!(answer.map(|text| text.map(|text| text.len())), Ok(Ok(300_000)));
        assert!(matches!(
            run(PATIENCE, &signals, || "x".repeat(ANSWER_LIMIT + 1)),
            Err(WorkerError::Broken(_))
        ));
    }

    #[test]
    fn work_that_hangs_is_given_up_and_work_that_fails_is_told() {
        let signals = SupervisorSignals::block().unwrap();
        let patience = Duration::from_millis(200);
        assert_eq!(
            run(patience, &signals, || std::thread::sleep(PATIENCE)),
            Err(WorkerError::Late(patience))
        );
        let broken = run(PATIENCE, &signals, || -> u8 { panic!("this panic belongs to the test") });
        assert_eq!(broken, Err(WorkerError::Broken("it ended without an answer".to_owned())));
    }

    #[test]
    fn one_that_is_given_up_is_left_for_the_keeper_to_reap() {
        let mut worker =
            WorkerProcess::begin(Duration::ZERO, || std::thread::sleep(PATIENCE)).unwrap();
        let child = worker.child();
        assert_eq!(worker.look(), Some(Err(WorkerError::Late(Duration::ZERO))));
        drop(worker);
        assert_eq!(waitpid(child, None).unwrap().pid(), Some(child));
    }

    #[test]
    fn a_stop_is_heard_meanwhile_and_kept_for_others() {
        let signals = SupervisorSignals::block().unwrap();
        // Only to this thread: the test harness has others that do not block it.
        nix::sys::signal::raise(Signal::SIGTERM).unwrap();
        assert_eq!(
            run(PATIENCE, &signals, || std::thread::sleep(PATIENCE)),
            Err(WorkerError::Stopped)
        );
        assert_eq!(
            std::iter::from_fn(|| signals.next()).find(|signal| *signal != Signal::SIGCHLD),
            Some(Signal::SIGTERM)
        );
    }

    #[test]
    fn a_child_has_no_descriptor_of_ours() {
        let signals = SupervisorSignals::block().unwrap();
        let _held = std::fs::File::open("/dev/null").unwrap();
        let open = run(PATIENCE, &signals, || {
            // The pipe is 3, and reading the directory takes another one.
            std::fs::read_dir("/proc/self/fd").map(|entries| entries.count()).unwrap_or_default()
        });
        assert_eq!(open, Ok(5));
    }
}

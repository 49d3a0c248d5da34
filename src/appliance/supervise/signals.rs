//! Signals as events to be read, not as interruptions.

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};

/// The supervisor's signals, blocked and readable.
#[derive(Debug)]
pub struct SupervisorSignals {
    fd: SignalFd,
    /// Read while something else was waited for; to be handled by the supervisor.
    heard: RefCell<VecDeque<Signal>>,
}

impl SupervisorSignals {
    /// Blocks them; to be called before anything else, so that none is missed.
    ///
    /// # Errors
    /// The kernel has no signalfd.
    pub fn block() -> nix::Result<Self> {
        let set: SigSet =
            [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM, Signal::SIGCHLD]
                .into_iter()
                .collect();
        set.thread_block()?;
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        Ok(Self { fd, heard: RefCell::default() })
    }

    /// For a process that a signal may end at any moment: none is blocked, and none is ever
    /// reported.
    ///
    /// # Errors
    /// The kernel has no signalfd.
    pub fn without_blocking() -> nix::Result<Self> {
        Ok(Self {
            fd: SignalFd::with_flags(
                &SigSet::empty(),
                SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC,
            )?,
            heard: RefCell::default(),
        })
    }

    /// The next pending signal, if any.
    pub fn next(&self) -> Option<Signal> {
        let heard = self.heard.borrow_mut().pop_front();
        heard.or_else(|| self.read())
    }

    /// Whether a signal that ends the appliance has come; it can still be read by
    /// [`SupervisorSignals::next`].
    pub fn stop_has_come(&self) -> bool {
        let mut heard = self.heard.borrow_mut();
        // Each signal is pending at most once (signal(7)), so this is short.
        heard.extend(std::iter::from_fn(|| self.read()));
        heard.iter().any(|signal| !matches!(signal, Signal::SIGCHLD | Signal::SIGHUP))
    }

    fn read(&self) -> Option<Signal> {
        let info = self.fd.read_signal().ok().flatten()?;
        i32::try_from(info.ssi_signo).ok().and_then(|number| Signal::try_from(number).ok())
    }
}

impl AsFd for SupervisorSignals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

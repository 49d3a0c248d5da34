//! Forks this process for one piece of work.

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::unistd::{ForkResult, Pid, fork, getpid, getppid, pipe2};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// The descriptor of the pipe in the child.
const ANSWER_FD: RawFd = 3;

/// Forks; the child does `work` with the writing end of a pipe and ends. Returns the child and the
/// reading end, which does not block. The child has only the three standard streams and that pipe,
/// so a child that hangs does not keep locks or open files of this process. It is killed when this
/// process dies.
///
/// Only for a process with a single thread: the child has a copy of all memory, in which other
/// threads' locks would stay locked for ever.
///
/// # Errors
/// No pipe or no process can be created.
pub fn fork_with_pipe(work: impl FnOnce(File)) -> io::Result<(Pid, OwnedFd)> {
    let (reader, writer) = pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    nix::fcntl::fcntl(&reader, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK))?;
    let parent = getpid();
    // SAFETY: the process has one thread (see above), so the child's copy of the heap and of all
    // locks is consistent. The child leaves by `_exit` below and never returns into the parent's
    // code.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok((child, reader)),
        ForkResult::Child => {
            // A panic must not unwind into the copy of the parent's stack; its message has been
            // printed.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                if let Ok(pipe) = settle(&writer, parent) {
                    work(pipe);
                }
            }));
            // SAFETY: ends this process without running the parent's destructors and exit handlers,
            // which are not ours to run.
            unsafe { nix::libc::_exit(0) }
        }
    }
}

/// Closes everything inherited from the parent except the standard streams.
fn settle(writer: &OwnedFd, parent: Pid) -> Result<File, Errno> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    if getppid() != parent {
        return Err(Errno::ESRCH);
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    // SAFETY: plain numbers to the kernel. Descriptor 3 and all above belong to objects of the
    // parent's copy, which nobody in this process will use or drop: it does `work`, which was told
    // that it has none of them, and then `_exit`s.
    Errno::result(unsafe { nix::libc::dup2(writer.as_raw_fd(), ANSWER_FD) })?;
    // SAFETY: as above. A kernel before 5.9 refuses; then the descriptors stay open until the work
    // is done.
    let _ = unsafe { nix::libc::close_range(ANSWER_FD.unsigned_abs() + 1, u32::MAX, 0) };
    // SAFETY: the descriptor was made by dup2 just now and has no other owner.
    Ok(unsafe { <File as std::os::fd::FromRawFd>::from_raw_fd(ANSWER_FD) })
}

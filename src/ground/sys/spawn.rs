//! Starting a child with less than we have: another uid, no way back to privileges, death with its
//! parent.

use caps::{CapSet, Capability, CapsHashSet};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, signal, sigprocmask};
use nix::unistd::{Gid, Pid, Uid, getpid, getppid, setgroups, setresgid, setresuid};
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};

/// The child finds its status pipe here.
pub const STATUS_FD: RawFd = 3;

/// What the child is left with.
#[derive(Debug, Clone, Copy)]
pub struct Jail<'a> {
    /// Whom it becomes; `None` = whoever we are.
    pub identity: Option<(Uid, Gid)>,
    /// Where it works. It gets there with our rights, so nobody else need be able to pass the
    /// directories above.
    pub directory: &'a Path,
    /// Whether it may bind ports below 1024, as far as we may.
    pub keep_bind: bool,
}

/// Starts `command` with `status` as descriptor 3. The child works in `/` or in `jail`'s directory,
/// ignores SIGINT and SIGQUIT (a terminal sends them to the whole foreground group, and the parent
/// decides), can gain no privileges, leaves no core dump, holds no capability but
/// CAP_NET_BIND_SERVICE where `jail` keeps it, and gets SIGTERM when its parent dies.
///
/// Only for a process of one thread: the child works between fork and exec, and what it does there
/// is more than async-signal-safe.
///
/// # Errors
/// Fork, exec, or a step between them: then nothing was started.
pub fn spawn(command: &mut Command, status: &OwnedFd, jail: Jail<'_>) -> io::Result<Child> {
    // Above 3, so that making it 3 cannot be a no-op that leaves close-on-exec set.
    let high = fcntl(status, FcntlArg::F_DUPFD_CLOEXEC(10))?;
    let parent = getpid();
    let keep = jail.keep_bind
        && caps::has_cap(None, CapSet::Permitted, Capability::CAP_NET_BIND_SERVICE)
            .unwrap_or(false);
    command.current_dir(jail.directory);
    // SAFETY: the closure runs in the forked child of a process with one thread (see above), so no
    // lock can be held by a thread that does not exist there, and memory may be allocated.
    unsafe {
        command.pre_exec(move || {
            let outcome = enter(high, parent, jail.identity, keep);
            // Only the number of an error reaches the parent.
            outcome.map_err(io::Error::from)
        });
    }
    let child = command.spawn();
    nix::unistd::close(high)?;
    child
}

fn enter(
    status: RawFd,
    parent: Pid,
    identity: Option<(Uid, Gid)>,
    keep_bind: bool,
) -> Result<(), Errno> {
    pass_status(status)?;
    // SAFETY: no handler of ours is installed by this, only the dispositions "ignore" and
    // "default".
    unsafe {
        signal(Signal::SIGINT, SigHandler::SigIgn)?;
        signal(Signal::SIGQUIT, SigHandler::SigIgn)?;
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    // The process holds passwords.
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    drop_bounding(keep_bind);
    if let Some((uid, gid)) = identity {
        prctl::set_keepcaps(keep_bind)?;
        setgroups(&[gid])?;
        setresgid(gid, gid, gid)?;
        setresuid(uid, uid, uid)?;
    }
    keep_only(keep_bind)?;
    prctl::set_no_new_privs()?;
    // After the change of uid, which would clear it.
    prctl::set_pdeathsig(Signal::SIGTERM)?;
    // The parent may have died before that was set.
    if getppid() == parent { Ok(()) } else { Err(Errno::ESRCH) }
}

fn pass_status(status: RawFd) -> Result<(), Errno> {
    // SAFETY: both are plain numbers to the kernel; descriptor 3 of the child belongs to nobody
    // else, because all descriptors that this program opens are closed at exec.
    Errno::result(unsafe { nix::libc::dup2(status, STATUS_FD) }).map(drop)
}

/// Takes capabilities out of reach for good. A process without CAP_SETPCAP cannot, and then
/// `no_new_privs` has to do.
fn drop_bounding(keep_bind: bool) {
    for capability in caps::all() {
        if !(keep_bind && capability == Capability::CAP_NET_BIND_SERVICE) {
            let _ = caps::drop(None, CapSet::Bounding, capability);
        }
    }
}

fn keep_only(keep_bind: bool) -> Result<(), Errno> {
    let kept: CapsHashSet =
        keep_bind.then_some(Capability::CAP_NET_BIND_SERVICE).into_iter().collect();
    let denied = |_| Errno::EPERM;
    caps::clear(None, CapSet::Ambient)
        .or_else(|error| if keep_bind { Err(error) } else { Ok(()) })
        .map_err(denied)?;
    // Effective must lie inside permitted at every step, so permitted shrinks last. A root process
    // whose effective set vanished with its uid gets the one capability back from permitted.
    caps::set(None, CapSet::Effective, &kept).map_err(denied)?;
    caps::set(None, CapSet::Inheritable, &kept).map_err(denied)?;
    caps::set(None, CapSet::Permitted, &kept).map_err(denied)?;
    if keep_bind {
        caps::raise(None, CapSet::Ambient, Capability::CAP_NET_BIND_SERVICE).map_err(denied)?;
    }
    Ok(())
}

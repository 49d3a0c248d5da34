//! Starts a child process with fewer rights: another uid, no way to regain privileges, killed with
//! its parent.

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

/// The status pipe's descriptor in the child.
pub const STATUS_FD: RawFd = 3;

/// The rights of the child.
#[derive(Debug, Clone, Copy)]
pub struct Jail<'a> {
    /// Its user; `None` = the same user.
    pub identity: Option<(Uid, Gid)>,
    /// Its working directory. It is entered with the parent's rights, so the child need not have
    /// access to the directories above.
    pub directory: &'a Path,
    /// Whether it may bind ports below 1024, if the parent may.
    pub keep_bind: bool,
}

/// Starts `command` with `status` as descriptor 3. The child works in `/` or in `jail`'s directory,
/// ignores SIGINT and SIGQUIT (a terminal sends them to the whole foreground group, and the parent
/// decides), can gain no privileges, writes no core dump, has no capability except
/// CAP_NET_BIND_SERVICE where `jail` keeps it, and gets SIGTERM when its parent dies.
///
/// Only for a process with a single thread: between fork and exec the child does more than
/// async-signal-safe calls.
///
/// # Errors
/// Fork, exec, or a step between them: then nothing was started.
pub fn spawn(command: &mut Command, status: &OwnedFd, jail: Jail<'_>) -> io::Result<Child> {
    // Above 3, because a dup2 from 3 to 3 would leave close-on-exec set.
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
    // The process has passwords in memory.
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

/// Removes capabilities permanently. A process without CAP_SETPCAP cannot do it, and then
/// `no_new_privs` must suffice.
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
    // Effective must be inside permitted at every step, so permitted is reduced last. A root
    // process whose effective set was cleared with its uid gets the one capability back from
    // permitted.
    caps::set(None, CapSet::Effective, &kept).map_err(denied)?;
    caps::set(None, CapSet::Inheritable, &kept).map_err(denied)?;
    caps::set(None, CapSet::Permitted, &kept).map_err(denied)?;
    if keep_bind {
        caps::raise(None, CapSet::Ambient, Capability::CAP_NET_BIND_SERVICE).map_err(denied)?;
    }
    Ok(())
}

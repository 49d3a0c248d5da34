//! One child process of the supervisor: this program in another role, with a status pipe and orders
//! on its standard input.

use super::identity::Identity;
use super::orders::OrderWriter;
use super::status::StatusReader;
use crate::appliance::class::PREFIX;
use crate::ground::sys::{Jail, spawn};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, pipe2};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// A child that is running, or has ended and was not reaped yet.
#[derive(Debug)]
pub struct Child {
    /// Its process.
    pub pid: Pid,
    /// Its status lines.
    pub status: StatusReader,
    /// The orders for it.
    pub orders: OrderWriter,
    /// When it was started.
    pub started: Instant,
}

impl Child {
    /// Starts `postern <role>` as `identity` in `directory` and sends it the properties; it
    /// inherits nothing else. `keep_bind` = it may bind low ports.
    ///
    /// # Errors
    /// No pipe or no process can be created, or the identity cannot be set.
    pub fn start(
        role: &str,
        identity: &Identity,
        directory: &Path,
        keep_bind: bool,
        properties: &str,
    ) -> io::Result<Self> {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
        fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let mut command = Command::new("/proc/self/exe");
        command.arg(role).stdin(Stdio::piped());
        // Properties, including secrets, are sent over standard input, because the environment of a
        // process can be read by others.
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
                command.env_remove(name);
            }
        }
        let identity = identity.changes.then_some((identity.uid, identity.gid));
        let mut child = spawn(&mut command, &writer, Jail { identity, directory, keep_bind })?;
        let mut orders = OrderWriter::new(child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?)?;
        orders.properties(properties);
        Ok(Self {
            pid: Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?),
            status: StatusReader::new(reader),
            orders,
            started: Instant::now(),
        })
    }

    /// Sends a signal. A child that has ended already is reaped next. `false`: not permitted,
    /// because it has another uid and there is no CAP_KILL.
    pub fn signal(&self, signal: Signal) -> bool {
        kill(self.pid, signal) != Err(Errno::EPERM)
    }

    /// The descriptors to poll: its status pipe, and its standard input if something waits.
    pub fn poll_fds(&self) -> impl Iterator<Item = PollFd<'_>> {
        let words =
            self.status.is_open().then(|| PollFd::new(self.status.as_fd(), PollFlags::POLLIN));
        let room = self.orders.waits_on().map(|pipe| PollFd::new(pipe, PollFlags::POLLOUT));
        words.into_iter().chain(room)
    }
}

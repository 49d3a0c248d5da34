//! What the standard library's sockets lack: non-blocking connect, read and write.

use crate::Outcome;
use nix::errno::Errno;
use nix::sys::epoll::{EpollEvent, EpollFlags};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, SockaddrStorage, connect, recv, send, sendmsg,
    setsockopt, socket, sockopt,
};
use std::io::IoSlice;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};

/// A socket on its way to an address; it is readable when the server has greeted.
pub fn start_connect(to: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd =
        socket(family, SockType::Stream, SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC, None)?;
    // The rest of a content must not wait for an acknowledgement.
    setsockopt(&fd, sockopt::TcpNoDelay, &true)?;
    match connect(fd.as_raw_fd(), &SockaddrStorage::from(to)) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(fd),
        Err(error) => Err(error),
    }
}

/// None when there is nothing to read now, 0 at the end.
pub fn read(fd: &impl AsRawFd, buffer: &mut [u8]) -> Result<Option<usize>, Errno> {
    match recv(fd.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
        Ok(count) => Ok(Some(count)),
        Err(Errno::EAGAIN | Errno::EINTR) => Ok(None),
        Err(error) => Err(error),
    }
}

/// How much of one piece went out.
pub fn write(fd: &impl AsRawFd, octets: &[u8]) -> Result<usize, Errno> {
    taken(send(fd.as_raw_fd(), octets, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL))
}

/// How much of two pieces went out, in one call.
pub fn write_both(fd: &impl AsRawFd, first: &[u8], second: &[u8]) -> Result<usize, Errno> {
    let pieces = [IoSlice::new(first), IoSlice::new(second)];
    taken(sendmsg::<()>(
        fd.as_raw_fd(),
        &pieces,
        &[],
        MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL,
        None,
    ))
}

fn taken(count: Result<usize, Errno>) -> Result<usize, Errno> {
    match count {
        Err(Errno::EAGAIN | Errno::EINTR) => Ok(0),
        other => other,
    }
}

/// A buffer for the events of epoll.
pub fn events() -> Vec<EpollEvent> {
    vec![EpollEvent::new(EpollFlags::empty(), 0); 512]
}

/// SIGTERM and SIGINT as a descriptor to poll.
pub fn stop_signals() -> Outcome<SignalFd> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    let told = signals
        .thread_block()
        .and_then(|()| SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK));
    told.map_err(|error| format!("signals: {error}"))
}

//! Takes over a descriptor that the parent process left open.

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};

/// Takes ownership of an inherited descriptor, once, and sets close-on-exec.
///
/// # Errors
/// It is not open (EBADF), is one of the three standard streams or above 63, or was taken before.
pub fn inherited(fd: RawFd) -> io::Result<OwnedFd> {
    static TAKEN: AtomicU64 = AtomicU64::new(0);
    if !(3..64).contains(&fd) {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    // SAFETY: the number is not negative; whether it is open is what fcntl is asked, and the borrow
    // ends with the question.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    let bit = 1 << fd;
    if TAKEN.fetch_or(bit, Ordering::SeqCst) & bit != 0 {
        return Err(io::Error::from(io::ErrorKind::AlreadyExists));
    }
    // SAFETY: the descriptor is open (fcntl answered) and was taken by nobody before (the bit was
    // clear). Callers ask at the start of the process for a number that the parent promised, before
    // anything else could have opened it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_streams_and_closed_descriptors_are_refused() {
        assert!(inherited(0).is_err());
        assert!(inherited(-1).is_err());
        assert!(inherited(64).is_err());
    }
}

//! Detects that a client of the control socket has disconnected.
//!
//! A tool that was killed, or has reached its time limit, has reported to its user that the order
//! failed: an order that has not begun by then must not be executed. A program that has closed only
//! its sending half still waits for the answer.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::future::pending;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net;
use tokio::io::Interest;
use tokio::net::UnixStream;

/// The client's connection, watched through a duplicate that neither reads nor writes.
pub(crate) struct PeerWatch(UnixStream);

impl PeerWatch {
    /// The client of this connection, which others continue to use.
    pub(crate) fn of(stream: &UnixStream) -> io::Result<Self> {
        UnixStream::from_std(net::UnixStream::from(stream.as_fd().try_clone_to_owned()?)).map(Self)
    }

    /// Ends when the client has closed both halves; at once if it already has.
    pub(crate) async fn gone(&self) {
        // The runtime would notice it only later, and the order would have begun by then.
        if self.has_hung_up() {
            return;
        }
        loop {
            let Ok(ready) = self.0.ready(Interest::WRITABLE).await else { return pending().await };
            if ready.is_write_closed() {
                return;
            }
            // The socket is writable; waits for the next event.
            let _ = self
                .0
                .try_io(Interest::WRITABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
        }
    }

    fn has_hung_up(&self) -> bool {
        // A hang-up is reported in any case.
        let mut ends = [PollFd::new(self.0.as_fd(), PollFlags::empty())];
        let told = poll(&mut ends, PollTimeout::ZERO);
        told.is_ok_and(|told| told > 0)
            && ends[0].revents().is_some_and(|said| said.contains(PollFlags::POLLHUP))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::io::AsyncWriteExt;
    use tokio::time::timeout;

    #[tokio::test]
    async fn whoever_has_closed_one_half_is_still_there() {
        let (here, mut there) = UnixStream::pair().unwrap();
        let peer = PeerWatch::of(&here).unwrap();
        there.write_all(b"order").await.unwrap();
        there.shutdown().await.unwrap();
        assert!(timeout(Duration::from_millis(50), peer.gone()).await.is_err());
        let gone = tokio::spawn(async move { peer.gone().await });
        tokio::task::yield_now().await;
        drop(there);
        gone.await.unwrap();
        let (here, there) = UnixStream::pair().unwrap();
        let peer = PeerWatch::of(&here).unwrap();
        drop(there);
        assert!(peer.has_hung_up());
        peer.gone().await;
    }
}

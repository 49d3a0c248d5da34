//! Listening sockets.

use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use tokio::net::{TcpListener, TcpSocket};

/// The kernel's queue of connections that are not accepted yet.
const BACKLOG: u32 = 1024;

/// Opens a listening socket. `[::]` includes IPv4, and becomes `0.0.0.0` on a machine without IPv6.
///
/// # Errors
/// The system's: the port is in use (EADDRINUSE), or below 1024 and not permitted (EACCES).
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    match address {
        SocketAddr::V4(_) => listen(TcpSocket::new_v4()?, address),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => {
            let dual_stack = TcpSocket::new_v6().and_then(|socket| {
                setsockopt(&socket, sockopt::Ipv6V6Only, &false)?;
                listen(socket, address)
            });
            match dual_stack {
                Err(error) if is_without_ipv6(&error) => {
                    bind((Ipv4Addr::UNSPECIFIED, address.port()).into())
                }
                other => other,
            }
        }
        SocketAddr::V6(_) => listen(TcpSocket::new_v6()?, address),
    }
}

fn listen(socket: TcpSocket, address: SocketAddr) -> io::Result<TcpListener> {
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn is_without_ipv6(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(|errno| {
        matches!(Errno::from_raw(errno), Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpStream;

    #[tokio::test]
    async fn the_unspecified_address_takes_both_families() {
        let listener = bind("[::]:0".parse().unwrap()).unwrap();
        let port = listener.local_addr().unwrap().port();
        TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let (_, peer) = listener.accept().await.unwrap();
        assert!(peer.ip().to_canonical().is_ipv4());
    }
}

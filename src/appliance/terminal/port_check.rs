//! Terminal `in`: checks its ports before a start, and explains one that cannot be opened.
//!
//! In: the properties `listen`, `smtp_port`, `smtps_port`, `device_port`, `submission_port`,
//! `ui_port`. Out: failures, with the lines of the contract. Limits: a port is bound for a moment
//! and never listened on, with the option that lets others bind it too. So no client is lost, and a
//! server that starts meanwhile is not disturbed. Source: socket(7), SO_REUSEADDR: binding still
//! fails if another socket listens on the port.

use crate::appliance::failure::{Exit, Failure};
use crate::appliance::property::Settings;
use crate::appliance::start_errors;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, setsockopt, socket, sockopt,
};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;

/// The ports that cannot be opened now; one failure for each.
pub fn preflight(settings: &Settings) -> Vec<Failure> {
    let secure = (!settings.ssl_disabled).then_some(("smtps_port", settings.smtps_port));
    let has_users = !settings.smtp_users.is_empty();
    let submission = has_users.then_some(("submission_port", settings.submission_port));
    let ports = [("smtp_port", settings.smtp_port)]
        .into_iter()
        .chain(secure)
        .chain((settings.device_port != 0).then_some(("device_port", settings.device_port)))
        .chain(submission)
        .chain([("ui_port", settings.ui_port)]);
    ports
        .filter_map(|(property, port)| {
            let errors = settings.listen.iter().filter_map(|address| attempt(*address, port).err());
            // Whether the addresses belong to this machine is checked elsewhere.
            let mut errors = errors.filter(|error| error.kind() != ErrorKind::AddrNotAvailable);
            errors.next().map(|error| not_opened(property, port, &error))
        })
        .collect()
}

/// The failure of a start for a port that cannot be opened.
pub fn not_opened(property: &str, port: u16, error: &io::Error) -> Failure {
    let denied = error.kind() == ErrorKind::PermissionDenied;
    let advice = match error.kind() {
        ErrorKind::PermissionDenied => "take a port above 1023, or grant CAP_NET_BIND_SERVICE",
        ErrorKind::AddrInUse => "another program listens there; stop it or take another port",
        ErrorKind::AddrNotAvailable => "an address of property listen is not this machine's",
        _ => "see property listen",
    };
    let line = if property == "ui_port" { start_errors::UI } else { start_errors::START };
    let exit = if denied { Exit::Permission } else { Exit::Unavailable };
    Failure::new(exit, line, format!("{property}={port} cannot be opened: {error}; {advice}"))
}

/// Binds a port as the core will, and closes it.
fn attempt(address: IpAddr, port: u16) -> io::Result<()> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let bound = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).and_then(|socket| {
        setsockopt(&socket, sockopt::ReuseAddr, &true)?;
        if address.is_ipv6() {
            setsockopt(&socket, sockopt::Ipv6V6Only, &!address.is_unspecified())?;
        }
        bind(socket.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(address, port)))
    });
    match bound {
        Err(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL)
            if address.is_ipv6() && address.is_unspecified() =>
        {
            attempt(Ipv4Addr::UNSPECIFIED.into(), port)
        }
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_port_that_somebody_listens_on_is_taken_and_stays_theirs() {
        let theirs = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = theirs.local_addr().unwrap().port();
        for address in ["127.0.0.1", "0.0.0.0", "::"] {
            assert_eq!(
                attempt(address.parse().unwrap(), port).unwrap_err().kind(),
                ErrorKind::AddrInUse,
                "{address}"
            );
        }
        assert!(attempt("127.0.0.2".parse().unwrap(), port).is_ok());
        drop(theirs);
        for address in ["127.0.0.1", "::", "::1"] {
            assert!(attempt(address.parse().unwrap(), port).is_ok(), "{address}");
        }
    }

    #[test]
    fn the_line_is_that_of_the_server() {
        let taken = io::Error::from(Errno::EADDRINUSE);
        assert_eq!(not_opened("ui_port", 80, &taken).line, start_errors::UI);
        let denied = not_opened("smtp_port", 25, &io::Error::from(Errno::EACCES));
        assert_eq!((denied.line.as_str(), denied.exit), (start_errors::START, Exit::Permission));
        assert!(
            denied.cause.starts_with("smtp_port=25 cannot be opened: ")
                && denied.cause.contains("CAP_NET_BIND_SERVICE")
        );
    }
}

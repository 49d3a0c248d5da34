//! HAProxy of the test in front of the relay.

use super::program::{Program, find, free_port, open_directory};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use tempfile::TempDir;

/// The address from which it connects.
pub const PROXY: &str = "127.0.0.9";

/// A running HAProxy with one listener.
pub struct Haproxy {
    _program: Program,
    _directory: TempDir,
    /// Where clients connect.
    pub address: SocketAddr,
}

impl Haproxy {
    /// One that passes connections on to `relay` and looks at it every tenth of a second; `server`
    /// is the rest of its server line, such as `send-proxy`.
    pub fn before(relay: SocketAddr, server: &str) -> Self {
        Self::at(SocketAddr::from((Ipv4Addr::LOCALHOST, free_port())), relay, server)
    }

    /// The same at a given place.
    pub fn at(address: SocketAddr, relay: SocketAddr, server: &str) -> Self {
        let directory = open_directory();
        let file = directory.path().join("haproxy.cfg");
        let text = format!(
            "global\n  maxconn 200\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client \
            60s\n  timeout server 60s\nlisten smtp\n  bind {address}\n  \
             server mta {relay} source {PROXY} check inter 100ms {server}\n"
        );
        fs::write(&file, text).unwrap();
        let mut command = Command::new(find("haproxy"));
        command.arg("-db").arg("-f").arg(&file);
        let program = Program::start(directory.path(), "haproxy", command).listening(address);
        Self { _program: program, _directory: directory, address }
    }
}

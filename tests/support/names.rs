//! dnsmasq with the test's records: the whole DNS for an appliance under test.

use super::program::{Program, find, free_port, open_directory};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use tempfile::TempDir;

/// A running name server; in `example` only its records exist.
pub struct Names {
    _program: Program,
    _directory: TempDir,
    address: SocketAddr,
}

impl Names {
    /// Records as dnsmasq takes them: `mx-host=there.example,mx.there.example,10`, `host-record=…`,
    /// `cname=…`, `dns-rr=…`.
    pub fn serve(records: &[String]) -> Self {
        Self::serve_at(free_port(), records)
    }

    /// The same server with other records.
    pub fn serve_instead(self, records: &[String]) -> Self {
        let port = self.address.port();
        drop(self);
        Self::serve_at(port, records)
    }

    fn serve_at(port: u16, records: &[String]) -> Self {
        let directory = open_directory();
        let mut command = Command::new(find("dnsmasq"));
        command.args([
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--no-resolv",
            "--no-hosts",
            "--no-daemon",
        ]);
        command.args([
            "--listen-address=127.0.0.1",
            "--bind-interfaces",
            "--user=root",
            "--pid-file=",
            "--local=/example/",
        ]);
        command
            .arg(format!("--port={port}"))
            .args(records.iter().map(|record| format!("--{record}")));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let program = Program::start(directory.path(), "dnsmasq", command).listening(address);
        Self { _program: program, _directory: directory, address }
    }

    /// The property `dns_servers`.
    pub fn servers(&self) -> String {
        self.address.to_string()
    }
}

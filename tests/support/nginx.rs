//! nginx of the test as a mail proxy in front of the relay.

use super::program::{Program, find, free_port, open_directory};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// Debian's package libnginx-mod-mail.
const MODULE: &str = "/usr/lib/nginx/modules/ngx_mail_module.so";

/// A running nginx with one mail server. It says to itself that every login is right.
pub struct MailNginx {
    _program: Program,
    _directory: TempDir,
    /// Where clients connect.
    pub address: SocketAddr,
}

impl MailNginx {
    /// One that passes mail on to `relay`, and asks its clients for a login with `smtp_auth plain`,
    /// or not with `smtp_auth none`.
    pub fn before(relay: SocketAddr, smtp_auth: &str) -> Self {
        assert!(
            Path::new(MODULE).exists(),
            "{MODULE} is missing (package libnginx-mod-mail): run scripts/install-peers.sh as root"
        );
        let directory = open_directory();
        let root = directory.path().display();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let asked = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let text = format!(
            "load_module {MODULE};\ndaemon off; pid {root}/pid; error_log {root}/error info;\n\
             worker_processes 1;\nevents {{}}\nhttp {{ access_log off;\n\
             client_body_temp_path {root}/body; proxy_temp_path {root}/proxy;\n\
             fastcgi_temp_path {root}/f; uwsgi_temp_path {root}/u; scgi_temp_path {root}/s;\n\
             server {{ listen {asked}; location / {{ add_header Auth-Status OK;\n\
             add_header Auth-Server {}; add_header Auth-Port {}; return 200 ok; }} }} }}\n\
             mail {{ server_name nginx.example; auth_http {asked}/auth; resolver off;\n\
             server {{ listen {address}; protocol smtp; xclient on;\n\
             proxy_pass_error_message on; {smtp_auth}; }} }}\n",
            relay.ip(),
            relay.port()
        );
        let file = directory.path().join("nginx.conf");
        fs::write(&file, text).unwrap();
        let mut command = Command::new(find("nginx"));
        command.args(["-e", &format!("{root}/error"), "-c"]).arg(&file);
        let program = Program::start(directory.path(), "nginx", command).listening(address);
        Self { _program: program, _directory: directory, address }
    }
}

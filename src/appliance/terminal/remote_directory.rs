//! A directory on a file server: the requests for it, and the meaning of the answers.
//!
//! [`ShareLocation`](super::share::ShareLocation) and
//! [`ExportLocation`](super::export::ExportLocation) each have one; `mounted` mounts either.

use crate::appliance::mount::MountRequest;
use crate::appliance::supervise::identity::Identity;
use crate::ground::host::{Host, HostSpec};
use nix::errno::Errno;
use std::net::IpAddr;

/// A directory on a server, and the mount requests for it.
pub trait RemoteDirectory {
    /// The server.
    fn server(&self) -> &HostSpec;
    /// The requests at this address: each is worth trying when those before it failed.
    fn requests(&self, address: IpAddr, identity: &Identity) -> Vec<MountRequest>;
    /// Whether the next request may succeed after one that got this answer.
    fn is_worth_another(errno: Errno) -> bool;
    /// The meaning of the kernel's answer, as text.
    fn meaning(&self, errno: Errno) -> String;
}

/// A host in the form that precedes the path of a share or an export.
pub(super) fn name_of(host: &Host) -> String {
    match host {
        Host::Name(name) => name.clone(),
        Host::Address(IpAddr::V4(address)) => address.to_string(),
        Host::Address(IpAddr::V6(address)) => format!("[{address}]"),
    }
}

//! A directory on a server of files: whom to ask for it, and what the answers mean.
//!
//! [`Share`](super::share::Share) and [`Export`](super::export::Export) each have one; `mounted`
//! mounts either.

use crate::appliance::mount::Request;
use crate::appliance::supervise::identity::Identity;
use crate::ground::host::{Host, HostSpec};
use nix::errno::Errno;
use std::net::IpAddr;

/// A directory on a server, and how the kernel is asked for it.
pub trait RemoteDirectory {
    /// Whom to ask.
    fn server(&self) -> &HostSpec;
    /// What to ask, at this address: each request is worth a try when those before it were refused.
    fn requests(&self, address: IpAddr, identity: &Identity) -> Vec<Request>;
    /// Whether the next request may fare better than one that got this answer.
    fn is_worth_another(errno: Errno) -> bool;
    /// What an answer of the kernel means, in words.
    fn meaning(&self, errno: Errno) -> String;
}

/// A host as it stands before the path of a share or an export.
pub(super) fn name_of(host: &Host) -> String {
    match host {
        Host::Name(name) => name.clone(),
        Host::Address(IpAddr::V4(address)) => address.to_string(),
        Host::Address(IpAddr::V6(address)) => format!("[{address}]"),
    }
}

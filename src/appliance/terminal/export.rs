//! Terminal `fs`: an export of an NFS server, with the TLS key and certificate.
//!
//! In: `server[:port]:/export`, or the absolute path of a directory where the engine has mounted
//! one. Out: mount(2) requests, the newest version of NFS first; error texts. Limits: NFS 4.2, 4.1,
//! 4.0 and 3 over TCP; version 3 needs the server's rpcbind, unless mountd answers on the given
//! port. Read only; attributes are cached for [`ATTRIBUTES_SECONDS`], so that a renewed file is
//! seen soon. Security: sec=sys; the export's options decide what root may read, and nothing is
//! ever written or chowned. Source: nfs(5); the kernel's fs/nfs/fs_context.c reads the options.

use super::remote_directory::{RemoteDirectory, name_of};
use crate::appliance::mount::{MountRequest, in_words};
use crate::appliance::supervise::identity::Identity;
use crate::ground::host::HostSpec;
use crate::ground::net::source_address;
use nix::errno::Errno;
use nix::mount::MsFlags;
use std::net::IpAddr;
use std::path::PathBuf;

/// The file system's name in the kernel.
pub const KIND: &str = "nfs";
/// How long the kernel caches attributes of a file, in seconds.
pub const ATTRIBUTES_SECONDS: u32 = 5;
/// The port of every version of NFS (RFC 7530 §3.1).
const NFS_PORT: u16 = 2049;
/// Time until an unanswered request is sent again, in tenths of a second.
const TIMEOUT: u32 = 30;
/// How often it is sent again before the kernel gives up.
const REPEATS: u32 = 2;

/// The place of key and certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExportLocation {
    /// A directory of this machine.
    Path(PathBuf),
    /// An export to be mounted.
    Remote(RemoteExport),
}

/// An export of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteExport {
    /// The server, perhaps with its port.
    pub server: HostSpec,
    /// The exported directory, an absolute path on the server.
    pub path: String,
}

impl ExportLocation {
    /// Reads the property.
    ///
    /// # Errors
    /// A text that continues the property's name.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong =
            || "must be server[:port]:/export or the absolute path of a mounted export".to_owned();
        // `//server/share` and `\\server\share` are names of shares; as a path the first would be a
        // directory of this machine.
        if text.starts_with("//") || text.starts_with('\\') || text.contains("://") {
            return Err(format!(
                "{}: that is not how NFS names an export, which is server:/export",
                wrong()
            ));
        }
        if text.starts_with('/') {
            return Ok(Self::Path(PathBuf::from(text)));
        }
        if text.contains(char::is_control) {
            return Err("must have no control character in it".to_owned());
        }
        let at = text.find(":/").ok_or_else(wrong)?;
        let server = text[..at].parse().map_err(|_| wrong())?;
        Ok(Self::Remote(RemoteExport { server, path: text[at + 1..].to_owned() }))
    }
}

/// Whether a text names an export.
///
/// # Errors
/// A text that continues the property's name.
pub fn export_text(text: &str) -> Result<String, String> {
    ExportLocation::parse(text).map(|_| text.to_owned())
}

impl RemoteDirectory for RemoteExport {
    fn server(&self) -> &HostSpec {
        &self.server
    }

    fn requests(&self, address: IpAddr, _: &Identity) -> Vec<MountRequest> {
        let port = self.server.port.unwrap_or(NFS_PORT);
        let common = format!(
            "addr={address},port={port},proto={},sec=sys,soft,timeo={TIMEOUT},retrans={REPEATS},actimeo={ATTRIBUTES_SECONDS}",
            protocol(address)
        );
        // NFS 4.0 connects back to it.
        let ours = source_address((address, port).into())
            .map(|ours| format!(",clientaddr={ours}"))
            .unwrap_or_default();
        let old = format!(
            "{common},vers=3,nolock,mountvers=3,mountproto={},mountaddr={address}",
            protocol(address)
        );
        let mut options: Vec<_> =
            ["4.2", "4.1", "4.0"].map(|version| format!("{common},vers={version}{ours}")).into();
        options.push(old.clone());
        if self.server.port.is_some() {
            // One program for both protocols behind one port, as in user space servers.
            options.push(format!("{old},mountport={port}"));
        }
        let source = format!("{}:{}", name_of(&self.server.host), self.path);
        options
            .into_iter()
            .map(|options| MountRequest {
                source: source.clone(),
                kind: KIND,
                flags: MsFlags::MS_RDONLY,
                options,
            })
            .collect()
    }

    fn is_worth_another(errno: Errno) -> bool {
        // A server that does not answer at all, and a kernel without NFS, fail in the same way for
        // all versions.
        !matches!(
            errno,
            Errno::ENODEV
                | Errno::ETIMEDOUT
                | Errno::EHOSTUNREACH
                | Errno::EHOSTDOWN
                | Errno::ENETUNREACH
                | Errno::ENETDOWN
        )
    }

    fn meaning(&self, errno: Errno) -> String {
        let said = in_words(errno, KIND);
        match errno {
            Errno::EACCES | Errno::EPERM => {
                format!(
                    "{said}; or the server does not export {} to this address (exportfs -v there)",
                    self.path
                )
            }
            Errno::ENOENT | Errno::ENOTDIR => {
                format!("{said}: the server has no export {}", self.path)
            }
            Errno::EPROTONOSUPPORT | Errno::EOPNOTSUPP | Errno::EINVAL => {
                format!(
                    "{said}: the server and this kernel have no version of NFS from 3 to 4.2 \
                    in common"
                )
            }
            _ => said,
        }
    }
}

fn protocol(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "tcp" } else { "tcp6" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(text: &str) -> RemoteExport {
        match ExportLocation::parse(text).unwrap() {
            ExportLocation::Remote(remote) => remote,
            ExportLocation::Path(path) => panic!("{path:?}"),
        }
    }

    #[test]
    fn every_form_is_read() {
        assert_eq!(
            ExportLocation::parse("/mnt/keys"),
            Ok(ExportLocation::Path(PathBuf::from("/mnt/keys")))
        );
        assert_eq!(remote("nas:/srv/keys").path, "/srv/keys");
        let full = remote("[2001:db8::1]:1049:/");
        assert_eq!(
            (full.server.to_string().as_str(), full.path.as_str()),
            ("[2001:db8::1]:1049", "/")
        );
        for bad in ["nas", "nas:keys", ":/keys", "nas:x:/keys", "u@nas:/keys"] {
            assert!(ExportLocation::parse(bad).is_err(), "{bad}");
        }
        for other in ["//nas/share", "\\\\nas\\share", "nfs://nas/keys"] {
            assert!(
                ExportLocation::parse(other).unwrap_err().ends_with("which is server:/export"),
                "{other}"
            );
        }
    }

    #[test]
    fn versions_are_tried_from_the_newest_on() {
        let requests =
            remote("nas:/keys").requests(IpAddr::from([127, 0, 0, 1]), &Identity::same());
        let options: Vec<_> = requests.iter().map(|request| request.options.as_str()).collect();
        assert!(
            options[0].contains("vers=4.2,clientaddr=127.0.0.1")
                && options[0].contains("port=2049"),
            "{options:?}"
        );
        assert!(
            options[3].contains("vers=3,nolock") && options[3].contains("mountaddr=127.0.0.1"),
            "{options:?}"
        );
        assert_eq!(options.len(), 4);
        assert!(requests.iter().all(|request| request.flags == MsFlags::MS_RDONLY && request.source == "nas:/keys"));
        let own_port =
            remote("nas:1049:/keys").requests(IpAddr::from([127, 0, 0, 1]), &Identity::same());
        assert!(own_port[4].options.ends_with("mountport=1049"));
        let six = remote("[::1]:/keys")
            .requests(IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1_u16]), &Identity::same());
        assert!(six[0].options.contains("proto=tcp6") && six[0].source == "[::1]:/keys");
    }
}

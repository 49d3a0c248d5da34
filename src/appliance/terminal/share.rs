//! Terminal `log`: a share of a CIFS server, for the mail log.
//!
//! In: `//server[:port]/share[/path]`, `server` (its share is called `share`, as in AppLogic), or
//! the absolute path of a directory where the engine has mounted one. Out: mount(2) requests, the
//! most likely one first; error texts. Limits: anonymous or guest access; SMB 2.1 to 3.1.1, which
//! the kernel negotiates; SMB 1 is refused. Security: the mounted files belong to the core's user
//! only. No password is ever sent. Source: mount.cifs(8) for the options; the kernel's
//! fs/smb/client/fs_context.c reads them.

use super::remote_directory::{RemoteDirectory, name_of};
use crate::appliance::mount::{MountRequest, in_words};
use crate::appliance::supervise::identity::Identity;
use crate::ground::host::HostSpec;
use nix::errno::Errno;
use nix::mount::MsFlags;
use std::net::IpAddr;
use std::path::{Component, Path, PathBuf};

/// The file system's name in the kernel.
pub const KIND: &str = "cifs";
/// The share of a server that is given alone.
const DEFAULT_SHARE: &str = "share";
/// The user: the guest account that Windows knows by this name, as does any server that maps
/// unknown users to its guest.
const GUEST: &str = "username=guest,password=";
/// Or an anonymous user.
const NOBODY: &str = "sec=none";
/// Seconds between two echo requests: a server that misses a few in a row counts as dead.
const ECHO_INTERVAL: u32 = 5;

/// The place of the mail log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShareLocation {
    /// A directory of this machine.
    Path(PathBuf),
    /// A share to be mounted.
    Remote(RemoteShare),
}

/// A share of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteShare {
    /// The server, perhaps with its port.
    pub server: HostSpec,
    /// The share's name.
    pub share: String,
    /// A directory on it, with `/` between its parts; may be empty.
    pub path: String,
}

impl ShareLocation {
    /// Reads the property.
    ///
    /// # Errors
    /// A text that continues the property's name.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            "must be //server[:port]/share[/path], a server, or the absolute path of a \
            mounted share"
                .to_owned()
        };
        // `\\server\share` of Windows, `smb://server/share` of desktops, `server:/export` of NFS.
        if text.starts_with('\\')
            || text.contains("://")
            || (!text.starts_with('/') && text.contains(":/"))
        {
            return Err(format!("{}: a share is written with slashes, //server/share", wrong()));
        }
        let Some(rest) = text.strip_prefix("//") else {
            if text.starts_with('/') {
                return Ok(Self::Path(PathBuf::from(text)));
            }
            let server = text.parse().map_err(|_| wrong())?;
            return Ok(Self::Remote(RemoteShare {
                server,
                share: DEFAULT_SHARE.to_owned(),
                path: String::new(),
            }));
        };
        let (server, rest) = rest.split_once('/').ok_or_else(wrong)?;
        let (share, path) = rest.split_once('/').unwrap_or((rest, ""));
        let parts: Vec<_> = path.split('/').filter(|part| !part.is_empty()).collect();
        let path = parts.join("/");
        if share.is_empty()
            || Path::new(&path).components().any(|part| part == Component::ParentDir)
        {
            return Err(wrong());
        }
        // The kernel reads options separated by commas, and has no quoting for one here.
        if text.contains([',', '\\']) || text.contains(char::is_control) {
            return Err("must have no comma, backslash or control character in it".to_owned());
        }
        Ok(Self::Remote(RemoteShare {
            server: server.parse().map_err(|_| wrong())?,
            share: share.to_owned(),
            path,
        }))
    }
}

/// Whether a text names a log share.
///
/// # Errors
/// A text that continues the property's name.
pub fn share_text(text: &str) -> Result<String, String> {
    ShareLocation::parse(text).map(|_| text.to_owned())
}

impl RemoteDirectory for RemoteShare {
    fn server(&self) -> &HostSpec {
        &self.server
    }

    fn requests(&self, address: IpAddr, identity: &Identity) -> Vec<MountRequest> {
        // A guest with a name first: Samba may allow an anonymous user to create directories, and
        // then nothing inside them. Old kernels negotiate fewer versions.
        [(GUEST, "default"), (NOBODY, "default"), (GUEST, "3.1.1"), (GUEST, "3.0"), (GUEST, "2.1")]
            .into_iter()
            .map(|(who, dialect)| self.request(address, identity, who, dialect))
            .collect()
    }

    fn is_worth_another(errno: Errno) -> bool {
        matches!(
            errno,
            Errno::EACCES
                | Errno::EPERM
                | Errno::EINVAL
                | Errno::EOPNOTSUPP
                | Errno::ENOKEY
                | Errno::EKEYREJECTED
                | Errno::EIO
        )
    }

    fn meaning(&self, errno: Errno) -> String {
        let said = in_words(errno, KIND);
        match errno {
            Errno::EACCES | Errno::ENOKEY | Errno::EKEYREJECTED => format!(
                "{said}; or the server refuses guests: allow them on share '{}' (Samba: guest ok = \
                yes, map to guest = Bad User)",
                self.share
            ),
            Errno::ENOENT | Errno::ENXIO | Errno::ENOTDIR if self.path.is_empty() => {
                format!("{said}: the server has no share '{}'", self.share)
            }
            Errno::ENOENT | Errno::ENXIO | Errno::ENOTDIR => {
                format!(
                    "{said}: the server has no share '{}', or no directory '{}' on it",
                    self.share, self.path
                )
            }
            Errno::EOPNOTSUPP | Errno::EINVAL => {
                format!(
                    "{said}: the server and this kernel have no dialect of SMB 2.1 to 3.1.1 \
                    in common"
                )
            }
            Errno::EHOSTDOWN => format!("{said} (so does one that speaks nothing but SMB 1)"),
            _ => said,
        }
    }
}

impl RemoteShare {
    fn request(
        &self,
        address: IpAddr,
        identity: &Identity,
        who: &str,
        dialect: &str,
    ) -> MountRequest {
        let host = name_of(&self.server.host);
        let (uid, gid) = (identity.uid, identity.gid);
        let mut options = format!(
            "ip={address},unc=\\\\{host}\\{},{who},vers={dialect},soft,uid={uid},forceuid,gid={gid},forcegid,file_mode=0600,\
             dir_mode=0700,cache=none,echo_interval={ECHO_INTERVAL}",
            self.share
        );
        if let Some(port) = self.server.port {
            options += &format!(",port={port}");
        }
        let mut source = format!("//{host}/{}", self.share);
        if !self.path.is_empty() {
            // Newer kernels read it from the source, older ones from here.
            options += &format!(",prefixpath={}", self.path);
            source += &format!("/{}", self.path);
        }
        MountRequest { source, kind: KIND, flags: MsFlags::empty(), options }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(text: &str) -> RemoteShare {
        match ShareLocation::parse(text).unwrap() {
            ShareLocation::Remote(remote) => remote,
            ShareLocation::Path(path) => panic!("{path:?}"),
        }
    }

    #[test]
    fn every_form_is_read() {
        assert_eq!(
            ShareLocation::parse("/mnt/log"),
            Ok(ShareLocation::Path(PathBuf::from("/mnt/log")))
        );
        let alone = remote("nas");
        assert_eq!(
            (alone.share.as_str(), alone.path.as_str(), alone.server.port),
            ("share", "", None)
        );
        let full = remote("//nas.example:1445/logs/mta//one/");
        assert_eq!(
            (full.share.as_str(), full.path.as_str(), full.server.port),
            ("logs", "mta/one", Some(1445))
        );
        assert_eq!(remote("//[2001:db8::1]:445/s").server.to_string(), "[2001:db8::1]:445");
        for bad in [
            "//nas",
            "//nas/",
            "///share",
            "//nas/a/../b",
            "//nas/a,uid=0",
            "//nas:0/s",
            "//u@nas/s",
            "nas/share",
            "//nas/a\\b",
        ] {
            assert!(ShareLocation::parse(bad).is_err(), "{bad}");
        }
        for other in ["\\\\nas\\share", "smb://nas/share", "nas:/export"] {
            assert!(
                ShareLocation::parse(other).unwrap_err().ends_with("//server/share"),
                "{other}"
            );
        }
    }

    #[test]
    fn requests_carry_what_the_helper_program_would_find_out() {
        let requests =
            remote("//nas:1445/logs/mta").requests(IpAddr::from([192, 0, 2, 7]), &Identity::same());
        let first = &requests[0];
        assert_eq!((first.source.as_str(), first.kind), ("//nas/logs/mta", "cifs"));
        for part in [
            "ip=192.0.2.7",
            "unc=\\\\nas\\logs",
            "username=guest",
            "port=1445",
            "prefixpath=mta",
            "file_mode=0600",
            "soft",
        ] {
            assert!(
                first.options.split(',').any(|option| option == part),
                "{part} in {}",
                first.options
            );
        }
        assert!(requests.iter().all(|request| !request.options.contains("vers=1.0")));
    }
}

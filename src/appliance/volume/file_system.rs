//! The kind of storage of a data volume, by its file system: whether a sync is reliable.
//!
//! In: a path. Out: a [`Medium`], the reason to refuse it, and warnings. Limits: only the type of
//! the file system and its options are checked; a disk that ignores flushes of its write cache
//! cannot be detected. Source: `f_type` of statfs(2), by the numbers of the kernel's magic.h;
//! docs/durability.md has the reasons.

use crate::appliance::mounts;
use nix::sys::statfs::statfs;
use std::path::Path;

/// The storage under a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Medium {
    /// A file system of this machine's kernel.
    Local,
    /// Memory, lost with its machine.
    Memory,
    /// A file server: only the server knows whether anything is on a disk. Its name.
    FileServer(&'static str),
    /// Files kept by another program or machine, such as folders that desktop engines pass in. The
    /// name of the mechanism.
    Passed(&'static str),
}

/// In the order of their numbers.
const KINDS: [(u32, Medium); 15] = [
    (0x0102_1994, Medium::Memory), // tmpfs
    (0x0102_1997, Medium::Passed("9p")),
    (0x00c3_6400, Medium::Passed("Ceph")),
    (0x0000_517b, Medium::FileServer("SMB")),
    (0x0000_564c, Medium::FileServer("NCP")),
    (0x0000_6969, Medium::FileServer("NFS")),
    (0x5346_414f, Medium::FileServer("AFS")),
    (0x6573_5546, Medium::Passed("FUSE or virtiofs")),
    (0x6b41_4653, Medium::FileServer("AFS")),
    (0x7375_7245, Medium::FileServer("Coda")),
    (0x786f_4256, Medium::Passed("vboxsf")),
    (0x8584_58f6, Medium::Memory), // ramfs
    (0xbacb_acbc, Medium::Passed("vmhgfs")),
    (0xfe53_4d42, Medium::FileServer("CIFS")),
    (0xff53_4d42, Medium::FileServer("CIFS")),
];

impl Medium {
    /// The storage of `path`. If it cannot be determined it counts as local; errors will show when
    /// it is used.
    pub fn of(path: &Path) -> Self {
        statfs(path)
            .map_or(Self::Local, |stat| Self::by_number(stat.filesystem_type().0.cast_unsigned()))
    }

    fn by_number(number: u64) -> Self {
        let known = KINDS.iter().find(|(kind, _)| u64::from(*kind) == number & 0xffff_ffff);
        known.map_or(Self::Local, |(_, medium)| *medium)
    }

    /// Why mail is not stored there, and where instead.
    pub fn refusal(self, path: &Path) -> Option<String> {
        let Self::FileServer(name) = self else { return None };
        Some(format!(
            "{} lies on a file server ({name}), which may report mail as stored too early, may \
            lose the lock that excludes a second relay, and blocks all mail when it hangs; use a \
            local file system: a \
             volume of the engine \
             (-v mta-data:/data), or a block device with ext4 or XFS, which may come from a SAN \
             (volume_data=/dev/...)",
            path.display()
        ))
    }

    /// Why mail stored there may be lost.
    fn warning(self, path: &Path) -> Option<String> {
        let shown = path.display();
        match self {
            Self::Memory => Some(format!(
                "THE DATA VOLUME {shown} IS IN MEMORY (tmpfs): queued mail is lost with it"
            )),
            Self::Passed(by) => Some(format!(
                "the data volume {shown} is provided by another program or machine ({by}): whether \
                its syncs reach a disk is unknown; for mail that must not be lost use a volume of \
                the engine, for \
                 example -v mta-data:{shown}"
            )),
            Self::Local | Self::FileServer(_) => None,
        }
    }
}

/// Warnings about a data volume that is not refused. `contained` = this is a container.
pub fn warnings(path: &Path, contained: bool) -> Vec<String> {
    let shown = path.display();
    let of_place = if contained && mounts::is_on_root(path) {
        Some(format!(
            "THE DATA VOLUME {shown} IS PART OF THE CONTAINER ITSELF: queued mail is lost with it. \
            Mount a volume there, for example \
             -v mta-data:{shown}"
        ))
    } else if contained && mounts::is_anonymous_volume(path) {
        Some(format!(
            "THE DATA VOLUME {shown} HAS NO NAME: the engine made it because nothing is mounted \
            there. docker run --rm removes it, \
             and the next container gets an empty one: queued mail is lost or left behind. Name \
             it, for example -v mta-data:{shown}"
        ))
    } else {
        Medium::of(path).warning(path)
    };
    let of_mount = mounts::ignores_flushes(path).then(|| {
        format!(
            "THE DATA VOLUME {shown} IS MOUNTED WITH nobarrier: a power cut loses mail that was \
            answered 250, unless the disk's \
             write cache has a battery; mount it without"
        )
    });
    of_place.into_iter().chain(of_mount).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_are_told_apart() {
        assert_eq!(Medium::by_number(0xef53), Medium::Local);
        assert_eq!(Medium::by_number(0x6969), Medium::FileServer("NFS"));
        // As on a machine with 32 bits.
        assert_eq!(Medium::by_number(0xffff_ffff_ff53_4d42), Medium::FileServer("CIFS"));
        assert_eq!(Medium::by_number(0x6573_5546), Medium::Passed("FUSE or virtiofs"));
        assert_eq!(Medium::of(Path::new("/nowhere")), Medium::Local);
        let numbers: Vec<_> = KINDS.iter().map(|(number, _)| number).collect();
        let different: std::collections::BTreeSet<_> = numbers.iter().collect();
        assert_eq!(different.len(), numbers.len());
    }

    #[test]
    fn a_file_server_is_refused_with_what_to_do() {
        let refusal = Medium::FileServer("NFS").refusal(Path::new("/data")).unwrap();
        assert!(
            refusal.contains("/data lies on a file server (NFS)")
                && refusal.contains("-v mta-data:/data"),
            "{refusal}"
        );
        assert_eq!(Medium::Passed("9p").refusal(Path::new("/data")), None);
        assert!(Medium::Passed("9p").warning(Path::new("/data")).unwrap().contains("(9p)"));
    }
}

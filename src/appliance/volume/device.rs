//! Block devices as volumes: detection of the file system, and mounting.
//!
//! In: the path of a device. Out: mount(2) requests, or a text about what is on it instead of a
//! supported file system. Limits: ext2 to ext4, XFS and btrfs, told apart by their superblocks.
//! Source: ext4 (Documentation/filesystems/ext4, s_magic), XFS (xfs_dsb), btrfs
//! (btrfs_super_block): the kernel's headers.

use super::super::mount::{MountRequest, in_words};
use nix::errno::Errno;
use nix::mount::MsFlags;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The signature of each file system, as octets at an offset; the first match counts.
const MARKS: [(u64, &[u8], Content); 8] = [
    (0x438, &[0x53, 0xef], Content::FileSystem("ext4")),
    (0, b"XFSB", Content::FileSystem("xfs")),
    (0x1_0040, b"_BHRfS_M", Content::FileSystem("btrfs")),
    (
        0,
        b"LUKS\xba\xbe",
        Content::Other(
            "an encrypted container (LUKS): open it and name the device below /dev/mapper",
        ),
    ),
    (512, b"LABELONE", Content::Other("a physical volume of LVM: name the logical volume")),
    (4086, b"SWAPSPACE2", Content::Other("swap space")),
    (512, b"EFI PART", Content::Other("a partition table: name the partition")),
    (
        510,
        &[0x55, 0xaa],
        Content::Other(
            "a partition table or a file system that is not supported: ext4, xfs and btrfs are",
        ),
    ),
];

/// The content of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    /// A file system that can be mounted.
    FileSystem(&'static str),
    /// Any other known content.
    Other(&'static str),
}

/// Mounts the device at `point`.
///
/// # Errors
/// What is wrong with it, as text.
pub fn mount(device: &Path, point: &Path, read_only: bool) -> Result<(), String> {
    let kind = file_system(device)?;
    let mut answer = Errno::EINVAL;
    for request in requests(device, kind, read_only) {
        match request.mount(point) {
            Ok(()) => return Ok(()),
            Err(errno) => answer = errno,
        }
        // Only a file system whose journal cannot be replayed is tried again.
        if !matches!(answer, Errno::EROFS | Errno::EACCES) {
            break;
        }
    }
    let words = in_words(answer, kind);
    Err(match answer {
        Errno::EROFS | Errno::EACCES if !read_only => {
            format!("{words}: the device is not writable")
        }
        Errno::EINVAL | Errno::EUCLEAN | Errno::ENOSYS => {
            format!(
                "{words}: its {kind} is damaged, or made for another kernel; look at it with fsck"
            )
        }
        _ => words,
    })
}

fn file_system(device: &Path) -> Result<&'static str, String> {
    let opened = File::open(device).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => {
            format!("{error}: give the container the device (--device, or devices: in compose)")
        }
        _ => error.to_string(),
    })?;
    match content(&opened).map_err(|error| error.to_string())? {
        Some(Content::FileSystem(kind)) => Ok(kind),
        Some(Content::Other(words)) => Err(format!("it holds {words}")),
        None => Err("it holds no file system that is known here; make one: mkfs.ext4".to_owned()),
    }
}

fn content(device: &impl FileExt) -> io::Result<Option<Content>> {
    for (place, mark, content) in MARKS {
        let mut found = [0; 16];
        let found = &mut found[..mark.len()];
        match device.read_exact_at(found, place) {
            Ok(()) if found == mark => return Ok(Some(content)),
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// On a read-only device the journal cannot be replayed; then it is mounted without.
fn requests(device: &Path, kind: &'static str, read_only: bool) -> Vec<MountRequest> {
    let request = |options: &str| MountRequest {
        source: device.display().to_string(),
        kind,
        flags: if read_only { MsFlags::MS_RDONLY } else { MsFlags::MS_NOATIME },
        options: options.to_owned(),
    };
    let without_replay = match kind {
        "ext4" => "noload",
        "xfs" => "norecovery",
        _ => "rescue=nologreplay",
    };
    if read_only { vec![request(""), request(without_replay)] } else { vec![request("")] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn with(place: usize, mark: &[u8]) -> Result<&'static str, String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let mut octets = vec![0; 0x2_0000];
        octets[place..place + mark.len()].copy_from_slice(mark);
        file.write_all(&octets).unwrap();
        file_system(file.path())
    }

    #[test]
    fn file_systems_are_known_by_their_superblocks() {
        assert_eq!(with(0x438, &[0x53, 0xef]), Ok("ext4"));
        assert_eq!(with(0, b"XFSB"), Ok("xfs"));
        assert_eq!(with(0x1_0040, b"_BHRfS_M"), Ok("btrfs"));
    }

    #[test]
    fn what_is_no_file_system_gets_its_name() {
        assert!(with(0, b"LUKS\xba\xbe").unwrap_err().contains("/dev/mapper"));
        assert!(with(512, b"EFI PART").unwrap_err().contains("name the partition"));
        assert!(with(100, b"x").unwrap_err().contains("mkfs.ext4"));
        let short = tempfile::NamedTempFile::new().unwrap();
        assert!(file_system(short.path()).unwrap_err().contains("mkfs.ext4"));
    }
}

//! The name of this appliance at terminal `mon`.
//!
//! A Pushgateway keeps one group of counters for each name. Two appliances without a host name must
//! not share one: each would overwrite the other's counters. So the name of such an appliance ends
//! in an identity that is stored on its data volume.

use crate::ground::disk::{self, Disk};
use std::io;

/// The file of the identity on the data volume.
const FILE: &str = "instance";

/// Characters of an identity.
const LENGTH: usize = 12;

/// The host name; a name that many machines have gets the volume's identity as suffix.
pub(super) fn name(hostname: &str, disk: &dyn Disk) -> String {
    let shared = hostname == "localhost" || hostname.starts_with("localhost.");
    if !shared {
        return hostname.to_owned();
    }
    let identity = identity(disk).unwrap_or_else(|error| {
        tracing::warn!(
            target: "mta",
            cause = %error,
            "the name for terminal mon cannot be stored on the data volume; it changes with \
            each start"
        );
        fresh()
    });
    format!("{hostname}-{identity}")
}

fn identity(disk: &dyn Disk) -> io::Result<String> {
    let mut octets = [0; LENGTH + 1];
    let kept = match disk.open(FILE) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        file => Some(file?.read_at(0, &mut octets)?),
    };
    match kept.and_then(|length| std::str::from_utf8(octets.get(..length)?).ok()) {
        Some(text) if text.len() == LENGTH && text.bytes().all(|b| b.is_ascii_hexdigit()) => {
            Ok(text.to_owned())
        }
        // Missing or invalid: a new one.
        _ => keep(disk, fresh()),
    }
}

fn fresh() -> String {
    format!("{:012x}", fastrand::u64(..1 << 48))
}

fn keep(disk: &dyn Disk, identity: String) -> io::Result<String> {
    disk::replace(disk, FILE, identity.as_bytes())?;
    Ok(identity)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::disk::DirectoryDisk;

    #[test]
    fn nameless_appliances_have_names_of_their_own_that_last() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (one, two) =
            (DirectoryDisk::open(one.path()).unwrap(), DirectoryDisk::open(two.path()).unwrap());
        let first = name("localhost.localdomain", &one);
        assert!(first.starts_with("localhost.localdomain-"), "{first}");
        assert_ne!(first, name("localhost.localdomain", &two));
        assert_eq!(first, name("localhost.localdomain", &one));
        assert_eq!(name("mta.example", &one), "mta.example");
        assert_eq!(name("localhostess.example", &one), "localhostess.example");
    }

    #[test]
    fn what_is_no_identity_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(FILE), b"../../../etc/x y").unwrap();
        let disk = DirectoryDisk::open(directory.path()).unwrap();
        let first = name("localhost", &disk);
        assert_eq!(first.len(), "localhost-".len() + LENGTH, "{first}");
        assert_eq!(first, name("localhost", &disk));
    }
}

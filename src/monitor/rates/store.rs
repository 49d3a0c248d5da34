//! The file `rates` on the data volume: magic, version, the rings, and a checksum over all.
//!
//! It is replaced as a whole. A damaged one, or one of a newer version, is renamed and a new one
//! begun.

use super::series::Rates;
use crate::ground::disk::{self, Disk};
use std::io;

const FILE: &str = "rates";
const DAMAGED: &str = "rates.unreadable";
const MAGIC: &[u8; 12] = b"POSTERNRATE1";

/// The rates of the last run, or gaps.
pub fn load(disk: &dyn Disk, now: u32) -> Rates {
    match read(disk, now) {
        Ok(Some(rates)) => rates,
        Ok(None) => Rates::new(now),
        Err(error) => {
            tracing::warn!(target: "mta", cause = %error, "the history of rates cannot be read and \
            starts empty; the file is kept as {DAMAGED}");
            // Best effort: the next one replaces it.
            let _ = disk.rename(FILE, DAMAGED);
            Rates::new(now)
        }
    }
}

/// Stores the result of [`Rates::encode`]. Blocks.
///
/// # Errors
/// The volume's; the file before is still there then.
pub fn save(disk: &dyn Disk, rates: Vec<u8>) -> io::Result<()> {
    let mut octets = MAGIC.to_vec();
    octets.extend(rates);
    octets.extend(crc32fast::hash(&octets).to_le_bytes());
    disk::replace(disk, FILE, &octets)
}

fn read(disk: &dyn Disk, now: u32) -> io::Result<Option<Rates>> {
    let file = match disk.open(FILE) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let mut octets = vec![0; MAGIC.len() + Rates::OCTETS + 64];
    let got = file.read_at(0, &mut octets)?;
    let whole = octets[..got]
        .split_last_chunk::<4>()
        .filter(|(text, crc)| crc32fast::hash(text).to_le_bytes() == **crc);
    let rates = whole.and_then(|(text, _)| Rates::decode(text.strip_prefix(MAGIC)?, now));
    rates.map(Some).ok_or_else(|| io::Error::other("it is damaged, or a newer version wrote it"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::disk::DirectoryDisk;
    use crate::monitor::rates::totals::Totals;

    #[test]
    fn rates_outlive_a_restart_and_a_damaged_file_stops_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let disk = DirectoryDisk::open(directory.path()).unwrap();
        let mut rates = load(&disk, 1000);
        (0..5u32).for_each(|n| {
            rates.tick(&Totals { accepted: u64::from(n) * 10, ..Totals::default() }, 1000 + n * 10)
        });
        save(&disk, rates.encode()).unwrap();
        save(&disk, rates.encode()).unwrap();
        assert_eq!(load(&disk, 1040).points("1h").unwrap().1[359].accepted, 1.0);
        let path = directory.path().join(FILE);
        let mut octets = std::fs::read(&path).unwrap();
        octets[100] ^= 1;
        std::fs::write(&path, octets).unwrap();
        assert!(load(&disk, 1040).points("1h").unwrap().1[359].accepted.is_nan());
        assert!(directory.path().join(DAMAGED).exists());
    }
}

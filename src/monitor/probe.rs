//! Reads the state of the data volume and of the process, for gauges.
//!
//! Limits: a data volume that hangs blocks one thread, not one for each scrape; the last known
//! values are shown meanwhile.

use nix::sys::statvfs::statvfs;
use nix::unistd::{SysconfVar, sysconf};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::timeout;

/// How long a request waits for the free space of the data volume.
const PROBE_PATIENCE: Duration = Duration::from_millis(500);

/// Reads the data volume and the process, once at a time.
pub(crate) struct Probe {
    data_volume: Arc<Path>,
    looking: Arc<Mutex<()>>,
}

/// The values read.
pub(super) struct ProbeSample {
    /// Free for an unprivileged user, and in total; octets.
    pub(super) disk: Option<(u64, u64)>,
    /// Resident memory in octets.
    pub(super) memory: Option<u64>,
}

impl Probe {
    pub(crate) fn new(data_volume: PathBuf) -> Self {
        Self { data_volume: data_volume.into(), looking: Arc::default() }
    }

    /// `None` when another read is still running, or this one takes too long.
    pub(super) async fn look(&self) -> Option<ProbeSample> {
        let turn = Arc::clone(&self.looking).try_lock_owned().ok()?;
        let volume = Arc::clone(&self.data_volume);
        let look = tokio::task::spawn_blocking(move || {
            let sight = ProbeSample { disk: disk(&volume), memory: memory() };
            drop(turn);
            sight
        });
        timeout(PROBE_PATIENCE, look).await.ok()?.ok()
    }
}

fn disk(volume: &Path) -> Option<(u64, u64)> {
    let figures = statvfs(volume).ok()?;
    let unit = figures.fragment_size();
    Some((figures.blocks_available().saturating_mul(unit), figures.blocks().saturating_mul(unit)))
}

/// The second number of statm is the resident set in pages (proc_pid_statm(5)).
fn memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
    let page = u64::try_from(sysconf(SysconfVar::PAGE_SIZE).ok()??).ok()?;
    Some(pages.saturating_mul(page))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_and_the_volume_have_numbers() {
        assert!(memory().unwrap() > 100_000);
        let (free, size) = disk(Path::new("/")).unwrap();
        assert!(free <= size && size > 1_000_000);
        assert_eq!(disk(Path::new("/no/such/place")), None);
    }
}

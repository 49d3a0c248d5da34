//! How many processes and threads there may be.

use super::control_group;
use nix::sys::resource::{Resource, getrlimit};
use std::path::Path;
use std::time::Duration;

/// The most processes and threads that this process, what it starts and whoever shares its limit
/// may have together; `None`: nobody has set a limit. It is the lowest `pids.max` of the control
/// groups, or the limit of processes of this user.
pub fn limit() -> Option<u64> {
    let group = control_group::lowest(Path::new("/proc"), "pids", |group| group.number("pids.max"))
        .map(|(limit, _)| limit);
    let user = getrlimit(Resource::RLIMIT_NPROC)
        .ok()
        .map(|(soft, _)| soft)
        .filter(|soft| *soft < NONE_FROM);
    [group, user].into_iter().flatten().min()
}

/// No limit is as high as this.
const NONE_FROM: u64 = 1 << 40;

/// How often [`keep_one_for_the_disk`] asks. A thread without work ends after ten seconds (tokio's
/// default).
const KEPT_PACE: Duration = Duration::from_secs(4);

/// Keeps at least one thread of this runtime for calls that wait for the disk, and never ends.
/// Where the limit of processes and threads is reached, a call then waits for a thread that is
/// there; without any, tokio panics.
pub async fn keep_one_for_the_disk() {
    loop {
        // One question at a time: while the disk hangs, no more of them pile up. In a task of its
        // own: where no thread is there and none can begin, the panic ends that task alone, and the
        // next question finds one.
        let question = tokio::spawn(async { tokio::task::spawn_blocking(|| ()).await });
        let _ = question.await;
        tokio::time::sleep(KEPT_PACE).await;
    }
}

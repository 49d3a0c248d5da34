//! The limit of processes and threads.

use super::control_group;
use nix::sys::resource::{Resource, getrlimit};
use std::path::Path;
use std::time::Duration;

/// The processes and threads that this process, its children and all others under the same limit
/// may have together, at most; `None`: there is no limit. It is the lowest `pids.max` of the
/// control groups, or the limit of processes of this user.
pub fn limit() -> Option<u64> {
    let group = control_group::lowest(Path::new("/proc"), "pids", |group| group.number("pids.max"))
        .map(|(limit, _)| limit);
    let user = getrlimit(Resource::RLIMIT_NPROC)
        .ok()
        .map(|(soft, _)| soft)
        .filter(|soft| *soft < NONE_FROM);
    [group, user].into_iter().flatten().min()
}

/// A higher value means no limit.
const NONE_FROM: u64 = 1 << 40;

/// How often [`keep_one_for_the_disk`] runs. An idle thread ends after ten seconds (tokio's
/// default).
const KEPT_PACE: Duration = Duration::from_secs(4);

/// Keeps at least one thread of this runtime for calls that wait for the disk, and never ends. At
/// the limit of processes and threads a call then waits for an existing thread; without any, tokio
/// panics.
pub async fn keep_one_for_the_disk() {
    loop {
        // One call at a time, so that no more accumulate while the disk hangs. In a task of its
        // own: if there is no thread and none can be created, the panic ends only that task, and
        // the next call tries again.
        let question = tokio::spawn(async { tokio::task::spawn_blocking(|| ()).await });
        let _ = question.await;
        tokio::time::sleep(KEPT_PACE).await;
    }
}

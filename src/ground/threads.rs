//! How many processes and threads there may be.

use super::control_group;
use nix::sys::resource::{Resource, getrlimit};
use std::path::Path;

/// The most processes and threads that this process, what it starts and whoever shares its limit may have together; `None`:
/// nobody has set a limit. It is the lowest `pids.max` of the control groups, or the limit of processes of this user.
pub fn limit() -> Option<u64> {
    let group = control_group::lowest(Path::new("/proc"), "pids", |group| group.number("pids.max")).map(|(limit, _)| limit);
    let user = getrlimit(Resource::RLIMIT_NPROC).ok().map(|(soft, _)| soft).filter(|soft| *soft < NONE_FROM);
    [group, user].into_iter().flatten().min()
}

/// No limit is as high as this.
const NONE_FROM: u64 = 1 << 40;

//! How much memory this process may use, and whether little of it is left.
//!
//! In: the control groups of this process (version 1 and 2, and all groups above it that can be
//! seen), and the machine's memory. Out: the [`MemoryLimit`], the lowest of these limits; a
//! [`Gauge`] of the memory pressure. Limits: a group above the root of a container's own view is
//! visible only in version 1 (`hierarchical_memory_limit`). Source: cgroups(7),
//! proc_pid_mountinfo(5), the kernel's admin-guide/cgroup-v2 and cgroup-v1/memory.

use super::control_group::{self, ControlGroup, Version};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// From this part of the limit on the pressure is [`Pressure::Short`], in percent.
pub const SHORT_PERCENT: u64 = 85;

/// From this part of the limit on the pressure is [`Pressure::Critical`], in percent.
pub const CRITICAL_PERCENT: u64 = 93;

/// A higher value means no limit: version 1 writes "none" as the largest number of pages.
const NONE_FROM: u64 = 1 << 60;

/// The lowest limit for this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryLimit {
    /// Octets.
    pub octets: u64,
    /// The group with the limit; `None`: it is the memory of the machine.
    group: Option<ControlGroup>,
}

impl MemoryLimit {
    /// Reads the groups of this process and the machine's memory. `None`: neither is known.
    pub fn find() -> Option<Self> {
        Self::find_in(Path::new("/proc"))
    }

    /// A fixed limit of so many octets; the use of memory is not known then.
    pub fn of(octets: u64) -> Self {
        let group = ControlGroup { directory: PathBuf::new(), version: Version::V2 };
        Self { octets, group: Some(group) }
    }

    fn find_in(proc: &Path) -> Option<Self> {
        let group = control_group::lowest(proc, "memory", limit);
        let group = group.map(|(octets, group)| Self { octets, group: Some(group) });
        let machine = machine(proc).map(|octets| Self { octets, group: None });
        [group, machine].into_iter().flatten().min_by_key(|found| found.octets)
    }

    /// Whether it is a configured limit, as opposed to the size of the machine.
    pub fn is_set(&self) -> bool {
        self.group.is_some()
    }

    /// Octets in use that the kernel cannot reclaim (page cache of files can be). `None`: unknown,
    /// or the limit is the machine's, where other programs use memory as well.
    fn in_use(&self) -> Option<u64> {
        let group = self.group.as_ref()?;
        let stat = fs::read_to_string(group.directory.join("memory.stat")).ok()?;
        let value = |name: &str| field(&stat, name);
        match group.version {
            Version::V1 => {
                Some(value("total_rss").or(value("rss"))? + value("total_shmem").unwrap_or(0))
            }
            Version::V2 => {
                let kernel = ["kernel_stack", "pagetables", "percpu", "slab_unreclaimable"];
                let kernel: u64 = kernel.into_iter().filter_map(value).sum();
                Some(
                    value("anon")?
                        + value("shmem").unwrap_or(0)
                        + value("sock").unwrap_or(0)
                        + kernel,
                )
            }
        }
    }
}

/// How much memory is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Pressure {
    /// Enough.
    Ample = 0,
    /// Untrusted clients get no more memory.
    Short = 1,
    /// Present work is finished; nothing new begins.
    Critical = 2,
}

/// The last measured memory pressure; shared.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU8);

impl Gauge {
    /// The last measured pressure; [`Pressure::Ample`] if it is not measured.
    pub fn pressure(&self) -> Pressure {
        match self.0.load(Ordering::Relaxed) {
            0 => Pressure::Ample,
            1 => Pressure::Short,
            _ => Pressure::Critical,
        }
    }

    /// Measures again, and gives the octets in use and the pressure if that has changed.
    pub fn look(&self, ceiling: &MemoryLimit) -> Option<(u64, Pressure)> {
        let used = ceiling.in_use()?;
        let percent = used.saturating_mul(100) / ceiling.octets.max(1);
        let pressure = match percent {
            CRITICAL_PERCENT.. => Pressure::Critical,
            SHORT_PERCENT.. => Pressure::Short,
            _ => Pressure::Ample,
        };
        self.set(pressure).then_some((used, pressure))
    }

    /// Sets the pressure; gives whether it has changed.
    pub fn set(&self, pressure: Pressure) -> bool {
        self.0.swap(pressure as u8, Ordering::Relaxed) != pressure as u8
    }

    /// A shared gauge.
    pub fn shared() -> Arc<Self> {
        Arc::default()
    }
}

/// The lowest limit of a group, or of one above it that is not visible.
fn limit(group: &ControlGroup) -> Option<u64> {
    let own = group.number(if group.version == Version::V1 {
        "memory.limit_in_bytes"
    } else {
        "memory.max"
    });
    let above = (group.version == Version::V1)
        .then(|| fs::read_to_string(group.directory.join("memory.stat")).ok());
    let above = above.flatten().and_then(|stat| field(&stat, "hierarchical_memory_limit"));
    [own, above].into_iter().flatten().filter(|octets| *octets < NONE_FROM).min()
}

/// The memory of the machine, as visible in a container.
fn machine(proc: &Path) -> Option<u64> {
    let text = fs::read_to_string(proc.join("meminfo")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? * 1024)
}

/// The number after a name in a file with a name and a number on each line.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests;

//! A control group with a memory limit, created by the test (version 1 or 2) and removed with it.

use super::program::need_root;
use std::fs;
use std::path::{Path, PathBuf};

/// The group.
pub struct Group {
    directory: PathBuf,
    /// The original group of the test.
    home: PathBuf,
    is_v1: bool,
}

impl Group {
    /// A group with a limit of so many megabytes.
    pub fn new(megabytes: u64) -> Self {
        need_root("it makes a control group");
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        let v1 = Path::new("/sys/fs/cgroup/memory");
        let is_v1 = v1.join("memory.limit_in_bytes").exists();
        let (top, mark) =
            if is_v1 { (v1, ":memory:") } else { (Path::new("/sys/fs/cgroup"), "0::") };
        let path = own.lines().find_map(|line| line.split_once(mark)).map_or("", |(_, path)| path);
        let home = Some(top.join(path.trim_start_matches('/')))
            .filter(|home| home.is_dir())
            .unwrap_or(top.to_owned());
        let directory = top.join(format!("postern-test-{}-{megabytes}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        let group = Self { directory, home, is_v1 };
        if !is_v1 {
            // Refused if it is enabled already.
            let _ = fs::write(top.join("cgroup.subtree_control"), "+memory");
        }
        let limits = if is_v1 {
            ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"]
        } else {
            ["memory.max", "memory.swap.max"]
        };
        fs::write(group.directory.join(limits[0]), (megabytes << 20).to_string()).unwrap();
        // Version 1 counts connections only if they have a limit, and separately.
        let _ = fs::write(
            group.directory.join("memory.kmem.tcp.limit_in_bytes"),
            (1_u64 << 40).to_string(),
        );
        // Not on every kernel.
        let _ = fs::write(
            group.directory.join(limits[1]),
            if is_v1 { (megabytes << 20).to_string() } else { "0".to_owned() },
        );
        group
    }

    /// Starts something inside.
    pub fn inside<T>(&self, start: impl FnOnce() -> T) -> T {
        self.enter(&self.directory);
        let started = start();
        self.enter(&self.home);
        started
    }

    /// How many processes the kernel has killed for lack of memory.
    pub fn killed(&self) -> u64 {
        let file = if self.is_v1 { "memory.oom_control" } else { "memory.events" };
        let text = fs::read_to_string(self.directory.join(file)).unwrap();
        text.lines()
            .find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok())
            .expect("a kernel that counts")
    }

    /// Megabytes without page cache.
    pub fn used(&self) -> u64 {
        let text = fs::read_to_string(self.directory.join("memory.stat")).unwrap();
        let name = if self.is_v1 { "total_rss " } else { "anon " };
        text.lines().find_map(|line| line.strip_prefix(name)?.parse::<u64>().ok()).unwrap() >> 20
    }

    /// Megabytes that the kernel keeps for connections.
    pub fn sockets(&self) -> u64 {
        if self.is_v1 {
            let text =
                fs::read_to_string(self.directory.join("memory.kmem.tcp.usage_in_bytes")).unwrap();
            return text.trim().parse::<u64>().unwrap() >> 20;
        }
        let text = fs::read_to_string(self.directory.join("memory.stat")).unwrap();
        text.lines().find_map(|line| line.strip_prefix("sock ")?.parse::<u64>().ok()).unwrap() >> 20
    }

    fn enter(&self, directory: &Path) {
        fs::write(directory.join("cgroup.procs"), std::process::id().to_string()).unwrap();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // What was started inside has ended, or is ending.
        for _ in 0..100 {
            if fs::remove_dir(&self.directory).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

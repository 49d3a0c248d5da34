//! The control groups of this process, of version 1 and 2, and their limits.
//!
//! In: `/proc/self/cgroup`, `/proc/self/mountinfo`, and the files of the groups. Out: the lowest
//! limit of one kind, of all visible groups above this process. Source: cgroups(7),
//! proc_pid_mountinfo(5), the kernel's admin-guide/cgroup-v2 and cgroup-v1.

use std::fs;
use std::path::{Path, PathBuf};

/// A control group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlGroup {
    /// The directory of its files.
    pub directory: PathBuf,
    /// The names of its files depend on it.
    pub version: Version,
}

/// The version of a tree of control groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// A tree for each controller or for some of them.
    V1,
    /// One tree.
    V2,
}

impl ControlGroup {
    /// The number in one of its files; `None` without a number, as in `max`, which means no limit.
    pub fn number(&self, file: &str) -> Option<u64> {
        fs::read_to_string(self.directory.join(file)).ok()?.trim().parse().ok()
    }
}

/// The lowest limit that `limit` finds in the groups of this process for a controller, and its
/// group. `proc` is the directory of the proc file system.
pub fn lowest(
    proc: &Path,
    controller: &str,
    limit: impl Fn(&ControlGroup) -> Option<u64>,
) -> Option<(u64, ControlGroup)> {
    let groups = groups(proc, controller);
    let above = groups.iter().flat_map(|(group, top)| {
        let directories =
            group.directory.ancestors().take_while(move |directory| directory.starts_with(top));
        directories.map(|directory| ControlGroup {
            directory: directory.to_owned(),
            version: group.version,
        })
    });
    above.filter_map(|group| Some((limit(&group)?, group))).min_by_key(|(limit, _)| *limit)
}

/// The groups of this process in the trees of a controller, each with the top of the visible part
/// of its tree.
fn groups(proc: &Path, controller: &str) -> Vec<(ControlGroup, PathBuf)> {
    let read = |name: &str| fs::read_to_string(proc.join("self").join(name)).unwrap_or_default();
    let (paths, mounts) = (read("cgroup"), read("mountinfo"));
    let mounted = mounts.lines().filter_map(|line| Mount::parse(line, controller));
    mounted
        .filter_map(|mount| {
            let line = paths.lines().find_map(|line| mount.path_of(line, controller))?;
            // A process may be outside of what is mounted here: then only the top is visible.
            let below = Path::new(line).strip_prefix(&mount.root).unwrap_or(Path::new(""));
            let directory = mount.place.join(below);
            let directory = if directory.is_dir() { directory } else { mount.place.clone() };
            Some((ControlGroup { directory, version: mount.version }, mount.place))
        })
        .collect()
}

/// A tree of control groups as it is mounted here.
struct Mount {
    /// The group of the tree at the mount point.
    root: String,
    place: PathBuf,
    version: Version,
}

impl Mount {
    /// From a line of mountinfo; `None`: it is not a tree of this controller.
    fn parse(line: &str, controller: &str) -> Option<Self> {
        let (before, behind) = line.split_once(" - ")?;
        let mut words = before.split(' ');
        let (root, place) = (words.nth(3)?, words.next()?);
        let mut words = behind.split(' ');
        let (kind, options) = (words.next()?, words.nth(1)?);
        let version = match kind {
            "cgroup2" => Version::V2,
            "cgroup" if options.split(',').any(|option| option == controller) => Version::V1,
            _ => return None,
        };
        Some(Self {
            root: root.to_owned(),
            place: PathBuf::from(place.replace("\\040", " ")),
            version,
        })
    }

    /// The group that a line of `/proc/self/cgroup` names, if it is one of this tree.
    fn path_of<'a>(&self, line: &'a str, controller: &str) -> Option<&'a str> {
        let mut parts = line.splitn(3, ':');
        let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let is_ours = match self.version {
            Version::V1 => controllers.split(',').any(|name| name == controller),
            Version::V2 => number == "0" && controllers.is_empty(),
        };
        is_ours.then_some(path)
    }
}

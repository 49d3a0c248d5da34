use super::*;
use tempfile::TempDir;

const MB: u64 = 1 << 20;

/// A machine with 8 GB and these files; `ROOT` in a text is replaced by its root.
fn machine_with(files: &[(&str, &str)]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let meminfo = [("proc/meminfo", "MemTotal:        8388608 kB\nMemFree:  1 kB\n")];
    for (name, text) in meminfo.iter().chain(files) {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text.replace("ROOT", root.path().to_str().unwrap())).unwrap();
    }
    root
}

fn found(root: &TempDir) -> Option<MemoryLimit> {
    MemoryLimit::find_in(&root.path().join("proc"))
}

const V2: (&str, &str) = ("proc/self/mountinfo", "30 23 0:26 / ROOT/cg rw - cgroup2 cgroup2 rw\n");
const V1: (&str, &str) = (
    "proc/self/mountinfo",
    "9 1 0:9 / ROOT/cg/cpu rw - cgroup cgroup rw,cpu\n10 1 0:10 / ROOT/cg rw - cgroup cgroup \
    rw,memory\n",
);

#[test]
fn the_lowest_limit_of_all_groups_above_counts() {
    let root = machine_with(&[
        V2,
        ("proc/self/cgroup", "0::/a/b/c\n"),
        ("cg/a/memory.max", "100663296\n"),
        ("cg/a/b/memory.max", "max\n"),
        ("cg/a/b/c/memory.max", "209715200\n"),
        ("cg/a/memory.stat", "anon 1048576\nfile 99999999\nsock 4096\nkernel_stack 8192\n"),
    ]);
    let ceiling = found(&root).unwrap();
    assert_eq!((ceiling.octets, ceiling.is_set()), (96 * MB, true));
    assert_eq!(
        ceiling.in_use(),
        Some(MB + 4096 + 8192),
        "files are given back when memory is wanted"
    );
}

#[test]
fn without_a_limit_the_machine_is_one() {
    let root = machine_with(&[V2, ("proc/self/cgroup", "0::/a\n"), ("cg/a/memory.max", "max\n")]);
    assert_eq!(found(&root), Some(MemoryLimit { octets: 8192 * MB, group: None }));
    assert_eq!(found(&machine_with(&[])).map(|ceiling| ceiling.in_use()), Some(None));
    let root = machine_with(&[
        V1,
        ("proc/self/cgroup", "9:cpu:/x\n10:memory:/a\n"),
        ("cg/a/memory.limit_in_bytes", "9223372036854771712\n"),
    ]);
    assert!(!found(&root).unwrap().is_set());
    assert_eq!(found(&TempDir::new().unwrap()), None);
}

#[test]
fn version_1_tells_of_groups_that_cannot_be_seen() {
    let root = machine_with(&[
        V1,
        ("proc/self/cgroup", "10:blkio,memory:/a\n0::/\n"),
        ("cg/a/memory.limit_in_bytes", "9223372036854771712\n"),
        (
            "cg/a/memory.stat",
            "rss 5\nhierarchical_memory_limit 134217728\ntotal_rss 7340032\ntotal_shmem 1048576\n",
        ),
    ]);
    let ceiling = found(&root).unwrap();
    assert_eq!((ceiling.octets, ceiling.in_use()), (128 * MB, Some(8 * MB)));
}

/// Docker with version 1: the process sees the machine's name of its group, and only that group is
/// mounted.
#[test]
fn a_container_sees_its_own_group_at_the_top() {
    let mount = "5 1 0:5 /docker/abc ROOT/cg ro - cgroup cgroup rw,memory\n";
    for path in ["/docker/abc", "/elsewhere", "/../outside"] {
        let root = machine_with(&[
            ("proc/self/mountinfo", mount),
            ("proc/self/cgroup", &format!("5:memory:{path}\n")),
            ("cg/memory.limit_in_bytes", "100663296\n"),
        ]);
        assert_eq!(found(&root).unwrap().octets, 96 * MB, "{path}");
    }
}

#[test]
fn the_gauge_tells_changes_only() {
    let root =
        machine_with(&[V2, ("proc/self/cgroup", "0::/a\n"), ("cg/a/memory.max", "1000000\n")]);
    let (ceiling, gauge) = (found(&root).unwrap(), Gauge::shared());
    let look = |used: u64| {
        fs::write(root.path().join("cg/a/memory.stat"), format!("anon {used}\n")).unwrap();
        gauge.look(&ceiling)
    };
    assert_eq!(look(500_000), None);
    assert_eq!(look(850_000), Some((850_000, Pressure::Short)));
    assert_eq!(look(860_000), None);
    assert_eq!(look(930_000), Some((930_000, Pressure::Critical)));
    assert_eq!(gauge.pressure(), Pressure::Critical);
    assert_eq!(look(100_000), Some((100_000, Pressure::Ample)));
}

//! A library that reports 64 processors: a program that loads it starts as many threads as on such
//! a machine, and the real processors interrupt them at any point.

use crate::support::program::{find, run};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use tempfile::TempDir;

/// `available_parallelism` of the standard library uses this call; sysconf is for others.
const SOURCE: &str = r"
#define _GNU_SOURCE
#include <sched.h>
#include <string.h>

int sched_getaffinity(pid_t pid, size_t size, cpu_set_t *set) {
  (void)pid;
  memset(set, 0, size);
  for (int i = 0; i < 64; i++) CPU_SET_S(i, size, set);
  return 0;
}
";

/// A directory that contains it as `processors.so`.
pub fn library() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let (source, library) =
        (directory.path().join("processors.c"), directory.path().join("processors.so"));
    fs::write(&source, SOURCE).unwrap();
    run(Command::new(find("cc"))
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&library)
        .arg(&source));
    directory
}

//! What `make` does before it tests and builds: missing programs are named, and the image has its
//! version.

use crate::support::program::{find, need_root, run};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A working copy with the real `scripts/prepare.sh`, and a `.ci/run` that misses something or not,
/// and installs only a file.
fn working_copy(missing: &str) -> TempDir {
    let copy = tempfile::Builder::new().prefix("make-").tempdir_in("/tmp").unwrap();
    let at = |name: &str| copy.path().join(name);
    for folder in ["scripts", ".ci"] {
        fs::create_dir(at(folder)).unwrap();
    }
    fs::copy(Path::new(ROOT).join("scripts/prepare.sh"), at("scripts/prepare.sh")).unwrap();
    let script = format!(
        "#!/bin/sh\nif [ $1 = prepare ]; then echo installed >made; exit; fi\n\
        [ -z '{missing}' ] || {{ echo '{missing}'; exit 69; }}\n"
    );
    fs::write(at(".ci/run"), script).unwrap();
    for path in ["", ".ci", "scripts", ".ci/run"] {
        fs::set_permissions(at(path), fs::Permissions::from_mode(0o755)).unwrap();
    }
    copy
}

fn prepare(copy: &TempDir, uid: u32) -> Output {
    Command::new(copy.path().join("scripts/prepare.sh")).uid(uid).gid(uid).output().unwrap()
}

#[test]
fn root_on_debian_gets_what_is_missing_and_others_the_command() {
    need_root("it runs a script as root and as somebody else");
    find("apt-get");
    let copy = working_copy("swaks");
    let made = copy.path().join("made");

    let done = prepare(&copy, 12345);
    let said = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(69), "{said}");
    assert!(said.contains("  swaks\n") && said.contains(": sudo .ci/run prepare\n"), "{said}");
    assert!(!made.exists());

    let done = prepare(&copy, 0);
    assert!(done.status.success() && made.exists(), "{done:?}");

    let done = prepare(&working_copy(""), 12345);
    assert!(done.status.success() && done.stdout.is_empty() && done.stderr.is_empty(), "{done:?}");
}

/// Without any program of this machine, each missing one is named.
#[test]
fn the_check_names_what_is_missing_and_installs_nothing() {
    let nothing = tempfile::tempdir().unwrap();
    let path = nothing.path().join("bin");
    fs::create_dir(&path).unwrap();
    for program in ["env", "bash", "dirname", "cut", "sort", "id", "grep", "tr"] {
        std::os::unix::fs::symlink(find(program), path.join(program)).unwrap();
    }
    let done = Command::new(Path::new(ROOT).join(".ci/run"))
        .arg("check")
        .env_clear()
        .env("PATH", &path)
        .env("HOME", nothing.path())
        .env("CARGO_TARGET_DIR", nothing.path())
        .output()
        .unwrap();
    let said = String::from_utf8(done.stdout).unwrap();
    assert_eq!(done.status.code(), Some(69), "{said}{done:?}", done = done.stderr);
    for word in ["git", "Rust 1.95", "cargo-nextest", "Docker engine", "virtual machine"] {
        assert!(said.contains(word), "no {word} in {said}");
    }
}

/// A client that has every image already, and prints what it is to build.
const CLIENT: &str = "#!/bin/sh
case $1 in
  version) echo 20.10.24 ;;
  build) echo \"$*\" ;;
  compose) echo \"$* VERSION=$POSTERN_VERSION REVISION=$POSTERN_REVISION\" ;;
esac
";

#[test]
fn an_image_is_labelled_with_version_and_commit() {
    let directory = tempfile::tempdir().unwrap();
    let client = directory.path().join("docker");
    fs::write(&client, CLIENT).unwrap();
    fs::set_permissions(&client, fs::Permissions::from_mode(0o755)).unwrap();
    let make = |target: &str, revision: Option<&str>| {
        let mut make = Command::new(find("make"));
        make.current_dir(ROOT).arg(target).env("DOCKER", &client);
        make.env_remove("POSTERN_VERSION").env_remove("POSTERN_REVISION");
        make.envs(revision.map(|revision| ("POSTERN_REVISION", revision)));
        String::from_utf8(run(&mut make).stdout).unwrap()
    };
    let head = Command::new(find("git")).current_dir(ROOT).args(["rev-parse", "HEAD"]).output();
    let head = head.ok().filter(|done| done.status.success()).map(|done| done.stdout);
    let head = head.map_or("unknown".to_owned(), |head| String::from_utf8(head).unwrap());
    let head = head.trim();
    let version = env!("CARGO_PKG_VERSION");

    let built = make("image", None);
    let arguments = format!("--build-arg VERSION={version} --build-arg REVISION={head} .");
    assert!(built.contains(&arguments), "no {arguments} in {built}");
    let built = make("image", Some("a-release"));
    assert!(built.contains("--build-arg REVISION=a-release ."), "{built}");
    let up = make("grid-up", None);
    assert!(up.contains(&format!("VERSION={version} REVISION={head}")), "{up}");
}

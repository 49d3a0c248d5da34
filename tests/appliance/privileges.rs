//! The core has only the rights that it needs.

use crate::support::{Grid, Running, is_root, status_of};
use nix::sys::signal::Signal;
use nix::unistd::{Pid, User, geteuid};
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

const NET_BIND_SERVICE: &str = "0000000000000400";
const NOTHING: &str = "0000000000000000";

fn capabilities(pid: Pid) -> Vec<String> {
    ["CapInh", "CapPrm", "CapEff", "CapAmb"].iter().map(|set| status_of(pid, set)).collect()
}

fn uids(pid: Pid) -> Vec<u32> {
    status_of(pid, "Uid").split_whitespace().map(|uid| uid.parse().unwrap()).collect()
}

/// The uid that the core of root gets on this machine.
fn core_uid() -> u32 {
    User::from_name("postern").unwrap().map_or(2525, |user| user.uid.as_raw())
}

#[test]
fn an_ordinary_user_keeps_its_uid_and_can_gain_nothing() {
    let grid = Grid::new();
    let mut init = grid.init(&[]);
    let me = if is_root() { crate::support::ORDINARY } else { geteuid().as_raw() };
    assert_eq!(uids(init.core), [me; 4]);
    assert_eq!(status_of(init.core, "NoNewPrivs"), "1");
    assert_eq!(capabilities(init.core), [NOTHING; 4]);
    assert_eq!(fs::metadata(grid.path("run")).unwrap().mode() & 0o022, 0);
    assert_eq!(init.stop(Signal::SIGTERM), 143);
}

/// Needs root to be tested completely; as an ordinary user it shows that nothing is done that only
/// root may do.
#[test]
fn root_gives_the_core_a_uid_of_its_own() {
    if !is_root() {
        return nobody_else_is_tried();
    }
    let grid = Grid::as_root();
    grid.make_file("data/README.md", "what lives here");
    let mut init = grid.init(&[]);
    assert_eq!(uids(init.core), [core_uid(); 4]);
    assert_eq!(
        status_of(init.core, "Groups").split_whitespace().filter(|gid| *gid == "0").count(),
        0
    );
    assert_eq!(status_of(init.core, "NoNewPrivs"), "1");
    assert_eq!(capabilities(init.core), [NOTHING; 4]);
    assert_eq!(status_of(init.core, "CapBnd"), NOTHING);
    assert_eq!(
        fs::metadata(grid.path("data")).unwrap().uid(),
        core_uid(),
        "a volume of root's is given to the core"
    );
    let run = fs::metadata(grid.path("run")).unwrap();
    assert_eq!(
        (run.uid(), run.mode() & 0o7777),
        (0, 0o1775),
        "the core may add to the run directory, not replace"
    );
    // Landlock: if the kernel supports it, it was used.
    init.signal(Signal::SIGTERM);
    assert_eq!(init.end().code(), Some(143));
    init.wait_all_gone();
    assert!(init.seen.iter().any(|line| line.contains("Landlock: ")), "{:?}", init.seen);
}

#[test]
fn root_leaves_the_core_the_low_ports_when_one_is_asked_for() {
    if !is_root() {
        return nobody_else_is_tried();
    }
    let grid = Grid::as_root();
    // Ports that only CAP_NET_BIND_SERVICE opens.
    let mut init = grid.init(&[("MTA_UI_PORT", "80"), ("MTA_SMTP_PORT", "25")]);
    assert_eq!(uids(init.core), [core_uid(); 4]);
    assert_eq!(capabilities(init.core), [NET_BIND_SERVICE; 4]);
    assert_eq!(status_of(init.core, "CapBnd"), NET_BIND_SERVICE);
    // The status pipe and the death of the parent survive the change of uid and the capability.
    init.signal(Signal::SIGKILL);
    init.end();
    init.wait_all_gone();
}

/// As in README: a directory that belongs to root, below one that no other user may enter.
#[test]
fn root_starts_in_an_empty_directory_that_is_closed_to_others() {
    if !is_root() {
        return nobody_else_is_tried();
    }
    let grid = Grid::as_root();
    let home = grid.make_dir("home");
    fs::set_permissions(&home, Permissions::from_mode(0o700)).unwrap();
    let data = grid.make_dir("home/data");
    let volume = data.display().to_string();
    let vars = [("MTA_VOLUME_DATA", volume.as_str()), ("MTA_UI_PUBLIC", "yes")];
    let check = grid.run(&["check"], &vars);
    assert_eq!(check.code, 0, "{check:?}");
    let mut init = grid.init(&vars);
    assert_eq!(uids(init.core), [core_uid(); 4]);
    assert_eq!(fs::metadata(&data).unwrap().uid(), core_uid());
    assert!(data.join("log").is_dir(), "the queue is there");
    assert_eq!(fs::metadata(&home).unwrap().mode() & 0o777, 0o700, "nothing was opened to others");
    let status = crate::support::get(&grid, "/api/v1/status");
    assert!(status.contains(&volume) && !status.contains("/proc/self"), "{status}");
    // A core that ends is started again in the same place.
    nix::sys::signal::kill(init.core, Signal::SIGKILL).unwrap();
    init.wait_ready();
    assert_eq!(init.stop(Signal::SIGTERM), 143);
    // A directory that the core cannot write is not changed.
    fs::write(data.join("theirs"), "x").unwrap();
    std::os::unix::fs::chown(&data, Some(777), Some(777)).unwrap();
    let ended = grid.run(&["init"], &vars);
    assert_eq!(ended.code, 77, "{ended:?}");
    assert!(ended.stderr.contains("is not writable for uid"), "{ended:?}");
}

#[test]
fn root_does_not_take_a_volume_that_belongs_to_somebody() {
    if !is_root() {
        return nobody_else_is_tried();
    }
    let grid = Grid::as_root();
    std::os::unix::fs::chown(grid.path("data"), Some(777), Some(777)).unwrap();
    fs::write(grid.path("data/theirs"), "x").unwrap();
    let ended = grid.run(&["init"], &[]);
    assert_eq!(ended.code, 77, "{ended:?}");
    let line = format!("is not writable for uid {} (the SMTP core)", core_uid());
    assert!(
        ended.stderr.contains("Error: failed to mount data volume.\n")
            && ended.stderr.contains(&line),
        "{ended:?}"
    );
    assert_eq!(fs::metadata(grid.path("data")).unwrap().uid(), 777);
    // Nor root's own, when it contains other files.
    std::os::unix::fs::chown(grid.path("data"), Some(0), Some(0)).unwrap();
    assert_eq!(grid.run(&["init"], &[]).code, 77);
    assert_eq!(fs::metadata(grid.path("data")).unwrap().uid(), 0);
    // Writable for everybody is enough.
    fs::set_permissions(grid.path("data"), Permissions::from_mode(0o777)).unwrap();
    assert_eq!(grid.init(&[]).stop(Signal::SIGTERM), 143);
    assert_eq!(fs::metadata(grid.path("data/theirs")).unwrap().uid(), 0, "never recursive");
}

#[test]
fn root_without_capabilities_is_refused_with_what_to_do() {
    if !is_root() {
        return nobody_else_is_tried();
    }
    let grid = Grid::as_root();
    let mut command = Command::new("setpriv");
    command
        .args(["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"])
        .arg(grid.path("postern"))
        .arg("init");
    grid.dress(&mut command, &[]);
    let mut init = Running::start(command);
    init.wait_for("Error: failed to preconfigure the MTA");
    init.wait_for("the SMTP core would run as root");
    assert!(
        init.seen.last().unwrap().contains("start the container with --user "),
        "{:?}",
        init.seen
    );
    assert_eq!(init.end().code(), Some(77));
    assert!(!grid.path("data/log").exists(), "nothing was begun");
}

#[test]
fn without_cap_kill_the_core_ends_by_its_orders() {
    if !is_root() {
        return nobody_else_is_tried();
    }
    let grid = Grid::as_root();
    let start = || {
        let mut command = Command::new("setpriv");
        command
            .args(["--bounding-set=-kill", "--inh-caps=-all"])
            .arg(grid.path("postern"))
            .arg("init");
        grid.dress(&mut command, &[("MTA_DRAIN_TIME", "0")]);
        let mut init = Running::start(command);
        init.wait_ready();
        init
    };
    let mut init = start();
    assert_eq!(init.stop(Signal::SIGTERM), 143);
    init.wait_all_gone();
    let said = init.seen.join("\n");
    assert!(said.contains("it was told to stop over its standard input"), "{said}");
    assert!(!said.contains("killed") && said.contains("the queue is synced"), "{said}");
    // One that does not read orders either: the log says so correctly.
    let mut init = start();
    nix::sys::signal::kill(init.core, Signal::SIGSTOP).unwrap();
    init.signal(Signal::SIGTERM);
    init.wait_for(
        "cannot be killed (no CAP_KILL); it was ordered over its standard input to end at once",
    );
    nix::sys::signal::kill(init.core, Signal::SIGCONT).unwrap();
    assert_eq!(init.end().code(), Some(143));
    init.wait_all_gone();
}

#[test]
fn as_pid_1_it_stops_on_sigterm_and_warns_without_a_volume() {
    if !is_root() {
        return nobody_else_is_tried();
    }
    let grid = Grid::as_root();
    let mut command = Command::new("unshare");
    command
        .args(["--pid", "--fork", "--mount-proc", "--kill-child"])
        .arg(grid.path("postern"))
        .arg("init");
    grid.dress(&mut command, &[]);
    let mut outer = Running::start(command);
    outer.wait_ready();
    assert!(
        outer.seen.iter().any(|line| line.contains("queued mail is lost with it")),
        "{:?}",
        outer.seen
    );
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", outer.pid())).unwrap();
    let init = Pid::from_raw(children.trim().parse().unwrap());
    assert_eq!(status_of(init, "NSpid").split_whitespace().last(), Some("1"));
    nix::sys::signal::kill(init, Signal::SIGTERM).unwrap();
    assert_eq!(outer.end().code(), Some(143));
}

#[test]
fn a_data_volume_in_memory_is_warned_of() {
    let grid = Grid::new();
    // A tmpfs that every user may write.
    let memory = tempfile::Builder::new().prefix("postern-").tempdir_in("/dev/shm").unwrap();
    fs::set_permissions(memory.path(), Permissions::from_mode(0o777)).unwrap();
    let path = memory.path().display().to_string();
    let vars = [("MTA_VOLUME_DATA", path.as_str())];
    let warning =
        format!("THE DATA VOLUME {path} IS IN MEMORY (tmpfs): queued mail is lost with it");
    let foreseen = grid.run(&["check"], &vars).stdout;
    assert!(
        foreseen.contains(&format!("NOTE: {warning}.")) && !foreseen.contains("would stop here"),
        "{foreseen}"
    );
    let mut init = grid.init(&vars);
    assert!(init.seen.iter().any(|line| line.contains(&warning)), "{:?}", init.seen);
    assert_eq!(init.stop(Signal::SIGTERM), 143);
    let plain = grid.run(&["check"], &[]).stdout;
    assert!(!plain.contains("IS IN MEMORY"), "{plain}");
}

fn nobody_else_is_tried() {
    let grid = Grid::new();
    let mut init = grid.init(&[]);
    assert_eq!(uids(init.core), [geteuid().as_raw(); 4]);
    assert_eq!(init.stop(Signal::SIGTERM), 143);
}

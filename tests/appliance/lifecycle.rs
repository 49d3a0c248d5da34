//! The life of an appliance under `postern init`: readiness, crash, stop, orphans.

use crate::support::{Grid, PATIENCE, Running, get};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, Permissions};
use std::io::Read;
use std::net::TcpStream;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

fn exists(pid: Pid) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// For states that are visible only in /proc, without a notification.
fn until(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_signal_stops_it_and_is_its_exit_code() {
    for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGINT, 130), (Signal::SIGQUIT, 131)] {
        let grid = Grid::new();
        let mut init = grid.init(&[]);
        assert!(grid.path("run/ready").exists());
        let core = init.core;
        assert_eq!(init.stop(signal), code);
        assert!(!exists(core), "the core is gone before init");
        assert!(!grid.path("run/ready").exists());
        assert!(grid.log().contains("the SMTP core is ready"), "{}", grid.log());
        assert!(grid.log().contains(&format!("{signal}: stopping")), "{}", grid.log());
    }
}

#[test]
fn the_effective_configuration_is_told_and_secrets_go_nowhere() {
    let grid = Grid::new();
    let secret = grid.make_file("secret", "hunter2");
    let vars = [
        ("MTA_USERNAME", "anna"),
        ("MTA_PASSWORD_FILE", secret.to_str().unwrap()),
        ("MTA_CC_MTA", "cc.example"),
    ];
    let mut init = grid.init(&vars);
    for name in ["environ", "cmdline"] {
        let text =
            String::from_utf8_lossy(&fs::read(format!("/proc/{}/{name}", init.core)).unwrap())
                .into_owned();
        assert!(!text.contains("hunter2") && !text.contains("MTA_"), "{name}: {text}");
    }
    assert_eq!(init.stop(Signal::SIGTERM), 143);
    init.wait_all_gone();
    let told = init.seen.join("\n");
    assert!(told.contains("cc.example") && told.contains("********"), "{told}");
    assert!(
        told.contains(
            "who may relay: 127.0.0.1 may relay; everybody else is refused with 554 5.7.1."
        ),
        "{told}"
    );
    assert!(!told.contains("hunter2") && !grid.log().contains("hunter2"), "{told}");
}

#[test]
fn json_lines_are_json() {
    let grid = Grid::new();
    let mut init = grid.init(&[("MTA_LOG_FORMAT", "json")]);
    assert_eq!(init.stop(Signal::SIGTERM), 143);
    for line in init.seen.iter().filter(|line| line.contains("init")) {
        let event: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(event["message"].is_string() && event["level"].is_string(), "{line}");
    }
}

#[test]
fn a_crashed_core_is_started_again_with_an_event() {
    let grid = Grid::new();
    let mut init = grid.init(&[]);
    let first = init.core;
    kill(first, Signal::SIGKILL).unwrap();
    init.wait_for("the SMTP core was ended by SIGKILL; it is started again in 1 s");
    init.wait_ready();
    assert_ne!(init.core, first);
    assert!(grid.path("run/ready").exists());
    kill(init.core, Signal::SIGKILL).unwrap();
    init.wait_for("it is started again in 2 s");
    assert!(!grid.path("run/ready").exists(), "not ready without a core");
    assert_eq!(init.stop(Signal::SIGTERM), 143, "a stop does not wait for the pause to pass");
    assert_eq!(grid.log().matches("it is started again").count(), 2, "{}", grid.log());
}

#[test]
fn a_second_signal_does_not_cut_the_stop_short() {
    let grid = Grid::new();
    let mut init = grid.init(&[]);
    // A core that is stopped stands for one that drains.
    kill(init.core, Signal::SIGSTOP).unwrap();
    init.signal(Signal::SIGTERM);
    init.wait_for("SIGTERM: stopping; sessions may finish for 30 s");
    assert!(!grid.path("run/ready").exists(), "not ready while it drains");
    init.signal(Signal::SIGINT);
    init.wait_for("SIGINT received; the stop started by SIGTERM continues");
    assert!(exists(init.core));
    kill(init.core, Signal::SIGCONT).unwrap();
    assert_eq!(init.end().code(), Some(143));
}

#[test]
fn a_core_that_does_not_stop_is_killed_in_the_end() {
    let grid = Grid::new();
    let mut init = grid.init(&[("MTA_DRAIN_TIME", "0")]);
    kill(init.core, Signal::SIGSTOP).unwrap();
    init.signal(Signal::SIGTERM);
    init.wait_for("did not stop in time and is killed");
    assert_eq!(init.end().code(), Some(143));
    assert!(grid.log().contains("did not stop in time"), "{}", grid.log());
}

#[test]
fn a_run_directory_that_was_removed_is_made_anew() {
    let grid = Grid::new();
    // The user may create files in the directory above.
    let run = grid.make_dir("place").join("run");
    let vars = [("MTA_RUN_DIR", run.to_str().unwrap())];
    let mut init = grid.init(&vars);
    until("it is removed", || fs::remove_dir_all(&run).is_ok());
    kill(init.core, Signal::SIGKILL).unwrap();
    init.wait_for("was missing and was recreated");
    init.wait_ready();
    assert!(run.join("ready").exists() && run.join("control.sock").exists());
    assert_eq!(grid.run(&["queue", "list"], &vars).code, 0);
    assert!(run.join("log/appliance/log").exists());
    assert_eq!(init.stop(Signal::SIGTERM), 143);
}

/// Not only the next one: the running core is found again, too.
#[test]
fn a_core_that_runs_is_found_again_after_its_socket_or_run_directory_was_removed() {
    let grid = Grid::new();
    let run = grid.make_dir("place").join("run");
    let vars = [("MTA_RUN_DIR", run.to_str().unwrap())];
    let mut init = grid.init(&vars);
    let (core, socket) = (init.core, run.join("control.sock"));
    let found_again = |what: &str| {
        until(what, || socket.exists() && run.join("ready").exists());
        assert_eq!(grid.run(&["queue", "list"], &vars).code, 0, "{what}");
    };
    fs::remove_file(&socket).unwrap();
    found_again("the socket alone");
    // The core may create it again in between, here and below.
    until("a directory in its place", || {
        fs::remove_file(&socket).and_then(|()| fs::create_dir(&socket)).is_ok()
    });
    init.wait_for("something else was at the path of the control socket");
    until("it is a socket", || {
        fs::metadata(&socket).is_ok_and(|meta| meta.file_type().is_socket())
    });
    found_again("something in its place");
    drop(UnixListener::bind(run.join("other")).unwrap());
    fs::rename(run.join("other"), &socket).unwrap();
    until("somebody else's socket", || grid.run(&["queue", "list"], &vars).code == 0);
    until("it is removed", || fs::remove_dir_all(&run).is_ok());
    init.wait_for("was missing and was recreated");
    found_again("all of it");
    assert!(
        fs::read_to_string(format!("/proc/{core}/cmdline")).unwrap().contains("core"),
        "the core is the same"
    );
    assert_eq!(init.stop(Signal::SIGTERM), 143);
    assert!(!socket.exists() || !run.join("ready").exists());
    assert!(!init.seen.iter().any(|line| line.contains("is started again")), "{:?}", init.seen);
}

/// What is done to a run directory.
type Change = fn(&Path) -> std::io::Result<()>;

/// Mail does not depend on the run directory: the next core serves without it, and is found again
/// once it is repaired.
#[test]
fn a_run_directory_that_is_none_any_more_stops_no_mail() {
    let replace: [(&str, Change, Change); 3] = [
        ("it is not a directory", |run| fs::write(run, "x"), |run| fs::remove_file(run)),
        ("it is not a directory", |run| symlink("/tmp", run), |run| fs::remove_file(run)),
        (
            "Permission denied",
            |run| {
                fs::create_dir(run)?;
                fs::set_permissions(run, Permissions::from_mode(0o000))
            },
            |run| fs::remove_dir(run),
        ),
    ];
    for (cause, replace, mend) in replace {
        let grid = Grid::new();
        let run = grid.make_dir("place").join("run");
        let vars = [("MTA_RUN_DIR", run.to_str().unwrap())];
        let mut init = grid.init(&vars);
        // The appliance may create it again in between.
        until("it is replaced", || fs::remove_dir_all(&run).and_then(|()| replace(&run)).is_ok());
        kill(init.core, Signal::SIGKILL).unwrap();
        // While it is replaced, another cause may be logged first.
        let line = init.wait_for(&format!("run_dir {}: ", run.display()));
        assert!(line.contains("remove what is there") && line.contains(cause), "{line}");
        init.wait_ready();
        let mut greeting = [0; 4];
        TcpStream::connect((grid.address, 12925)).unwrap().read_exact(&mut greeting).unwrap();
        assert_eq!(&greeting, b"220 ", "{cause}");
        until("the alert", || get(&grid, "/api/v1/status").contains("There is no control socket"));
        mend(&run).unwrap();
        until("it is found again", || grid.run(&["queue", "list"], &vars).code == 0);
        until("it is ready", || grid.run(&["health"], &vars).code == 0);
        until("the alert is over", || {
            !get(&grid, "/api/v1/status").contains("There is no control socket")
        });
        assert_eq!(init.stop(Signal::SIGTERM), 143);
        let told = init.seen.iter().filter(|line| line.contains("remove what is there")).count();
        assert!(told <= 3, "{told} times: {:#?}", init.seen);
    }
}

/// A directory that cannot be written keeps the socket of the killed core; the alert lasts as long
/// as the problem.
#[test]
fn a_run_directory_that_is_closed_for_a_while_is_found_again() {
    let grid = Grid::new();
    let run = grid.make_dir("place").join("run");
    let vars = [("MTA_RUN_DIR", run.to_str().unwrap())];
    let mut init = grid.init(&vars);
    let mode = |mode| fs::set_permissions(&run, Permissions::from_mode(mode)).unwrap();
    let alert = || get(&grid, "/api/v1/status").contains("There is no control socket");
    mode(0o000);
    until("the alert", alert);
    mode(0o700);
    until("the alert is over", || !alert());
    assert_eq!(grid.run(&["queue", "list"], &vars).code, 0);
    mode(0o500);
    kill(init.core, Signal::SIGKILL).unwrap();
    init.wait_for("has no room for the control socket");
    init.wait_ready();
    until("the alert of the next core", alert);
    assert_ne!(grid.run(&["queue", "list"], &vars).code, 0);
    mode(0o700);
    until("it is found again", || grid.run(&["queue", "list"], &vars).code == 0);
    until("its alert is over", || !alert());
    init.wait_for("is usable again");
    assert_eq!(init.stop(Signal::SIGTERM), 143);
}

#[test]
fn the_tool_knows_a_core_that_is_about_to_be_started_again() {
    let grid = Grid::new();
    let mut init = grid.init(&[]);
    kill(init.core, Signal::SIGKILL).unwrap();
    init.wait_ready();
    kill(init.core, Signal::SIGKILL).unwrap();
    init.wait_for("it is started again in 2 s");
    let ended = grid.run(&["queue", "list"], &[]);
    assert_eq!(ended.code, 75, "{ended:?}");
    assert!(
        ended.stderr.contains("the appliance runs")
            && ended.stderr.contains("it is started again in 2 s"),
        "{ended:?}"
    );
    assert!(!ended.stderr.contains("postern init"), "{ended:?}");
    init.wait_ready();
    assert_eq!(grid.run(&["queue", "list"], &[]).code, 0);
    assert_eq!(init.stop(Signal::SIGTERM), 143);
    let ended = grid.run(&["queue", "list"], &[]);
    assert!(ended.code == 69 && ended.stderr.contains("postern init"), "{ended:?}");
}

#[test]
fn what_stands_in_the_place_of_the_control_socket_is_put_aside() {
    let grid = Grid::new();
    let socket = grid.path("run/control.sock");
    let mut init = grid.init(&[]);
    let file = |path: &Path| fs::File::create_new(path).map(drop);
    for replace in [|path: &Path| fs::create_dir(path), file] {
        // The core may create its socket again in between.
        until("the place of the socket is free", || {
            fs::remove_file(&socket).and_then(|()| replace(&socket)).is_ok()
        });
        kill(init.core, Signal::SIGKILL).unwrap();
        init.wait_for("something else was at the path of the control socket");
        init.wait_ready();
        assert_eq!(grid.run(&["queue", "list"], &[]).code, 0);
    }
    assert_eq!(init.stop(Signal::SIGTERM), 143);
}

/// A file that a start must not trust is named, and stays.
#[test]
fn a_segment_that_is_a_link_stops_the_start_and_nothing_is_deleted() {
    let grid = Grid::new();
    assert_eq!(grid.init(&[]).stop(Signal::SIGTERM), 143);
    let log = grid.path("data/log");
    let segment = fs::read_dir(&log)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some());
    let segment = segment.unwrap();
    let elsewhere = grid.path("elsewhere");
    fs::rename(&segment, &elsewhere).unwrap();
    symlink(&elsewhere, &segment).unwrap();
    let content = grid.make_file("data/body/0000000000001.eml", "a mail");
    let name = segment.file_name().unwrap().to_str().unwrap();
    let ended = grid.run(&["init"], &[]);
    assert_eq!(ended.code, 73, "{ended:?}");
    assert!(ended.stderr.contains("Error: failed to mount data volume."), "{ended:?}");
    assert!(
        ended.stderr.contains(&format!("{name} is a symbolic link and not a file")),
        "{ended:?}"
    );
    let volume = grid.path("data").display().to_string();
    let verified = grid.run(&["queue", "verify", "--volume", &volume], &[]);
    assert!(verified.code != 0 && verified.stderr.contains("is a symbolic link"), "{verified:?}");
    assert!(content.exists());
    fs::rename(&elsewhere, &segment).unwrap();
    assert_eq!(grid.init(&[]).stop(Signal::SIGTERM), 143);
}

#[test]
fn hangup_stops_nobody() {
    let grid = Grid::new();
    let mut init = grid.init(&[]);
    init.signal(Signal::SIGHUP);
    kill(init.core, Signal::SIGHUP).unwrap();
    assert_eq!(init.stop(Signal::SIGTERM), 143);
    assert_eq!(grid.log().matches("is started again").count(), 0, "{}", grid.log());
}

#[test]
fn the_core_ends_when_init_is_killed() {
    let grid = Grid::new();
    let mut init = grid.init(&[]);
    init.signal(Signal::SIGKILL);
    assert_eq!(init.end().signal(), Some(9));
    init.wait_all_gone();
    // Its new parent may be slow to reap it.
    let core = init.core;
    until("the core ends", || {
        fs::read_to_string(format!("/proc/{core}/stat")).map_or(true, |stat| stat.contains(") Z "))
    });
    // A readiness file of an earlier process is removed by the next start.
    assert!(grid.path("run/ready").exists());
    let mut init = Running::start(grid.command(&["init"], &[("MTA_VOLUME_DATA", "/nowhere/data")]));
    assert_eq!(init.end().code(), Some(73));
    let mut init = grid.init(&[]);
    assert_eq!(init.stop(Signal::SIGTERM), 143);
    assert!(!grid.path("run/ready").exists());
}

#[test]
fn orphans_are_adopted_and_reaped() {
    let grid = Grid::new();
    // A child of the later init waits for readiness, leaves a grandchild behind, and ends.
    let script = "(while [ ! -e \"$MTA_RUN_DIR/ready\" ]; do sleep 0.05; done
                   sleep 1 >/dev/null 2>&1 &
                   echo $! > \"$MTA_RUN_DIR/orphan.new\"; \
                   mv \"$MTA_RUN_DIR/orphan.new\" \"$MTA_RUN_DIR/orphan\") &
                  echo $! > \"$MTA_RUN_DIR/child\"
                  exec \"$0\" init";
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]).arg(grid.path("postern"));
    grid.dress(&mut command, &[]);
    let mut init = Running::start(command);
    init.wait_ready();
    until("the orphan is named", || grid.path("run/orphan").exists());
    let pid = |name: &str| {
        Pid::from_raw(fs::read_to_string(grid.path(name)).unwrap().trim().parse().unwrap())
    };
    let (child, orphan) = (pid("run/child"), pid("run/orphan"));
    until("the child is reaped", || !exists(child));
    let parent = fs::read_to_string(format!("/proc/{orphan}/stat")).unwrap();
    assert_eq!(
        parent.split(") ").nth(1).unwrap().split(' ').nth(1),
        Some(init.pid().to_string().as_str()),
        "{parent}"
    );
    until("the orphan is reaped", || !exists(orphan));
    assert_eq!(init.stop(Signal::SIGTERM), 143);
}

//! Each reason not to start: its line word for word, its exit code, and the same line in the appliance log.

use crate::support::{Ended, Grid, is_root};
use postern::appliance::class::class;
use std::fs;
use std::net::TcpListener;

/// The verbatim line stands alone on standard error, and in the appliance log.
fn expect(grid: &Grid, ended: &Ended, line: &str, code: i32) {
    assert!(ended.stderr.lines().any(|found| found == line), "'{line}' missing:\n{}", ended.stderr);
    assert_eq!(ended.code, code, "{}", ended.stderr);
    if let Some(told) = class().error.iter().find(|error| error.line == line) {
        assert!(told.exit.iter().any(|exit| i32::from(*exit) == code), "the class does not tell of exit code {code}: {told:?}");
    }
    assert!(grid.log().lines().any(|found| found.ends_with(line)), "'{line}' missing in the log:\n{}", grid.log());
}

#[test]
fn wrong_properties() {
    for (vars, line) in [
        (&[("MTA_UI_PORT", "0")][..], "Error: ui_port value must be between 1 and 65535"),
        (&[("MTA_UI_PORT", "65536")], "Error: ui_port value must be between 1 and 65535"),
        (&[("MTA_UI_PORT", "eighty")], "Error: ui_port value must be between 1 and 65535"),
        (&[("MTA_LOGS_ENABLED", "yes")], "Error: logs are enabled but the 'log' terminal is not connected."),
        (&[("MTA_SSL_DISABLED", "no")], "Error: ssl_disabled=no, but ssl key files are not defined!"),
        (
            &[("MTA_VOLUME_KEY", "/keys"), ("MTA_TERMINAL_FS", "/mnt/keys")],
            "Error: both the key volume and the 'fs' terminal are connected; use one of them.",
        ),
        (&[("MTA_MAILLOG_FILENAME", "/logs/../../x")], "Error: maillog_filename must stay inside the log share"),
        (
            &[("MTA_HOSTNAME", "no host")],
            "Error: hostname must be a host name such as mail.example.com (letters, digits and hyphens between dots)",
        ),
        (
            &[("MTA_TIMEZONE", "Mars/Base")],
            "Error: timezone is not a known time zone: write an IANA name such as Europe/Berlin or UTC",
        ),
        (&[("MTA_MINIMAL_BACKOFF_TIME", "2h")], "Error: minimal_backoff_time must not be longer than maximal_backoff_time"),
        (&[("MTA_SMART_RELAY", "'relay.example'")], "Error: MTA_SMART_RELAY has quotes around its value"),
        (&[("MTA_HOSTNME", "a.example")], "Error: there is no property MTA_HOSTNME"),
    ] {
        let grid = Grid::new();
        let ended = grid.run(&["init"], vars);
        expect(&grid, &ended, line, 64);
        assert!(ended.stderr.lines().any(|line| line.starts_with("  ")), "a cause is told: {}", ended.stderr);
        assert!(!grid.path("run/ready").exists());
    }
}

#[test]
fn terminals_and_keys_that_are_not_there() {
    let keys = |content: &[(&str, &str)]| {
        let grid = Grid::new();
        grid.make_dir("key");
        for (name, content) in content {
            grid.make_file(&format!("key/{name}"), content);
        }
        grid
    };
    let key_volume = |grid: &Grid| grid.path("key").to_str().unwrap().to_owned();

    let grid = keys(&[]);
    let volume = grid.path("nothing").to_str().unwrap().to_owned();
    expect(&grid, &grid.run(&["init"], &[("MTA_VOLUME_KEY", &volume)]), "Error: failed to mount key volume.", 66);

    let grid = keys(&[("server.key", "k")]);
    let ended = grid.run(&["init"], &[("MTA_VOLUME_KEY", &key_volume(&grid)), ("MTA_SSL_DISABLED", "no")]);
    expect(&grid, &ended, "Error: couldn't find ssl keys on the key volume!", 66);
    assert!(ended.stderr.contains("server.pem"), "{}", ended.stderr);

    let grid = keys(&[("server.key", "k"), ("server.pem", "c")]);
    let ended = grid.run(&["init"], &[("MTA_VOLUME_KEY", &key_volume(&grid)), ("MTA_SSL_DISABLED", "no")]);
    expect(&grid, &ended, "Error: couldn't find ssl keys on the key volume!", 66);
    assert!(ended.stderr.contains("the key file holds no private key"), "{}", ended.stderr);

    let grid = Grid::new();
    let ended = grid.run(&["init"], &[("MTA_LOGS_ENABLED", "yes"), ("MTA_TERMINAL_LOG", "/mnt/log")]);
    expect(&grid, &ended, "Error: failed to mount log share.", 69);

    let grid = Grid::new();
    let ended = grid.run(&["init"], &[("MTA_LOGS_ENABLED", "yes"), ("MTA_TERMINAL_LOG", "//0.255.255.255/share")]);
    expect(&grid, &ended, "Error: logs are enabled but the 'log' terminal is not connected.", 69);

    let grid = Grid::new();
    expect(&grid, &grid.run(&["init"], &[("MTA_TERMINAL_FS", "/mnt/keys")]), "Error: failed to mount the 'fs' terminal.", 69);
}

#[test]
fn data_volumes_that_do_not_work() {
    const LINE: &str = "Error: failed to mount data volume.";
    let grid = Grid::new();
    let missing = grid.path("no/such").to_str().unwrap().to_owned();
    let ended = grid.run(&["init"], &[("MTA_VOLUME_DATA", &missing)]);
    expect(&grid, &ended, LINE, 73);
    assert!(ended.stderr.contains(&missing), "{}", ended.stderr);

    let grid = Grid::new();
    let file = grid.make_file("file", "");
    expect(&grid, &grid.run(&["init"], &[("MTA_VOLUME_DATA", file.to_str().unwrap())]), LINE, 73);

    let grid = Grid::new();
    let ended = grid.run(&["init"], &[("MTA_VOLUME_DATA", "/sys/kernel")]);
    assert!(ended.stderr.lines().any(|line| line == LINE) && [73, 77].contains(&ended.code), "{ended:?}");
}

#[test]
fn ports_that_are_taken() {
    const START: &str = "Error: failed to start the MTA server. Please see the /var/log/appliance/log log file in MTA for more details on the failure";
    for (property, line) in [("MTA_SMTP_PORT", START), ("MTA_UI_PORT", "Error: failed to initialize the UI backend")] {
        let grid = Grid::new();
        let taken = TcpListener::bind((grid.address, 0)).unwrap();
        let port = taken.local_addr().unwrap().port().to_string();
        let ended = grid.run(&["init"], &[(property, &port)]);
        expect(&grid, &ended, line, 69);
        let cause = ended.stderr.lines().skip_while(|found| *found != line).nth(1).unwrap_or_default();
        assert!(cause.starts_with("  ") && cause.contains(&port), "the cause names the port: {}", ended.stderr);
    }
}

#[test]
fn everything_wrong_at_once() {
    let grid = Grid::new();
    let ended = grid
        .run(&["init"], &[("MTA_UI_PORT", "x"), ("MTA_QUEUE_LIFETIME", "5"), ("MTA_SMARTRELAY", "a"), ("MTA_LISTEN", "eth0")]);
    assert_eq!(ended.code, 64);
    assert_eq!(ended.stderr.lines().filter(|line| line.starts_with("Error: ")).count(), 4, "{}", ended.stderr);
    assert!(ended.stderr.contains("did you mean MTA_SMART_RELAY?"), "{}", ended.stderr);

    // Terminals and volumes, too, are looked at before anybody is sent away.
    let ended = grid.run(
        &["init"],
        &[("MTA_TERMINAL_FS", "/mnt/keys"), ("MTA_VOLUME_DATA", "/nowhere/data"), ("MTA_TERMINAL_NET", "203.0.113.77")],
    );
    assert_eq!(ended.stderr.lines().filter(|line| line.starts_with("Error: ")).count(), 3, "{}", ended.stderr);
}

#[test]
fn a_run_dir_that_cannot_be_written_is_told() {
    let grid = Grid::new();
    let ended = grid.run(&["init"], &[("MTA_RUN_DIR", "/proc/postern")]);
    assert!(ended.stderr.contains("Error: failed to preconfigure the MTA\n  run_dir /proc/postern: "), "{}", ended.stderr);
    assert_eq!(ended.code, 73);
}

#[test]
fn the_core_is_not_for_people() {
    let grid = Grid::new();
    let ended = grid.run(&["core"], &[]);
    assert_eq!(ended.code, 64);
    assert!(ended.stderr.contains("postern init"), "{}", ended.stderr);
}

#[test]
fn the_appliance_log_of_root_is_where_the_founding_document_says() {
    let grid = if is_root() { Grid::as_root() } else { Grid::new() };
    let unknown = format!("MTA_UNKNOWN_{}", std::process::id());
    grid.run(&["init"], &[(&unknown, "x")]);
    let log = if is_root() { fs::read_to_string("/var/log/appliance/log").unwrap() } else { grid.log() };
    assert!(log.contains(&format!("Error: there is no property {unknown}")), "{log}");
}

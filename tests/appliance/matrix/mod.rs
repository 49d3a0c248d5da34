//! The boot matrix: the real `postern init`, booted once for each row, ends with the line that the
//! founding document or the contract fixes, a second line with the cause, its exit code, and the
//! same two lines in the appliance log.
//!
//! A check of all rows together: every error of the class has a row, with the exit codes that the
//! class declares.

mod properties;
mod rows;
mod sites;

use crate::support::{Ended, Grid, is_root};
use postern::appliance::class::class;
use sites::Site;
use std::collections::BTreeSet;
use std::fs;

/// One reason not to start.
pub struct Row {
    /// The description of the error, for a failed test.
    pub what: &'static str,
    /// Properties in addition to the valid ones; `{box}` is the directory of the environment.
    pub vars: &'static [(&'static str, &'static str)],
    /// What is prepared in the environment.
    pub site: Site,
    pub line: &'static str,
    pub code: i32,
    /// Parts of the second line.
    pub cause: &'static [&'static str],
}

#[test]
fn every_reason_not_to_start() {
    let mut wrong = Vec::new();
    for row in rows::all() {
        if let Err(why) = boot(row) {
            wrong.push(format!("--- {}: {why}", row.what));
        }
    }
    assert!(wrong.is_empty(), "{} rows are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// `postern check` predicts everything that can be detected without trying; and it changes nothing.
#[test]
fn check_foresees_terminals_volumes_and_keys() {
    let mut wrong = Vec::new();
    let tried = |row: &&Row| row.code != 64 && row.site.is_foreseen();
    for row in rows::all().filter(tried) {
        let grid = if row.site.needs_root() { Grid::as_root() } else { Grid::new() };
        let _undone_at_the_end = row.site.prepare(&grid);
        let ended = run(&grid, row, "check");
        let said = format!("`postern init` would stop here with: {} (", row.line);
        if ended.code != 1 || !ended.stdout.contains(&said) {
            wrong.push(format!("--- {}: exit code {}\n{}", row.what, ended.code, ended.stdout));
        }
        assert!(!grid.path("no").exists() && grid.path("run").read_dir().unwrap().next().is_none());
    }
    assert!(wrong.is_empty(), "{} rows are not foreseen:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn check_is_content_with_what_would_start() {
    let grid = Grid::new();
    let _keys = Site::Keys(sites::Fault::None).prepare(&grid);
    let keys = grid.path("key").display().to_string();
    for vars in [
        &[("MTA_VOLUME_KEY", keys.as_str()), ("MTA_SSL_DISABLED", "no")][..],
        &[("MTA_TERMINAL_FS", "0.255.255.255:/k")],
    ] {
        let ended = grid.run(&["check"], vars);
        assert_eq!(ended.code, 0);
        assert!(!ended.stdout.contains("would stop here"), "{}", ended.stdout);
    }
}

#[test]
fn every_error_of_the_class_has_a_row() {
    let shown: BTreeSet<_> =
        rows::all().map(|row| (row.line, u8::try_from(row.code).unwrap())).collect();
    for error in &class().error {
        let codes: BTreeSet<_> =
            shown.iter().filter(|(line, _)| *line == error.line).map(|(_, code)| *code).collect();
        assert!(!codes.is_empty(), "no row shows: {}", error.line);
        assert!(
            codes.iter().all(|code| error.exit.contains(code)),
            "{}: {codes:?}, declared: {:?}",
            error.line,
            error.exit
        );
    }
    let codes: BTreeSet<_> = shown.iter().map(|(_, code)| *code).collect();
    // 70 means a defect of the program, which no property can cause.
    assert_eq!(codes, BTreeSet::from([64, 66, 69, 73, 77]));
}

/// Starts the appliance of a row once, and tells what is wrong.
fn boot(row: &Row) -> Result<(), String> {
    let grid = if row.site.needs_root() { Grid::as_root() } else { Grid::new() };
    let _undone_at_the_end = row.site.prepare(&grid);
    let ended = run(&grid, row, "init");
    let log = if row.site.needs_root() {
        fs::read_to_string("/var/log/appliance/log").unwrap_or_default()
    } else {
        grid.log()
    };
    judge(row, &place_of(&grid), &ended, &log).map_err(|why| {
        format!("{why}\nexit code {}\n{}", ended.code, without_properties(&ended.stderr))
    })?;
    if ended.stderr.contains("the SMTP core is ready") {
        Err("it called itself ready".to_owned())
    } else {
        Ok(())
    }
}

fn run(grid: &Grid, row: &Row, command: &str) -> Ended {
    let place = place_of(grid);
    let vars: Vec<_> =
        row.vars.iter().map(|(name, value)| (*name, value.replace("{box}", &place))).collect();
    let vars: Vec<_> = vars.iter().map(|(name, value)| (*name, value.as_str())).collect();
    grid.run(&[command], &vars)
}

fn place_of(grid: &Grid) -> String {
    grid.path("").display().to_string().trim_end_matches('/').to_owned()
}

fn judge(row: &Row, place: &str, ended: &Ended, log: &str) -> Result<(), String> {
    let mut lines = ended.stderr.lines().skip_while(|found| *found != row.line);
    lines.next().ok_or_else(|| format!("no line is '{}'", row.line))?;
    let cause = lines
        .next()
        .and_then(|line| line.strip_prefix("  "))
        .ok_or("there is no second line with the cause")?;
    for part in row.cause {
        if !cause.contains(&part.replace("{box}", place)) {
            return Err(format!("'{part}' is not in the cause"));
        }
    }
    let in_log = |text: &str| {
        log.lines()
            .any(|line| line.split_once(" ERROR init: ").is_some_and(|(_, found)| found == text))
    };
    if !in_log(row.line) || !in_log(cause) {
        return Err(format!("line or cause is not in the appliance log:\n{log}"));
    }
    if ended.code == row.code { Ok(()) } else { Err(format!("the exit code must be {}", row.code)) }
}

fn without_properties(stderr: &str) -> String {
    let told = |line: &&str| !line.contains("INFO init: ") || line.contains("terminal");
    stderr.lines().filter(told).map(|line| line.to_owned() + "\n").collect()
}

#[test]
fn everything_wrong_at_once() {
    let grid = Grid::new();
    let errors =
        |ended: &Ended| ended.stderr.lines().filter(|line| line.starts_with("Error: ")).count();
    let ended = grid.run(
        &["init"],
        &[
            ("MTA_UI_PORT", "x"),
            ("MTA_QUEUE_LIFETIME", "5"),
            ("MTA_SMARTRELAY", "a"),
            ("MTA_LISTEN", "eth0"),
        ],
    );
    assert_eq!((ended.code, errors(&ended)), (64, 4), "{}", ended.stderr);
    assert!(ended.stderr.contains("did you mean MTA_SMART_RELAY?"), "{}", ended.stderr);

    // Terminals and volumes are checked before the start is refused, too.
    let vars = [
        ("MTA_TERMINAL_FS", "/nowhere/keys"),
        ("MTA_VOLUME_DATA", "/nowhere/data"),
        ("MTA_TERMINAL_NET", "203.0.113.77"),
    ];
    let ended = grid.run(&["init"], &vars);
    assert_eq!(errors(&ended), 3, "{}", ended.stderr);
}

#[test]
fn a_run_dir_that_cannot_be_written_is_told() {
    // There is no appliance log to write to.
    let grid = Grid::new();
    let ended = grid.run(&["init"], &[("MTA_RUN_DIR", "/proc/postern")]);
    assert!(
        ended.stderr.contains("Error: failed to preconfigure the MTA\n  run_dir /proc/postern: "),
        "{}",
        ended.stderr
    );
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
    let log =
        if is_root() { fs::read_to_string("/var/log/appliance/log").unwrap() } else { grid.log() };
    assert!(log.contains(&format!("Error: there is no property {unknown}")), "{log}");
}

//! A data volume of a later version: it is refused with a clear error, and not changed.

use crate::support::Grid;
use std::fs;

const LINE: &str = "Error: failed to mount data volume.";

#[test]
fn a_queue_of_a_later_format_is_refused() {
    let grid = Grid::new();
    let format = grid.make_file("data/format", "postern queue format 3\n");
    refused(&grid, "(format 3, this version knows 2): start that version again");
    assert_eq!(fs::read_to_string(format).unwrap(), "postern queue format 3\n");
    assert!(
        !grid.path("data/log").exists()
            || fs::read_dir(grid.path("data/log")).unwrap().next().is_none()
    );
}

#[test]
fn a_segment_of_a_later_format_is_refused() {
    let grid = Grid::new();
    grid.make_dir("data/log");
    let mut header = b"POSTERNQ".to_vec();
    header.extend_from_slice(&3u32.to_le_bytes());
    header.extend_from_slice(&1u32.to_le_bytes());
    header.extend_from_slice(&77u64.to_le_bytes());
    header.extend_from_slice(&crc32fast::hash(&header).to_le_bytes());
    header.resize(4096, 0);
    let segment = grid.path("data/log/0000000001.seg");
    grid.make_file("data/log/0000000001.seg", "");
    fs::write(&segment, &header).unwrap();
    refused(&grid, "(format 3, this version knows 2): start that version again");
    assert_eq!(fs::read(&segment).unwrap(), header, "it was written to");
}

fn refused(grid: &Grid, cause: &str) {
    let ended = grid.run(&["init"], &[]);
    let mut lines = ended.stderr.lines().skip_while(|line| *line != LINE);
    assert!(lines.next().is_some(), "{}", ended.stderr);
    assert!(lines.next().is_some_and(|line| line.contains(cause)), "{}", ended.stderr);
    assert!(!ended.stderr.contains("the SMTP core is ready"), "{}", ended.stderr);
    assert_eq!(ended.code, 73, "{}", ended.stderr);
}

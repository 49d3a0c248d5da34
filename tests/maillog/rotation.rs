//! The file is renamed, as logrotate does, while lines are written.

use crate::audit::Audit;
use crate::share::{Share, appliance, read, send, until_carried};
use crate::support::appliance::Sink;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Lines are written until the file has been renamed so often.
const ROTATIONS: usize = 6;
/// Even on a slow machine.
const PATIENCE: Duration = Duration::from_secs(90);

#[test]
fn renamed_files_are_left_and_no_line_is_lost_or_doubled() {
    let (share, sink) = (Share::new(), Sink::start(""));
    let appliance = appliance(&share, &sink, &[]);
    let log = share.path.join("srv1/maillog");
    let (stop, rotations, start) = (AtomicBool::new(false), AtomicUsize::new(0), Instant::now());
    let (ids, mut rotated) = std::thread::scope(|scope| {
        let renamer = scope.spawn(|| {
            let mut rotated: Vec<PathBuf> = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(70));
                let away = share.path.join(format!("maillog.{:03}", rotated.len()));
                if fs::rename(&log, &away).is_ok() {
                    rotated.push(away);
                    rotations.store(rotated.len(), Ordering::Relaxed);
                }
            }
            rotated
        });
        let send_on = || {
            let mut ids = Vec::new();
            while rotations.load(Ordering::Relaxed) < ROTATIONS && start.elapsed() < PATIENCE {
                ids.extend(send(&appliance, 50));
            }
            ids
        };
        let senders: Vec<_> = (0..4).map(|_| scope.spawn(send_on)).collect();
        let ids: Vec<String> =
            senders.into_iter().flat_map(|sender| sender.join().unwrap()).collect();
        appliance.until_empty();
        until_carried(&appliance);
        stop.store(true, Ordering::Relaxed);
        (ids, renamer.join().unwrap())
    });
    println!("{} mails, {} files", ids.len(), rotated.len() + 1);
    assert!(rotated.len() >= ROTATIONS, "only {} rotations", rotated.len());
    rotated.push(log);
    let whole: String = rotated.iter().map(|path| read(path)).collect();
    let audit = Audit::of(&whole);
    audit.complete(&ids);
    assert_eq!(appliance.counter("mta_maillog_dropped_lines_total"), 0);
}

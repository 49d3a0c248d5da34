//! How a run of the queue ends, and how the next one begins.

use super::{History, ROOMY, load, open_counted};
use crate::disk::SimDisk;
use crate::mail::spool::{OpenError, Spool, SpoolError};
use postern::ground::disk::is_full;
use std::time::Duration;

impl History {
    /// The power goes, the disk comes back, the queue is opened again, and is held against the
    /// model.
    pub fn power_cut(&mut self) {
        self.events.count("power cut");
        let after = self.disk.power_cut();
        self.end(after);
        self.reopen();
    }

    /// The process is killed; what the kernel has taken stays visible, durable or not. Opened
    /// again, and held against the model.
    pub fn kill(&mut self) {
        self.events.count("kill");
        let after = self.disk.kill();
        self.end(after);
        self.reopen();
    }

    /// A clean stop and start.
    pub fn restart(&mut self) {
        self.events.count("clean restart");
        self.disk.heal();
        self.close();
        self.reopen();
    }

    /// The power goes, or the process is killed, while the queue is being opened, again and again.
    pub fn crash_in_recovery(&mut self) {
        let mut after = self.disk.power_cut();
        for _ in 0..self.random.usize(1..4) {
            self.end(after);
            let calls = self.random.u64(..40);
            self.disk.die_after(calls);
            self.events.count(match open_counted(&self.disk, self.config, &self.counters) {
                Ok(log) => {
                    self.log = Some(log);
                    "crash right after a recovery"
                }
                Err(_) => "crash in a recovery",
            });
            after = if self.random.bool() { self.disk.power_cut() } else { self.disk.kill() };
        }
        self.end(after);
        self.reopen();
    }

    /// Calls fail while the queue is being opened. It may refuse to, but must not think less of
    /// what it owes.
    pub fn trouble_in_recovery(&mut self) {
        let after = if self.random.bool() { self.disk.power_cut() } else { self.disk.kill() };
        self.end(after);
        let error = self.some_error();
        let (calls, times) = (self.random.u64(..20), self.random.u64(1..4));
        self.disk.fail_after(calls, times, error);
        match open_counted(&self.disk, self.config, &self.counters) {
            Ok(log) => {
                self.log = Some(log);
                self.events.count("opened in spite of errors");
                self.check();
                self.disk.heal();
                self.distrust();
            }
            Err(_) => {
                self.events.count("refused to open");
                self.disk.heal();
                self.reopen();
            }
        }
    }

    /// Blocks cannot be read for the time of one recovery. What is served is whole; what is not
    /// comes back.
    pub fn unreadable_in_recovery(&mut self) {
        self.close();
        self.disk = self.disk.kill();
        let reads = self.random.u64(..12);
        self.disk.fail_reads_after(reads);
        match open_counted(&self.disk, self.config, &self.counters) {
            Ok(log) => {
                self.events.count("opened with blocks that cannot be read");
                for id in log.ids(None, usize::MAX) {
                    if let (Ok(message), Some(mail)) =
                        (load(&self.world, &log, id), self.mails.get(&id))
                    {
                        let content = message.body.head(usize::MAX);
                        assert!(
                            content.is_err()
                                || content.is_ok_and(|content| content == mail.content),
                            "seed {}: {id} is changed",
                            self.seed
                        );
                    }
                }
                self.world.pass(Duration::from_secs(3));
                drop(log);
            }
            Err(_) => self.events.count("refused to open"),
        }
        self.disk.heal();
        self.reopen();
    }

    /// Errors at some calls, for a while; then the disk is well again, and so must be the queue.
    pub fn trouble(&mut self) {
        match self.random.u8(..8) {
            0..=2 => {
                let (syncs, lies) = (self.random.u64(..12), self.random.bool());
                self.disk.fail_sync_after(syncs, lies);
            }
            3..=5 => {
                let error = self.some_error();
                let (calls, times) = (self.random.u64(..40), self.random.u64(1..12));
                self.disk.fail_after(calls, times, error);
            }
            _ => {
                self.reads_failed = true;
                let reads = self.random.u64(..20);
                self.disk.fail_reads_after(reads);
            }
        }
    }

    /// The disk is well again, and so is the queue, by itself; unless the power had gone.
    pub fn recover(&mut self) {
        self.disk.heal();
        if self.disk.is_dead() {
            return self.power_cut();
        }
        self.disk.set_capacity(ROOMY);
        self.world.pass(Duration::from_secs(4));
        self.events.count("well again by itself");
        loop {
            match self.accept() {
                Ok(()) => return,
                // A client that waits for nothing says nothing of the queue.
                Err(SpoolError::Slow(_)) => {}
                Err(error) => {
                    panic!("seed {}: the disk is well, the queue is not: {error}", self.seed)
                }
            }
        }
    }

    /// The end of a history: what is in the queue is finished, and its room comes back.
    pub fn clear(&mut self) {
        self.disk.set_capacity(ROOMY);
        self.restart();
        self.world.pass(Duration::from_secs(4));
        let Some(log) = &self.log else { return };
        for id in log.ids(None, usize::MAX) {
            let result = self.world.drive(log.delete(id));
            assert!(result.is_ok(), "seed {}: {id} does not go: {result:?}", self.seed);
        }
        self.gone.extend(std::mem::take(&mut self.mails).into_keys());
        assert_eq!(
            log.totals(),
            (0, 0, 0),
            "seed {}: the queue is empty, its sums are not",
            self.seed
        );
        let segments = self.disk.paths("log/");
        assert!(
            segments.len() <= 1,
            "seed {}: the queue is empty and keeps {segments:?}",
            self.seed
        );
        self.restart();
    }

    /// The process is gone; the next one finds this disk.
    fn end(&mut self, after: SimDisk) {
        self.count_copies();
        drop(self.log.take());
        self.disk = after;
    }

    fn count_copies(&self) {
        if self.counters.spool_copied_bytes_total.get() > 0 {
            self.counters.spool_copied_bytes_total.reset();
            self.events.count("records were copied forward");
        }
    }

    pub(super) fn close(&mut self) {
        let Some(log) = self.log.take() else { return };
        self.count_copies();
        if log.close() {
            self.all_is_durable();
        } else {
            self.events.count("closed without its last sync");
        }
        drop(log);
        // A process that ended leaves no open files.
        self.disk = self.disk.kill();
    }

    pub(super) fn reopen(&mut self) {
        self.reads_failed = false;
        let kept = self.disk.paths("corrupt/").len();
        let log = match open_counted(&self.disk, self.config, &self.counters) {
            // Every start needs a new segment; the reserve is enough for one. After that an
            // operator has to free space.
            Err(OpenError::Disk(error)) if is_full(&error) => {
                self.events.count("refused to open, being full");
                self.disk.set_capacity(ROOMY);
                open_counted(&self.disk, self.config, &self.counters)
            }
            other => other,
        };
        let log = log.unwrap_or_else(|error| panic!("seed {}: {error}", self.seed));
        let set_aside = self.disk.paths("corrupt/");
        for name in &set_aside[kept.min(set_aside.len())..] {
            self.events.count(match name.rsplit_once('.') {
                Some((_, "tail")) => "recovery: an unfinished write set aside",
                Some((_, "seg")) => "recovery: a segment set aside",
                Some((_, "eml")) => "recovery: a content set aside",
                _ => "recovery: a damaged record set aside",
            });
        }
        self.events.count("recovery");
        self.log = Some(log);
        self.check();
        self.distrust();
    }

    /// On a disk that reports false syncs, data that a new process has read may be lost after the
    /// power cut, and the process could not know: the power is cut at once.
    pub(super) fn distrust(&mut self) {
        if self.disk.lies() {
            self.events.count("recovery on a disk that lies");
            let after = self.disk.power_cut();
            self.end(after);
            self.reopen();
        }
    }

    fn some_error(&mut self) -> std::io::ErrorKind {
        if self.random.bool() { std::io::ErrorKind::StorageFull } else { std::io::ErrorKind::Other }
    }
}

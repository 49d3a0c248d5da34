//! Files that may change while the core runs: reads them regularly, and reports new content.
//!
//! Purpose: certificates are valid for weeks, passwords are rotated, and relays run for months. In:
//! the files, as [`WatchedFiles`]. Out: each new valid content. It reads the files instead of using
//! inotify, because there are no such events over NFS, and none at the file itself if a link to its
//! directory is replaced (a Kubernetes secret). Limits: one read every [`PACE`], [`PATIENCE`] for
//! each; one child process at a time, even when it hangs. Security: content that is broken,
//! incomplete or expired is not used: the present one stays.

use super::identity::Identity;
use super::worker_process::{WorkerError, WorkerProcess};
use nix::poll::{PollFd, PollFlags};
use nix::unistd::Pid;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// Time from one read to the next.
pub const PACE: Duration = Duration::from_secs(10);

/// Time limit of a read.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Time limit of the first read, before the core starts: a freshly started NFS server lets clients
/// wait for its grace period, usually 90 s (RFC 8881 §8.4.2.1).
pub const FIRST_PATIENCE: Duration = Duration::from_secs(120);

/// Files that belong together.
pub trait WatchedFiles: Clone {
    /// What is made of them.
    type Content: Clone + PartialEq + Serialize + DeserializeOwned;

    /// Reads and checks all of them. May hang as long as a file server does.
    ///
    /// # Errors
    /// A text: which file, what is wrong, what to do.
    fn read(&self, identity: &Identity) -> Result<Self::Content, String>;

    /// The text for a place that does not answer.
    fn not_answering(&self, why: &str) -> String;
}

/// The result of a read.
#[derive(Debug, PartialEq, Eq)]
pub enum FileChange {
    /// Another valid content.
    Renewed,
    /// The files cannot be used, and why. Reported once for each reason.
    Trouble(String),
    /// After a problem: the files are valid again.
    Well,
}

/// Consecutive reads without a valid content.
struct Trouble {
    /// The last error.
    last: String,
    /// The error that was reported.
    told: Option<String>,
}

/// The watch over some files.
pub struct FileWatch<F: WatchedFiles> {
    files: F,
    identity: Identity,
    content: F::Content,
    look: Option<WorkerProcess<Result<F::Content, String>>>,
    next_look: Instant,
    /// A child that did not come back; until it is reaped, no other is started.
    lost: Option<Pid>,
    trouble: Option<Trouble>,
}

impl<F: WatchedFiles> FileWatch<F> {
    /// `content` was read from `files` at start.
    pub fn new(files: F, identity: Identity, content: F::Content) -> Self {
        Self {
            files,
            identity,
            content,
            look: None,
            next_look: Instant::now() + PACE,
            lost: None,
            trouble: None,
        }
    }

    /// The content in use.
    pub fn content(&self) -> &F::Content {
        &self.content
    }

    /// Whether the files cannot be used, and that was reported.
    pub fn is_failing(&self) -> bool {
        self.trouble.as_ref().is_some_and(|trouble| trouble.told.is_some())
    }

    /// Starts a read when it is due, and takes its result.
    pub fn poll(&mut self) -> Option<FileChange> {
        if let Some(look) = &mut self.look {
            let end = look.look()?;
            let child = look.child();
            self.look = None;
            if matches!(end, Err(WorkerError::Late(_))) {
                self.lost = Some(child);
            }
            return self.heard(
                end.unwrap_or_else(|lost| Err(self.files.not_answering(&lost.to_string()))),
            );
        }
        let now = Instant::now();
        if now >= self.next_look {
            self.next_look = now + PACE;
            if self.lost.is_none() {
                let (files, identity) = (self.files.clone(), self.identity);
                // If no process can be created, there is no read this time.
                self.look = WorkerProcess::begin(PATIENCE, move || files.read(&identity)).ok();
            }
        }
        None
    }

    fn heard(&mut self, read: Result<F::Content, String>) -> Option<FileChange> {
        match read {
            Ok(content) => {
                let told = self.trouble.take().is_some_and(|trouble| trouble.told.is_some());
                if content != self.content {
                    self.content = content;
                    return Some(FileChange::Renewed);
                }
                told.then_some(FileChange::Well)
            }
            Err(why) => {
                let Some(trouble) = &mut self.trouble else {
                    // Perhaps only one of the files has been replaced yet; the next read
                    // decides.
                    self.trouble = Some(Trouble { last: why, told: None });
                    return None;
                };
                // Alternating causes are reported once, and a new one when it persists.
                let stays = trouble.last == why;
                let is_news = trouble.told.as_ref().is_none_or(|told| stays && *told != why);
                trouble.last.clone_from(&why);
                is_news.then(|| {
                    trouble.told = Some(why.clone());
                    FileChange::Trouble(why)
                })
            }
        }
    }

    /// A child was reaped; it may be the one that did not come back.
    pub fn reaped(&mut self, pid: Pid) {
        self.lost.take_if(|lost| *lost == pid);
    }

    /// When [`FileWatch::poll`] has something to do, if nothing happens before.
    pub fn next(&self) -> Instant {
        self.look.as_ref().map_or(self.next_look, WorkerProcess::deadline)
    }

    /// The descriptor to poll.
    pub fn poll_fd(&self) -> Option<PollFd<'_>> {
        self.look.as_ref().map(|look| PollFd::new(look.as_fd(), PollFlags::POLLIN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone)]
    struct NoFiles;

    impl WatchedFiles for NoFiles {
        type Content = String;

        fn read(&self, _: &Identity) -> Result<String, String> {
            Ok(String::new())
        }

        fn not_answering(&self, why: &str) -> String {
            why.to_owned()
        }
    }

    #[test]
    fn trouble_is_told_when_it_lasts_and_once_and_its_end_as_well() {
        let keys = str::to_owned;
        let mut watch = FileWatch::new(NoFiles, Identity::same(), keys("one"));
        let broken = || Err("broken".to_owned());
        assert_eq!(watch.heard(Ok(keys("one"))), None);
        assert_eq!(watch.heard(broken()), None, "half a renewal");
        assert_eq!(watch.heard(Ok(keys("one"))), None);
        assert_eq!(watch.heard(broken()), None);
        assert_eq!(watch.heard(broken()), Some(FileChange::Trouble("broken".to_owned())));
        assert_eq!(watch.heard(broken()), None);
        let torn = || Err("torn".to_owned());
        for look in [torn(), broken(), torn(), broken()] {
            assert_eq!(watch.heard(look), None, "they take turns");
        }
        assert_eq!(
            (watch.heard(torn()), watch.heard(torn())),
            (None, Some(FileChange::Trouble("torn".to_owned())))
        );
        assert_eq!(watch.heard(Ok(keys("one"))), Some(FileChange::Well));
        assert_eq!(watch.heard(Ok(keys("two"))), Some(FileChange::Renewed));
        assert_eq!(watch.content(), "two");
    }
}

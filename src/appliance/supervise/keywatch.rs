//! Renewed keys: looks at the key files again and again, and tells when there is a new pair.
//!
//! Purpose: certificates live for weeks and relays for months. In: where the files are. Out: each
//! new pair that is fit for use. It reads the files instead of waiting for their events, because
//! there are none over NFS, and a link that is swapped for another directory (a Kubernetes secret)
//! has none where one would look.
//! Limits: a look every [`PACE`], [`PATIENCE`] for each; one child at a time, even when it hangs.
//! Security: a pair that is broken, torn or out of date changes nothing: the one in use stays.

use super::identity::Identity;
use super::orders::Keys;
use super::worker_process::{Lost, WorkerProcess};
use crate::appliance::volume::keys::KeyFiles;
use nix::poll::{PollFd, PollFlags};
use nix::unistd::Pid;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// From one look to the next.
pub const PACE: Duration = Duration::from_secs(10);

/// What a look may take.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What the first one may take, before the core starts: an NFS server that has just started keeps
/// everybody waiting for its grace period, 90 s as a rule (RFC 8881 §8.4.2.1).
pub const FIRST_PATIENCE: Duration = Duration::from_secs(120);

/// What a look has found.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// Another pair, fit for use.
    Renewed,
    /// The files cannot be used; why. Told once for each reason.
    Trouble(String),
    /// After trouble: the files are well again.
    Well,
}

/// Looks in a row that found no pair.
struct Trouble {
    /// What the last one complained of.
    last: String,
    /// What was told of it.
    told: Option<String>,
}

/// The watch over one pair of files.
pub struct KeyWatch {
    files: KeyFiles,
    identity: Identity,
    keys: Keys,
    look: Option<WorkerProcess<Result<Keys, String>>>,
    next_look: Instant,
    /// A child that did not come back; until it is reaped, no other is sent after it.
    lost: Option<Pid>,
    trouble: Option<Trouble>,
}

impl KeyWatch {
    /// `keys` are what was read from `files` at start.
    pub fn new(files: KeyFiles, identity: Identity, keys: Keys) -> Self {
        Self {
            files,
            identity,
            keys,
            look: None,
            next_look: Instant::now() + PACE,
            lost: None,
            trouble: None,
        }
    }

    /// The pair in use.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Sends somebody to look when that is due, and hears what came of it.
    pub fn turn(&mut self) -> Option<Found> {
        if let Some(look) = &mut self.look {
            let end = look.look()?;
            let child = look.child();
            self.look = None;
            if matches!(end, Err(Lost::Late(_))) {
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
                // Without a process to spare there is no look this time.
                self.look = WorkerProcess::begin(PATIENCE, move || files.read(&identity)).ok();
            }
        }
        None
    }

    fn heard(&mut self, read: Result<Keys, String>) -> Option<Found> {
        match read {
            Ok(keys) => {
                let told = self.trouble.take().is_some_and(|trouble| trouble.told.is_some());
                if keys != self.keys {
                    self.keys = keys;
                    return Some(Found::Renewed);
                }
                told.then_some(Found::Well)
            }
            Err(why) => {
                let Some(trouble) = &mut self.trouble else {
                    // It may be a pair of which one half has been replaced; the next look will see.
                    self.trouble = Some(Trouble { last: why, told: None });
                    return None;
                };
                // Causes that take turns are told once, and another one when it stays.
                let stays = trouble.last == why;
                let is_news = trouble.told.as_ref().is_none_or(|told| stays && *told != why);
                trouble.last.clone_from(&why);
                is_news.then(|| {
                    trouble.told = Some(why.clone());
                    Found::Trouble(why)
                })
            }
        }
    }

    /// A child was reaped; it may be the one that did not come back.
    pub fn reaped(&mut self, pid: Pid) {
        self.lost.take_if(|lost| *lost == pid);
    }

    /// When [`KeyWatch::turn`] has something to do, if nothing happens before.
    pub fn next(&self) -> Instant {
        self.look.as_ref().map_or(self.next_look, WorkerProcess::deadline)
    }

    /// What to poll.
    pub fn poll_fd(&self) -> Option<PollFd<'_>> {
        self.look.as_ref().map(|look| PollFd::new(look.as_fd(), PollFlags::POLLIN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Keys {
        Keys { private_key: text.to_owned(), certificate_chain: text.to_owned() }
    }

    #[test]
    fn trouble_is_told_when_it_lasts_and_once_and_its_end_as_well() {
        let files = KeyFiles {
            directory: "/keys".into(),
            key: "a".into(),
            certificate: "b".into(),
            place: "the key volume",
        };
        let mut watch = KeyWatch::new(files, Identity::same(), keys("one"));
        let broken = || Err("broken".to_owned());
        assert_eq!(watch.heard(Ok(keys("one"))), None);
        assert_eq!(watch.heard(broken()), None, "half a renewal");
        assert_eq!(watch.heard(Ok(keys("one"))), None);
        assert_eq!(watch.heard(broken()), None);
        assert_eq!(watch.heard(broken()), Some(Found::Trouble("broken".to_owned())));
        assert_eq!(watch.heard(broken()), None);
        let torn = || Err("torn".to_owned());
        for look in [torn(), broken(), torn(), broken()] {
            assert_eq!(watch.heard(look), None, "they take turns");
        }
        assert_eq!(
            (watch.heard(torn()), watch.heard(torn())),
            (None, Some(Found::Trouble("torn".to_owned())))
        );
        assert_eq!(watch.heard(Ok(keys("one"))), Some(Found::Well));
        assert_eq!(watch.heard(Ok(keys("two"))), Some(Found::Renewed));
        assert_eq!(watch.keys(), &keys("two"));
    }
}

//! Compares the queue with the model.

use super::{History, Mail, Presence, load};
use crate::mail::model::{Message, MessageId, TargetProgress};
use crate::mail::spool::{SegmentLog, Spool, SpoolError};
use std::collections::{BTreeMap, BTreeSet};

impl History {
    /// Compares the present contents with the guarantees.
    pub fn check(&mut self) {
        let (seed, Some(log)) = (self.seed, &self.log) else { return };
        let present: BTreeSet<MessageId> = log.ids(None, usize::MAX).into_iter().collect();
        for (id, mail) in &self.mails {
            let owed = mail.presence == Presence::Owed;
            assert!(
                !owed || present.contains(id),
                "seed {seed}: {id} was answered 250 and is lost"
            );
        }
        assert_eq!(
            self.counters.shortened_segments_total.get(),
            0,
            "seed {seed}: nobody has taken anything away"
        );
        let mut known = BTreeMap::new();
        for id in &present {
            assert!(!self.gone.contains(id), "seed {seed}: {id} was finished and is back");
            let Some(mail) = self.mails.get(id) else {
                panic!("seed {seed}: {id} was never handed in")
            };
            match load(&self.world, log, *id) {
                Ok(message) => {
                    let what = self.differs(*id, mail, &message, &mail.progress);
                    assert!(what.is_none(), "seed {seed}: {id}: {}", what.unwrap_or_default());
                    known.insert(*id, message);
                }
                // Refused, and its content removed, when the power was cut; or finished, as far as
                // a disk with false success shows.
                Err(SpoolError::Damaged) if mail.presence != Presence::Owed => {
                    self.events
                        .count("recovery: the record of a refused message without its content");
                }
                Err(error) => {
                    panic!("seed {seed}: {id} is in the queue and cannot be read: {error}")
                }
            }
        }
        let octets = known.values().map(|message| message.body.len()).sum::<u64>();
        let held = known.values().filter(|message| message.held).count() as u64;
        if known.len() == present.len() {
            assert_eq!(
                log.totals(),
                (known.len() as u64, octets, held),
                "seed {seed}: the sums are wrong"
            );
        }
        self.envelope_cache(log, &present, &known);
        if self.disk.lies() {
            return;
        }
        // What survived by chance is guaranteed from now on, with its recorded state; the rest must
        // not appear later.
        let mails = std::mem::take(&mut self.mails);
        for (id, mail) in mails {
            match known.remove(&id) {
                Some(message) => {
                    let mail = Mail {
                        presence: Presence::Owed,
                        progress: vec![message.progress],
                        held: [message.held].into(),
                        told: [message.delay_warning_sent].into(),
                        ..mail
                    };
                    self.mails.insert(id, mail);
                }
                None if present.contains(&id) => {
                    drop(self.mails.insert(id, Mail { presence: Presence::Maybe, ..mail }))
                }
                None => drop(self.gone.insert(id)),
            }
        }
    }

    /// A listing of all messages must show the same as reading each of them.
    fn envelope_cache(
        &self,
        log: &SegmentLog,
        present: &BTreeSet<MessageId>,
        known: &BTreeMap<MessageId, Message>,
    ) {
        let seed = self.seed;
        let seen = self.world.drive(log.peek_all(present.iter().copied().collect()));
        let seen = seen.unwrap_or_else(|error| {
            panic!("seed {seed}: all are there, and cannot be looked at: {error}")
        });
        let mut seen: BTreeMap<_, _> =
            seen.into_iter().map(|message| (message.id, message)).collect();
        for (id, message) in known {
            let Some(glanced) = seen.remove(id) else { panic!("seed {seed}: {id} is not seen") };
            let told = |message: &Message| {
                let content = message.body.head(usize::MAX).ok();
                let Message { envelope, kind, arrived, progress, held, delay_warning_sent, .. } =
                    message.clone();
                (envelope, kind, arrived, progress, held, delay_warning_sent, content)
            };
            assert!(
                told(&glanced) == told(message),
                "seed {seed}: {id} is {message:?} and looks like {glanced:?}"
            );
        }
    }

    /// How a message that was read differs from the possible states.
    pub(super) fn differs(
        &self,
        id: MessageId,
        mail: &Mail,
        message: &Message,
        progress: &[Vec<TargetProgress>],
    ) -> Option<String> {
        if message.id != id {
            return Some(format!("{} was read", message.id));
        }
        match message.body.head(usize::MAX) {
            Ok(content) if content != mail.content => return Some("came back changed".to_owned()),
            Err(error) if !self.reads_failed => return Some(error.to_string()),
            Ok(_) | Err(_) => {}
        }
        if !progress.contains(&message.progress) {
            return Some(format!(
                "its progress is {:?} and not one of {progress:?}",
                message.progress
            ));
        }
        if !mail.held.contains(&message.held) {
            return Some(format!("held: {}, which is not what was answered", message.held));
        }
        if !mail.told.contains(&message.delay_warning_sent) {
            return Some(format!(
                "delay told: {}, which is not what was noted",
                message.delay_warning_sent
            ));
        }
        None
    }
}

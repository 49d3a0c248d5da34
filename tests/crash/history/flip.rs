//! A flipped bit costs one message at most.

use super::{History, Mail, Presence, ROOMY, load, open_counted};
use crate::mail::model::MessageId;
use crate::mail::spool::{Spool, SpoolError};
use postern::ground::disk::Disk;
use std::collections::BTreeSet;

impl History {
    /// A clean stop, a flipped bit in a segment or a content file, and a start: one message at most
    /// may be affected.
    pub fn flip_a_bit(&mut self) {
        self.disk.heal();
        self.close();
        // A start needs a new segment, and a completely full volume has none: an operator must free
        // space.
        self.disk.set_capacity(ROOMY);
        let Some(hit) = self.disk.flip_bit(if self.random.u8(..4) > 0 { "log/" } else { "body/" })
        else {
            return self.reopen();
        };
        let seed = self.seed;
        let mut suffered = BTreeSet::new();
        self.look_for_damage(&hit, &mut suffered);
        // The summary files may have hidden it. They are not synced, and may be missing at any
        // start.
        self.close();
        // A bit in the last record of a segment removes its end.
        self.counters.shortened_segments_total.reset();
        for heads in self.disk.paths("log/").iter().filter(|path| path.ends_with(".heads")) {
            self.disk.remove(heads).unwrap();
        }
        self.look_for_damage(&hit, &mut suffered);
        self.counters.shortened_segments_total.reset();
        self.events.count(if suffered.is_empty() {
            "flip: nobody suffered"
        } else {
            "flip: one message suffered"
        });
        assert!(suffered.len() <= 1, "seed {seed}, {hit}: {suffered:?} have suffered");
        let Some(log) = &self.log else { return };
        // Removed from the queue by a record without a waiting caller, so that after a crash it may
        // be back.
        let leaving =
            self.mails.extract_if(.., |id, _| suffered.contains(id) && log.is_held(*id).is_none());
        let leaving: Vec<_> =
            leaving.map(|(id, mail)| (id, Mail { presence: Presence::Leaving, ..mail })).collect();
        self.check();
        self.mails.extend(leaving);
        self.distrust();
    }

    /// A start after a flipped bit, and its effects.
    fn look_for_damage(&mut self, hit: &str, suffered: &mut BTreeSet<MessageId>) {
        let seed = self.seed;
        let log = open_counted(&self.disk, self.config, &self.counters)
            .unwrap_or_else(|error| panic!("seed {seed}, {hit}: {error}"));
        let present: BTreeSet<MessageId> = log.ids(None, usize::MAX).into_iter().collect();
        let kept = self.disk.paths("corrupt/").len();
        for (id, mail) in &mut self.mails {
            if !present.contains(id) {
                if mail.presence == Presence::Owed {
                    self.events.count("flip: a message was lost");
                    suffered.insert(*id);
                }
                continue;
            }
            match load(&self.world, &log, *id) {
                Ok(message) => {
                    assert!(
                        message.body.head(usize::MAX).unwrap() == mail.content,
                        "seed {seed}, {hit}: {id} is changed"
                    );
                    let same = mail.progress.contains(&message.progress)
                        && mail.held.contains(&message.held)
                        && mail.told.contains(&message.delay_warning_sent);
                    if !same {
                        self.events.count("flip: a state was forgotten");
                        suffered.insert(*id);
                    }
                    // What survived is guaranteed from now on.
                    mail.progress = vec![message.progress.clone()];
                    mail.held = [message.held].into();
                    mail.told = [message.delay_warning_sent].into();
                    if mail.presence == Presence::Leaving {
                        mail.presence = Presence::Owed;
                    }
                }
                // Refused, and not intact; unrelated to the bit.
                Err(SpoolError::Damaged) if mail.presence != Presence::Owed => {}
                // Read here first, or copied before.
                Err(SpoolError::Damaged | SpoolError::Unknown) => {
                    self.events.count("flip: a message is damaged");
                    suffered.insert(*id);
                    // The committer quarantines it and removes it from the queue.
                    self.world.let_run();
                    assert!(
                        self.world.drive(log.delete(*id)).is_err(),
                        "seed {seed}, {hit}: {id} is damaged and still in the queue"
                    );
                    assert!(
                        self.disk.paths("corrupt/").len() > kept,
                        "seed {seed}, {hit}: nothing was set aside"
                    );
                }
                Err(error) => panic!("seed {seed}, {hit}: {id}: {error}"),
            }
        }
        for id in present.iter().filter(|id| self.gone.contains(id)) {
            self.events.count("flip: a finished message is back");
            suffered.insert(*id);
            let result = self.world.drive(log.delete(*id));
            assert!(result.is_ok(), "seed {seed}, {hit}: {id} is back and does not go: {result:?}");
        }
        self.log = Some(log);
    }
}

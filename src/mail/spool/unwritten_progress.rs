//! Progress that was submitted and is not written yet: every reader of a message must see it.
//!
//! Limits: one entry for each message; records on their way to the committer have a limit of their
//! own.

use crate::ground::lock::Lock;
use crate::mail::model::{MessageId, TargetProgress};
use std::collections::HashMap;

/// The progress of messages on its way to the disk.
#[derive(Default)]
pub struct RecentProgress(Lock<Entries>);

#[derive(Default)]
struct Entries {
    /// The last generation that was used. No generation is used twice: after a failed sync a record
    /// is written again, and a report about it must not be taken for one about newer progress.
    generation: u64,
    by_message: HashMap<MessageId, Entry>,
}

struct Entry {
    generation: u64,
    progress: Vec<TargetProgress>,
}

impl RecentProgress {
    /// Stores progress that is on its way to the disk; gives its generation.
    pub fn note(&self, id: MessageId, progress: Vec<TargetProgress>) -> u64 {
        self.0.lock().note(id, progress)
    }

    /// The unwritten progress of a message, if there is any.
    pub fn of(&self, id: MessageId) -> Option<Vec<TargetProgress>> {
        self.0.lock().of(id)
    }

    /// The progress of this generation is on the disk, or is not needed any more.
    pub fn written(&self, id: MessageId, generation: u64) {
        self.0.lock().written(id, generation);
    }

    /// The message has left the index.
    pub fn forget(&self, id: MessageId) {
        self.0.lock().by_message.remove(&id);
    }
}

impl Entries {
    fn note(&mut self, id: MessageId, progress: Vec<TargetProgress>) -> u64 {
        self.generation += 1;
        self.by_message.insert(id, Entry { generation: self.generation, progress });
        self.generation
    }

    fn of(&self, id: MessageId) -> Option<Vec<TargetProgress>> {
        self.by_message.get(&id).map(|entry| entry.progress.clone())
    }

    fn written(&mut self, id: MessageId, generation: u64) {
        if self.by_message.get(&id).is_some_and(|entry| entry.generation == generation) {
            self.by_message.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::model::Target;

    #[test]
    fn a_record_that_is_written_twice_hides_no_newer_progress() {
        let (mut recent, id) = (Entries::default(), MessageId(7));
        let progress = |attempts| {
            vec![TargetProgress { attempts, ..TargetProgress::new(Target::Recipient(0)) }]
        };
        let first = recent.note(id, progress(1));
        recent.written(id, first);
        assert_eq!(recent.of(id), None);
        let second = recent.note(id, progress(2));
        // The sync after the first write failed: it is written again.
        recent.written(id, first);
        assert_eq!(recent.of(id), Some(progress(2)));
        recent.note(id, progress(3));
        recent.written(id, second);
        assert_eq!(recent.of(id), Some(progress(3)));
    }
}

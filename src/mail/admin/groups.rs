//! The queue in groups: by sender, by recipient's domain, by error.
//!
//! All messages of a queue of up to [`EXACT_MAX`] are read, of a longer one an even sample of as
//! many. Limits: [`NAMES_MAX`] groups are counted, all others are one group; a name has
//! [`NAME_MAX`] characters.

use crate::ground::clock;
use crate::mail::model::{
    AdminError, Grouping, Message, MessageId, QueueGroup, QueueGroups, TargetStatus,
};
use crate::mail::outbound::Outbound;
use crate::mail::spool::Spool;
use std::collections::HashMap;

/// The longest queue that is read completely, and the size of the sample of a longer one.
const EXACT_MAX: usize = 20_000;

/// Messages read at once.
const BUNCH: usize = 500;

/// Ids that are skipped at once.
const STRIDE: usize = 10_000;

/// Names that are counted separately, at most.
const NAMES_MAX: usize = 5000;

/// The longest name, in characters.
const NAME_MAX: usize = 200;

/// The name of all groups beyond [`NAMES_MAX`].
const OTHERS: &str = "(others)";

impl<S: Spool> Outbound<S> {
    /// The queue in groups.
    pub(super) async fn groups(&self, by: Grouping) -> Result<QueueGroups, AdminError> {
        let total = self.spool.totals().await?.0;
        let sample = self
            .sample(usize::try_from(total).unwrap_or(usize::MAX).div_ceil(EXACT_MAX).max(1))
            .await?;
        let mut counted: HashMap<String, QueueGroup> = HashMap::new();
        let mut seen = 0;
        for bunch in sample.chunks(BUNCH) {
            for message in self.list_exact(bunch).await? {
                seen += 1;
                let message = self.as_scheduled(message);
                for name in names(&message, by) {
                    let full = counted.len() >= NAMES_MAX && !counted.contains_key(&name);
                    let name = if full { OTHERS.to_owned() } else { name };
                    let group = counted.entry(name.clone()).or_insert_with(|| QueueGroup {
                        name,
                        messages: 0,
                        oldest: message.arrived,
                    });
                    group.messages += 1;
                    group.oldest = group.oldest.min(message.arrived);
                }
            }
        }
        let mut groups: Vec<QueueGroup> = counted.into_values().collect();
        groups.sort_by(|a, b| b.messages.cmp(&a.messages).then_with(|| a.name.cmp(&b.name)));
        groups.truncate(QueueGroups::MAX);
        Ok(QueueGroups { groups, seen, total, as_of: clock::now() })
    }

    /// Every n-th id.
    async fn sample(&self, step: usize) -> Result<Vec<MessageId>, AdminError> {
        let (mut sample, mut after, mut skip) = (Vec::new(), None, 0);
        loop {
            let ids = self.spool.ids(after, STRIDE).await?;
            let Some(last) = ids.last().copied() else { return Ok(sample) };
            after = Some(last);
            sample.extend(ids.iter().skip(skip).step_by(step));
            skip = (step - (ids.len() + step - skip) % step) % step;
        }
    }
}

/// The groups that a message belongs to, each once.
fn names(message: &Message, by: Grouping) -> Vec<String> {
    let sender = message.envelope.sender.as_ref();
    let pending = || {
        let recipients = message.envelope.recipients.iter().zip(&message.progress);
        recipients.filter(|(_, progress)| progress.status == TargetStatus::Pending)
    };
    let mut names: Vec<String> = match by {
        Grouping::Sender => {
            vec![sender.map_or_else(|| "<>".to_owned(), |sender| sender.as_str().to_owned())]
        }
        Grouping::SenderDomain => {
            vec![sender.map_or_else(|| "<>".to_owned(), |sender| sender.domain_key())]
        }
        Grouping::RecipientDomain => {
            pending().map(|(recipient, _)| recipient.domain_key()).collect()
        }
        Grouping::Reason => {
            let gists = pending().map(|(recipient, progress)| {
                common_words(&progress.reason, &recipient.domain_key())
            });
            gists.filter(|common_words| !common_words.is_empty()).collect()
        }
    };
    names.iter_mut().for_each(|name| *name = name.chars().take(NAME_MAX).collect());
    names.sort_unstable();
    names.dedup();
    names
}

/// The common part of the replies to different mails: words are left out that contain an address,
/// more than four digits, or the domain of the mail. So one cause for many domains, such as a name
/// server that is down, is one reason.
fn common_words(reason: &str, domain: &str) -> String {
    let differs = |word: &str| {
        let digits = word.bytes().filter(u8::is_ascii_digit).count();
        let lower = word.to_ascii_lowercase();
        word.contains('@')
            || (digits > 4 && !word.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'))
            || (!domain.is_empty() && lower.contains(domain))
    };
    let words: Vec<&str> =
        reason.split_whitespace().map(|word| if differs(word) { "…" } else { word }).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_that_differ_in_names_and_numbers_are_one_reason() {
        let (one, other) = (
            "450 4.2.1 <anna@one.example>: over quota (4711-XYZ-0815) at 192.0.2.1",
            "450 4.2.1 <bert@one.example>: over quota (4712-XYZ-0816) at 192.0.2.1",
        );
        let of_one = |reason| common_words(reason, "one.example");
        assert_eq!(of_one(one), of_one(other));
        assert_eq!(of_one(one), "450 4.2.1 … over quota … at 192.0.2.1");
        assert_ne!(of_one("451 try later"), of_one("450 try later"));
    }

    #[test]
    fn one_cause_for_many_domains_is_one_reason() {
        let reason = |domain: &str| {
            common_words(
                &format!("451 4.4.3 cannot find a host for {domain}: no name server answers"),
                domain,
            )
        };
        assert_eq!(reason("one.example"), reason("two.example"));
        let host = |domain: &str| {
            common_words(
                &format!("451 4.4.1 connect to MX1.{domain}[192.0.2.1]:25: refused"),
                domain,
            )
        };
        assert_eq!(host("one.example"), host("two.example"));
        assert_eq!(common_words("451 4.4.1 no route", ""), "451 4.4.1 no route");
    }
}

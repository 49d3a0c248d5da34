//! Mail that a mode for staging holds: it is accepted, durable, visible, and sent only when an
//! operator releases it.
//!
//! Purpose: `capture` and `recipient_allow` for all mail: what clients send, bounces, and what
//! was in the queue before. In: an entry for the queue and its content, or a message that is to
//! be planned. Out: a held message, whose recipients say why. A new one is durable as held from
//! the start: no crash, and no start without the property, sends it. A message that an operator
//! released is not held again ([`Spool::was_released`]). Limits: those of the spool; held mail
//! does not expire. Security: the reason names addresses; pages that show none do not show it.

use super::admit::{HoldReason, StagingRules};
use super::model::{Address, Message, Target, TargetProgress, TargetStatus};
use super::spool::{IncomingContent, PriorProgress, QueueEntry, Spool, SpoolError};
use crate::ground::clock;
use std::future::Future;
use std::pin::pin;
use std::time::Instant;

/// Puts a message into the queue, held where the rules say so. Of a mail that only some recipients
/// may get, the others' part becomes a second message, which is held: it is given back behind the
/// first one. Durable when this returns `Ok`.
///
/// # Errors
/// As [`Spool::commit_within`]; then nothing of it is in the queue.
pub(super) async fn commit<S: Spool>(
    spool: &S,
    rules: &StagingRules,
    entry: QueueEntry,
    content: S::Writer,
    give_up: impl Future<Output = ()> + Send,
) -> Result<(Message, Option<Message>), SpoolError> {
    let Some(reason) = rules.hold(entry.envelope.recipients.iter()) else {
        return Ok((spool.commit_within(entry, content, give_up).await?, None));
    };
    let Some((held, sent)) = split(rules, &entry) else {
        return Ok((commit_held(spool, entry, content, &reason, give_up).await?, None));
    };
    let mut give_up = pin!(give_up);
    // This part first: a client that hears of an error sends all of it again.
    let held = commit_held(spool, held, content, &reason, give_up.as_mut()).await?;
    let since = Instant::now();
    let copied = tokio::select! {
        copied = copy_content(spool, &held) => copied,
        () = give_up.as_mut() => Err(SpoolError::Slow(since.elapsed().as_secs())),
    };
    let committed = match copied {
        Ok(content) => spool.commit_within(sent, content, give_up).await,
        Err(error) => Err(error),
    };
    if committed.is_err()
        && let Err(error) = spool.delete(held.id).await
    {
        tracing::error!(
            target: "mta", queue_id = %held.id, cause = %error,
            "the client was told that this held mail is not in the queue, and it cannot be removed"
        );
    }
    Ok((committed?, Some(held)))
}

/// Puts a message into the queue as held. Durable when this returns `Ok`.
///
/// # Errors
/// As [`Spool::commit_within`].
async fn commit_held<S: Spool>(
    spool: &S,
    entry: QueueEntry,
    content: S::Writer,
    reason: &HoldReason,
    give_up: impl Future<Output = ()> + Send,
) -> Result<Message, SpoolError> {
    let recipients = u16::try_from(entry.envelope.recipients.len()).unwrap_or(u16::MAX);
    let targets = (0..recipients).map(Target::Recipient).chain(entry.copy.then_some(Target::Copy));
    let mut destinations = entry.destinations.iter().cloned();
    let progress = targets.map(|target| TargetProgress {
        destination: destinations.next(),
        reason: shortened(reason),
        ..TargetProgress::new(target)
    });
    let past = PriorProgress {
        arrived: clock::now(),
        progress: progress.collect(),
        held: true,
        delay_warning_sent: false,
    };
    let message = spool.import(entry, past, content, give_up).await?;
    log_held(&message, reason);
    Ok(message)
}

/// Holds a message that is in the queue already.
///
/// # Errors
/// It is not held: the volume failed.
pub(super) async fn hold_queued<S: Spool>(
    spool: &S,
    message: &Message,
    reason: &HoldReason,
) -> Result<(), SpoolError> {
    let mut progress = message.progress.clone();
    for one in progress.iter_mut().filter(|one| one.status == TargetStatus::Pending) {
        one.reason = shortened(reason);
    }
    spool.defer(message.id, progress);
    spool.hold(message.id, true).await?;
    log_held(message, reason);
    Ok(())
}

/// Why a message of the queue is to be held now; `None` = it is held already, or may be sent.
pub(super) fn reason<S: Spool>(
    spool: &S,
    rules: &StagingRules,
    message: &Message,
) -> Option<HoldReason> {
    if rules.is_off() || message.held || spool.was_released(message.id) {
        return None;
    }
    rules.hold(pending(message))
}

/// The recipients that do not have the message yet; all of them for its carbon copy.
fn pending(message: &Message) -> impl Iterator<Item = &Address> {
    let waits = |target| {
        let is = |one: &&TargetProgress| one.target == target;
        let found = message.progress.iter().find(is);
        found.is_some_and(|one| one.status == TargetStatus::Pending)
    };
    let copy = waits(Target::Copy);
    let recipients = message.envelope.recipients.iter().zip(0..);
    recipients
        .filter(move |(_, place)| copy || waits(Target::Recipient(*place)))
        .map(|(recipient, _)| recipient)
}

/// The reason for a record.
pub(super) fn shortened(reason: &HoldReason) -> String {
    let mut words = reason.words();
    words.truncate(words.floor_char_boundary(TargetProgress::REASON_MAX));
    words
}

fn log_held(message: &Message, reason: &HoldReason) {
    tracing::info!(
        target: "mta", queue_id = %message.id, status = "held", reason = reason.words(), "message"
    );
}

/// A mail of which some recipients are allowed and others are not: the entry that is held, and the
/// one that is sent. `None` when all of it is one or the other.
fn split(rules: &StagingRules, entry: &QueueEntry) -> Option<(QueueEntry, QueueEntry)> {
    if rules.capture {
        return None;
    }
    let part = |allowed: bool| {
        let mut part = entry.clone();
        let wanted: Vec<bool> =
            entry.envelope.recipients.iter().map(|to| rules.allows(to) == allowed).collect();
        let mut keep = wanted.iter().copied();
        part.envelope.recipients.retain(|_| keep.next().unwrap_or(true));
        if let Some(dsn) = &mut part.envelope.dsn {
            dsn.retain(&wanted);
        }
        // The copy's destination, the last, is that of both parts.
        let mut keep = wanted.iter().copied();
        part.destinations.retain(|_| keep.next().unwrap_or(true));
        part
    };
    let (held, sent) = (part(false), part(true));
    let both = !held.envelope.recipients.is_empty() && !sent.envelope.recipients.is_empty();
    both.then_some((held, sent))
}

/// Copies content into a new writer.
///
/// # Errors
/// The volume's.
async fn copy_content<S: Spool>(spool: &S, message: &Message) -> Result<S::Writer, SpoolError> {
    let (mut writer, mut done) = (spool.begin(), 0);
    while done < message.body.len() {
        let body = message.body.clone();
        let piece = tokio::task::spawn_blocking(move || body.piece(done, PIECE)).await;
        let failed = |error: &dyn std::fmt::Display| SpoolError::Failed(error.to_string());
        let piece = piece.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
        if piece.is_empty() {
            return Err(SpoolError::Failed("the content was cut off".to_owned()));
        }
        writer.write(&piece).await?;
        done += piece.len() as u64;
    }
    Ok(writer)
}

/// Octets that are copied at once.
const PIECE: usize = 64 * 1024;

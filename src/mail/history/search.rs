//! Reads the history, newest first, while it is being written.
//!
//! Limits: one file at a time is in memory; a line that is not an entry (a torn one, or one of a
//! newer version) is skipped.

use super::lines::{HistoryLine, numbers, parse, path, second};
use crate::ground::disk::Disk;
use crate::mail::model::{
    AttemptRecord, FinishedMessage, FinishedPage, HistoryFilter, MessageId, RecipientResult,
};
use std::collections::HashMap;
use std::io;
use std::time::Instant;

/// Octets of a file that are read, at most.
const READ_MAX: u64 = 16 << 20;

/// The attempts of a message, oldest first, and then its end if that has more information.
pub fn attempts(
    disk: &dyn Disk,
    id: MessageId,
    deadline: Instant,
) -> io::Result<Vec<AttemptRecord>> {
    let (mut attempts, mut ends) = (Vec::new(), Vec::new());
    let (wanted, whole) = (format!("\"id\":\"{id}\""), id.to_string());
    let accepted = accepted(id);
    for number in numbers(disk)?.into_iter().rev() {
        // The rest might contain more.
        if Instant::now() >= deadline {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the search took too long; try again",
            ));
        }
        let text = read(disk, number)?;
        for (line, _) in text.lines().rev().filter(|line| line.contains(&wanted)).filter_map(parse)
        {
            match line {
                HistoryLine::Attempt(attempt) => attempts.push(attempt),
                HistoryLine::Finished(finished) => ends.push(last_attempt(finished)),
            }
        }
        if begins_before(&text, accepted) {
            break;
        }
    }
    for found in [&mut attempts, &mut ends] {
        found.retain(|attempt| attempt.id == whole);
        found.reverse();
    }
    ends.retain(|end| !contain_outcomes(&attempts, end));
    attempts.append(&mut ends);
    Ok(attempts)
}

/// The second in which a message was accepted.
fn accepted(id: MessageId) -> u64 {
    id.0 / 1_000_000
}

/// Whether a file begins before a message was accepted: older entries cannot be about it.
fn begins_before(text: &str, accepted: u64) -> bool {
    text.lines().find_map(second).is_some_and(|first| u64::from(first) < accepted)
}

/// Whether the attempts contain each outcome of an end. Equal ones, as masked addresses are, must
/// be as many.
fn contain_outcomes(attempts: &[AttemptRecord], end: &AttemptRecord) -> bool {
    let mut untold = HashMap::new();
    for ending in &end.outcomes {
        *untold.entry((&ending.to, ending.status)).or_insert(0_usize) += 1;
    }
    for ending in attempts.iter().flat_map(|attempt| &attempt.outcomes) {
        if let Some(count) = untold.get_mut(&(&ending.to, ending.status)) {
            *count = count.saturating_sub(1);
        }
    }
    untold.values().all(|count| *count == 0)
}

/// The end of a message as an attempt.
fn last_attempt(finished: FinishedMessage) -> AttemptRecord {
    AttemptRecord {
        id: finished.id,
        at: finished.at,
        destination: String::new(),
        relay: finished.relay,
        tls: finished.tls,
        took_ms: 0,
        outcomes: finished.recipients,
        transcript: String::new(),
    }
}

/// A page of finished messages. If one message is wanted by its whole id, files that are older than
/// it are not read.
pub fn finished(
    disk: &dyn Disk,
    wanted: &HistoryFilter,
    after: Option<&str>,
    limit: usize,
    deadline: Instant,
) -> io::Result<FinishedPage> {
    let (from, skip) = after.and_then(place).unwrap_or((u64::MAX, 0));
    let mut page = FinishedPage::default();
    let accepted = wanted.id.parse().ok().map(accepted);
    let search = wanted.search.to_lowercase();
    let mut files = numbers(disk)?.into_iter().rev().filter(|number| *number <= from).peekable();
    while let Some(number) = files.next() {
        let text = read(disk, number)?;
        // Lines are counted from the start of the file, which never changes, so that positions stay
        // valid.
        let upto = if number == from { skip } else { usize::MAX };
        let lines: Vec<(usize, &str)> =
            text.lines().enumerate().take_while(|(place, _)| *place < upto).collect();
        for (place, line) in lines.into_iter().rev() {
            if page.finished.len() >= limit {
                page.next = Some(format!("{number}-{}", place + 1));
                return Ok(page);
            }
            if !search.is_empty() && !line.to_lowercase().contains(&search) {
                continue;
            }
            if let Some((HistoryLine::Finished(finished), _)) = parse(line)
                && passes(wanted, &finished)
            {
                page.finished.push(finished);
            }
        }
        if accepted.is_some_and(|accepted| begins_before(&text, accepted)) {
            break;
        }
        if files.peek().is_some() && Instant::now() >= deadline {
            page.next = Some(format!("{number}-0"));
            return Ok(page);
        }
    }
    Ok(page)
}

fn passes(wanted: &HistoryFilter, finished: &FinishedMessage) -> bool {
    let is_in = |text: &str, part: &str| {
        part.is_empty() || text.to_lowercase().contains(&part.to_lowercase())
    };
    let any = |test: &dyn Fn(&RecipientResult) -> bool| finished.recipients.iter().any(test);
    let sender = if finished.sender.is_empty() { "<>" } else { &finished.sender };
    is_in(sender, &wanted.sender)
        && (wanted.recipient.is_empty() || any(&|ending| is_in(&ending.to, &wanted.recipient)))
        && finished
            .id
            .get(..wanted.id.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(&wanted.id))
        && wanted.status.is_none_or(|status| any(&|ending| ending.status == status))
}

fn read(disk: &dyn Disk, number: u64) -> io::Result<String> {
    let file = match disk.open(&path(number)) {
        // It was removed a moment ago.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        other => other?,
    };
    let mut octets = vec![0; usize::try_from(file.length()?.min(READ_MAX)).unwrap_or_default()];
    let got = file.read_at(0, &mut octets)?;
    octets.truncate(got);
    Ok(String::from_utf8(octets)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

fn place(text: &str) -> Option<(u64, usize)> {
    let (number, line) = text.split_once('-')?;
    Some((number.parse().ok()?, line.parse().ok()?))
}

//! The recent errors of clients, to slow down floods and to log them in few lines (as anvil(8) and
//! smtpd_error_sleep_time in Postfix).
//!
//! In: rejections by address. Out: whether this one is logged, how long its reply is delayed, and a
//! summary for each minute of what was not logged. Limits: [`CLIENTS_MAX`] IPv4 addresses or IPv6
//! /64 prefixes of each class; all others share one entry. A client's lines are [`Conduct::LINES`]
//! (trusted: [`Conduct::LINES_TRUSTED`]) a minute, and [`SUMMARIES_MAX`] clients get a summary each
//! minute. The count of errors is halved after each minute.

use super::Limits;
use crate::ground::lock::{Guard, Lock};
use crate::ground::net::{PeerClass, client_prefix};
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::Instant;

/// Addresses that are tracked, at most.
pub const CLIENTS_MAX: usize = 4096;

/// Clients that get a summary of their own each minute; all others share one.
const SUMMARIES_MAX: usize = 20;

const MINUTE: Duration = Duration::from_secs(60);

/// The recent errors of clients.
#[derive(Debug)]
pub struct Conduct {
    start: Instant,
    known: Lock<Known>,
}

#[derive(Debug, Default)]
struct Known {
    strangers: Table,
    /// Separate, so that untrusted clients cannot use up their log lines.
    trusted: Table,
    /// The present minute.
    minute: u64,
}

#[derive(Debug, Default)]
struct Table {
    clients: HashMap<IpAddr, Record>,
    /// For all clients beyond the limit.
    others: Record,
}

#[derive(Debug, Default, Clone, Copy)]
struct Record {
    minute: u64,
    /// Recent errors; halved each minute.
    errors: u32,
    /// Rejections of this minute that were logged.
    told: u32,
    /// Those that were not.
    untold: u64,
}

/// The consequences of a rejection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Noted {
    /// Whether it is logged.
    pub told: bool,
    /// Recent errors of this client, including this one.
    pub errors: u32,
}

/// Rejections of one minute that were not logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// The client; `None` stands for all without a summary of their own.
    pub client: Option<IpAddr>,
    /// Their number.
    pub more: u64,
}

impl Conduct {
    /// Rejections of an untrusted client that are logged in a minute.
    pub const LINES: u32 = 5;
    /// The same for a trusted client, whose operator looks for the cause.
    pub const LINES_TRUSTED: u32 = 60;
    /// Recent errors without a delay.
    pub const ERRORS_FREE: u32 = 5;

    /// Without any errors.
    pub fn new() -> Self {
        Self { start: Instant::now(), known: Lock::default() }
    }

    /// A client was rejected.
    pub fn refused(&self, client: IpAddr, source: PeerClass) -> Noted {
        self.refused_at(client, source, self.minute())
    }

    fn refused_at(&self, client: IpAddr, source: PeerClass, minute: u64) -> Noted {
        let mut known = self.lock();
        let (table, lines) = match source {
            PeerClass::Trusted => (&mut known.trusted, Self::LINES_TRUSTED),
            PeerClass::Stranger | PeerClass::Gateway => (&mut known.strangers, Self::LINES),
        };
        let record = table.record(client_prefix(client), minute);
        record.errors = record.errors.saturating_add(1);
        let told = record.told < lines;
        if told {
            record.told += 1;
        } else {
            record.untold += 1;
        }
        Noted { told, errors: record.errors }
    }

    /// How long the reply to an error is delayed, the `errors`th recent one.
    pub fn wait(errors: u32, limits: &Limits) -> Duration {
        limits
            .tarpit_step
            .saturating_mul(errors.saturating_sub(Self::ERRORS_FREE))
            .min(limits.tarpit_max)
    }

    /// The summaries of past minutes: the clients with the most first. Empty until the minute has
    /// ended.
    pub fn due(&self) -> Vec<Summary> {
        self.due_at(self.minute())
    }

    /// The summaries of everything that was not logged yet, when the relay stops.
    pub fn rest(&self) -> Vec<Summary> {
        self.due_at(self.minute() + 1)
    }

    fn due_at(&self, minute: u64) -> Vec<Summary> {
        let mut known = self.lock();
        if known.minute == minute {
            return Vec::new();
        }
        known.minute = minute;
        let mut due: Vec<Summary> = Vec::new();
        let others = known.trusted.pass(minute, &mut due) + known.strangers.pass(minute, &mut due);
        drop(known);
        due.sort_by_key(|summary| std::cmp::Reverse(summary.more));
        let rest = others
            + due.drain(SUMMARIES_MAX.min(due.len())..).map(|summary| summary.more).sum::<u64>();
        due.extend((rest > 0).then_some(Summary { client: None, more: rest }));
        due
    }

    fn minute(&self) -> u64 {
        self.start.elapsed().as_secs() / MINUTE.as_secs()
    }

    fn lock(&self) -> Guard<'_, Known> {
        self.known.lock()
    }
}

impl Default for Conduct {
    fn default() -> Self {
        Self::new()
    }
}

impl Table {
    /// Begins a new minute: adds the clients' summaries. Gives back the number of the others.
    fn pass(&mut self, minute: u64, due: &mut Vec<Summary>) -> u64 {
        self.clients.retain(|client, record| {
            let more = record.pass(minute);
            due.extend((more > 0).then_some(Summary { client: Some(*client), more }));
            record.errors > 0
        });
        self.others.pass(minute)
    }

    fn record(&mut self, client: IpAddr, minute: u64) -> &mut Record {
        let has_room = self.clients.len() < CLIENTS_MAX || self.clients.contains_key(&client);
        let record =
            if has_room { self.clients.entry(client).or_default() } else { &mut self.others };
        record.age(minute);
        record
    }
}

impl Record {
    /// Errors of former minutes count less. Unlogged numbers stay until the summaries are made.
    fn age(&mut self, minute: u64) {
        let passed = u32::try_from(minute.saturating_sub(self.minute)).unwrap_or(u32::MAX);
        if passed > 0 {
            self.errors = self.errors.checked_shr(passed).unwrap_or(0);
            self.told = 0;
            self.minute = minute;
        }
    }

    /// Begins a new minute; gives back the number that was not logged.
    fn pass(&mut self, minute: u64) -> u64 {
        self.age(minute);
        std::mem::take(&mut self.untold)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(number: u32) -> IpAddr {
        IpAddr::from((0xCB00_7100 + number).to_be_bytes())
    }

    #[test]
    fn a_flood_of_refusals_is_a_few_lines_and_a_summary_each_minute() {
        let conduct = Conduct::new();
        let told =
            |source| (0..1000).filter(|_| conduct.refused_at(client(5), source, 0).told).count();
        assert_eq!(told(PeerClass::Stranger), Conduct::LINES as usize);
        assert_eq!(conduct.due_at(0), []);
        assert_eq!(
            conduct.due_at(1),
            [Summary { client: Some(client(5)), more: 1000 - u64::from(Conduct::LINES) }]
        );
        assert_eq!(conduct.due_at(1), []);
        assert_eq!(told(PeerClass::Trusted), Conduct::LINES_TRUSTED as usize);
    }

    #[test]
    fn errors_make_the_next_answer_wait_and_are_forgotten() {
        let (conduct, limits) = (Conduct::new(), Limits::default());
        let wait = |minute| {
            Conduct::wait(
                conduct.refused_at(client(5), PeerClass::Stranger, minute).errors,
                &limits,
            )
        };
        let waits: Vec<u128> = (0..8).map(|_| wait(0).as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 0, 0, 100, 200, 300]);
        (0..100).for_each(|_| assert!(wait(0) <= limits.tarpit_max));
        assert_eq!(wait(0), limits.tarpit_max);
        conduct.due_at(10);
        assert_eq!(wait(10), Duration::ZERO);
        assert_eq!(conduct.lock().strangers.clients.len(), 1);
        conduct.due_at(12);
        assert!(
            conduct.lock().strangers.clients.is_empty(),
            "a client that has done nothing for a while is forgotten"
        );
    }

    #[test]
    fn more_clients_than_can_be_remembered_share_what_is_left() {
        let conduct = Conduct::new();
        let told = (0..100_000)
            .filter(|number| conduct.refused_at(client(*number), PeerClass::Stranger, 0).told)
            .count();
        assert_eq!(
            (told, conduct.lock().strangers.clients.len()),
            (CLIENTS_MAX + Conduct::LINES as usize, CLIENTS_MAX)
        );
        assert!(
            conduct.refused(client(200_000), PeerClass::Trusted).told,
            "a crowd of strangers hides none of ours"
        );
        for number in 0..1000 {
            for _ in 0..10 {
                conduct.refused_at(client(number), PeerClass::Stranger, 0);
            }
        }
        let due = conduct.due_at(1);
        assert_eq!((due.len(), due.last().unwrap().client), (SUMMARIES_MAX + 1, None));
    }
}

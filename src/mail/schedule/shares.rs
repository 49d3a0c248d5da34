//! The largest share of the delivery agents that each user of them can hold.
//!
//! Delivery agents are few and any client can use them: a next hop that accepts connections and
//! then says nothing occupies one for minutes, and one client can send mail to five hundred such
//! hosts. Therefore no reputation class, client or sender can hold all agents; slow agents stop
//! when others wait; and some slots are reserved for destinations that are known to work.
//!
//! All limits are parts of [`Config::agents_max`](super::ScheduleConfig); none is below one.
//! Agents beyond that number have a limit of their own
//! ([`Config::overtime_max`](super::ScheduleConfig)), because they take memory too; with 0 there
//! are none.

use std::time::Duration;

/// A destination's reputation: how its recent attempts went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DestinationReputation {
    /// It answered the last time, or an operator configured it.
    Known = 0,
    /// Nothing is known yet.
    New = 1,
    /// It did not answer the last time.
    Suspect = 2,
}

/// How many reputation classes there are.
pub const STANDINGS: usize = 3;

impl DestinationReputation {
    /// Each of them, most deserving first.
    pub const ALL: [Self; STANDINGS] = [Self::Known, Self::New, Self::Suspect];

    /// The label in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Known => "known",
            Self::New => "new",
            Self::Suspect => "suspect",
        }
    }

    /// How long a next hop may send and accept nothing before its agent counts as slow and may be
    /// asked to stop. Few known destinations need longer, and slots are left for that many
    /// (`SLOW_PERCENT`); destinations that worked once and hang now must not delay others.
    pub const fn slow_after(self) -> Duration {
        match self {
            Self::Known => Duration::from_secs(1),
            Self::New => Duration::from_millis(400),
            Self::Suspect => Duration::from_secs(10),
        }
    }

    /// How long an attempt that fails may take before its destination becomes suspect.
    pub const fn slow_failure_after(self) -> Duration {
        match self {
            Self::Known => Duration::from_secs(20),
            Self::New | Self::Suspect => self.slow_after(),
        }
    }
}

/// In which queue a destination waits for an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rank {
    /// A known destination that accepts mail at present: [`LIVELY_TIME`].
    Lively = 0,
    /// Any other known destination.
    Known = 1,
    /// A new destination.
    New = 2,
    /// A suspect destination.
    Suspect = 3,
}

/// How many ranks there are.
pub const RANKS: usize = 4;

impl Rank {
    /// Each of them, in the order in which they are served.
    pub const ALL: [Self; RANKS] = [Self::Lively, Self::Known, Self::New, Self::Suspect];

    /// The reputation of its destinations.
    pub const fn reputation(self) -> DestinationReputation {
        match self {
            Self::Lively | Self::Known => DestinationReputation::Known,
            Self::New => DestinationReputation::New,
            Self::Suspect => DestinationReputation::Suspect,
        }
    }

    /// Limits of agents of one client, and of one sender, as a multiple of the free ones.
    pub const fn times_free(self) -> (u32, u32) {
        match self {
            Self::Lively => (CLIENT_TIMES_FREE, SENDER_TIMES_FREE),
            Self::Known | Self::New | Self::Suspect => {
                (CLIENT_TIMES_FREE_DULL, SENDER_TIMES_FREE_DULL)
            }
        }
    }
}

/// A known destination is lively for so many seconds after a reply, and always if an operator
/// configured it, as long as none of its agents is slow.
pub const LIVELY_TIME: u32 = 60;

/// Agents for known destinations, in percent; the rest is reserved for new ones.
pub const KNOWN_PERCENT: u32 = 90;

/// Agents for new and suspect destinations together; the rest is reserved for known ones.
pub const UNPROVEN_PERCENT: u32 = 90;

/// Agents for suspect destinations, in percent.
pub const SUSPECT_PERCENT: u32 = 20;

/// Agents for the mail of one client, as a multiple of the free ones: a single client gets 80 % of
/// all, and however many clients use all that they may have, a slot is left for one more. (A
/// dynamic threshold, as network switches use for their queues.)
pub const CLIENT_TIMES_FREE: u32 = 8;

/// The same while its mail is for destinations that are not lively: a single client gets 77 %. The
/// difference is left for destinations that accept mail, so that mail for next hops that hang does
/// not block all mail of a client.
pub const CLIENT_TIMES_FREE_DULL: u32 = 6;

/// As [`CLIENT_TIMES_FREE`], for one sender: a single sender gets 75 %.
pub const SENDER_TIMES_FREE: u32 = 5;

/// As [`CLIENT_TIMES_FREE_DULL`], for one sender: a single sender gets 72 %.
pub const SENDER_TIMES_FREE_DULL: u32 = 4;

/// Agents of one destination, in percent, whatever its own limit is.
pub const DESTINATION_PERCENT: u32 = 50;

/// Slow agents of known and of new destinations that may stay while others of that class wait; and
/// of the agents of a client at its limit, while more of its mail waits.
pub const SLOW_PERCENT: u32 = 40;

/// The same for suspect destinations.
pub const SLOW_SUSPECT_PERCENT: u32 = 15;

/// Agents beyond the limit that wait for a slow reply to the end of data: to stop one there would
/// mean to send its mail twice.
pub const OVERTIME_PERCENT: u32 = 100;

/// Of these, for destinations that are not known: those that accept content and never send the
/// final reply.
pub const OVERTIME_UNPROVEN_PERCENT: u32 = 60;

/// Of these, for one client, as a multiple of the free ones: a single client gets 80 %.
pub const OVERTIME_CLIENT_TIMES_FREE: u32 = 4;

/// The shares, as numbers of agents.
#[derive(Debug, Clone, Copy)]
pub struct Shares {
    /// Of all.
    pub all: u32,
    /// For each reputation class, by its index in [`DestinationReputation::ALL`].
    pub reputation: [u32; STANDINGS],
    /// For new and suspect destinations together.
    pub unproven: u32,
    /// For one destination.
    pub destination: u32,
    /// Slow agents, for each reputation class.
    pub slow: [usize; STANDINGS],
    /// Agents beyond the limit.
    pub overtime: u32,
    /// Of these, for new and suspect destinations.
    pub overtime_unproven: u32,
}

impl Shares {
    /// The shares of so many agents, and of at most so many beyond the limit.
    pub fn of(all: u32, overtime: u32) -> Self {
        let part = |percent: u32| {
            u32::try_from((u64::from(all) * u64::from(percent)).div_ceil(100)).unwrap_or(all).max(1)
        };
        let slow = |percent| part(percent) as usize;
        let overtime = part(OVERTIME_PERCENT).min(overtime);
        Self {
            all,
            reputation: [part(KNOWN_PERCENT), part(UNPROVEN_PERCENT), part(SUSPECT_PERCENT)],
            unproven: part(UNPROVEN_PERCENT),
            destination: part(DESTINATION_PERCENT),
            slow: [slow(SLOW_PERCENT), slow(SLOW_PERCENT), slow(SLOW_SUSPECT_PERCENT)],
            overtime,
            overtime_unproven: (overtime * OVERTIME_UNPROVEN_PERCENT).div_ceil(100),
        }
    }
}

//! What share of the couriers each kind of user can hold at most.
//!
//! Couriers are few and strangers are many: a next hop that takes connections and says nothing
//! keeps one for minutes, and anybody can name five hundred of them. Therefore no standing, client
//! or sender holds all couriers, those that are slow make room for those that wait, and
//! destinations that are known to be well have places that nobody else can take.
//!
//! All limits are parts of [`Config::couriers_max`](super::Config); none is below one. Those beyond
//! all others have a limit of their own besides ([`Config::overtime_max`](super::Config)), because
//! they take memory like all; with 0 there are none.

use std::time::Duration;

/// How a destination has been lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// It answered the last time, or an operator named it.
    Known = 0,
    /// Nothing is known yet.
    New = 1,
    /// It did not answer the last time.
    Suspect = 2,
}

/// How many standings there are.
pub const STANDINGS: usize = 3;

impl Standing {
    /// Each of them, those first that have waited for no fault of theirs.
    pub const ALL: [Self; STANDINGS] = [Self::Known, Self::New, Self::Suspect];

    /// The label in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Known => "known",
            Self::New => "new",
            Self::Suspect => "suspect",
        }
    }

    /// How long a next hop may say and take nothing before its courier counts as slow, and makes
    /// room when it must. Known ones that need more are few, and places for as many are left to
    /// them (`SLOW_PERCENT`); those that were well once and hang now must not keep the others
    /// waiting.
    pub const fn slow_after(self) -> Duration {
        match self {
            Self::Known => Duration::from_secs(1),
            Self::New => Duration::from_millis(400),
            Self::Suspect => Duration::from_secs(10),
        }
    }

    /// How long a try may take that comes to nothing before it makes its destination suspect.
    pub const fn dawdles_after(self) -> Duration {
        match self {
            Self::Known => Duration::from_secs(20),
            Self::New | Self::Suspect => self.slow_after(),
        }
    }
}

/// In which line a destination waits for a courier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rank {
    /// A known one that takes mail at present: [`LIVELY_TIME`].
    Lively = 0,
    /// Any other known one.
    Known = 1,
    /// A new one.
    New = 2,
    /// A suspect one.
    Suspect = 3,
}

/// How many ranks there are.
pub const RANKS: usize = 4;

impl Rank {
    /// Each of them, in the order in which they are asked.
    pub const ALL: [Self; RANKS] = [Self::Lively, Self::Known, Self::New, Self::Suspect];

    /// The standing of its destinations.
    pub const fn standing(self) -> Standing {
        match self {
            Self::Lively | Self::Known => Standing::Known,
            Self::New => Standing::New,
            Self::Suspect => Standing::Suspect,
        }
    }

    /// Couriers of one client, and of one sender, for each that is free.
    pub const fn times_free(self) -> (u32, u32) {
        match self {
            Self::Lively => (CLIENT_TIMES_FREE, SENDER_TIMES_FREE),
            Self::Known | Self::New | Self::Suspect => {
                (CLIENT_TIMES_FREE_DULL, SENDER_TIMES_FREE_DULL)
            }
        }
    }
}

/// A known destination is lively for so many seconds after it answered, and as long as an operator
/// names it, while none of its couriers is slow.
pub const LIVELY_TIME: u32 = 60;

/// Couriers for known destinations, in percent: the rest stays for new ones.
pub const KNOWN_PERCENT: u32 = 90;

/// Couriers for new and suspect destinations together: the rest is the reserve of the known ones.
pub const UNPROVEN_PERCENT: u32 = 90;

/// Couriers for suspect destinations.
pub const SUSPECT_PERCENT: u32 = 20;

/// Couriers that carry the mail of one client, for each that is free: alone it comes to 80 % of
/// all, and however many clients take all that they may have, one more finds a place. (A dynamic
/// threshold, as switches have for their queues.)
pub const CLIENT_TIMES_FREE: u32 = 8;

/// The same while its mail is for destinations that are not lively: alone it comes to 77 %. The
/// difference stays for those that take mail, so that what a client has for next hops that hang
/// does not stop all of it.
pub const CLIENT_TIMES_FREE_DULL: u32 = 6;

/// As [`CLIENT_TIMES_FREE`], of one sender: alone it comes to 75 %.
pub const SENDER_TIMES_FREE: u32 = 5;

/// As [`CLIENT_TIMES_FREE_DULL`], of one sender: alone it comes to 72 %.
pub const SENDER_TIMES_FREE_DULL: u32 = 4;

/// Couriers of one destination, whatever its own limit says.
pub const DESTINATION_PERCENT: u32 = 50;

/// Slow couriers of known and of new destinations that are left alone while others of these wait;
/// and of the couriers of a client that has all that it may have, while more of its mail waits.
pub const SLOW_PERCENT: u32 = 40;

/// The same of suspect ones.
pub const SLOW_SUSPECT_PERCENT: u32 = 15;

/// Couriers beyond all others that wait for the answer to the end of data of slow next hops: to
/// give one up there would mean to send its mail twice.
pub const OVERTIME_PERCENT: u32 = 100;

/// Of these, for destinations that are not known: those that take content and never say what became
/// of it.
pub const OVERTIME_UNPROVEN_PERCENT: u32 = 60;

/// Of these, for one client, for each that is free: alone it comes to 80 %.
pub const OVERTIME_CLIENT_TIMES_FREE: u32 = 4;

/// The shares in couriers.
#[derive(Debug, Clone, Copy)]
pub struct Shares {
    /// Of all.
    pub all: u32,
    /// Of each standing, by its place in [`Standing::ALL`].
    pub standing: [u32; STANDINGS],
    /// Of new and suspect ones together.
    pub unproven: u32,
    /// Of one destination.
    pub destination: u32,
    /// Slow ones of each standing.
    pub slow: [usize; STANDINGS],
    /// Beyond all.
    pub overtime: u32,
    /// Of these, for new and suspect ones.
    pub overtime_unproven: u32,
}

impl Shares {
    /// The shares of so many, and of at most so many beyond them.
    pub fn of(all: u32, overtime: u32) -> Self {
        let part = |percent: u32| {
            u32::try_from((u64::from(all) * u64::from(percent)).div_ceil(100)).unwrap_or(all).max(1)
        };
        let slow = |percent| part(percent) as usize;
        let overtime = part(OVERTIME_PERCENT).min(overtime);
        Self {
            all,
            standing: [part(KNOWN_PERCENT), part(UNPROVEN_PERCENT), part(SUSPECT_PERCENT)],
            unproven: part(UNPROVEN_PERCENT),
            destination: part(DESTINATION_PERCENT),
            slow: [slow(SLOW_PERCENT), slow(SLOW_PERCENT), slow(SLOW_SUSPECT_PERCENT)],
            overtime,
            overtime_unproven: (overtime * OVERTIME_UNPROVEN_PERCENT).div_ceil(100),
        }
    }
}

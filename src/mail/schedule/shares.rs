//! What share of the couriers each kind of user can hold at most.
//!
//! Couriers are few and strangers are many: a next hop that takes connections and says nothing keeps one for minutes, and
//! anybody can name five hundred of them. Therefore no standing, client or sender holds all couriers, those that are slow
//! make room for those that wait, and destinations that are known to be well have places that nobody else can take.
//!
//! All limits are parts of [`Config::couriers_max`](super::Config); none is below one. Those beyond all others have a limit of
//! their own besides ([`Config::overtime_max`](super::Config)), because they take memory like all.

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

    /// How long a connection, or a message on it, may take before its courier counts as slow.
    pub const fn slow_after(self) -> Duration {
        match self {
            Self::Known => Duration::from_secs(20),
            Self::New => Duration::from_millis(400),
            Self::Suspect => Duration::from_secs(10),
        }
    }
}

/// Couriers for known destinations, in percent: the rest stays for new ones.
pub const KNOWN_PERCENT: u32 = 90;

/// Couriers for new and suspect destinations together: the rest is the reserve of the known ones.
pub const UNPROVEN_PERCENT: u32 = 90;

/// Couriers for suspect destinations.
pub const SUSPECT_PERCENT: u32 = 20;

/// Couriers that carry the mail of one client, for each that is free: alone it comes to 80 % of all, and however many clients
/// take all that they may have, one more finds a place. (A dynamic threshold, as switches have for their queues.)
pub const CLIENT_TIMES_FREE: u32 = 8;

/// The same of one sender: alone it comes to 75 %.
pub const SENDER_TIMES_FREE: u32 = 5;

/// Couriers of one destination, whatever its own limit says.
pub const DESTINATION_PERCENT: u32 = 50;

/// Slow couriers of known and of new destinations that are left alone while others of these wait.
pub const SLOW_PERCENT: u32 = 40;

/// The same of suspect ones.
pub const SLOW_SUSPECT_PERCENT: u32 = 15;

/// Couriers beyond all others that wait for the answer to the end of data of slow next hops: to give one up there would mean
/// to send its mail twice.
pub const OVERTIME_PERCENT: u32 = 100;

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
}

impl Shares {
    /// The shares of so many, and of at most so many beyond them.
    pub fn of(all: u32, overtime: u32) -> Self {
        let part = |percent: u32| u32::try_from((u64::from(all) * u64::from(percent)).div_ceil(100)).unwrap_or(all).max(1);
        let slow = |percent| part(percent) as usize;
        Self {
            all,
            standing: [part(KNOWN_PERCENT), part(UNPROVEN_PERCENT), part(SUSPECT_PERCENT)],
            unproven: part(UNPROVEN_PERCENT),
            destination: part(DESTINATION_PERCENT),
            slow: [slow(SLOW_PERCENT), slow(SLOW_PERCENT), slow(SLOW_SUSPECT_PERCENT)],
            overtime: part(OVERTIME_PERCENT).min(overtime),
        }
    }
}

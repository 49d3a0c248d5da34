//! The knobs of the log, and what a volume's size makes of them.

use std::time::Duration;

/// Content over this many octets gets a file of its own.
pub const INLINE_MAX: usize = 256 * 1024;

/// On small volumes it is this limit.
pub const INLINE_MIN: usize = 64 * 1024;

/// Octets that every writer may keep in memory where there is enough. Whoever wants more, up to
/// [`INLINE_MAX`], borrows from [`LENDABLE`].
pub const OWN: usize = 16 * 1024;

/// Octets that all writers together may borrow where there is enough. When they are lent out,
/// content goes to a file earlier.
pub const LENDABLE: usize = 16 << 20;

/// How the log is cut and paced.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// Octets of a segment, at most; a small volume gets smaller ones.
    pub segment_max: u64,
    /// How long a record that nobody waits for may stay unsynced.
    pub lazy_sync: Duration,
    /// How often the space is looked at, and whether finished mail takes too much of it.
    pub housekeeping: Duration,
    /// Segments that are never worth emptying: the active one, and what a lull leaves half empty.
    pub slack: u64,
    /// Octets of content that every writer may keep in memory; whoever wants more borrows.
    pub own: usize,
    /// Octets that all writers together may borrow. When they are lent out, content goes to a file
    /// earlier.
    pub lendable: usize,
}

impl Config {
    /// The same for a volume of so many octets.
    pub(super) fn fitted(self, size: u64) -> Self {
        Self { segment_max: self.segment_max.min((size / 64).max(1 << 20)), ..self }
    }

    /// Content up to this many octets lives in a segment, beside its envelope, and shares its syncs
    /// with others. A segment gives its room back when all in it is done, so no single mail may be
    /// much of one; on a small volume that matters more than speed.
    pub(super) fn inline_max(&self) -> usize {
        usize::try_from(self.segment_max / 64).unwrap_or(INLINE_MAX).clamp(INLINE_MIN, INLINE_MAX)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            segment_max: 16 << 20,
            lazy_sync: Duration::from_millis(50),
            housekeeping: Duration::from_secs(1),
            slack: 4,
            own: OWN,
            lendable: LENDABLE,
        }
    }
}

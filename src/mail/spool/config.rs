//! Settings of the log, and how they depend on the volume's size.

use std::time::Duration;

/// Content of more octets than this gets a file of its own.
pub const INLINE_MAX: usize = 256 * 1024;

/// The same limit on small volumes.
pub const INLINE_MIN: usize = 64 * 1024;

/// Octets that every writer may keep in memory where there is enough. A writer that needs more, up
/// to [`INLINE_MAX`], borrows from [`BUFFER_SHARED`].
pub const BUFFER_OWN: usize = 16 * 1024;

/// Octets that all writers together may borrow where there is enough. When they are used up,
/// content goes to a file earlier.
pub const BUFFER_SHARED: usize = 16 << 20;

/// Sizes and time limits of the log.
#[derive(Debug, Clone, Copy)]
pub struct SpoolConfig {
    /// Octets of a segment, at most; a small volume gets smaller ones.
    pub segment_max: u64,
    /// How long a record without a waiting caller may stay unsynced.
    pub lazy_sync: Duration,
    /// How often the free space is checked, and whether finished mail takes too much of it.
    pub housekeeping: Duration,
    /// Octets in segments that are never worth emptying: the active one, and those left half empty
    /// at low traffic.
    pub spare_segments: u64,
    /// Octets of content that every writer may keep in memory; a writer that needs more borrows.
    pub buffer_own: usize,
    /// Octets that all writers together may borrow. When they are used up, content goes to a file
    /// earlier.
    pub buffer_shared: usize,
}

impl SpoolConfig {
    /// The same for a volume of so many octets.
    pub(super) fn for_volume_size(self, size: u64) -> Self {
        Self { segment_max: self.segment_max.min((size / 64).max(1 << 20)), ..self }
    }

    /// Content up to this many octets is stored in a segment, with its envelope, and shares its
    /// syncs with others. A segment's space is freed only when everything in it is done, so no
    /// single mail may take much of it; on a small volume that matters more than speed.
    pub(super) fn inline_max(&self) -> usize {
        usize::try_from(self.segment_max / 64).unwrap_or(INLINE_MAX).clamp(INLINE_MIN, INLINE_MAX)
    }
}

impl Default for SpoolConfig {
    fn default() -> Self {
        Self {
            segment_max: 16 << 20,
            lazy_sync: Duration::from_millis(50),
            housekeeping: Duration::from_secs(1),
            spare_segments: 4,
            buffer_own: BUFFER_OWN,
            buffer_shared: BUFFER_SHARED,
        }
    }
}

//! What the history could not keep.

use crate::appliance::counter::Counter;

crate::counters! {
    /// What the history could not keep.
    pub struct HistoryCounters {
        history_dropped_total: Counter = "Entries of the history dropped because their buffer \
        was full";
    }
}

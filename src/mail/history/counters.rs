//! Counters of history entries that were lost.

use crate::appliance::counter::Counter;

crate::counters! {
    /// Counters of history entries that were lost.
    pub struct HistoryCounters {
        history_dropped_total: Counter = "Entries of the history dropped because their buffer \
        was full";
        history_content_dropped_total: Counter = "Finished messages of which the content could not \
        be kept (history_content)";
    }
}

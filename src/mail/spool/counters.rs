//! Counters of the queue and its volume.

use crate::appliance::counter::{Counter, Gauge, Histogram};

crate::counters! {
    /// Counters of the queue and its volume.
    pub struct SpoolCounters {
        mqueue_messages: Gauge = "Number of messages in the MTA mail queue";
        mqueue_kbytes: Gauge = "MTA mail queue size in Kb";
        mqueue_deferred_messages: Gauge = "Messages that wait for another attempt";
        mqueue_held_messages: Gauge = "Messages that an operator holds";
        sync_seconds: Histogram = "Duration of one group commit's sync", SYNC;
        sync_batch_records: Histogram = "Records made durable by one sync", BATCH;
        sync_failures_total: Counter = "Syncs of the data volume that failed";
        corrupt_records_total: Counter = "Damaged records quarantined";
        shortened_segments_total: Counter =
            "Segments of the queue that were missing or shorter at the start than before";
        spool_disk_bytes: Gauge = "Octets that the queue occupies on the data volume";
        spool_copied_bytes_total: Counter =
            "Octets copied within the queue to reclaim the space of completed messages";
        disk_free_bytes: Gauge = "Free octets of the data volume";
        disk_size_bytes: Gauge = "Size of the data volume in octets";
    }
}

/// Bounds of the seconds of one sync.
const SYNC: &[f64] = &[0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5];

/// Bounds of the records of one sync.
const BATCH: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

impl SpoolCounters {
    /// Free octets of the data volume and its size, wide enough to compute percentages.
    pub fn disk(&self) -> (i128, i128) {
        (self.disk_free_bytes.get().into(), self.disk_size_bytes.get().into())
    }
}

//! Tries that end with their courier, at the end of the relay's time to stop or by a panic: what their finished transactions have
//! brought is recorded all the same. Whoever got the message must not get it again at the next start.

use super::Outbound;
use super::outcomes::Times;
use crate::ground::clock;
use crate::mail::model::{Message, Outcome, Report, Target};
use crate::mail::schedule::{DestinationId, Job};
use crate::mail::spool::Spool;
use std::sync::Arc;

/// A try that was cut off after some of its recipients had their last word.
pub(super) struct CutOff {
    pub job: Job,
    pub message: Arc<Message>,
    pub destination: (DestinationId, Arc<str>),
    pub times: Times,
    /// Who had it.
    pub answered: Vec<(Target, Outcome)>,
}

impl<S: Spool> Outbound<S> {
    /// Records what those tries have brought, and gives back their jobs for what is open.
    pub(super) async fn record_cut_off(&self) {
        let tries = std::mem::take(&mut *self.cut_off.lock());
        for CutOff { job, message, destination: (destination, name), times, answered } in tries {
            let report = Report::without_connection(&name, answered);
            self.settle((destination, &name), job, &message, report, times).await;
            let now = clock::steady();
            let must_ring = self.state.end(message.id, destination, Some((job, now)), now);
            self.ring(must_ring);
        }
    }
}

//! Writes to the mail log that accepted mail waits for a suspended or paused destination, because
//! no attempt will be logged for a while.
//!
//! Limits: [`TOLD_MAX`] recipients of a mail. Source: qmgr(8) and error(8) of Postfix, which log
//! the same for such mail.

use super::Outbound;
use super::outcomes::since_acceptance;
use crate::ground::clock;
use crate::mail::model::{Enhanced, MailEvent, Message, RateWait, Target, TargetStatus};
use crate::mail::schedule::Suspension;
use crate::mail::spool::Spool;

/// Recipients that are logged for each mail, at most.
const TOLD_MAX: usize = 20;

impl<S: Spool> Outbound<S> {
    /// Logs a new mail that will not be attempted at once. Without a mail log this costs almost
    /// nothing.
    pub(super) fn log_suspension(&self, message: &Message) {
        if !self.events.wants_suspended() {
            return;
        }
        let pending =
            message.progress.iter().filter(|progress| progress.status == TargetStatus::Pending);
        let (targets, destinations): (Vec<Target>, Vec<_>) = pending
            .take(TOLD_MAX)
            .map(|progress| (progress.target, self.destination(message, progress)))
            .unzip();
        let suspensions = self.state.suspensions(&destinations, clock::steady());
        for (target, rest) in targets.into_iter().zip(suspensions) {
            // RFC 3463 §3.5 and §3.4: a general network status, and a system that does not accept
            // messages.
            let (status, reason) = match rest {
                Some(Suspension::Until(_, why)) => {
                    (why.enhanced().unwrap_or(Enhanced(4, 4, 0)), why.text().to_owned())
                }
                Some(Suspension::Paused) => {
                    (Enhanced(4, 3, 2), "an operator has paused the destination".to_owned())
                }
                // RFC 3463 §3.5: the system takes no more for now.
                Some(Suspension::Rate(wait)) => {
                    let until = clock::wall(wait.until);
                    (Enhanced(4, 3, 2), RateWait { until, ..wait }.words(clock::soon))
                }
                None => continue,
            };
            let delay = since_acceptance(message);
            let reason = &reason;
            self.events.emit(MailEvent::Suspended { message, target, delay, status, reason });
        }
    }
}

//! Suspension: destinations to which nothing is sent for a while, because they could not be
//! reached, because their hosts have all the connections that they may have, because an operator
//! paused them, or because their rate is used up (`rates.rs`).
//!
//! In: the results of attempts, and the pauses that an operator sets. Out: whether an attempt may
//! begin, and why not. A suspension ends after its time, with a reply from the destination, with a
//! retry order, or when a host has a free connection again; a pause is ended only by the operator.
//!
//! Limits: [`HOST_PAUSE_MAX`], [`PROBE_PAUSE`], and the first back-off for destinations that cannot
//! be reached.

use super::destination_state::DestinationState;
use super::{DestinationId, DestinationReputation, Job, Schedule};
use crate::mail::model::{Destination, LastError, RateWait};
use std::cmp::Reverse;

/// How long a destination waits, in seconds, when its hosts have all the connections that they may
/// have and no free one is reported: the first pause, which doubles up to [`HOST_PAUSE_MAX`]. It is
/// also how late the end of its mail's lifetime may be noticed.
const HOST_PAUSE: u32 = 30;
/// See [`HOST_PAUSE`].
const HOST_PAUSE_MAX: u32 = 240;

/// Seconds for which a silent destination, or an unreachable one that an operator configured, is
/// suspended before one more agent probes it. A probe and its pause take about a minute, so fewer
/// probes wait at a time than connections are allowed to a silent host.
pub const PROBE_PAUSE: u32 = 30;

/// Why nothing is sent to a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Suspension<T> {
    /// An operator paused it.
    Paused,
    /// Suspended until this time, for this reason.
    Until(u32, T),
    /// Its rate is used up; nothing is wrong with it.
    Rate(RateWait),
}

impl DestinationState {
    /// Whether no attempt may begin: the destination is suspended or paused, or waits for a rate.
    pub fn is_suspended(&self, now: u32) -> bool {
        self.is_blocked(now) || self.rate_pause.is_some()
    }

    /// The same without a wait for a rate.
    pub fn is_blocked(&self, now: u32) -> bool {
        self.paused || self.suspended_until > now
    }
}

impl Schedule {
    /// The destination cannot be reached: it is suspended for a while. Gives back waiting jobs
    /// whose senders must be notified (their lifetime has ended, or the delay warning is due); they
    /// count as taken.
    pub fn suspend(
        &mut self,
        id: DestinationId,
        error: impl Into<LastError>,
        now: u32,
    ) -> Vec<Job> {
        let until = now.saturating_add(self.pause_of(id));
        self.suspend_until(id, error, until, now)
    }

    /// The same until a time that the destination's upstream has caused.
    pub fn suspend_until(
        &mut self,
        id: DestinationId,
        error: impl Into<LastError>,
        until: u32,
        now: u32,
    ) -> Vec<Job> {
        let destination = &mut self.destinations[id.0 as usize];
        destination.last_error = error.into();
        destination.window = 1;
        destination.suspended_until = until;
        destination.unreachable_since = destination.unreachable_since.or(Some(now));
        destination.host_waits = 0;
        self.suspended.push(Reverse((until, id)));
        self.set_reputation(id, DestinationReputation::Suspect);
        self.take_expired_or_warning_due(id, now)
    }

    /// Nothing was attempted, because the destination's hosts have all the connections that they
    /// may have. The job is returned. The destination waits until it is
    /// [invited](Schedule::host_available), or for a time that grows at each repetition. Gives back
    /// jobs whose senders must be notified, as [`Schedule::suspend`] does.
    pub fn wait_for_host(
        &mut self,
        id: DestinationId,
        job: Job,
        error: impl Into<LastError>,
        now: u32,
    ) -> Vec<Job> {
        let destination = &mut self.destinations[id.0 as usize];
        destination.last_error = error.into();
        if destination.suspended_until <= now {
            let pause = (HOST_PAUSE << destination.host_waits.min(8)).min(HOST_PAUSE_MAX);
            destination.host_waits = destination.host_waits.saturating_add(1);
            destination.suspended_until = now.saturating_add(fastrand::u32(pause / 2 + 1..=pause));
            self.suspended.push(Reverse((destination.suspended_until, id)));
        }
        self.return_untried(id, job);
        self.take_expired_or_warning_due(id, now)
    }

    /// A host has a free connection again, perhaps for the destination of this number. `false`: the
    /// destination does not wait for one, or cannot use another agent now.
    pub fn host_available(&mut self, number: u32) -> bool {
        let id = DestinationId(number);
        let Some(destination) = self.destinations.get_mut(number as usize) else { return false };
        if destination.host_waits == 0
            || destination.suspended_until == 0
            || destination.ready.is_empty()
            || destination.paused
        {
            return false;
        }
        destination.suspended_until = 0;
        self.offer(id);
        let destination = &self.destinations[id.0 as usize];
        destination.could_use_agent() && destination.ready.is_queued()
    }

    /// Takes waiting jobs whose lifetime has ended or whose delay warning is due.
    pub(super) fn take_expired_or_warning_due(&mut self, id: DestinationId, now: u32) -> Vec<Job> {
        let (lifetime, warning) = (self.config.lifetime, self.config.delay_warning);
        let destination = &mut self.destinations[id.0 as usize];
        let is_expired_or_warning_due = |job: &Job| {
            let age = now.saturating_sub(job.accepted_at);
            age >= lifetime || (warning > 0 && !job.delay_warning_sent && age >= warning)
        };
        let told = destination.ready.extract(is_expired_or_warning_due);
        destination.active += u32::try_from(told.len()).unwrap_or(u32::MAX);
        told
    }

    /// Why nothing is sent to a destination now; `None` when it is not suspended.
    pub fn suspension_of(
        &self,
        destination: &Destination,
        now: u32,
    ) -> Option<Suspension<&LastError>> {
        if self.paused.contains(destination) {
            return Some(Suspension::Paused);
        }
        let destination = &self.destinations[self.ids.get(destination)?.0 as usize];
        if destination.suspended_until > now {
            return Some(Suspension::Until(destination.suspended_until, &destination.last_error));
        }
        destination.rate_wait().map(Suspension::Rate)
    }

    /// Pauses or resumes a destination. Its jobs stay queued; an attempt in progress is not
    /// stopped.
    pub fn pause(&mut self, destination: &Destination, paused: bool) {
        if paused {
            self.paused.insert(destination.clone());
        } else {
            self.paused.remove(destination);
        }
        if let Some(id) = self.ids.get(destination).copied() {
            self.destinations[id.0 as usize].paused = paused;
            self.offer(id);
        }
    }

    /// How long a destination that could not be reached is suspended.
    fn pause_of(&self, id: DestinationId) -> u32 {
        let pause = self.backoff(1);
        if self.is_configured(&self.destinations[id.0 as usize].destination) {
            pause.min(PROBE_PAUSE)
        } else {
            pause
        }
    }

    /// Offers the destinations whose suspension has ended by now.
    pub(super) fn end_suspensions(&mut self, now: u32) {
        while let Some(Reverse((until, id))) = self.suspended.peek().copied()
            && until <= now
        {
            self.suspended.pop();
            self.offer(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{NOW, at, job, schedule};
    use super::*;

    #[test]
    fn mail_for_hosts_without_room_waits_for_a_vacancy_or_longer_each_time() {
        let mut schedule = schedule();
        schedule.add(&at("a.example"), job(1), 0, NOW);
        let (mut now, mut pauses) = (NOW, Vec::new());
        for _ in 0..10 {
            let id = schedule.start(now).unwrap();
            let taken = schedule.take(id, false, now).unwrap();
            assert!(schedule.wait_for_host(id, taken, "full", now).is_empty());
            schedule.agent_ended(id, false);
            let Some(Suspension::Until(wake, error)) =
                schedule.suspension_of(&at("a.example"), now)
            else {
                panic!("it does not wait")
            };
            assert_eq!(error.text(), "full");
            pauses.push(wake - now);
            assert_eq!(schedule.start(now), None);
            now = wake;
        }
        assert!(
            pauses[0] <= HOST_PAUSE
                && pauses[9] > HOST_PAUSE_MAX / 2
                && pauses[9] <= HOST_PAUSE_MAX,
            "{pauses:?}"
        );
        // Those that were invited by a host with a free connection.
        let id = schedule.start(now).unwrap();
        assert!(
            !schedule.host_available(id.number()) || schedule.start(now).is_none(),
            "it is on its way"
        );
        let taken = schedule.take(id, false, now).unwrap();
        schedule.wait_for_host(id, taken, "full", now);
        schedule.agent_ended(id, false);
        assert!(
            !schedule.host_available(7)
                && schedule.host_available(id.number())
                && !schedule.host_available(id.number())
        );
        assert_eq!(schedule.start(now), Some(id));
        schedule.take(id, false, now).unwrap();
        schedule.note_success(id, now);
        schedule.finished(id);
        assert!(!schedule.host_available(id.number()), "it waits no more");
    }
}

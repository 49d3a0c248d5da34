//! Rates of destinations: how many mails go to one in a time, and what the others wait for.
//!
//! In: the rules of the property `destination_rates`; moments at which mail is taken. Out: whether
//! a mail may be taken now, and until when the destination waits otherwise. A mail that waits for a
//! rate was not attempted: it has no back-off, the destination does not count as unreachable, and
//! when the next permit is there the turns of clients and senders go on where they were. A retry
//! order does not end the wait. The limit of an upstream, which somebody else counts, makes its
//! destination wait in the same way ([`Schedule::wait_for_rate`]). Limits: those of
//! `rate_state.rs`.

use super::rate_state::{RatePause, RateRules};
use super::{DestinationId, Schedule};
use crate::ground::clock::Moment;
use crate::mail::model::{Destination, RateWait};
use std::cmp::Reverse;
use std::sync::Arc;

/// Agents with a connection stay idle for a permit that is so near, in seconds.
const NEAR: u32 = 2;

/// Ends of waits that are kept for each destination, at most: those of waits that are over too.
const ENDS_PER_DESTINATION: usize = 2;

impl Schedule {
    /// From now on these rates hold; to be called before any mail is added.
    pub fn limit_rates(&mut self, rules: RateRules) {
        self.rates.rules = rules;
    }

    /// Takes a permit for a mail to a destination, if it has a rate. `false`: there is none, and
    /// the destination waits from now on.
    pub(super) fn take_permit(&mut self, id: DestinationId, now: Moment) -> bool {
        let destination = &mut self.destinations[id.0 as usize];
        let Some(rate) = &mut destination.rate else { return true };
        let taken = rate.limiter.take(now);
        destination.permits = rate.limiter.left(now);
        // At once with the last one, so that no agent starts for nothing.
        if let Some(until) = taken.err().or_else(|| rate.limiter.next_free(now)) {
            let limit = rate.limit.clone();
            self.begin_rate_wait(id, RatePause { until, limit });
        }
        taken.is_ok()
    }

    /// A permit that was taken at this moment was not used: nothing was sent.
    pub fn return_permit(&mut self, id: DestinationId, taken: Moment, now: impl Into<Moment>) {
        let now = now.into();
        let destination = &mut self.destinations[id.0 as usize];
        let Some(rate) = &mut destination.rate else { return };
        rate.limiter.give_back(taken, now);
        destination.permits = rate.limiter.left(now);
        if destination.permits > 0 {
            destination.rate_pause = None;
            self.offer(id);
        }
    }

    /// The mail that was taken went in more than one transaction: so many more count.
    pub fn charge_rate(&mut self, id: DestinationId, more: u32, now: impl Into<Moment>) {
        let now = now.into();
        let destination = &mut self.destinations[id.0 as usize];
        let Some(rate) = &mut destination.rate else { return };
        rate.limiter.charge(more, now);
        destination.permits = rate.limiter.left(now);
        if let Some(until) = rate.limiter.next_free(now) {
            let limit = rate.limit.clone();
            self.begin_rate_wait(id, RatePause { until, limit });
        }
    }

    /// The destination waits until this moment, because a limit that is counted elsewhere is used
    /// up.
    pub fn wait_for_rate(&mut self, id: DestinationId, until: Moment, limit: Arc<str>) {
        self.begin_rate_wait(id, RatePause { until, limit });
    }

    fn begin_rate_wait(&mut self, id: DestinationId, pause: RatePause) {
        let destination = &mut self.destinations[id.0 as usize];
        let is_longer = |now: &RatePause| now.until >= pause.until;
        if destination.rate_pause.as_deref().is_some_and(is_longer) {
            return;
        }
        self.rates.waiting.push(Reverse((pause.until, id)));
        destination.rate_pause = Some(Box::new(pause));
        self.drop_former_ends();
    }

    /// A permit that is given back ends a wait before its time: without mail to deliver, each
    /// attempt to connect would leave the end of a wait for as long as the rate counts.
    fn drop_former_ends(&mut self) {
        if self.rates.waiting.len() <= ENDS_PER_DESTINATION * self.destinations.len() {
            return;
        }
        let ids = (0..).map(DestinationId);
        let present = ids.zip(&self.destinations).filter_map(|(id, destination)| {
            Some(Reverse((destination.rate_pause.as_ref()?.until, id)))
        });
        self.rates.waiting = present.collect();
    }

    /// Offers the destinations that have a permit again.
    pub(super) fn end_rate_waits(&mut self, now: Moment) {
        while let Some(Reverse((until, id))) = self.rates.waiting.peek().copied()
            && until <= now
        {
            self.rates.waiting.pop();
            let Some(destination) = self.destinations.get_mut(id.0 as usize) else { continue };
            if destination.rate_pause.as_ref().is_none_or(|pause| pause.until > now) {
                continue;
            }
            destination.rate_pause = None;
            destination.permits = match &mut destination.rate {
                Some(rate) => rate.limiter.left(now),
                // Whoever counts elsewhere knows how many there are: one agent after the other.
                None => 1,
            };
            // `offer` wakes one.
            let work = u32::try_from(destination.ready.len()).unwrap_or(u32::MAX);
            let others = destination.idle.min(destination.permits).min(work).saturating_sub(1);
            (0..others).for_each(|_| destination.work_notify.notify_one());
            self.offer(id);
        }
    }

    /// Whether an idle agent may stay: its destination has a permit, or has one soon.
    pub(super) fn has_permit_soon(&self, id: DestinationId, now: u32) -> bool {
        let pause = &self.destinations[id.0 as usize].rate_pause;
        pause.as_ref().is_none_or(|pause| pause.until.second() <= now.saturating_add(NEAR))
    }

    /// The destinations whose mail waits for a rate now, with that rate; those of `*` included.
    pub fn rate_limited(&self) -> Vec<(Destination, RateWait)> {
        // Most relays have no rates, and this is asked every second.
        if self.rates.waiting.is_empty() {
            return Vec::new();
        }
        let waiting = self.destinations.iter().filter(|one| !one.ready.is_empty());
        waiting.filter_map(|one| Some((one.destination.clone(), one.rate_wait()?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{NOW, at, job, schedule};
    use super::super::{FlowKey, Job, Suspension};
    use super::*;

    fn rated(rules: &[(&str, &str)]) -> Schedule {
        let mut schedule = schedule();
        let rule = |(domain, limit): &(&str, &str)| ((*domain).to_owned(), limit.parse().unwrap());
        schedule.limit_rates(RateRules::new("destination_rates", rules.iter().map(rule)));
        schedule
    }

    fn moment(millis: u64) -> Moment {
        Moment::from(NOW).after(millis)
    }

    /// Delivers all that goes at this moment, in at most 20 connections; gives the jobs.
    fn deliver(schedule: &mut Schedule, now: Moment) -> Vec<Job> {
        let mut done = Vec::new();
        while let Some(id) = schedule.start(now) {
            while let Some(job) = schedule.take(id, false, now) {
                schedule.note_success(id, now.second());
                schedule.finished(id);
                done.push(job);
            }
            schedule.agent_ended(id, false);
        }
        done
    }

    #[test]
    fn mail_beyond_a_rate_waits_for_the_next_permit_and_others_go_on() {
        let mut schedule = rated(&[("a.example", "3/min")]);
        for id in 0..5 {
            schedule.add(&at("a.example"), job(id), 0, NOW);
            schedule.add(&at("b.example"), job(100 + id), 0, NOW);
        }
        let first = deliver(&mut schedule, moment(0));
        assert_eq!(first.iter().filter(|job| job.id.0 < 100).count(), 3);
        assert_eq!(first.iter().filter(|job| job.id.0 >= 100).count(), 5);
        let Some(Suspension::Rate(wait)) = schedule.suspension_of(&at("a.example"), NOW) else {
            panic!("it does not wait")
        };
        let until = NOW + 60;
        assert_eq!((wait.until, &*wait.limit), (until, "rate 3/min of destination_rates"));
        let status = schedule.status_of(&at("a.example"), NOW);
        assert_eq!(status.rate_wait, Some(wait.clone()));
        assert_eq!(
            (status.messages, status.deferred, status.suspended_until, status.unreachable_since),
            (2, 0, None, None)
        );
        assert_eq!(schedule.rate_limited(), [(at("a.example"), wait)]);
        assert_eq!(schedule.next_wake(), Some(until.into()));
        assert_eq!(schedule.deliverable_now(NOW), 0);
        // A retry order does not help, and costs nothing.
        schedule.retry(|_| true);
        assert_eq!(deliver(&mut schedule, moment(59_999)), []);
        let rest = deliver(&mut schedule, moment(60_000));
        assert_eq!(
            rest.iter().map(|job| (job.id.0, job.attempts)).collect::<Vec<_>>(),
            [(3, 0), (4, 0)]
        );
        assert_eq!(schedule.rate_limited(), []);
        assert_eq!(schedule.suspension_of(&at("a.example"), NOW + 60), None);
    }

    #[test]
    fn a_rate_of_many_in_a_second_goes_on_within_the_second() {
        let mut schedule = rated(&[("*", "100/s")]);
        (0..1000).for_each(|id| schedule.add(&at("a.example"), job(id), 0, NOW));
        let mut taken = Vec::new();
        for millis in 0..5000 {
            let now = moment(millis);
            // As the dispatcher: it sleeps until something is due.
            if schedule.next_wake().is_none_or(|wake| wake <= now) {
                taken.extend(deliver(&mut schedule, now).iter().map(|_| millis));
            }
        }
        assert!(taken.len() >= 480 && taken.len() <= 500, "{}", taken.len());
        assert!(taken.windows(101).all(|pair| pair[100] - pair[0] >= 1000), "{taken:?}");
    }

    #[test]
    fn a_job_that_was_not_tried_gives_its_permit_back() {
        let mut schedule = rated(&[("a.example", "1/min")]);
        schedule.add(&at("a.example"), job(1), 0, NOW);
        let id = schedule.start(moment(0)).unwrap();
        let taken = schedule.take(id, false, moment(0)).unwrap();
        assert_eq!(schedule.take(id, false, moment(1)), None);
        schedule.return_untried(id, taken);
        schedule.return_permit(id, moment(0), moment(5));
        assert_eq!(schedule.take(id, false, moment(10)), Some(taken));
        schedule.finished(id);
        // The wait that the first one began is over, and not that of the second.
        schedule.add(&at("a.example"), job(2), 0, NOW);
        schedule.start(moment(60_005));
        assert_eq!(schedule.take(id, false, moment(60_005)), None);
        assert_eq!(schedule.next_wake(), Some(moment(60_010)));
        schedule.start(moment(60_010));
        assert_eq!(schedule.take(id, false, moment(60_010)), Some(job(2)));
        // A mail in three transactions.
        schedule.charge_rate(id, 2, moment(60_020));
        schedule.add(&at("a.example"), job(3), 0, NOW);
        assert_eq!(schedule.start(moment(120_010)), None);
        assert_eq!(schedule.next_wake(), Some(moment(120_020)));
    }

    #[test]
    fn a_host_that_is_down_leaves_no_ends_of_waits() {
        let mut schedule = rated(&[("a.example", "1/day")]);
        schedule.add(&at("a.example"), job(1), 0, NOW);
        let id = schedule.start(moment(0)).unwrap();
        for millis in 0..1000 {
            let taken = schedule.take(id, false, moment(millis)).unwrap();
            schedule.return_untried(id, taken);
            schedule.return_permit(id, moment(millis), moment(millis));
        }
        let most = ENDS_PER_DESTINATION * schedule.destinations.len();
        assert!(schedule.rates.waiting.len() <= most, "{}", schedule.rates.waiting.len());
        // The wait that counts is kept.
        assert!(schedule.take(id, false, moment(1000)).is_some());
        schedule.finished(id);
        schedule.add(&at("a.example"), job(2), 0, NOW);
        schedule.start(moment(86_400_999));
        assert_eq!(schedule.take(id, false, moment(86_400_999)), None);
        assert_eq!(schedule.next_wake(), Some(moment(86_401_000)));
        schedule.start(moment(86_401_000));
        assert_eq!(schedule.take(id, false, moment(86_401_000)), Some(job(2)));
    }

    #[test]
    fn mail_that_waits_beyond_its_lifetime_is_taken_when_its_turn_comes() {
        let mut schedule = rated(&[("a.example", "1/min")]);
        (1..3).for_each(|id| schedule.add(&at("a.example"), job(id), 0, NOW));
        let late = schedule.config.lifetime + 60;
        let id = schedule.start(moment(0)).unwrap();
        schedule.take(id, false, moment(0)).unwrap();
        schedule.finished(id);
        schedule.charge_rate(id, 1, moment(u64::from(late) * 1000));
        assert_eq!(schedule.waiting_for(&at("a.example")), 1, "it is not handed out to be bounced");
        for (after, taken) in [(0, None), (60, Some(job(2)))] {
            let now = Moment::from(NOW + late + after);
            schedule.start(now);
            assert_eq!(schedule.take(id, false, now), taken);
        }
    }

    #[test]
    fn senders_and_clients_take_turns_with_the_permits() {
        let mut schedule = rated(&[("a.example", "6/min")]);
        let of = |id, client, sender| Job { source: FlowKey { client, sender }, ..job(id) };
        // One client with very much mail was first.
        (0..1000).for_each(|id| schedule.add(&at("a.example"), of(id, 1, 1), 0, NOW));
        (0..3).for_each(|id| schedule.add(&at("a.example"), of(2000 + id, 2, 1), 0, NOW));
        (0..3).for_each(|id| schedule.add(&at("a.example"), of(3000 + id, 3, 1), 0, NOW));
        let mut clients = Vec::new();
        for minute in 0..2 {
            let done = deliver(&mut schedule, moment(minute * 60_000));
            assert_eq!(done.len(), 6);
            clients.extend(done.iter().map(|job| job.source.client));
        }
        let of = |client| clients.iter().filter(|one| **one == client).count();
        assert_eq!((of(2), of(3)), (3, 3), "{clients:?}");
    }

    #[test]
    fn no_agent_is_started_for_nothing_and_idle_ones_stay_for_a_near_permit() {
        let mut schedule = rated(&[("a.example", "2/min"), ("b.example", "2/s")]);
        for id in 0..50 {
            schedule.add(&at("a.example"), job(id), 0, NOW);
            schedule.add(&at("b.example"), job(100 + id), 0, NOW);
        }
        let (a, b) = (schedule.start(moment(0)).unwrap(), schedule.start(moment(0)).unwrap());
        for _ in 0..2 {
            schedule.take(a, false, moment(0)).unwrap();
            schedule.take(b, false, moment(0)).unwrap();
            schedule.finished(a);
            schedule.finished(b);
        }
        assert_eq!(schedule.start(moment(0)), None);
        assert!(!schedule.may_wait(a, NOW) && schedule.may_wait(b, NOW));
        assert!(!schedule.has_ready(b, NOW));
        let waiting = schedule.wait(b);
        schedule.start(moment(1000));
        assert!(schedule.stop_waiting(b, &waiting, false, NOW + 1));
        assert!(schedule.take(b, true, moment(1000)).is_some());
    }

    #[test]
    fn a_limit_that_is_counted_elsewhere_makes_its_destination_wait() {
        let mut schedule = schedule();
        schedule.add(&at("a.example"), job(1), 0, NOW);
        let id = schedule.start(moment(0)).unwrap();
        let taken = schedule.take(id, false, moment(0)).unwrap();
        schedule.wait_for_rate(id, moment(1500), "rate 1/s of smart_relay_rate".into());
        schedule.return_untried(id, taken);
        schedule.agent_ended(id, false);
        assert_eq!(schedule.start(moment(1499)), None);
        let status = schedule.status_of(&at("a.example"), NOW);
        assert_eq!(status.rate_wait.map(|wait| wait.until), Some(NOW + 2));
        assert_eq!(schedule.start(moment(1500)), Some(id));
        assert_eq!(schedule.take(id, false, moment(1500)), Some(taken));
    }
}

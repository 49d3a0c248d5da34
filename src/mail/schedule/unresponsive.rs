//! Silent next hops: how silence is detected, and how delivery resumes soon after a next hop works
//! again.
//!
//! A host that accepts connections and is silent makes an attempt fail only at its timeout, which
//! by RFC 5321 §4.5.3.2 is minutes. So silence is reported earlier: an agent that has received
//! nothing for [`silent_after`] reports it, and if no other agent has received anything from the
//! destination meanwhile, it counts as unreachable since the silence began. These agents wait on,
//! in case the host is only slow, and beside them one more agent starts every [`PROBE_PAUSE`]. When
//! an old attempt fails at last although the destination has answered others since, the failure is
//! ignored.
//!
//! Limits: [`SPARED_MAX`] silent agents do not count against the concurrency of their destination.

use super::destination_state::DestinationState;
use super::slow_agents::AgentStage;
use super::suspension::PROBE_PAUSE;
use super::{DestinationId, DestinationReputation, Job, Schedule};
use crate::mail::model::LastError;
use std::cmp::Reverse;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Silent agents of one destination that do not count against its concurrency.
const SPARED_MAX: u32 = 10;

/// How long an agent receives nothing before it counts as silent: as long as a connection may take.
/// The reply to the end of data may take the longest, because some hosts scan the content.
pub const fn silent_after(stage: AgentStage) -> Duration {
    match stage {
        AgentStage::Connecting | AgentStage::Talking => Duration::from_secs(30),
        AgentStage::Final => Duration::from_secs(60),
    }
}

impl DestinationState {
    /// Agents that count against the concurrency: only those with an open connection, or all.
    pub fn counted(&self, open: bool) -> u32 {
        let (all, silent) =
            if open { (self.connected, self.silent_open) } else { (self.agents, self.silent) };
        all.saturating_sub(silent.min(SPARED_MAX))
    }

    /// Whether the destination has answered since an attempt began that took so long that its
    /// failure says nothing about now.
    pub fn has_answered_since(&self, began: u32, now: u32) -> bool {
        let long = silent_after(AgentStage::Connecting).as_secs();
        u64::from(now.saturating_sub(began)) >= long && self.answered_at > began
    }
}

impl Schedule {
    /// Where agents record the time at which they last received anything from this destination.
    pub fn last_heard_at(&self, id: DestinationId) -> Arc<AtomicU32> {
        self.destinations[id.0 as usize].last_heard_at.clone()
    }

    /// An agent has received nothing since that time, and counts as silent until
    /// [`Schedule::no_longer_silent`].
    pub fn note_silent(
        &mut self,
        id: DestinationId,
        stage: AgentStage,
        silent_since: u32,
        now: u32,
    ) {
        let destination = &mut self.destinations[id.0 as usize];
        destination.silent += 1;
        destination.silent_open += u32::from(stage != AgentStage::Connecting);
        if destination.last_heard_at.load(Ordering::Relaxed) > silent_since
            || destination.answered_at > silent_since
        {
            self.offer(id);
            return;
        }
        let (name, quiet) = (&destination.destination, now.saturating_sub(silent_since));
        let words = match stage {
            AgentStage::Connecting => format!("{name} was not ready for mail within {quiet} s"),
            AgentStage::Talking => {
                format!("{name} has not answered for {quiet} s in the middle of a message")
            }
            AgentStage::Final => {
                format!("{name} has not answered for {quiet} s at the end of a message")
            }
        };
        destination.last_error = words.into();
        destination.unreachable_since = destination.unreachable_since.or(Some(silent_since));
        destination.window = 1;
        if destination.suspended_until <= now {
            destination.suspended_until = now.saturating_add(PROBE_PAUSE);
            self.suspended.push(Reverse((destination.suspended_until, id)));
        }
    }

    /// A connection that `began` then was not open yet when its agent was stopped to free a slot.
    /// This does not prove that the destination is down. But one that was suspect before, and has
    /// sent nothing since, is suspended for a while; otherwise each of its mails would occupy an
    /// agent for as long. In that case this gives back jobs whose senders must be notified, as
    /// [`Schedule::suspend`] does.
    pub fn given_up_connecting(
        &mut self,
        id: DestinationId,
        began: u32,
        error: impl Into<LastError>,
        now: u32,
    ) -> Vec<Job> {
        let destination = &mut self.destinations[id.0 as usize];
        let has_spoken = destination.last_heard_at.load(Ordering::Relaxed) > began
            || destination.has_answered_since(began, now);
        let is_silent = destination.reputation == DestinationReputation::Suspect && !has_spoken;
        if is_silent && destination.suspended_until <= now {
            destination.last_error = error.into();
            destination.suspended_until = now.saturating_add(PROBE_PAUSE);
            self.suspended.push(Reverse((destination.suspended_until, id)));
        }
        self.note_slow_failure(id, began, now);
        if is_silent { self.take_expired_or_warning_due(id, now) } else { Vec::new() }
    }

    /// A silent agent has received something, or its attempt has ended.
    pub fn no_longer_silent(&mut self, id: DestinationId, stage: AgentStage) {
        let destination = &mut self.destinations[id.0 as usize];
        destination.silent = destination.silent.saturating_sub(1);
        destination.silent_open =
            destination.silent_open.saturating_sub(u32::from(stage != AgentStage::Connecting));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{CONFIG, at};
    use super::super::{FIRST_WINDOW, FlowKey, Suspension};
    use super::*;
    use crate::mail::model::MessageId;

    const NOW: u32 = 1_000_000;
    const RELAY: &str = "relay.example";

    fn schedule(jobs: u64) -> Schedule {
        let mut schedule = Schedule::new(CONFIG);
        schedule.mark_configured(&at(RELAY));
        for id in 0..jobs {
            let job = Job {
                id: MessageId(id),
                accepted_at: NOW,
                attempts: 0,
                delay_warning_sent: false,
                source: FlowKey::default(),
            };
            schedule.add(&at(RELAY), job, 0, NOW);
        }
        schedule
    }

    /// Starts all agents that are wanted, each with a job.
    fn start(schedule: &mut Schedule, now: u32) -> Vec<(DestinationId, Job)> {
        std::iter::from_fn(|| {
            let id = schedule.start(now)?;
            schedule.take(id, false, now).map(|job| (id, job))
        })
        .collect()
    }

    /// An agent delivers a mail and takes the next one.
    fn deliver(schedule: &mut Schedule, id: DestinationId, now: u32) {
        schedule.last_heard_at(id).store(now, Ordering::Relaxed);
        schedule.note_success(id, now);
        schedule.finished(id);
        schedule.take(id, true, now).unwrap();
    }

    #[test]
    fn a_silent_next_hop_is_unreachable_since_its_silence_and_asked_by_one_agent_at_a_time() {
        let mut schedule = schedule(1000);
        let out = start(&mut schedule, NOW);
        assert_eq!(out.len(), FIRST_WINDOW as usize);
        let id = out[0].0;
        for _ in &out {
            schedule.note_silent(id, AgentStage::Connecting, NOW, NOW + 30);
        }
        assert_eq!(
            (schedule.unreachable(), schedule.destinations[0].unreachable_since),
            (1, Some(NOW))
        );
        assert_eq!(
            schedule.suspension_of(&at(RELAY), NOW + 30),
            Some(Suspension::Until(
                NOW + 60,
                &"relay.example was not ready for mail within 30 s".into()
            ))
        );
        assert!(start(&mut schedule, NOW + 59).is_empty());
        for probe in 1..=5 {
            assert_eq!(
                start(&mut schedule, NOW + probe * 60).len(),
                1,
                "one more, beside those that wait"
            );
            schedule.note_silent(
                id,
                AgentStage::Connecting,
                NOW + probe * 60,
                NOW + probe * 60 + 30,
            );
        }
        assert_eq!(schedule.destinations[0].unreachable_since, Some(NOW));
    }

    #[test]
    fn a_suspect_destination_takes_no_agent_for_each_of_its_mails() {
        let mut schedule = schedule(1000);
        let id = start(&mut schedule, NOW)[0].0;
        let old = Job {
            id: MessageId(1000),
            accepted_at: NOW - CONFIG.lifetime,
            attempts: 0,
            delay_warning_sent: true,
            source: FlowKey::default(),
        };
        schedule.add(&at(RELAY), old, 0, NOW);
        assert_eq!(schedule.given_up_connecting(id, NOW, "late", NOW + 1), []);
        assert_eq!(
            (schedule.reputation(id), schedule.suspension_of(&at(RELAY), NOW + 1)),
            (DestinationReputation::Suspect, None)
        );
        assert_eq!(
            schedule.given_up_connecting(id, NOW + 1, "late", NOW + 11),
            [old],
            "its time is up, and nobody tries it"
        );
        assert_eq!(
            schedule.suspension_of(&at(RELAY), NOW + 11),
            Some(Suspension::Until(NOW + 11 + PROBE_PAUSE, &"late".into()))
        );
        assert_eq!(schedule.unreachable(), 0, "nobody knows that it is down");
        // It has answered while the next attempt was aborted.
        schedule.note_answer(id, NOW + 50);
        schedule.given_up_connecting(id, NOW + 51, "late", NOW + 52);
        schedule.last_heard_at(id).store(NOW + 55, Ordering::Relaxed);
        schedule.given_up_connecting(id, NOW + 52, "late", NOW + 62);
        assert_eq!(schedule.suspension_of(&at(RELAY), NOW + 62), None);
    }

    #[test]
    fn the_first_answer_opens_the_ramp_whatever_old_tries_say_later() {
        let mut schedule = schedule(1000);
        let old = start(&mut schedule, NOW);
        let id = old[0].0;
        old.iter().for_each(|_| schedule.note_silent(id, AgentStage::Talking, NOW, NOW + 30));
        old.iter().for_each(|_| schedule.connected(id, true));
        let now = NOW + 60;
        let mut out = start(&mut schedule, now);
        schedule.connected(id, true);
        for (_, job) in old {
            // An old connection attempt is refused or aborted at last.
            deliver(&mut schedule, id, now);
            assert_eq!(
                (schedule.unreachable(), schedule.suspension_of(&at(RELAY), now)),
                (0, None)
            );
            assert!(schedule.is_reachable_otherwise(id, "gave up", NOW, now));
            schedule.no_longer_silent(id, AgentStage::Talking);
            schedule.connected(id, false);
            schedule.return_untried(id, job);
            schedule.note_slow_failure(id, NOW, now);
            schedule.agent_ended(id, false);
            let more = start(&mut schedule, now);
            more.iter().for_each(|_| schedule.connected(id, true));
            out.extend(more);
        }
        for _ in 0..20 {
            deliver(&mut schedule, id, now);
            out.extend(start(&mut schedule, now));
        }
        assert_eq!(out.len(), 20, "as many as it may have");
    }

    #[test]
    fn an_old_try_that_fails_when_no_other_connection_is_open_does_not_make_it_unreachable() {
        let mut schedule = schedule(6);
        let out = start(&mut schedule, NOW);
        let id = out[0].0;
        schedule.note_success(id, NOW + 40);
        assert!(schedule.is_reachable_otherwise(id, "no greeting", NOW, NOW + 300));
        assert!(
            !schedule.is_reachable_otherwise(id, "refused", NOW + 299, NOW + 300),
            "a new try is news"
        );
    }

    #[test]
    fn one_silent_connection_among_others_says_nothing_and_costs_no_place() {
        let mut schedule = schedule(1000);
        let out = start(&mut schedule, NOW);
        let id = out[0].0;
        schedule.last_heard_at(id).store(NOW + 10, Ordering::Relaxed);
        schedule.note_silent(id, AgentStage::Connecting, NOW, NOW + 30);
        assert_eq!(
            (schedule.unreachable(), schedule.suspension_of(&at(RELAY), NOW + 30)),
            (0, None)
        );
        assert_eq!(start(&mut schedule, NOW + 30).len(), 1);
        schedule.no_longer_silent(id, AgentStage::Connecting);
        assert!(schedule.destinations[0].has_too_many(false));
    }

    #[test]
    fn a_named_next_hop_that_is_down_is_asked_again_soon() {
        let mut schedule = schedule(10);
        schedule.add(
            &at("other.example"),
            Job {
                id: MessageId(99),
                accepted_at: NOW,
                attempts: 0,
                delay_warning_sent: false,
                source: FlowKey::default(),
            },
            0,
            NOW,
        );
        for name in [RELAY, "other.example"] {
            let id = schedule.ids[&at(name)];
            schedule.suspend(id, "refused", NOW);
        }
        let until = |name| match schedule.suspension_of(&at(name), NOW) {
            Some(Suspension::Until(until, why)) if why.text() == "refused" => until - NOW,
            other => panic!("{other:?}"),
        };
        assert_eq!(until(RELAY), PROBE_PAUSE);
        assert!(until("other.example") >= 225);
    }
}

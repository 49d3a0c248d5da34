//! Tests: no client, sender or destination can hold all delivery agents.

use super::agent_slots::AgentSlots;
use super::shares::{LIVELY_TIME, Rank};
use super::tests::at;
use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::net::IpAddr;

const NOW: u32 = 1_000_000;

fn schedule(agents_max: u32) -> Schedule {
    let times = ScheduleConfig {
        concurrency: 20,
        agents_max,
        overtime_max: 500,
        minimal_backoff: 300,
        maximal_backoff: 3600,
        lifetime: 432_000,
        delay_warning: 0,
    };
    Schedule::new(times)
}

fn job(id: u64, source: FlowKey) -> Job {
    Job { id: MessageId(id), accepted_at: NOW, attempts: 0, delay_warning_sent: false, source }
}

/// Running delivery agents, as `outbound` would drive them.
#[derive(Default)]
struct Out {
    agents: Vec<(DestinationId, Job, Option<SlowAgent>)>,
}

impl Out {
    /// Starts every agent that may start.
    fn start(&mut self, schedule: &mut Schedule) -> Vec<DestinationId> {
        let started: Vec<DestinationId> = std::iter::from_fn(|| schedule.start(NOW)).collect();
        for id in &started {
            match schedule.take(*id, false, NOW) {
                Some(job) => self.agents.push((*id, job, None)),
                None => schedule.agent_ended(*id, false),
            }
        }
        started
    }

    /// All agents that are not slow yet become slow, and those that are asked to stop have ended.
    fn slow_down(&mut self, schedule: &mut Schedule, stage: AgentStage) {
        for (id, _, slow) in self.agents.iter_mut().filter(|(_, _, slow)| slow.is_none()) {
            *slow = Some(schedule.note_slow(*id, stage));
        }
        while schedule
            .start(NOW)
            .map(|id| self.agents.push((id, schedule.take(id, false, NOW).unwrap(), None)))
            .is_some()
        {}
    }

    fn leave(&mut self, schedule: &mut Schedule) {
        for (id, job, slow) in std::mem::take(&mut self.agents) {
            match slow {
                Some(slow) if !schedule.advance(slow.ticket, AgentStage::Talking) => {
                    assert_eq!(schedule.no_longer_slow(id, slow.ticket), SlowOutcome::ToldToGo);
                    schedule.suspend(id, "no answer", NOW);
                    schedule.retry_later(id, job, NOW + 300);
                    schedule.agent_ended(id, false);
                }
                slow => self.agents.push((id, job, slow)),
            }
        }
    }

    fn has(&self, id: DestinationId) -> bool {
        self.agents.iter().any(|(one, ..)| *one == id)
    }
}

#[test]
fn five_hundred_silent_hosts_delay_neither_a_known_nor_a_new_destination() {
    let mut schedule = schedule(500);
    let one = schedule.source(Some(IpAddr::from([192, 0, 2, 1])), "form@shop.example");
    for number in 0..500 {
        schedule.add(&at(&format!("h{number}.example")), job(number, one), 0, NOW);
    }
    let mut out = Out::default();
    out.start(&mut schedule);
    // The same client and the same sender: the destinations differ only in whether they reply.
    schedule.mark_configured(&at("known.example"));
    schedule.add(&at("known.example"), job(501, one), 0, NOW);
    schedule.add(&at("new.example"), job(502, one), 0, NOW);
    let (known, new) = (schedule.ids[&at("known.example")], schedule.ids[&at("new.example")]);
    out.start(&mut schedule);
    assert!(out.has(known), "at once");
    let mut rounds = 0;
    while !out.has(new) {
        rounds += 1;
        out.slow_down(&mut schedule, AgentStage::Connecting);
        out.leave(&mut schedule);
        out.start(&mut schedule);
    }
    let waited = rounds * DestinationReputation::New.slow_after();
    assert!(waited.as_millis() <= 1200, "{waited:?}");
}

#[test]
fn those_that_stall_after_the_end_of_data_keep_their_mail_and_lose_their_place() {
    let mut schedule = schedule(500);
    for number in 0..500 {
        schedule.add(&at(&format!("h{number}.example")), job(number, FlowKey::default()), 0, NOW);
    }
    let mut out = Out::default();
    out.start(&mut schedule);
    schedule.add(&at("new.example"), job(502, FlowKey::default()), 0, NOW);
    for _ in 0..3 {
        out.slow_down(&mut schedule, AgentStage::Final);
    }
    assert!(out.has(schedule.ids[&at("new.example")]));
    assert!(schedule.slots().overtime() > 0 && schedule.slots().throttled().slow == 0);
    let agents = out.agents.len();
    for (id, _, slow) in out.agents {
        let fate = slow.map(|slow| schedule.no_longer_slow(id, slow.ticket));
        schedule.finished(id);
        schedule.agent_ended(id, fate == Some(SlowOutcome::Overtime));
    }
    assert!(agents > 400 && taken(schedule.slots()) == 0 && schedule.slots().overtime() == 0);
}

#[test]
fn there_is_no_more_overtime_than_there_is_memory_for() {
    let config = ScheduleConfig { overtime_max: 7, ..schedule(100).config };
    let mut schedule = Schedule::new(config);
    for number in 0..300 {
        schedule.add(&at(&format!("h{number}.example")), job(number, FlowKey::default()), 0, NOW);
    }
    let mut out = Out::default();
    out.start(&mut schedule);
    (0..5).for_each(|_| out.slow_down(&mut schedule, AgentStage::Final));
    assert_eq!(schedule.slots().overtime(), 5, "what those may have that are not known");
}

#[test]
fn a_sender_with_ten_thousand_destinations_leaves_room_for_others() {
    let mut schedule = schedule(500);
    let (many, other) = (FlowKey { client: 1, sender: 1 }, FlowKey { client: 1, sender: 2 });
    for number in 0..10_000 {
        schedule.add(&at(&format!("h{number}.example")), job(number, many), 0, NOW);
    }
    let mut out = Out::default();
    assert_eq!(out.start(&mut schedule).len(), 360);
    schedule.add(&at("other.example"), job(10_001, other), 0, NOW);
    assert_eq!(out.start(&mut schedule).len(), 1);
    assert!(out.has(schedule.ids[&at("other.example")]));
    // And the client's other senders leave slots for other clients.
    for number in 0..10_000 {
        let source = FlowKey { client: 1, sender: mark(number % 200) };
        schedule.add(&at(&format!("i{number}.example")), job(20_000 + number, source), 0, NOW);
    }
    out.start(&mut schedule);
    assert_eq!(taken(schedule.slots()), 386);
    schedule.add(&at("stranger.example"), job(40_000, FlowKey { client: 2, sender: 9 }), 0, NOW);
    assert_eq!(out.start(&mut schedule).len(), 1);
}

/// Destinations that accepted mail once, and then block every agent that they get.
#[test]
fn clients_that_take_all_they_may_have_leave_room_for_another() {
    for clients in [1, 2, 5, 40] {
        let mut schedule = schedule(500);
        for number in 0..2_000 {
            let name = format!("h{number}.example");
            schedule.mark_configured(&at(&name));
            schedule.add(
                &at(&name),
                job(number, FlowKey { client: mark(number % clients), sender: mark(number % 200) }),
                0,
                NOW,
            );
        }
        let mut out = Out::default();
        out.start(&mut schedule);
        assert_eq!(schedule.slots().taken(DestinationReputation::Known), taken(schedule.slots()));
        assert!(
            clients > 1 || (390..=400).contains(&taken(schedule.slots())),
            "{}",
            taken(schedule.slots())
        );
        schedule.mark_configured(&at("other.example"));
        schedule.add(
            &at("other.example"),
            job(40_000, FlowKey { client: 200, sender: 201 }),
            0,
            NOW,
        );
        assert_eq!(out.start(&mut schedule).len(), 1, "{clients} clients");
        assert!(out.has(schedule.ids[&at("other.example")]));
    }
}

/// Destinations that answered once, each with a mail of this client from one of 200 senders.
fn once_well(schedule: &mut Schedule, numbers: std::ops::Range<u64>, client: u8) {
    for number in numbers {
        let name = format!("h{number}.example");
        let id = schedule.intern(&at(&name));
        schedule.note_answer(id, NOW - 3600);
        schedule.add(
            &at(&name),
            job(number, FlowKey { client, sender: mark(number % 200) }),
            0,
            NOW,
        );
    }
}

/// A destination that has just accepted mail.
fn well(schedule: &mut Schedule, name: &str) -> DestinationId {
    let id = schedule.intern(&at(name));
    schedule.note_answer(id, NOW);
    id
}

#[test]
fn held_back_mail_stops_nobody_behind_it() {
    let mut schedule = schedule(500);
    let (mut out, one, another) =
        (Out::default(), FlowKey { client: 1, sender: 1 }, FlowKey { client: 2, sender: 1 });
    for number in 0..2_000 {
        let name = format!("h{number}.example");
        schedule.mark_configured(&at(&name));
        schedule.add(
            &at(&name),
            job(number, FlowKey { client: 1, sender: mark(number % 200) }),
            0,
            NOW,
        );
    }
    out.start(&mut schedule);
    let good = schedule.intern(&at("good.example"));
    schedule.set_reputation(good, DestinationReputation::Known);
    (3_000..3_010).for_each(|number| schedule.add(&at("good.example"), job(number, one), 0, NOW));
    assert!(out.start(&mut schedule).is_empty(), "the client has all that it may have");
    schedule.add(&at("good.example"), job(4_000, another), 0, NOW);
    assert_eq!(out.start(&mut schedule), [good]);
    assert_eq!(out.agents.last().unwrap().1, job(4_000, another), "its own mail first");
    // The next destination is queued behind those before it.
    schedule.add(&at("good.example"), job(4_001, another), 0, NOW);
    let next = [schedule.take(good, true, NOW), schedule.take(good, true, NOW)];
    assert!(next.contains(&Some(job(4_001, another))), "{next:?}");
}

#[test]
fn senders_of_a_client_do_not_wait_for_each_other_at_a_destination() {
    let mut schedule = schedule(500);
    let (busy, quiet) = (FlowKey { client: 1, sender: 1 }, FlowKey { client: 1, sender: 2 });
    for number in 0..1_000 {
        schedule.add(&at(&format!("h{number}.example")), job(number, busy), 0, NOW);
    }
    let mut out = Out::default();
    out.start(&mut schedule);
    schedule.add(&at("good.example"), job(2_000, busy), 0, NOW);
    schedule.add(&at("good.example"), job(2_001, quiet), 0, NOW);
    out.start(&mut schedule);
    assert!(out.has(schedule.ids[&at("good.example")]));
}

/// The same client, and every sender has mail for destinations that hang.
#[test]
fn those_that_were_well_once_and_hang_stop_their_client_for_a_second_each_turn() {
    for others in [0, 1, 4] {
        let mut schedule = schedule(500);
        let mut out = Out::default();
        // Other clients use all that they may have, for destinations that answer quickly.
        for number in 0..others * 400 {
            let name = format!("q{number}.example");
            schedule.mark_configured(&at(&name));
            let source = FlowKey { client: 2 + mark(number % others), sender: mark(number % 200) };
            schedule.add(&at(&name), job(10_000 + number, source), 0, NOW);
        }
        once_well(&mut schedule, 0..500, 1);
        out.start(&mut schedule);
        let quick: Vec<_> =
            out.agents.extract_if(.., |(_, job, _)| job.source.client != 1).collect();
        let good = well(&mut schedule, "good.example");
        schedule.add(&at("good.example"), job(5_000, FlowKey { client: 1, sender: 250 }), 0, NOW);
        out.start(&mut schedule);
        let mut waited = std::time::Duration::ZERO;
        while !out.has(good) {
            out.slow_down(&mut schedule, AgentStage::Talking);
            out.leave(&mut schedule);
            waited += DestinationReputation::Known.slow_after();
            out.start(&mut schedule);
            out.agents.retain(|(id, ..)| !quick.iter().any(|(other, ..)| other == id));
            assert!(waited.as_secs() <= 2, "{others} others: {waited:?}");
        }
    }
}

#[test]
fn a_destination_that_takes_mail_finds_a_place_beside_those_that_never_answer_the_end_of_data() {
    for known in [true, false] {
        let mut schedule = schedule(500);
        let good = well(&mut schedule, "good.example");
        if known {
            once_well(&mut schedule, 0..1_500, 1);
        } else {
            let source = |number| FlowKey { client: 1, sender: mark(number % 200) };
            (0..1_500).for_each(|number| {
                schedule.add(
                    &at(&format!("n{number}.example")),
                    job(number, source(number)),
                    0,
                    NOW,
                )
            });
        }
        let mut out = Out::default();
        out.start(&mut schedule);
        for _ in 0..10 {
            out.slow_down(&mut schedule, AgentStage::Final);
        }
        let overtime = schedule.slots().overtime();
        assert!((100..=400).contains(&overtime), "{overtime}");
        assert!(out.agents.len() < 900);
        assert!(!out.has(good));
        // The client's own mail.
        let at_the_same_time = 5;
        for number in 0..at_the_same_time {
            schedule.add(
                &at("good.example"),
                job(5_000 + number, FlowKey { client: 1, sender: 7 }),
                0,
                NOW,
            );
        }
        assert_eq!(out.start(&mut schedule), [good; 5], "known {known}");
        // And another client's, which also releases its slot when its destination does not answer.
        schedule.add(&at("other.example"), job(6_000, FlowKey { client: 2, sender: 7 }), 0, NOW);
        assert_eq!(out.start(&mut schedule).len(), 1);
    }
}

#[test]
fn a_destination_that_hangs_is_not_lively_until_its_agents_go_on() {
    let mut schedule = schedule(500);
    let id = well(&mut schedule, "good.example");
    schedule.last_check = NOW;
    assert_eq!(schedule.rank(id), Rank::Lively);
    schedule.add(&at("good.example"), job(1, FlowKey::default()), 0, NOW);
    let mut out = Out::default();
    out.start(&mut schedule);
    let slow = schedule.note_slow(id, AgentStage::Talking);
    assert_eq!(schedule.rank(id), Rank::Known);
    assert_eq!(schedule.no_longer_slow(id, slow.ticket), SlowOutcome::Stayed);
    assert_eq!(schedule.rank(id), Rank::Lively);
    schedule.last_check = NOW + LIVELY_TIME + 1;
    assert_eq!(schedule.rank(id), Rank::Known);
}

#[test]
fn who_refuses_us_is_known_to_be_down_and_is_tried_on() {
    let mut schedule = schedule(500);
    schedule.add(&at("h.example"), job(1, FlowKey::default()), 0, NOW);
    let id = schedule.ids[&at("h.example")];
    schedule.note_session_refused(id, 0, "rejected this relay in reply to MAIL", NOW);
    assert_eq!(schedule.unreachable(), 1);
    assert_eq!(Out::default().start(&mut schedule).len(), 1, "it is not left alone");
    schedule.note_answer(id, NOW);
    assert_eq!(schedule.unreachable(), 0);
}

/// One sender's mail is rejected with replies that may be about this relay, and others' mail is
/// accepted.
#[test]
fn who_takes_other_mail_between_two_tries_is_not_down() {
    let mut schedule = schedule(500);
    schedule.add(&at("h.example"), job(1, FlowKey::default()), 0, NOW);
    let id = schedule.ids[&at("h.example")];
    schedule.note_success(id, NOW);
    let (mut now, mut answered) = (NOW + 10, NOW);
    for attempts in 0..8 {
        schedule.note_session_refused(id, attempts, "554 5.7.1", now);
        assert_eq!((schedule.unreachable(), attempts), (0, attempts));
        answered = now + 1;
        schedule.note_success(id, answered);
        now += schedule.backoff(attempts + 1);
    }
    // From now on nothing is accepted: the next new mail shows it, and so does the old one at its
    // next attempt.
    let soon = answered + 2 * schedule.config.minimal_backoff;
    schedule.note_session_refused(id, 8, "554 5.7.1", soon);
    assert_eq!(schedule.unreachable(), 0);
    schedule.note_session_refused(id, 0, "554 5.7.1", soon);
    assert_eq!(schedule.unreachable(), 1);
}

#[test]
fn who_comes_back_from_the_end_of_data_can_be_told_to_go() {
    let mut schedule = schedule(10);
    for number in 0..20 {
        schedule.add(&at(&format!("h{number}.example")), job(number, FlowKey::default()), 0, NOW);
    }
    let ids: Vec<DestinationId> = std::iter::from_fn(|| schedule.start(NOW)).collect();
    let slow: Vec<SlowAgent> =
        ids.iter().map(|id| schedule.note_slow(*id, AgentStage::Final)).collect();
    // The recipients that did not fit into the first transaction.
    let went_on =
        slow.iter().filter(|slow| schedule.advance(slow.ticket, AgentStage::Talking)).count();
    assert_eq!(went_on, slow.len());
    while schedule.start(NOW).is_some() {}
    assert!(schedule.slots().overtime() == 0 && schedule.slots().throttled().slow > 0);
    // An agent that released its slot to wait for one answer begins nothing more.
    let ticket = schedule.note_slow(ids[0], AgentStage::Final).ticket;
    (0..9).for_each(|_| drop(schedule.note_slow(ids[0], AgentStage::Final)));
    while schedule.start(NOW).is_some() {}
    assert!(schedule.slots().overtime() > 0);
    assert!(
        schedule.advance(ticket, AgentStage::Final)
            && !schedule.advance(ticket, AgentStage::Talking)
    );
}

#[test]
fn the_slow_are_left_alone_while_nobody_waits() {
    let mut schedule = schedule(500);
    for number in 0..300 {
        schedule.add(&at(&format!("h{number}.example")), job(number, FlowKey::default()), 0, NOW);
    }
    let mut out = Out::default();
    out.start(&mut schedule);
    out.slow_down(&mut schedule, AgentStage::Connecting);
    out.leave(&mut schedule);
    assert_eq!(out.agents.len(), 300);
}

#[test]
fn who_did_not_answer_waits_for_its_like() {
    let mut schedule = schedule(500);
    for number in 0..400 {
        let name = format!("h{number}.example");
        schedule.add(&at(&name), job(number, FlowKey::default()), 0, NOW);
        let id = schedule.ids[&at(name.as_str())];
        schedule.set_reputation(id, DestinationReputation::Suspect);
    }
    let mut out = Out::default();
    // Of one sender; several senders may have all hundred.
    assert_eq!(out.start(&mut schedule).len(), 80);
    schedule.add(&at("new.example"), job(9000, FlowKey::default()), 0, NOW);
    assert_eq!(out.start(&mut schedule).len(), 1);
}

#[test]
fn what_is_known_outlives_the_memory_of_a_destination() {
    let mut schedule = schedule(500);
    schedule.slots.remember(at("known.example"));
    schedule.add(&at("known.example"), job(1, FlowKey::default()), 0, NOW);
    assert_eq!(
        schedule.reputation(schedule.ids[&at("known.example")]),
        DestinationReputation::Known
    );
}

fn mark(number: u64) -> u8 {
    u8::try_from(number).unwrap()
}

fn taken(places: &AgentSlots) -> u32 {
    DestinationReputation::ALL.into_iter().map(|reputation| places.taken(reputation)).sum()
}

#[derive(Debug, Clone)]
enum Event {
    Add { destination: u8, client: u8, sender: u8 },
    Start,
    Take(usize),
    Slow(usize, bool),
    Deliver(usize),
    Fail(usize),
    WaitForHost(usize),
    Invite(usize),
    Home(usize),
    Pass,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let index = 0..1000usize;
    let event = prop_oneof![
        4 => (0..40u8, 0..4u8, 0..6u8)
            .prop_map(|(destination, client, sender)| Event::Add { destination, client, sender }),
        6 => Just(Event::Start),
        4 => index.clone().prop_map(Event::Take),
        3 => (index.clone(), any::<bool>()).prop_map(|(n, end)| Event::Slow(n, end)),
        2 => index.clone().prop_map(Event::Deliver),
        2 => index.clone().prop_map(Event::Fail),
        1 => index.clone().prop_map(Event::WaitForHost),
        1 => index.clone().prop_map(Event::Invite),
        2 => index.prop_map(Event::Home),
        1 => Just(Event::Pass),
    ];
    prop::collection::vec(event, 1..400)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// In any order of events no share is exceeded, no agent is lost or counted twice, and in the
    /// end all mail has been attempted.
    #[test]
    fn no_share_is_exceeded_no_agent_leaks_and_no_destination_starves(
        agents_max in 3..30u32, events in events()
    ) {
        holds_after(agents_max, events)?;
    }
}

fn holds_after(agents_max: u32, events: Vec<Event>) -> Result<(), TestCaseError> {
    let mut schedule = schedule(agents_max);
    let shares = *schedule.slots().shares();
    let mut out: Vec<(DestinationId, Option<Job>, Option<SlowAgent>)> = Vec::new();
    let (mut now, mut id) = (NOW, 0);
    let home =
        |schedule: &mut Schedule, one: (DestinationId, Option<Job>, Option<SlowAgent>), now| {
            let fate = one.2.map(|slow| schedule.no_longer_slow(one.0, slow.ticket));
            if let Some(job) = one.1 {
                schedule.retry_later(one.0, job, now + 300);
            }
            schedule.agent_ended(one.0, fate == Some(SlowOutcome::Overtime));
        };
    for event in events {
        let place = |n: usize| if out.is_empty() { None } else { Some(n % out.len()) };
        match event {
            Event::Add { destination, client, sender } => {
                id += 1;
                schedule.add(
                    &at(&format!("d{destination}.example")),
                    job(id, FlowKey { client, sender }),
                    0,
                    now,
                );
            }
            Event::Start => {
                if let Some(id) = schedule.start(now) {
                    out.push((id, None, None));
                    prop_assert!(taken(schedule.slots()) <= shares.all);
                    prop_assert!(
                        schedule.slots().taken(DestinationReputation::Suspect)
                            <= shares.reputation[2].max(20)
                    );
                    prop_assert!(schedule.slots.clients.iter().all(|n| 9 * n < 8 * shares.all + 9));
                    prop_assert!(schedule.slots.senders.iter().all(|n| 6 * n < 5 * shares.all + 6));
                }
            }
            Event::Take(n) => {
                if let Some(n) = place(n).filter(|n| out[*n].1.is_none()) {
                    out[n].1 = schedule.take(out[n].0, false, now);
                }
            }
            Event::Slow(n, end) => {
                if let Some(n) = place(n).filter(|n| out[*n].1.is_some() && out[*n].2.is_none()) {
                    out[n].2 = Some(schedule.note_slow(
                        out[n].0,
                        if end { AgentStage::Final } else { AgentStage::Connecting },
                    ));
                }
            }
            Event::Deliver(n) => {
                if let Some(n) = place(n).filter(|n| out[*n].1.is_some()) {
                    let (id, _, slow) = out.swap_remove(n);
                    let fate = slow.map(|slow| schedule.no_longer_slow(id, slow.ticket));
                    schedule.note_success(id, now);
                    schedule.finished(id);
                    if fate.is_none_or(|fate| fate == SlowOutcome::Stayed) {
                        out.push((id, None, None));
                    } else {
                        schedule.agent_ended(id, fate == Some(SlowOutcome::Overtime));
                    }
                }
            }
            Event::Fail(n) => {
                if let Some(n) = place(n).filter(|n| out[*n].1.is_some()) {
                    let one = out.swap_remove(n);
                    schedule.suspend(one.0, "no answer", now);
                    home(&mut schedule, one, now);
                }
            }
            Event::WaitForHost(n) => {
                if let Some(n) = place(n).filter(|n| out[*n].1.is_some()) {
                    let mut one = out.swap_remove(n);
                    if let Some(job) = one.1.take() {
                        schedule.wait_for_host(one.0, job, "full", now);
                    }
                    home(&mut schedule, one, now);
                }
            }
            Event::Invite(n) => {
                schedule.host_available(u32::try_from(n % 8).unwrap());
            }
            Event::Home(n) => {
                if let Some(n) = place(n) {
                    let one = out.swap_remove(n);
                    home(&mut schedule, one, now);
                }
            }
            Event::Pass => now += 100,
        }
        prop_assert_eq!(taken(schedule.slots()) as usize + schedule.slots().overtime(), out.len());
        prop_assert!(taken(schedule.slots()) <= shares.all);
    }
    // All agents end; the remaining destinations are served within as many steps as there are
    // destinations.
    for one in out {
        home(&mut schedule, one, now);
    }
    prop_assert_eq!((taken(schedule.slots()), schedule.slots().overtime()), (0, 0));
    prop_assert!(
        schedule.slots.clients.iter().chain(schedule.slots.senders.iter()).all(|n| *n == 0)
    );
    now += 10_000;
    let mut left = schedule
        .destinations
        .iter()
        .map(|one| (one.destination.clone(), one.ready.len() + one.deferred as usize));
    let mut left: BTreeMap<Destination, usize> = left.by_ref().collect();
    let steps = left.values().sum::<usize>() * 2 + 100;
    for _ in 0..steps {
        let Some(id) = schedule.start(now) else { break };
        while schedule.take(id, false, now).is_some() {
            schedule.finished(id);
            *left.get_mut(&schedule.destination(id)).unwrap() -= 1;
        }
        schedule.agent_ended(id, false);
    }
    prop_assert!(left.values().all(|left| *left == 0), "{:?}", left);
    Ok(())
}

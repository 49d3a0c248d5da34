use super::*;

pub(super) const NOW: u32 = 1_000_000;

/// Small enough for a readable test, with the default delays.
pub(super) const CONFIG: ScheduleConfig = ScheduleConfig {
    concurrency: 20,
    agents_max: 100,
    overtime_max: 500,
    minimal_backoff: 300,
    maximal_backoff: 3600,
    lifetime: 432_000,
    delay_warning: 0,
};

pub(super) fn schedule() -> Schedule {
    Schedule::new(ScheduleConfig { delay_warning: 14_400, ..CONFIG })
}

/// So many messages wait for a.example.
fn with_mail(messages: u64) -> Schedule {
    let mut schedule = schedule();
    (0..messages).for_each(|id| schedule.add(&at("a.example"), job(id), 0, NOW));
    schedule
}

/// The destination of mail to this domain.
pub(super) fn at(domain: &str) -> Destination {
    Destination::domain(domain).unwrap()
}

pub(super) fn job(id: u64) -> Job {
    Job {
        id: MessageId(id),
        accepted_at: NOW,
        attempts: 0,
        delay_warning_sent: false,
        source: FlowKey::default(),
    }
}

fn started(schedule: &mut Schedule, now: u32) -> Vec<Destination> {
    std::iter::from_fn(|| schedule.start(now).map(|id| schedule.destination(id))).collect()
}

#[test]
fn the_status_of_one_destination_is_told_without_a_walk() {
    let mut schedule = schedule();
    let there = at("there.example");
    let unknown = schedule.status_of(&there, NOW);
    assert_eq!((unknown.window, unknown.limit, unknown.messages), (FIRST_WINDOW, 20, 0));
    schedule.pause(&there, true);
    assert!(schedule.status_of(&there, NOW).paused, "also before any mail went there");
    schedule.pause(&there, false);
    schedule.add(&there, job(1), NOW, NOW);
    let id = schedule.start(NOW).unwrap();
    schedule.take(id, false, NOW).unwrap();
    let status = schedule.status_of(&there, NOW);
    assert_eq!((status.messages, status.agents, status.suspended_until), (1, 1, None));
    schedule.suspend(id, "no route to host", NOW);
    let status = schedule.status_of(&there, NOW);
    assert!(status.suspended_until.is_some_and(|until| until > NOW), "{status:?}");
    assert_eq!(
        (status.unreachable_since, status.last_error.as_str()),
        (Some(NOW), "no route to host")
    );
}

#[test]
fn destinations_take_turns_whatever_their_share() {
    let mut schedule = schedule();
    for id in 0..1000 {
        schedule.add(&at("big.example"), job(id), 0, NOW);
    }
    schedule.add(&at("small.example"), job(1000), 0, NOW);
    let ids: Vec<_> = (0..2).filter_map(|_| schedule.start(NOW)).collect();
    let first: Vec<_> = ids.into_iter().map(|id| schedule.destination(id)).collect();
    assert_eq!(
        first.iter().map(Destination::name).collect::<Vec<_>>(),
        ["big.example", "small.example"]
    );
}

#[test]
fn the_window_opens_with_success_and_closes_when_the_destination_is_down() {
    let mut schedule = with_mail(100);
    assert_eq!(started(&mut schedule, NOW).len(), FIRST_WINDOW as usize);
    let id = schedule.intern(&at("a.example"));
    for _ in 0..100 {
        schedule.note_success(id, NOW);
    }
    assert_eq!(started(&mut schedule, NOW).len(), 20 - FIRST_WINDOW as usize);
    assert!(schedule.take(id, false, NOW).is_some());
    assert!(schedule.suspend(id, "refused", NOW).is_empty());
    assert_eq!(schedule.take(id, false, NOW), None, "suspended");
    for _ in 0..20 {
        schedule.agent_ended(id, false);
    }
    assert!(started(&mut schedule, NOW).is_empty());
    let wake = schedule.next_wake().unwrap().second();
    assert!((NOW + 225..=NOW + 375).contains(&wake), "{}", wake - NOW);
    assert_eq!(started(&mut schedule, wake).len(), 1, "one delivery agent finds out how it is");
}

#[test]
fn a_dead_destination_delays_nobody_else() {
    let mut schedule = schedule();
    schedule.add(&at("dead.example"), job(1), 0, NOW);
    let dead = schedule.start(NOW).unwrap();
    schedule.take(dead, false, NOW).unwrap();
    schedule.suspend(dead, "timeout", NOW);
    schedule.add(&at("dead.example"), job(2), 0, NOW);
    schedule.add(&at("live.example"), job(3), 0, NOW);
    assert_eq!(
        started(&mut schedule, NOW).iter().map(Destination::name).collect::<Vec<_>>(),
        ["live.example"]
    );
}

#[test]
fn senders_of_old_mail_for_a_dead_destination_hear_of_it() {
    let mut schedule = schedule();
    let old = Job { accepted_at: NOW - 432_000, delay_warning_sent: true, ..job(1) };
    let slow = Job { accepted_at: NOW - 14_400, ..job(2) };
    let told = Job { accepted_at: NOW - 14_400, delay_warning_sent: true, ..job(3) };
    for waiting in [old, slow, told, job(4)] {
        schedule.add(&at("a.example"), waiting, 0, NOW);
    }
    let id = schedule.start(NOW).unwrap();
    assert_eq!(schedule.suspend(id, "refused", NOW), [old, slow]);
}

#[test]
fn retry_wakes_what_it_names_and_nothing_else() {
    let mut schedule = schedule();
    schedule.add(&at("a.example"), job(1), NOW + 500, NOW);
    schedule.add(&at("b.example"), job(2), NOW + 500, NOW);
    assert!(started(&mut schedule, NOW).is_empty());
    assert_eq!(schedule.retry(|id| id == MessageId(1)), 1);
    assert_eq!(
        started(&mut schedule, NOW).iter().map(Destination::name).collect::<Vec<_>>(),
        ["a.example"]
    );
    schedule.remove(&HashSet::from([MessageId(2)]));
    assert_eq!(schedule.next_wake(), None);
}

#[test]
fn a_waiting_agent_is_woken_instead_of_a_new_one() {
    let mut schedule = schedule();
    schedule.add(&at("a.example"), job(1), 0, NOW);
    let id = schedule.start(NOW).unwrap();
    schedule.take(id, false, NOW).unwrap();
    schedule.finished(id);
    let waiting = schedule.wait(id);
    schedule.add(&at("a.example"), job(2), 0, NOW);
    assert!(started(&mut schedule, NOW).is_empty());
    assert!(schedule.stop_waiting(id, &waiting, true, NOW));
    assert_eq!(schedule.take(id, false, NOW), Some(job(2)));
}

#[test]
fn there_is_work_for_the_dispatcher_where_a_slow_new_one_can_make_room_for_a_known_one() {
    let mut schedule = Schedule::new(ScheduleConfig { agents_max: 1, ..CONFIG });
    schedule.mark_configured(&at("known.example"));
    schedule.add(&at("new.example"), job(1), 0, NOW);
    let id = schedule.start(NOW).unwrap();
    schedule.take(id, false, NOW).unwrap();
    schedule.add(&at("known.example"), job(2), 0, NOW);
    assert!(!schedule.can_start(NOW) && schedule.start(NOW).is_none());
    let slow = schedule.note_slow(id, AgentStage::Connecting);
    assert!(schedule.can_start(NOW));
    assert!(schedule.start(NOW).is_none());
    assert!(!schedule.can_start(NOW), "it was told to go");
    assert_eq!(schedule.no_longer_slow(id, slow.ticket), SlowOutcome::ToldToGo);
    schedule.agent_ended(id, false);
    assert_eq!(
        started(&mut schedule, NOW).iter().map(Destination::name).collect::<Vec<_>>(),
        ["known.example"]
    );
}

#[test]
fn who_has_waited_longest_goes_home_when_others_need_the_place() {
    let mut schedule = Schedule::new(ScheduleConfig { agents_max: 3, ..schedule().config });
    let mut waiting = Vec::new();
    for (number, name) in ["a.example", "b.example", "c.example"].into_iter().enumerate() {
        schedule.add(&at(name), job(number as u64), 0, NOW);
        let id = schedule.start(NOW).unwrap();
        schedule.take(id, false, NOW).unwrap();
        schedule.finished(id);
        waiting.push((id, schedule.wait(id)));
    }
    assert!(!schedule.can_start(NOW));
    schedule.add(&at("d.example"), job(4), 0, NOW);
    assert!(schedule.can_start(NOW), "somebody can make room");
    assert!(schedule.start(NOW).is_none());
    assert!(schedule.start(NOW).is_none(), "one is enough for one");
    let told =
        waiting.iter().filter(|(_, waiting)| !schedule.idle_agents.is_waiting(waiting)).count();
    assert!(told == 1 && !schedule.idle_agents.is_waiting(&waiting[0].1));
    // It has work after all: then the next one is stopped.
    schedule.add(&at("a.example"), job(5), 0, NOW);
    assert!(schedule.stop_waiting(waiting[0].0, &waiting[0].1, false, NOW));
    assert_eq!(schedule.take(waiting[0].0, false, NOW), Some(job(5)));
    assert!(schedule.start(NOW).is_none());
    assert!(
        !schedule.stop_waiting(waiting[1].0, &waiting[1].1, true, NOW),
        "rung for, and nothing to do"
    );
    schedule.agent_ended(waiting[1].0, false);
    assert_eq!(
        started(&mut schedule, NOW).iter().map(Destination::name).collect::<Vec<_>>(),
        ["d.example"]
    );
}

#[test]
fn of_those_that_hardly_wait_a_few_go_and_of_the_others_as_many_as_are_wanted() {
    let places = idle_agents::RELIEVED_MAX + 20;
    let mut schedule = Schedule::new(ScheduleConfig { agents_max: places, ..schedule().config });
    let mut waiting = Vec::new();
    for number in 0..2 * u64::from(places) {
        // Of several senders: one alone could not have all delivery agents.
        let mark = u8::try_from(number % 3).unwrap();
        let source = FlowKey { client: mark, sender: mark };
        schedule.add(&at(&format!("d{number}.example")), Job { source, ..job(number) }, 0, NOW);
        if let Some(id) = schedule.start(NOW) {
            schedule.take(id, false, NOW).unwrap();
            schedule.note_success(id, NOW);
            schedule.finished(id);
            waiting.push((id, schedule.wait(id)));
        }
    }
    assert!(schedule.start(NOW).is_none());
    let still = |schedule: &Schedule| {
        waiting.iter().filter(|(_, one)| schedule.idle_agents.is_waiting(one)).count()
    };
    let left = waiting.len() - idle_agents::RELIEVED_MAX as usize;
    assert!(left > 0 && still(&schedule) == left, "{left}");
    let gone = waiting.iter().filter(|(id, one)| schedule.yields_slot(*id, one)).count();
    assert_eq!((gone, still(&schedule)), (left, 0));
}

#[test]
fn agents_beyond_a_closed_window_end_and_the_rest_of_the_mail_is_tried() {
    let mut schedule = with_mail(10);
    assert_eq!(started(&mut schedule, NOW).len(), FIRST_WINDOW as usize);
    let id = schedule.intern(&at("a.example"));
    (0..FIRST_WINDOW).for_each(|_| schedule.connected(id, true));
    let taken = schedule.take(id, true, NOW).unwrap();
    assert!(schedule.may_wait(id, NOW));
    schedule.suspend(id, "421 too many connections", NOW);
    schedule.retry_later(id, taken, NOW);
    assert!(!schedule.may_wait(id, NOW), "suspended");
    let awake = NOW + 400;
    // The concurrency is one now. All five have open connections; however long they wait, four are
    // too many.
    let mut agents = FIRST_WINDOW;
    while !schedule.may_wait(id, awake) {
        assert_eq!(schedule.take(id, true, awake), None);
        schedule.connected(id, false);
        schedule.agent_ended(id, false);
        agents -= 1;
    }
    assert_eq!(agents, 1);
    assert!(schedule.take(id, true, awake).is_some());
}

#[test]
fn a_destination_that_allows_no_more_connections_keeps_those_it_has() {
    let mut schedule = with_mail(100);
    assert_eq!(started(&mut schedule, NOW).len(), FIRST_WINDOW as usize);
    let id = schedule.intern(&at("a.example"));
    assert!(
        !schedule.is_reachable_otherwise(id, "refused", NOW, NOW),
        "nothing is open: it is down"
    );
    for _ in 0..4 {
        schedule.connected(id, true);
    }
    let fifth = schedule.take(id, false, NOW).unwrap();
    assert!(schedule.is_reachable_otherwise(id, "421 too many connections", NOW, NOW));
    schedule.return_untried(id, fifth);
    assert!(schedule.may_wait(id, NOW), "nobody closes a good connection for one that was refused");
    assert_eq!(schedule.take(id, false, NOW), None, "one without a connection ends");
    assert_eq!(schedule.take(id, true, NOW), Some(fifth), "its mail goes by the others, at once");
    schedule.agent_ended(id, false);
    schedule.note_success(id, NOW);
    assert!(started(&mut schedule, NOW).is_empty(), "no fifth connection for now");
    schedule.note_success(id, NOW + CEILING_TIME);
    assert_eq!(started(&mut schedule, NOW + CEILING_TIME).len(), 1, "it is tried again later");
}

/// The connections that were being opened at the refusal count as soon as they are open.
#[test]
fn a_refusal_costs_no_connection_that_is_being_opened() {
    let mut schedule = with_mail(100);
    assert_eq!(started(&mut schedule, NOW).len(), FIRST_WINDOW as usize);
    let id = schedule.intern(&at("a.example"));
    let taken: Vec<Job> = (0..FIRST_WINDOW).filter_map(|_| schedule.take(id, false, NOW)).collect();
    (0..2).for_each(|_| schedule.connected(id, true));
    assert!(schedule.is_reachable_otherwise(id, "421 too many connections", NOW, NOW));
    schedule.return_untried(id, taken[4]);
    schedule.agent_ended(id, false);
    (0..2).for_each(|_| schedule.connected(id, true));
    assert!(schedule.may_wait(id, NOW), "all four stay");
    schedule.note_success(id, NOW);
    schedule.finished(id);
    assert!(schedule.take(id, true, NOW).is_some());
    assert!(started(&mut schedule, NOW).is_empty(), "and no fifth is opened for now");
}

/// Some agents wait for a host and one has a connection there: its reply shows that mail can use
/// that connection.
#[test]
fn a_destination_that_waits_for_a_host_uses_the_connection_that_it_has() {
    let answers: [fn(&mut Schedule, DestinationId); 2] = [
        |schedule, id| schedule.note_success(id, NOW),
        |schedule, id| schedule.note_answer(id, NOW),
    ];
    for answer in answers {
        let mut schedule = schedule();
        for id in 0..20 {
            schedule.add(&at("a.example"), job(id), 0, NOW);
        }
        assert_eq!(started(&mut schedule, NOW).len(), FIRST_WINDOW as usize);
        let id = schedule.intern(&at("a.example"));
        let taken: Vec<Job> =
            (0..FIRST_WINDOW).filter_map(|_| schedule.take(id, false, NOW)).collect();
        // One is about to get the host's last free connection.
        for job in &taken[1..] {
            assert!(!schedule.is_reachable_otherwise(id, "full", NOW, NOW));
            assert!(schedule.wait_for_host(id, *job, "full", NOW).is_empty());
            schedule.agent_ended(id, false);
        }
        assert!(schedule.start(NOW).is_none());
        schedule.connected(id, true);
        answer(&mut schedule, id);
        schedule.finished(id);
        assert!(
            schedule.may_wait(id, NOW) && schedule.suspension_of(&at("a.example"), NOW).is_none()
        );
        assert!(
            schedule.take(id, true, NOW).is_some(),
            "the next mail goes over the connection, at once"
        );
        // More agents start, and leave the mail to the one that has a connection.
        assert_eq!(schedule.start(NOW), Some(id));
        let one_more = schedule.take(id, false, NOW).unwrap();
        assert!(schedule.is_reachable_otherwise(id, "full", NOW, NOW));
        schedule.return_untried(id, one_more);
        assert!(schedule.suspension_of(&at("a.example"), NOW).is_none());
    }
}

/// A destination that cannot use an invitation now leaves it to those behind it in the queue.
#[test]
fn a_destination_without_room_for_one_more_agent_passes_a_vacancy_on() {
    let mut schedule = with_mail(20);
    assert_eq!(started(&mut schedule, NOW).len(), FIRST_WINDOW as usize);
    let id = schedule.intern(&at("a.example"));
    let taken: Vec<Job> = (0..FIRST_WINDOW).filter_map(|_| schedule.take(id, false, NOW)).collect();
    schedule.wait_for_host(id, taken[0], "full", NOW);
    assert!(
        !schedule.host_available(id.number()),
        "all delivery agents that it may have are on their way"
    );
    assert_eq!(schedule.start(NOW), None);
    schedule.agent_ended(id, false);
    assert_eq!(schedule.start(NOW), Some(id), "it has heard that there is room all the same");
}

#[test]
fn mail_that_waits_for_a_host_ends_with_its_lifetime() {
    let mut schedule = schedule();
    let old = |id, age| Job { accepted_at: NOW - age, ..job(id) };
    for job in [
        old(1, 0),
        old(2, 432_000),
        old(3, 15_000),
        Job { delay_warning_sent: true, ..old(4, 15_000) },
    ] {
        schedule.add(&at("a.example"), job, 0, NOW);
    }
    let id = schedule.start(NOW).unwrap();
    let first = schedule.take(id, false, NOW).unwrap();
    let told: Vec<u64> =
        schedule.wait_for_host(id, first, "full", NOW).iter().map(|job| job.id.0).collect();
    assert_eq!((told, schedule.deliverable_now(NOW)), (vec![2, 3], 2));
    let late = NOW + 432_000;
    schedule.agent_ended(id, false);
    let id = schedule.start(late).unwrap();
    let first = schedule.take(id, false, late).unwrap();
    assert_eq!(schedule.wait_for_host(id, first, "full", late).len(), 2, "the job in hand as well");
}

#[test]
fn the_next_try_of_a_destination_is_the_later_of_its_rest_and_of_the_mails_own_time() {
    let mut schedule = schedule();
    let next = |schedule: &Schedule| schedule.summaries(1, NOW)[0].next_attempt;
    schedule.add(&at("a.example"), job(1), NOW + 10, NOW);
    let id = schedule.intern(&at("a.example"));
    schedule.suspend(id, "refused", NOW);
    let Some(Suspension::Until(until, _)) = schedule.suspension_of(&at("a.example"), NOW) else {
        panic!("it is left alone")
    };
    assert_eq!(next(&schedule), Some(until), "its mail is due before, and is not tried");
    schedule.remove(&HashSet::from([MessageId(1)]));
    schedule.add(&at("a.example"), job(2), until + 100, NOW);
    assert_eq!(next(&schedule), Some(until + 100));
    schedule.add(&at("a.example"), job(3), 0, NOW);
    assert_eq!(next(&schedule), Some(until));
    schedule.pause(&at("a.example"), true);
    assert_eq!(
        (next(&schedule), schedule.suspension_of(&at("a.example"), NOW)),
        (None, Some(Suspension::Paused))
    );
}

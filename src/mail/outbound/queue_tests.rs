//! Steps that must be atomic.

use super::queue_state::{NewJob, QueueState, WakeDispatcher};
use crate::mail::model::{
    Address, Body, BodyType, Destination, Envelope, Message, MessageId, MessageKind, Origin,
    Target, TargetProgress, TargetStatus,
};
use crate::mail::schedule::{self, DestinationId, FlowKey, Job, Untried};
use bytes::Bytes;
use std::collections::HashSet;
use std::sync::Arc;

const NOW: u32 = 1000;

fn state() -> QueueState {
    let config = schedule::ScheduleConfig {
        concurrency: 20,
        agents_max: 500,
        overtime_max: 500,
        minimal_backoff: 300,
        maximal_backoff: 4000,
        lifetime: 432_000,
        delay_warning: 0,
    };
    QueueState::new(config)
}

/// A message for two destinations, `a.example` and `b.example`.
fn message() -> Message {
    let recipients: Vec<Address> =
        ["r@a.example", "r@b.example"].map(|to| Address::parse(to).unwrap()).into();
    Message {
        id: MessageId(7),
        arrived: NOW,
        envelope: Envelope {
            sender: None,
            recipients,
            body: BodyType::SevenBit,
            smtputf8: false,
            dsn: None,
        },
        origin: Origin { peer: None, helo: "test".into(), may_relay: false },
        kind: MessageKind::Mail,
        progress: vec![
            TargetProgress::new(Target::Recipient(0)),
            TargetProgress::new(Target::Recipient(1)),
        ],
        held: false,
        delay_warning_sent: false,
        body: Body::Memory(Bytes::from_static(b"a: b\r\n\r\n")),
    }
}

fn at(domain: &str) -> Destination {
    Destination::domain(domain).unwrap()
}

fn jobs(message: &Message) -> Vec<NewJob> {
    let job = Job {
        id: message.id,
        accepted_at: message.arrived,
        attempts: 0,
        delay_warning_sent: false,
        source: FlowKey::default(),
    };
    ["a.example", "b.example"].map(|name| (at(name), job, 0)).into()
}

/// An agent of the next destination, with its job.
fn agent(state: &QueueState) -> (DestinationId, Job) {
    let (id, _) = state.start(NOW).unwrap();
    (id, state.take(id, false, NOW).0.unwrap())
}

#[test]
fn a_message_stays_for_whoever_is_about_to_try_it() {
    let (state, message) = (state(), message());
    assert_eq!(state.enter(Arc::new(message.clone()), &jobs(&message), NOW), WakeDispatcher(true));
    let ((first, job), (second, _)) = (agent(&state), agent(&state));
    let claimed = state.claim(message.id).unwrap();
    assert_eq!(
        state.begin(message.id, first, &[Target::Recipient(0)]),
        Some(vec![Target::Recipient(0)])
    );
    assert_eq!(state.claim(message.id).unwrap().id, claimed.id);
    // The first ends, and is the last that needs the message except for the claim; another thread
    // frees memory.
    let delivered = |progress: &mut TargetProgress| {
        if progress.target == Target::Recipient(0) {
            progress.status = TargetStatus::Delivered;
        }
    };
    state.record(message.id, delivered, drop).unwrap();
    let _ = state.end(message.id, first, None, NOW);
    state.evict(&[job.id]);
    assert!(state.is_being_tried(message.id));
    assert_eq!(
        state.begin(message.id, second, &[Target::Recipient(1)]),
        Some(vec![Target::Recipient(1)])
    );
    let _ = state.end(message.id, second, None, NOW);
    assert!(!state.is_in_memory(message.id));
    assert_eq!(
        (state.deliverable_now(NOW), state.active_and_deferred(NOW)),
        (0, (HashSet::new(), 0))
    );
}

#[test]
fn a_retry_does_not_call_untried_what_is_being_tried_or_due_elsewhere() {
    let (state, message) = (state(), message());
    let untried = |ids: &[MessageId]| Untried::Messages(ids.iter().copied().collect());
    let _ = state.enter(Arc::new(message.clone()), &jobs(&message), NOW);
    let (first, _) = agent(&state);
    state.claim(message.id).unwrap();
    state.begin(message.id, first, &[Target::Recipient(0)]).unwrap();
    state.pause_destination(&at("b.example"), true);
    assert_eq!(state.retry(|_| true), untried(&[]), "it is being tried for a.example");
    let _ = state.end(message.id, first, None, NOW);
    assert_eq!(state.retry(|_| true), untried(&[message.id]));
}

#[test]
fn what_is_due_before_the_dispatcher_wakes_rings_for_it() {
    let (state, message) = (state(), message());
    let _ = state.enter(Arc::new(message.clone()), &jobs(&message)[..1], NOW);
    let (id, job) = agent(&state);
    assert_eq!(state.start(NOW).unwrap_err(), None, "nothing is to be done");
    state.claim(message.id).unwrap();
    state.begin(message.id, id, &[Target::Recipient(0)]).unwrap();
    assert_eq!(state.end(message.id, id, Some((job, NOW + 5)), NOW), WakeDispatcher(true));
    assert_eq!(state.start(NOW).unwrap_err(), Some((NOW + 5).into()));
    assert_eq!(state.must_wake(NOW), WakeDispatcher(false), "it knows");
}

#[test]
fn an_agent_that_breaks_off_gives_back_all_that_it_has_taken() {
    let (state, message) = (state(), message());
    let job = |id: u64| Job {
        id: MessageId(id),
        accepted_at: NOW,
        attempts: 0,
        delay_warning_sent: false,
        source: FlowKey::default(),
    };
    let _ = state.plan(&[7, 8, 9].map(|id| (at("a.example"), job(id), 0)), NOW);
    let (id, first) = agent(&state);
    let rest = [state.take(id, false, NOW).0.unwrap(), state.take(id, false, NOW).0.unwrap()];
    assert!(state.claim(message.id).is_none(), "to be read from the disk");
    state.loaded(Arc::new(message));
    state.begin(first.id, id, &[Target::Recipient(0)]).unwrap();
    let _ = state.agent_ended(id, (false, true), Some(first), &rest, NOW);
    assert_eq!(state.active_and_deferred(NOW), (HashSet::new(), 3));
    assert!(!state.is_in_memory(first.id));
}

//! Delivery agents, intake, the dispatcher, orders and pages on the state of outgoing mail: every
//! order with at most [`PREEMPTIONS`] interruptions of a thread that could have continued.

use crate::ground::lock::Lock;
use crate::mail::model::{
    Address, Body, BodyType, Destination, Envelope, Message, MessageId, MessageKind, Origin,
    Target, TargetProgress, TargetStatus,
};
use crate::mail::outbound::queue_state::{AgentPause, NewJob, QueueState, WakeDispatcher};
use crate::mail::schedule::{DestinationId, FlowKey, Job, ScheduleConfig};
use crate::sync::thread;
use bytes::Bytes;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Interruptions of a thread in each order.
pub const PREEMPTIONS: usize = 2;

/// The time of all that happens.
pub const NOW: u32 = 1_000;

/// What the next hop does in an attempt.
#[derive(Clone, Copy, PartialEq)]
enum MailHost {
    Takes,
    Defers,
    /// Refuses the connection, although others may be open.
    Refuses,
    /// Has all the connections that it may have.
    Full,
}

/// A host that gets a free connection, and the destination that waits for it.
#[derive(Default)]
struct Host {
    has_room: bool,
    waiting: Option<u32>,
}

/// The queue on the disk, as outgoing mail uses it.
#[derive(Default)]
struct Disk {
    mails: BTreeMap<MessageId, (Vec<TargetProgress>, bool)>,
    delivered: Vec<(MessageId, Target)>,
}

struct Relay {
    state: QueueState,
    disk: Lock<Disk>,
    host: Lock<Host>,
    /// The dispatcher was woken.
    was_woken: AtomicBool,
}

/// A schedule with the usual limits.
pub fn config() -> ScheduleConfig {
    ScheduleConfig {
        concurrency: 20,
        agents_max: 500,
        overtime_max: 500,
        minimal_backoff: 300,
        maximal_backoff: 4000,
        lifetime: 432_000,
        delay_warning: 0,
    }
}

fn check(story: impl Fn(&Arc<Relay>) + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(PREEMPTIONS);
    model.max_branches = 100_000;
    model.check(move || {
        // Back-offs have jitter; here they are the same in each run.
        fastrand::seed(1);
        let (state, disk) = (QueueState::new(config()), Lock::leaf(Disk::default()));
        let relay = Arc::new(Relay {
            state,
            disk,
            host: Lock::leaf(Host::default()),
            was_woken: AtomicBool::new(false),
        });
        story(&relay);
        relay.ends_well();
    });
}

fn message(id: u64, domains: &[&str], progress: Option<&[TargetProgress]>) -> Message {
    let recipients: Vec<Address> =
        domains.iter().map(|name| Address::parse(&format!("r@{name}")).unwrap()).collect();
    let fresh = || {
        (0..recipients.len())
            .map(|place| TargetProgress::new(Target::Recipient(u16::try_from(place).unwrap())))
            .collect()
    };
    Message {
        id: MessageId(id),
        arrived: NOW,
        progress: progress.map_or_else(fresh, <[TargetProgress]>::to_vec),
        envelope: Envelope {
            sender: None,
            recipients,
            body: BodyType::SevenBit,
            smtputf8: false,
            dsn: None,
        },
        origin: Origin { peer: None, helo: "test".into(), may_relay: false },
        kind: MessageKind::Mail,
        held: false,
        delay_warning_sent: false,
        body: Body::Memory(Bytes::from_static(b"a: b\r\n\r\n")),
    }
}

const DOMAINS: [&str; 2] = ["a.example", "b.example"];

/// Message 1 has both destinations, every other one the first.
fn domains(id: MessageId) -> &'static [&'static str] {
    if id.0 == 1 { &DOMAINS } else { &DOMAINS[..1] }
}

/// The destination of mail to the first domain.
fn first_domain() -> Destination {
    Destination::domain(DOMAINS[0]).unwrap()
}

fn jobs(message: &Message) -> Vec<NewJob> {
    // Each mail is from a client of its own.
    let source = FlowKey { client: message.id.0.to_le_bytes()[0], sender: 0 };
    let job =
        Job { id: message.id, accepted_at: NOW, attempts: 0, delay_warning_sent: false, source };
    let pending = message
        .progress
        .iter()
        .zip(domains(message.id))
        .filter(|(progress, _)| progress.status == TargetStatus::Pending);
    pending.map(|(_, name)| (Destination::domain(name).unwrap(), job, 0)).collect()
}

impl Relay {
    fn wake_dispatcher(&self, must_wake: WakeDispatcher) {
        self.was_woken.fetch_or(must_wake.0, Ordering::Relaxed);
    }

    /// A mail that is durable.
    fn enqueue(&self, id: u64) {
        let message = message(id, domains(MessageId(id)), None);
        self.disk.lock().mails.insert(message.id, (message.progress.clone(), false));
        let jobs = jobs(&message);
        self.wake_dispatcher(self.state.enter(Arc::new(message), &jobs, NOW));
    }

    fn load(&self, id: MessageId) -> Option<Message> {
        let progress = self.disk.lock().mails.get(&id).map(|(progress, _)| progress.clone());
        progress.map(|progress| message(id.0, domains(id), Some(&progress)))
    }

    fn is_held(&self, id: MessageId) -> Option<bool> {
        self.disk.lock().mails.get(&id).map(|(_, held)| *held)
    }

    fn settle(&self, id: MessageId, progress: Vec<TargetProgress>) {
        let mut disk = self.disk.lock();
        let Some(mail) = disk.mails.get_mut(&id) else { return };
        for (before, after) in mail.0.iter().zip(&progress) {
            assert!(
                before.status == TargetStatus::Pending || after.status == before.status,
                "progress is never taken back"
            );
        }
        mail.0 = progress;
        if mail.0.iter().all(|progress| progress.status != TargetStatus::Pending) {
            disk.mails.remove(&id);
        }
    }

    /// One delivery agent of a destination, as it was counted, from its first job to its end.
    fn agent(&self, destination: DestinationId, name: &str, hop: MailHost) {
        let mut open = false;
        loop {
            let (Some(job), _) = self.state.take(destination, open, NOW) else {
                match self.state.pause(destination, NOW) {
                    AgentPause::Work => continue,
                    // No more mail comes in time.
                    AgentPause::Wait(waiting)
                        if !self.state.stop_waiting(destination, &waiting, false, NOW) =>
                    {
                        break;
                    }
                    AgentPause::Wait(_) => continue,
                    AgentPause::Home => break,
                }
            };
            let Some(targets) = self.begin(destination, name, job) else { continue };
            if hop == MailHost::Refuses
                && !open
                && self.state.return_untried(destination, job, "421", NOW, NOW)
            {
                break;
            }
            if hop == MailHost::Full && !open {
                self.wait_for_host(destination, job);
                break;
            }
            if hop != MailHost::Refuses && !open {
                open = true;
                self.state.connected(destination, true);
            }
            let taken = hop == MailHost::Takes;
            if taken {
                self.state.note_success(destination, NOW);
                self.disk.lock().delivered.extend(targets.iter().map(|target| (job.id, *target)));
            }
            let again =
                (!taken).then(|| (job, self.state.plan_retry(destination, job, "451", NOW)));
            let change = |progress: &mut TargetProgress| {
                if taken && targets.contains(&progress.target) {
                    progress.status = TargetStatus::Delivered;
                }
            };
            self.state.record(job.id, change, |progress| self.settle(job.id, progress));
            self.wake_dispatcher(self.state.end(job.id, destination, again, NOW));
            if hop == MailHost::Refuses {
                let (to_warn, fresh) = self.state.suspend(destination, "421", NOW);
                assert!(to_warn.is_empty(), "no mail is old");
                self.state.evict(&fresh.iter().map(|message| message.id).collect::<Vec<_>>());
                break;
            }
        }
        self.wake_dispatcher(self.state.agent_ended(destination, (open, true), None, &[], NOW));
    }

    fn wait_for_host(&self, destination: DestinationId, job: Job) {
        if self.state.return_untried(destination, job, "full", NOW, NOW) {
            return;
        }
        assert!(
            self.state.wait_for_host(destination, job, "full", NOW).is_empty(),
            "no mail is old"
        );
        let mut host = self.host.lock();
        host.waiting = (!host.has_room).then_some(destination.number());
        if host.has_room {
            drop(host);
            self.state
                .host_available(destination.number(), NOW)
                .into_iter()
                .for_each(|must_wake| self.wake_dispatcher(must_wake));
        }
    }

    /// The host has a free connection from now on.
    fn free(&self) {
        let mut host = self.host.lock();
        host.has_room = true;
        let waiting = host.waiting.take();
        drop(host);
        let must_wake = waiting.and_then(|number| self.state.host_available(number, NOW));
        must_wake.into_iter().for_each(|must_wake| self.wake_dispatcher(must_wake));
    }

    fn begin(&self, destination: DestinationId, name: &str, job: Job) -> Option<Vec<Target>> {
        let message = match self.state.claim(job.id) {
            Some(message) => message,
            None => match self.load(job.id) {
                Some(message) => self.state.loaded(Arc::new(message)),
                None => {
                    self.state.drop_job(destination);
                    self.state.unclaim(job.id, false);
                    return None;
                }
            },
        };
        if self.is_held(job.id) != Some(false) {
            self.state.drop_job(destination);
            self.state.unclaim(job.id, true);
            return None;
        }
        let recipients = message.envelope.recipients.iter().zip(&message.progress);
        let here = recipients
            .filter(|(to, _)| to.domain_key() == name)
            .map(|(_, progress)| progress.target);
        self.state.begin(job.id, destination, &here.collect::<Vec<_>>())
    }

    /// Delivery agents for all that the dispatcher finds after a wake-up.
    fn dispatch(&self, hop: MailHost) {
        while self.was_woken.swap(false, Ordering::Relaxed) {
            while let Ok((destination, name)) = self.state.start(NOW) {
                self.agent(destination, &name.name(), hop);
            }
        }
    }

    fn hold(&self, id: MessageId, held: bool) {
        if let Some(mail) = self.disk.lock().mails.get_mut(&id) {
            mail.1 = held;
        }
        if held {
            self.state.forget(&HashSet::from([id]));
        } else if let Some(message) = self.load(id) {
            self.wake_dispatcher(self.state.plan(&jobs(&message), NOW));
        }
    }

    fn delete(&self, id: MessageId) {
        self.disk.lock().mails.remove(&id);
        self.state.forget(&HashSet::from([id]));
    }

    /// The queries of a page.
    fn look(&self) {
        let _ = self.state.active_and_deferred(NOW);
        let _ = self.state.suspensions(&[Some(first_domain())], NOW);
        let _ = self.state.is_being_tried(MessageId(1));
        let _ = self.state.summaries(10, NOW);
    }

    /// Nothing is lost, nothing is left, nothing was sent twice.
    fn ends_well(&self) {
        // Everything that can be attempted is, by a dispatcher that runs only when it was woken.
        self.dispatch(MailHost::Takes);
        assert_eq!(self.state.deliverable_now(NOW), 0, "ready, and nobody was rung for");
        let _ = self.state.retry(|_| true);
        self.was_woken.store(true, Ordering::Relaxed);
        self.dispatch(MailHost::Takes);
        let mut disk = self.disk.lock();
        assert!(
            disk.mails.values().all(|(_, held)| *held),
            "a mail waits for ever: {:?}",
            disk.mails.keys()
        );
        let deliveries = disk.delivered.len();
        disk.delivered.sort_unstable_by_key(|(id, target)| (*id, format!("{target:?}")));
        disk.delivered.dedup();
        assert_eq!(disk.delivered.len(), deliveries, "sent twice");
        let ids: Vec<MessageId> =
            (1..4).map(MessageId).filter(|id| !disk.mails.contains_key(id)).collect();
        drop(disk);
        assert_eq!(self.state.active_and_deferred(NOW), (HashSet::new(), 0), "jobs without a mail");
        assert!(!ids.iter().any(|id| self.state.is_in_memory(*id)), "memory without a use");
    }
}

fn started(relay: &Relay) -> (DestinationId, Destination) {
    relay.state.start(NOW).unwrap()
}

fn beside(
    relay: &Arc<Relay>,
    work: impl FnOnce(&Relay) + Send + 'static,
) -> thread::JoinHandle<()> {
    let relay = relay.clone();
    thread::spawn(move || work(&relay))
}

/// A mail for the first destination, for whose agent alone the dispatcher was woken.
fn one_mail(relay: &Relay) -> DestinationId {
    relay.enqueue(2);
    let (first, _) = started(relay);
    relay.was_woken.store(false, Ordering::Relaxed);
    first
}

/// The delivery agents of message 1's two destinations, whose next hops do this.
fn agents(relay: &Arc<Relay>, hops: [MailHost; 2]) -> [thread::JoinHandle<()>; 2] {
    let places = [0, 1].map(|place| (started(relay).0, DOMAINS[place], hops[place]));
    places.map(|(destination, name, hop)| {
        beside(relay, move |relay| relay.agent(destination, name, hop))
    })
}

fn joined<const N: usize>(threads: [thread::JoinHandle<()>; N]) {
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn a_refused_agent_and_one_that_records_do_not_wait_for_each_other() {
    check(|relay| {
        (1..=2).for_each(|id| relay.enqueue(id));
        // The two of message 1's destinations, and one more for the first that is refused.
        let agents: [_; 3] = std::array::from_fn(|_| started(relay));
        let of = |name: &str| {
            agents
                .iter()
                .filter(|(_, one)| one.has_name(name))
                .map(|(id, _)| *id)
                .collect::<Vec<_>>()
        };
        let (&[first, third], &[second]) = (&of(DOMAINS[0])[..], &of(DOMAINS[1])[..]) else {
            panic!("{agents:?}")
        };
        joined([
            beside(relay, move |relay| relay.agent(first, DOMAINS[0], MailHost::Defers)),
            beside(relay, move |relay| relay.agent(third, DOMAINS[0], MailHost::Refuses)),
            beside(relay, move |relay| relay.agent(second, DOMAINS[1], MailHost::Takes)),
        ]);
    });
}

#[test]
fn who_waits_for_a_host_hears_of_its_room() {
    check(|relay| {
        let first = one_mail(relay);
        joined([
            beside(relay, move |relay| relay.agent(first, DOMAINS[0], MailHost::Full)),
            beside(relay, Relay::free),
            beside(relay, |relay| relay.dispatch(MailHost::Takes)),
        ]);
        assert_eq!(
            relay.state.suspensions(&[Some(first_domain())], NOW),
            [None],
            "it was not told"
        );
    });
}

#[test]
fn two_destinations_of_a_mail_and_a_window_lose_no_progress() {
    check(|relay| {
        relay.enqueue(1);
        let [first, second] = agents(relay, [MailHost::Takes, MailHost::Takes]);
        joined([first, second, beside(relay, Relay::look)]);
    });
}

#[test]
fn a_mail_on_the_disk_is_tried_by_both_agents() {
    check(|relay| {
        relay.enqueue(1);
        // It is not kept in memory.
        relay.state.evict(&[MessageId(1)]);
        let [first, second] = agents(relay, [MailHost::Takes, MailHost::Defers]);
        joined([first, second]);
    });
}

#[test]
fn an_agent_that_ends_leaves_no_new_mail_behind() {
    check(|relay| {
        let first = one_mail(relay);
        joined([
            beside(relay, move |relay| relay.agent(first, DOMAINS[0], MailHost::Takes)),
            beside(relay, |relay| relay.enqueue(3)),
            beside(relay, |relay| relay.dispatch(MailHost::Takes)),
        ]);
    });
}

#[test]
fn orders_and_a_delivery_agent_lose_nothing_that_is_not_held() {
    check(|relay| {
        relay.enqueue(1);
        let [first, second] = agents(relay, [MailHost::Takes, MailHost::Defers]);
        joined([
            first,
            second,
            beside(relay, |relay| {
                relay.hold(MessageId(1), true);
                relay.hold(MessageId(1), false);
                let _ = relay.state.retry(|_| true);
                relay.wake_dispatcher(relay.state.must_wake(NOW));
            }),
        ]);
    });
}

#[test]
fn a_deleted_mail_leaves_nothing_behind() {
    check(|relay| {
        relay.enqueue(1);
        let [first, second] = agents(relay, [MailHost::Takes, MailHost::Refuses]);
        joined([first, second, beside(relay, |relay| relay.delete(MessageId(1)))]);
    });
}

#[test]
fn a_paused_destination_goes_on_where_it_stopped() {
    check(|relay| {
        relay.enqueue(1);
        let [first, second] = agents(relay, [MailHost::Takes, MailHost::Takes]);
        joined([
            first,
            second,
            beside(relay, |relay| {
                relay.state.pause_destination(&first_domain(), true);
                relay.look();
                relay.state.pause_destination(&first_domain(), false);
                relay.wake_dispatcher(relay.state.must_wake(NOW));
            }),
        ]);
    });
}

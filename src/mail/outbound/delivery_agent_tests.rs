//! Delivery agents with everything around them: a queue on a volume, and next hops on this host.

use super::counters::OutboundCounters;
use super::queue_state::WakeDispatcher;
use super::{MailSigner, Outbound, OutboundConfig, SigningConfig};
use crate::ground::clock;
use crate::ground::disk::{DirectoryDisk, Disk};
use crate::ground::dns::{Absence, DnsError, DnsFuture, Resolver};
use crate::ground::memory::Gauge;
use crate::mail::admin::Admin;
use crate::mail::deliver::counters::DeliverCounters;
use crate::mail::deliver::{self, HOST_UNPROVEN_MAX, SmtpClient, Timeouts};
use crate::mail::events::MailEvents;
use crate::mail::model::{
    Address, AttemptRecord, BodyType, Destination, Envelope, Message, MessageId, MessageKind,
    OrderResult, Origin, Outcome, Principal, QueueAdmin, QueueOrder, Reply, Selection, Target,
    TargetProgress, TargetStatus,
};
use crate::mail::route::{self, Router};
use crate::mail::schedule::{self, Suspension};
use crate::mail::sign::counters::SignCounters;
use crate::mail::spool::counters::SpoolCounters;
use crate::mail::spool::{self, IncomingContent, PriorProgress, QueueEntry, SegmentLog, Spool};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::layer::SubscriberExt as _;

/// How long a step may take before the test has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// A mail of this age in seconds expires.
const LIFETIME: u32 = 432_000;

/// Every name resolves to this host, and `two.example` to two addresses.
struct Here;

impl Resolver for Here {
    fn mx(&self, _: &str) -> DnsFuture<'_, Vec<(u16, String)>> {
        Box::pin(async { Err(DnsError::Absent(Absence::Records)) })
    }

    fn addresses(&self, name: &str) -> DnsFuture<'_, Vec<IpAddr>> {
        let count = if name == "two.example" { 2 } else { 1 };
        Box::pin(
            async move { Ok((1..=count).map(|last| IpAddr::from([127, 0, 0, last])).collect()) },
        )
    }

    fn texts(&self, _: &str) -> DnsFuture<'_, Vec<String>> {
        Box::pin(async { Err(DnsError::Absent(Absence::Records)) })
    }

    fn host_names(&self, _: IpAddr) -> DnsFuture<'_, Vec<String>> {
        Box::pin(async { Err(DnsError::Absent(Absence::Records)) })
    }
}

struct Relay {
    outbound: Arc<Outbound<SegmentLog>>,
    disk: Arc<dyn Disk>,
    _volume: tempfile::TempDir,
}

/// A relay with one delivery agent, whose next hops all listen on this port.
fn relay(port: u16) -> Relay {
    relay_with(port, LIFETIME)
}

/// The same, where mail expires at this age in seconds.
fn relay_with(port: u16, lifetime: u32) -> Relay {
    let volume = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(DirectoryDisk::open(volume.path()).unwrap());
    let spool = SegmentLog::open(
        disk.clone(),
        spool::SpoolConfig::default(),
        SpoolCounters::alone().unwrap(),
        &|_| {},
    )
    .unwrap();
    let routes = route::RouteConfig {
        smart_relay: None,
        cc_mta: None,
        fallback: false,
        hostname: "relay.example".into(),
        own_addresses: vec![],
        port,
    };
    let router =
        Router::new(routes, Arc::new(Here)).local_mail_hosts(vec!["127.0.0.0/8".parse().unwrap()]);
    // No agent's end depends on how soon QUIT is answered.
    let timeouts = Timeouts { quit: 10 * PATIENCE, ..Timeouts::default() };
    let speaks = deliver::DeliverConfig {
        hostname: "relay.example".into(),
        timeouts,
        bind: None,
        recipients_max: 2,
    };
    let client = SmtpClient::new(speaks, DeliverCounters::alone().unwrap()).unwrap();
    let schedule = schedule::ScheduleConfig {
        concurrency: 20,
        agents_max: 1,
        overtime_max: 1,
        minimal_backoff: 300,
        maximal_backoff: 4000,
        lifetime,
        delay_warning: 0,
    };
    let config = OutboundConfig {
        staging: Arc::default(),
        hostname: "relay.example".into(),
        bounce_address: None,
        schedule,
        fresh_max: 1 << 20,
    };
    let outbound = Outbound::new(
        Arc::new(spool),
        router,
        client,
        MailSigner::new(SigningConfig::default(), SignCounters::alone().unwrap()),
        OutboundCounters::alone().unwrap(),
        MailEvents::new(Vec::new()),
        config,
    );
    Relay { outbound, disk, _volume: volume }
}

impl Relay {
    /// A mail to so many recipients at a domain, in the queue.
    async fn accept(&self, domain: &str, recipients: usize) -> MessageId {
        self.take_in(domain, recipients, clock::now()).await
    }

    /// The same, first accepted by another queue at this second.
    async fn take_in(&self, domain: &str, recipients: usize, arrived: u32) -> MessageId {
        let message = self.store(domain, recipients, arrived).await;
        let id = message.id;
        self.outbound.enqueue(message);
        id
    }

    /// The same, which is not planned yet.
    async fn store(&self, domain: &str, recipients: usize, arrived: u32) -> Message {
        let spool = &self.outbound.spool;
        let mut writer = spool.begin();
        writer
            .write("MIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n\u{fc}\r\n".as_bytes())
            .await
            .unwrap();
        let recipients =
            (0..recipients).map(|n| Address::parse(&format!("r{n}@{domain}")).unwrap()).collect();
        let envelope = Envelope {
            sender: None,
            recipients,
            body: BodyType::EightBitMime,
            smtputf8: false,
            dsn: None,
        };
        let origin = Origin { peer: None, helo: "test".into(), may_relay: false };
        let progress = (0..envelope.recipients.len())
            .map(|n| TargetProgress::new(Target::Recipient(u16::try_from(n).unwrap())));
        let past = PriorProgress {
            arrived,
            progress: progress.collect(),
            held: false,
            delay_warning_sent: false,
        };
        let entry = QueueEntry {
            envelope,
            origin,
            kind: MessageKind::Mail,
            copy: false,
            destinations: Vec::new(),
        };
        spool.import(entry, past, writer, std::future::pending()).await.unwrap()
    }

    /// The status of a mail's recipients, and how many attempts of each failed; empty when it has
    /// left the queue.
    async fn told(&self, id: MessageId) -> Vec<(TargetStatus, u16)> {
        let spool = &self.outbound.spool;
        // After everything that was recorded before.
        let left = spool.hold(id, false).await.is_err();
        let progress = if left { Vec::new() } else { spool.peek(id).await.unwrap().progress };
        progress.iter().map(|one| (one.status, one.attempts)).collect()
    }
}

/// The destination of mail to this domain.
fn at(domain: &str) -> Destination {
    Destination::domain(domain).unwrap()
}

const SENT: (TargetStatus, u16) = (TargetStatus::Delivered, 0);
const OPEN: (TargetStatus, u16) = (TargetStatus::Pending, 0);
const PUT_OFF: (TargetStatus, u16) = (TargetStatus::Pending, 1);

/// Where a server stops answering; it signals that once, and goes on when the client has
/// disconnected.
struct Server {
    case: Case,
    stalled: Notify,
    sessions: AtomicUsize,
}

#[derive(Clone, Copy, PartialEq)]
enum Case {
    /// Before the greeting of the first session.
    Greeting,
    /// At the third recipient, which has a transaction of its own.
    LaterTransaction,
    /// At the greeting of a second session, after a 421 in the second transaction of the first.
    Reopened,
    /// At the first recipient of the 7-bit form, after it rejected the 8-bit form.
    SevenBits,
    /// Before the greeting of the second host, after the first one deferred a recipient.
    NextHost,
    /// Before each greeting.
    EachGreeting,
    /// At QUIT.
    Quit,
}

impl Server {
    async fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut lines = BufReader::new(stream);
        let (mut line, mut eight_bit) = (String::new(), false);
        let silent = match self.case {
            Case::Greeting => Some(0),
            Case::Reopened | Case::NextHost => Some(1),
            Case::LaterTransaction | Case::SevenBits | Case::EachGreeting | Case::Quit => None,
        };
        let session = self.sessions.fetch_add(1, Ordering::Relaxed);
        if Some(session) == silent || self.case == Case::EachGreeting {
            self.stalled.notify_one();
            lines.read_line(&mut line).await?;
        }
        lines.write_all(b"220 peer\r\n").await?;
        line.clear();
        while lines.read_line(&mut line).await? > 0 {
            if line.starts_with("MAIL") {
                eight_bit = line.contains("BODY=8BITMIME");
            }
            let recipient = line.strip_prefix("RCPT TO:<").and_then(|to| to.strip_suffix(">\r\n"));
            let reply: &[u8] = match (recipient, self.case) {
                (Some("r2@slow.example"), Case::LaterTransaction) => b"",
                (Some("r3@slow.example"), Case::Reopened) => b"421 4.3.2 enough\r\n",
                (Some("r0@slow.example"), Case::SevenBits) if eight_bit => {
                    b"554 5.6.3 seven bits, please\r\n"
                }
                (Some("r0@slow.example"), Case::SevenBits) => b"",
                (Some("r0@two.example"), Case::NextHost) => b"450 4.2.0 later\r\n",
                _ if line.starts_with("QUIT") && self.case == Case::Quit => b"",
                _ if line.starts_with("EHLO") => b"250-peer\r\n250 8BITMIME\r\n",
                _ if line.starts_with("DATA") => b"354 go on\r\n",
                _ => b"250 2.0.0 ok\r\n",
            };
            if reply.is_empty() {
                self.stalled.notify_one();
            }
            lines.write_all(reply).await?;
            if reply.starts_with(b"421") {
                return Ok(());
            }
            while line.starts_with("DATA") {
                let mut content = String::new();
                lines.read_line(&mut content).await?;
                if content == ".\r\n" {
                    lines.write_all(b"250 2.0.0 taken\r\n").await?;
                    break;
                }
            }
            line.clear();
        }
        Ok(())
    }
}

/// A running relay, and the server that all its mail goes to.
async fn at_work(case: Case) -> (Relay, Arc<Server>) {
    let (relay, server) = at_rest(case).await;
    tokio::spawn(relay.outbound.clone().run());
    (relay, server)
}

/// The same before its dispatcher runs.
async fn at_rest(case: Case) -> (Relay, Arc<Server>) {
    serving(case, LIFETIME).await
}

/// The same, where mail expires at this age in seconds.
async fn serving(case: Case, lifetime: u32) -> (Relay, Arc<Server>) {
    let listener = TcpListener::bind(SocketAddr::from(([0, 0, 0, 0], 0))).await.unwrap();
    let relay = relay_with(listener.local_addr().unwrap().port(), lifetime);
    let server = Arc::new(Server { case, stalled: Notify::new(), sessions: AtomicUsize::new(0) });
    let serving = server.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let serving = serving.clone();
            // A client that has disconnected is no failure.
            tokio::spawn(async move { serving.serve(stream).await });
        }
    });
    // It is known, so it may claim the only agent.
    relay.outbound.state.mark_configured(&at("quick.example"));
    (relay, server)
}

/// A relay whose agent was asked to stop, because other mail had a claim to its slot, when the
/// server of a mail to so many recipients had stopped answering; and that mail.
async fn given_up(case: Case, recipients: usize) -> (Relay, MessageId) {
    let (relay, server) = at_work(case).await;
    let slow = relay.accept("slow.example", recipients).await;
    tokio::time::timeout(PATIENCE, server.stalled.notified()).await.unwrap();
    let quick = relay.accept("quick.example", 1).await;
    assert!(
        relay.outbound.still(slow, PATIENCE).await && relay.outbound.still(quick, PATIENCE).await
    );
    (relay, slow)
}

/// Recipients that got the mail in a completed transaction must not get it again, though the next
/// transaction was aborted.
#[tokio::test]
async fn a_try_that_is_given_up_keeps_what_its_transactions_have_brought() {
    let cases = [
        (Case::LaterTransaction, vec![SENT, SENT, PUT_OFF]),
        (Case::Reopened, vec![SENT, SENT, PUT_OFF, PUT_OFF]),
        (Case::SevenBits, vec![PUT_OFF, SENT]),
    ];
    for (case, expected) in cases {
        let (relay, slow) = given_up(case, expected.len()).await;
        assert_eq!(relay.told(slow).await, expected);
    }
}

/// The same when the relay stops and its time is up: the next start must not send it to them again,
/// and attempts the others at once.
#[tokio::test]
async fn a_try_that_the_end_cuts_off_keeps_what_its_transactions_have_brought() {
    for (case, expected) in [
        (Case::LaterTransaction, vec![SENT, SENT, OPEN]),
        (Case::SevenBits, vec![OPEN, SENT]),
        (Case::Greeting, vec![OPEN]),
        (Case::NextHost, vec![OPEN, SENT]),
    ] {
        let (relay, server) = at_work(case).await;
        let domain = if case == Case::NextHost { "two.example" } else { "slow.example" };
        let slow = relay.accept(domain, expected.len()).await;
        tokio::time::timeout(PATIENCE, server.stalled.notified()).await.unwrap();
        relay.outbound.stop();
        relay.outbound.end_now();
        assert!(relay.outbound.still(slow, PATIENCE).await);
        assert_eq!(relay.told(slow).await, expected);
    }
}

/// Mail that waits for a host is kept until the next start, however old it is.
#[tokio::test]
async fn the_end_tells_nobody_of_mail_that_waits_for_a_host() {
    // Which of two equal hosts is tried first is random: often enough the one that is full.
    for _ in 0..8 {
        let (relay, server) = at_rest(Case::EachGreeting).await;
        let client = &relay.outbound.client;
        let route = relay.outbound.router.route(&at("slow.example")).await.unwrap();
        for _ in 0..HOST_UNPROVEN_MAX {
            let (client, route) = (client.clone(), route.clone());
            tokio::spawn(async move { client.connect(&route).await.map(drop) });
            tokio::time::timeout(PATIENCE, server.stalled.notified()).await.unwrap();
        }
        let first = relay.accept("two.example", 1).await;
        let old = relay.take_in("two.example", 1, clock::now() - 2 * LIFETIME).await;
        let running = tokio::spawn(relay.outbound.clone().run());
        tokio::time::timeout(PATIENCE, server.stalled.notified()).await.unwrap();
        relay.outbound.stop();
        relay.outbound.end_now();
        tokio::time::timeout(PATIENCE, running).await.unwrap().unwrap();
        assert_eq!((relay.told(first).await, relay.told(old).await), (vec![OPEN], vec![OPEN]));
    }
}

/// Nothing depends on the reply to QUIT, and the time at a stop is for records.
#[tokio::test]
async fn the_end_waits_for_no_answer_to_a_good_bye() {
    let (relay, server) = at_rest(Case::Quit).await;
    let running = tokio::spawn(relay.outbound.clone().run());
    let mail = relay.accept("quick.example", 1).await;
    assert!(relay.outbound.still(mail, PATIENCE).await);
    relay.outbound.stop();
    tokio::time::timeout(PATIENCE, server.stalled.notified()).await.unwrap();
    relay.outbound.end_now();
    tokio::time::timeout(PATIENCE, running).await.unwrap().unwrap();
}

/// Runs a function at each log line that has a field of this name.
struct AtLine<F>(&'static str, F);

impl<S: tracing::Subscriber, F: Fn() + 'static> tracing_subscriber::Layer<S> for AtLine<F> {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        if event.metadata().fields().field(self.0).is_some() {
            (self.1)();
        }
    }
}

fn at_line(field: &'static str, work: impl Fn() + Send + Sync + 'static) -> DefaultGuard {
    tracing::subscriber::set_default(tracing_subscriber::registry().with(AtLine(field, work)))
}

/// The result of a mail to two recipients whose attempt panicked between two transactions: here, at
/// the log line about the rewritten content.
async fn defect(lifetime: u32) -> (Vec<(TargetStatus, u16)>, Relay) {
    let (relay, _server) = serving(Case::SevenBits, lifetime).await;
    tokio::spawn(relay.outbound.clone().run());
    let panicking = at_line("changed", || panic!("the defect"));
    let mail = relay.accept("slow.example", 2).await;
    let panics = &relay.outbound.counters.panics_total;
    let counted = async {
        while panics.get() == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, counted).await.unwrap();
    drop(panicking);
    assert_eq!(panics.get(), 1);
    (relay.told(mail).await, relay)
}

#[tokio::test]
async fn an_agent_that_panics_keeps_what_its_transactions_have_delivered() {
    let (told, _relay) = defect(LIFETIME).await;
    assert_eq!(told, [PUT_OFF, SENT]);
}

/// Otherwise it would be attempted for ever.
#[tokio::test]
async fn a_mail_whose_try_panics_ends_with_its_lifetime() {
    let (told, relay) = defect(0).await;
    assert_eq!(told, [], "it has left the queue");
    // It has the null sender, so there is no bounce.
    assert_eq!(relay.outbound.counters.undeliverable_bounces_total.get(), 1);
}

/// The time at a stop is for records of what was delivered.
#[tokio::test]
async fn the_end_tells_nobody_of_mail_behind_a_destination_that_is_down() {
    // No server listens there.
    let relay = relay(9);
    let first = relay.accept("slow.example", 1).await;
    let old = relay.take_in("slow.example", 1, clock::now() - 2 * LIFETIME).await;
    let outbound = relay.outbound.clone();
    let _ending = at_line("delays", move || {
        outbound.stop();
        outbound.end_now();
    });
    tokio::time::timeout(PATIENCE, relay.outbound.clone().run()).await.unwrap();
    assert_eq!((relay.told(first).await, relay.told(old).await), (vec![PUT_OFF], vec![OPEN]));
}

/// To find another host may take minutes, in which the relay and the agent may end.
#[tokio::test]
async fn what_a_host_has_answered_is_recorded_before_another_one_is_looked_for() {
    let (relay, server) = at_work(Case::NextHost).await;
    let mail = relay.accept("two.example", 2).await;
    tokio::time::timeout(PATIENCE, server.stalled.notified()).await.unwrap();
    assert_eq!(relay.told(mail).await, [(TargetStatus::Pending, 0), SENT]);
}

/// The relay itself aborted the attempt: that shows nothing about the destination, and other mail
/// for it need not wait.
#[tokio::test]
async fn a_destination_is_not_unreachable_because_its_agent_was_needed() {
    let (relay, slow) = given_up(Case::Greeting, 1).await;
    assert_eq!(relay.told(slow).await, [PUT_OFF]);
    let state = &relay.outbound.state;
    assert_eq!(state.suspensions(&[Some(at("slow.example"))], clock::steady()), [None]);
    let next = relay.accept("slow.example", 1).await;
    assert!(relay.outbound.still(next, PATIENCE).await, "the next mail goes at once");
    assert_eq!(relay.told(next).await, [], "it was delivered");
}

/// A suspect destination is suspended in that case. Mail that waits for it meanwhile ends when its
/// lifetime is over, and all notifications name the reason.
#[tokio::test]
async fn mail_behind_a_next_hop_that_is_given_up_ends_with_its_lifetime() {
    let (relay, server) = at_rest(Case::Greeting).await;
    let (outbound, now) = (&relay.outbound, clock::steady());
    let begun = Instant::now();
    let slow = relay.accept("slow.example", 1).await;
    let (destination, _) = outbound.state.start(now).unwrap();
    outbound.state.note_slow_failure(destination, now, now);
    let _ = outbound.state.agent_ended(destination, (false, true), None, &[], now);
    let old = relay.take_in("slow.example", 1, clock::now() - 2 * LIFETIME).await;
    tokio::spawn(outbound.clone().run());
    tokio::time::timeout(PATIENCE, server.stalled.notified()).await.unwrap();
    // The time for the record of the attempt is not the next hop's.
    let until = Arc::new(OnceLock::new());
    let noted = until.clone();
    let _slow = at_line("delays", move || {
        if noted.set(begun.elapsed().as_secs()).is_ok() {
            std::thread::sleep(Duration::from_secs(2));
        }
    });
    relay.accept("quick.example", 1).await;
    assert!(outbound.still(slow, PATIENCE).await && outbound.still(old, PATIENCE).await);
    assert_eq!((relay.told(slow).await, relay.told(old).await), (vec![PUT_OFF], vec![PUT_OFF]));
    let rest = outbound.state.suspensions(&[Some(at("slow.example"))], clock::steady());
    let [Some(Suspension::Until(_, reason))] = rest.as_slice() else { panic!("{rest:?}") };
    let waited = reason
        .text()
        .split_once("slow.example was not ready for mail within ")
        .map(|(_, rest)| rest);
    let waited: u64 = waited.and_then(|rest| rest.strip_suffix(" s")).unwrap().parse().unwrap();
    assert!(waited <= *until.get().unwrap(), "{reason:?}");
}

/// A message that was held while it was attempted still has a job.
#[tokio::test]
async fn a_retry_counts_held_mail_of_a_paused_destination_once() {
    let relay = relay(9);
    relay.outbound.clone().resume(|_| {}).await;
    for domain in ["there.example", "there.example", "paused.example"] {
        relay.accept(domain, 1).await;
    }
    let held = relay.accept("paused.example", 1).await;
    relay.outbound.spool.hold(held, true).await.unwrap();
    let office = Admin::new(relay.outbound.clone(), relay.disk.clone(), Arc::new(Gauge::default()));
    office.pause(at("paused.example"), true, Principal::default()).await.unwrap();
    let hit = office.order(QueueOrder::Retry, Selection::All, Principal::default()).await.unwrap();
    assert_eq!(hit, OrderResult { messages: 4, untried: 2 });
}

/// Mail that waited in another queue before has the same age while it is attempted as before and
/// after.
#[tokio::test]
async fn mail_of_another_queue_keeps_its_age_while_it_is_tried() {
    let (relay, server) = at_work(Case::Greeting).await;
    let arrived = clock::now() - 3 * 86_400;
    let slow = relay.take_in("slow.example", 1, arrived).await;
    tokio::time::timeout(PATIENCE, server.stalled.notified()).await.unwrap();
    assert!(relay.outbound.state.is_being_tried(slow));
    let office = Admin::new(relay.outbound.clone(), relay.disk.clone(), Arc::new(Gauge::default()));
    assert_eq!(office.summary().oldest_in_transit, Some(arrived));
}

/// An operator paused it, so no warning is due.
#[tokio::test]
async fn mail_of_a_paused_destination_is_not_on_its_way() {
    let (relay, _server) = at_work(Case::Greeting).await;
    let office =
        || Admin::new(relay.outbound.clone(), relay.disk.clone(), Arc::new(Gauge::default()));
    let pause = async |paused| {
        office().pause(at("paused.example"), paused, Principal::default()).await.unwrap()
    };
    pause(true).await;
    let arrived = clock::now() - 3 * 86_400;
    relay.take_in("paused.example", 1, arrived).await;
    let summary = office().summary();
    assert_eq!((summary.oldest, summary.oldest_in_transit), (Some(arrived), None));
    pause(false).await;
    assert_eq!(office().summary().oldest_in_transit, Some(arrived));
}

/// Events that follow each other closely leave the dispatcher no idle moment; it must not need one.
#[tokio::test]
async fn mail_that_could_not_be_read_is_planned_on_a_busy_relay() {
    let (relay, _server) = at_work(Case::LaterTransaction).await;
    let outbound = &relay.outbound;
    let id = relay.store("quick.example", 1, clock::now()).await.id;
    outbound.state.note_unread(&[id]);
    let busy = async {
        while outbound.spool.is_held(id).is_some() {
            outbound.wake_dispatcher(WakeDispatcher(true));
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, busy).await.unwrap();
}

#[tokio::test]
async fn the_history_keeps_the_text_of_our_own_bounces_alone() {
    let relay = relay(9);
    let mail = relay.store("there.example", 1, clock::now()).await;
    let refused = Outcome { reply: Reply::new(550, (5, 1, 1), "no such user"), remote: true };
    let outcomes = [(Target::Recipient(0), refused)];
    let counted = || relay.outbound.counters.undeliverable_bounces_total.get();
    assert_eq!(
        relay.outbound.note_undeliverable(&mail, &outcomes).await,
        "",
        "it is a client's, whoever sent it"
    );
    assert_eq!(counted(), 1);
    let bounce = Message { kind: MessageKind::Notification, ..mail };
    let kept = relay.outbound.note_undeliverable(&bounce, &outcomes).await;
    assert!(
        kept.starts_with(AttemptRecord::TEXT_MARK) && kept.contains("\nContent-Type: text/plain\n"),
        "{kept}"
    );
}

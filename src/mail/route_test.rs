//! Route tests: where a message would be sent, and whether its client might send it. Nothing is
//! changed, and no message is created.
//!
//! In: sender, recipient, client. Out: a [`RouteReport`]. It asks the same components as real mail
//! does: the dialogue of a session with the intake's answers, the routing rules at intake, the
//! router, the schedule. Limits: [`LOOKUP_PATIENCE`] for the lookups of one test. Security: lookups
//! go through the relay's resolver, on the runtime that carries mail, and end when the request
//! ends. They are not counted: a name with a typing error must not raise an alert.

use super::intake::Intake;
use super::model::{
    Address, AdminError, AdminFuture, BodyType, ClientVerdict, Destination, Envelope, Refusal,
    Reply, RouteError, RouteQuestion, RouteReport, RouteTest, RouteTrace, TargetReport, Verdict,
};
use super::outbound::Outbound;
use super::parse::{AccessPolicy, Command, Dialogue, Mail, Recipient, TlsState};
use super::spool::Spool;
use crate::ground::clock;
use crate::ground::dns::TOTAL_TIME;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, timeout_at};

/// How long the lookups of one test may take: as long as those of real mail, which asks for MX
/// records first and then for addresses. What was found until then is reported.
pub const LOOKUP_PATIENCE: Duration = TOTAL_TIME.saturating_mul(2).saturating_add(MARGIN);

/// So much longer than both steps, so that their own time limits end them.
const MARGIN: Duration = Duration::from_secs(1);

/// What the client of a test calls itself.
const HELLO: &str = "route-test.invalid";

/// Answers route tests by the two halves of the relay.
pub struct RouteTester<S> {
    intake: Arc<Intake<S>>,
    outbound: Arc<Outbound<S>>,
    /// Where the resolver lives.
    mail: Handle,
}

impl<S: Spool> RouteTester<S> {
    /// A tester of this relay; to be called on the runtime that carries its mail.
    pub fn new(intake: Arc<Intake<S>>, outbound: Arc<Outbound<S>>) -> Self {
        Self { intake, outbound, mail: Handle::current() }
    }
}

impl<S: Spool> RouteTest for RouteTester<S> {
    fn test(&self, question: RouteQuestion) -> AdminFuture<'_, RouteReport> {
        let (intake, outbound) = (self.intake.clone(), self.outbound.clone());
        // It ends when the request ends.
        let mut task = JoinSet::new();
        task.spawn_on(async move { report(&intake, outbound, question).await }, &self.mail);
        Box::pin(async move {
            let out_of_time = || AdminError::Storage("the route test was cut off".to_owned());
            task.join_next().await.and_then(Result::ok).ok_or_else(out_of_time)
        })
    }
}

async fn report<S: Spool>(
    intake: &Intake<S>,
    outbound: Arc<Outbound<S>>,
    question: RouteQuestion,
) -> RouteReport {
    let smtputf8 = !question.from.iter().chain([&question.to]).all(|address| address.is_ascii());
    let envelope = Envelope {
        sender: question.from,
        recipients: vec![question.to],
        body: BodyType::SevenBit,
        smtputf8,
        dsn: None,
    };
    let queue = intake.would_be_ready();
    let client = question.client.map(|client| {
        let address = client.to_canonical();
        let network = intake.policy.trusted_by(address);
        ClientVerdict { address, network, reply: heard(intake, address, &queue, &envelope) }
    });
    let deadline = Instant::now() + LOOKUP_PATIENCE;
    // At once: a name server that is silent about one must not take the time of the other.
    let mut lookups = JoinSet::new();
    let rules = outbound.route_rules();
    let mut destinations = intake.destinations(&envelope).0;
    let redirected = |decided| rules.redirected(envelope.sender.as_ref(), decided);
    destinations = destinations.into_iter().map(redirected).collect();
    // A redirected mail is sent once.
    destinations.dedup();
    let redirected = rules.redirect().is_some();
    for (place, destination) in destinations.into_iter().enumerate() {
        let outbound = Arc::clone(&outbound);
        lookups.spawn(async move { (place, target(&outbound, destination, deadline).await) });
    }
    let mut targets = lookups.join_all().await;
    targets.sort_by_key(|(place, _)| *place);
    let targets = targets.into_iter().map(|(_, target)| target).collect();
    RouteReport { client, queue: queue.map_err(|(reply, _)| reply), redirected, targets }
}

/// What the relay replies to a client of terminal `in` with this envelope.
fn heard<S: Spool>(
    intake: &Intake<S>,
    client: IpAddr,
    queue: &Result<(), (Reply, Refusal)>,
    envelope: &Envelope,
) -> Result<(), Reply> {
    let access = RouteTestPolicy { intake, client, queue };
    let mut dialogue = Dialogue::new(&intake.rules, TlsState::Absent);
    let Envelope { sender, body, smtputf8, .. } = envelope.clone();
    let mut commands = vec![
        Command::Hello { name: HELLO.into(), extended: true },
        Command::Mail(Mail { sender, size: None, body, smtputf8, dsn: None }),
    ];
    let recipients = envelope.recipients.iter().cloned();
    commands.extend(recipients.map(|to| Command::Recipient(Recipient::Mailbox(to), None)));
    for command in commands {
        if let Some((reply, _)) = dialogue.handle(Ok(command), &access, &mut Vec::new()).refused {
            return Err(reply);
        }
    }
    Ok(())
}

/// The rules for a client without a session: whether the queue accepts mail was asked before, and
/// no session is ended to free memory.
struct RouteTestPolicy<'a, S> {
    intake: &'a Intake<S>,
    client: IpAddr,
    queue: &'a Result<(), (Reply, Refusal)>,
}

impl<S: Spool> AccessPolicy for RouteTestPolicy<'_, S> {
    fn mail(&self) -> Verdict {
        match self.queue {
            Ok(()) => Verdict::Accept,
            Err((reply, reason)) => Verdict::Refuse(reply.clone(), *reason),
        }
    }

    fn recipient(&self, recipient: &Address) -> Verdict {
        self.intake.may_send(false, self.client, recipient)
    }
}

async fn target<S: Spool>(
    outbound: &Outbound<S>,
    destination: Destination,
    deadline: Instant,
) -> TargetReport {
    let (router, mut trace) = (outbound.router.uncounted(), RouteTrace::default());
    let route = timeout_at(deadline, router.traced(&destination, &mut trace)).await;
    let route = route.unwrap_or_else(|_| {
        let seconds = LOOKUP_PATIENCE.as_secs();
        let text = format!("the name servers did not answer within {seconds} s");
        Err(RouteError(Reply::new(451, (4, 4, 3), text)))
    });
    let mut status = outbound.state.status_of(&destination, clock::steady());
    for moment in [&mut status.suspended_until, &mut status.unreachable_since] {
        *moment = moment.map(clock::wall);
    }
    status.rate_wait.iter_mut().for_each(|wait| wait.until = clock::wall(wait.until));
    let tls = outbound.router.tls_policy(&destination).as_str();
    TargetReport { destination, trace, route, tls, status }
}

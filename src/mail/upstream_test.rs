//! Tests of upstreams: why one takes no mail, or that it would.
//!
//! In: the name of an upstream, perhaps an envelope. Out: the dialogue, line by line, and what is
//! wrong. It asks the same components as a delivery does: the router, then the SMTP client with the
//! access of the upstream. Limits: [`TEST_TIME`] for a test; one at a time. What it hears does not
//! stop the upstream's mail. A test without trouble ends the upstream's pause: its mail is offered
//! at once. Security: a test makes connections only to hosts of upstreams.

use super::deliver::{SmtpClient, UpstreamAccess, UpstreamDialogue};
use super::model::{
    ConfiguredHost, Destination, NoUpstreamTest, RouteTrace, UpstreamMonitor, UpstreamProblem,
    UpstreamQuestion, UpstreamTest, UpstreamTestFuture, UpstreamTestReport, UpstreamTestStep,
};
use super::outbound::Outbound;
use super::spool::Spool;
use super::upstream::Unremembered;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long a test may take.
pub const TEST_TIME: Duration = Duration::from_secs(60);

/// An upstream that can be tested.
#[derive(Debug, Clone)]
pub struct TestedUpstream {
    /// How it is reached.
    pub access: Arc<UpstreamAccess>,
    /// Its host, as in the property.
    pub host: ConfiguredHost,
    /// The property that has the host.
    pub host_property: String,
}

/// Tests the upstreams of this relay.
pub struct UpstreamTester<S> {
    outbound: Arc<Outbound<S>>,
    client: SmtpClient,
    upstreams: Vec<TestedUpstream>,
    monitor: Arc<dyn UpstreamMonitor>,
    turn: Arc<Semaphore>,
    /// Where connections live.
    mail: Handle,
}

impl<S: Spool> UpstreamTester<S> {
    /// A tester of these; to be called on the runtime that carries mail. `monitor` hears of tests
    /// without trouble.
    pub fn new(
        outbound: Arc<Outbound<S>>,
        client: SmtpClient,
        upstreams: Vec<TestedUpstream>,
        monitor: Arc<dyn UpstreamMonitor>,
    ) -> Self {
        let turn = Arc::new(Semaphore::new(1));
        Self { outbound, client, upstreams, monitor, turn, mail: Handle::current() }
    }
}

impl<S: Spool> UpstreamTest for UpstreamTester<S> {
    fn test(&self, question: UpstreamQuestion) -> UpstreamTestFuture<'_> {
        Box::pin(async move {
            let is_it = |one: &&TestedUpstream| *one.access.name == *question.upstream;
            let upstream = self.upstreams.iter().find(is_it).ok_or(NoUpstreamTest::Unknown)?;
            let turn = self.turn.clone().try_acquire_owned().map_err(|_| NoUpstreamTest::Busy)?;
            let (principal, name) = (&question.principal, &question.upstream);
            let from = principal
                .address
                .map_or_else(|| "the control socket".to_owned(), |address| address.to_string());
            tracing::info!(
                target: "mta", order = "test", upstream = name, by = principal.user, from,
                "operator action"
            );
            let (outbound, client) = (self.outbound.clone(), self.client.clone());
            let (upstream, monitor) = (upstream.clone(), self.monitor.clone());
            // It ends when the request ends.
            let mut task = JoinSet::new();
            let run = async move {
                let report = report(&outbound, &client, &upstream, question).await;
                if report.problem.is_none() {
                    monitor.renewed(&upstream.access.name);
                }
                drop(turn);
                report
            };
            task.spawn_on(run, &self.mail);
            task.join_next().await.and_then(Result::ok).ok_or(NoUpstreamTest::CutOff)
        })
    }
}

async fn report<S: Spool>(
    outbound: &Outbound<S>,
    client: &SmtpClient,
    upstream: &TestedUpstream,
    question: UpstreamQuestion,
) -> UpstreamTestReport {
    let (begun, host) = (Instant::now(), upstream.host.to_string());
    // A host whose certificate is verified is the one in the property, and none of MX records.
    let mut spec = (*upstream.host).clone();
    spec.exact |= upstream.access.tls.verifies();
    let destination = Destination::SmartRelay(Arc::new(spec.into()));
    let (router, mut trace) = (outbound.router.uncounted(), RouteTrace::default());
    let mut steps = vec![remark(begun, &format!("looking up {host}"))];
    let found = timeout(TEST_TIME, router.traced(&destination, &mut trace)).await;
    let too_long = || {
        let seconds = TEST_TIME.as_secs();
        (format!("the test was not at its end after {seconds} s"), "See the last step.".to_owned())
    };
    let route = match found {
        Ok(Ok(route)) => Ok(Arc::new(route)),
        Ok(Err(error)) => Err((
            error.0.text.into_owned(),
            format!(
                "Is the name in {} right, and do the name servers of this machine know it? \
                'postern route' shows what they say.",
                upstream.host_property
            ),
        )),
        Err(_) => Err(too_long()),
    };
    let ended = match route {
        Ok(route) => {
            let hosts = route.hosts.iter().map(|host| {
                let all: Vec<String> =
                    host.addresses.iter().map(|address| address.ip().to_string()).collect();
                format!("{} is at {}", host.host, all.join(", "))
            });
            steps.extend(hosts.map(|words| remark(begun, &words)));
            let access = (&upstream.access, Arc::new(Unremembered) as Arc<dyn UpstreamMonitor>);
            let mut dialogue = UpstreamDialogue::new(client, access, route, begun);
            let left = TEST_TIME.saturating_sub(begun.elapsed());
            let ended = timeout(left, dialogue.run(question.envelope.as_ref())).await;
            steps.extend(dialogue.steps());
            ended.unwrap_or_else(|_| {
                let (what, advice) = too_long();
                Err(UpstreamProblem { what, advice })
            })
        }
        Err((what, advice)) => Err(UpstreamProblem { what, advice }),
    };
    UpstreamTestReport { host, steps, problem: ended.err(), took: begun.elapsed() }
}

fn remark(begun: Instant, words: &str) -> UpstreamTestStep {
    let words = words.replace(|c: char| c.is_control(), ".");
    UpstreamTestStep { at: begun.elapsed(), line: format!("* {words}") }
}

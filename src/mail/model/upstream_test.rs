//! The test of an upstream: the dialogue of a delivery, without a mail.

use super::{Address, Principal};
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// What is to be tested.
#[derive(Debug, Clone)]
pub struct UpstreamQuestion {
    /// The name of the upstream.
    pub upstream: String,
    /// The envelope that is tried after the login; `None`: the dialogue ends there.
    pub envelope: Option<TestEnvelope>,
    /// Who asks, for the log.
    pub principal: Principal,
}

/// Sender and recipient of a test.
#[derive(Debug, Clone)]
pub struct TestEnvelope {
    /// The sender; `None` is the null sender.
    pub from: Option<Address>,
    /// The recipient.
    pub to: Address,
}

/// One line of the dialogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamTestStep {
    /// How long after the begin.
    pub at: Duration,
    /// The line after `> ` (sent), `< ` (received) or `* ` (a remark). What is secret is masked;
    /// the rest is untrusted text without control characters.
    pub line: String,
}

/// Why mail would not go there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamProblem {
    /// What is wrong; it may quote the peer.
    pub what: String,
    /// What to do.
    pub advice: String,
}

/// What came of a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamTestReport {
    /// The host of the upstream, as in its property.
    pub host: String,
    /// The dialogue.
    pub steps: Vec<UpstreamTestStep>,
    /// `None`: it would take mail of this relay.
    pub problem: Option<UpstreamProblem>,
    /// How long it took.
    pub took: Duration,
}

/// Why there was no test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoUpstreamTest {
    /// There is no upstream of that name.
    #[error("there is no upstream of that name")]
    Unknown,
    /// One test at a time.
    #[error("another test of an upstream is under way; try again when it has ended")]
    Busy,
    /// The relay is stopping.
    #[error("the test was cut off")]
    CutOff,
}

/// A future of the report.
pub type UpstreamTestFuture<'a> =
    Pin<Box<dyn Future<Output = Result<UpstreamTestReport, NoUpstreamTest>> + Send + 'a>>;

/// Tests upstreams.
pub trait UpstreamTest: Send + Sync {
    /// Runs the dialogue; it ends when the future is dropped.
    fn test(&self, question: UpstreamQuestion) -> UpstreamTestFuture<'_>;
}

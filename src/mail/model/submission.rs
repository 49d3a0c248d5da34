//! A mail that a program submits without an SMTP session.

use super::{
    Address, AddressError, ContentPieces, KeptMessage, MessageId, Principal, Refusal, Reply,
};
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;

/// The envelope of a mail, and its submitter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubmittedEnvelope {
    /// The program's address; `None` through the control socket.
    pub client: Option<IpAddr>,
    /// Whether it is authenticated, and may send to anybody; otherwise `smtpd_trusted_networks`
    /// decides, as for a session.
    pub authenticated: bool,
    /// The reverse-path; `None` is the null sender.
    pub sender: Option<Address>,
    /// The forward-paths, without duplicates; at least one.
    pub recipients: Vec<Address>,
}

/// A finished message that is to be sent once more, as a new one.
#[derive(Debug, Clone)]
pub struct Resubmission {
    /// The message.
    pub kept: KeptMessage,
    /// To whom, without repetitions; at least one.
    pub recipients: Vec<Address>,
    /// Who wants it.
    pub principal: Principal,
}

/// Submission by programs: the same rules, limits and guarantees as SMTP.
pub trait Submission: Send + Sync {
    /// A mailbox as a session accepts it from a client that may relay: without a domain it gets the
    /// relay's own.
    ///
    /// # Errors
    /// It is not a mailbox.
    fn mailbox(&self, text: &str) -> Result<Address, AddressError>;

    /// Accepts a mail. `Ok` means the same as 250: it is durable. The content's lines may end in LF
    /// alone; they are sent with CR LF.
    ///
    /// # Errors
    /// The reply that a session would get, and the reason under which it is counted.
    fn submit(
        &self,
        submitted: SubmittedEnvelope,
        content: Box<dyn ContentPieces>,
    ) -> Submitted<'_>;

    /// Takes a finished message once more: its content as it is, behind one Received field more.
    /// `Ok` says that it is durable.
    ///
    /// # Errors
    /// What a session would have heard, and the reason that it is counted under.
    fn resubmit(&self, again: Resubmission) -> Submitted<'_>;
}

/// The answer of a [`Submission`].
pub type Submitted<'a> =
    Pin<Box<dyn Future<Output = Result<MessageId, (Reply, Refusal)>> + Send + 'a>>;

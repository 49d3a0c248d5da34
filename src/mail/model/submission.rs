//! A mail that a program hands in without a session of SMTP.

use super::{Address, AddressError, ContentPieces, MessageId, Refusal, Reply};
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;

/// The envelope of a mail, and who hands it in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubmittedEnvelope {
    /// The program's address; `None` through the control socket.
    pub client: Option<IpAddr>,
    /// Whether it has shown who it is, and may send to anybody; else `smtpd_trusted_networks`
    /// decides, as for a session.
    pub known: bool,
    /// The reverse-path; `None` is the null sender.
    pub sender: Option<Address>,
    /// The forward-paths, without repetitions; at least one.
    pub recipients: Vec<Address>,
}

/// Where programs hand mail in: the same rules, limits and promises as at terminal `in`.
pub trait Submission: Send + Sync {
    /// A mailbox as a session would take it from a client that may relay: without a domain it gets
    /// the relay's own.
    ///
    /// # Errors
    /// It is no mailbox.
    fn mailbox(&self, text: &str) -> Result<Address, AddressError>;

    /// Takes a mail. `Ok` says what a 250 says: it is durable. The content's lines may end in LF
    /// alone; they are sent with CR LF.
    ///
    /// # Errors
    /// What a session would have heard, and the reason that it is counted under.
    fn submit(
        &self,
        submitted: SubmittedEnvelope,
        content: Box<dyn ContentPieces>,
    ) -> Submitted<'_>;
}

/// The answer of a [`Submission`].
pub type Submitted<'a> =
    Pin<Box<dyn Future<Output = Result<MessageId, (Reply, Refusal)>> + Send + 'a>>;

//! Where access tokens come from (OAuth2), for those who show them and do not know how they are
//! requested.

use super::secret::Secret;
use std::fmt::Debug;
use std::pin::Pin;

/// Why there is no access token. The text has no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct TokenFailure {
    /// The token endpoint refuses us: asking again is of no use before somebody does something.
    pub is_refusal: bool,
    /// What happened, with what the endpoint said.
    pub text: String,
}

/// An access token that will come.
pub type TokenFuture<'a> = Pin<Box<dyn Future<Output = Result<Secret, TokenFailure>> + Send + 'a>>;

/// Gives access tokens for one account.
pub trait TokenSource: Send + Sync + Debug {
    /// A token that is valid now. `refused`: one that was not accepted, in whose place another one
    /// is wanted.
    fn token<'a>(&'a self, refused: Option<&'a Secret>) -> TokenFuture<'a>;
}

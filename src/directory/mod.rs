//! The directory: which users exist, and what each may do.
//!
//! Purpose: everything that asks about users asks a [`Directory`], wherever they are kept: a list
//! of properties now ([`UserList`]). In: a name that a client gave. Out: its [`User`], or one whose
//! secret is to be compared in place of it, so that an unknown name takes as long as a known one.
//! Limits: those of the source. Security: secrets leave a user only for their comparison, and are
//! in no text. Source: RFC 4422 (SASL), RFC 4954 (AUTH).

mod user;
mod user_list;

pub use user::{DirectoryUser, UserLimits};
pub use user_list::UserList;

use crate::ground::credential::sasl::SaslMechanism;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// A source of users.
pub trait Directory: Send + Sync {
    /// Looks for the user of this name. May wait for a server.
    fn look_up<'a>(&'a self, name: &'a str) -> UserLookup<'a>;

    /// The user of a session, as the directory has it now; `None`: it is gone, or has another
    /// secret. Asked before each mail: it does not wait for a server.
    fn present(&self, user: &DirectoryUser) -> Option<Arc<DirectoryUser>>;

    /// The mechanisms by which at least one user can log in, in the order of preference.
    fn mechanisms(&self) -> Arc<[SaslMechanism]>;
}

/// An answer that may have to be waited for.
pub type UserLookup<'a> =
    Pin<Box<dyn Future<Output = Result<FoundUser, DirectoryUnavailable>> + Send + 'a>>;

/// What a directory knows of a name.
pub enum FoundUser {
    /// The user.
    Known(Arc<DirectoryUser>),
    /// There is none. The secret of this other user takes as long to compare; `None`: there are no
    /// users at all.
    Unknown(Option<Arc<DirectoryUser>>),
}

/// The directory cannot answer at present.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the directory does not answer: {0}")]
pub struct DirectoryUnavailable(pub String);

//! The file of property `smtp_users`, which changes while the relay runs: a user is added, or a
//! password changed.
//!
//! In: the file that `MTA_SMTP_USERS_FILE` names. Out: its text, checked, for the core. Limits:
//! those of the property. Security: the text is sent only to the core, through a pipe; no error
//! text has any secret of it.

use super::file_watch::{FileWatch, WatchedFiles};
use super::identity::Identity;
use super::orders::{ChangedProperty, CoreOrder};
use crate::appliance::property::{Settings, read_again};
use std::path::PathBuf;

/// The property.
pub const USERS: &str = "smtp_users";

/// The file.
#[derive(Debug, Clone)]
pub struct UsersFile(PathBuf);

impl UsersFile {
    /// The watch over it; `None`: the users did not come from a file.
    pub fn watch(settings: &Settings, identity: Identity) -> Option<FileWatch<Self>> {
        let (path, text) = read_again::watched_file(settings, USERS)?;
        Some(FileWatch::new(Self(path), identity, text))
    }

    /// The order for a core that begins with the properties of the start; `None`: they have it.
    pub fn order_at_start(settings: &Settings, text: &str) -> Option<CoreOrder> {
        let first = read_again::watched_file(settings, USERS).map(|(_, first)| first);
        (first.as_deref() != Some(text)).then(|| Self::order(text))
    }

    /// The order for a core that has not this text.
    pub fn order(text: &str) -> CoreOrder {
        CoreOrder::Property(ChangedProperty { name: USERS.to_owned(), value: text.to_owned() })
    }
}

impl WatchedFiles for UsersFile {
    type Content = String;

    fn read(&self, _: &Identity) -> Result<String, String> {
        read_again::read_again(USERS, &self.0)
    }

    fn not_answering(&self, why: &str) -> String {
        format!("{} cannot be read: {why}", self.0.display())
    }
}

//! The users of property `smtp_users`: the list at the start, and each newer one.
//!
//! In: the property, and the supervisor's orders when its file has changed. Out: a [`UserList`]
//! that sessions ask. Security: a list that is wrong changes nothing. The data volume keeps a
//! secret from which names that do not exist get their salts, so that these stay the same after a
//! restart.

use crate::appliance::property::Settings;
use crate::appliance::property::account::{self, Account};
use crate::appliance::supervise::status::StatusWriter;
use crate::directory::{DirectoryUser, UserLimits, UserList};
use crate::ground::credential::name_secret::{self, NameSecret};
use crate::ground::disk::{self, Disk};
use crate::mail::model::SenderList;
use std::io;
use std::sync::Arc;

/// The file on the data volume with the secret by which names that do not exist get their salts.
const SECRET: &str = "login-secret";

/// The list, and the secret of its names; `None` without users: nobody can log in then.
pub(super) fn list(settings: &Settings, disk: &dyn Disk) -> Option<(Arc<UserList>, NameSecret)> {
    if settings.smtp_users.is_empty() {
        return None;
    }
    let users = settings.smtp_users.iter().filter_map(|account| user(account).ok());
    let secret = secret(disk).unwrap_or_else(|error| {
        tracing::warn!(
            target: "mta",
            cause = %error,
            "file login-secret of the data volume cannot be used; until the next start the salts \
            of names that do not exist are others than before"
        );
        NameSecret::new(&NameSecret::fresh())
    });
    Some((Arc::new(UserList::new(users.collect(), secret.clone())), secret))
}

/// The secret of this volume; made when there is none.
fn secret(disk: &dyn Disk) -> io::Result<NameSecret> {
    let mut octets = [0; name_secret::LENGTH];
    let kept = match disk.open(SECRET) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        file => file?.read_at(0, &mut octets)?,
    };
    if kept < octets.len() {
        octets = NameSecret::fresh();
        disk::replace(disk, SECRET, &octets)?;
    }
    Ok(NameSecret::new(&octets))
}

/// Uses a newer list, and logs that; `false`: it is wrong. `memory` is what a hash may take, in
/// octets.
pub(super) fn take(list: &UserList, text: &str, memory: u64, status: &StatusWriter) -> bool {
    match read(text, memory) {
        Ok(users) => {
            list.replace(users);
            tracing::info!(target: "mta", users = list.len(), "smtp_users has changed");
            true
        }
        Err(words) => {
            let text =
                format!("the new smtp_users cannot be used, the former stay in use: {words}");
            tracing::error!(target: "mta", "{text}");
            status.event(&text);
            false
        }
    }
}

fn read(text: &str, memory: u64) -> Result<Vec<DirectoryUser>, String> {
    let accounts = account::users(text)?;
    if accounts.is_empty() {
        return Err("there are none".to_owned());
    }
    let users: Vec<DirectoryUser> = accounts.iter().map(user).collect::<Result<_, _>>()?;
    match users.iter().find(|user| user.password().memory() > memory) {
        Some(user) => Err(format!(
            "the hash of '{}' takes more memory than was set apart at the start: restart the relay",
            user.name()
        )),
        None => Ok(users),
    }
}

fn user(account: &Account) -> Result<DirectoryUser, String> {
    let limits = UserLimits {
        senders: SenderList::new(account.senders.clone()),
        networks: account.networks.clone(),
        rate: account.rate,
    };
    DirectoryUser::new(&account.name, account.hash.expose(), limits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_that_needs_more_memory_than_there_is_waits_for_a_restart() {
        let argon2 = "$argon2id$v=19$m=4096,t=2,p=1$c2FsdHNhbHRzYWx0$/e3GcjItmBpwkaDcmKKe9jJxL2dV\
            DYkrKlSB+bgh9Gw";
        let text = format!("anna:{{PLAIN}}x ben:{argon2}");
        assert_eq!(read(&text, 4 << 20).map(|users| users.len()), Ok(2));
        let words = read(&text, 1 << 20).unwrap_err();
        assert!(words.contains("'ben' takes more memory"), "{words}");
        assert!(read("", 0).is_err() && read("anna:hunter2", 0).is_err());
    }

    #[test]
    fn the_secret_of_names_lasts() {
        let directory = tempfile::tempdir().unwrap();
        let disk = disk::DirectoryDisk::open(directory.path()).unwrap();
        let salt = || secret(&disk).unwrap().octets("salt", "nobody", 16);
        let first = salt();
        assert_eq!(first, salt());
        std::fs::write(directory.path().join(SECRET), b"short").unwrap();
        let second = salt();
        assert_ne!(first, second);
        assert_eq!(second, salt());
    }
}

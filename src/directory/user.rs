//! A user: a person or a program that may log in.

use crate::ground::credential::password::Password;
use crate::ground::token_bucket::{Bucket, Rate};
use crate::mail::model::{Address, SenderList};
use ipnet::IpNet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A user.
pub struct DirectoryUser {
    name: String,
    stored: String,
    password: Password,
    limits: UserLimits,
    left: Option<Arc<Bucket>>,
}

/// What a user may do. The default is everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserLimits {
    /// As whom it may send.
    pub senders: SenderList,
    /// From where it may log in; empty = from anywhere.
    pub networks: Vec<IpNet>,
    /// How many mails it may send; `None` = any number.
    pub rate: Option<Rate>,
}

impl DirectoryUser {
    /// A user with a secret as [`Password::stored`] takes it.
    ///
    /// # Errors
    /// As [`Password::stored`].
    pub fn new(name: &str, stored: &str, limits: UserLimits) -> Result<Self, String> {
        let password = Password::stored(stored)?;
        let left = limits.rate.map(|rate| Arc::new(Bucket::new(rate)));
        Ok(Self { name: name.to_owned(), stored: stored.to_owned(), password, limits, left })
    }

    /// The same user in a newer list goes on with what is left of its rate.
    pub(super) fn continuing(mut self, before: Option<&Self>) -> Self {
        if let Some(before) = before.filter(|before| before.limits.rate == self.limits.rate) {
            self.left.clone_from(&before.left);
        }
        self
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its secret.
    pub fn password(&self) -> &Password {
        &self.password
    }

    /// A name under which correct logins are remembered: another one when the secret changes.
    pub fn remembered_as(&self) -> String {
        format!("smtp:{}:{}", self.name, self.stored)
    }

    /// Whether both have the same secret.
    pub fn has_secret_of(&self, other: &Self) -> bool {
        self.stored == other.stored
    }

    /// Whether it may log in from here.
    pub fn may_come_from(&self, client: IpAddr) -> bool {
        let networks = &self.limits.networks;
        networks.is_empty() || networks.iter().any(|network| network.contains(&client))
    }

    /// Whether it may send as this address; `None` is the null reverse-path, whose real sender
    /// nobody knows.
    ///
    /// # Errors
    /// A text that says why not, and what to set.
    pub fn may_send_as(&self, sender: Option<&Address>) -> Result<(), String> {
        let senders = &self.limits.senders;
        if senders.is_empty() || sender.is_some_and(|sender| senders.permits(sender)) {
            return Ok(());
        }
        let shown = sender.map_or("", Address::as_str);
        let name = &self.name;
        Err(format!("<{shown}>: user '{name}' may not send as this; see senders= in smtp_users"))
    }

    /// Whether the From field of its mail must be looked at.
    pub fn has_senders(&self) -> bool {
        !self.limits.senders.is_empty()
    }

    /// Counts a mail against its rate.
    ///
    /// # Errors
    /// The rate, and after which time the next mail may be sent.
    pub fn take(&self, now: Instant) -> Result<(), (Rate, Duration)> {
        match (&self.left, self.limits.rate) {
            (Some(left), Some(rate)) => left.take(now).map_err(|wait| (rate, wait)),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for DirectoryUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DirectoryUser({}, ***)", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_held_to_its_limits_and_shows_no_secret() {
        let senders = vec!["shop@a.example".to_owned(), "b.example".to_owned()];
        let limits = UserLimits {
            senders: SenderList::new(senders),
            networks: vec!["10.0.0.0/8".parse().unwrap()],
            rate: "2/h".parse().ok(),
        };
        let user = DirectoryUser::new("shop", "{PLAIN}hunter2", limits.clone()).unwrap();
        let may = |text: &str| user.may_send_as(Address::parse(text).ok().as_ref());
        assert_eq!((may("Shop@A.example"), may("x@B.example")), (Ok(()), Ok(())));
        for other in ["other@a.example", "x@sub.b.example", ""] {
            let words = may(other).unwrap_err();
            assert!(words.contains("'shop' may not send as this"), "{words}");
        }
        let come = |text: &str| user.may_come_from(text.parse().unwrap());
        assert!(come("10.1.2.3") && !come("192.0.2.1"));
        assert!(!format!("{user:?}").contains("hunter2"));

        let now = Instant::now();
        assert_eq!((user.take(now), user.take(now)), (Ok(()), Ok(())));
        let newer = DirectoryUser::new("shop", "{PLAIN}other", limits).unwrap();
        let newer = newer.continuing(Some(&user));
        assert!(newer.take(now).is_err(), "a new list is no new allowance");
        assert_ne!(newer.remembered_as(), user.remembered_as());
    }
}

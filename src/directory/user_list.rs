//! A directory of users that are all known: property `smtp_users`.
//!
//! The list can be replaced while sessions use it. A look-up takes the lock for as long as it
//! takes to copy a pointer.

use super::user::DirectoryUser;
use super::{Directory, FoundUser, UserLookup};
use crate::ground::credential::sasl::{SaslMechanism, ScramHash};
use crate::ground::credential::verifier::fresh_key;
use crate::ground::lock::Lock;
use aws_lc_rs::hmac;
use std::collections::HashMap;
use std::future::ready;
use std::sync::Arc;

/// The list.
pub struct UserList {
    present: Lock<Arc<Users>>,
    /// Chooses who stands in for an unknown name: always the same one.
    key: hmac::Key,
}

struct Users {
    by_name: HashMap<String, Arc<DirectoryUser>>,
    all: Vec<Arc<DirectoryUser>>,
    mechanisms: Arc<[SaslMechanism]>,
}

impl UserList {
    /// These users; of two with one name the last counts.
    pub fn new(users: Vec<DirectoryUser>) -> Self {
        Self { present: Lock::leaf(Arc::new(Users::of(users))), key: fresh_key() }
    }

    /// Other users from now on. A session that has logged in goes on.
    pub fn replace(&self, users: Vec<DirectoryUser>) {
        let before = self.present();
        let continuing = users.into_iter().map(|user| {
            let same = before.by_name.get(user.name());
            user.continuing(same.map(AsRef::as_ref))
        });
        let users = Arc::new(Users::of(continuing.collect()));
        *self.present.lock() = users;
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.present().all.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn present(&self) -> Arc<Users> {
        Arc::clone(&self.present.lock())
    }

    fn find(&self, name: &str) -> FoundUser {
        let users = self.present();
        // Computed for known names as well.
        let tag = hmac::sign(&self.key, name.as_bytes());
        let number =
            tag.as_ref().iter().take(4).fold(0, |sum, octet| sum << 8 | usize::from(*octet));
        let stand_in = users.all.get(number % users.all.len().max(1));
        match users.by_name.get(name) {
            Some(user) => FoundUser::Known(Arc::clone(user)),
            None => FoundUser::Unknown(stand_in.cloned()),
        }
    }
}

impl Directory for UserList {
    fn look_up<'a>(&'a self, name: &'a str) -> UserLookup<'a> {
        Box::pin(ready(Ok(self.find(name))))
    }

    fn mechanisms(&self) -> Arc<[SaslMechanism]> {
        Arc::clone(&self.present().mechanisms)
    }
}

impl Users {
    fn of(users: Vec<DirectoryUser>) -> Self {
        let all: Vec<_> = users.into_iter().map(Arc::new).collect();
        let has_plain = all.iter().any(|user| user.password().plain().is_some());
        let has_keys = |hash: ScramHash| {
            let of_user =
                |user: &Arc<DirectoryUser>| user.password().scram_keys().map(|keys| keys.hash());
            has_plain || all.iter().any(|user| of_user(user) == Some(hash))
        };
        let mechanisms = SaslMechanism::ALL.into_iter().filter(|mechanism| match mechanism {
            SaslMechanism::ScramSha256 => has_keys(ScramHash::Sha256),
            SaslMechanism::ScramSha1 => has_keys(ScramHash::Sha1),
            SaslMechanism::CramMd5 => has_plain,
            SaslMechanism::Plain | SaslMechanism::Login => !all.is_empty(),
            SaslMechanism::XOauth2 | SaslMechanism::OAuthBearer | SaslMechanism::External => false,
        });
        let mechanisms = mechanisms.collect();
        let by_name = all.iter().map(|user| (user.name().to_owned(), Arc::clone(user))).collect();
        Self { by_name, all, mechanisms }
    }
}

#[cfg(test)]
mod tests {
    use super::super::UserLimits;
    use super::*;

    fn user(name: &str, stored: &str) -> DirectoryUser {
        DirectoryUser::new(name, stored, UserLimits::default()).unwrap()
    }

    const BCRYPT: &str = "$2y$08$CZM96xlIpNfntPgNwuzarOpLYAyZ6cu6cpTY13vi6HW.96Y68EfDS";

    #[test]
    fn an_unknown_name_always_has_the_same_stand_in() {
        let list = UserList::new(vec![user("anna", BCRYPT), user("ben", "{PLAIN}x")]);
        assert!(matches!(list.find("anna"), FoundUser::Known(user) if user.name() == "anna"));
        let stand_in = |name: &str| match list.find(name) {
            FoundUser::Unknown(Some(user)) => user.name().to_owned(),
            _ => panic!("{name}"),
        };
        let names: Vec<String> = (0..40).map(|number| format!("u{number}")).collect();
        assert!(names.iter().all(|name| stand_in(name) == stand_in(name)));
        let found: Vec<String> = names.iter().map(|name| stand_in(name)).collect();
        assert!(found.iter().any(|name| name == "anna") && found.iter().any(|name| name == "ben"));
        let nobody = UserList::new(Vec::new());
        assert!(nobody.is_empty() && matches!(nobody.find("anna"), FoundUser::Unknown(None)));
    }

    #[test]
    fn mechanisms_are_those_that_some_secret_can_serve() {
        let keys = "{SCRAM-SHA-1}4096,c2FsdA==,bKTsrEY7MjIGStlDLlC3fCPBxD0=,\
            bKTsrEY7MjIGStlDLlC3fCPBxD0=";
        let names = |users: Vec<DirectoryUser>| {
            let list = UserList::new(users);
            list.mechanisms().iter().map(|one| one.name()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names(Vec::new()), "");
        assert_eq!(names(vec![user("a", BCRYPT)]), "PLAIN LOGIN");
        assert_eq!(names(vec![user("a", keys)]), "SCRAM-SHA-1 PLAIN LOGIN");
        let plain = "SCRAM-SHA-256 SCRAM-SHA-1 CRAM-MD5 PLAIN LOGIN";
        assert_eq!(names(vec![user("a", BCRYPT), user("b", "{PLAIN}x")]), plain);
    }

    #[test]
    fn a_new_list_counts_at_once() {
        let list = UserList::new(vec![user("anna", BCRYPT)]);
        list.replace(vec![user("ben", "{PLAIN}x")]);
        assert!(matches!(list.find("anna"), FoundUser::Unknown(_)) && list.len() == 1);
        assert!(matches!(list.find("ben"), FoundUser::Known(_)));
        assert_eq!(list.mechanisms().len(), 5);
    }
}

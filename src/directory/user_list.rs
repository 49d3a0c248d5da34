//! A directory of users that are all known: property `smtp_users`.
//!
//! The list can be replaced while sessions use it. A look-up takes the lock for as long as it
//! takes to copy a pointer.

use super::user::DirectoryUser;
use super::{Directory, FoundUser, UserLookup};
use crate::ground::credential::name_secret::NameSecret;
use crate::ground::credential::sasl::{SaslMechanism, ScramHash};
use crate::ground::lock::Lock;
use std::collections::HashMap;
use std::future::ready;
use std::sync::Arc;

/// The list.
pub struct UserList {
    present: Lock<Arc<Users>>,
    /// Chooses who stands in for an unknown name: always the same one, also after a restart, and as
    /// far as possible in another list.
    secret: NameSecret,
}

struct Users {
    by_name: HashMap<String, Arc<DirectoryUser>>,
    all: Vec<ListedUser>,
    mechanisms: Arc<[SaslMechanism]>,
}

/// A user, and a number for its name.
type ListedUser = (u64, Arc<DirectoryUser>);

impl UserList {
    /// These users; of two with one name the last counts.
    pub fn new(users: Vec<DirectoryUser>, secret: NameSecret) -> Self {
        Self { present: Lock::leaf(Arc::new(Users::of(users, &secret))), secret }
    }

    /// Other users from now on.
    pub fn replace(&self, users: Vec<DirectoryUser>) {
        let before = self.present();
        let continuing = users.into_iter().map(|user| {
            let same = before.by_name.get(user.name());
            user.continuing(same.map(AsRef::as_ref))
        });
        let users = Arc::new(Users::of(continuing.collect(), &self.secret));
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
        let number = self.secret.number("stand-in", name);
        let stand_in = users.all.iter().max_by_key(|(of_user, _)| mixed(*of_user ^ number));
        match users.by_name.get(name) {
            Some(user) => FoundUser::Known(Arc::clone(user)),
            None => FoundUser::Unknown(stand_in.map(|(_, user)| Arc::clone(user))),
        }
    }
}

/// The last step of SplitMix64: numbers that differ in a bit have nothing in common.
fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

impl Directory for UserList {
    fn look_up<'a>(&'a self, name: &'a str) -> UserLookup<'a> {
        Box::pin(ready(Ok(self.find(name))))
    }

    fn present(&self, user: &DirectoryUser) -> Option<Arc<DirectoryUser>> {
        let users = self.present();
        users.by_name.get(user.name()).filter(|now| now.has_secret_of(user)).cloned()
    }

    fn mechanisms(&self) -> Arc<[SaslMechanism]> {
        Arc::clone(&self.present().mechanisms)
    }
}

impl Users {
    fn of(users: Vec<DirectoryUser>, secret: &NameSecret) -> Self {
        let listed = |user: DirectoryUser| (secret.number("user", user.name()), Arc::new(user));
        let all: Vec<ListedUser> = users.into_iter().map(listed).collect();
        let has_plain = all.iter().any(|(_, user)| user.password().plain().is_some());
        let has_keys = |hash: ScramHash| {
            let has = |user: &DirectoryUser| {
                user.password().scram_keys().is_some_and(|keys| keys.hash() == hash)
            };
            has_plain || all.iter().any(|(_, user)| has(user))
        };
        let mechanisms = SaslMechanism::ALL.into_iter().filter(|mechanism| match mechanism {
            SaslMechanism::ScramSha256 => has_keys(ScramHash::Sha256),
            SaslMechanism::ScramSha1 => has_keys(ScramHash::Sha1),
            SaslMechanism::CramMd5 => has_plain,
            SaslMechanism::Plain | SaslMechanism::Login => !all.is_empty(),
            SaslMechanism::XOauth2 | SaslMechanism::OAuthBearer | SaslMechanism::External => false,
        });
        let mechanisms = mechanisms.collect();
        let by_name =
            all.iter().map(|(_, user)| (user.name().to_owned(), Arc::clone(user))).collect();
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

    fn list_of(users: Vec<DirectoryUser>) -> UserList {
        UserList::new(users, NameSecret::new(&[7; 32]))
    }

    const BCRYPT: &str = "$2y$08$CZM96xlIpNfntPgNwuzarOpLYAyZ6cu6cpTY13vi6HW.96Y68EfDS";

    #[test]
    fn an_unknown_name_always_has_the_same_stand_in() {
        let list = list_of(vec![user("anna", BCRYPT), user("ben", "{PLAIN}x")]);
        assert!(matches!(list.find("anna"), FoundUser::Known(user) if user.name() == "anna"));
        let stand_in = |name: &str| match list.find(name) {
            FoundUser::Unknown(Some(user)) => user.name().to_owned(),
            _ => panic!("{name}"),
        };
        let names: Vec<String> = (0..40).map(|number| format!("u{number}")).collect();
        assert!(names.iter().all(|name| stand_in(name) == stand_in(name)));
        let found: Vec<String> = names.iter().map(|name| stand_in(name)).collect();
        assert!(found.iter().any(|name| name == "anna") && found.iter().any(|name| name == "ben"));
        let restarted = list_of(vec![user("anna", BCRYPT), user("ben", "{PLAIN}x")]);
        assert!(names.iter().all(|name| matches!(
            restarted.find(name), FoundUser::Unknown(Some(user)) if user.name() == stand_in(name)
        )));
        let nobody = list_of(Vec::new());
        assert!(nobody.is_empty() && matches!(nobody.find("anna"), FoundUser::Unknown(None)));
    }

    #[test]
    fn mechanisms_are_those_that_some_secret_can_serve() {
        let keys = "{SCRAM-SHA-1}4096,c2FsdA==,bKTsrEY7MjIGStlDLlC3fCPBxD0=,\
            bKTsrEY7MjIGStlDLlC3fCPBxD0=";
        let names = |users: Vec<DirectoryUser>| {
            let list = list_of(users);
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
        let list = list_of(vec![user("anna", BCRYPT)]);
        list.replace(vec![user("ben", "{PLAIN}x")]);
        assert!(matches!(list.find("anna"), FoundUser::Unknown(_)) && list.len() == 1);
        assert!(matches!(list.find("ben"), FoundUser::Known(_)));
        assert_eq!(list.mechanisms().len(), 5);
    }

    /// A name whose salt and iterations change with each new list would show that it is invented.
    #[test]
    fn a_new_user_takes_the_place_of_others_for_few_names() {
        let users = |count: u32| (0..count).map(|n| user(&format!("u{n}"), "{PLAIN}x")).collect();
        let (list, names) = (list_of(users(20)), (0..1000).map(|n| format!("other{n}")));
        let names: Vec<String> = names.collect();
        let stand_ins = || {
            let of_name = |name: &String| match list.find(name) {
                FoundUser::Unknown(Some(user)) => user.name().to_owned(),
                _ => panic!("{name}"),
            };
            names.iter().map(of_name).collect::<Vec<_>>()
        };
        let before = stand_ins();
        list.replace(users(21));
        let changed = before.iter().zip(stand_ins()).filter(|(old, new)| *old != new).count();
        assert!((10..100).contains(&changed), "{changed} of 1000 have another stand-in");
    }

    #[test]
    fn who_is_gone_or_has_another_secret_is_not_present() {
        let list = list_of(vec![user("anna", BCRYPT), user("ben", "{PLAIN}x")]);
        let (FoundUser::Known(anna), FoundUser::Known(ben)) = (list.find("anna"), list.find("ben"))
        else {
            panic!("they are there")
        };
        assert!(Directory::present(&list, &anna).is_some());
        let limits = UserLimits { rate: "1/h".parse().ok(), ..UserLimits::default() };
        let again = DirectoryUser::new("anna", BCRYPT, limits).unwrap();
        list.replace(vec![again, user("ben", "{PLAIN}y")]);
        let now = Directory::present(&list, &anna).unwrap();
        assert!(now.take(std::time::Instant::now()).is_ok(), "with its limits of now");
        assert!(now.take(std::time::Instant::now()).is_err());
        assert!(Directory::present(&list, &ben).is_none());
        list.replace(vec![user("ben", "{PLAIN}x")]);
        assert!(Directory::present(&list, &anna).is_none());
    }
}

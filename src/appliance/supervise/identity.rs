//! Who the core is: a user of its own where we may choose, else ourselves.

use nix::unistd::{Gid, Uid, User, getegid, geteuid, getgroups, setegid, seteuid, setgroups};

/// The user that the image creates.
const NAME: &str = "postern";
/// Its uid and gid where no such user exists.
const NUMBER: u32 = 2525;

/// A user and a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub uid: Uid,
    /// The group.
    pub gid: Gid,
    /// Whether that is somebody else than we are now.
    pub changes: bool,
}

impl Identity {
    /// Ourselves.
    pub fn same() -> Self {
        Self { uid: geteuid(), gid: getegid(), changes: false }
    }

    /// The core's: as root the user `postern`, or 2525 where there is none; otherwise ourselves. The second value tells why
    /// root could not choose (capabilities taken away, or a user namespace without that uid).
    pub fn of_the_core() -> (Self, Option<String>) {
        if !geteuid().is_root() {
            return (Self::same(), None);
        }
        let (uid, gid) = match User::from_name(NAME) {
            Ok(Some(user)) if !user.uid.is_root() => (user.uid, user.gid),
            _ => (Uid::from_raw(NUMBER), Gid::from_raw(NUMBER)),
        };
        let other = Self { uid, gid, changes: true };
        match other.borrow() {
            Ok(borrowed) => {
                drop(borrowed);
                (other, None)
            }
            Err(error) => {
                let why = format!(
                    "the SMTP core runs as root, because this process may not become uid {uid} ({error}); start the container with --user {NUMBER}"
                );
                (Self::same(), Some(why))
            }
        }
    }

    /// Does `work` with the rights of this identity. Only for a process of one thread.
    ///
    /// # Errors
    /// What `work` returns, or that the identity cannot be taken on.
    pub fn within<T>(&self, work: impl FnOnce() -> std::io::Result<T>) -> std::io::Result<T> {
        let _borrowed = if self.changes { Some(self.borrow()?) } else { None };
        work()
    }

    fn borrow(&self) -> nix::Result<Borrowed> {
        let groups = getgroups()?;
        setgroups(&[self.gid])?;
        // From here on there is something to give back, also when the next step fails.
        let borrowed = Borrowed { uid: geteuid(), gid: getegid(), groups };
        setegid(self.gid)?;
        seteuid(self.uid)?;
        Ok(borrowed)
    }
}

/// Gives the rights back when dropped.
struct Borrowed {
    uid: Uid,
    gid: Gid,
    groups: Vec<Gid>,
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        let back = seteuid(self.uid).and_then(|()| setegid(self.gid)).and_then(|()| setgroups(&self.groups));
        if back.is_err() {
            // Our saved uid allows it always. Going on as a mixture of two users would be worse than stopping.
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ourselves_need_no_change() {
        let same = Identity::same();
        assert!(!same.changes);
        assert_eq!(same.within(|| Ok(geteuid())).unwrap(), same.uid);
    }
}

//! The core's user: one of its own if this process may change users, else the same.

use crate::appliance::failure::{Exit, Failure};
use caps::{CapSet, Capability};
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
    /// Whether that is another user than now.
    pub changes: bool,
}

impl Identity {
    /// The present user.
    pub fn same() -> Self {
        Self { uid: geteuid(), gid: getegid(), changes: false }
    }

    /// The core's identity: as root the user `postern`, or 2525 if there is none; otherwise the
    /// present user. The second value tells why root of a user namespace cannot change the user:
    /// that uid is not mapped there, and root is an ordinary user outside.
    ///
    /// # Errors
    /// This process is root without the capability to change users: the core would be root, too.
    pub fn of_the_core() -> Result<(Self, Option<String>), Failure> {
        if !geteuid().is_root() {
            return Ok((Self::same(), None));
        }
        let (uid, gid) = match User::from_name(NAME) {
            Ok(Some(user)) if !user.uid.is_root() => (user.uid, user.gid),
            _ => (Uid::from_raw(NUMBER), Gid::from_raw(NUMBER)),
        };
        let other = Self { uid, gid, changes: true };
        match other.borrow() {
            Ok(borrowed) => {
                drop(borrowed);
                Ok((other, None))
            }
            Err(error) if !may_choose() => {
                let cause = format!(
                    "the SMTP core would run as root, because this process may not become uid \
                    {uid} ({error}); \
                     start the container with --user {uid}:{gid}, or add the capabilities SETUID \
                     and SETGID"
                );
                Err(Failure::preconfigure(Exit::Permission, cause))
            }
            Err(error) => {
                let why = format!(
                    "the SMTP core runs as root, because this process may not become uid {uid} \
                    ({error}); start the container with --user {NUMBER}"
                );
                Ok((Self::same(), Some(why)))
            }
        }
    }

    /// Does `work` with the rights of this identity. Only for a process of one thread.
    ///
    /// # Errors
    /// The error of `work`, or that the identity cannot be set.
    pub fn within<T>(&self, work: impl FnOnce() -> std::io::Result<T>) -> std::io::Result<T> {
        let _borrowed = if self.changes { Some(self.borrow()?) } else { None };
        work()
    }

    fn borrow(&self) -> nix::Result<Borrowed> {
        let groups = getgroups()?;
        setgroups(&[self.gid])?;
        // From here on there is something to restore, also when the next step fails.
        let borrowed = Borrowed { uid: geteuid(), gid: getegid(), groups };
        setegid(self.gid)?;
        seteuid(self.uid)?;
        Ok(borrowed)
    }
}

/// Whether this process may change users, as far as its user namespace allows.
fn may_choose() -> bool {
    let has = |capability| caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false);
    has(Capability::CAP_SETUID) && has(Capability::CAP_SETGID)
}

/// Restores the identity when dropped.
struct Borrowed {
    uid: Uid,
    gid: Gid,
    groups: Vec<Gid>,
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        let back = seteuid(self.uid)
            .and_then(|()| setegid(self.gid))
            .and_then(|()| setgroups(&self.groups));
        if back.is_err() {
            // The saved uid always allows it. To continue with a mixture of two users would be
            // worse than to stop.
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

//! What whoever asks at `ui_port` may do.

/// What an answer takes of the right of whoever asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// Nothing: whether the appliance is well.
    Health,
    /// To see envelopes and numbers.
    Look,
    /// To see what mails say.
    Read,
    /// To change what becomes of mails.
    Order,
    /// To hand a mail in.
    Send,
    /// To carry whole mails from queue to queue.
    Carry,
}

/// The rights at `ui_port`; the control socket has all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rights {
    /// Look, read, order and send.
    All,
    /// Look and read: property `ui_read_only`.
    ReadOnly,
    /// Look, and send as far as SMTP would take it: there is no login, so nobody knows who asks.
    Anybody,
}

impl Rights {
    /// Whether it may be done.
    ///
    /// # Errors
    /// Why not, and what would help.
    pub(super) fn may(self, need: Need) -> Result<(), &'static str> {
        match (need, self) {
            (Need::Health | Need::Look, _)
            | (Need::Read, Self::All | Self::ReadOnly)
            | (Need::Order, Self::All)
            | (Need::Send, Self::All | Self::Anybody) => Ok(()),
            (Need::Send, Self::ReadOnly) => Err("this window is read-only (ui_read_only=yes); send by SMTP"),
            (Need::Order, Self::ReadOnly) => Err("this window is read-only (ui_read_only=yes); use 'postern queue'"),
            (Need::Read | Need::Order, Self::Anybody) => Err(
                "this window shows envelopes only, because it asks nobody for a password: set username and password, or use 'postern queue'",
            ),
            (Need::Carry, _) => {
                Err("whole mails are moved through the control socket: use 'postern queue export' and 'import'")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_is_known_reads_and_orders() {
        let may = |rights: Rights| {
            [Need::Health, Need::Look, Need::Read, Need::Order, Need::Send, Need::Carry].map(|need| rights.may(need).is_ok())
        };
        assert_eq!(may(Rights::All), [true, true, true, true, true, false]);
        assert_eq!(may(Rights::ReadOnly), [true, true, true, false, false, false]);
        assert_eq!(may(Rights::Anybody), [true, true, false, false, true, false]);
    }
}

//! The rights of a client at `ui_port`.

/// The right that an answer requires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequiredRight {
    /// None: health.
    Health,
    /// To see numbers, without data of any mail: no address, subject, host or reply.
    Numbers,
    /// To see envelopes, subjects, replies, history, sessions and the log.
    Look,
    /// To see the content of mails.
    Read,
    /// To make the relay ask name servers: route tests.
    Lookup,
    /// To see the settings: for administrators, also where nothing can be changed by HTTP.
    Settings,
    /// To change the queue.
    Order,
    /// To submit mail.
    Send,
    /// To move whole mails between queues.
    Carry,
}

/// The rights at `ui_port`; the control socket has all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rights {
    /// Numbers, look, read, lookup, settings, order and send: the login.
    All,
    /// Numbers, look, read, lookup and settings: the login with property `ui_read_only`.
    ReadOnly,
    /// Numbers and send: a token.
    Send,
    /// Numbers and look: not authenticated, but permitted by property `ui_public`.
    Public,
    /// Numbers: not authenticated.
    Anybody,
}

const LOOK: &str = "only numbers are shown, because no login is configured: set username and \
password to see addresses and subjects (or ui_public=yes to show them to everybody), or use \
'postern queue'";
const KNOWN: &str = "this needs a login, and none is configured: set username and password, or use \
'postern queue'";
const LOOKUP: &str = "this makes the relay ask name servers, which needs a login, and none is \
configured: set username and password, or use 'postern route' and 'postern dkim'";
const SETTINGS: &str = "the settings are for the login, and none is configured: set username \
and password, or use 'postern check'";
const SEND: &str = "sending by HTTP takes an API token or the login, wherever it comes from: set \
api_tokens (MTA_API_TOKENS), or send \
                    by SMTP";
const TOKEN: &str = "a token of api_tokens may send and see numbers, nothing else: use the login \
(username and password), or 'postern \
                     queue'";

impl Rights {
    /// Whether it is permitted.
    ///
    /// # Errors
    /// Why not, and what to do.
    pub(crate) fn may(self, need: RequiredRight) -> Result<(), &'static str> {
        match (need, self) {
            (RequiredRight::Health | RequiredRight::Numbers, _)
            | (RequiredRight::Look, Self::All | Self::ReadOnly | Self::Public)
            | (
                RequiredRight::Read | RequiredRight::Lookup | RequiredRight::Settings,
                Self::All | Self::ReadOnly,
            )
            | (RequiredRight::Order, Self::All)
            | (RequiredRight::Send, Self::All | Self::Send) => Ok(()),
            (RequiredRight::Carry, _) => Err(
                "whole mails are moved through the control socket: use 'postern queue export' and \
                'import'",
            ),
            (RequiredRight::Send, Self::ReadOnly) => Err(
                "this server is read-only (ui_read_only=yes); send by SMTP, or with a token of \
                api_tokens",
            ),
            (RequiredRight::Order, Self::ReadOnly) => {
                Err("this server is read-only (ui_read_only=yes); use 'postern queue'")
            }
            (
                RequiredRight::Look
                | RequiredRight::Read
                | RequiredRight::Lookup
                | RequiredRight::Settings
                | RequiredRight::Order,
                Self::Send,
            ) => Err(TOKEN),
            (RequiredRight::Lookup, Self::Public | Self::Anybody) => Err(LOOKUP),
            (RequiredRight::Send, Self::Public | Self::Anybody) => Err(SEND),
            (RequiredRight::Settings, Self::Public | Self::Anybody) => Err(SETTINGS),
            (RequiredRight::Read | RequiredRight::Order, Self::Public | Self::Anybody) => {
                Err(KNOWN)
            }
            (RequiredRight::Look, Self::Anybody) => Err(LOOK),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_is_known_looks_reads_sends_and_orders() {
        let may = |rights: Rights| {
            [
                RequiredRight::Health,
                RequiredRight::Numbers,
                RequiredRight::Look,
                RequiredRight::Read,
                RequiredRight::Lookup,
                RequiredRight::Settings,
                RequiredRight::Order,
                RequiredRight::Send,
                RequiredRight::Carry,
            ]
            .map(|need| rights.may(need).is_ok())
        };
        assert_eq!(may(Rights::All), [true, true, true, true, true, true, true, true, false]);
        let read_only = [true, true, true, true, true, true, false, false, false];
        assert_eq!(may(Rights::ReadOnly), read_only);
        let send = [true, true, false, false, false, false, false, true, false];
        assert_eq!(may(Rights::Send), send);
        let public = [true, true, true, false, false, false, false, false, false];
        assert_eq!(may(Rights::Public), public);
        let anybody = [true, true, false, false, false, false, false, false, false];
        assert_eq!(may(Rights::Anybody), anybody);
    }
}

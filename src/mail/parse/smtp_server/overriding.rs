//! XCLIENT in the dialogue: when a proxy may name its client.
//!
//! In: the commands of a session. Out: whether XCLIENT is one of them. Limits: further ones count
//! as commands without a mail. Security: what comes after XCLIENT comes from the client that was
//! named, whose octets the proxy passes on as they are. So it is unknown from then on, and what
//! decides about relaying (ADDR and LOGIN) is taken from the first one only. Source: Postfix'
//! XCLIENT_README, which lets a proxy say one override in several commands.

use super::{
    Command, CommandError, Dialogue, XclientOverride, XclientState, out_of_order, unknown,
};
use crate::mail::model::{Refusal, Reply};

impl Dialogue<'_> {
    /// The session of the client that XCLIENT has named, before its greeting: nothing that was said
    /// before the first XCLIENT counts, for no limit either. What the client has said to the proxy
    /// counts as said here, until it says something else.
    #[must_use]
    pub fn overridden(self, hello: Option<(Box<str>, bool)>, has_logged_in: bool) -> Self {
        let before = match self.xclient {
            XclientState::Named => self,
            XclientState::Absent | XclientState::Offered => {
                Self { auth: self.auth, ..Self::new(self.rules, self.tls) }
            }
        };
        Self { xclient: XclientState::Named, has_logged_in, hello, ..before }
    }

    /// Whether XCLIENT is announced, and understood.
    pub fn set_xclient(&mut self, offered: bool) {
        self.xclient = if offered { XclientState::Offered } else { XclientState::Absent };
    }

    /// A command, or the error in it, has come: after that of a named client XCLIENT is unknown.
    pub(super) fn note_for_xclient(&mut self, command: &Result<Command, CommandError>) {
        let is_xclient = matches!(command, Ok(Command::Xclient(_)) | Err(CommandError::Xclient(_)));
        if self.xclient == XclientState::Named && !is_xclient {
            self.xclient = XclientState::Absent;
        }
    }

    /// Whether XCLIENT may say this now. What decides about relaying is taken from the first one
    /// only: a proxy may pass on the octets of its client right after it.
    pub(super) fn may_override(
        &mut self,
        overriding: &XclientOverride,
    ) -> Result<(), (Reply, Refusal)> {
        match self.xclient {
            XclientState::Absent => Err(unknown()),
            XclientState::Offered if self.mail.is_some() => {
                Err(out_of_order("Not inside a mail; say RSET to drop it"))
            }
            XclientState::Named if overriding.names_client() => {
                Err(out_of_order("ADDR and LOGIN belong into the first XCLIENT of a connection"))
            }
            XclientState::Named => self.count_idle(),
            XclientState::Offered => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Open, rules};
    use super::super::{NextStep, SessionLimits, TlsState};
    use super::*;

    /// The reply to a command of this session; that to an override which is accepted is empty.
    fn said(dialogue: &mut Dialogue<'_>, line: &str) -> String {
        let mut out = Vec::new();
        let result = dialogue.handle(Command::parse(line.as_bytes()), &Open, &mut out);
        if let NextStep::Override(_) = result.next {
            assert!(out.is_empty());
        }
        String::from_utf8(out).unwrap()
    }

    fn offered(rules: &SessionLimits, tls: TlsState) -> Dialogue<'_> {
        let mut dialogue = Dialogue::new(rules, tls);
        dialogue.set_xclient(true);
        dialogue
    }

    #[test]
    fn a_named_client_cannot_name_another_one_with_or_without_tls() {
        let rules = SessionLimits { errors_limit: 100, idle_commands_limit: 100, ..rules() };
        for first in ["EHLO c", "HELO c", "NOOP", "RSET", "NONSENSE", "MAIL FROM:<a@b>", "STARTTLS"]
        {
            let mut dialogue = offered(&rules, TlsState::Offered);
            assert!(said(&mut dialogue, "EHLO proxy").contains("250-XCLIENT "));
            assert_eq!(said(&mut dialogue, "XCLIENT ADDR=10.0.0.1"), "");
            dialogue = dialogue.overridden(None, false);
            assert_eq!(said(&mut dialogue, "XCLIENT HELO=c"), "");
            dialogue = dialogue.overridden(None, false);
            let reply = said(&mut dialogue, first);
            if first == "STARTTLS" {
                assert!(reply.starts_with("220 "), "{reply}");
                dialogue = dialogue.inside_tls();
            }
            for line in ["XCLIENT ADDR=10.0.0.2", "XCLIENT LOGIN=anna", "XCLIENT HELO=d"] {
                let reply = said(&mut dialogue, line);
                assert!(reply.starts_with("500 5.5.2 "), "{first}, {line}: {reply}");
            }
            assert!(!said(&mut dialogue, "EHLO c").contains("XCLIENT"), "{first}");
        }
    }

    #[test]
    fn what_decides_about_relaying_is_in_the_first_one_and_further_ones_have_a_limit() {
        let rules = SessionLimits { errors_limit: 100, ..rules() };
        let mut dialogue = offered(&rules, TlsState::Absent).overridden(None, false);
        for line in
            ["ADDR=10.0.0.2", "LOGIN=anna", "PORT=1 ADDR=[UNAVAILABLE]", "LOGIN=[UNAVAILABLE]"]
        {
            let reply = said(&mut dialogue, &format!("XCLIENT {line}"));
            assert!(reply.starts_with("503 5.5.1 ADDR and LOGIN"), "{line}: {reply}");
        }
        for _ in 0..rules.idle_commands_limit {
            assert_eq!(said(&mut dialogue, "XCLIENT PORT=1"), "");
            dialogue = dialogue.overridden(None, false);
        }
        assert!(said(&mut dialogue, "XCLIENT PORT=1").starts_with("421 4.7.0 Too many commands"));
    }

    /// A proxy encrypts its connection first.
    #[test]
    fn before_it_is_used_it_stays_over_the_handshake() {
        let rules = rules();
        let mut dialogue = offered(&rules, TlsState::Offered);
        assert!(said(&mut dialogue, "STARTTLS").starts_with("220 "));
        dialogue = dialogue.inside_tls();
        assert!(said(&mut dialogue, "EHLO proxy").contains("250-XCLIENT "));
        assert_eq!(said(&mut dialogue, "XCLIENT ADDR=10.0.0.1"), "");
    }
}

//! XCLIENT in a session: a listed proxy says whose session it passes on.
//!
//! In: the attributes that the proxy has sent. Out: a session as if that client had just connected:
//! its own class, slot and limits, and the greeting. Limits: those of the client's address.
//! Security: only proxies in property `xclient_networks` get here, and once: then the session is
//! the client's, who must not name anybody. The command permits nothing by itself: the address is
//! judged like that of any connection, one that the proxy does not know may not relay, and a login
//! counts only for a user of this relay who may come from that address.
//! Source: Postfix' XCLIENT_README.

use super::{Session, disconnected, login_offer};
use crate::ground::net::Peer;
use crate::mail::accept::no_slot;
use crate::mail::authentication::LoginState;
use crate::mail::model::{MailEvent, Refusal, Reply};
use crate::mail::parse::{Dialogue, Given, NextStep, TlsState, XclientOverride, write_reply};
use crate::mail::spool::Spool;
use std::net::{IpAddr, Ipv4Addr};

/// How a user logged in whom a proxy has named.
const MECHANISM: &str = "XCLIENT";

impl<S: Spool> Session<'_, S> {
    /// The session is that of another client from now on. A further override adds to the first one:
    /// proxies keep their lines short so.
    pub(super) async fn overridden(&mut self, overriding: Box<XclientOverride>) -> NextStep {
        let earlier = self.named.take();
        let is_first = earlier.is_none();
        let named = overriding.after(earlier.map(|earlier| *earlier).unwrap_or_default());
        self.named = Some(Box::new(named.clone()));
        let XclientOverride { address, port, helo, extended, login } = named;
        let address = match address {
            Given::Absent => self.peer.address,
            Given::Unknown => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Given::Value(address) => address,
        };
        let port = match port {
            Given::Absent => self.peer.port,
            Given::Unknown => 0,
            Given::Value(port) => port,
        };
        if address != self.peer.address
            && let Err(reply) = self.move_to(address, port)
        {
            let reason = Refusal::Limit.as_str();
            self.intake.counters.refused_total.with_label_values(&[reason]).inc();
            write_reply(self.wire.output(), &reply);
            return NextStep::Close;
        }
        self.peer.port = port;
        if is_first {
            (self.chunked, self.login) = (None, None);
            (self.errors, self.idle_commands, self.login_failures) = (0, 0, 0);
            self.slowed = false;
        }
        let user = match (login, &self.intake.authenticator) {
            (Given::Value(name), Some(all)) if is_first => all.named(&name, address).await,
            _ => None,
        };
        let hello = match helo {
            Given::Value(name) => Some((name.into(), extended != Given::Value(false))),
            Given::Absent | Given::Unknown => None,
        };
        self.restart(hello, user.is_some() || self.login.is_some());
        if let Some(user) = user {
            self.note_login(LoginState { user, mechanism: MECHANISM });
        }
        if self.turns_away() {
            return NextStep::Close;
        }
        self.dialogue.greet(self.wire.output());
        NextStep::Command
    }

    /// The client has another address: another class, and a slot of its own.
    fn move_to(&mut self, address: IpAddr, port: u16) -> Result<(), Reply> {
        let intake = self.intake;
        let source = intake.class(address);
        if let Some(slot) = self.wire.slot() {
            let moved = slot.moves(address, source);
            let (permit, displaced) =
                moved.map_err(|reason| no_slot(&intake.rules.hostname, reason))?;
            if displaced {
                intake.counters.sessions_displaced_total.inc();
            }
            self.wire.set_slot(permit.slot().clone());
            self.moved = Some(permit);
        }
        disconnected(&intake.events, self.peer);
        self.peer = Peer { address, port, source, probe: false };
        self.registered = intake.registry.enter(address, port);
        intake.events.emit(MailEvent::Connected(self.peer.into()));
        if let Some(encryption) = self.encryption() {
            self.registered.note_tls(encryption.to_string());
        }
        Ok(())
    }

    /// Forgets what was said.
    fn restart(&mut self, hello: Option<(Box<str>, bool)>, has_logged_in: bool) {
        let fresh = Dialogue::new(&self.intake.rules, TlsState::Absent);
        let before = std::mem::replace(&mut self.dialogue, fresh);
        self.dialogue = before.overridden(hello, has_logged_in);
        self.dialogue.set_auth(login_offer(self.intake, &self.peer, &self.wire));
    }
}

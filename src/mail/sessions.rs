//! The registry of SMTP sessions, for pages and the API: connected clients, and recent rejections.
//!
//! Limits: an entry for each session, whose number accept limits; [`EXAMPLES`] rejections of each
//! reason, their texts cut at [`TEXT_MAX`] octets.

use super::model::{
    Address, Envelope, MailEvent, MailEventSink, Refusal, RefusedExample, SessionInfo, SessionList,
};
use crate::ground::clock;
use crate::ground::lock::Lock;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Rejections that are kept of each reason.
const EXAMPLES: usize = 5;

/// The longest text of an entry.
const TEXT_MAX: usize = 120;

/// The registry.
#[derive(Default)]
pub struct SessionRegistry {
    next: AtomicU64,
    here: Lock<BTreeMap<u64, Arc<Entry>>>,
    refused: Lock<Examples>,
    turned_away: Lock<Examples>,
}

/// The last examples of each reason, the newest first.
type Examples = HashMap<&'static str, VecDeque<RefusedExample>>;

struct Entry {
    client: IpAddr,
    port: u16,
    since: u32,
    messages: AtomicU32,
    octets: AtomicU64,
    said: Lock<Said>,
}

#[derive(Default)]
struct Said {
    state: &'static str,
    helo: String,
    tls: String,
    user: String,
    sender: String,
    recipients: u32,
}

/// A session's entry in the registry; dropping it removes the entry.
pub struct RegisteredSession {
    registry: Arc<SessionRegistry>,
    number: u64,
    entry: Arc<Entry>,
}

impl SessionRegistry {
    /// A client has connected.
    pub fn enter(self: &Arc<Self>, client: IpAddr, port: u16) -> RegisteredSession {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let said = Lock::leaf(Said { state: "connect", ..Said::default() });
        let entry = Entry {
            client,
            port,
            since: clock::now(),
            messages: AtomicU32::new(0),
            octets: AtomicU64::new(0),
            said,
        };
        let entry = Arc::new(entry);
        self.here.lock().insert(number, Arc::clone(&entry));
        RegisteredSession { registry: Arc::clone(self), number, entry }
    }

    /// A command was rejected.
    pub fn refused(&self, reason: Refusal, example: RefusedExample) {
        remember(&mut self.refused.lock(), reason.as_str(), example);
    }

    /// A client got no session; the reason is the label of `mta_sessions_refused_total`.
    pub fn turned_away(&self, reason: &'static str, example: RefusedExample) {
        remember(&mut self.turned_away.lock(), reason, example);
    }
}

impl MailEventSink for SessionRegistry {
    fn take(&self, event: &MailEvent<'_>) {
        match *event {
            MailEvent::Rejected(rejection) => {
                let text = |path: Option<&Address>| path.map_or("", Address::as_str).to_owned();
                let example = RefusedExample {
                    at: clock::now(),
                    client: rejection.client.address,
                    helo: rejection.helo.to_owned(),
                    command: rejection.command,
                    from: text(rejection.from),
                    to: text(rejection.to),
                    reply: rejection.reply.to_string(),
                };
                self.refused(rejection.reason, example);
            }
            MailEvent::TurnedAway { client, limit, reply, .. } => {
                let example = RefusedExample {
                    at: clock::now(),
                    client: client.address,
                    helo: String::new(),
                    command: "CONNECT",
                    from: String::new(),
                    to: String::new(),
                    reply: reply.to_owned(),
                };
                self.turned_away(limit, example);
            }
            _ => {}
        }
    }
}

impl RegisteredSession {
    /// The client's last action, and what is known since.
    pub fn note_activity(&self, state: &'static str, helo: &str, mail: Option<&Envelope>) {
        let mut said = self.entry.said.lock();
        said.state = state;
        if said.helo != helo {
            helo.clone_into(&mut said.helo);
            cut(&mut said.helo);
        }
        let sender =
            mail.map_or("", |mail| mail.sender.as_ref().map_or("<>", |sender| sender.as_str()));
        said.recipients =
            mail.map_or(0, |mail| u32::try_from(mail.recipients.len()).unwrap_or(u32::MAX));
        if said.sender != sender {
            sender.clone_into(&mut said.sender);
            cut(&mut said.sender);
        }
    }

    /// Only its action.
    pub fn does(&self, state: &'static str) {
        self.entry.said.lock().state = state;
    }

    /// The session is encrypted.
    pub fn note_tls(&self, tls: String) {
        self.entry.said.lock().tls = tls;
    }

    /// The client has logged in.
    pub fn note_user(&self, user: &str) {
        user.clone_into(&mut self.entry.said.lock().user);
    }

    /// A mail was accepted.
    pub fn sent(&self, octets: u64) {
        self.entry.messages.fetch_add(1, Ordering::Relaxed);
        self.entry.octets.fetch_add(octets, Ordering::Relaxed);
    }
}

impl Drop for RegisteredSession {
    fn drop(&mut self) {
        self.registry.here.lock().remove(&self.number);
    }
}

impl SessionList for SessionRegistry {
    fn sessions(&self, limit: usize) -> (Vec<SessionInfo>, usize) {
        let here = self.here.lock();
        let (shown, total): (Vec<Arc<Entry>>, usize) =
            (here.values().take(limit).cloned().collect(), here.len());
        drop(here);
        (shown.iter().map(|entry| entry.summary()).collect(), total)
    }

    fn refused(&self, reason: Refusal) -> Vec<RefusedExample> {
        last(&self.refused.lock(), reason.as_str())
    }

    fn turned_away(&self, reason: &str) -> Vec<RefusedExample> {
        last(&self.turned_away.lock(), reason)
    }
}

impl Entry {
    fn summary(&self) -> SessionInfo {
        let said = self.said.lock();
        SessionInfo {
            client: self.client,
            port: self.port,
            since: self.since,
            state: said.state,
            helo: said.helo.clone(),
            tls: said.tls.clone(),
            user: said.user.clone(),
            sender: said.sender.clone(),
            recipients: said.recipients,
            messages: self.messages.load(Ordering::Relaxed),
            octets: self.octets.load(Ordering::Relaxed),
        }
    }
}

fn remember(examples: &mut Examples, reason: &'static str, mut example: RefusedExample) {
    for text in [&mut example.helo, &mut example.from, &mut example.to, &mut example.reply] {
        cut(text);
    }
    let examples = examples.entry(reason).or_default();
    examples.truncate(EXAMPLES - 1);
    examples.push_front(example);
}

fn last(examples: &Examples, reason: &str) -> Vec<RefusedExample> {
    examples.get(reason).map(|examples| examples.iter().cloned().collect()).unwrap_or_default()
}

fn cut(text: &mut String) {
    if text.len() > TEXT_MAX {
        text.truncate(text.floor_char_boundary(TEXT_MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_is_on_the_roll_until_he_goes() {
        let registry = Arc::new(SessionRegistry::default());
        let client = IpAddr::from([192, 0, 2, 7]);
        let (one, other) = (registry.enter(client, 1), registry.enter(client, 2));
        one.note_activity("EHLO", &"x".repeat(300), None);
        one.sent(5000);
        let (sessions, total) = registry.sessions(1);
        assert_eq!((sessions.len(), total), (1, 2));
        assert_eq!(
            (sessions[0].state, sessions[0].helo.len(), sessions[0].octets),
            ("EHLO", TEXT_MAX, 5000)
        );
        drop(one);
        assert_eq!(
            registry.sessions(9).0.iter().map(|session| session.port).collect::<Vec<_>>(),
            [2]
        );
        drop(other);
        assert_eq!(registry.sessions(9).1, 0);
    }

    #[test]
    fn the_last_refusals_of_each_reason_are_remembered() {
        let registry = SessionRegistry::default();
        for at in 0..9 {
            let example = RefusedExample {
                at,
                client: IpAddr::from([192, 0, 2, 7]),
                helo: String::new(),
                command: "RCPT",
                from: String::new(),
                to: "ü".repeat(200),
                reply: "554 5.7.1 no".to_owned(),
            };
            registry.refused(Refusal::Relay, example);
        }
        let examples = SessionList::refused(&registry, Refusal::Relay);
        assert_eq!(examples.iter().map(|example| example.at).collect::<Vec<_>>(), [8, 7, 6, 5, 4]);
        assert_eq!(examples[0].to.len(), TEXT_MAX);
        assert!(SessionList::refused(&registry, Refusal::Loop).is_empty());
    }
}

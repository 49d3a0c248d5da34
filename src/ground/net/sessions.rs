//! Who gets a slot for a session: by the total number, by address, and by the session's progress.
//!
//! Purpose: untrusted clients cannot take the slots of trusted ones. In: an address and its class.
//! Out: a slot, or the reason why there is none. Limits: [`ConnectionLimits::sessions`] in total
//! (fewer where [`ConnectionLimits::memory`] is short), of which [`ConnectionLimits::reserve`] are
//! reserved for trusted clients; [`ConnectionLimits::sessions_per_address`] from one address,
//! except a gateway, which may hide many clients. The tables have an entry for each open session
//! and no more. [`DISPLACED_MAX`] displaced sessions may still be closing. Security: the session of
//! an untrusted client that is not [`Milestone::Established`] can be disconnected to free its slot,
//! the one longest without progress first: for a trusted client at once, and for its data while
//! memory is used up; for another untrusted client when it is from the address with the most
//! sessions, or after [`ConnectionLimits::stranger_grace`]. Octets and repeated commands are not
//! progress, so slow sending and loops do not keep a slot.

use super::limits::ConnectionLimits;
use super::peer::PeerClass;
use super::prefix::client_prefix;
use super::proxy_header::ProxyHeaderError;
use crate::ground::lock::{Guard, Lock};
use crate::ground::memory::{Gauge, Pressure};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Sessions that were disconnected to free a slot and are still closing; beyond this number none is
/// disconnected until some have ended.
pub const DISPLACED_MAX: usize = 256;

/// Counts open sessions.
#[derive(Debug)]
pub struct Sessions {
    limit: usize,
    /// Sessions of untrusted clients, at most.
    strangers_limit: usize,
    limit_per_address: usize,
    /// How long an untrusted client without progress keeps its slot before other untrusted ones, in
    /// milliseconds.
    grace: u64,
    /// Memory suffices only for [`Sessions::limit`], which is less than configured.
    scarce: bool,
    memory: Arc<Gauge>,
    start: Instant,
    /// More than half of the slots for untrusted clients are in use.
    busy: AtomicBool,
    open: Lock<Open>,
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    strangers: usize,
    displaced: usize,
    next: u64,
    by_address: HashMap<IpAddr, usize>,
    /// Untrusted sessions that may be disconnected, the longest without progress first: by their
    /// progress when they were listed (which is updated when they are examined), and by number.
    idle: BTreeMap<(u64, u64), Arc<SessionSlot>>,
    /// The same by address.
    idle_by_address: HashMap<IpAddr, BTreeMap<(u64, u64), Arc<SessionSlot>>>,
    /// Those addresses, by their number of sessions.
    by_count: BTreeSet<(usize, IpAddr)>,
}

/// Why there is no slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoSlot {
    /// All slots are in use.
    All,
    /// Those for untrusted clients are in use.
    Strangers,
    /// This address has reached its limit.
    Address,
    /// There is no memory for another one.
    Memory,
    /// It is an untrusted client that has sent too much before the greeting: the kernel has to
    /// buffer that, and no proper client does it.
    Early,
    /// It is a listed proxy, and its connection does not begin with a PROXY header.
    Proxy(ProxyHeaderError),
}

impl NoSlot {
    /// Every reason, for metrics that must exist from the start.
    pub const ALL: [Self; 6] = [
        Self::All,
        Self::Strangers,
        Self::Address,
        Self::Memory,
        Self::Early,
        Self::Proxy(ProxyHeaderError::Missing),
    ];

    /// The label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Strangers => "strangers",
            Self::Address => "address",
            Self::Memory => "memory",
            Self::Early => "early",
            Self::Proxy(_) => "proxy",
        }
    }
}

/// The progress of a session, whatever its protocol: each protocol maps its stages to these.
/// Reaching a milestone counts as progress only the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Milestone {
    /// It is connected.
    Connected,
    /// Its client has identified itself.
    Identified,
    /// It has begun a transaction of the protocol: from here on it has the time limits of the
    /// standard.
    Begun,
    /// Its request has been granted: from here on it is not disconnected to free its slot.
    Established,
}

/// A session, as shared by its task and the table.
#[derive(Debug)]
pub struct SessionSlot {
    sessions: Arc<Sessions>,
    trusted: bool,
    number: u64,
    prefix: IpAddr,
    reached: AtomicU8,
    /// The time of its last progress, in milliseconds since the start.
    progress: AtomicU64,
    /// The progress under which the table has listed it; changed only under its lock.
    filed: AtomicU64,
    displaced: AtomicBool,
    /// The session has another slot now, and this one no longer counts.
    moved: AtomicBool,
    notice: Notify,
}

/// The slot of one session; dropping it releases the slot.
#[derive(Debug)]
pub struct SessionPermit(Arc<SessionSlot>);

impl Sessions {
    /// Without sessions.
    pub fn new(limits: &ConnectionLimits) -> Arc<Self> {
        Arc::new(Self {
            limit: limits.sessions,
            strangers_limit: limits.sessions.saturating_sub(limits.reserve),
            limit_per_address: limits.sessions_per_address,
            scarce: limits.scarce,
            memory: Arc::clone(&limits.memory),
            grace: millis(limits.stranger_grace),
            start: Instant::now(),
            busy: AtomicBool::new(false),
            open: Lock::default(),
        })
    }

    /// A slot for another session; `true` means that another one is disconnected for it.
    ///
    /// # Errors
    /// There is none, with the reason.
    pub fn enter(
        self: &Arc<Self>,
        address: IpAddr,
        source: PeerClass,
    ) -> Result<(SessionPermit, bool), NoSlot> {
        self.enter_at(address, source, self.now())
    }

    fn enter_at(
        self: &Arc<Self>,
        address: IpAddr,
        source: PeerClass,
        now: u64,
    ) -> Result<(SessionPermit, bool), NoSlot> {
        let prefix = client_prefix(address);
        let mut open = self.lock();
        let from_there = open.by_address.get(&prefix).copied().unwrap_or(0);
        if source != PeerClass::Gateway && from_there >= self.limit_per_address {
            return Err(NoSlot::Address);
        }
        let trusted = source == PeerClass::Trusted;
        let pressure = self.memory.pressure();
        let full = match () {
            () if pressure == Pressure::Critical || pressure == Pressure::Short && !trusted => {
                Some(NoSlot::Memory)
            }
            () if !trusted && open.strangers >= self.strangers_limit => Some(NoSlot::Strangers),
            () if open.all >= self.limit => Some(NoSlot::All),
            () => None,
        };
        if let Some(full) = full {
            let victim = if trusted {
                open.longest_idle()
            } else {
                open.gives_way_to(prefix, now, self.grace)
            };
            let full = if self.scarce && full == NoSlot::All { NoSlot::Memory } else { full };
            let victim = victim.filter(|_| open.displaced < DISPLACED_MAX).ok_or(full)?;
            open.displace(&victim);
        }
        let slot = Arc::new(SessionSlot {
            sessions: Arc::clone(self),
            trusted,
            number: open.next,
            prefix,
            reached: AtomicU8::new(Milestone::Connected as u8),
            progress: AtomicU64::new(now),
            filed: AtomicU64::new(now),
            displaced: AtomicBool::new(false),
            moved: AtomicBool::new(false),
            notice: Notify::new(),
        });
        open.next += 1;
        open.all += 1;
        *open.by_address.entry(prefix).or_default() += 1;
        if !trusted {
            open.strangers += 1;
            open.file(&slot);
        }
        self.note(&open);
        Ok((SessionPermit(slot), full.is_some()))
    }

    /// The reason in the reply. Where memory is scarce, slots for untrusted clients are few for
    /// that reason, too; the metrics count them separately, because many untrusted clients are no
    /// reason for more memory.
    pub fn told(&self, full: NoSlot) -> NoSlot {
        if self.scarce && full == NoSlot::Strangers { NoSlot::Memory } else { full }
    }

    fn note(&self, open: &Open) {
        self.busy.store(open.strangers > self.strangers_limit / 2, Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        millis(self.start.elapsed())
    }

    fn lock(&self) -> Guard<'_, Open> {
        self.open.lock()
    }
}

impl Open {
    /// The untrusted session longest without progress, among those that may be disconnected.
    fn longest_idle(&mut self) -> Option<Arc<SessionSlot>> {
        loop {
            let first = Arc::clone(self.idle.first_key_value()?.1);
            if !self.refile(&first) {
                return Some(first);
            }
        }
    }

    /// The session that is disconnected for another untrusted one of that address: because that
    /// makes the shares of the addresses more even, or because it has made no progress for too
    /// long.
    fn gives_way_to(&mut self, prefix: IpAddr, now: u64, grace: u64) -> Option<Arc<SessionSlot>> {
        let mine = self.by_address.get(&prefix).copied().unwrap_or(0);
        if let Some((crowd, address)) =
            self.by_count.last().copied().filter(|(crowd, _)| *crowd > mine + 1)
        {
            for _ in 0..crowd {
                let first = Arc::clone(self.idle_by_address.get(&address)?.first_key_value()?.1);
                if !self.refile(&first) {
                    return Some(first);
                }
            }
        }
        self.longest_idle().filter(|slot| slot.progress.load(Ordering::Relaxed) + grace <= now)
    }

    fn file(&mut self, slot: &Arc<SessionSlot>) {
        let key = slot.key();
        self.idle.insert(key, Arc::clone(slot));
        let there = self.idle_by_address.entry(slot.prefix).or_default();
        self.by_count.remove(&(there.len(), slot.prefix));
        there.insert(key, Arc::clone(slot));
        self.by_count.insert((there.len(), slot.prefix));
    }

    /// Removes it from the lists of those that may be disconnected, if it is there.
    fn unfile(&mut self, slot: &SessionSlot) {
        let key = slot.key();
        if self.idle.remove(&key).is_none() {
            return;
        }
        let Some(there) = self.idle_by_address.get_mut(&slot.prefix) else { return };
        self.by_count.remove(&(there.len(), slot.prefix));
        there.remove(&key);
        if there.is_empty() {
            self.idle_by_address.remove(&slot.prefix);
        } else {
            self.by_count.insert((there.len(), slot.prefix));
        }
    }

    /// Lists it again if it has made progress since; gives whether it has.
    fn refile(&mut self, slot: &Arc<SessionSlot>) -> bool {
        let progress = slot.progress.load(Ordering::Relaxed);
        if progress == slot.filed.load(Ordering::Relaxed) {
            return false;
        }
        self.unfile(slot);
        slot.filed.store(progress, Ordering::Relaxed);
        self.file(slot);
        true
    }

    fn displace(&mut self, slot: &Arc<SessionSlot>) {
        self.unfile(slot);
        self.forget(slot);
        self.displaced += 1;
        slot.displaced.store(true, Ordering::Release);
        slot.notice.notify_one();
    }

    /// Removes it from the counts.
    fn forget(&mut self, slot: &SessionSlot) {
        self.all -= 1;
        if !slot.trusted {
            self.strangers -= 1;
        }
        if let Some(count) = self.by_address.get_mut(&slot.prefix) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&slot.prefix);
            }
        }
    }
}

impl SessionSlot {
    /// The session has reached this milestone. From [`Milestone::Established`] on it is not
    /// disconnected to free its slot.
    pub fn reached(&self, milestone: Milestone) {
        self.reached_at(milestone, self.sessions.now());
    }

    fn reached_at(&self, milestone: Milestone, now: u64) {
        if self.trusted
            || self.reached.fetch_max(milestone as u8, Ordering::Relaxed) >= milestone as u8
        {
            return;
        }
        self.progress.store(now, Ordering::Relaxed);
        if milestone == Milestone::Established {
            self.sessions.lock().unfile(self);
        }
    }

    /// The session turns out to be that of another client: a slot for it, in place of this one.
    /// `true` means that another session is disconnected for it.
    ///
    /// # Errors
    /// There is none, with the reason; this slot stays.
    pub fn moves(
        &self,
        address: IpAddr,
        source: PeerClass,
    ) -> Result<(SessionPermit, bool), NoSlot> {
        let entered = self.sessions.enter(address, source)?;
        let mut open = self.sessions.lock();
        if !self.is_displaced() && !self.moved.swap(true, Ordering::Relaxed) {
            open.unfile(self);
            open.forget(self);
            self.sessions.note(&open);
        }
        Ok(entered)
    }

    /// Memory is used up, and this session has data to send: if its client is trusted, an untrusted
    /// client's session is disconnected for it. `false`: the client is not trusted, or no session
    /// can be disconnected.
    pub fn takes_room(&self) -> bool {
        if !self.trusted {
            return false;
        }
        let mut open = self.sessions.lock();
        if open.displaced >= DISPLACED_MAX {
            return false;
        }
        let victim = open.longest_idle();
        victim.inspect(|victim| open.displace(victim)).is_some()
    }

    /// Waits until the session must end to free its slot; for ever if it never must.
    pub async fn displaced(&self) {
        if self.trusted {
            return std::future::pending().await;
        }
        while !self.is_displaced() {
            // A notification that came in between is kept for the next wait.
            self.notice.notified().await;
        }
    }

    /// Whether it must end to free its slot.
    pub fn is_displaced(&self) -> bool {
        self.displaced.load(Ordering::Acquire)
    }

    /// How long the session may take for its next command.
    pub fn command_time(&self, limits: &ConnectionLimits) -> Duration {
        if self.trusted || self.reached.load(Ordering::Relaxed) >= Milestone::Begun as u8 {
            return limits.command;
        }
        limits.command.min(if self.sessions.busy.load(Ordering::Relaxed) {
            limits.stranger_busy
        } else {
            limits.stranger
        })
    }

    /// How long the session may take for a TLS handshake.
    pub fn handshake_time(&self, limits: &ConnectionLimits) -> Duration {
        if self.trusted {
            return limits.handshake_trusted;
        }
        if !self.sessions.busy.load(Ordering::Relaxed) {
            return limits.handshake;
        }
        limits.handshake.min(limits.stranger_busy)
    }

    fn key(&self) -> (u64, u64) {
        (self.filed.load(Ordering::Relaxed), self.number)
    }
}

impl SessionPermit {
    /// The session of this slot.
    pub fn slot(&self) -> &Arc<SessionSlot> {
        &self.0
    }
}

impl Drop for SessionPermit {
    fn drop(&mut self) {
        let SessionSlot { sessions, .. } = &*self.0;
        let mut open = sessions.lock();
        if self.0.moved.load(Ordering::Relaxed) {
            // It was taken out then.
        } else if self.0.is_displaced() {
            open.displaced -= 1;
        } else {
            open.unfile(&self.0);
            open.forget(&self.0);
        }
        sessions.note(&open);
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;

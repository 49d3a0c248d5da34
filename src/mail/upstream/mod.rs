//! The health of upstreams: which of them take our mail, and which wait.
//!
//! Purpose: a refusal of us is not a refusal of the mail. In: the replies of upstreams, judged by
//! the [`catalogue`]. Out: pauses of an upstream, of a sender at an upstream, and their reasons.
//! Rules: an upstream that refuses us, or more for now, gets no mail for [`PAUSE`], and each time
//! that it does so again twice as long, up to [`PAUSE_MAX`]; one delivery agent asks again. Once it
//! judges a mail as such all is well, and so it is with a new login and after a test without
//! trouble. A refused sender waits for [`SENDER_PAUSE`], and nobody else. One that cannot be
//! reached is passed over for [`UNREACHABLE_PAUSE`], up to [`UNREACHABLE_PAUSE_MAX`], by mail that
//! another upstream takes. Beside that each upstream has its last connection and its mails of a
//! day.
//! An upstream whose rate is used up (`rate.rs`) is passed over in the same way until there is a
//! permit; nothing is said against it.
//! Limits: [`SENDERS_MAX`] refused senders of an upstream are remembered; texts are cut to
//! [`TEXT_MAX`]. Source: RFC 4954 §6; docs/upstreams.md.

pub mod catalogue;
pub mod counters;
mod health;
mod observed;
mod rate;
mod unremembered;

use crate::ground::clock;
use crate::ground::lock::Lock;
use crate::ground::rate_limit::RateLimit;
use crate::mail::model::{
    Reply, UpstreamAvailability, UpstreamMails, UpstreamMonitor, UpstreamRateWait, UpstreamRefusal,
    UpstreamSession, UpstreamStage, UpstreamStatus,
};
use counters::UpstreamCounters;
use health::Health;
use observed::Observed;
use rate::UpstreamLimiter;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::Notify;

pub use health::{
    PAUSE, PAUSE_MAX, PROBE_TIME, SENDER_PAUSE, SENDERS_MAX, UNREACHABLE_PAUSE,
    UNREACHABLE_PAUSE_MAX,
};
pub use unremembered::Unremembered;

/// Octets of a reply that are kept.
const TEXT_MAX: usize = 400;

/// The upstreams, and what they said.
pub struct UpstreamHealth {
    known: Lock<BTreeMap<String, Health>>,
    /// Whether any upstream refuses anything: while none does, mail needs no lock here.
    troubled: AtomicBool,
    /// Pauses that have begun.
    pauses: AtomicU64,
    observed: BTreeMap<String, Observed>,
    /// Those whose mail may be offered again.
    renewed: Lock<BTreeSet<String>>,
    has_renewed: Notify,
    /// By name; empty where no upstream has a rate.
    rates: BTreeMap<String, Lock<UpstreamLimiter>>,
    counters: Arc<UpstreamCounters>,
}

impl UpstreamHealth {
    /// All is well with these.
    pub fn new<'a>(
        names: impl IntoIterator<Item = &'a str>,
        counters: Arc<UpstreamCounters>,
    ) -> Self {
        let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
        names.iter().for_each(|name| counters.begin(name));
        let observed = names.iter().map(|name| (name.clone(), Observed::default())).collect();
        let known = names.into_iter().map(|name| (name, Health::default())).collect();
        Self {
            known: Lock::leaf(known),
            troubled: AtomicBool::new(false),
            pauses: AtomicU64::new(0),
            observed,
            renewed: Lock::leaf(BTreeSet::new()),
            has_renewed: Notify::new(),
            rates: BTreeMap::new(),
            counters,
        }
    }

    /// Waits until the pause of an upstream was [ended](UpstreamMonitor::renewed) before its
    /// time, and gives the names of all such: their mail is to be offered again. For one task.
    pub async fn next_renewed(&self) -> BTreeSet<String> {
        loop {
            let names = std::mem::take(&mut *self.renewed.lock());
            if !names.is_empty() {
                return names;
            }
            self.has_renewed.notified().await;
        }
    }

    /// The same, where an upstream has a rate; `property` sets it.
    #[must_use]
    pub fn limited(mut self, upstream: &str, property: &str, limit: &RateLimit) -> Self {
        let limiter = UpstreamLimiter::new(property, limit);
        self.rates.insert(upstream.to_owned(), Lock::leaf(limiter));
        self
    }

    fn judge_at(
        &self,
        upstream: &str,
        (stage, reply): (UpstreamStage, &Reply),
        sender: &str,
        now: u32,
    ) -> Option<UpstreamRefusal> {
        let (refusal, provider) = catalogue::judge(stage, reply)?;
        let mut error = reply.to_string();
        error.truncate(error.floor_char_boundary(TEXT_MAX));
        let mut known = self.known.lock();
        let health = known.get_mut(upstream)?;
        self.troubled.store(true, Ordering::Relaxed);
        let counted = match refusal {
            UpstreamRefusal::Relay | UpstreamRefusal::Connection => {
                &self.counters.upstream_refusals_total
            }
            UpstreamRefusal::Throttle => &self.counters.upstream_throttles_total,
            UpstreamRefusal::Sender => &self.counters.upstream_sender_refusals_total,
        };
        counted.with_label_values(&[upstream]).inc();
        match refusal {
            UpstreamRefusal::Sender => health.refuse(sender, error, now),
            _ => {
                if health.refusal != Some(refusal) {
                    tracing::warn!(
                        target: "mta", upstream, reply = error, known_from = provider,
                        "an upstream refuses this relay, or limits it; its mail waits"
                    );
                }
                health.pause(refusal, error, now);
                health.number = self.next_pause();
                self.counters.upstream_paused.with_label_values(&[upstream]).set(1);
            }
        }
        Some(refusal)
    }

    /// Until when its rate is used up, and this in words.
    fn rate_pause(&self, upstream: &str) -> Option<(u32, String)> {
        let wait = self.rates.get(upstream)?.lock().waiting(clock::steady_moment())?;
        Some(rate::pause(&wait))
    }

    fn refused_sender_at(&self, upstream: &str, sender: &str, now: u32) -> Option<String> {
        if !self.troubled.load(Ordering::Relaxed) {
            return None;
        }
        let known = self.known.lock();
        let senders = &known.get(upstream)?.senders;
        let (until, error) = senders.get(&sender.to_ascii_lowercase())?;
        (*until > now).then(|| error.clone())
    }

    /// Takes back what is known against an upstream where that is over, and refused senders: those
    /// whose time is over, or all. `true`: it got no mail because of what is over.
    fn clear(
        &self,
        upstream: &str,
        is_over: impl Fn(&Health) -> bool,
        all_senders: bool,
        now: u32,
    ) -> bool {
        let mut known = self.known.lock();
        let Some(health) = known.get_mut(upstream) else { return false };
        health.senders.retain(|_, (until, _)| !all_senders && *until > now);
        let ends = health.refusal.is_some() && is_over(health);
        if ends {
            health.recover();
        }
        if known.values().all(Health::is_well) {
            self.troubled.store(false, Ordering::Relaxed);
        }
        ends
    }

    fn paused_at(&self, upstream: &str, now: u32) -> Option<(u32, String)> {
        if !self.troubled.load(Ordering::Relaxed) {
            return None;
        }
        let known = self.known.lock();
        let health = known.get(upstream)?;
        health.refuses(now).then(|| (health.paused_until, health.last_error.clone()))
    }

    fn next_pause(&self) -> u64 {
        self.pauses.fetch_add(1, Ordering::AcqRel) + 1
    }

    fn may_probe_at(&self, upstream: &str, now: u32) -> bool {
        if !self.troubled.load(Ordering::Relaxed) {
            return true;
        }
        self.known.lock().get_mut(upstream).is_none_or(|health| health.may_probe(now))
    }

    fn availability_at(&self, upstream: &str, now: u32) -> UpstreamAvailability {
        if !self.troubled.load(Ordering::Relaxed) {
            return UpstreamAvailability::Open;
        }
        let known = self.known.lock();
        known.get(upstream).map_or(UpstreamAvailability::Open, |one| one.availability(now))
    }

    fn unreachable_at(&self, upstream: &str, error: &str, now: u32) {
        let mut known = self.known.lock();
        let Some(health) = known.get_mut(upstream) else { return };
        // What it said itself is better known.
        if health.refuses(now) {
            return;
        }
        self.troubled.store(true, Ordering::Relaxed);
        let mut error = error.to_owned();
        error.truncate(error.floor_char_boundary(TEXT_MAX));
        if health.refusal != Some(UpstreamRefusal::Connection) {
            tracing::warn!(target: "mta", upstream, cause = error, "an upstream cannot be reached");
        }
        health.pause(UpstreamRefusal::Connection, error, now);
        health.number = self.next_pause();
        self.counters.upstream_paused.with_label_values(&[upstream]).set(1);
    }

    /// It takes mail again, if it did not before.
    fn recovered(&self, upstream: &str, is_over: impl Fn(&Health) -> bool) {
        if !self.troubled.load(Ordering::Relaxed) {
            return;
        }
        if self.clear(upstream, is_over, false, clock::steady()) {
            tracing::info!(target: "mta", upstream, "an upstream takes mail again");
            self.counters.upstream_paused.with_label_values(&[upstream]).set(0);
        }
    }
}

impl UpstreamMonitor for UpstreamHealth {
    fn judge(
        &self,
        upstream: &str,
        stage: UpstreamStage,
        reply: &Reply,
        sender: &str,
    ) -> Option<UpstreamRefusal> {
        self.judge_at(upstream, (stage, reply), sender, clock::steady())
    }

    fn pauses(&self) -> u64 {
        self.pauses.load(Ordering::Acquire)
    }

    fn accepted(&self, upstream: &str, pauses: u64) {
        self.recovered(upstream, |health| health.number <= pauses);
    }

    fn refused_sender(&self, upstream: &str, sender: &str) -> Option<String> {
        self.refused_sender_at(upstream, sender, clock::steady())
    }

    fn has_rates(&self) -> bool {
        !self.rates.is_empty()
    }

    fn take(&self, upstream: &str) -> Result<(), UpstreamRateWait> {
        match self.rates.get(upstream) {
            Some(limiter) => limiter.lock().take(clock::steady_moment()),
            None => Ok(()),
        }
    }

    fn rate_wait(&self, upstream: &str) -> Option<UpstreamRateWait> {
        let wait = self.rates.get(upstream)?.lock().waiting(clock::steady_moment())?;
        // What was said against it is told first.
        self.paused_at(upstream, clock::steady()).is_none().then_some(wait)
    }

    fn paused(&self, upstream: &str) -> Option<(u32, String)> {
        let refused = self.paused_at(upstream, clock::steady());
        refused.or_else(|| self.rate_pause(upstream))
    }

    fn availability(&self, upstream: &str) -> UpstreamAvailability {
        match self.rate_pause(upstream) {
            Some((_, why)) => UpstreamAvailability::Refuses(why),
            None => self.availability_at(upstream, clock::steady()),
        }
    }

    fn may_probe(&self, upstream: &str) -> bool {
        self.may_probe_at(upstream, clock::steady())
    }

    fn unreachable(&self, upstream: &str, error: &str) {
        self.unreachable_at(upstream, error, clock::steady());
    }

    fn reached(&self, upstream: &str) {
        self.recovered(upstream, |health| health.refusal == Some(UpstreamRefusal::Connection));
    }

    fn ask_again(&self) {
        for health in self.known.lock().values_mut() {
            health.end_pauses();
        }
    }

    fn connected(&self, upstream: &str, session: UpstreamSession) {
        let Some(observed) = self.observed.get(upstream) else { return };
        observed.connections.fetch_add(1, Ordering::Relaxed);
        let counters = &self.counters;
        counters.upstream_connections.with_label_values(&[upstream]).inc();
        counters.upstream_tls_failing.with_label_values(&[upstream]).set(0);
        let end = session.certificate.as_ref().map_or(0, |certificate| certificate.validity.1);
        let end = i64::try_from(end).unwrap_or(i64::MAX);
        counters.upstream_certificate_expiry_seconds.with_label_values(&[upstream]).set(end);
        let mut last = observed.last.lock();
        last.failure = None;
        last.session = Some((clock::now(), session));
    }

    fn disconnected(&self, upstream: &str) {
        let Some(observed) = self.observed.get(upstream) else { return };
        observed.connections.fetch_sub(1, Ordering::Relaxed);
        self.counters.upstream_connections.with_label_values(&[upstream]).dec();
    }

    fn failed(&self, upstream: &str, error: &str, tls: bool) {
        let Some(observed) = self.observed.get(upstream) else { return };
        let error = error[..error.floor_char_boundary(TEXT_MAX)].to_owned();
        self.counters.upstream_tls_failing.with_label_values(&[upstream]).set(i64::from(tls));
        observed.last.lock().fail(error, tls, clock::now());
    }

    fn mail(&self, upstream: &str, sent: bool) {
        let Some(observed) = self.observed.get(upstream) else { return };
        observed.mails.count(sent, clock::steady());
        let counters = &self.counters;
        let counted = if sent {
            &counters.upstream_mails_total
        } else {
            &counters.upstream_mail_failures_total
        };
        counted.with_label_values(&[upstream]).inc();
    }

    fn renewed(&self, upstream: &str) {
        let Some(observed) = self.observed.get(upstream) else { return };
        let had_failed = observed.last.lock().failure.take().is_some();
        let was_well = self.known.lock().get(upstream).is_none_or(Health::is_well);
        self.clear(upstream, |_| true, true, clock::steady());
        let counters = &self.counters;
        counters.upstream_paused.with_label_values(&[upstream]).set(0);
        counters.upstream_tls_failing.with_label_values(&[upstream]).set(0);
        if was_well && !had_failed {
            return;
        }
        tracing::info!(target: "mta", upstream, "the mail of an upstream is offered again now");
        self.renewed.lock().insert(upstream.to_owned());
        self.has_renewed.notify_one();
    }

    fn list(&self) -> Vec<UpstreamStatus> {
        let now = clock::steady();
        // Before the other lock: none of these is taken while another one is held.
        let rate = |(name, rate): (_, &Lock<UpstreamLimiter>)| {
            (name, rate.lock().status(clock::steady_moment()))
        };
        let mut rates: BTreeMap<&String, _> = self.rates.iter().map(rate).collect();
        let mut all: Vec<UpstreamStatus> = {
            let known = self.known.lock();
            known.iter().map(|(name, health)| status(name, health, now)).collect()
        };
        for status in &mut all {
            status.rate = rates.remove(&status.name);
            let Some(observed) = self.observed.get(&status.name) else { continue };
            let last = observed.last.lock().clone();
            (status.session, status.failure) = (last.session, last.failure);
            status.connections = observed.connections.load(Ordering::Relaxed);
            status.hour = observed.mails.sum(1, now);
            status.day = observed.mails.sum(observed::HOURS - 1, now);
        }
        all
    }
}

fn status(name: &str, health: &Health, now: u32) -> UpstreamStatus {
    let paused = health.paused_until > now;
    UpstreamStatus {
        name: name.to_owned(),
        refusal: health.refusal,
        since: health.since,
        last_error: health.last_error.clone(),
        senders: health.senders.values().filter(|(until, _)| *until > now).count(),
        paused_until: paused.then(|| clock::wall(health.paused_until)),
        failure: None,
        session: None,
        connections: 0,
        hour: UpstreamMails::default(),
        day: UpstreamMails::default(),
        rate: None,
    }
}

impl fmt::Debug for UpstreamHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamHealth").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::model::UpstreamCertificate;
    use UpstreamRefusal::{Relay, Sender, Throttle};
    use UpstreamStage::{Login, Mail};

    fn health() -> UpstreamHealth {
        UpstreamHealth::new(["default", "other"], UpstreamCounters::alone().unwrap())
    }

    fn unverified() -> Reply {
        Reply::plain(554, "Message rejected: Email address is not verified")
    }

    #[test]
    fn pauses_grow_until_a_mail_is_judged_and_concern_one_upstream() {
        let health = health();
        let throttled = Reply::new(454, (4, 7, 0), "later");
        let (mut now, mut pauses) = (1000, Vec::new());
        for _ in 0..6 {
            let told = health.judge_at("default", (Login, &throttled), "", now);
            assert_eq!(told, Some(Throttle));
            // Another connection hears the same a second later.
            health.judge_at("default", (Login, &throttled), "", now + 1);
            let (until, error) = health.paused_at("default", now + 1).unwrap();
            assert_eq!(error, "454 4.7.0 later");
            pauses.push(until - now);
            now = until;
            assert_eq!(health.paused_at("default", now), None, "one asks again");
        }
        assert_eq!(pauses, [60, 120, 240, 480, 600, 600]);
        assert_eq!(health.paused_at("other", now - 1), None);
        assert_eq!(health.list()[0].refusal, Some(Throttle));
        health.accepted("default", health.pauses());
        assert_eq!(health.list()[0].refusal, None);
        let refused = Reply::new(535, (5, 7, 8), "no");
        assert_eq!(health.judge_at("default", (Login, &refused), "", now), Some(Relay));
        assert_eq!(health.paused_at("default", now).unwrap().0, now + PAUSE, "from the start");
        assert_eq!(health.counters.upstream_paused.with_label_values(&["default"]).get(), 1);
    }

    #[test]
    fn after_a_pause_one_asks_again_and_the_others_pass_it_over() {
        use UpstreamAvailability::{Open, Refuses, Unreachable};
        let health = health();
        let at = |now| health.availability_at("default", now);
        let may = |now| health.may_probe_at("default", now);
        assert_eq!(at(1000), Open);
        health.unreachable_at("default", "refused", 1000);
        assert_eq!((at(1000), at(1014)), (Unreachable, Unreachable));
        assert_eq!(health.paused_at("default", 1001), None, "mail does not wait for it");
        // Whoever only looks takes nobody's turn.
        assert_eq!((at(1015), at(1015)), (Open, Open));
        assert!(may(1015) && !may(1015));
        assert_eq!(at(1015), Unreachable);
        // Nothing was heard of the one that asked.
        assert!(may(1015 + PROBE_TIME) && !may(1015 + PROBE_TIME));
        health.unreachable_at("default", "refused", 1050);
        assert_eq!(
            (at(1079), at(1080), may(1080), at(1081)),
            (Unreachable, Open, true, Unreachable)
        );
        health.reached("default");
        assert_eq!((at(1081), at(1081)), (Open, Open));
        let refused = Reply::new(535, (5, 7, 8), "no");
        health.judge_at("default", (Login, &refused), "", 2000);
        health.unreachable_at("default", "later", 2001);
        assert_eq!(at(2001), Refuses("535 5.7.8 no".to_owned()), "its own words are kept");
        health.reached("default");
        assert_eq!(at(2002), Refuses("535 5.7.8 no".to_owned()), "it must take a mail for that");
        assert_eq!(health.list()[0].refusal, Some(Relay));
        health.ask_again();
        assert_eq!((health.paused_at("default", 2003), at(2003)), (None, Open));
        assert_eq!(health.list()[0].refusal, Some(Relay), "nothing was heard yet");
    }

    #[test]
    fn a_mail_that_began_before_a_pause_does_not_end_it() {
        let health = health();
        let before = health.pauses();
        health.judge_at("default", (Mail, &Reply::new(454, (4, 7, 0), "later")), "", 1000);
        health.accepted("default", before);
        assert!(health.paused_at("default", 1001).is_some());
        health.accepted("default", health.pauses());
        assert_eq!(health.paused_at("default", 1001), None);
    }

    #[test]
    fn a_refused_sender_waits_and_nobody_else() {
        let health = health();
        let told = health.judge_at("default", (Mail, &unverified()), "Anna@here.example", 1000);
        assert_eq!(told, Some(Sender));
        let at = |upstream, sender, now| health.refused_sender_at(upstream, sender, now);
        assert!(at("default", "anna@HERE.example", 1001).unwrap().contains("not verified"));
        assert_eq!(at("default", "bert@here.example", 1001), None);
        assert_eq!(at("other", "anna@here.example", 1001), None);
        assert_eq!(at("default", "anna@here.example", 1000 + SENDER_PAUSE), None);
        assert_eq!(health.paused_at("default", 1001), None);
    }

    #[test]
    fn mail_needs_no_lock_again_once_all_is_well() {
        let health = health();
        let troubled = || health.troubled.load(Ordering::Relaxed);
        health.judge_at("default", (Login, &Reply::new(535, (5, 7, 8), "no")), "", 1000);
        health.judge_at("other", (Mail, &unverified()), "anna@here.example", 1000);
        assert!(troubled());
        health.accepted("default", health.pauses());
        assert!(troubled(), "a sender waits elsewhere");
        health.clear("other", |_| true, false, 1000 + SENDER_PAUSE - 1);
        assert!(troubled(), "it still waits");
        health.clear("other", |_| true, false, 1000 + SENDER_PAUSE);
        assert!(!troubled());
    }

    #[tokio::test]
    async fn a_pause_ends_when_a_new_login_is_there() {
        let health = health();
        health.judge_at("default", (Login, &Reply::new(535, (5, 7, 8), "no")), "", clock::steady());
        health.failed("default", "no answer", false);
        health.renewed("default");
        assert_eq!(health.paused("default"), None);
        let status = &health.list()[0];
        assert_eq!((status.refusal, &status.failure, status.paused_until), (None, &None, None));
        assert_eq!(health.next_renewed().await, BTreeSet::from(["default".to_owned()]));
        assert!(!health.troubled.load(Ordering::Relaxed));
    }

    #[test]
    fn connections_and_mails_are_seen() {
        let health = health();
        let certificate = UpstreamCertificate {
            names: vec!["mx.example".into()],
            issuer: "CN=Root".into(),
            validity: (1, 2_000_000_000),
        };
        let session = UpstreamSession { certificate: Some(certificate), ..Default::default() };
        health.failed("other", "refused", true);
        let failing = || health.counters.upstream_tls_failing.with_label_values(&["other"]).get();
        assert_eq!(failing(), 1);
        health.connected("other", session.clone());
        health.connected("other", session.clone());
        health.disconnected("other");
        health.mail("other", true);
        health.mail("other", false);
        let status = &health.list()[1];
        assert_eq!(status.session.as_ref().unwrap().1, session);
        assert_eq!((status.connections, &status.failure, failing()), (1, &None, 0));
        assert_eq!(status.hour, UpstreamMails { sent: 1, failed: 1 });
        assert_eq!(health.list()[0].session, None);
    }

    #[test]
    fn a_rate_that_is_used_up_pauses_its_upstream_alone() {
        let health = health().limited("other", "upstream_other_rate", &"2/min".parse().unwrap());
        assert!((0..5).all(|_| health.take("default").is_ok()));
        assert_eq!((health.take("other"), health.take("other")), (Ok(()), Ok(())));
        let wait = health.take("other").unwrap_err();
        assert_eq!(&*wait.limit, "rate 2/min of upstream_other_rate");
        let away = wait.until_millis - clock::steady_moment().millis();
        assert!((55_000..=60_000).contains(&away), "{away}");
        assert_eq!(health.rate_wait("other"), Some(wait));
        let (until, why) = health.paused("other").unwrap();
        assert!(until > clock::steady() + 50 && why.starts_with("rate 2/min of"), "{until} {why}");
        assert!(why.contains(" is used up; next at "), "{why}");
        assert_eq!((health.paused("default"), health.rate_wait("default")), (None, None));
        let listed = health.list();
        assert_eq!(listed[0].rate, None);
        let rate = listed[1].rate.as_ref().unwrap();
        assert_eq!((rate.left, listed[1].refusal), (0, None));
        assert!(rate.next.is_some_and(|next| next > clock::now() + 50), "{rate:?}");
        // What the upstream says is told first.
        health.judge("other", Login, &Reply::new(454, (4, 7, 0), "later"), "");
        assert_eq!(health.paused("other").unwrap().1, "454 4.7.0 later");
        assert_eq!(health.rate_wait("other"), None);
    }

    #[test]
    fn refused_senders_are_remembered_to_a_limit() {
        let health = health();
        for n in 0..SENDERS_MAX + 50 {
            health.judge_at("default", (Mail, &unverified()), &format!("u{n}@here.example"), 1000);
        }
        assert_eq!(health.known.lock()["default"].senders.len(), SENDERS_MAX);
    }
}

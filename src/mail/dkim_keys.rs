//! The DKIM keys of the relay: those of the key volume, those that it has made itself, and their
//! rotation from one selector to the next.
//!
//! In: key files, orders of operators, what DNS has. Out: the keys of the [`MailSigner`], and the
//! state for pages, API and alerts ([`DkimKeys`]). A rotation has three steps, each durable before
//! it counts: the next selector is named and gets its keys; once their records are in DNS it signs;
//! the former keys are removed when their records may go. A start goes on where a crash was. Keys
//! of the key volume are never changed.
//!
//! Limits: one change at a time; DNS is asked every [`PACE`] about what is unfinished or wrong, and
//! every [`CHECK_AFTER`] about everything. Security: private keys are in no text.

use crate::ground::clock;
use crate::ground::disk::Disk;
use crate::ground::dns::Resolver;
use crate::ground::lock::{Level, Lock};
use crate::mail::dkim_records;
use crate::mail::dkim_volume as volume;
use crate::mail::model::{
    DkimDomainReport, DkimDomainState, DkimKeyState, DkimKeys, DkimNextKeys, DkimReport,
    DkimReportFuture, DkimRetiredKeys, DkimRotateError, DkimRotateFuture, DkimRotation, Principal,
    PublishedRecord, RecordVerdict, RotationStep,
};
use crate::mail::outbound::MailSigner;
use crate::mail::sign::counters::SignCounters;
use crate::mail::sign::{
    DomainKeys, KeyRing, Rotations, SelectorFile, SigningDomain, SigningKey, active_rotation,
    now_signing, signing_domains,
};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::{MissedTickBehavior, interval_at};

/// How often DNS is asked about keys whose records are not there, or are wrong.
const PACE: Duration = Duration::from_secs(300);

/// When DNS is asked first: other work of a start goes first.
const FIRST_AFTER: Duration = Duration::from_secs(60);

/// How often DNS is asked about all other keys.
const CHECK_AFTER: Duration = Duration::from_secs(3600);

/// The keys; a clone is the same.
#[derive(Clone)]
pub struct DkimKeyStore(Arc<KeyStore>);

struct KeyStore {
    /// Empty: every domain with a key signs.
    configured: Vec<SigningDomain>,
    signer: Arc<MailSigner>,
    disk: Arc<dyn Disk>,
    /// The resolver, and the host name of the relay; `None`: DNS is not asked.
    resolver: Option<(Arc<dyn Resolver>, String)>,
    counters: Arc<SignCounters>,
    /// Held during a whole change, with its writes.
    known: Lock<KnownKeys>,
    shown: Lock<ShownKeys>,
}

/// All keys that were found.
struct KnownKeys {
    /// Those of the key volume, then those of the data volume: the first counts.
    files: Vec<SelectorFile>,
    /// Why the state cannot be read, if so; then the own keys are not used.
    rotations: Result<Rotations, String>,
}

impl KnownKeys {
    /// Whether there is a file for each key of a domain and its selector.
    fn has_all(&self, signing: &SigningDomain) -> bool {
        let of_it = self.files.iter().filter(|file| file.is_of(signing));
        of_it.count() >= signing.selectors().len()
    }
}

/// What others ask for while a change may be in progress.
#[derive(Default)]
struct ShownKeys {
    domains: Vec<DkimDomainState>,
    /// What is wrong with records of keys that sign, by domain and name.
    wrong: BTreeMap<String, BTreeMap<String, String>>,
    /// What DNS said about a domain, and when.
    checked: BTreeMap<String, (Instant, DkimDomainReport)>,
    /// The same about the host name.
    hosts: Option<(Instant, Vec<PublishedRecord>)>,
}

impl DkimKeyStore {
    /// For the configured domains, or without these for every domain with a key. It knows no key
    /// before [`DkimKeyStore::take`].
    pub fn open(
        configured: Vec<SigningDomain>,
        signer: Arc<MailSigner>,
        disk: Arc<dyn Disk>,
        resolver: Option<(Arc<dyn Resolver>, String)>,
        counters: Arc<SignCounters>,
    ) -> Self {
        let known = KnownKeys { files: Vec::new(), rotations: Err("not read yet".to_owned()) };
        Self(Arc::new(KeyStore {
            configured,
            signer,
            disk,
            resolver,
            counters,
            known: Lock::new(Level::Outer, known),
            shown: Lock::default(),
        }))
    }

    /// Signs with these keys of the key volume from now on, and with those of the data volume.
    /// Rotations that a crash has interrupted are completed; with `generate` configured domains
    /// without a key get some. Blocks.
    pub fn take(&self, key_volume: Vec<SelectorFile>, generate: bool) {
        let mut known = self.0.known.lock();
        let former: Vec<SelectorFile> = known.files.extract_if(.., |file| file.own).collect();
        let rotations = match (volume::rotations(&*self.0.disk), &known.rotations) {
            (Err(cause), Ok(former)) => {
                tracing::error!(target: "mta", cause, "the former state stays in use");
                Ok(former.clone())
            }
            (read, _) => read,
        };
        *known = KnownKeys { files: key_volume, rotations };
        if let Err(error) = self.0.read_own(&mut known) {
            tracing::error!(
                target: "mta", cause = %error,
                "the DKIM keys of the data volume cannot be read; the former ones stay in use"
            );
            known.files.extend(former);
        }
        self.0.make_missing(&mut known, generate);
        self.0.use_keys(&known);
    }

    /// Goes on with rotations and looks after the records, until the relay stops.
    pub async fn follow(self) {
        let mut pace = interval_at(tokio::time::Instant::now() + FIRST_AFTER, PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            pace.tick().await;
            let store = self.0.clone();
            let removed = tokio::task::spawn_blocking(move || store.remove_former(clock::now()));
            drop(removed.await);
            self.look_at_records().await;
        }
    }

    /// Asks DNS about the domains that are due, and once about the host name.
    async fn look_at_records(&self) {
        let due = self.0.due();
        if !due.is_empty() {
            drop(self.report(due, Duration::ZERO).await);
        }
    }
}

impl DkimKeys for DkimKeyStore {
    fn domains(&self) -> Vec<DkimDomainState> {
        self.0.shown.lock().domains.clone()
    }

    fn report(&self, domains: Vec<DkimDomainState>, age: Duration) -> DkimReportFuture<'_> {
        Box::pin(async move {
            let mut report = DkimReport { domains: Vec::new(), hosts: Vec::new() };
            let Some((resolver, hostname)) = &self.0.resolver else { return report };
            for state in domains {
                if let Some(known) = self.0.known_report(&state, age) {
                    report.domains.push(known);
                    continue;
                }
                let found = dkim_records::of_domain(&**resolver, hostname, state).await;
                let (store, noted) = (self.0.clone(), found.clone());
                drop(tokio::task::spawn_blocking(move || store.note(&noted)).await);
                report.domains.push(found);
            }
            let known = self.0.shown.lock().hosts.clone();
            report.hosts = match known {
                Some((asked, hosts)) if asked.elapsed() < age => hosts,
                _ => {
                    let hosts = dkim_records::of_host(&**resolver, hostname).await;
                    self.0.shown.lock().hosts = Some((Instant::now(), hosts.clone()));
                    hosts
                }
            };
            report
        })
    }

    fn last_report(&self) -> DkimReport {
        let shown = self.0.shown.lock();
        let known = shown.domains.iter().filter_map(|state| {
            let (_, report) = shown.checked.get(&state.domain)?;
            (report.state == *state).then(|| report.clone())
        });
        let hosts = shown.hosts.iter().flat_map(|(_, hosts)| hosts.iter().cloned());
        DkimReport { domains: known.collect(), hosts: hosts.collect() }
    }

    fn record_problems(&self) -> Vec<String> {
        let shown = self.0.shown.lock();
        let problems = shown.wrong.values().flatten();
        problems.map(|(name, words)| format!("{name}: {words}")).collect()
    }

    fn rotate(&self, domain: String, now: bool, principal: Principal) -> DkimRotateFuture<'_> {
        let store = self.0.clone();
        Box::pin(async move {
            let change = move || store.rotate(&domain, now, &principal);
            let changed = tokio::task::spawn_blocking(change).await;
            changed.unwrap_or_else(|error| Err(DkimRotateError::Failed(error.to_string())))
        })
    }
}

impl KeyStore {
    /// Reads the keys of the data volume anew.
    fn read_own(&self, known: &mut KnownKeys) -> io::Result<()> {
        let mut own = volume::keys(&*self.disk)?;
        if let Err(why) = &known.rotations {
            own.iter_mut().for_each(|file| file.key = Err(why.clone()));
        }
        known.files.retain(|file| !file.own);
        known.files.extend(own);
        Ok(())
    }

    /// Makes the keys of next selectors that are missing, and with `generate` those of configured
    /// domains. What fails is logged: mail then waits, or the former keys go on.
    fn make_missing(&self, known: &mut KnownKeys, generate: bool) {
        let Ok(rotations) = &known.rotations else { return };
        let next = rotations.domains().filter_map(|(domain, rotation)| {
            let next = rotation.next.as_ref()?;
            Some(SigningDomain::new(domain, Some(&next.selector)))
        });
        let mut wanted: Vec<SigningDomain> = next.collect();
        let first = self
            .configured
            .iter()
            .filter(|_| generate)
            .map(|configured| now_signing(configured, &known.files, rotations));
        // One of its two keys is enough for a domain.
        wanted.extend(first.filter(|one| !known.files.iter().any(|file| file.is_of(one))));
        for signing in wanted {
            if let Err(error) = volume::make_keys(&*self.disk, &signing, &known.files) {
                tracing::error!(
                    target: "mta", domain = signing.domain, cause = %error,
                    "a DKIM key cannot be made"
                );
            }
        }
        if let Err(error) = self.read_own(known) {
            tracing::error!(target: "mta", cause = %error, "the DKIM keys cannot be read");
        }
    }

    /// Signs with the known keys, as far as their rotations have come.
    fn use_keys(&self, known: &KnownKeys) {
        let initial = Rotations::default();
        let rotations = known.rotations.as_ref().unwrap_or(&initial);
        self.signer.use_keys(KeyRing::new(&self.configured, &known.files, rotations));
        self.show(known);
    }

    /// Brings what others see up to what is known.
    fn show(&self, known: &KnownKeys) {
        let ring = self.signer.ring();
        let domains: Vec<DkimDomainState> =
            ring.domains().map(|keys| self.domain_state(keys, known)).collect();
        let mut shown = self.shown.lock();
        shown.domains = domains;
        let ShownKeys { domains, wrong, checked, .. } = &mut *shown;
        let signs = |domain: &str, name: &str| {
            let state = domains.iter().find(|state| state.domain == domain);
            let mut keys = state.into_iter().flat_map(|state| &state.keys);
            keys.any(|key| key.record_name(domain) == name)
        };
        for (domain, names) in wrong.iter_mut() {
            names.retain(|name, _| signs(domain, name));
        }
        checked.retain(|domain, _| domains.iter().any(|state| state.domain == *domain));
        self.count_wrong(&mut shown);
    }

    fn count_wrong(&self, shown: &mut ShownKeys) {
        shown.wrong.retain(|_, names| !names.is_empty());
        let number: usize = shown.wrong.values().map(BTreeMap::len).sum();
        self.counters.dkim_records_failing.set(i64::try_from(number).unwrap_or(i64::MAX));
    }

    fn domain_state(&self, keys: &DomainKeys, known: &KnownKeys) -> DkimDomainState {
        let SigningDomain { domain, selector } = keys.signing.clone();
        let rotations = known.rotations.as_ref().ok();
        let configured = rotations.and_then(|rotations| {
            signing_domains(&self.configured, &known.files, rotations)
                .into_iter()
                .find(|one| one.domain == domain)
        });
        let active = rotations.zip(configured.as_ref()).and_then(|(rotations, configured)| {
            active_rotation(configured, &known.files, rotations)
        });
        let next = active.and_then(|rotation| rotation.next.as_ref()).map(|next| DkimNextKeys {
            selector: next.selector.clone(),
            since: next.since,
            keys: own_keys(known, &domain, &next.selector),
        });
        let former = rotations.and_then(|rotations| rotations.of(&domain));
        let retired = former.into_iter().flat_map(|rotation| &rotation.retired);
        // One that an operator has named again is not a former one.
        let retired = retired.filter(|former| former.selector != selector).map(|former| {
            let keys = own_keys(known, &domain, &former.selector);
            DkimRetiredKeys { selector: former.selector.clone(), until: former.until, keys }
        });
        let retired = retired.collect();
        let signs = keys.keys.iter().map(|(selector, key)| key_state(selector, key)).collect();
        DkimDomainState {
            domain,
            selector,
            keys: signs,
            problem: keys.problem.clone(),
            next,
            retired,
        }
    }

    /// The order to change the keys of a domain.
    fn rotate(
        &self,
        domain: &str,
        now: bool,
        principal: &Principal,
    ) -> Result<DkimRotation, DkimRotateError> {
        let mut known = self.known.lock();
        let rotations = known.rotations.clone().map_err(DkimRotateError::Failed)?;
        let configured = signing_domains(&self.configured, &known.files, &rotations)
            .into_iter()
            .find(|one| one.domain == domain)
            .ok_or_else(|| DkimRotateError::UnknownDomain(domain.to_owned()))?;
        let signing = now_signing(&configured, &known.files, &rotations);
        let mut of_it = known.files.iter().filter(|file| file.is_of(&signing));
        let (domain, selector) = (domain.to_owned(), signing.selector.clone());
        match of_it.clone().find(|file| !file.own) {
            Some(_) => return Err(DkimRotateError::KeyVolume { domain, selector }),
            None if of_it.next().is_none() => {
                return Err(DkimRotateError::NoKey { domain, selector });
            }
            None => {}
        }
        let next = active_rotation(&configured, &known.files, &rotations)
            .and_then(|rotation| rotation.next.as_ref())
            .map(|next| SigningDomain::new(&configured.domain, Some(&next.selector)));
        let waits = match next {
            Some(next) if known.has_all(&next) => true,
            // An earlier order could not make them all.
            Some(next) => self.make_next(&mut known, &next).map(|()| false)?,
            None => self.begin(&mut known, &configured).map(|()| false)?,
        };
        let step = match (now, waits) {
            (true, _) => {
                self.switch(&mut known, &configured, "ordered").map_err(|error| failed(&error))?;
                RotationStep::Switched
            }
            (false, true) => RotationStep::Waiting,
            (false, false) => RotationStep::Begun,
        };
        drop(known);
        let from = principal
            .address
            .map_or_else(|| "the control socket".to_owned(), |address| address.to_string());
        tracing::info!(
            target: "mta", order = "dkim rotate", domain, now, by = principal.user, from,
            "operator action"
        );
        let shown = self.shown.lock();
        let state = shown.domains.iter().find(|state| state.domain == domain).cloned();
        let state = state.ok_or(DkimRotateError::UnknownDomain(domain))?;
        Ok(DkimRotation { state, step })
    }

    /// Names the next selector of a domain, and makes its keys. If that fails in between, the next
    /// order or start goes on.
    fn begin(
        &self,
        known: &mut KnownKeys,
        configured: &SigningDomain,
    ) -> Result<(), DkimRotateError> {
        let mut rotations = known.rotations.clone().map_err(DkimRotateError::Failed)?;
        let now = clock::now();
        let date: String =
            clock::rfc3339(now).chars().take(10).filter(char::is_ascii_digit).collect();
        let files = &known.files;
        let is_taken = |selector: &str| {
            let selector = SigningDomain::new(&configured.domain, Some(selector));
            files.iter().any(|file| file.is_of(&selector))
        };
        let too_many = |_| DkimRotateError::TooMany(configured.domain.clone());
        let next = rotations.begin(configured, (now, &date), is_taken).map_err(too_many)?;
        volume::write_rotations(&*self.disk, &rotations).map_err(|error| failed(&error))?;
        known.rotations = Ok(rotations);
        let next = SigningDomain::new(&configured.domain, Some(&next));
        self.make_next(known, &next)
    }

    /// Makes the keys of a next selector that are missing.
    fn make_next(
        &self,
        known: &mut KnownKeys,
        next: &SigningDomain,
    ) -> Result<(), DkimRotateError> {
        // What an earlier attempt has made stays: its record may be in DNS already.
        let made = self
            .read_own(known)
            .and_then(|()| volume::make_keys(&*self.disk, next, &known.files))
            .and_then(|()| self.read_own(known));
        self.use_keys(known);
        made.map_err(|error| failed(&error))
    }

    /// The next selector of a domain signs from now on, if there is one with keys.
    fn switch(
        &self,
        known: &mut KnownKeys,
        configured: &SigningDomain,
        why: &str,
    ) -> io::Result<()> {
        let Ok(mut rotations) = known.rotations.clone() else { return Ok(()) };
        let Some(selector) = rotations.switch(configured, clock::now()) else { return Ok(()) };
        let next = SigningDomain::new(&configured.domain, Some(&selector));
        if !known.files.iter().any(|file| file.is_of(&next) && file.key.is_ok()) {
            return Err(io::Error::other(format!("there is no usable key {selector}")));
        }
        volume::write_rotations(&*self.disk, &rotations)?;
        known.rotations = Ok(rotations);
        let domain = &configured.domain;
        tracing::warn!(target: "mta", domain, selector, why, "another DKIM key signs from now on");
        self.shown.lock().checked.remove(domain);
        self.use_keys(known);
        Ok(())
    }

    /// What DNS has for a domain: its next keys may sign, former ones may be forgotten.
    fn note(&self, report: &DkimDomainReport) {
        let state = &report.state;
        let record = |key: &DkimKeyState| {
            let name = key.record_name(&state.domain);
            report.records.iter().find(|record| record.kind == "dkim" && record.name == name)
        };
        {
            let mut shown = self.shown.lock();
            shown.checked.insert(state.domain.clone(), (Instant::now(), report.clone()));
            let names = shown.wrong.entry(state.domain.clone()).or_default();
            for record in state.keys.iter().filter_map(record) {
                match record.verdict {
                    RecordVerdict::Right => drop(names.remove(&record.name)),
                    RecordVerdict::Missing | RecordVerdict::Wrong => {
                        drop(names.insert(record.name.clone(), record.words.clone()));
                    }
                    RecordVerdict::Unknown => {}
                }
            }
            self.count_wrong(&mut shown);
        }
        let is_right = |key: &DkimKeyState| {
            record(key).is_some_and(|record| record.verdict == RecordVerdict::Right)
        };
        let published = state
            .next
            .as_ref()
            .filter(|next| !next.keys.is_empty() && next.keys.iter().all(is_right));
        let gone = |former: &&DkimRetiredKeys| {
            let signing = SigningDomain::new(&state.domain, Some(&former.selector));
            signing.record_names().iter().all(|name| report.gone.contains(name))
        };
        let gone: Vec<&str> =
            state.retired.iter().filter(gone).map(|former| &*former.selector).collect();
        if published.is_none() && gone.is_empty() {
            return;
        }
        let mut known = self.known.lock();
        let mut changed = Ok(());
        if let Some(next) = published {
            changed = self.switch_published(&mut known, &state.domain, &next.selector);
        }
        if let Err(error) = changed.and_then(|()| self.forget(&mut known, &state.domain, &gone)) {
            told(&state.domain, &error);
        }
    }

    /// The next selector signs, if it is this one.
    fn switch_published(
        &self,
        known: &mut KnownKeys,
        domain: &str,
        selector: &str,
    ) -> io::Result<()> {
        let Ok(rotations) = &known.rotations else { return Ok(()) };
        let configured = signing_domains(&self.configured, &known.files, rotations)
            .into_iter()
            .find(|one| one.domain == domain);
        let Some(configured) = configured else { return Ok(()) };
        let next = active_rotation(&configured, &known.files, rotations)
            .and_then(|rotation| rotation.next.as_ref());
        if next.is_some_and(|next| next.selector == selector) {
            self.switch(known, &configured, "its records are in DNS")?;
        }
        Ok(())
    }

    fn forget(&self, known: &mut KnownKeys, domain: &str, selectors: &[&str]) -> io::Result<()> {
        let Ok(mut rotations) = known.rotations.clone() else { return Ok(()) };
        selectors.iter().for_each(|selector| rotations.forget(domain, selector));
        if known.rotations.as_ref() == Ok(&rotations) {
            return Ok(());
        }
        volume::write_rotations(&*self.disk, &rotations)?;
        known.rotations = Ok(rotations);
        self.show(known);
        Ok(())
    }

    /// Removes the former keys whose records may go.
    fn remove_former(&self, now: u32) {
        let mut known = self.known.lock();
        let Ok(rotations) = &known.rotations else { return };
        let ring = self.signer.ring();
        let expired = rotations.domains().flat_map(|(domain, rotation)| {
            let signing = |selector| SigningDomain::new(domain, Some(selector));
            let former = rotation.retired.iter().filter(|former| former.until <= now);
            former.map(move |former| signing(&former.selector))
        });
        let is_used = |one: &SigningDomain| ring.domains().any(|keys| keys.signing == *one);
        let expired = expired.filter(|one| {
            !is_used(one) && known.files.iter().any(|file| file.own && file.is_of(one))
        });
        let expired: Vec<SigningDomain> = expired.collect();
        for former in &expired {
            match volume::remove_keys(&*self.disk, former, &known.files) {
                Ok(()) => tracing::warn!(
                    target: "mta", records = former.record_names().join(", "),
                    "former DKIM keys were removed; their records may be removed from DNS"
                ),
                Err(error) => told(&former.domain, &error),
            }
        }
        if !expired.is_empty() {
            match self.read_own(&mut known) {
                Ok(()) => self.show(&known),
                Err(error) => told("", &error),
            }
        }
    }

    /// What DNS said about a domain that is as it was then, within this time.
    fn known_report(&self, state: &DkimDomainState, age: Duration) -> Option<DkimDomainReport> {
        let shown = self.shown.lock();
        let (asked, report) = shown.checked.get(&state.domain)?;
        (asked.elapsed() < age && report.state == *state).then(|| report.clone())
    }

    /// The domains that DNS is to be asked about now.
    fn due(&self) -> Vec<DkimDomainState> {
        let shown = self.shown.lock();
        let is_due = |state: &&DkimDomainState| {
            let asked = shown.checked.get(&state.domain);
            state.next.is_some()
                || shown.wrong.contains_key(&state.domain)
                || asked.is_none_or(|(asked, _)| asked.elapsed() >= CHECK_AFTER)
        };
        shown.domains.iter().filter(is_due).cloned().collect()
    }
}

/// The keys of the data volume for a selector of a domain, as far as they can be used.
fn own_keys(known: &KnownKeys, domain: &str, selector: &str) -> Vec<DkimKeyState> {
    let signing = SigningDomain::new(domain, Some(selector));
    let files = known.files.iter().filter(|file| file.own && file.is_of(&signing));
    let usable = files.filter_map(|file| Some((&file.selector, file.key.as_ref().ok()?)));
    let mut keys: Vec<_> = usable.map(|(selector, key)| key_state(selector, key)).collect();
    // RSA first, as everywhere.
    keys.sort_by_key(|key| key.selector.len());
    keys
}

fn key_state(selector: &str, key: &SigningKey) -> DkimKeyState {
    DkimKeyState {
        selector: selector.to_owned(),
        algorithm: key.algorithm().as_str(),
        record: key.record().to_owned(),
    }
}

fn failed(error: &io::Error) -> DkimRotateError {
    DkimRotateError::Failed(error.to_string())
}

fn told(domain: &str, error: &io::Error) {
    tracing::error!(target: "mta", domain, cause = %error, "DKIM keys cannot be changed");
}

#[cfg(test)]
#[path = "dkim_keys_tests.rs"]
mod tests;

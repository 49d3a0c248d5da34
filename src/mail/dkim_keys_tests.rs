//! Rotations step by step, and cut off at every call of the disk.

use super::*;
use crate::ground::disk::{DirectoryDisk, DiskSpace, File};
use crate::ground::dns::{Absence, DnsError, DnsFuture};
use crate::mail::outbound::SigningConfig;
use crate::mail::sign::{Algorithm, RECORD_STAYS, generate};
use std::net::IpAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A zone with TXT records alone, and how often it was asked for addresses.
#[derive(Default)]
struct Zone(Lock<BTreeMap<String, String>>, AtomicUsize);

impl Resolver for Zone {
    fn mx(&self, _: &str) -> DnsFuture<'_, Vec<(u16, String)>> {
        Box::pin(async { Err(DnsError::Absent(Absence::Name)) })
    }

    fn addresses(&self, _: &str) -> DnsFuture<'_, Vec<IpAddr>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Box::pin(async { Err(DnsError::Absent(Absence::Name)) })
    }

    fn texts(&self, name: &str) -> DnsFuture<'_, Vec<String>> {
        let found = self.0.lock().get(name).cloned();
        Box::pin(async { found.map(|text| vec![text]).ok_or(DnsError::Absent(Absence::Name)) })
    }

    fn host_names(&self, _: IpAddr) -> DnsFuture<'_, Vec<String>> {
        Box::pin(async { Err(DnsError::Absent(Absence::Name)) })
    }
}

/// A disk whose changes fail after so many.
struct CutOff {
    disk: DirectoryDisk,
    left: Arc<AtomicUsize>,
}

fn change(left: &AtomicUsize) -> io::Result<()> {
    let less = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
    less.map(drop).map_err(|_| io::Error::other("cut off"))
}

impl Disk for CutOff {
    fn create(&self, path: &str) -> io::Result<Arc<dyn File>> {
        change(&self.left)?;
        let (file, left) = (self.disk.create(path)?, self.left.clone());
        Ok(Arc::new(CutOffFile { file, left }))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn File>> {
        self.disk.open(path)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        change(&self.left)?;
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        change(&self.left)?;
        self.disk.remove(path)
    }

    fn sync_dir(&self, directory: &str) -> io::Result<()> {
        change(&self.left)?;
        self.disk.sync_dir(directory)
    }

    fn create_dir(&self, directory: &str) -> io::Result<()> {
        change(&self.left)?;
        self.disk.create_dir(directory)
    }

    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        self.disk.list(directory)
    }

    fn space(&self) -> io::Result<DiskSpace> {
        self.disk.space()
    }
}

struct CutOffFile {
    file: Arc<dyn File>,
    left: Arc<AtomicUsize>,
}

impl File for CutOffFile {
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if change(&self.left).is_err() {
            // Torn.
            self.file.write_at(offset, &data[..data.len() / 2])?;
            return Err(io::Error::other("cut off"));
        }
        self.file.write_at(offset, data)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, buffer)
    }

    fn sync(&self) -> io::Result<()> {
        change(&self.left)?;
        self.file.sync()
    }

    fn read_anew(&self) {}

    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }
}

/// The store of a relay on this volume, as after a start, whose disk fails after so many changes.
fn started(
    volume: &Path,
    zone: &Arc<Zone>,
    key_volume: Vec<SelectorFile>,
    changes: usize,
) -> DkimKeyStore {
    let left = Arc::new(AtomicUsize::new(changes));
    started_for(&["a.example"], volume, zone, key_volume, left)
}

/// The same for these domains, and a number of changes that the test can change.
fn started_for(
    domains: &[&str],
    volume: &Path,
    zone: &Arc<Zone>,
    key_volume: Vec<SelectorFile>,
    left: Arc<AtomicUsize>,
) -> DkimKeyStore {
    let counters = SignCounters::alone().unwrap();
    let domains: Vec<_> = domains.iter().map(|name| SigningDomain::new(name, None)).collect();
    let config = SigningConfig { domains: domains.clone(), ..SigningConfig::default() };
    let signer = MailSigner::new(config, counters.clone());
    let disk = DirectoryDisk::open(volume).unwrap();
    let disk = Arc::new(CutOff { disk, left });
    let resolver: Option<(Arc<dyn Resolver>, String)> =
        Some((zone.clone(), "mail.example".to_owned()));
    let store = DkimKeyStore::open(domains, signer, disk, resolver, counters);
    store.take(key_volume, true);
    store
}

fn state(store: &DkimKeyStore) -> DkimDomainState {
    store.domains().remove(0)
}

async fn rotate(store: &DkimKeyStore, now: bool) -> Result<RotationStep, DkimRotateError> {
    let principal = Principal { user: "operator".to_owned(), address: None };
    store.rotate("a.example".to_owned(), now, principal).await.map(|rotation| rotation.step)
}

async fn check(store: &DkimKeyStore) -> DkimDomainReport {
    store.report(store.domains(), Duration::ZERO).await.domains.remove(0)
}

fn publish(zone: &Zone, keys: &[DkimKeyState]) {
    let records = keys.iter().map(|key| (key.record_name("a.example"), key.record.clone()));
    zone.0.lock().extend(records);
}

/// The times of a rotation are those of its end.
fn age(volume: &Path) {
    let path = volume.join("dkim/rotations.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    for former in json["domains"]["a.example"]["retired"].as_array_mut().unwrap() {
        former["until"] = (clock::now() - 1).into();
    }
    std::fs::write(path, json.to_string()).unwrap();
}

#[tokio::test]
async fn the_next_keys_sign_once_dns_has_their_records_and_the_former_ones_go() {
    let (volume, zone) = (tempfile::tempdir().unwrap(), Arc::new(Zone::default()));
    let store = started(volume.path(), &zone, Vec::new(), usize::MAX);
    let first = state(&store);
    publish(&zone, &first.keys);
    assert_eq!((first.keys.len(), rotate(&store, false).await), (2, Ok(RotationStep::Begun)));
    let begun = state(&store);
    let next = begun.next.clone().unwrap();
    assert_eq!((begun.keys.clone(), next.keys.len()), (first.keys.clone(), 2));
    assert_eq!(rotate(&store, false).await, Ok(RotationStep::Waiting));
    check(&store).await;
    publish(&zone, &next.keys[..1]);
    let report = check(&store).await;
    assert_eq!(report.records[3].words, "not there yet; publish it, and this key signs");
    assert_eq!(state(&store), begun, "one of two records is not enough");
    drop(store);

    // Also over a restart.
    let store = started(volume.path(), &zone, Vec::new(), usize::MAX);
    assert_eq!(state(&store), begun);
    publish(&zone, &next.keys);
    check(&store).await;
    let switched = state(&store);
    assert_eq!((&switched.keys, &switched.next), (&next.keys, &None));
    let former = &switched.retired[0];
    assert_eq!((&*former.selector, &former.keys), ("postern", &first.keys));
    assert!(clock::now() + RECORD_STAYS - former.until < 60);
    assert_eq!(store.record_problems(), Vec::<String>::new());
    zone.0.lock().remove("postern._domainkey.a.example");
    let report = check(&store).await;
    let gone = report.records.iter().find(|record| record.name.starts_with("postern._")).unwrap();
    assert_eq!(gone.verdict, RecordVerdict::Missing);
    assert!(gone.words.starts_with("mail under way has signatures"), "{}", gone.words);
    store.0.remove_former(clock::now());
    assert_eq!(state(&store).retired[0].keys.len(), 2, "it is too early");
    drop(store);

    age(volume.path());
    let store = started(volume.path(), &zone, Vec::new(), usize::MAX);
    store.0.remove_former(clock::now());
    let removed = state(&store);
    assert_eq!((removed.retired[0].keys.len(), &removed.keys), (0, &next.keys));
    let files = std::fs::read_dir(volume.path().join("dkim")).unwrap().count();
    assert_eq!(files, 3, "two keys and the state");
    let report = check(&store).await;
    let left = report.records.iter().find(|record| record.name.starts_with("postern-ed")).unwrap();
    assert_eq!(left.words, "a former key; its record may be removed");
    zone.0.lock().remove("postern-ed25519._domainkey.a.example");
    check(&store).await;
    assert_eq!(state(&store).retired, []);
    drop(store);
    let store = started(volume.path(), &zone, Vec::new(), usize::MAX);
    assert_eq!((state(&store).keys, state(&store).retired), (next.keys, Vec::new()));
}

#[tokio::test]
async fn an_operator_can_switch_at_once_and_a_wrong_record_is_a_problem() {
    let (volume, zone) = (tempfile::tempdir().unwrap(), Arc::new(Zone::default()));
    let store = started(volume.path(), &zone, Vec::new(), usize::MAX);
    publish(&zone, &state(&store).keys);
    assert_eq!(rotate(&store, true).await, Ok(RotationStep::Switched));
    let switched = state(&store);
    assert_ne!(switched.selector, "postern");
    assert_eq!(store.0.due(), std::slice::from_ref(&switched), "nobody has asked DNS");
    check(&store).await;
    let problems = store.record_problems();
    assert_eq!(problems.len(), 2);
    assert_eq!(
        problems[0],
        format!("{}: there is none", switched.keys[1].record_name("a.example"))
    );
    assert_eq!(store.0.counters.dkim_records_failing.get(), 2);
    assert_eq!(store.0.due().len(), 1, "it may be right soon");
    publish(&zone, &switched.keys);
    check(&store).await;
    assert_eq!((store.record_problems().len(), store.0.due().len()), (0, 0));
    assert_eq!(store.0.counters.dkim_records_failing.get(), 0);
    let known = store.report(store.domains(), Duration::from_secs(60)).await;
    zone.0.lock().clear();
    assert_eq!(store.report(store.domains(), Duration::from_secs(60)).await, known, "it is kept");
    for _ in 1..crate::mail::sign::RETIRED_MAX {
        assert_eq!(rotate(&store, true).await, Ok(RotationStep::Switched));
    }
    assert_eq!(rotate(&store, true).await, Err(DkimRotateError::TooMany("a.example".into())));
    assert_eq!(state(&store).problem, None);
}

#[tokio::test]
async fn keys_of_the_operator_are_not_touched() {
    let (volume, zone) = (tempfile::tempdir().unwrap(), Arc::new(Zone::default()));
    let key = generate(Algorithm::Ed25519).unwrap();
    let file = || vec![SelectorFile::read("a.example", "postern-ed25519", false, Ok(&key))];
    let store = started(volume.path(), &zone, file(), usize::MAX);
    let refused = rotate(&store, true).await.unwrap_err();
    let DkimRotateError::KeyVolume { selector, .. } = &refused else { panic!("{refused}") };
    assert_eq!(selector, "postern");
    assert!(refused.to_string().contains("dkim/a.example/NEW.pem"), "{refused}");
    let principal = Principal { user: String::new(), address: None };
    let other = store.rotate("b.example".to_owned(), false, principal).await;
    assert_eq!(other, Err(DkimRotateError::UnknownDomain("b.example".into())));
    store.take(Vec::new(), false);
    assert!(matches!(rotate(&store, false).await, Err(DkimRotateError::NoKey { .. })));
    assert!(!volume.path().join("dkim").exists());

    // A key that is put there in the middle of a rotation ends it; without that key it goes on.
    store.take(Vec::new(), true);
    assert_eq!(rotate(&store, true).await, Ok(RotationStep::Switched));
    let rotated = state(&store);
    assert_eq!(rotate(&store, false).await, Ok(RotationStep::Begun));
    let next = state(&store).next.unwrap();
    store.take(file(), false);
    assert_eq!((&*state(&store).selector, state(&store).next), ("postern", None));
    publish(&zone, &next.keys);
    check(&store).await;
    assert_eq!(state(&store).selector, "postern");
    store.take(Vec::new(), false);
    assert_eq!((state(&store).keys, state(&store).next), (rotated.keys, Some(next)));
}

#[tokio::test]
async fn without_its_state_no_own_key_signs() {
    let (volume, zone) = (tempfile::tempdir().unwrap(), Arc::new(Zone::default()));
    let store = started(volume.path(), &zone, Vec::new(), usize::MAX);
    rotate(&store, true).await.unwrap();
    drop(store);
    let path = volume.path().join("dkim/rotations.json");
    std::fs::write(&path, "{").unwrap();
    let store = started(volume.path(), &zone, Vec::new(), usize::MAX);
    let problem = state(&store).problem.unwrap();
    assert!(problem.contains("dkim/rotations.json on the data volume"), "{problem}");
    assert!(matches!(rotate(&store, true).await, Err(DkimRotateError::Failed(_))));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "{", "it is left as it is");
    std::fs::remove_file(&path).unwrap();
    store.take(Vec::new(), false);
    let usable = state(&store);
    assert_eq!((usable.problem, &*usable.selector), (None, "postern"), "as the operator wanted");
    // Later trouble with the file changes nothing for a relay that knows what was in it.
    std::fs::write(&path, "{").unwrap();
    store.take(Vec::new(), false);
    assert_eq!(state(&store).problem, None);
}

/// Whatever call of the disk was the last: after a start the domain signs with whole keys whose
/// records can be known, and the rotation goes on to its end.
#[tokio::test]
async fn a_rotation_that_is_cut_off_anywhere_goes_on() {
    let (volume, zone) = (tempfile::tempdir().unwrap(), Arc::new(Zone::default()));
    let first = state(&started(volume.path(), &zone, Vec::new(), usize::MAX));
    let files: Vec<(String, Vec<u8>)> = std::fs::read_dir(volume.path().join("dkim"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|file| (file.file_name().into_string().unwrap(), std::fs::read(file.path()).unwrap()))
        .collect();
    let mut seen = std::collections::BTreeSet::new();
    for changes in 0.. {
        let (volume, zone) = (tempfile::tempdir().unwrap(), Arc::new(Zone::default()));
        std::fs::create_dir(volume.path().join("dkim")).unwrap();
        for (name, content) in &files {
            std::fs::write(volume.path().join("dkim").join(name), content).unwrap();
        }
        publish(&zone, &first.keys);
        let store = started(volume.path(), &zone, Vec::new(), changes);
        let begun = rotate(&store, false).await;
        let next = state(&store).next;
        if let Some(next) = &next {
            publish(&zone, &next.keys);
        }
        check(&store).await;
        let before = state(&store);
        assert_eq!((before.problem, before.keys.len()), (None, 2));
        age_if_there(volume.path());
        // What the process does not know yet, the next one finds.
        drop(store);
        let store = started(volume.path(), &zone, Vec::new(), changes);
        store.0.remove_former(clock::now());
        drop(store);

        let store = started(volume.path(), &zone, Vec::new(), usize::MAX);
        let after = state(&store);
        assert_eq!((after.problem.clone(), after.keys.len()), (None, 2), "{changes}");
        if let Some(next) = &after.next {
            assert_eq!((next.keys.len(), &after.keys), (2, &first.keys), "{changes}");
        }
        seen.insert((begun.is_ok(), after.next.is_some(), after.keys == first.keys));
        // To its end.
        if after.keys == first.keys {
            rotate(&store, false).await.unwrap();
            publish(&zone, &state(&store).next.unwrap().keys);
            check(&store).await;
        }
        let end = state(&store);
        assert_ne!(end.keys, first.keys, "{changes}");
        age_if_there(volume.path());
        store.take(Vec::new(), false);
        store.0.remove_former(clock::now());
        assert_eq!((state(&store).keys, state(&store).retired[0].keys.len()), (end.keys, 0));
        // All calls of the order, and of the change that DNS brings about.
        if after.keys != first.keys {
            break;
        }
    }
    // Not begun, named without an answer, with keys but not in use, in use.
    let all = [(false, false, true), (false, true, true), (true, true, true), (true, false, false)];
    assert_eq!(seen, all.into_iter().collect());
}

/// A disk that is full for a while, at whatever call: the next order makes what is missing.
#[tokio::test]
async fn an_order_makes_the_keys_that_an_earlier_one_could_not_make() {
    for changes in (0..).step_by(3) {
        let (volume, zone) = (tempfile::tempdir().unwrap(), Arc::new(Zone::default()));
        let left = Arc::new(AtomicUsize::new(usize::MAX));
        let store = started_for(&["a.example"], volume.path(), &zone, Vec::new(), left.clone());
        let first = state(&store);
        left.store(changes, Ordering::Relaxed);
        if rotate(&store, false).await.is_ok() {
            break;
        }
        assert!(matches!(rotate(&store, true).await, Err(DkimRotateError::Failed(_))));
        assert_eq!((state(&store).keys, state(&store).problem), (first.keys.clone(), None));
        left.store(usize::MAX, Ordering::Relaxed);
        assert_eq!(rotate(&store, false).await, Ok(RotationStep::Begun), "{changes}");
        assert_eq!(rotate(&store, false).await, Ok(RotationStep::Waiting), "{changes}");
        let next = state(&store).next.unwrap();
        assert_eq!((next.keys.len(), state(&store).keys), (2, first.keys), "{changes}");
        publish(&zone, &next.keys);
        check(&store).await;
        assert_eq!(state(&store).keys, next.keys, "{changes}");
    }
}

#[tokio::test]
async fn the_addresses_of_the_host_name_are_asked_for_once() {
    let (volume, zone) = (tempfile::tempdir().unwrap(), Arc::new(Zone::default()));
    let domains = ["a.example", "b.example", "c.example"];
    let left = Arc::new(AtomicUsize::new(usize::MAX));
    let store = started_for(&domains, volume.path(), &zone, Vec::new(), left);
    store.look_at_records().await;
    assert_eq!((store.last_report().domains.len(), zone.1.load(Ordering::Relaxed)), (3, 1));
    for state in store.domains() {
        let records = state.keys.iter();
        let records = records.map(|key| (key.record_name(&state.domain), key.record.clone()));
        zone.0.lock().extend(records);
    }
    store.look_at_records().await;
    assert_eq!((store.0.due(), zone.1.load(Ordering::Relaxed)), (Vec::new(), 2));
    store.look_at_records().await;
    assert_eq!(zone.1.load(Ordering::Relaxed), 2, "nothing is due");
}

fn age_if_there(volume: &Path) {
    if volume.join("dkim/rotations.json").exists() {
        age(volume);
    }
}

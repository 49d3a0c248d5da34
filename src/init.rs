//! `postern init`, the supervisor: PID 1 of the image, or a program in the foreground on a laptop.
//!
//! In: the environment. Out: a relay that runs, and an exit code: that of the first failure, or 128
//! and the signal that ended it. It contains no mail code and has no async runtime: it prepares,
//! starts the core, and supervises it. The order: signals blocked, properties read, terminals and
//! volumes checked, the core started. All errors are reported at once, on standard error and in the
//! appliance log, before anything is started.

use crate::appliance::event::{EventLog, Severity};
use crate::appliance::failure::{Exit, Failure, exit_of};
use crate::appliance::mount::Mounter;
use crate::appliance::mounted_directories::MountPaths;
use crate::appliance::property::{self, LoadedProperties, Settings, check, relay_summary};
use crate::appliance::resources::{self, OPEN_FILES, Resources};
use crate::appliance::supervise::carrier_supervisor::CarrierSupervisor;
use crate::appliance::supervise::core_supervisor::CoreSupervisor;
use crate::appliance::supervise::file_watch::{self, FileWatch, WatchedFiles};
use crate::appliance::supervise::identity::Identity;
use crate::appliance::supervise::signals::SupervisorSignals;
use crate::appliance::supervise::upstream_files::UpstreamFiles;
use crate::appliance::supervise::{rundir, worker_process};
use crate::appliance::volume::AS_WORKING_DIRECTORY;
use crate::appliance::volume::dkim_files::DkimDirectory;
use crate::appliance::volume::keys::KeyFiles;
use crate::appliance::{terminal, volume};
use crate::ground::gateway::default_gateways;
use crate::ground::memory::MemoryLimit;
use crate::ground::threads;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::path::Path;
use std::process::ExitCode;

/// Runs the appliance until a signal ends it.
pub fn run() -> ExitCode {
    ExitCode::from(run_appliance())
}

fn run_appliance() -> u8 {
    // Before anything else, so that an early signal is neither lost nor kills the process.
    let signals = SupervisorSignals::block();
    // No core dumps: this process has passwords and the private key. Where this is not permitted,
    // they are as safe as those of any other program.
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    let mut loaded = match property::load() {
        Ok(loaded) => loaded,
        Err(refused) => {
            let run_dir = rundir::prepare(&refused.run_dir, &Identity::same())
                .is_ok()
                .then_some(refused.run_dir);
            let event_log = EventLog::open(refused.log_format, run_dir.as_deref());
            return give_up(&event_log, &refused.problems);
        }
    };
    let (identity, why_same) = match Identity::of_the_core() {
        Ok(found) => found,
        Err(failure) => {
            let run_dir = rundir::prepare(&loaded.settings.run_dir, &Identity::same()).is_ok();
            let run_dir = run_dir.then_some(loaded.settings.run_dir.as_path());
            return give_up(&EventLog::open(loaded.settings.log_format, run_dir), &[failure]);
        }
    };
    let run_dir = rundir::prepare(&loaded.settings.run_dir, &identity);
    let sound = run_dir.is_ok().then_some(loaded.settings.run_dir.as_path());
    let event_log = EventLog::open(loaded.settings.log_format, sound);
    let signals = match signals {
        Ok(signals) => signals,
        Err(error) => {
            return give_up(
                &event_log,
                &[Failure::preconfigure(Exit::Internal, format!("signalfd: {error}"))],
            );
        }
    };
    log_settings(&event_log, &loaded, why_same);
    let claimed = run_dir.and_then(|()| rundir::claim(&loaded.settings.run_dir));
    let (_run_dir, failure) = match claimed {
        Ok(guard) => (Some(guard), None),
        Err(failure) => (None, Some(failure)),
    };
    let mut failures: Vec<_> = failure.into_iter().collect();
    failures.extend(resources::too_little(&loaded.settings, MemoryLimit::find().as_ref()));
    failures.extend(resources::too_few_threads(&loaded.settings, threads::limit()));
    let mut mounter = Mounter::new(&signals, identity, &loaded.settings.run_dir);
    let directories = prepare(&event_log, &mut loaded, &mut mounter, &mut failures);
    let settings = &loaded.settings;
    let mut keys = None;
    // If the place of the keys has failed, nothing more can be said about them.
    if directories.keys.is_some() || failures.is_empty() {
        match read_keys(&event_log, settings, &directories, &signals, identity) {
            Ok(watch) => keys = watch,
            Err(failure) => failures.push(failure),
        }
    }
    let upstreams = read_upstream_files(settings, &signals, identity)
        .unwrap_or_else(|failure| failed(&mut failures, failure));
    // When a stop was requested, the reasons not to start do not matter any more.
    if !failures.is_empty() && !signals.stop_has_come() {
        return give_up(&event_log, &failures);
    }
    get_ready_for_children(&event_log);
    log_limits(&event_log, settings);
    let directory = working_directory(settings, &directories);
    let carrier = carrier(settings, &directories)
        .map(|properties| CarrierSupervisor::new(&event_log, identity, directory, properties));
    CoreSupervisor::new(settings, &event_log, &signals, identity)
        .working_in(directory)
        .with_keys(keys)
        .with_upstreams(upstreams)
        .with_dkim(read_dkim(&event_log, &directories, &signals, identity))
        .with_carrier(carrier)
        .run_until_signal()
}

fn give_up(event_log: &EventLog, failures: &[Failure]) -> u8 {
    for failure in failures {
        event_log.fail(failure);
    }
    exit_of(failures).code()
}

/// Logs the effective configuration, with remarks.
fn log_settings(event_log: &EventLog, loaded: &LoadedProperties, why_same: Option<String>) {
    event_log.note(
        Severity::Info,
        format!("postern {} starts; its properties:", env!("CARGO_PKG_VERSION")),
    );
    for line in check::table(loaded) {
        event_log.note(Severity::Info, line);
    }
    for note in &loaded.notes {
        event_log.note(Severity::Info, note.clone());
    }
    for warning in loaded.warnings.iter().cloned().chain(why_same) {
        event_log.record(Severity::Warning, warning);
    }
    if let Some(path) = event_log.path() {
        event_log.note(Severity::Info, format!("the appliance log is {}", path.display()));
    }
}

/// Logs who may relay, and what memory and descriptors suffice for.
fn log_limits(event_log: &EventLog, settings: &Settings) {
    // From now on the limit of open files is the one that the core will have.
    let files = getrlimit(Resource::RLIMIT_NOFILE).map_or(OPEN_FILES, |(soft, _)| soft);
    let resources = Resources::of(settings, MemoryLimit::find().as_ref(), files);
    log_relay_policy(event_log, settings, &resources);
    log_resources(event_log, settings, &resources);
}

/// Logs which clients may relay, when the gateways through which mail will leave are known.
fn log_relay_policy(event_log: &EventLog, settings: &Settings, resources: &Resources) {
    let words = relay_summary::who_may_relay(&settings.smtpd_trusted_networks, &default_gateways());
    event_log.note(Severity::Info, format!("who may relay: {}", words.statement));
    words.warnings.into_iter().for_each(|warning| event_log.record(Severity::Warning, warning));
    if let Some(words) = relay_summary::who_may_log_in(settings) {
        event_log.note(Severity::Info, format!("who may log in: {}", words.statement));
        words.warnings.into_iter().for_each(|warning| event_log.record(Severity::Warning, warning));
    }
    let directories = resources.for_strangers();
    if let Some(share) = relay_summary::gateway_share(
        &settings.smtpd_trusted_networks,
        &default_gateways(),
        directories,
    ) {
        event_log.note(Severity::Info, share);
    }
}

/// Logs who may relay, and what memory and descriptors suffice for.
fn log_resources(event_log: &EventLog, settings: &Settings, resources: &Resources) {
    log_relay_policy(event_log, settings, resources);
    event_log.note(Severity::Info, resources.words());
    if let Some(warning) = resources.warning(settings) {
        event_log.record(Severity::Warning, warning);
    }
}

/// The paths of terminals and volumes, and all their failures.
fn prepare(
    event_log: &EventLog,
    loaded: &mut LoadedProperties,
    mounter: &mut Mounter<'_>,
    failures: &mut Vec<Failure>,
) -> MountPaths {
    let settings = &mut loaded.settings;
    let mut directories = MountPaths::default();
    // First, because file servers and monitors may be behind it.
    match terminal::gateway::connect(settings, mounter) {
        Ok(events) => {
            events.into_iter().for_each(|event| event_log.record(event.severity, event.text))
        }
        Err(failure) => failures.push(failure),
    }
    match terminal::connect(settings, mounter) {
        Ok(notes) => notes.into_iter().for_each(|note| event_log.record(Severity::Warning, note)),
        Err(failure) => failures.push(failure),
    }
    // A signal meanwhile leaves paths unset; the supervisor handles it before it starts anything.
    directories.log =
        terminal::log(settings, mounter).unwrap_or_else(|failure| failed(failures, failure));
    directories.keys =
        terminal::fs(settings, mounter).unwrap_or_else(|failure| failed(failures, failure));
    if let Some(key) = settings.volume_key.take() {
        settings.volume_key =
            volume::mounted_key(&key, mounter).unwrap_or_else(|failure| failed(failures, failure));
        directories.keys.clone_from(&settings.volume_key);
    }
    if let Err(failure) = volume::check_keys(settings, mounter) {
        directories.keys = None;
        failures.push(failure);
    }
    match volume::mounted_data(&settings.volume_data, mounter) {
        Ok(None) => return directories,
        Ok(Some(directory)) => settings.volume_data = directory,
        Err(failure) => return failed(failures, failure).unwrap_or(directories),
    }
    match volume::prepared_data(&settings.volume_data, mounter, volume::in_container()) {
        Ok(warnings) => warnings
            .into_iter()
            .flatten()
            .for_each(|warning| event_log.record(Severity::Warning, warning)),
        Err(failure) => failures.push(failure),
    }
    match volume::is_out_of_reach(&settings.volume_data, mounter) {
        Ok(out_of_reach) => directories.data_as_working_directory = out_of_reach == Some(true),
        Err(failure) => failures.push(failure),
    }
    directories
}

fn failed<T>(failures: &mut Vec<Failure>, failure: Failure) -> Option<T> {
    failures.push(failure);
    None
}

/// The TLS key pair, and the watch over its files; `None` while TLS is off.
fn read_keys(
    event_log: &EventLog,
    settings: &Settings,
    directories: &MountPaths,
    signals: &SupervisorSignals,
    identity: Identity,
) -> Result<Option<FileWatch<KeyFiles>>, Failure> {
    let Some(files) = KeyFiles::of(settings, directories.keys.as_deref())? else { return Ok(None) };
    let read = worker_process::run(file_watch::FIRST_PATIENCE, signals, || files.read(&identity));
    let keys = read
        .unwrap_or_else(|lost| Err(files.not_answering(&lost.to_string())))
        .map_err(KeyFiles::failure)?;
    let exposed =
        worker_process::run(file_watch::FIRST_PATIENCE, signals, || files.exposed(&identity));
    if let Ok(Some(warning)) = exposed {
        event_log.record(Severity::Warning, warning);
    }
    Ok(Some(FileWatch::new(files, identity, keys)))
}

/// The files of upstreams, and the watch over them; `None` when there are none.
fn read_upstream_files(
    settings: &Settings,
    signals: &SupervisorSignals,
    identity: Identity,
) -> Result<Option<FileWatch<UpstreamFiles>>, Failure> {
    let Some(files) = UpstreamFiles::of(settings) else { return Ok(None) };
    let read = worker_process::run(file_watch::FIRST_PATIENCE, signals, || files.read(&identity));
    let content = read
        .unwrap_or_else(|lost| Err(files.not_answering(&lost.to_string())))
        .map_err(UpstreamFiles::failure)?;
    Ok(Some(FileWatch::new(files, identity, content)))
}

/// Where the core and the carrier work.
fn working_directory<'a>(settings: &'a Settings, directories: &MountPaths) -> &'a Path {
    match directories.data_as_working_directory {
        true => &settings.volume_data,
        false => Path::new("/"),
    }
}

/// The DKIM keys of the key volume, and the watch over them; `None` without one. The relay starts
/// without keys that cannot be read: mail waits for them.
fn read_dkim(
    event_log: &EventLog,
    directories: &MountPaths,
    signals: &SupervisorSignals,
    identity: Identity,
) -> Option<FileWatch<DkimDirectory>> {
    let files = DkimDirectory::new(directories.keys.as_deref()?);
    let read = worker_process::run(file_watch::FIRST_PATIENCE, signals, || files.read(&identity));
    let content = read.unwrap_or_else(|lost| Err(files.not_answering(&lost.to_string())));
    let content = content.unwrap_or_else(|why| {
        event_log.record(Severity::Error, format!("the DKIM key files cannot be read: {why}"));
        Vec::new()
    });
    Some(FileWatch::new(files, identity, content))
}

/// The task of the mail log's carrier: only what it needs, so that it never gets a secret. `None` =
/// there is no mail log.
fn carrier(settings: &Settings, directories: &MountPaths) -> Option<String> {
    let data = if directories.data_as_working_directory {
        Path::new(AS_WORKING_DIRECTORY)
    } else {
        &settings.volume_data
    };
    let task = serde_json::json!({
        "volume_data": data.display().to_string(),
        "terminal_log": directories.log.as_ref()?.display().to_string(),
        "maillog_filename": settings.maillog_filename.as_ref()?,
        "timezone": settings.timezone.clone().unwrap_or_default(),
    });
    Some(task.to_string())
}

/// Becomes the parent of orphaned descendants to reap them (PID 1 is that by default); and lets the
/// core open many files.
fn get_ready_for_children(event_log: &EventLog) {
    if let Err(error) = nix::sys::prctl::set_child_subreaper(true) {
        event_log
            .note(Severity::Warning, format!("orphaned processes are left to others: {error}"));
    }
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        setrlimit(Resource::RLIMIT_NOFILE, soft.max(OPEN_FILES.min(hard)), hard)
    });
    if let Err(error) = raised {
        event_log
            .note(Severity::Warning, format!("the limit of open files stays as it is: {error}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::appliance::property::{Secret, Settings};
    use std::path::PathBuf;

    #[test]
    fn the_carrier_is_told_what_it_needs_and_no_secret() {
        let Ok(loaded) = property::load() else { panic!("the defaults are right") };
        let settings = Settings {
            maillog_filename: Some("srv1/maillog".to_owned()),
            password: Some(Secret::new("hunter2".to_owned())),
            webhook_secret: Some(Secret::new("whsec_hunter2".to_owned())),
            ..loaded.settings
        };
        let directories =
            MountPaths { log: Some(PathBuf::from("/terminals/log")), ..MountPaths::default() };
        let task: serde_json::Value =
            serde_json::from_str(&carrier(&settings, &directories).unwrap()).unwrap();
        let names: Vec<_> = task.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names, ["maillog_filename", "terminal_log", "timezone", "volume_data"]);
        assert!(!task.to_string().contains("hunter2"));
    }
}

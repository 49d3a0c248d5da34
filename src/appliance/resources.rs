//! Divides the memory, the file descriptors and the threads of this process.
//!
//! In: properties, the limits on memory, open files, processes and threads. Out: [`Resources`], the
//! limits within which the kernel never kills the core for lack of memory; a failure if it cannot
//! work at all. Limits: the shares below. All buffers of a session are counted as if they were full
//! at the same time.

use super::failure::{Exit, Failure};
use super::property::Settings;
use super::start_errors::PRECONFIGURE;
use crate::ground::credential::password::Password;
use crate::ground::memory::MemoryLimit;

/// Memory of supervisor, core, health checks and the program's code, apart from everything that is
/// divided below.
pub const FIXED: u64 = 20 << 20;

/// With less than this in addition to [`FIXED`] and the largest hash there is no start.
pub const LEAST: u64 = 8 << 20;

/// Below this limit buffers are small from the start.
const TIGHT: u64 = 256 << 20;

/// Shares of what is left after [`FIXED`] and the largest hash, in percent; the rest is for the
/// queue, whose memory the gauge watches.
mod share {
    /// SMTP sessions.
    pub(super) const SESSIONS: u64 = 64;
    /// Connections to next hops.
    pub(super) const AGENTS: u64 = 11;
    /// Answers of the web UI.
    pub(super) const ANSWERS: u64 = 7;
    /// Content that is being written to the disk.
    pub(super) const CONTENT: u64 = 6;
    /// New mail in memory.
    pub(super) const FRESH: u64 = 5;
    /// Input buffers of sessions that send content.
    pub(super) const INPUT: u64 = 3;
}

/// A TLS connection to a next hop with its buffers, in octets.
const AGENT: u64 = 48 << 10;

/// One in so many of the connections to next hops is for agents beyond the limit (overtime).
const OVERTIME_PART: u32 = 3;

/// A session without its input and the buffer of its content: its task, its slot, the kernel's
/// buffers. Those are 9 KB for an untrusted client whose input nobody reads
/// (`ground/net/serve.rs`); trusted clients are not counted higher.
const SESSION: u64 = 13 << 10;

/// Additional memory for TLS: its keys, and an incomplete record (RFC 8446 §5.2: a little over 16
/// KiB).
const SESSION_TLS: u64 = 28 << 10;

/// Open files for the core, if the hard limit allows as many: each session and each delivery needs
/// a few.
pub const OPEN_FILES: u64 = 65_536;

/// Descriptors for everything except sessions and deliveries: 136 for connections to `ui_port`, two
/// for each of 64 to the control socket, and 120 for listeners, segments of the queue and DNS
/// queries.
pub const FILES: u64 = 384;

/// Threads and processes besides those for mail and for the disk: supervisor, the core's first
/// thread, log, mail log, committer, history, HTTP server, passwords, counting, orders of the
/// supervisor, two of the watchdog, four of the allocator, carrier; and reserve for worker
/// processes, health checks and tools.
const THREADS: u64 = 24;

/// Threads of mail that wait for the disk, if there is no limit: more do not make a disk faster,
/// and each takes memory.
const DISK_THREADS: u64 = 64;

/// With fewer of them there is no start: a disk that hangs must not block pages and the mail log as
/// well.
const DISK_THREADS_LEAST: u64 = 4;

/// Threads of the HTTP server that wait for the disk, if there is no limit.
const HTTP_THREADS: u64 = 16;

/// One in so many of the threads for the disk is for the HTTP server.
const HTTP_THREADS_PART: u64 = 4;

/// With a single one a page that waits for the disk would block all others.
const HTTP_THREADS_LEAST: u64 = 2;

/// The limits of each resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resources {
    /// SMTP sessions; at most `session_limit`.
    pub sessions: u32,
    /// Of these for trusted clients; at most `session_reserve`.
    pub reserve: u32,
    /// Why there are fewer sessions than `session_limit`.
    pub scarce: Option<Shortage>,
    /// Connections to next hops.
    pub agents: u32,
    /// Connections beyond these that only wait for the reply to the end of data.
    pub overtime: u32,
    /// Octets of a session's input buffer while idle.
    pub input: usize,
    /// Octets by which all input buffers together may grow.
    pub wide: usize,
    /// Octets of content that each writer may keep in memory.
    pub buffer_own: usize,
    /// Octets of content that all writers together may borrow.
    pub buffer_shared: usize,
    /// Octets of new mail in memory.
    pub fresh: u64,
    /// Octets of answers of the web UI.
    pub answers: usize,
    limit: Option<(u64, bool)>,
}

/// The resource that is scarce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shortage {
    /// Memory.
    Memory,
    /// File descriptors; their number.
    Files(u64),
}

impl Resources {
    /// Divides the resources. `files` is the limit of open files.
    pub fn of(settings: &Settings, ceiling: Option<&MemoryLimit>, files: u64) -> Self {
        let octets = ceiling.map_or(u64::MAX, |ceiling| ceiling.octets);
        let left = octets
            .saturating_sub(FIXED + largest_hash(settings).map_or(0, |(_, octets)| octets))
            .max(LEAST / 2);
        let part = |percent: u64| left / 100 * percent;
        let size = |octets: u64| usize::try_from(octets).unwrap_or(usize::MAX);
        let (input, own) = if octets < TIGHT { (4 << 10, 4 << 10) } else { (8 << 10, 16 << 10) };
        let session = SESSION + input + own + if settings.ssl_disabled { 0 } else { SESSION_TLS };
        let number = |number: u64| u32::try_from(number).unwrap_or(u32::MAX).max(2);
        // A large mail needs a file in addition to its connection, both at intake and at delivery.
        let files_left = files.saturating_sub(FILES.min(files / 2)) / 2;
        let wanted = settings.session_limit;
        let (by_memory, by_files) =
            (number(part(share::SESSIONS) / session), number(files_left / 4 * 3));
        let sessions = wanted.min(by_memory).min(by_files);
        let scarce = match sessions {
            _ if sessions == wanted => None,
            _ if sessions == by_memory => Some(Shortage::Memory),
            _ => Some(Shortage::Files(files)),
        };
        let connections = number((part(share::AGENTS) / AGENT).min(files_left / 4));
        let overtime = connections / OVERTIME_PART;
        let reserve = u64::from(settings.sessions_reserved()) * u64::from(sessions)
            / u64::from(wanted.max(1));
        Self {
            sessions,
            reserve: u32::try_from(reserve).unwrap_or(sessions),
            scarce,
            agents: connections - overtime,
            overtime,
            input: size(input),
            wide: size(part(share::INPUT)),
            buffer_own: size(own),
            buffer_shared: size(part(share::CONTENT)),
            fresh: part(share::FRESH),
            answers: size(part(share::ANSWERS)),
            limit: ceiling.map(|ceiling| (ceiling.octets, ceiling.is_set())),
        }
    }

    /// SMTP sessions that untrusted clients may have.
    pub fn for_strangers(&self) -> u32 {
        self.sessions.saturating_sub(self.reserve)
    }

    /// One line for the log at start.
    pub fn words(&self) -> String {
        let limit = match self.limit {
            Some((octets, true)) => format!("the limit is {}", megabytes(octets)),
            Some((octets, false)) => {
                format!("there is no limit but the machine's {}", megabytes(octets))
            }
            None => "there is no limit".to_owned(),
        };
        format!(
            "memory: {limit}; room for {} SMTP sessions ({} of them kept for trusted clients)",
            self.sessions, self.reserve
        )
    }

    /// A warning for the operator, with what to do.
    pub fn warning(&self, settings: &Settings) -> Option<String> {
        let (wanted, sessions) = (settings.session_limit, self.sessions);
        Some(match self.scarce? {
            Shortage::Memory => format!(
                "session_limit={wanted}, and there is memory for {sessions} SMTP sessions; those \
                beyond are answered 421 4.3.2. Give \
                 the container more memory, or lower session_limit"
            ),
            Shortage::Files(files) => format!(
                "session_limit={wanted}, and {files} open files are enough for {sessions} SMTP \
                sessions; those beyond are answered \
                 421. Raise the hard limit of open files (docker run --ulimit nofile=65536), or \
                 lower session_limit"
            ),
        })
    }
}

/// Threads of mail that may wait for the disk, within a limit of processes and threads.
pub fn disk_threads(settings: &Settings, limit: Option<u64>) -> usize {
    let left = threads_left(settings, limit).saturating_sub(for_http(settings, limit));
    usize::try_from(left.clamp(1, DISK_THREADS)).unwrap_or(1)
}

/// Threads of the HTTP server that may wait for the disk, within a limit of processes and threads.
pub fn http_threads(settings: &Settings, limit: Option<u64>) -> usize {
    usize::try_from(for_http(settings, limit)).unwrap_or(1)
}

fn for_http(settings: &Settings, limit: Option<u64>) -> u64 {
    (threads_left(settings, limit) / HTTP_THREADS_PART).clamp(HTTP_THREADS_LEAST, HTTP_THREADS)
}

/// The threads that are left for the disk.
fn threads_left(settings: &Settings, limit: Option<u64>) -> u64 {
    limit.unwrap_or(u64::MAX).saturating_sub(THREADS + mail_threads(settings))
}

/// Why the core cannot work with so few processes and threads, with what to do.
pub fn too_few_threads(settings: &Settings, limit: Option<u64>) -> Option<Failure> {
    let (limit, mail) = (limit?, mail_threads(settings));
    let least = THREADS + mail + DISK_THREADS_LEAST + HTTP_THREADS_LEAST;
    (limit < least).then(|| {
        let ample = THREADS + mail + DISK_THREADS + HTTP_THREADS;
        let cause = format!(
            "no more than {limit} processes and threads are allowed here, and with \
            worker_threads={mail} there must be room for {least}: \
             allow {ample} or more (docker run --pids-limit {ample}; a limit of nproc, too)"
        );
        Failure::new(Exit::Property, PRECONFIGURE, cause)
    })
}

fn mail_threads(settings: &Settings) -> u64 {
    u64::try_from(settings.worker_threads).unwrap_or(u64::MAX / 2)
}

/// Why the core cannot work within the memory limit, with what to do.
pub fn too_little(settings: &Settings, ceiling: Option<&MemoryLimit>) -> Option<Failure> {
    let ceiling = ceiling?;
    let limit = megabytes(ceiling.octets);
    if let Some((name, octets)) = largest_hash(settings)
        && ceiling.octets < FIXED + LEAST + octets
    {
        let (hash, need) = (megabytes(octets), megabytes(FIXED + LEAST + octets));
        let cause = format!(
            "{name} is an Argon2 hash that takes {hash} of memory for each login, and the limit is \
            {limit}: make one that takes less (m=19456 means 19 MB) or a bcrypt hash (htpasswd \
            -nbB), or give the container at \
             least {need}"
        );
        return Some(Failure::new(Exit::Property, PRECONFIGURE, cause));
    }
    None
}

/// Octets that a hash which comes later may take: as much as those at the start, within a limit of
/// memory that is `set`.
pub fn hash_memory(settings: &Settings, ceiling: Option<&MemoryLimit>) -> u64 {
    match ceiling.is_some_and(MemoryLimit::is_set) {
        true => largest_hash(settings).map_or(0, |(_, octets)| octets),
        false => u64::MAX,
    }
}

/// The most memory that one hash takes, and its owner. One is computed at a time.
fn largest_hash(settings: &Settings) -> Option<(String, u64)> {
    let login = settings.username.as_ref().and(settings.password.as_ref());
    let login =
        login.map(|password| ("password".to_owned(), Password::of(password.expose()).memory()));
    let tokens = settings.api_tokens.iter().map(|account| {
        let octets =
            Password::stored(account.hash.expose()).map_or(0, |password| password.memory());
        (format!("the entry {} of api_tokens", account.name), octets)
    });
    let users = settings.smtp_users.iter().map(|account| {
        let octets =
            Password::stored(account.hash.expose()).map_or(0, |password| password.memory());
        (format!("the entry {} of smtp_users", account.name), octets)
    });
    login
        .into_iter()
        .chain(tokens)
        .chain(users)
        .max_by_key(|(_, octets)| *octets)
        .filter(|(_, octets)| *octets > 0)
}

fn megabytes(octets: u64) -> String {
    format!("{} MB", octets.div_ceil(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::appliance::property::{self, Secret};

    const FILES_ENOUGH: u64 = 65_536;

    fn settings() -> Settings {
        let Ok(loaded) = property::load() else { panic!("the defaults are right") };
        Settings { ssl_disabled: false, ..loaded.settings }
    }

    fn of(settings: &Settings, megabytes: u64) -> Resources {
        Resources::of(settings, Some(&MemoryLimit::of(megabytes << 20)), FILES_ENOUGH)
    }

    #[test]
    fn the_least_of_the_class_is_enough_for_every_default() {
        let settings = settings();
        let least = of(&settings, 96);
        assert_eq!((least.sessions, least.reserve, least.scarce), (1000, 200, None), "{least:?}");
        assert!(least.agents >= 100 && least.overtime >= 50, "{least:?}");
        let session = SESSION + SESSION_TLS + (least.input + least.buffer_own) as u64;
        let pools = (least.wide + least.buffer_shared + least.answers) as u64 + least.fresh;
        let all = FIXED
            + u64::from(least.sessions) * session
            + u64::from(least.agents + least.overtime) * AGENT
            + pools;
        assert!(all <= 96 << 20, "{} MB", all >> 20);
        assert_eq!(least.warning(&settings), None);
        assert!(
            least
                .words()
                .starts_with("memory: the limit is 96 MB; room for 1000 SMTP sessions (200 "),
            "{}",
            least.words()
        );
    }

    #[test]
    fn what_there_is_no_memory_for_is_told() {
        let many = Settings { session_limit: 20_000, session_reserve: None, ..settings() };
        let small = of(&many, 96);
        assert_eq!(small.scarce, Some(Shortage::Memory));
        assert!(
            (1000..1200).contains(&small.sessions) && small.reserve == small.sessions / 5,
            "{small:?}"
        );
        assert!(small.warning(&many).unwrap().contains("there is memory for 1"));
        assert_eq!(of(&many, 8192).scarce, None);
        let none = Resources::of(&many, None, FILES_ENOUGH);
        assert_eq!((none.sessions, none.input, none.buffer_own), (20_000, 8192, 16_384));
    }

    #[test]
    fn few_threads_leave_fewer_for_the_disk_and_too_few_stop_the_start() {
        let settings = Settings { worker_threads: 8, ..settings() };
        let all = THREADS + 8 + DISK_THREADS + HTTP_THREADS;
        let both = |limit| (disk_threads(&settings, limit), http_threads(&settings, limit));
        assert_eq!(
            [both(None), both(Some(all)), both(Some(all - 1))],
            [(64, 16), (64, 16), (63, 16)]
        );
        assert_eq!([both(Some(64)), both(Some(38)), both(Some(1))], [(24, 8), (4, 2), (1, 2)]);
        for limit in 38..=all {
            let (disk, http) = both(Some(limit));
            assert!(THREADS + 8 + (disk + http) as u64 <= limit, "{limit}: {disk} and {http}");
        }
        assert!(too_few_threads(&settings, Some(38)).is_none());
        let cause = too_few_threads(&settings, Some(37)).unwrap().cause;
        assert!(cause.contains("worker_threads=8 there must be room for 38: allow 112"), "{cause}");
    }

    #[test]
    fn few_descriptors_lower_the_sessions() {
        let settings = settings();
        let few = Resources::of(&settings, None, 1024);
        assert_eq!(
            (few.sessions, few.agents + few.overtime, few.scarce),
            (240, 80, Some(Shortage::Files(1024)))
        );
        assert_eq!(few.for_strangers(), 192);
        let words = few.warning(&settings).unwrap();
        assert!(
            words.contains("1024 open files are enough for 240 SMTP sessions")
                && words.contains("--ulimit"),
            "{words}"
        );
        let least = Resources::of(&settings, None, 32);
        assert!(least.sessions >= 2 && least.agents >= 2, "{least:?}");
    }

    #[test]
    fn a_hash_that_does_not_fit_stops_the_start_and_one_that_does_has_its_memory() {
        let hash = |kibibytes: u32| {
            format!(
                "$argon2id$v=19$m={kibibytes},t=2,p=1$c2FsdHNhbHRzYWx0$/e3GcjItmBpwkaDcmKKe9jJxL2dVDYkrKlSB+bgh9Gw"
            )
        };
        let with = |kibibytes| Settings {
            username: Some("anna".to_owned()),
            password: Some(Secret::new(hash(kibibytes))),
            ..settings()
        };
        let ceiling = MemoryLimit::of(96 << 20);
        assert!(too_little(&with(65_536), Some(&ceiling)).is_none());
        assert!(of(&with(65_536), 96).sessions < 200);
        let failure = too_little(&with(131_072), Some(&ceiling)).unwrap();
        let cause = failure.cause;
        assert!(
            cause.starts_with("password is an Argon2 hash that takes 128 MB")
                && cause.contains("at least 156 MB"),
            "{cause}"
        );
        assert!(too_little(&with(131_072), None).is_none());
        let unused = Settings { username: None, ..with(131_072) };
        assert!(
            too_little(&unused, Some(&ceiling)).is_none(),
            "without a user name nobody logs in"
        );
    }
}

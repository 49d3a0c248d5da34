//! Checks whether this core is alive, by a probe through each of its parts.
//!
//! Every second a probe goes through the mail runtime, the queue's locks, the committer and the
//! runtime of the HTTP server. Only when all have answered is `alive` reported to the supervisor. A
//! part that has not answered for [`LATE`] hangs, and is named. While a disk access takes longer
//! than [`SLOW`], the disk is named instead: what waits for it does not hang.
//!
//! A probe is answered by any free thread of the mail runtime. So each of these threads is checked
//! as well: one that neither ends a task nor becomes idle for [`LATE`] hangs, with all tasks that
//! it has.
//!
//! Health checks must be answered even when the HTTP server hangs, so this thread then accepts
//! connections itself, and reports what hangs. Limits: two threads; one probe for each part; time
//! counts only while this thread is scheduled, so that a pause of the whole process counts against
//! no part.

use super::process_resources::ProcessResources;
use crate::appliance::supervise::status::CoreHealth;
use crate::appliance::supervise::watchdog::LATE;
use crate::ground::disk::{DiskCall, DiskCalls, SLOW};
use crate::ground::lock::Lock;
use crate::mail::outbound::Outbound;
use crate::mail::spool::SegmentLog;
use crate::monitor::counters::MonitorCounters;
use crate::monitor::watchdog::Vitals;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// How often all parts are probed.
const PACE: Duration = Duration::from_secs(1);

/// How long one connection may occupy this thread.
const KNOCK_PATIENCE: Duration = Duration::from_millis(100);

/// Connections that are answered in one step, at most.
const KNOCKS_MAX: usize = 32;

/// The probes.
pub(super) struct Probes {
    pub(super) mail: Handle,
    pub(super) http: Handle,
    pub(super) outbound: Arc<Outbound<SegmentLog>>,
    pub(super) spool: Arc<SegmentLog>,
}

/// One part of the core.
struct Part {
    name: &'static str,
    ask: Box<dyn Fn(Answer) + Send>,
    asked: u64,
    answered: Answer,
    /// How long the last probe has waited.
    waited: Duration,
}

/// Reports that a probe was answered.
#[derive(Clone, Default)]
struct Answer(Arc<AtomicU64>);

impl Answer {
    fn come(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }
}

/// Runs until the process ends.
///
/// # Errors
/// No thread can be created.
pub(super) fn watch(
    probes: Probes,
    listeners: FallbackListeners,
    vitals: Arc<Vitals>,
    process: &ProcessResources,
) -> io::Result<()> {
    let (calls, counters, status) =
        (process.calls.clone(), process.counters.monitor.clone(), process.status.clone());
    let mut workers = Workers::new(probes.mail.clone());
    let mut parts = parts(probes)?;
    let watch = move || {
        let mut last = Instant::now();
        loop {
            let http_hangs = parts.iter().any(|part| part.name == HTTP && part.waited >= LATE);
            if http_hangs {
                listeners.open(PACE, &vitals);
            } else {
                thread::sleep(PACE);
            }
            let passed = last.elapsed().min(2 * PACE);
            last = Instant::now();
            calls.turn();
            let late = turn(&mut parts, passed).or_else(|| workers.turn(passed));
            let slow = disk(&calls, &counters);
            vitals.note(late.clone().filter(|_| slow.is_none()), slow.clone());
            match (slow, late) {
                // A part that waits for a disk may look as if it hung.
                (Some(slow), _) => status.health(&CoreHealth::Slow(slow)),
                (None, Some(late)) => status.health(&CoreHealth::Late(late)),
                // A part that is probed and not late yet must not stop the reports: a missing
                // report counts as a hang.
                (None, None) => status.health(&CoreHealth::Alive),
            }
        }
    };
    thread::Builder::new().name("watchdog".to_owned()).spawn(watch).map(drop)
}

const HTTP: &str = "stats UI";

fn parts(probes: Probes) -> io::Result<Vec<Part>> {
    let Probes { mail, http, outbound, spool } = probes;
    let committed = spool.clone();
    let locks = on_a_thread("watchdog-locks", move || {
        outbound.probe_lock();
        spool.totals();
    })?;
    let part = |name, ask| Part {
        name,
        ask,
        asked: 0,
        answered: Answer::default(),
        waited: Duration::ZERO,
    };
    Ok(vec![
        part("mail runtime", on_a_runtime(mail)),
        part("queue lock", locks),
        part("committer", Box::new(move |answer| committed.probe_committer(move || answer.come()))),
        part(HTTP, on_a_runtime(http)),
    ])
}

/// A probe that a runtime answers if its timer works and one of its threads is free.
fn on_a_runtime(runtime: Handle) -> Box<dyn Fn(Answer) + Send> {
    Box::new(move |answer| {
        runtime.spawn(async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            answer.come();
        });
    })
}

/// A probe that may block the calling thread.
fn on_a_thread(
    name: &str,
    work: impl Fn() + Send + 'static,
) -> io::Result<Box<dyn Fn(Answer) + Send>> {
    let (ask, asked): (Sender<Answer>, _) = channel();
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        for answer in asked {
            work();
            answer.come();
        }
    })?;
    Ok(Box::new(move |answer| {
        // Its thread ends with the process.
        let _ = ask.send(answer);
    }))
}

/// Probes the parts that have answered. Gives a part that has not answered for long.
fn turn(parts: &mut [Part], passed: Duration) -> Option<String> {
    let mut late = Vec::new();
    for part in parts {
        if part.answered.0.load(Ordering::Acquire) == part.asked {
            part.waited = Duration::ZERO;
            part.asked += 1;
            (part.ask)(part.answered.clone());
            continue;
        }
        part.waited += passed;
        if part.waited >= LATE {
            late.push(format!("{}: no turn for {} s", part.name, part.waited.as_secs()));
        }
    }
    (!late.is_empty()).then(|| late.join(", "))
}

/// The threads of the mail runtime.
struct Workers {
    mail: Handle,
    seen: Vec<Worker>,
}

/// One of them.
#[derive(Debug, Clone, Copy, Default)]
struct Worker {
    /// How often it became idle and woke up, and its busy time, which is updated between tasks.
    last: (u64, Duration),
    /// How long neither has changed while it was busy.
    same_for: Duration,
}

impl Workers {
    fn new(mail: Handle) -> Self {
        let seen = vec![Worker::default(); mail.metrics().num_workers()];
        Self { mail, seen }
    }

    /// Checks each of them. Gives one that has been in a single task for long.
    fn turn(&mut self, passed: Duration) -> Option<String> {
        let (metrics, all) = (self.mail.metrics(), self.seen.len());
        let mut late = Vec::new();
        for (number, worker) in self.seen.iter_mut().enumerate() {
            let now = (
                metrics.worker_park_unpark_count(number),
                metrics.worker_total_busy_duration(number),
            );
            worker.turn(now, passed);
            if worker.same_for >= LATE {
                let since = worker.same_for.as_secs();
                late.push(format!(
                    "mail thread {} of {all}: in one task for {since} s",
                    number + 1
                ));
            }
        }
        (!late.is_empty()).then(|| late.join(", "))
    }
}

impl Worker {
    fn turn(&mut self, now: (u64, Duration), passed: Duration) {
        // The count rises when it becomes idle and when it wakes up: odd while it is idle.
        let rests = now.0 % 2 == 1;
        let same = now == self.last && !rests;
        self.same_for = if same { self.same_for + passed } else { Duration::ZERO };
        self.last = now;
    }
}

/// What the disk does not do, as text; updates its gauges.
fn disk(calls: &DiskCalls, counters: &MonitorCounters) -> Option<String> {
    let sync = calls.oldest_sync().unwrap_or_default();
    counters.sync_running_seconds.set(i64::try_from(sync.as_secs()).unwrap_or(i64::MAX));
    let returned = calls.slow_syncs();
    counters.slow_syncs_total.inc_by(returned.saturating_sub(counters.slow_syncs_total.get()));
    let (call, since) = calls.oldest()?;
    let (call, since) = if sync >= SLOW { (DiskCall::Sync, sync) } else { (call, since) };
    (since >= SLOW).then(|| format!("data volume: {} for {} s", call.as_str(), since.as_secs()))
}

/// The listeners of the HTTP server, to be answered here while it hangs.
pub(super) struct FallbackListeners {
    public: Vec<TcpListener>,
    control: Control,
}

/// The control socket, which may be replaced later.
pub(super) type Control = Arc<Lock<Arc<UnixListener>>>;

impl FallbackListeners {
    /// Duplicates of the same listeners.
    ///
    /// # Errors
    /// No descriptor is left.
    pub(super) fn of(public: &[TcpListener], control: &UnixListener) -> io::Result<Self> {
        let public = public.iter().map(TcpListener::try_clone).collect::<io::Result<_>>()?;
        Ok(Self { public, control: Arc::new(Lock::leaf(Arc::new(control.try_clone()?))) })
    }

    /// The place for a new control socket.
    pub(super) fn control(&self) -> Control {
        self.control.clone()
    }

    /// Answers connections for a while: 503 and what hangs.
    fn open(&self, time: Duration, vitals: &Vitals) {
        let end = Instant::now() + time;
        let reason =
            vitals.late().or_else(|| vitals.slow()).unwrap_or_else(|| format!("{HTTP}: no turn"));
        for _ in 0..KNOCKS_MAX {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let control = self.control.lock().clone();
            let listeners = self.public.iter().map(AsFd::as_fd).chain([control.as_fd()]);
            let mut fds: Vec<_> = listeners.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
            let timeout =
                u16::try_from(left.as_millis()).map_or(PollTimeout::MAX, PollTimeout::from);
            let _ = poll(&mut fds, timeout);
            // None of them blocks: the HTTP server's runtime has set that.
            for listener in &self.public {
                if let Ok((stream, _)) = listener.accept() {
                    answer(
                        stream,
                        &reason,
                        TcpStream::set_nonblocking,
                        TcpStream::set_read_timeout,
                    );
                }
            }
            if let Ok((stream, _)) = control.accept() {
                answer(stream, &reason, UnixStream::set_nonblocking, UnixStream::set_read_timeout);
            }
        }
        thread::sleep(end.saturating_duration_since(Instant::now()));
    }
}

fn answer<S: Read + Write>(
    mut stream: S,
    reason: &str,
    set_nonblocking: impl Fn(&S, bool) -> io::Result<()>,
    set_patience: impl Fn(&S, Option<Duration>) -> io::Result<()>,
) {
    if set_nonblocking(&stream, false)
        .and_then(|()| set_patience(&stream, Some(KNOCK_PATIENCE)))
        .is_err()
    {
        return;
    }
    let mut request = [0; 2048];
    let asked = stream.read(&mut request).unwrap_or_default();
    let is_api = request[..asked]
        .split(|octet| *octet == b'\n')
        .next()
        .is_some_and(|line| contains(line, b" /api/"));
    let (kind, body) = if is_api {
        let error = serde_json::json!({ "error": format!("the core hangs: {reason}") });
        ("application/json", error.to_string())
    } else {
        ("text/plain; charset=utf-8", format!("not ready: {reason}\n"))
    };
    let head = format!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: {kind}\r\nContent-Length: \
        {}\r\nRetry-After: 10\r\nConnection: close\r\n\r\n",
        body.len()
    );
    // A new connection accepts so little without blocking.
    let _ = stream.write_all((head + &body).as_bytes());
}

fn contains(line: &[u8], word: &[u8]) -> bool {
    line.windows(word.len()).any(|app| app == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_hangs_that_neither_rests_nor_ends_a_task() {
        let mut worker = Worker::default();
        let mut turn = |parks, busy| {
            worker.turn((parks, Duration::from_secs(busy)), PACE);
            worker.same_for
        };
        assert_eq!(
            (turn(2, 5), turn(2, 6), turn(3, 6), turn(3, 6)),
            (Duration::ZERO, Duration::ZERO, Duration::ZERO, Duration::ZERO)
        );
        assert_eq!((turn(4, 6), turn(4, 6), turn(4, 6)), (Duration::ZERO, PACE, 2 * PACE));
        assert_eq!(turn(4, 7), Duration::ZERO);
    }

    #[test]
    fn each_thread_of_a_runtime_is_seen() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(3)
            .enable_all()
            .build()
            .unwrap();
        let (mut workers, go_on) = (
            Workers::new(runtime.handle().clone()),
            Arc::new(std::sync::atomic::AtomicBool::new(true)),
        );
        let spins = go_on.clone();
        let (begun, begins) = channel();
        runtime.spawn(async move {
            begun.send(()).unwrap();
            while spins.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        });
        begins.recv().unwrap();
        let mut late = None;
        for _ in 0..13 {
            // The others have something to do now and then.
            runtime.block_on(async { tokio::spawn(async {}).await.unwrap() });
            thread::sleep(Duration::from_millis(5));
            late = workers.turn(PACE);
        }
        let late = late.unwrap();
        assert!(
            late.starts_with("mail thread ")
                && late.contains(" of 3: in one task for 1")
                && !late.contains(','),
            "{late}"
        );
        go_on.store(false, Ordering::Relaxed);
        drop(runtime);
    }

    #[test]
    fn a_part_that_does_not_answer_is_named() {
        let part = |name, answers: bool| Part {
            name,
            ask: Box::new(move |answer: Answer| {
                if answers {
                    answer.come()
                }
            }),
            asked: 0,
            answered: Answer::default(),
            waited: Duration::ZERO,
        };
        let mut parts = [part("mail runtime", true), part("queue lock", false)];
        for _ in 0..10 {
            assert_eq!(turn(&mut parts, PACE), None);
        }
        assert_eq!(turn(&mut parts, PACE).as_deref(), Some("queue lock: no turn for 10 s"));
        parts[1].answered.come();
        assert_eq!(turn(&mut parts, PACE), None);
    }
}

//! The watchdog: detects a core that hangs.
//!
//! Purpose: the core reports its health every second (`core/watchdog.rs`). A core that reports that
//! one of its parts hangs ([`LATE`]), or reports nothing ([`SILENT`]), is not ready any more; one
//! that does so for `watchdog_time` is ended and started again. In: the core's reports, its state
//! in `/proc`, and the time. Out: a [`WatchdogAction`]. Pure except for [`ProcessSample::at`].
//!
//! What is never ended: a core whose disk does not answer, because the next one would wait for the
//! same disk, and this one could not even be killed; and one that is stopped by a debugger. What is
//! not counted: time in which this process was paused, too (a frozen container, a suspended
//! machine).

use super::status::CoreHealth;
use nix::unistd::Pid;
use std::fmt;
use std::fs;
use std::time::{Duration, Instant};

/// A part that has not responded for so long hangs.
pub const LATE: Duration = Duration::from_secs(10);

/// A core that reports nothing for so long hangs as a whole. Longer than [`LATE`], so that a core
/// that can still report what hangs does so first.
pub const SILENT: Duration = Duration::from_secs(13);

/// How often to check.
pub const PACE: Duration = Duration::from_secs(1);

/// If this process itself was not scheduled for longer than this, it was paused, and the waiting
/// starts again.
const PAUSED: Duration = Duration::from_secs(4);

/// Threads that are examined, at most.
const THREADS_MAX: usize = 256;

/// What the supervisor must do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchdogAction {
    /// Nothing.
    Wait,
    /// The core is not ready any more, for this reason.
    Hangs(String),
    /// The core is ready, but its disk does not answer.
    DiskIsSlow(String),
    /// It is healthy again, after so long.
    Well(Duration),
    /// End it, for this reason.
    End(String),
    /// It should be ended, but that would not help: why.
    Spare(String),
}

/// The state of the core as judged here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CoreState {
    Well,
    Slow,
    Hangs,
    /// The reason why it is not ended was reported.
    Spared,
}

/// The watch over a core that is ready.
#[derive(Debug)]
pub struct Watchdog {
    /// `None` = it is never ended.
    limit: Option<Duration>,
    last_turn: Instant,
    /// Time without a good report.
    unwell: Duration,
    /// Time without any report.
    silent: Duration,
    /// Since when the state is not good.
    since: Option<Instant>,
    said: Option<String>,
    opinion: CoreState,
}

impl Watchdog {
    /// The core is healthy now. A `limit` of zero means that it is never ended.
    pub fn new(limit: Duration, now: Instant) -> Self {
        let limit = (!limit.is_zero()).then_some(limit);
        let (unwell, silent) = (Duration::ZERO, Duration::ZERO);
        Self {
            limit,
            last_turn: now,
            unwell,
            silent,
            since: None,
            said: None,
            opinion: CoreState::Well,
        }
    }

    /// Whether no problem is known.
    pub fn is_well(&self) -> bool {
        self.opinion == CoreState::Well
    }

    /// When to check again.
    pub fn next(&self) -> Instant {
        self.last_turn + PACE
    }

    /// The core reported its health.
    pub fn hear(&mut self, health: &CoreHealth, now: Instant) -> WatchdogAction {
        self.silent = Duration::ZERO;
        match health {
            CoreHealth::Alive => {
                self.unwell = Duration::ZERO;
                self.said = None;
                self.opinion = CoreState::Well;
                self.since.take().map_or(WatchdogAction::Wait, |since| {
                    WatchdogAction::Well(now.duration_since(since))
                })
            }
            CoreHealth::Slow(what) => {
                self.unwell = Duration::ZERO;
                self.said = None;
                self.change_to(CoreState::Slow, now, || WatchdogAction::DiskIsSlow(what.clone()))
            }
            CoreHealth::Late(what) => {
                self.said = Some(what.clone());
                self.unwell = self.unwell.max(LATE);
                if self.opinion == CoreState::Spared {
                    return WatchdogAction::Wait;
                }
                self.change_to(CoreState::Hangs, now, || WatchdogAction::Hangs(what.clone()))
            }
        }
    }

    /// Time passes. `look` is called only when the core has been silent for long, or is to be
    /// ended.
    pub fn poll(&mut self, now: Instant, look: impl FnOnce() -> ProcessSample) -> WatchdogAction {
        let passed = now.saturating_duration_since(self.last_turn);
        if passed < PACE {
            return WatchdogAction::Wait;
        }
        self.last_turn = now;
        if passed > PAUSED {
            (self.unwell, self.silent) = (Duration::ZERO, Duration::ZERO);
            return WatchdogAction::Wait;
        }
        self.unwell += passed;
        self.silent += passed;
        if self.unwell < SILENT && self.said.is_none() {
            return WatchdogAction::Wait;
        }
        if matches!(self.opinion, CoreState::Well | CoreState::Slow) {
            // It has reported nothing: it hangs as a whole.
            let look = look();
            return match look.disk {
                Some(_) if self.opinion == CoreState::Slow => WatchdogAction::Wait,
                _ => self
                    .change_to(CoreState::Hangs, now, || WatchdogAction::Hangs(look.to_string())),
            };
        }
        if self.limit.is_none_or(|limit| self.unwell < limit) {
            return WatchdogAction::Wait;
        }
        let look = look();
        let reason = match &self.said {
            Some(said) if self.silent < SILENT => said.clone(),
            _ => look.to_string(),
        };
        match look.is_beyond_help() {
            None => WatchdogAction::End(reason),
            Some(_) if self.opinion == CoreState::Spared => WatchdogAction::Wait,
            Some(why) => {
                self.opinion = CoreState::Spared;
                WatchdogAction::Spare(format!("{reason}; {why}"))
            }
        }
    }

    fn change_to(
        &mut self,
        opinion: CoreState,
        now: Instant,
        step: impl FnOnce() -> WatchdogAction,
    ) -> WatchdogAction {
        self.since.get_or_insert(now);
        if std::mem::replace(&mut self.opinion, opinion) == opinion {
            WatchdogAction::Wait
        } else {
            step()
        }
    }
}

/// What the kernel knows about a process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProcessSample {
    /// The state of its first thread (proc_pid_stat(5)).
    pub state: char,
    /// A thread that waits for a disk, if there is one.
    pub disk: Option<String>,
    /// The state of each thread as text.
    pub threads: Vec<String>,
}

impl ProcessSample {
    /// Examines a process; needs no privileges.
    pub fn at(pid: Pid) -> Self {
        let mut look = Self { state: '?', ..Self::default() };
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        for task in tasks.take(THREADS_MAX) {
            let text = |name| fs::read_to_string(task.path().join(name)).unwrap_or_default();
            let (stat, name) = (text("stat"), text("comm").trim().to_owned());
            let state =
                stat.rsplit(") ").next().and_then(|rest| rest.chars().next()).unwrap_or('?');
            let thread = task.file_name().to_string_lossy().into_owned();
            if thread == pid.to_string() {
                look.state = state;
            }
            if state == 'D' {
                look.disk.get_or_insert_with(|| name.clone());
            }
            let [place, call] = ["wchan", "syscall"].map(|name| text(name).trim().to_owned());
            let mut words = format!("{name} ({thread}): {}", in_words(state));
            if !matches!(place.as_str(), "" | "0") {
                words += &format!(", in {place}");
            }
            // This is readable only with permission to trace the process.
            if let Some(number) =
                call.split(' ').next().filter(|number| number.parse::<u32>().is_ok())
            {
                words += &format!(", system call {number}");
            }
            look.threads.push(words);
        }
        look
    }

    /// Why ending the process would not help.
    pub fn is_beyond_help(&self) -> Option<String> {
        match (&self.disk, self.state) {
            (_, 't') => Some("it is stopped by a debugger, so it is not killed".to_owned()),
            (Some(thread), _) => Some(format!(
                "its thread '{thread}' waits for a disk in the kernel, which a restart would \
                not fix"
            )),
            _ => None,
        }
    }

    /// Whether it can run a signal handler.
    pub fn can_answer(&self) -> bool {
        !matches!(self.state, 'T' | 't' | 'Z' | 'X' | '?')
    }
}

impl fmt::Display for ProcessSample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.state, &self.disk) {
            ('T', _) => f.write_str("it is stopped (SIGSTOP)"),
            ('t', _) => f.write_str("it is stopped by a debugger"),
            (_, Some(thread)) => {
                write!(f, "it does not answer, its thread '{thread}' waits for a disk")
            }
            _ => f.write_str("it does not answer"),
        }
    }
}

fn in_words(state: char) -> &'static str {
    match state {
        'R' => "running",
        'S' => "sleeping",
        'D' => "waiting for a disk",
        'T' => "stopped",
        't' => "stopped by a debugger",
        'Z' | 'X' => "ended",
        'I' => "idle",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    struct Story {
        dog: Watchdog,
        now: Instant,
    }

    impl Story {
        fn new(limit: Duration) -> Self {
            let now = Instant::now();
            Self { dog: Watchdog::new(limit, now), now }
        }

        /// Seconds pass, each with the same report of the core or none, until something must be
        /// done.
        fn until(
            &mut self,
            seconds: u32,
            said: Option<&CoreHealth>,
            look: &ProcessSample,
        ) -> Option<(u32, WatchdogAction)> {
            for second in 1..=seconds {
                self.now += PACE;
                if let Some(said) = said {
                    let step = self.dog.hear(said, self.now);
                    if step != WatchdogAction::Wait {
                        return Some((second, step));
                    }
                }
                let step = self.dog.poll(self.now, || look.clone());
                if step != WatchdogAction::Wait {
                    return Some((second, step));
                }
            }
            None
        }
    }

    fn look(state: char, disk: Option<&str>) -> ProcessSample {
        ProcessSample { state, disk: disk.map(str::to_owned), threads: Vec::new() }
    }

    #[test]
    fn a_core_that_says_nothing_hangs_and_is_ended_in_the_end() {
        let mut story = Story::new(LIMIT);
        assert_eq!(story.until(500, Some(&CoreHealth::Alive), &look('S', None)), None);
        let stopped = look('T', None);
        let words = "it is stopped (SIGSTOP)".to_owned();
        assert_eq!(
            story.until(99, None, &stopped),
            Some((12, WatchdogAction::Hangs(words.clone())))
        );
        assert_eq!(story.until(99, None, &stopped), Some((47, WatchdogAction::End(words))));
    }

    #[test]
    fn a_core_that_comes_back_is_well() {
        let mut story = Story::new(LIMIT);
        assert!(matches!(
            story.until(20, None, &look('R', None)),
            Some((13, WatchdogAction::Hangs(_)))
        ));
        story.until(30, None, &look('R', None));
        let well = story.until(1, Some(&CoreHealth::Alive), &look('S', None));
        assert_eq!(well, Some((1, WatchdogAction::Well(Duration::from_secs(31)))));
        assert!(matches!(
            story.until(20, None, &look('R', None)),
            Some((12, WatchdogAction::Hangs(_)))
        ));
    }

    #[test]
    fn a_part_that_hangs_is_named() {
        let mut story = Story::new(LIMIT);
        let late = CoreHealth::Late("queue lock: no turn for 10 s".to_owned());
        let words = "queue lock: no turn for 10 s".to_owned();
        assert_eq!(
            story.until(9, Some(&late), &look('S', None)),
            Some((1, WatchdogAction::Hangs(words.clone())))
        );
        // The ten seconds before the report count.
        assert_eq!(
            story.until(99, Some(&late), &look('S', None)),
            Some((49, WatchdogAction::End(words)))
        );
    }

    #[test]
    fn a_slow_disk_is_told_and_never_ended() {
        let mut story = Story::new(LIMIT);
        let slow = CoreHealth::Slow("sync for 6 s".to_owned());
        let told = WatchdogAction::DiskIsSlow("sync for 6 s".to_owned());
        assert_eq!(story.until(9, Some(&slow), &look('S', None)), Some((1, told)));
        assert_eq!(story.until(900, Some(&slow), &look('S', Some("committer"))), None);
        let well = story.until(1, Some(&CoreHealth::Alive), &look('S', None));
        assert!(matches!(well, Some((1, WatchdogAction::Well(_)))), "{well:?}");
    }

    #[test]
    fn what_waits_for_a_disk_or_a_debugger_is_spared_as_long_as_it_does() {
        for beyond_help in [look('S', Some("committer")), look('t', None)] {
            let mut story = Story::new(LIMIT);
            assert!(matches!(
                story.until(20, None, &beyond_help),
                Some((13, WatchdogAction::Hangs(_)))
            ));
            assert!(matches!(
                story.until(99, None, &beyond_help),
                Some((47, WatchdogAction::Spare(_)))
            ));
            assert_eq!(story.until(500, None, &beyond_help), None);
            assert!(matches!(
                story.until(9, None, &look('S', None)),
                Some((1, WatchdogAction::End(_)))
            ));
        }
    }

    #[test]
    fn a_pause_of_everything_is_not_counted() {
        let mut story = Story::new(LIMIT);
        for _ in 0..10 {
            assert_eq!(story.until(9, None, &look('S', None)), None);
            // The container is frozen for ten minutes.
            story.now += Duration::from_secs(600);
            assert_eq!(story.until(1, None, &look('S', None)), None);
        }
        assert!(matches!(
            story.until(20, None, &look('S', None)),
            Some((13, WatchdogAction::Hangs(_)))
        ));
    }

    #[test]
    fn without_a_limit_it_is_only_told() {
        let mut story = Story::new(Duration::ZERO);
        assert!(matches!(
            story.until(20, None, &look('T', None)),
            Some((13, WatchdogAction::Hangs(_)))
        ));
        assert_eq!(story.until(5000, None, &look('T', None)), None);
    }

    #[test]
    fn the_threads_of_a_process_are_told() {
        let look = ProcessSample::at(nix::unistd::getpid());
        assert!(look.can_answer() && look.disk.is_none(), "{look:?}");
        assert!(look.threads.iter().any(|thread| thread.contains("running")), "{look:?}");
        assert!(!ProcessSample::at(Pid::from_raw(i32::MAX)).can_answer());
    }
}

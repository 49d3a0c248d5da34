//! The clocks, and the text forms of times.
//!
//! Modules that decide by time ([`crate::mail::schedule`] above all) take the time as an argument;
//! it comes from here. Displayed and stored times are wall-clock time ([`now`]). Waiting and ages
//! use [`steady`] and [`age`], which do not depend on how the wall clock is set.

use super::monotonic_clock::{ClockJump, SteadyClock};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use std::cell::RefCell;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::LocalKey;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

static ZONE: OnceLock<TimeZone> = OnceLock::new();

static CLOCKS: OnceLock<Clocks> = OnceLock::new();

/// Jumps that are kept for [`jumps`] until they are read.
const JUMPS_KEPT: usize = 16;

/// A moment of the monotonic clock in milliseconds: [`steady`] and the part of the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(u64);

impl Moment {
    /// So many milliseconds after the zero of the clock.
    pub fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the zero of the clock.
    pub fn millis(self) -> u64 {
        self.0
    }

    /// The second that it is in, as [`steady`] gives it.
    pub fn second(self) -> u32 {
        u32::try_from(self.0 / 1000).unwrap_or(u32::MAX)
    }

    /// So many milliseconds later.
    pub fn after(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis))
    }
}

impl From<u32> for Moment {
    /// The beginning of a second.
    fn from(second: u32) -> Self {
        Self(u64::from(second) * 1000)
    }
}

/// The clocks of this process since their first use.
struct Clocks {
    begun: Instant,
    /// The wall clock at that time.
    first: Duration,
    /// How far the wall clock is ahead of the monotonic time, in seconds, as last seen.
    offset: AtomicI64,
    steady: Mutex<(SteadyClock, Vec<ClockJump>)>,
    /// The second of the wall clock at which the two were last compared.
    compared: AtomicI64,
    /// The last jump: its length and, in monotonic seconds, when it was seen; 0 = none.
    last: [AtomicI64; 2],
}

impl Clocks {
    fn start() -> Self {
        let first = since_1970();
        let steady = Mutex::new((SteadyClock::new(seconds(first)), Vec::new()));
        let (begun, offset, compared) = (Instant::now(), AtomicI64::new(0), AtomicI64::new(0));
        Self { begun, first, offset, steady, compared, last: Default::default() }
    }

    fn lock(&self) -> MutexGuard<'_, (SteadyClock, Vec<ClockJump>)> {
        self.steady.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn elapsed(&self) -> i64 {
        seconds(self.begun.elapsed())
    }

    /// Compares the wall clock with the monotonic one, once in each second of the wall clock; only
    /// a jump takes the lock.
    fn compare(&self, wall: Duration) {
        let wall = seconds(wall);
        // Both a jump and the passing of time change it.
        if self.compared.swap(wall, Ordering::Relaxed) == wall {
            return;
        }
        let elapsed = self.elapsed();
        let offset = wall - (seconds(self.first) + elapsed);
        if (offset - self.offset.load(Ordering::Relaxed)).abs() <= super::monotonic_clock::JUMP {
            return;
        }
        let mut state = self.lock();
        // Read again: another thread may have seen the jump while it had the lock.
        if let Some(jump) = state.0.look(seconds(since_1970()), self.elapsed()) {
            if state.1.len() >= JUMPS_KEPT {
                state.1.remove(0);
            }
            state.1.push(jump);
            self.last[0].store(jump.by, Ordering::Relaxed);
            self.last[1].store(seconds(self.first) + self.elapsed(), Ordering::Relaxed);
        }
        self.offset.store(state.0.offset(), Ordering::Relaxed);
    }
}

fn clocks() -> &'static Clocks {
    CLOCKS.get_or_init(Clocks::start)
}

fn seconds(time: Duration) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

fn narrow(seconds: i64) -> u32 {
    u32::try_from(seconds.max(0)).unwrap_or(u32::MAX)
}

/// Monotonic seconds: the wall clock at the start of this process, advanced by the monotonic clock.
pub fn steady() -> u32 {
    let clocks = clocks();
    // Rounded as in `age`, so that both give the same time for a mail.
    narrow(seconds(clocks.first).saturating_add(clocks.elapsed()))
}

/// The present moment; its second is that of [`steady`].
pub fn steady_moment() -> Moment {
    let clocks = clocks();
    let elapsed = u64::try_from(clocks.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    Moment(clocks.first.as_secs() * 1000).after(elapsed)
}

/// Monotonic microseconds, for ids.
pub fn steady_micros() -> u64 {
    let clocks = clocks();
    u64::try_from((clocks.first + clocks.begun.elapsed()).as_micros()).unwrap_or(u64::MAX)
}

/// How long this process runs, in seconds.
pub fn uptime() -> u32 {
    narrow(clocks().elapsed())
}

/// The age in seconds of something that was recorded at `then` by the wall clock; see
/// [`SteadyClock::age`].
pub fn age(then: u32) -> u32 {
    now();
    let clocks = clocks();
    let elapsed = clocks.elapsed();
    narrow(clocks.lock().0.age(then.into(), elapsed))
}

/// The wall-clock time of a monotonic time, if the clock is not set meanwhile.
pub fn wall(steady: u32) -> u32 {
    now();
    narrow(i64::from(steady) + clocks().offset.load(Ordering::Relaxed))
}

/// The monotonic time that is as far away as `due` is by the wall clock; one that has passed is 0.
pub fn steady_due(due: u32) -> u32 {
    match due.saturating_sub(now()) {
        0 => 0,
        away => steady().saturating_add(away),
    }
}

/// By how many seconds the wall clock jumped the last time, and how many seconds ago.
pub fn last_jump() -> Option<(i64, u32)> {
    let last = clocks().last.each_ref().map(|part| part.load(Ordering::Relaxed));
    (last[0] != 0).then(|| (last[0], steady().saturating_sub(narrow(last[1]))))
}

/// Compares the clocks, and gives the jumps that were not reported yet. To be called about once a
/// second.
pub fn jumps() -> Vec<ClockJump> {
    clocks().compare(since_1970());
    std::mem::take(&mut clocks().lock().1)
}

/// Sets the time zone of all text forms, once, at start (property `timezone`). Later calls change
/// nothing.
///
/// # Errors
/// The IANA name is not known.
pub fn set_zone(name: &str) -> Result<(), jiff::Error> {
    let zone = TimeZone::get(name)?;
    let _ = ZONE.set(zone);
    Ok(())
}

/// Seconds since 1970, which fit 32 bits until 2106.
pub fn now() -> u32 {
    u32::try_from(looked().as_secs()).unwrap_or(u32::MAX)
}

/// Microseconds since 1970.
pub fn now_micros() -> u64 {
    u64::try_from(looked().as_micros()).unwrap_or(u64::MAX)
}

/// The wall clock, with a check whether it jumped.
fn looked() -> Duration {
    let wall = since_1970();
    clocks().compare(wall);
    wall
}

/// A time in the form of mail headers (RFC 5322 §3.3), in the zone of the appliance.
pub fn rfc5322(seconds: u32) -> String {
    thread_local!(static LAST: LastText = const { RefCell::new(None) });
    in_form("%a, %d %b %Y %H:%M:%S %z", &LAST, seconds)
}

/// A time in the form of logs and interfaces (RFC 3339), in the zone of the appliance.
pub fn rfc3339(seconds: u32) -> String {
    thread_local!(static LAST: LastText = const { RefCell::new(None) });
    in_form("%Y-%m-%dT%H:%M:%S%:z", &LAST, seconds)
}

/// A time that comes soon, without its day: `12:03:20`; in RFC 3339 when it is half a day away.
pub fn soon(seconds: u32) -> String {
    let text = rfc3339(seconds);
    match text.split_once('T') {
        Some((_, time)) if seconds.saturating_sub(now()) < 12 * 3600 => {
            time.get(..8).unwrap_or(time).to_owned()
        }
        _ => text,
    }
}

/// The seconds since 1970 of a time in RFC 3339, from 1970 to 2106; `None` when the text is not
/// valid.
pub fn from_rfc3339(text: &str) -> Option<u32> {
    u32::try_from(text.parse::<Timestamp>().ok()?.as_second()).ok()
}

/// A time in the form of syslog (RFC 3164 §4.1.2), in the zone of the appliance.
pub fn rfc3164(seconds: u32) -> String {
    local(seconds).strftime("%b %e %H:%M:%S").to_string()
}

/// The time that a thread has last written in one form.
type LastText = RefCell<Option<(u32, String)>>;

/// A time in a form of strftime. Most times are the present: of those in one second, one is
/// computed.
fn in_form(form: &str, last: &'static LocalKey<LastText>, seconds: u32) -> String {
    let work_out = || local(seconds).strftime(form).to_string();
    let text = last.try_with(|last| match &mut *last.borrow_mut() {
        Some((second, text)) if *second == seconds => text.clone(),
        last => last.insert((seconds, work_out())).1.clone(),
    });
    // A thread that is ending may have no thread-local storage any more and still write a line.
    text.unwrap_or_else(|_| work_out())
}

fn local(seconds: u32) -> Zoned {
    let zone = ZONE.get_or_init(TimeZone::system).clone();
    Timestamp::from_second(i64::from(seconds)).unwrap_or(Timestamp::UNIX_EPOCH).to_zoned(zone)
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_have_the_shape_that_mail_headers_want() {
        let text = rfc5322(1_763_800_000);
        assert!(text.contains(" Nov 2025 "), "{text}");
        assert_eq!(text.split(' ').next_back().map(str::len), Some(5), "{text}");
        assert!(rfc3339(0).starts_with("19"), "{}", rfc3339(0));
        assert_eq!(from_rfc3339(&rfc3339(1_763_800_000)), Some(1_763_800_000));
        assert_eq!(from_rfc3339("2025-11-22T09:26:40+01:00"), Some(1_763_800_000));
        let (near, far) = (soon(now() + 60), soon(now() + 86_400));
        assert!(near.len() == 8 && far.len() > 20, "{near} {far}");
        for bad in ["", "1969-12-31T23:59:59Z", "yesterday", "2200-01-01T00:00:00Z", "2025-11-22"] {
            assert_eq!(from_rfc3339(bad), None, "{bad}");
        }
        let text = rfc3164(1_762_300_000);
        assert!(text.starts_with("Nov  ") && text.len() == "Nov  4 17:22:14".len(), "{text}");
    }
}

//! Waits by polling until a deadline, and prints the progress.

use std::time::{Duration, Instant};

/// Longer than any step of these tests takes, even on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// How often to poll.
const PAUSE: Duration = Duration::from_millis(15);

/// How often to print the progress.
const NEWS: Duration = Duration::from_secs(2);

/// Polls until there is an answer. `look` gives the progress as long as there is none.
///
/// # Panics
/// There was none within [`PATIENCE`].
pub fn until<T>(what: &str, look: impl FnMut() -> Result<T, String>) -> T {
    until_within(PATIENCE, what, look)
}

/// The same with another time limit.
///
/// # Panics
/// There was none in that time.
pub fn until_within<T>(
    patience: Duration,
    what: &str,
    mut look: impl FnMut() -> Result<T, String>,
) -> T {
    let start = Instant::now();
    let mut told = start;
    loop {
        match look() {
            Ok(found) => return found,
            Err(state) => {
                assert!(
                    start.elapsed() < patience,
                    "after {:?} still not: {what}; last seen: {state}",
                    start.elapsed()
                );
                if told.elapsed() > NEWS {
                    told = Instant::now();
                    eprintln!(
                        "{:>5.1} s, waiting: {what}; now: {state}",
                        start.elapsed().as_secs_f32()
                    );
                }
            }
        }
        std::thread::sleep(PAUSE);
    }
}

/// Waits until something is true.
///
/// # Panics
/// It did not become true within [`PATIENCE`].
pub fn until_true(what: &str, mut is_true: impl FnMut() -> bool) {
    until(what, || if is_true() { Ok(()) } else { Err("not yet".to_owned()) });
}

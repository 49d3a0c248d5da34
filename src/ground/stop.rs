//! How tasks hear that they are to end.

use tokio::sync::watch;
use tokio::time::Instant;

/// `None` while the appliance runs; once it stops, the moment until which sessions may finish what
/// they are in.
pub type Stop = watch::Receiver<Option<Instant>>;

/// Waits until the appliance stops and tells the deadline. A sender that is gone means: now.
pub async fn draining(stop: &mut Stop) -> Instant {
    match stop.wait_for(Option::is_some).await {
        Ok(deadline) => deadline.unwrap_or_else(Instant::now),
        Err(_) => Instant::now(),
    }
}

/// Waits for the word to stop; a sender that is gone counts as the word.
pub async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

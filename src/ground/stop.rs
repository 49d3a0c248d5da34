//! How tasks are requested to end.

use tokio::sync::watch;
use tokio::time::Instant;

/// `None` while the appliance runs; once it stops, the time until which sessions may finish their
/// mail.
pub type Stop = watch::Receiver<Option<Instant>>;

/// Waits until the appliance stops and gives the deadline. If the sender is gone, it is now.
pub async fn draining(stop: &mut Stop) -> Instant {
    match stop.wait_for(Option::is_some).await {
        Ok(deadline) => deadline.unwrap_or_else(Instant::now),
        Err(_) => Instant::now(),
    }
}

/// Waits for the order to stop; a dropped sender counts as the order.
pub async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

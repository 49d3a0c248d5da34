//! What the supervisor orders while the core runs: newer keys, the stacks of all threads, the end.
//!
//! On a thread of its own, so that it is heard however busy or hung the rest is. The end of the
//! orders is an order too: the supervisor is gone, and nobody would restart what goes on without
//! it.
//! Limits: a stop that is not over [`GRACE`] after `drain_time` is cut short here, since whoever
//! orders it may not be able to send a signal.

use super::base::Base;
use super::keys;
use crate::appliance::supervise::orders::{Listener, Order};
use crate::ground::sys;
use std::io::{self, Read};
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tokio::sync::Notify;

/// Beyond `drain_time`: more than the supervisor waits, which says why when it can.
const GRACE: Duration = Duration::from_secs(20);

/// Obeys from now on. The answer is told when the core is to stop in order.
///
/// # Errors
/// No thread could be had.
pub(super) fn follow<R: Read + Send + 'static>(
    orders: Listener<R>,
    base: &Base,
) -> io::Result<Arc<Notify>> {
    let (presenter, counters) = (base.presenter.clone(), base.counters.accept.clone());
    let (status, drain_time) = (base.status.clone(), base.settings.drain_time);
    if let Some(presenter) = &presenter {
        counters.certificate_expires(presenter.pair().not_after());
    }
    let stop = Arc::new(Notify::new());
    let told = stop.clone();
    let obey = move || {
        for order in orders {
            match order {
                Ok(Order::Keys(keys)) => {
                    if let Some(presenter) = &presenter {
                        keys::take(presenter, &keys, &counters, &status);
                    }
                }
                Ok(Order::Stacks) => status.stacks(&sys::stacks()),
                Ok(Order::Stop) => stop_in_time(&stop, drain_time)?,
                Ok(Order::End) => end(),
                Err(error) => {
                    let text = format!("invalid order from the supervisor: {error}");
                    tracing::error!(target: "mta", "{text}");
                    status.event(&text);
                }
            }
        }
        stop_in_time(&stop, drain_time)
    };
    thread::Builder::new()
        .name("orders".to_owned())
        .spawn(move || obey().map_or_else(drop, drop))?;
    Ok(told)
}

/// The core is to stop, and is ended when it takes too long.
fn stop_in_time(stop: &Notify, drain_time: Duration) -> io::Result<()> {
    stop.notify_one();
    thread::Builder::new().name("deadline".to_owned()).spawn(move || {
        thread::sleep(drain_time + GRACE);
        end();
    })?;
    Ok(())
}

/// Ends the process as it is, without a lock that something might hold: all that was promised is on
/// the data volume.
fn end() {
    std::process::abort();
}

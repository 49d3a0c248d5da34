//! The supervisor's orders while the core runs: newer keys, newer files of upstreams, the stacks of
//! all threads, the stop.
//!
//! On its own thread, so that orders are handled however busy or stuck the rest is. The end of the
//! input is an order to stop, too: the supervisor has ended, and would not restart this core.
//! Limits: a stop that takes longer than [`GRACE`] after `drain_time` is aborted here, since the
//! supervisor may not be permitted to send a signal.

use super::process_resources::ProcessResources;
use super::{dkim_keys, keys, upstreams, users};
use crate::appliance::resources;
use crate::appliance::supervise::orders::{CoreOrder, OrderReader};
use crate::directory::UserList;
use crate::ground::sys;
use std::io::{self, Read};
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tokio::sync::Notify;

/// Longer than the supervisor waits, which logs the reason if it can.
const GRACE: Duration = Duration::from_secs(20);

/// Executes orders from now on. The returned handle is notified when the core must stop regularly.
///
/// # Errors
/// No thread can be created.
pub(super) fn follow<R: Read + Send + 'static>(
    orders: OrderReader<R>,
    process: &ProcessResources,
    users: Option<Arc<UserList>>,
) -> io::Result<Arc<Notify>> {
    let (presenter, counters) = (process.presenter.clone(), process.counters.accept.clone());
    let dkim = process.dkim.clone();
    let (status, drain_time) = (process.status.clone(), process.settings.drain_time);
    let (accesses, keepers) = (process.upstreams.clone(), process.keepers.clone());
    let settings = process.settings.clone();
    let health = process.health.clone();
    if let Some(presenter) = &presenter {
        counters.certificate_expires(presenter.pair().not_after());
    }
    let memory = resources::hash_memory(&process.settings, process.ceiling.as_ref());
    let stop = Arc::new(Notify::new());
    let told = stop.clone();
    let obey = move || {
        for order in orders {
            match order {
                Ok(CoreOrder::Keys(keys)) => {
                    if let Some(presenter) = &presenter {
                        keys::take(presenter, &keys, &counters, &status);
                    }
                }
                Ok(CoreOrder::Upstreams(files)) => {
                    let used = (&accesses, &keepers, &*health);
                    upstreams::take(used, &settings, &files, &status);
                }
                Ok(CoreOrder::Dkim(files)) => dkim_keys::take(&dkim, files),
                Ok(CoreOrder::Property(changed)) => {
                    if let (Some(list), "smtp_users") = (&users, changed.name.as_str()) {
                        let taken = users::take(list, &changed.value, memory, &status);
                        counters.users_file_failing.set(i64::from(!taken));
                    }
                }
                Ok(CoreOrder::UsersFile { failing }) => {
                    counters.users_file_failing.set(i64::from(failing));
                }
                Ok(CoreOrder::Stacks) => status.stacks(&sys::stacks()),
                Ok(CoreOrder::Stop) => stop_within(&stop, drain_time)?,
                Ok(CoreOrder::End) => end(),
                Err(error) => {
                    let text = format!("invalid order from the supervisor: {error}");
                    tracing::error!(target: "mta", "{text}");
                    status.event(&text);
                }
            }
        }
        stop_within(&stop, drain_time)
    };
    thread::Builder::new()
        .name("orders".to_owned())
        .spawn(move || obey().map_or_else(drop, drop))?;
    Ok(told)
}

/// The core must stop, and is ended when it takes too long.
fn stop_within(stop: &Notify, drain_time: Duration) -> io::Result<()> {
    stop.notify_one();
    thread::Builder::new().name("deadline".to_owned()).spawn(move || {
        thread::sleep(drain_time + GRACE);
        end();
    })?;
    Ok(())
}

/// Ends the process at once, without taking a lock that may be held: everything that was confirmed
/// is on the data volume.
fn end() {
    std::process::abort();
}

//! Faults that tests of the watchdog cause through the control socket. Not in a release build.

use crate::http::state::HttpState;
use crate::mail::outbound::Outbound;
use crate::mail::spool::SegmentLog;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::runtime::Handle;

/// Whether endless loops end.
static COME_BACK: AtomicBool = AtomicBool::new(false);

/// From now on faults can be caused.
pub(super) fn allow(http: &HttpState, outbound: Arc<Outbound<SegmentLog>>) {
    let mail = Handle::current();
    http.allow_faults(Box::new(move |fault| {
        match fault {
            // On each of the runtime's threads: a free one would hide it.
            "loop" => (0..mail.metrics().num_workers())
                .for_each(|_| drop(mail.spawn(async { hang_thread() }))),
            // On one of them: the others continue.
            "loop_one" => drop(mail.spawn(async { hang_thread() })),
            // Endless loops end.
            "come_back" => COME_BACK.store(true, Ordering::Relaxed),
            "deadlock" => outbound.clone().plant_deadlock(),
            "http" => hang_thread(),
            _ => return false,
        }
        true
    }));
}

#[inline(never)]
fn hang_thread() {
    COME_BACK.store(false, Ordering::Relaxed);
    while !COME_BACK.load(Ordering::Relaxed) {
        std::hint::spin_loop();
    }
}

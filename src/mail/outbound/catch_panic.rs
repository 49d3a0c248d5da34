//! Runs work that may panic, for callers that must still record what it has done so far.

use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

/// Waits for the end of `work`.
///
/// # Errors
/// It panicked; continue the panic with [`std::panic::resume_unwind`]. Borrowed values may be half
/// changed.
pub(super) async fn catch_panic<T>(
    work: impl Future<Output = T>,
) -> Result<T, Box<dyn Any + Send>> {
    let mut work = pin!(work);
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
        Ok(polled) => polled.map(Ok),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}

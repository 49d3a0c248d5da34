//! Queries of the queue that may take long or fail, and the answer then.

use crate::http::response::{HttpResponse, error};
use crate::mail::model::{AdminError, AdminFuture as AdminAnswer};
use hyper::StatusCode;
use std::time::Duration;
use tokio::time::timeout;

/// Time limit of a query of the queue.
pub(super) const ADMIN_PATIENCE: Duration = Duration::from_secs(30);

/// The result of a query, within [`ADMIN_PATIENCE`].
///
/// # Errors
/// The answer for the client.
pub(crate) async fn ask<T>(question: AdminAnswer<'_, T>) -> Result<T, HttpResponse> {
    match timeout(ADMIN_PATIENCE, question).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(fault)) => Err(admin_error(&fault)),
        Err(_) => Err(error(
            StatusCode::GATEWAY_TIMEOUT,
            "the queue did not answer in time; is the data volume slow or failing?",
        )),
    }
}

/// The answer for the client after a failure of the queue.
pub(crate) fn admin_error(fault: &AdminError) -> HttpResponse {
    let status = match fault {
        AdminError::Unknown => StatusCode::NOT_FOUND,
        AdminError::Storage(_) => StatusCode::SERVICE_UNAVAILABLE,
        AdminError::Busy | AdminError::Changed(_) => StatusCode::CONFLICT,
        AdminError::NoDestination(_) => StatusCode::BAD_REQUEST,
        AdminError::Damaged | AdminError::Refused(_) => StatusCode::UNPROCESSABLE_ENTITY,
    };
    error(status, &fault.to_string())
}

/// Seconds from one time to another, 0 if that is earlier.
pub(super) fn since(from: u32, to: u32) -> u64 {
    u64::from(to.saturating_sub(from))
}

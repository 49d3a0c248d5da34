//! `POST /api/v1/dkim/rotate`: other keys for a domain that signs with DKIM.
//!
//! In: `{"domain":"example.org","now":false}`. Out: a [`DkimRotationView`]. The same order again
//! says how far it is. Limits: those of an order. Security: needs the right to give orders.

use super::dkim::{DkimDomainView, view};
use super::orders;
use super::state::AppState;
use super::{HttpResponse, error};
use crate::http::request::RequestHead;
use crate::http::response;
use crate::mail::model::{DkimRotateError, RotationStep};
use hyper::StatusCode;
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};

/// The order.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DkimRotateOrder {
    /// The domain, in A-labels.
    pub domain: String,
    /// Whether the next keys sign at once, even if DNS does not have their records.
    #[serde(default)]
    pub now: bool,
}

/// What became of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DkimRotationView {
    /// `begun`: there are next keys now, and the present ones sign until DNS has their records.
    /// `waiting`: they were there already. `switched`: they sign.
    pub step: String,
    /// The domain after it.
    pub domain: DkimDomainView,
}

/// `POST /api/v1/dkim/rotate`
pub(super) async fn rotate(
    app: &AppState,
    visit: &RequestHead<'_>,
    body: Incoming,
) -> HttpResponse {
    let content = match orders::content(visit, body).await {
        Ok(content) => content,
        Err(answer) => return answer,
    };
    let order: DkimRotateOrder = match serde_json::from_slice(&content) {
        Ok(order) => order,
        Err(fault) => return error(StatusCode::BAD_REQUEST, &format!("invalid order: {fault}")),
    };
    let domain = order.domain.trim().to_ascii_lowercase();
    match app.monitor.dkim.rotate(domain, order.now, visit.principal()).await {
        Ok(rotation) => {
            let step = match rotation.step {
                RotationStep::Begun => "begun",
                RotationStep::Waiting => "waiting",
                RotationStep::Switched => "switched",
            };
            let view = DkimRotationView { step: step.to_owned(), domain: view(&rotation.state) };
            response::json(StatusCode::OK, &view)
        }
        Err(fault) => {
            let status = match fault {
                DkimRotateError::UnknownDomain(_) => StatusCode::NOT_FOUND,
                DkimRotateError::KeyVolume { .. }
                | DkimRotateError::NoKey { .. }
                | DkimRotateError::TooMany(_) => StatusCode::CONFLICT,
                DkimRotateError::Failed(_) => StatusCode::SERVICE_UNAVAILABLE,
            };
            error(status, &fault.to_string())
        }
    }
}

//! `GET /api/v1/settings`: every effective property, and its origin.
//!
//! Security: secrets are masked before they reach the HTTP server; still, this requires the login
//! ([`RequiredRight::Settings`](crate::http::rights::RequiredRight)).

use super::HttpResponse;
use super::setting::Setting;
use super::state::AppState;
use crate::http::response;
use hyper::StatusCode;
use serde::Serialize;

/// All properties.
#[derive(Debug, Serialize)]
pub struct SettingsView<'a> {
    /// In the order of the class.
    pub settings: &'a [Setting],
}

/// `GET /api/v1/settings`
pub(super) fn settings(app: &AppState) -> HttpResponse {
    response::json(StatusCode::OK, &SettingsView { settings: &app.facts.settings })
}

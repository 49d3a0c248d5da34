//! `GET /api/v1/settings`: every property in force, and where its value came from.
//!
//! Security: secrets were masked before they came to the HTTP server; still, this is for the login
//! alone ([`Need::Settings`](crate::http::rights::Need)).

use super::Answer;
use super::setting::Setting;
use super::state::AppState;
use crate::http::answer;
use hyper::StatusCode;
use serde::Serialize;

/// All properties.
#[derive(Debug, Serialize)]
pub struct SettingsView<'a> {
    /// In the order of the class.
    pub settings: &'a [Setting],
}

/// `GET /api/v1/settings`
pub(super) fn settings(app: &AppState) -> Answer {
    answer::json(StatusCode::OK, &SettingsView { settings: &app.facts.settings })
}

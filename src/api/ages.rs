//! The queue by age, as totals that everybody may see.

use super::HttpResponse;
use crate::api::state::AppState;
use crate::http::response;
use crate::mail::model::DestinationSummary;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};

/// How many messages wait, by age.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgesView {
    /// The highest age of each number in `messages`.
    pub bounds_seconds: Vec<u32>,
    /// Messages by age, one number for each bound and one for the older ones.
    pub messages: Vec<u64>,
}

/// `GET /api/v1/ages`
pub(super) async fn ages(app: &AppState) -> HttpResponse {
    response::json(StatusCode::OK, &ages_view(app).await)
}

/// The ages, for programs and for the page.
pub(crate) async fn ages_view(app: &AppState) -> AgesView {
    // Counting a million messages takes a while; other requests must not wait for it.
    let (cumulative, total) = app.monitor.ages().await.unwrap_or_default();
    let mut messages: Vec<u64> = Vec::with_capacity(cumulative.len() + 1);
    let mut younger = 0;
    for count in cumulative
        .iter()
        .copied()
        .chain([total.max(cumulative.last().copied().unwrap_or_default())])
    {
        messages.push(count.saturating_sub(younger));
        younger = count;
    }
    AgesView { bounds_seconds: DestinationSummary::AGES.to_vec(), messages }
}

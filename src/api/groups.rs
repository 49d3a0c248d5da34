//! The queue in groups: by sender, by recipient's domain, by error.

use super::{HttpResponse, ask, error, since};
use crate::api::state::AppState;
use crate::ground::clock;
use crate::http::request::RequestHead;
use crate::http::response;
use crate::mail::model::Grouping;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};

/// The queue in groups.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GroupsView {
    /// `sender`, `sender_domain`, `recipient_domain` or `reason`.
    pub by: String,
    /// The largest first.
    pub groups: Vec<GroupView>,
    /// Whether the numbers are from a sample; multiply by `total / seen` for an estimate.
    pub sampled: bool,
    /// Messages that were read.
    pub seen: u64,
    /// Messages in the queue at that time.
    pub total: u64,
    /// When, RFC 3339.
    pub as_of: String,
}

/// A group.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GroupView {
    /// What its messages have in common.
    pub name: String,
    /// Messages of this group that were seen.
    pub messages: u64,
    /// Age of the oldest of them.
    pub oldest_age_seconds: u64,
}

/// `GET /api/v1/groups?by=reason`
pub(super) async fn groups(app: &AppState, visit: &RequestHead<'_>) -> HttpResponse {
    let by = visit
        .query
        .strip_prefix("by=")
        .and_then(|word| Grouping::ALL.into_iter().find(|by| by.as_str() == word));
    let Some(by) = by else {
        return error(
            StatusCode::BAD_REQUEST,
            "by=sender, sender_domain, recipient_domain or reason is expected",
        );
    };
    let _search = match visit.search().await {
        Ok(search) => search,
        Err(answer) => return answer,
    };
    match view(app, by).await {
        Ok(view) => response::json(StatusCode::OK, &view),
        Err(answer) => answer,
    }
}

/// The groups, for programs and for the page.
pub(crate) async fn view(app: &AppState, by: Grouping) -> Result<GroupsView, HttpResponse> {
    let (found, now) = (ask(app.views.admin.groups(by)).await?, clock::now());
    let group = |group: crate::mail::model::QueueGroup| GroupView {
        name: group.name,
        messages: group.messages,
        oldest_age_seconds: since(group.oldest, now),
    };
    Ok(GroupsView {
        by: by.as_str().to_owned(),
        groups: found.groups.into_iter().map(group).collect(),
        sampled: found.seen < found.total,
        seen: found.seen,
        total: found.total,
        as_of: clock::rfc3339(found.as_of),
    })
}

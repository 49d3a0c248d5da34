//! The JSON API under `/api/v1`.
//!
//! There is a file for each part of the appliance; the table of routes is here. The operator's tool
//! (`cli`) reads the same JSON through the control socket. Limits: the queue answers within
//! [`ADMIN_PATIENCE`] or the client gets 504; each file has its own. Security: addresses, names and
//! errors are untrusted text; they are escaped in JSON, and code that shows them must escape them
//! again.

mod ages;
mod ask;
mod deliveries;
mod delivery_state;
mod dkim;
mod dkim_rotate;
mod filter;
mod groups;
pub(crate) mod health;
mod history;
mod index;
pub(crate) mod message_parts;
pub(crate) mod next_attempt;
mod orders;
mod queue;
mod rates;
mod redact;
mod resend;
mod route_accounts;
mod route_test;
mod route_words;
mod send;
mod sessions;
pub mod setting;
mod settings;
pub mod state;
mod status;
mod stream;
mod text;
pub(crate) mod transfer;
mod upstream_test;
mod upstreams;

pub use ages::AgesView;
pub(crate) use ages::ages_view;
use ask::{ADMIN_PATIENCE, since};
pub(crate) use ask::{admin_error, ask};
pub(crate) use deliveries::deliveries_view;
pub use deliveries::{DeliveriesView, DeliveryView};
pub use delivery_state::DeliveryState;
pub use dkim::{DkimDomainView, DkimKeyView, DkimNextView, DkimRetiredView, DkimView, RecordView};
pub(crate) use dkim::{checked_view as dkim_checked, last_view as dkim_last};
pub use dkim_rotate::{DkimRotateOrder, DkimRotationView};
pub use filter::FilterView;
pub(crate) use groups::view as groups_view;
pub use groups::{GroupView, GroupsView};
pub use history::{AttemptView, AttemptsView, FinishedView, HistoryView};
pub(crate) use history::{HistoryQuery, attempts_view, finished_view, history_view};
pub use orders::{IDS_MAX, MatchedView, OrderView, Remark};
pub(crate) use orders::{OrderRequest, carry_out};
pub use queue::{
    DestinationView, DestinationsView, MessageView, PAGE_MAX, PageView, RECIPIENTS_SHOWN,
    RecipientView,
};
pub(crate) use queue::{PageQuery, destination_view, message_with_subject, page};
pub use rates::RatesView;
pub(crate) use resend::{NOT_KEPT, resend};
pub use resend::{OriginalRecipients, ResendView};
pub use route_accounts::AccountView;
pub use route_test::{ClientView, RouteHostView, RouteTestView, TargetStatusView, TargetView};
pub(crate) use route_test::{RouteQuery, RouteRefusal, route_test};
pub(crate) use route_words::NO_ACCOUNTS;
pub use send::SentView;
pub use sessions::{ExampleView, LogView, ReasonView, RefusalsView, SessionView, SessionsView};
pub(crate) use sessions::{LogQuery, log_lines, refusals_view, sessions_view};
pub use settings::SettingsView;
pub use status::{DiskView, LatencyView, QueueView, StatusView, TotalsView};
pub(crate) use status::{latency, modes, status_view, without_names};
pub(crate) use stream::event;
pub(crate) use text::view as text_view;
pub use text::{AttachmentView, HeaderView, TextView, read as read_text};

pub(crate) use upstream_test::{TestRefusal, test as test_upstream};
pub use upstream_test::{
    UpstreamTestOrder, UpstreamTestSide, UpstreamTestStepView, UpstreamTestView,
};
pub(crate) use upstreams::upstreams_view;
pub use upstreams::{
    UpstreamCertificateView, UpstreamLoginView, UpstreamMailsView, UpstreamState, UpstreamTlsView,
    UpstreamView, UpstreamsView,
};

pub use crate::http::response::ErrorView;
pub(crate) use crate::http::response::error;
use crate::http::response::{self, HttpResponse};
use crate::http::rights::RequiredRight;
use crate::http::route::{HandlerFuture, HttpRoute, LOOK, POST, RequestContext, at_once};
use crate::mail::model::MessageId;
use hyper::StatusCode;
use index::DOCUMENT;
use state::AppState;

/// The rows of this module in the table of routes. [`DOCUMENT`] describes all except those of the
/// control socket ([`RequiredRight::Carry`]).
pub(crate) const ROUTES: &[HttpRoute<AppState>] = &[
    HttpRoute {
        path: "/api/v1",
        methods: LOOK,
        need: RequiredRight::Numbers,
        handler: |call| at_once(index::index(call.visit)),
    },
    HttpRoute {
        path: "/api/v1/",
        methods: LOOK,
        need: RequiredRight::Numbers,
        handler: |call| at_once(index::index(call.visit)),
    },
    HttpRoute {
        path: "/api/v1/status",
        methods: LOOK,
        need: RequiredRight::Numbers,
        handler: |call| Box::pin(status::status(call.app, call.visit)),
    },
    HttpRoute {
        path: "/api/v1/ages",
        methods: LOOK,
        need: RequiredRight::Numbers,
        handler: |call| Box::pin(ages::ages(call.app)),
    },
    HttpRoute {
        path: "/api/v1/rates",
        methods: LOOK,
        need: RequiredRight::Numbers,
        handler: |call| at_once(rates::rates(call.app, call.visit.query)),
    },
    HttpRoute {
        path: "/api/v1/stream",
        methods: LOOK,
        need: RequiredRight::Numbers,
        handler: |call| Box::pin(stream::stream(call.app, call.visit)),
    },
    HttpRoute {
        path: "/api/v1/openapi.json",
        methods: LOOK,
        need: RequiredRight::Numbers,
        handler: |_| at_once(response::found(response::JSON, DOCUMENT)),
    },
    HttpRoute {
        path: "/api/v1/destinations",
        methods: LOOK,
        need: RequiredRight::Look,
        handler: |call| at_once(queue::destinations(call.app)),
    },
    HttpRoute {
        path: "/api/v1/deliveries",
        methods: LOOK,
        need: RequiredRight::Look,
        handler: |call| at_once(deliveries::deliveries(call.app)),
    },
    HttpRoute {
        path: "/api/v1/groups",
        methods: LOOK,
        need: RequiredRight::Look,
        handler: |call| Box::pin(groups::groups(call.app, call.visit)),
    },
    HttpRoute {
        path: "/api/v1/route",
        methods: LOOK,
        need: RequiredRight::Lookup,
        handler: |call| Box::pin(route_test::route(call.app, call.visit)),
    },
    HttpRoute {
        path: "/api/v1/dkim",
        methods: LOOK,
        need: RequiredRight::Lookup,
        handler: |call| Box::pin(dkim::dkim(call.app, call.visit)),
    },
    HttpRoute {
        path: "/api/v1/dkim/rotate",
        methods: POST,
        need: RequiredRight::Order,
        handler: |call| Box::pin(dkim_rotate::rotate(call.app, call.visit, call.content)),
    },
    HttpRoute {
        path: "/api/v1/upstreams",
        methods: LOOK,
        need: RequiredRight::Look,
        handler: |call| at_once(upstreams::upstreams(call.app, call.visit)),
    },
    HttpRoute {
        path: "/api/v1/upstreams/{id}/test",
        methods: POST,
        need: RequiredRight::Order,
        handler: |call| Box::pin(upstream_test::order(call.app, call.visit, call.id, call.content)),
    },
    HttpRoute {
        path: "/api/v1/settings",
        methods: LOOK,
        need: RequiredRight::Settings,
        handler: |call| at_once(settings::settings(call.app)),
    },
    HttpRoute {
        path: "/api/v1/sessions",
        methods: LOOK,
        need: RequiredRight::Look,
        handler: |call| at_once(sessions::sessions(call.app)),
    },
    HttpRoute {
        path: "/api/v1/refusals",
        methods: LOOK,
        need: RequiredRight::Look,
        handler: |call| at_once(sessions::refusals(call.app)),
    },
    HttpRoute {
        path: "/api/v1/log",
        methods: LOOK,
        need: RequiredRight::Look,
        handler: |call| at_once(sessions::log(call.app, call.visit.query)),
    },
    HttpRoute {
        path: "/api/v1/queue",
        methods: LOOK,
        need: RequiredRight::Look,
        handler: |call| Box::pin(queue::queue(call.app, call.visit)),
    },
    HttpRoute {
        path: "/api/v1/queue",
        methods: POST,
        need: RequiredRight::Carry,
        handler: |call| Box::pin(transfer::import(call.app, call.content)),
    },
    HttpRoute {
        path: "/api/v1/queue/{id}",
        methods: LOOK,
        need: RequiredRight::Look,
        handler: |call| of_one(&call, |id| Box::pin(queue::message(call.app, id))),
    },
    HttpRoute {
        path: "/api/v1/queue/{id}/body",
        methods: LOOK,
        need: RequiredRight::Read,
        handler: |call| of_one(&call, |id| Box::pin(queue::body(call.app, id))),
    },
    HttpRoute {
        path: "/api/v1/queue/{id}/text",
        methods: LOOK,
        need: RequiredRight::Read,
        handler: |call| of_one(&call, |id| Box::pin(text::text(call.app, id))),
    },
    HttpRoute {
        path: "/api/v1/queue/{id}/mail",
        methods: LOOK,
        need: RequiredRight::Carry,
        handler: |call| {
            of_one(&call, |id| Box::pin(transfer::mail(call.app, id, call.visit.query)))
        },
    },
    HttpRoute {
        path: "/api/v1/queue/{id}/attempts",
        methods: LOOK,
        need: RequiredRight::Look,
        handler: |call| of_one(&call, |id| Box::pin(history::attempts(call.app, call.visit, id))),
    },
    HttpRoute {
        path: "/api/v1/history",
        methods: LOOK,
        need: RequiredRight::Look,
        handler: |call| Box::pin(history::history(call.app, call.visit)),
    },
    HttpRoute {
        path: "/api/v1/history/{id}",
        methods: LOOK,
        need: RequiredRight::Look,
        handler: |call| of_one(&call, |id| Box::pin(history::one(call.app, call.visit, id))),
    },
    HttpRoute {
        path: "/api/v1/history/{id}/resend",
        methods: POST,
        need: RequiredRight::Order,
        handler: |call| Box::pin(resend_one(call)),
    },
    HttpRoute {
        path: "/api/v1/orders",
        methods: POST,
        need: RequiredRight::Order,
        handler: |call| Box::pin(orders::order(call.app, call.visit, call.content)),
    },
    HttpRoute {
        path: "/api/v1/messages",
        methods: POST,
        need: RequiredRight::Send,
        handler: |call| Box::pin(send::send(call.app, call.visit, call.content)),
    },
];

/// The answer about the message in the path.
fn of_one<'a>(
    call: &RequestContext<'a, AppState>,
    answer: impl FnOnce(MessageId) -> HandlerFuture<'a>,
) -> HandlerFuture<'a> {
    match call.id.parse() {
        Ok(id) => answer(id),
        Err(()) => at_once(no_id(call.id)),
    }
}

async fn resend_one(call: RequestContext<'_, AppState>) -> HttpResponse {
    match call.id.parse() {
        Ok(id) => resend::order(call.app, call.visit, id, call.content).await,
        Err(()) => no_id(call.id),
    }
}

fn no_id(text: &str) -> HttpResponse {
    let shown: String = text.chars().take(40).collect();
    error(
        StatusCode::NOT_FOUND,
        &format!("'{shown}' is not a queue id; an id has 13 letters and digits"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::Method;
    use serde_json::Value;
    use std::collections::BTreeSet;

    #[test]
    fn the_document_says_what_is_there() {
        let document: Value = serde_json::from_str(DOCUMENT).unwrap();
        let mut described = BTreeSet::new();
        for (path, operations) in document["paths"].as_object().unwrap() {
            for method in operations.as_object().unwrap().keys() {
                described.insert((path.clone(), method.to_uppercase()));
            }
        }
        let mut there = BTreeSet::new();
        for route in ROUTES.iter().filter(|route| route.need != RequiredRight::Carry) {
            // The trailing slash makes no difference, and HEAD is implied by GET.
            let path = route.path.trim_start_matches("/api/v1");
            for method in
                route.methods.iter().filter(|method| **method != Method::HEAD && !path.is_empty())
            {
                there.insert((path.to_owned(), method.to_string()));
            }
        }
        assert_eq!(described, there);
    }
}

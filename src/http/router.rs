//! Finds the handler of a request, and checks access.
//!
//! Everything except the health pages requires the login if there is one; the control socket
//! requires none. Without a login everybody sees the numbers and nobody sees names (`ui_public`
//! changes that), and sending needs a token. A change is never made by GET, and never for a page of
//! another site, nor is a route test: `hosts` and `origin` detect those.

use crate::http::access::Caller;
use crate::http::allowed_hosts::{self, Authority};
use crate::http::origin;
use crate::http::request::{EntryPoint, RequestHead};
use crate::http::request_limits::{ConnectionPermit, RequestClass, RequestPermit, ResponseReader};
use crate::http::response::{self, GuardedBody, HttpResponse};
use crate::http::rights::RequiredRight;
use crate::http::route::{HttpRoutes, RequestContext};
use crate::http::state::{Application, HttpState};
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Uri};
use std::sync::Arc;

/// Paths for programs, which may use any host name of this server, and any Accept header.
pub(crate) const OF_PROGRAMS: [&str; 4] = ["/healthz", "/readyz", "/status", "/metrics"];

/// An answer with its slot and memory.
type Placed = Response<GuardedBody<RequestPermit, ResponseReader>>;

/// The answer to any request; it never fails. Its request slot is released when the server has all
/// of it, its memory when the kernel has.
pub(crate) async fn answer<A: Application>(
    app: &A,
    routes: &HttpRoutes<A>,
    entry: EntryPoint,
    place: Option<&Arc<ConnectionPermit>>,
    request: Request<Incoming>,
) -> Placed {
    let http = app.http();
    let (client, path) = (entry.client(http, request.headers()), below(http, request.uri().path()));
    let (Some(place), Some(client)) = (place, client) else {
        return reply(app, routes, entry, None, request).await.map(|content| GuardedBody {
            content,
            _turn: None,
            unread: None,
        });
    };
    let kind = match path {
        "/healthz" | "/readyz" => RequestClass::Health,
        "/metrics" | "/status" => RequestClass::Monitor,
        _ => RequestClass::Other,
    };
    match place.begin(kind, client) {
        Some(turn) => {
            let looks = matches!(*request.method(), Method::GET | Method::HEAD);
            let answer = reply(app, routes, entry, Some(place), request).await;
            // The order or submission is done: a client that got 503 would repeat it.
            let mut reader = turn.reader();
            if !reader.may_have(answer.body().octets()) && looks {
                return busy("503 too many responses are still being read; try again later\n");
            }
            answer.map(|content| GuardedBody { content, _turn: Some(turn), unread: Some(reader) })
        }
        None => busy("503 too many requests in progress; try again later\n"),
    }
}

/// The answer when there is no slot.
fn busy(line: &'static str) -> Placed {
    let mut answer = response::plain(StatusCode::SERVICE_UNAVAILABLE, line);
    answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    answer.map(|content| GuardedBody { content, _turn: None, unread: None })
}

async fn reply<A: Application>(
    app: &A,
    routes: &HttpRoutes<A>,
    entry: EntryPoint,
    place: Option<&Arc<ConnectionPermit>>,
    request: Request<Incoming>,
) -> HttpResponse {
    let (parts, content) = request.into_parts();
    let (whole_path, query) = (parts.uri.path(), parts.uri.query().unwrap_or_default());
    let http = app.http();
    let path = below(http, whole_path);
    let client = entry.client(http, &parts.headers);
    let (method, version, headers) = (&parts.method, parts.version, &parts.headers);
    let mut visit = RequestHead {
        http,
        entry,
        client,
        caller: Caller::Anybody,
        method,
        version,
        path,
        whole_path,
        query,
        headers,
    };
    let answer = led(app, routes, &mut visit, place, &parts.uri, content).await;
    (routes.finish)(app, &visit, answer)
}

/// The answer to a request whose client is known.
async fn led<'a, A: Application>(
    app: &'a A,
    routes: &HttpRoutes<A>,
    visit: &mut RequestHead<'a>,
    place: Option<&Arc<ConnectionPermit>>,
    uri: &Uri,
    content: Incoming,
) -> HttpResponse {
    let (http, entry, path, client) = (visit.http, visit.entry, visit.path, visit.client);
    let host = match allowed_hosts::authority(uri, visit.headers, visit.version) {
        Ok(host) => host,
        Err(words) if entry != EntryPoint::Control => {
            return visit.error(StatusCode::BAD_REQUEST, &words);
        }
        Err(_) => None,
    };
    #[cfg(debug_assertions)]
    if let (EntryPoint::Control, Some(fault)) = (entry, path.strip_prefix("/api/v1/faults/")) {
        let status = if visit.http.plant(fault) { StatusCode::OK } else { StatusCode::NOT_FOUND };
        return visit.error(status, fault);
    }
    let asked = visit.asked_path();
    let route = routes.find(asked, visit.method);
    let need = route.map_or(RequiredRight::Numbers, |(route, _)| route.need);
    if entry != EntryPoint::Control
        && let Some(host) = host.as_ref().filter(|host| !http.access.hosts.knows(&host.host))
        && (visit.is_plain() || !OF_PROGRAMS.contains(&asked))
        && need != RequiredRight::Health
    {
        http.refused("host");
        return visit.error(StatusCode::MISDIRECTED_REQUEST, &host.misdirected());
    }
    if visit.is_plain() && need != RequiredRight::Health {
        return visit.inside_tls_alone(host.as_ref());
    }
    match visit.identified(need).await {
        Ok(caller) => visit.caller = caller,
        Err(refusal) => return refusal,
    }
    if let (Caller::Anybody, Some(place), Some(client)) = (visit.caller, place, client)
        && need != RequiredRight::Health
        && let Err(wait) = place.pace(client.address)
    {
        return visit.later(
            StatusCode::TOO_MANY_REQUESTS,
            "too many requests from this address",
            wait.as_secs() + 1,
        );
    }
    let Some((route, id)) = route else {
        if path.is_empty() {
            return visit.with_slash();
        }
        return visit.error(StatusCode::NOT_FOUND, "not found");
    };
    if !route.methods.contains(visit.method) {
        return visit.method_not_allowed(&routes.methods(asked));
    }
    if let Err(words) = visit.right(need) {
        return visit.error(StatusCode::FORBIDDEN, words);
    }
    if entry != EntryPoint::Control
        && let Some(refusal) = foreign_page(visit, need, host.as_ref())
    {
        return refusal;
    }
    (route.handler)(RequestContext { app, visit, id, content }).await
}

/// The refusal of a request that changes something, or makes the relay ask others, and may have
/// been made by another site's page.
fn foreign_page(
    visit: &RequestHead<'_>,
    need: RequiredRight,
    host: Option<&Authority>,
) -> Option<HttpResponse> {
    let changes = matches!(need, RequiredRight::Order | RequiredRight::Send);
    // Without a query nothing is looked up: other sites may link to the form.
    let asks = need == RequiredRight::Lookup && !visit.query.is_empty();
    if !changes && !asks {
        return None;
    }
    let outside = visit.http.access.outside.as_ref();
    let foreign = origin::foreign(visit.headers, host, outside);
    if let Some(words) = foreign {
        visit.http.refused("origin");
        return Some(visit.error(StatusCode::FORBIDDEN, &words));
    }
    let refusal = visit.shows_form_token().err().filter(|_| changes);
    refusal.map(|words| visit.error(StatusCode::FORBIDDEN, words))
}

/// A path without the path of `ui_url`, which some proxies do not remove.
fn below<'a>(http: &HttpState, path: &'a str) -> &'a str {
    let base = http.access.outside.as_ref().map_or("", |outside| outside.path.as_str());
    match path.strip_prefix(base) {
        Some(rest) if !base.is_empty() && (rest.is_empty() || rest.starts_with('/')) => rest,
        _ => path,
    }
}

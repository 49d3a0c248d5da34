//! `GET /api/v1/`: the list of endpoints, as JSON for programs and as a page of links for browsers.

use super::HttpResponse;
use crate::http::request::RequestHead;
use crate::http::response::{self, HTML};
use hyper::StatusCode;
use hyper::header;
use serde::Serialize;
use serde_json::Value;

/// The description of this API for programs: OpenAPI 3.1.
pub(super) const DOCUMENT: &str = include_str!("openapi.json");

/// The list of endpoints.
#[derive(Debug, Serialize)]
struct Index {
    /// The OpenAPI document, relative to this URL.
    openapi: &'static str,
    endpoints: Vec<Endpoint>,
}

/// An endpoint.
#[derive(Debug, Serialize)]
struct Endpoint {
    method: String,
    /// Relative to this URL.
    path: String,
    summary: String,
}

/// The list in the format for the client.
pub(super) fn index(visit: &RequestHead<'_>) -> HttpResponse {
    let endpoints = endpoints();
    let accept = visit
        .headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .unwrap_or_default();
    if accept.contains("text/html") {
        // Links are relative to the last slash of the URL.
        let here = if visit.path.ends_with('/') { "" } else { "v1/" };
        return response::found(HTML, page(&endpoints, here));
    }
    response::json(StatusCode::OK, &Index { openapi: "openapi.json", endpoints })
}

/// The endpoints in the OpenAPI document.
fn endpoints() -> Vec<Endpoint> {
    let document: Value = serde_json::from_str(DOCUMENT).unwrap_or_default();
    let paths = document["paths"].as_object().cloned().unwrap_or_default();
    let each = |(path, operations): (String, Value)| {
        let operations = operations.as_object().cloned().unwrap_or_default();
        let path = path.trim_start_matches('/').to_owned();
        operations.into_iter().map(move |(method, operation)| Endpoint {
            method: method.to_uppercase(),
            path: path.clone(),
            summary: operation["summary"].as_str().unwrap_or_default().to_owned(),
        })
    };
    paths.into_iter().flat_map(each).filter(|endpoint| !endpoint.path.is_empty()).collect()
}

/// All of it comes from this program's own document; every endpoint that can be read by GET without
/// parameters is a link.
fn page(endpoints: &[Endpoint], here: &str) -> String {
    let line = |endpoint: &Endpoint| {
        let Endpoint { method, path, summary } = endpoint;
        match method == "GET" && !path.contains('{') {
            true => format!("<li>{method} <a href=\"{here}{path}\">{path}</a>: {summary}</li>\n"),
            false => format!("<li>{method} {path}: {summary}</li>\n"),
        }
    };
    let lines: String = endpoints.iter().map(line).collect();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Postern \
        API</title>\
         <meta name=\"viewport\" content=\"width=device-width, \
         initial-scale=1\"></head>\n<body><main><h1>/api/v1</h1>\n\
         <p><a href=\"{here}openapi.json\">openapi.json</a> describes it for programs. <a \
         href=\"{here}../../\">Back to the web UI</a></p>\n\
         <ul>\n{lines}</ul></main></body></html>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_has_all_that_the_document_has() {
        let endpoints = endpoints();
        assert!(endpoints.len() >= 19, "{}", endpoints.len());
        assert!(
            endpoints
                .iter()
                .all(|endpoint| !endpoint.summary.is_empty() && !endpoint.path.starts_with('/'))
        );
        let page = page(&endpoints, "v1/");
        assert!(
            page.contains("<a href=\"v1/status\">") && !page.contains("<a href=\"queue/{id}\">"),
            "{page}"
        );
    }
}

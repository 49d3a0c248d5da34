//! The page of the log: its last lines, newest first.
//!
//! Limits: [`LINES`] lines, so that a usual page stays below 100 kB.

use super::log_line::LogLine;
use super::{PageError, PageFrame};
use crate::api::state::AppState;
use crate::api::{self, LogQuery};
use crate::http::request::RequestHead;
use askama::Template;

/// Lines on the page, at most; `/api/v1/log` has more.
const LINES: usize = 120;

#[derive(Template)]
#[template(path = "log.html", config = "src/ui/askama.toml")]
struct Page {
    frame: PageFrame,
    asked: LogQuery,
    lines: Vec<LogLine>,
}

/// The page for a query.
pub(super) fn page(app: &AppState, visit: &RequestHead<'_>) -> Result<String, PageError> {
    let asked = LogQuery::parse(visit.query).map_err(PageError::Query)?;
    let newest = api::log_lines(app, &asked).into_iter().rev().take(LINES);
    let lines = newest.map(|line| LogLine::of(&line)).collect();
    Page { frame: PageFrame::of(app, visit, "log"), asked, lines }
        .render()
        .map_err(PageError::Render)
}

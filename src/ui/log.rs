//! The page of the log: its last lines as they come, the newest on top.

use super::{Frame, Refused};
use crate::api::{self, LogQuery};
use crate::ground::words::{harmless, shorten};
use crate::http::state::AppState;
use crate::http::visit::Visit;
use askama::Template;

/// Characters of a line.
const LINE_SHOWN: usize = 600;

#[derive(Template)]
#[template(path = "log.html", config = "src/ui/askama.toml")]
struct Page {
    frame: Frame,
    asked: LogQuery,
    lines: Vec<(&'static str, String)>,
}

/// The page for a query.
pub(super) fn page(app: &AppState, visit: &Visit<'_>) -> Result<String, Refused> {
    let asked = LogQuery::parse(visit.query).map_err(Refused::Query)?;
    let line = |line: String| {
        let class = match api::level_of(&line) {
            Some("ERROR") => "bad",
            Some("WARN") => "warn",
            _ => "",
        };
        (class, shorten(&harmless(&line), LINE_SHOWN))
    };
    let lines = api::log_lines(app, &asked).into_iter().rev().map(line).collect();
    Page { frame: Frame::of(app, visit, "log"), asked, lines }.render().map_err(Refused::Render)
}

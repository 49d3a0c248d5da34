//! The page of settings: every effective property, its value, and its origin. Secrets are masked as
//! in `postern check`.

use super::{PageError, PageFrame};
use crate::api::setting::Setting;
use crate::api::state::AppState;
use crate::http::request::RequestHead;
use askama::Template;

/// The query that omits properties with their default.
const CHANGED: &str = "show=changed";

/// The groups of the class, each with its heading.
const GROUPS: [(&str, &str); 2] = [
    ("founding", "Properties of the founding document"),
    ("container", "Properties added for containers"),
];

#[derive(Template)]
#[template(path = "settings.html", config = "src/ui/askama.toml")]
struct Page<'a> {
    frame: PageFrame,
    groups: Vec<(&'static str, &'static str, Vec<&'a Setting>)>,
    /// Whether properties with their default are omitted.
    changed_only: bool,
    changed: usize,
    all: usize,
}

/// The page; the settings do not change while the appliance runs.
pub(super) fn page(app: &AppState, visit: &RequestHead<'_>) -> Result<String, PageError> {
    let settings = &app.facts.settings;
    let changed_only = visit.query == CHANGED;
    let rows = |group: &str| {
        let is_shown = |one: &&Setting| one.group == group && (one.changed || !changed_only);
        settings.iter().filter(is_shown).collect::<Vec<_>>()
    };
    let groups = GROUPS.into_iter().map(|(name, heading)| (name, heading, rows(name)));
    let page = Page {
        frame: PageFrame::of(app, visit, "settings"),
        groups: groups.filter(|(_, _, rows)| !rows.is_empty()).collect(),
        changed_only,
        changed: settings.iter().filter(|one| one.changed).count(),
        all: settings.len(),
    };
    page.render().map_err(PageError::Render)
}

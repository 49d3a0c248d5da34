//! The page of settings: every effective property, its value, and its origin. Secrets are masked as
//! in `postern check`.

use super::{PageError, PageFrame};
use crate::api::setting::{Setting, SettingGroup};
use crate::api::state::AppState;
use crate::http::request::RequestHead;
use askama::Template;

#[derive(Template)]
#[template(path = "settings.html", config = "src/ui/askama.toml")]
struct Page<'a> {
    frame: PageFrame,
    /// An anchor, a heading, and properties.
    groups: Vec<(&'static str, &'static str, Vec<&'a Setting>)>,
    /// Whether properties with their default are omitted.
    changed_only: bool,
    changed: usize,
    all: usize,
}

/// The page; the settings do not change while the appliance runs.
pub(super) fn page(app: &AppState, visit: &RequestHead<'_>) -> Result<String, PageError> {
    let settings = &app.facts.settings;
    let changed_only = changed_only(visit.query).map_err(PageError::Query)?;
    let rows = |group: SettingGroup| {
        let is_shown = |one: &&Setting| one.group == group && (one.changed || !changed_only);
        settings.iter().filter(is_shown).collect::<Vec<_>>()
    };
    let groups = SettingGroup::ALL.into_iter().map(|group| {
        let (name, heading) = heading(group);
        (name, heading, rows(group))
    });
    let page = Page {
        frame: PageFrame::of(app, visit, "settings"),
        groups: groups.filter(|(_, _, rows)| !rows.is_empty()).collect(),
        changed_only,
        changed: settings.iter().filter(|one| one.changed).count(),
        all: settings.len(),
    };
    page.render().map_err(PageError::Render)
}

/// The anchor and the heading of a group.
fn heading(group: SettingGroup) -> (&'static str, &'static str) {
    match group {
        SettingGroup::Founding => ("founding", "Properties of the founding document"),
        SettingGroup::Container => ("container", "Properties added for containers"),
    }
}

/// Whether a query omits properties with their default.
///
/// # Errors
/// The message for a query that is unknown.
fn changed_only(query: &str) -> Result<bool, String> {
    match query {
        "" | "show=all" => Ok(false),
        "show=changed" => Ok(true),
        _ => Err("the known parameter is show, with all or changed".to_owned()),
    }
}

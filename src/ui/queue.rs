//! The page of the queue: by destination and age, by sender, by error, and the messages themselves.
//!
//! Limits: [`DESTINATIONS`] rows of the heat map, [`GROUPS`] of each other table, and
//! [`PAGE_SIZES`] messages; all texts shortened, so that a page of the usual size stays under
//! 100 kB.

use super::text::{ShortText, encoded, text};
use super::{PageError, PageFrame};
use crate::api::next_attempt::NextAttempt;
use crate::api::state::AppState;
use crate::api::{self, DestinationView, FilterView, MessageView, PageQuery};
use crate::ground::display_text::{count, counted, size, span};
use crate::http::request::RequestHead;
use crate::mail::model::{DestinationSummary, Grouping};
use askama::Template;
use std::time::Duration;
use tokio::time::timeout;

/// Rows of the heat map.
const DESTINATIONS: usize = 20;

/// Rows of the tables of senders and reasons.
const GROUPS: usize = 8;

/// Time limit for a table of groups.
const GROUPS_PATIENCE: Duration = Duration::from_millis(300);

/// Messages on a page: the choices, and the default.
pub(super) const PAGE_SIZES: [usize; 4] = [25, 50, 100, 200];
const PAGE: usize = PAGE_SIZES[1];

/// Characters of names and of errors.
const NAME_SHOWN: usize = 44;
const ERROR_SHOWN: usize = 90;

/// Characters of a subject.
const SUBJECT_SHOWN: usize = 70;

/// The colours of the columns of ages, from new mail to the oldest; a cell without mail has none.
/// Mail without a failed attempt is not alarming before it is old: [`CALM`] is its last colour in
/// the first columns.
const HEAT: [&str; 6] = ["fresh", "h1", "h2", "h3", "h4", "h5"];
const NONE: &str = "h0";
const CALM: [&str; 6] = ["fresh", "fresh", "h1", "h1", "h2", "h3"];

#[derive(Template)]
#[template(path = "queue.html", config = "src/ui/askama.toml")]
struct Page {
    frame: PageFrame,
    filter: FilterView,
    /// The conditions that are set, for hidden fields.
    conditions: Vec<(&'static str, String)>,
    /// The URL of this page without the notice.
    here: String,
    /// Whether one of the folded fields is set.
    unfolded: bool,
    /// The columns of ages, as text.
    bounds: Vec<String>,
    limits: [usize; 4],
    page_size: usize,
    destinations: Vec<Destination>,
    more_destinations: bool,
    senders: Vec<Group>,
    reasons: Vec<Group>,
    sampled: Option<String>,
    messages: Vec<Row>,
    total: String,
    /// How many messages were checked, if not all.
    looked: Option<String>,
    next: Option<String>,
}

struct Destination {
    name: ShortText,
    raw: String,
    link: String,
    messages: String,
    /// Counts by age: the highest age, the number, and a CSS class that shows how alarming they
    /// are.
    ages: Vec<(String, String, &'static str)>,
    unreachable_since: Option<String>,
    next: String,
    connections: String,
    error: ShortText,
    paused: bool,
}

struct Group {
    name: ShortText,
    link: String,
    messages: String,
    oldest: String,
}

struct Row {
    id: String,
    arrived: String,
    age: String,
    subject: ShortText,
    sender: ShortText,
    recipients: Vec<ShortText>,
    more: usize,
    size: String,
    state: String,
    next: String,
    error: ShortText,
}

/// The page for a query.
///
/// # Errors
/// The query is not valid, or the queue cannot be read.
pub(super) async fn page(app: &AppState, visit: &RequestHead<'_>) -> Result<String, PageError> {
    let (query, notice) = super::notice::split(visit.query);
    let mut asked = PageQuery::parse(&query).map_err(PageError::Query)?;
    let page_size = page_size(&query);
    (asked.limit, asked.subjects) = (page_size, true);
    let found = api::page(app, visit, &asked)
        .await
        .map_err(|answer| PageError::Answer(Box::new(answer)))?;
    let mut destinations = app.views.admin.destinations(DESTINATIONS + 1);
    let more_destinations = destinations.len() > DESTINATIONS;
    destinations.truncate(DESTINATIONS);
    let now = crate::ground::clock::now();
    let destinations: Vec<DestinationView> =
        destinations.into_iter().map(|d| api::destination_view(d, now)).collect();
    let (senders, _) = groups(app, Grouping::Sender, "sender").await;
    let (reasons, sampled) = groups(app, Grouping::Reason, "error").await;
    let filter = asked.filter;
    let conditions = filter.conditions();
    let mut base: String =
        conditions.iter().map(|(name, value)| format!("{name}={}&", encoded(value))).collect();
    if page_size != PAGE {
        base += &format!("limit={page_size}&");
    }
    let bounds = bounds();
    let page = Page {
        frame: PageFrame::of(app, visit, "queue").with_notice(notice),
        unfolded: conditions.iter().any(|(name, _)| !matches!(*name, "search" | "state")),
        filter,
        destinations: destinations.iter().map(|destination| row(destination, &bounds)).collect(),
        bounds,
        limits: PAGE_SIZES,
        page_size,
        more_destinations,
        senders,
        reasons,
        sampled,
        total: count(app.views.admin.summary().messages),
        looked: (!found.complete && !conditions.is_empty() && found.messages.len() < page_size)
            .then(|| format!("{} searched so far", counted(found.scanned, "message"))),
        next: found.next.as_ref().map(|after| format!("queue?{base}after={after}")),
        messages: found.messages.iter().map(message_row).collect(),
        here: format!("/queue?{}", base.trim_end_matches('&')).trim_end_matches('?').to_owned(),
        conditions,
    };
    page.render().map_err(PageError::Render)
}

/// The page size in a query; the default if there is none or an invalid one.
pub(super) fn page_size(query: &str) -> usize {
    let wanted = form_urlencoded::parse(query.as_bytes())
        .find(|(name, _)| name == "limit")
        .and_then(|(_, value)| value.parse().ok());
    wanted.filter(|wanted| PAGE_SIZES.contains(wanted)).unwrap_or(PAGE)
}

/// The columns of ages, as text.
fn bounds() -> Vec<String> {
    let bounded =
        DestinationSummary::AGES.iter().map(|bound| format!("≤ {}", span((*bound).into())));
    bounded.chain(["older".to_owned()]).collect()
}

async fn groups(app: &AppState, by: Grouping, field: &str) -> (Vec<Group>, Option<String>) {
    // Counting a long queue takes longer than a user should wait; the next request gets the result.
    let Ok(Ok(found)) = timeout(GROUPS_PATIENCE, api::groups_view(app, by)).await else {
        return (Vec::new(), None);
    };
    let factor = |messages: u64| {
        if found.sampled { messages * found.total / found.seen.max(1) } else { messages }
    };
    let group = |group: &api::GroupView| {
        let name = if group.name == "<>" { "Bounces (null sender)" } else { &group.name };
        // The common part of the group: a sender completely, of an error the text before the first
        // difference.
        let wanted = group.name.split('…').next().unwrap_or_default().trim();
        Group {
            name: text(name, ERROR_SHOWN),
            link: format!("queue?{field}={}", encoded(wanted)),
            messages: count(factor(group.messages)),
            oldest: span(group.oldest_age_seconds),
        }
    };
    let sampled = found.sampled.then(|| {
        format!("estimated from {} of {}", count(found.seen), counted(found.total, "message"))
    });
    (found.groups.iter().take(GROUPS).map(group).collect(), sampled)
}

fn row(destination: &DestinationView, bounds: &[String]) -> Destination {
    let connections = match (destination.couriers, destination.window) {
        (0, _) => String::new(),
        (couriers, window) => format!("{couriers} of {window}"),
    };
    Destination {
        name: text(&destination.name, NAME_SHOWN),
        raw: destination.name.clone(),
        link: encoded(&destination.name),
        messages: count(destination.messages),
        ages: ages(&destination.ages, bounds, !destination.last_error.is_empty()),
        unreachable_since: destination.unreachable_since.clone(),
        next: NextAttempt::of_destination(destination).to_string(),
        connections,
        error: text(destination.reason(), ERROR_SHOWN),
        paused: destination.paused,
    }
}

fn ages(numbers: &[u64], bounds: &[String], failed: bool) -> Vec<(String, String, &'static str)> {
    let colours = if failed { HEAT } else { CALM };
    let class = |number: u64, colour| if number == 0 { NONE } else { colour };
    let cells = numbers.iter().zip(bounds).zip(colours);
    cells
        .map(|((number, bound), colour)| (bound.clone(), count(*number), class(*number, colour)))
        .collect()
}

fn message_row(message: &MessageView) -> Row {
    let error = message
        .recipients
        .iter()
        .map(|recipient| recipient.last_reply.as_str())
        .find(|reply| !reply.is_empty());
    Row {
        id: message.id.clone(),
        arrived: message.arrived.clone(),
        age: span(message.age_seconds),
        subject: text(message.subject.as_deref().unwrap_or_default(), SUBJECT_SHOWN),
        sender: text(if message.sender.is_empty() { "<>" } else { &message.sender }, NAME_SHOWN),
        recipients: message
            .recipients
            .iter()
            .take(2)
            .map(|recipient| text(&recipient.address, NAME_SHOWN))
            .collect(),
        more: message.recipients_pending.saturating_sub(message.recipients.len().min(2)),
        size: size(message.size_bytes),
        state: message.state.clone().unwrap_or_default(),
        next: match NextAttempt::of_message(message) {
            NextAttempt::Now => "next attempt now".to_owned(),
            next @ NextAttempt::In(_) => format!("next attempt {next}"),
            NextAttempt::Paused => "destination paused".to_owned(),
            // The state column shows it.
            NextAttempt::Held | NextAttempt::Active(..) | NextAttempt::Never => String::new(),
        },
        error: text(error.unwrap_or_default(), ERROR_SHOWN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_follows_age_and_error_and_not_number() {
        let classes = |numbers: &[u64], failed| {
            let cells = ages(numbers, &bounds(), failed);
            cells.into_iter().map(|(_, _, class)| class).collect::<Vec<_>>()
        };
        assert_eq!(
            classes(&[10_000, 0, 0, 0, 0, 1], true),
            ["fresh", "h0", "h0", "h0", "h0", "h5"]
        );
        assert_eq!(classes(&[1, 1, 1, 1, 1, 1], true), HEAT);
        assert_eq!(classes(&[1, 1, 1, 1, 1, 0], false)[..5], CALM[..5]);
        let labels: Vec<String> = ages(&[1; 6], &bounds(), true).into_iter().map(|c| c.0).collect();
        assert_eq!(labels, ["≤ 5 min", "≤ 1 h", "≤ 6 h", "≤ 1 d", "≤ 3 d", "older"]);
    }

    #[test]
    fn a_page_has_one_of_a_few_sizes() {
        assert_eq!(
            ["", "limit=200&sender=a", "limit=500", "limit=x"].map(page_size),
            [50, 200, 50, 50]
        );
    }
}

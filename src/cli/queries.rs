//! The commands that show the queue and the history.

use super::api_client::Core;
use super::shared_text::{messages, null_sender, print_json, to_json};
use super::table::TextTable;
use super::tool_error::{EX_USAGE, ToolError};
use crate::api::next_attempt::NextAttempt;
use crate::api::{
    AttemptsView, DestinationsView, FilterView, GroupsView, HistoryView, MessageView, PAGE_MAX,
    PageView, StatusView, TextView,
};
use crate::ground::display_text::{count, harmless, shorten, size, span};
use crate::mail::model::DeliveryStatus;
use clap::{Args, ValueEnum};
use std::io::Write;
use std::num::NonZeroUsize;

/// Filters: a message must match all that are given. Texts match anywhere in the field, and upper
/// and lower case are the same.
#[derive(Debug, Args, Clone, Default)]
#[command(next_help_heading = "Filters")]
pub(super) struct FilterArgs {
    /// Text in the recipient, sender, id, destination, error or subject
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// Text in a pending recipient
    #[arg(long, value_name = "TEXT")]
    recipient: Option<String>,
    /// Text in the sender; '<>' = null sender (bounces)
    #[arg(long, value_name = "TEXT")]
    sender: Option<String>,
    /// Exact name of a destination
    #[arg(long, value_name = "NAME")]
    destination: Option<String>,
    /// Text in the last error
    #[arg(long, value_name = "TEXT")]
    error: Option<String>,
    /// Text in the subject
    #[arg(long, value_name = "TEXT")]
    subject: Option<String>,
    /// State: active, deferred, held or waiting
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
    /// Older than this, such as 1h or 2d
    #[arg(long, value_name = "AGE")]
    older: Option<String>,
    /// Larger than this, such as 100K or 1M
    #[arg(long, value_name = "SIZE")]
    larger: Option<String>,
}

impl FilterArgs {
    /// The filter; `None` without conditions.
    pub(super) fn view(&self) -> Result<Option<FilterView>, ToolError> {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let view = FilterView {
            search: text(&self.search),
            recipient: text(&self.recipient),
            sender: text(&self.sender),
            id: String::new(),
            destination: text(&self.destination),
            error: text(&self.error),
            subject: text(&self.subject),
            state: text(&self.state),
            older: text(&self.older),
            larger: text(&self.larger),
        };
        match view.filter() {
            Ok(filter) => Ok((!filter.is_empty()).then_some(view)),
            Err(words) => Err(ToolError::new(EX_USAGE, words)),
        }
    }
}

/// The options of a listing.
#[derive(Debug, Args)]
pub(super) struct Listing {
    #[command(flatten)]
    filter: FilterArgs,
    /// Show at most N messages
    #[arg(long, value_name = "N")]
    limit: Option<NonZeroUsize>,
}

/// The options of `history`.
#[derive(Debug, Args)]
pub(super) struct HistoryArgs {
    /// Text in an address, id, host or reply
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// Text in a recipient
    #[arg(long, value_name = "TEXT")]
    recipient: Option<String>,
    /// Text in the sender
    #[arg(long, value_name = "TEXT")]
    sender: Option<String>,
    /// Status: delivered, bounced, dropped, deleted or moved (by export --move)
    #[arg(long, value_name = "STATUS", value_parser = DeliveryStatus::parse_final)]
    status: Option<DeliveryStatus>,
    /// Show at most N messages
    #[arg(long, value_name = "N", default_value = "100")]
    limit: NonZeroUsize,
}

/// By what to group.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum GroupBy {
    /// The sender
    Sender,
    /// Its domain
    SenderDomain,
    /// The recipients' domains
    RecipientDomain,
    /// The last error
    Reason,
}

/// `postern queue list`
pub(super) async fn list(
    core: &Core,
    what: &Listing,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), ToolError> {
    let filter = what.filter.view()?;
    let conditions = query(&filter.as_ref().map(FilterView::conditions).unwrap_or_default());
    let (mut after, mut total) = (String::new(), 0);
    let limit = what.limit.map_or(usize::MAX, NonZeroUsize::get);
    let mut rest = false;
    while total < limit {
        let wanted = PAGE_MAX.min(limit - total);
        let page: PageView =
            core.get(&format!("/api/v1/queue?limit={wanted}&after={after}{conditions}")).await?;
        if json {
            for message in &page.messages {
                writeln!(out, "{}", to_json(message)?)?;
            }
        } else if !page.messages.is_empty() {
            list_table(&page.messages, total == 0).write(out)?;
        }
        total += page.messages.len();
        rest = page.next.is_some();
        match page.next {
            Some(next) => after = next,
            None => break,
        }
    }
    if json {
        return Ok(());
    }
    let shown = messages(total as u64);
    match (total, filter, rest) {
        (0, None, false) => writeln!(out, "The queue is empty.")?,
        (0, Some(_), false) => writeln!(out, "No messages match.")?,
        (_, _, false) => writeln!(out, "{shown}.")?,
        (_, None, true) => {
            let status: StatusView = core.get("/api/v1/status").await?;
            match status.queue.messages {
                all if all > total as u64 => {
                    writeln!(out, "{} of {}.", count(total as u64), messages(all))?
                }
                _ => writeln!(out, "{shown}.")?,
            }
        }
        (_, Some(_), true) => {
            let more = core
                .get::<PageView>(&format!("/api/v1/queue?limit=1&after={after}{conditions}"))
                .await?;
            writeln!(out, "{shown}{}.", tail(!more.messages.is_empty(), more.next.is_some()))?;
        }
    }
    Ok(())
}

/// The text about messages beyond the limit: whether one was `found`, or that it is not known
/// because of the time limit.
fn tail(found: bool, unknown: bool) -> &'static str {
    match (found, unknown) {
        (true, _) => "; there are more, see --limit",
        (false, true) => "; there may be more, see --limit",
        (false, false) => "",
    }
}

fn list_table(messages: &[MessageView], first: bool) -> TextTable {
    let head: &[&str] = if first {
        &["ID", "AGE", "SIZE", "NEXT ATTEMPT", "FROM", "TO", "LAST ERROR"]
    } else {
        &[]
    };
    let mut table = TextTable::new(head, &[13, 11, 8, 14, 30, 32, 100]);
    for message in messages {
        let first = message.recipients.first().or(message.copy.as_ref());
        let to = first.map(|recipient| recipient.address.as_str()).unwrap_or_default();
        let to = match message.recipients_pending {
            0 | 1 => to.to_owned(),
            // The number stays readable however long the address is.
            more => format!("{} +{}", shorten(to, 26), more - 1),
        };
        table.row(&[
            &message.id,
            &span(message.age_seconds),
            &size(message.size_bytes),
            &NextAttempt::of_message(message).to_string(),
            null_sender(&message.sender),
            &to,
            first.map(|recipient| recipient.last_reply.as_str()).unwrap_or_default(),
        ]);
    }
    table
}

/// `postern queue destinations`
pub(super) async fn destinations(
    core: &Core,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), ToolError> {
    let found: DestinationsView = core.get("/api/v1/destinations").await?;
    if json {
        return print_json(out, &found);
    }
    if found.destinations.is_empty() {
        return Ok(writeln!(out, "No mail is queued.")?);
    }
    let ages: Vec<String> = found
        .age_bounds_seconds
        .iter()
        .map(|bound| format!("<={}", span(u64::from(*bound))))
        .collect();
    let mut head = vec!["DESTINATION", "MESSAGES"];
    head.extend(ages.iter().map(String::as_str));
    head.extend(["OLDER", "NEXT ATTEMPT", "LAST ERROR"]);
    let mut table = TextTable::new(&head, &[40, 9, 9, 9, 9, 9, 9, 9, 14, 100]);
    for destination in &found.destinations {
        let numbers: Vec<String> = destination.ages.iter().map(|number| count(*number)).collect();
        let next = NextAttempt::of_destination(destination).to_string();
        let messages = count(destination.messages);
        let mut row = vec![destination.name.as_str(), &messages];
        row.extend(numbers.iter().map(String::as_str));
        row.extend([next.as_str(), destination.reason()]);
        table.row(&row);
    }
    Ok(table.write(out)?)
}

/// `postern queue groups`
pub(super) async fn groups(
    core: &Core,
    by: GroupBy,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), ToolError> {
    let by = match by {
        GroupBy::Sender => "sender",
        GroupBy::SenderDomain => "sender_domain",
        GroupBy::RecipientDomain => "recipient_domain",
        GroupBy::Reason => "reason",
    };
    let found: GroupsView = core.get(&format!("/api/v1/groups?by={by}")).await?;
    if json {
        return print_json(out, &found);
    }
    let mut table = TextTable::new(&["MESSAGES", "OLDEST", "NAME"], &[9, 11, 140]);
    for group in &found.groups {
        table.row(&[&count(group.messages), &span(group.oldest_age_seconds), &group.name]);
    }
    table.write(out)?;
    if found.sampled {
        writeln!(
            out,
            "From an even sample of {} of {}.",
            count(found.seen),
            messages(found.total)
        )?;
    }
    Ok(())
}

/// `postern queue text ID`
pub(super) async fn text(
    core: &Core,
    id: &str,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), ToolError> {
    let view: TextView = core.get(&format!("/api/v1/queue/{id}/text")).await?;
    if json {
        return print_json(out, &view);
    }
    for header in &view.headers {
        writeln!(out, "{}: {}", harmless(&header.name), harmless(&header.value))?;
    }
    writeln!(out)?;
    for line in view.text.lines() {
        writeln!(out, "{}", harmless(&line.replace('\t', "    ")))?;
    }
    for part in &view.parts {
        writeln!(
            out,
            "[{} {}, {}]",
            harmless(&part.kind),
            harmless(&part.name),
            size(part.size_bytes)
        )?;
    }
    if view.truncated {
        writeln!(out, "[there is more: postern queue body {id}]")?;
    }
    Ok(())
}

/// The attempts of a message, after the output of `postern queue show`.
pub(super) async fn tries(core: &Core, id: &str, out: &mut dyn Write) -> Result<(), ToolError> {
    let found: AttemptsView = core.get(&format!("/api/v1/queue/{id}/attempts")).await?;
    for attempt in &found.attempts {
        // Without a host there is no TLS status; a deletion has no place.
        let place = match (attempt.relay.as_str(), attempt.tls.as_str()) {
            ("", _) => harmless(&attempt.destination),
            (relay, "") => format!("{}, plain text", harmless(relay)),
            (relay, tls) => format!("{}, {}", harmless(relay), harmless(tls)),
        };
        writeln!(out, "\n{}", format!("{} {place}", attempt.time).trim_end())?;
        for ending in &attempt.outcomes {
            writeln!(
                out,
                "  {} {}: {}",
                harmless(&ending.to),
                ending.status,
                harmless(&ending.reply)
            )?;
        }
        for line in &attempt.transcript {
            writeln!(out, "    {}", harmless(line))?;
        }
    }
    Ok(())
}

/// `postern queue history`
pub(super) async fn history(
    core: &Core,
    what: &HistoryArgs,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), ToolError> {
    let fields = [
        ("search", &what.search),
        ("recipient", &what.recipient),
        ("sender", &what.sender),
        ("status", &what.status.map(|status| status.to_string())),
    ];
    let given = fields
        .into_iter()
        .filter_map(|(name, text)| Some((name, text.clone()?)))
        .collect::<Vec<_>>();
    let conditions = query(&given);
    let (mut after, mut total) = (String::new(), 0);
    let mut rest = false;
    while total < what.limit.get() {
        let wanted = PAGE_MAX.min(what.limit.get() - total);
        let page: HistoryView =
            core.get(&format!("/api/v1/history?limit={wanted}&after={after}{conditions}")).await?;
        if !page.kept && !json {
            return Ok(writeln!(out, "No history is kept (history_enabled=no).")?);
        }
        let head: &[&str] = if total == 0 {
            &["ID", "COMPLETED", "FROM", "TO", "STATUS", "REPLY OR ERROR"]
        } else {
            &[]
        };
        let mut table = TextTable::new(head, &[13, 25, 30, 32, 9, 100]);
        for entry in &page.entries {
            if json {
                writeln!(out, "{}", to_json(entry)?)?;
                continue;
            }
            for ending in &entry.recipients {
                table.row(&[
                    &entry.id,
                    &entry.finished,
                    null_sender(&entry.sender),
                    &ending.to,
                    ending.status.as_str(),
                    &ending.reply,
                ]);
            }
        }
        if !json {
            table.write(out)?;
        }
        total += page.entries.len();
        rest = page.next.is_some();
        match page.next {
            Some(next) => after = next,
            None => break,
        }
    }
    if json {
        return Ok(());
    }
    let mut more = "";
    if rest {
        let page = core
            .get::<HistoryView>(&format!("/api/v1/history?limit=1&after={after}{conditions}"))
            .await?;
        more = tail(!page.entries.is_empty(), page.next.is_some());
    }
    writeln!(out, "{}{more}.", messages(total as u64))?;
    Ok(())
}

/// `&name=value` for each.
fn query(pairs: &[(&'static str, String)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in pairs {
        query.append_pair(name, value);
    }
    let text = query.finish();
    if text.is_empty() { text } else { format!("&{text}") }
}

//! Operator actions: the choice of messages, and the confirmation for more than one.

use super::api_client::Core;
use super::queries::FilterArgs;
use super::shared_text::{check_id, messages, print_json};
use super::tool_error::{EX_DATAERR, EX_DECLINED, EX_NOINPUT, EX_SOFTWARE, EX_USAGE, ToolError};
use crate::api::{IDS_MAX, MatchedView, OrderView};
use crate::ground::display_text::harmless;
use clap::Args;
use std::collections::HashSet;
use std::io::{self, BufRead, IsTerminal, Read, Write};

/// Octets of the answer to the question that are read, at most.
const REPLY_MAX: u64 = 100;

/// The choice of messages.
#[derive(Debug, Args)]
pub(super) struct SelectionArgs {
    /// Queue ids
    ids: Vec<String>,
    /// All messages with a pending recipient in this domain
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<String>,
    /// All messages
    #[arg(long)]
    all: bool,
    /// Only show how many messages would be affected
    #[arg(long)]
    dry_run: bool,
    /// Do not ask for confirmation when several messages match
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    filter: FilterArgs,
}

impl SelectionArgs {
    /// The order in the form for the API.
    ///
    /// # Errors
    /// It names no messages, or names them in two ways, or an id is not valid.
    pub(super) fn order(&self, word: &str) -> Result<OrderView, ToolError> {
        let filter = self.filter.view()?;
        let ways = [
            ("queue ids", !self.ids.is_empty()),
            ("--domain", self.domain.is_some()),
            ("filters", filter.is_some()),
            ("--all", self.all),
        ];
        one_way(
            word,
            "queue ids, or --domain DOMAIN, or filters (--help lists them), or --all",
            &ways,
        )?;
        self.ids.iter().try_for_each(|id| check_id(id))?;
        if self.ids.len() > IDS_MAX {
            return Err(ToolError::new(
                EX_USAGE,
                format!("at most {IDS_MAX} queue ids at once; you gave {}", self.ids.len()),
            ));
        }
        let mut seen = HashSet::new();
        let ids: Vec<String> =
            self.ids.iter().filter(|id| seen.insert(id.as_str())).cloned().collect();
        let (id, ids) = match ids.as_slice() {
            [one] => (Some(one.clone()), Vec::new()),
            several => (None, several.to_vec()),
        };
        Ok(OrderView {
            order: word.to_owned(),
            id,
            ids,
            domain: self.domain.clone(),
            all: self.all,
            filter,
            preview: self.dry_run,
            ..OrderView::default()
        })
    }

    /// Asks for confirmation on the terminal before more than one message is changed, unless each
    /// was named. Without a terminal `--yes` is required.
    ///
    /// # Errors
    /// The answer was no, or there is no terminal; or the core could not count.
    pub(super) async fn confirm(
        &self,
        core: &Core,
        order: &OrderView,
        to: &mut dyn Write,
    ) -> Result<(), ToolError> {
        if !self.ids.is_empty() || self.yes || self.dry_run {
            return Ok(());
        }
        let preview = OrderView { preview: true, ..order.clone() };
        let hit: MatchedView = core.post("/api/v1/orders", &preview).await?;
        if hit.messages <= 1 && !hit.incomplete {
            return Ok(());
        }
        let surely = if hit.incomplete { "at least " } else { "" };
        let what = format!("{} {surely}{}", order.order, messages(hit.messages));
        let loss = if order.order == "delete" { ", without bounces" } else { "" };
        if !io::stdin().is_terminal() {
            let words = format!(
                "this would {what}{loss}; nothing was done. Pass --yes to confirm, or --dry-run to \
                see how many messages are affected"
            );
            return Err(ToolError::new(EX_USAGE, words));
        }
        // If standard error is closed, there is no answer either.
        write!(to, "This will {what}{loss}. Continue? [y/N] ")?;
        to.flush()?;
        let mut reply = String::new();
        io::stdin().lock().take(REPLY_MAX).read_line(&mut reply)?;
        match reply.trim().to_ascii_lowercase().as_str() {
            "y" | "yes" => Ok(()),
            _ => Err(ToolError::new(EX_DECLINED, "nothing was done")),
        }
    }
}

/// Checks that messages are chosen in exactly one way: with two it would be unclear whether both
/// must hold.
///
/// # Errors
/// There is none, or several; `how` lists them.
pub(super) fn one_way(word: &str, how: &str, ways: &[(&str, bool)]) -> Result<(), ToolError> {
    let chosen: Vec<&str> =
        ways.iter().filter(|(_, chosen)| *chosen).map(|(way, _)| *way).collect();
    match chosen.as_slice() {
        [_] => Ok(()),
        [] => Err(ToolError::new(EX_USAGE, format!("{word} what? Give {how}"))),
        several => Err(ToolError::new(
            EX_USAGE,
            format!("{word} what? Give only one of {}", several.join(", ")),
        )),
    }
}

/// Pauses or resumes a destination.
pub(super) fn at_destination(word: &str, destination: &str) -> OrderView {
    OrderView {
        order: word.to_owned(),
        destination: Some(destination.to_owned()),
        ..OrderView::default()
    }
}

/// Sends an order and prints its result.
///
/// # Errors
/// The core's; or some of several ids are not in the queue: the order was executed for the others.
pub(super) async fn give(
    core: &Core,
    order: &OrderView,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), ToolError> {
    // Before the order, after which deleted ones are not there either.
    let missing = missing(core, &order.ids).await?;
    obeyed(core, order, json, out).await?;
    if missing.is_empty() {
        return Ok(());
    }
    Err(ToolError::new(EX_NOINPUT, format!("not in the queue: {}", missing.join(", "))))
}

/// Those of several messages that are not in the queue.
async fn missing<'a>(core: &Core, ids: &'a [String]) -> Result<Vec<&'a str>, ToolError> {
    let mut missing = Vec::new();
    for id in ids {
        match core.get::<serde_json::Value>(&format!("/api/v1/queue/{id}")).await {
            Err(trouble) if trouble.code == EX_NOINPUT => missing.push(id.as_str()),
            // A message that cannot be read is there; the order gives the result for it.
            Ok(_) | Err(ToolError { code: EX_DATAERR | EX_SOFTWARE, .. }) => {}
            Err(trouble) => return Err(trouble),
        }
    }
    Ok(missing)
}

async fn obeyed(
    core: &Core,
    order: &OrderView,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), ToolError> {
    let hit: MatchedView = core.post("/api/v1/orders", order).await?;
    if json {
        return print_json(out, &hit);
    }
    if order.preview {
        let surely = if hit.incomplete { "At least " } else { "" };
        return Ok(writeln!(
            out,
            "{surely}{} would be affected; nothing was done.",
            messages(hit.messages)
        )?);
    }
    let name = harmless(order.destination.as_deref().unwrap_or_default());
    if let Some(remark) = hit.remark {
        return Ok(writeln!(out, "Note: {}.", remark.words(&name))?);
    }
    if let Some(untried) = hit.untried {
        if hit.messages > untried {
            writeln!(out, "{} will be retried now.", messages(hit.messages - untried))?;
        }
        let not = messages(untried);
        let advice = "use 'postern queue release' or 'postern queue resume'";
        return Ok(writeln!(
            out,
            "Note: {not} not retried: held, or for a paused destination; {advice}."
        )?);
    }
    let done = match order.order.as_str() {
        "pause" => return Ok(writeln!(out, "Delivery to {name} is paused.")?),
        "resume" => return Ok(writeln!(out, "Delivery to {name} is resumed.")?),
        "retry" => "will be retried now",
        "hold" => "held",
        "release" => "released",
        _ => "deleted",
    };
    Ok(writeln!(out, "{} {done}.", messages(hit.messages))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_needs_exactly_one_choice() {
        let choice = |ids: &[&str], domain: Option<&str>, all| SelectionArgs {
            ids: ids.iter().map(|id| (*id).to_owned()).collect(),
            domain: domain.map(str::to_owned),
            all,
            dry_run: false,
            yes: false,
            filter: FilterArgs::default(),
        };
        let id = "0000000000010";
        assert_eq!(choice(&[id], None, false).order("retry").unwrap().id.as_deref(), Some(id));
        assert_eq!(
            choice(&[id, id], None, false).order("retry").unwrap().id.as_deref(),
            Some(id),
            "it is one message"
        );
        let several = choice(&[id, "0000000000020"], None, false).order("hold").unwrap();
        assert_eq!((several.id, several.ids.len()), (None, 2));
        assert!(choice(&[], Some("b"), false).order("retry").is_ok());
        assert!(choice(&[], None, true).order("retry").is_ok());
        let refused = |choice: SelectionArgs| {
            let trouble = choice.order("retry").unwrap_err();
            assert_eq!(trouble.code, EX_USAGE);
            trouble.words
        };
        assert!(
            refused(choice(&[], None, false))
                .starts_with("retry what? Give queue ids, or --domain")
        );
        assert!(refused(choice(&["1"], None, false)).contains("'1' is not a queue id"));
        assert_eq!(
            refused(choice(&[id], None, true)),
            "retry what? Give only one of queue ids, --all"
        );
        assert!(
            refused(choice(&[id; IDS_MAX + 1], None, false)).contains("at most 1000 queue ids")
        );
    }
}

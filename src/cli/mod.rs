//! `postern queue`: the operator's tool, a client of the control socket.
//!
//! It also reads data volumes without a core, and exports and imports mail. In: arguments. Out:
//! tables for people, or JSON (one value on each line); the progress of long work, on standard
//! error. Exit codes follow sysexits: 1 an order that was not confirmed, 64 wrong arguments, 65
//! damaged or refused mail, 66 no such message, file or volume, 69 no core answers (or one works
//! with a volume that was to be read), 70 an invalid answer, 73 a file cannot be written, 77 no
//! permission. Security: all text from mail is escaped before it is written to a terminal; only
//! `body` writes a mail as it is.

mod api_client;
pub mod dkim;
mod export;
mod export_directory;
mod import;
pub mod manual;
mod operator_actions;
mod progress;
mod queries;
mod resend;
pub mod route;
mod shared_text;
mod table;
mod tool_error;
pub mod upstream;
mod volume;

use crate::api::next_attempt::NextAttempt;
use crate::api::{
    DestinationsView, FinishedView, MessageView, OrderView, RecipientView, StatusView,
};
use crate::ground::display_text::{count, counted, harmless, size, span, states};
use api_client::Core;
use clap::{Args, Subcommand};
use export::ExportArgs;
use import::ImportArgs;
use operator_actions::SelectionArgs;
use queries::{GroupBy, HistoryArgs, Listing};
use resend::Resend;
use serde::Serialize;
use shared_text::{check_id, messages, null_sender, print_json};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use table::TextTable;
use tool_error::{EX_NOINPUT, EX_OK, EX_SOFTWARE, ToolError};

pub use volume::Volumes;

/// The name of the socket in the run directory.
pub const SOCKET: &str = "control.sock";

/// Inspect and manage the queue of the running relay, export and import mail, verify a data volume
#[derive(Debug, Args)]
pub struct QueueArgs {
    #[command(subcommand)]
    command: Command,
    /// Print JSON, one value a line
    #[arg(long, global = true)]
    json: bool,
    /// The control socket of the running appliance [default: control.sock in MTA_RUN_DIR,
    /// /run/postern or the user's own run directory]
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the messages in the queue, oldest first
    List {
        #[command(flatten)]
        what: Listing,
        #[command(flatten)]
        watch: Watch,
    },
    /// Show one message: envelope, recipients, every delivery attempt with the replies, or its
    /// final status
    Show {
        /// The queue id
        id: String,
    },
    /// Print the content of one message as it will be sent
    Body {
        /// The queue id
        id: String,
    },
    /// Show the readable text of a message
    Text {
        /// The queue id
        id: String,
    },
    /// Show the queue by destination and age
    Destinations(Watch),
    /// Group the queue by sender, domain or last error
    Groups {
        /// What to group by
        #[arg(long, value_enum, default_value = "reason")]
        by: GroupBy,
    },
    /// Pause delivery to a destination; its mail stays in the queue
    Pause {
        /// A domain, or the smart relay as 'postern queue destinations' names it
        destination: String,
    },
    /// Resume delivery to a paused destination
    Resume {
        /// A domain, or the smart relay as 'postern queue destinations' names it
        destination: String,
    },
    /// Show the delivery history: messages that have left the queue, newest first
    History(HistoryArgs),
    /// Send a finished message again, while its content is kept (property history_content)
    ///
    /// It becomes a new message with the same content. Without --to and --all it goes to the
    /// recipients that did not get it, or to all where everybody did.
    Resend(Resend),
    /// Attempt delivery now
    Retry(SelectionArgs),
    /// Stop delivery attempts until released
    Hold(SelectionArgs),
    /// Release held messages
    Release(SelectionArgs),
    /// Delete messages; no bounces are sent
    Delete(SelectionArgs),
    /// Show totals, and the queue by destination
    Stats(Watch),
    /// Check a data volume that no running Postern uses; nothing is changed
    ///
    /// Reads every record and every content and verifies their checksums. Exit 0: the queue is
    /// intact; 65: something is damaged, the report names the messages and the consequences; 66:
    /// there is no queue; 69: the volume is in use by a running Postern; 77: no permission.
    Verify {
        /// The volume, or a copy of one [default: property volume_data]
        #[arg(long, value_name = "DIR")]
        volume: Option<PathBuf>,
    },
    /// Write messages to files: ID.eml, the content as it will be sent, and ID.json, the envelope
    /// and the status of each recipient
    ///
    /// Without --move the messages stay in the queue. With it each is held, written, synced and
    /// only then deleted: repeat the command if it is interrupted. Existing files are never
    /// overwritten with other mail.
    Export(ExportArgs),
    /// Import messages from files: pairs as export writes them, or .eml files with --from and --to
    ///
    /// Recipients that were delivered before do not get the message again, and it keeps its age.
    /// Imported files are moved to DIR/imported; refused files stay where they are, the reason is
    /// printed, and the exit code is 65.
    Import(ImportArgs),
}

/// Whether to refresh.
#[derive(Debug, Args)]
struct Watch {
    /// Refresh every so many seconds, until ^C
    #[arg(
        long,
        value_name = "SECONDS",
        num_args = 0..=1,
        default_missing_value = "2",
        value_parser = clap::value_parser!(u64).range(1..=3600)
    )]
    watch: Option<u64>,
}

/// Executes the arguments.
pub fn run(args: QueueArgs, volumes: &dyn Volumes) -> ExitCode {
    ExitCode::from(run_to(args, volumes, &mut io::stdout().lock(), &mut io::stderr().lock()))
}

/// The same with given outputs; returns the exit code.
pub fn run_to(
    args: QueueArgs,
    volumes: &dyn Volumes,
    out: &mut dyn Write,
    complaints: &mut dyn Write,
) -> u8 {
    let mut out = io::BufWriter::new(out);
    // The output so far is shown, however it ended.
    let performed = perform(args, volumes, &mut out, complaints);
    match performed.and(out.flush().map_err(ToolError::from)) {
        Ok(()) => EX_OK,
        Err(trouble) if trouble.words.is_empty() => trouble.code,
        Err(trouble) => {
            // If standard error is closed, the text is lost.
            let _ = writeln!(complaints, "postern queue: {}", trouble.words);
            trouble.code
        }
    }
}

/// The possible paths of the control socket, in the order in which they are tried: only
/// `MTA_RUN_DIR` if that is set, else the run directory of `postern init` as root and as another
/// user.
pub fn socket_candidates(variable: impl Fn(&str) -> Option<OsString>, uid: u32) -> Vec<PathBuf> {
    let set = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(directory) = set("MTA_RUN_DIR") {
        return vec![directory.join(SOCKET)];
    }
    let own = set("XDG_RUNTIME_DIR").map(|directory| directory.join("postern"));
    [Some(PathBuf::from("/run/postern")), own, Some(PathBuf::from(format!("/tmp/postern-{uid}")))]
        .into_iter()
        .flatten()
        .map(|directory| directory.join(SOCKET))
        .collect()
}

fn perform(
    mut args: QueueArgs,
    volumes: &dyn Volumes,
    out: &mut dyn Write,
    complaints: &mut dyn Write,
) -> Result<(), ToolError> {
    // Errors in the arguments are reported before anything is called.
    let order = order_of(&args.command)?;
    // These need no core.
    match args.command {
        Command::Verify { volume } => {
            return volume::verify(volumes, volume, args.json, out, complaints);
        }
        Command::Export(export) if export.volume.is_some() => {
            return export::offline(&export, volumes, args.json, out, complaints);
        }
        command => args.command = command,
    }
    runtime()?.block_on(async {
        let core = Core::find(sockets(args.socket))?;
        match (args.command, order) {
            (
                Command::Retry(choice)
                | Command::Hold(choice)
                | Command::Release(choice)
                | Command::Delete(choice),
                Some(order),
            ) => {
                choice.confirm(&core, &order, complaints).await?;
                operator_actions::give(&core, &order, args.json, out).await
            }
            (_, Some(order)) => operator_actions::give(&core, &order, args.json, out).await,
            (Command::List { what, watch }, _) => {
                watch.look(out, async |out| queries::list(&core, &what, args.json, out).await).await
            }
            (Command::Destinations(watch), _) => {
                watch
                    .look(out, async |out| queries::destinations(&core, args.json, out).await)
                    .await
            }
            (Command::Stats(watch), _) => {
                watch.look(out, async |out| stats(&core, args.json, out).await).await
            }
            (Command::Groups { by }, _) => queries::groups(&core, by, args.json, out).await,
            (Command::History(what), _) => queries::history(&core, &what, args.json, out).await,
            (Command::Resend(what), _) => what.run(&core, args.json, out).await,
            (Command::Text { id }, _) => queries::text(&core, &id, args.json, out).await,
            (Command::Show { id }, _) => show(&core, &id, args.json, out).await,
            (Command::Export(what), _) => {
                export::online(&what, &core, args.json, out, complaints).await
            }
            (Command::Import(what), _) => {
                import::run(&what, &core, args.json, out, complaints).await
            }
            (Command::Body { id }, _) => core.copy_body(&id, args.json, out).await,
            // Executed above, or an order.
            _ => Ok(()),
        }
    })
}

/// Where the control socket may be: where an option or a variable says, or in the usual places.
fn sockets(given: Option<PathBuf>) -> Vec<PathBuf> {
    match given {
        Some(socket) => vec![socket],
        None => socket_candidates(|name| std::env::var_os(name), nix::unistd::getuid().as_raw()),
    }
}

/// What calls of the core run on.
fn runtime() -> Result<tokio::runtime::Runtime, ToolError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| ToolError::new(EX_SOFTWARE, format!("cannot start: {error}")))
}

/// The order that a command gives, if it gives one. Checks the arguments of the others.
fn order_of(command: &Command) -> Result<Option<OrderView>, ToolError> {
    Ok(match command {
        Command::Retry(choice) => Some(choice.order("retry")?),
        Command::Hold(choice) => Some(choice.order("hold")?),
        Command::Release(choice) => Some(choice.order("release")?),
        Command::Delete(choice) => Some(choice.order("delete")?),
        Command::Show { id } | Command::Body { id } | Command::Text { id } => {
            check_id(id)?;
            None
        }
        Command::Resend(resend) => {
            resend.check()?;
            None
        }
        Command::Export(export) => {
            export.check()?;
            None
        }
        Command::Import(import) => {
            import.check()?;
            None
        }
        Command::Pause { destination } => {
            Some(operator_actions::at_destination("pause", destination))
        }
        Command::Resume { destination } => {
            Some(operator_actions::at_destination("resume", destination))
        }
        Command::List { .. }
        | Command::Stats(_)
        | Command::Destinations(_)
        | Command::Groups { .. }
        | Command::History(_)
        | Command::Verify { .. } => None,
    })
}

impl Watch {
    /// Shows the output once, or again and again on a cleared screen until the output is closed.
    async fn look(
        &self,
        out: &mut dyn Write,
        mut look: impl AsyncFnMut(&mut dyn Write) -> Result<(), ToolError>,
    ) -> Result<(), ToolError> {
        let Some(seconds) = self.watch else { return look(out).await };
        loop {
            if io::stdout().is_terminal() {
                // Cursor home, and clear to the end (ECMA-48).
                write!(out, "\x1b[H\x1b[J")?;
            }
            look(out).await?;
            out.flush()?;
            tokio::time::sleep(Duration::from_secs(seconds)).await;
        }
    }
}

async fn show(core: &Core, id: &str, json: bool, out: &mut dyn Write) -> Result<(), ToolError> {
    let message: MessageView = match core.get(&format!("/api/v1/queue/{id}")).await {
        Ok(message) => message,
        // It may have left the queue.
        Err(gone) if gone.code == EX_NOINPUT => {
            return ended(core, id, json, out).await.map_err(|_| gone);
        }
        Err(trouble) => return Err(trouble),
    };
    if json {
        return print_json(out, &message);
    }
    let client = match &message.client {
        Some(client) => format!("{client} ({})", message.helo),
        None => "generated locally".to_owned(),
    };
    let subject = message.subject.as_deref().unwrap_or("(the content cannot be read now)");
    let facts = [
        ("Message", message.id.as_str()),
        ("Arrived", &format!("{}, {} ago", message.arrived, span(message.age_seconds))),
        ("From", null_sender(&message.sender)),
        ("Client", &client),
        ("Subject", subject),
        ("Size", &size(message.size_bytes)),
        ("Next attempt", &NextAttempt::of_message(&message).to_string()),
    ];
    for (name, value) in facts {
        writeln!(out, "{name:<12} {}", harmless(value))?;
    }
    writeln!(out)?;
    let mut table = TextTable::new(
        &["RECIPIENT", "STATE", "ATTEMPTS", "NEXT ATTEMPT", "LAST REPLY OR ERROR"],
        &[60, 9, 8, 14, 400],
    );
    for recipient in message.recipients.iter().chain(&message.copy) {
        let RecipientView { address, status, attempts, last_reply, .. } = recipient;
        let next = NextAttempt::of_recipient(&message, recipient).to_string();
        table.row(&[address, status.as_str(), &attempts.to_string(), &next, last_reply]);
    }
    table.write(out)?;
    queries::tries(core, id, out).await
}

/// The final state of a message that is not in the queue any more.
async fn ended(core: &Core, id: &str, json: bool, out: &mut dyn Write) -> Result<(), ToolError> {
    let entry: FinishedView = core.get(&format!("/api/v1/history/{id}")).await?;
    if json {
        return print_json(out, &entry);
    }
    writeln!(out, "Message      {}, no longer in the queue", entry.id)?;
    writeln!(out, "Arrived      {}", entry.arrived)?;
    writeln!(out, "Completed    {}, after {}", entry.finished, span(entry.took_seconds))?;
    writeln!(out, "From         {}", harmless(null_sender(&entry.sender)))?;
    queries::tries(core, id, out).await
}

/// The status and the destinations together.
#[derive(Serialize)]
struct Stats {
    #[serde(flatten)]
    status: StatusView,
    #[serde(flatten)]
    destinations: DestinationsView,
}

async fn stats(core: &Core, json: bool, out: &mut dyn Write) -> Result<(), ToolError> {
    let status: StatusView = core.get("/api/v1/status").await?;
    let destinations: DestinationsView = core.get("/api/v1/destinations").await?;
    if json {
        return print_json(out, &Stats { status, destinations });
    }
    let (queue, totals) = (&status.queue, &status.totals);
    let state = match status.ready {
        true => "accepting mail".to_owned(),
        false => format!("not accepting mail: {}", status.not_ready_reason),
    };
    let oldest =
        queue.oldest_age_seconds.map(|age| format!(", oldest {}", span(age))).unwrap_or_default();
    let refused: u64 = totals.refused.values().sum();
    let facts = [
        (
            "Relay",
            format!(
                "{}, Postern {}, up {}, {state}",
                status.hostname,
                status.version,
                span(status.uptime_seconds)
            ),
        ),
        ("Queue", format!("{}, {}{oldest}", messages(queue.messages), size(queue.bytes))),
        ("", states(queue.messages, queue.active, queue.deferred, queue.held)),
        (
            "Sessions",
            format!(
                "{} now, {} since start",
                count(status.smtp_active_sessions),
                count(totals.smtp_sessions)
            ),
        ),
        (
            "Totals",
            format!(
                "{} accepted, {} delivered, {} deferred, {} bounced, {} rejected",
                count(totals.accepted),
                count(totals.delivered),
                count(totals.deferred),
                count(totals.bounced),
                count(refused)
            ),
        ),
    ];
    let turned_away = turned_away(&totals.sessions_refused).map(|value| ("Turned away", value));
    for (name, value) in facts.into_iter().chain(turned_away) {
        writeln!(out, "{name:<11} {}", harmless(&value))?;
    }
    if !destinations.destinations.is_empty() {
        writeln!(out)?;
        let mut table = TextTable::new(
            &["DESTINATION", "MESSAGES", "OLDEST", "NEXT ATTEMPT", "LAST ERROR"],
            &[48, 9, 11, 14, 120],
        );
        for destination in &destinations.destinations {
            let next = NextAttempt::of_destination(destination).to_string();
            let oldest = destination.oldest_age_seconds.map(span).unwrap_or_default();
            table.row(&[
                &destination.name,
                &count(destination.messages),
                &oldest,
                &next,
                destination.reason(),
            ]);
        }
        table.write(out)?;
    }
    Ok(())
}

/// How many clients got no session, and why: which limit was reached, or that they sent too much
/// before the greeting. `None` = none.
fn turned_away(refused: &BTreeMap<String, u64>) -> Option<String> {
    let all: u64 = refused.values().sum();
    let words = |name: &str| match name {
        "all" => "over the session limit".to_owned(),
        "strangers" => "over the limit for unknown clients".to_owned(),
        "address" => "over the limit for one address".to_owned(),
        "memory" => "for lack of memory".to_owned(),
        "early" => "sent before the greeting".to_owned(),
        "proxy" => "without a PROXY header".to_owned(),
        other => other.to_owned(),
    };
    let each = refused
        .iter()
        .filter(|(_, number)| **number > 0)
        .map(|(name, number)| format!("{} {}", count(*number), words(name)));
    (all > 0)
        .then(|| format!("{} ({})", counted(all, "client"), each.collect::<Vec<_>>().join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_for_the_socket_where_the_appliance_puts_it() {
        let with = |pairs: &'static [(&str, &str)]| {
            let found = move |name: &str| {
                pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
            };
            socket_candidates(found, 7)
                .iter()
                .map(|path| path.display().to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(with(&[("MTA_RUN_DIR", "/x"), ("XDG_RUNTIME_DIR", "/y")]), ["/x/control.sock"]);
        let candidates = with(&[("MTA_RUN_DIR", ""), ("XDG_RUNTIME_DIR", "/y")]);
        assert_eq!(
            candidates,
            ["/run/postern/control.sock", "/y/postern/control.sock", "/tmp/postern-7/control.sock"]
        );
        assert_eq!(with(&[]).len(), 2);
    }
}

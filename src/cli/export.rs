//! `postern queue export`: writes mail of the queue to files in a documented format.

mod copy;
mod report;
mod take_out;

use super::api_client::Core;
use super::export_directory::Store;
use super::operator_actions::one_way;
use super::progress::ProgressReporter;
use super::shared_text::{PAGE, check_id};
use super::tool_error::{EX_CANTCREAT, EX_NOINPUT, EX_SOFTWARE, EX_USAGE, ToolError};
use super::volume::{self, Volumes};
use crate::api::transfer::{checksum, each_piece};
use crate::api::{MessageView, PageView};
use crate::export::ExportedMessage;
use crate::ground::display_text::count;
use crate::mail::model::{DeliveryStatus, Message, MessageId, TargetStatus};
use clap::Args;
use copy::{Copied, copy};
use report::{ExportReporter, not_written, note_stored};
use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use take_out::take_out;

/// Pairs between two syncs of the directory.
const BATCH: usize = 100;

/// The arguments of an export.
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// The directory for the files; created if it does not exist
    directory: PathBuf,
    /// Queue ids
    ids: Vec<String>,
    /// All messages with a pending recipient in this domain
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<String>,
    /// All messages
    #[arg(long)]
    all: bool,
    /// Remove each message from the queue once its files are synced
    #[arg(long = "move", alias = "delete")]
    moving: bool,
    /// Read a data volume that no running Postern uses; it is not changed
    #[arg(long, value_name = "DIR")]
    pub(super) volume: Option<PathBuf>,
}

impl ExportArgs {
    /// Checks the arguments.
    pub(super) fn check(&self) -> Result<(), ToolError> {
        let ways = [
            ("queue ids", !self.ids.is_empty()),
            ("--domain", self.domain.is_some()),
            ("--all", self.all),
        ];
        one_way("export", "queue ids, or --domain DOMAIN, or --all", &ways)?;
        if self.moving && self.volume.is_some() {
            let words = "--move changes the queue, and with --volume the volume is only read; \
            export without --move, then keep or remove the volume";
            return Err(ToolError::new(EX_USAGE, words));
        }
        self.ids.iter().try_for_each(|id| check_id(id))
    }

    fn open(&self) -> Result<Store, ToolError> {
        Store::open(&self.directory).map_err(|error| {
            ToolError::new(
                EX_CANTCREAT,
                format!("cannot write to {}: {error}", self.directory.display()),
            )
        })
    }

    fn chosen(&self) -> Vec<MessageId> {
        let ids: BTreeSet<MessageId> = self.ids.iter().filter_map(|id| id.parse().ok()).collect();
        ids.into_iter().collect()
    }
}

/// From a volume that no core uses.
pub(super) fn offline(
    export: &ExportArgs,
    volumes: &dyn Volumes,
    json: bool,
    out: &mut dyn Write,
    complaints: &mut dyn Write,
) -> Result<(), ToolError> {
    let (_, rest) = volume::open(volumes, export.volume.clone())?;
    let store = export.open()?;
    let mut teller = ExportReporter::new(json, out, complaints);
    let all = rest.ids(&mut |looked| {
        teller.progress.tell(|| {
            format!(
                "reading the queue: file {} of {}",
                count(looked.files),
                count(looked.files_total)
            )
        });
    });
    let all = all.map_err(|error| volume::trouble(&error))?;
    let ids = if export.ids.is_empty() { all.clone() } else { export.chosen() };
    teller.total = ids.len();
    for id in ids {
        if all.binary_search(&id).is_err() {
            teller.note(id, "left", Some("no such message in the queue"))?;
            continue;
        }
        let message = match rest.load(id) {
            Ok(message) => message,
            Err(words) => {
                teller.note(id, "damaged", Some(&words))?;
                continue;
            }
        };
        if export.domain.as_ref().is_none_or(|domain| waits_for_domain(&message, domain)) {
            copy_offline(&store, &message, &mut teller)?;
        } else {
            teller.total -= 1;
        }
    }
    store.sync().map_err(not_written)?;
    teller.end(&export.directory, !export.ids.is_empty())
}

/// Whether a recipient of this domain is still pending.
fn waits_for_domain(message: &Message, domain: &str) -> bool {
    let recipients = message.envelope.recipients.iter().zip(&message.progress);
    let mut pending = recipients.filter(|(_, progress)| progress.status == TargetStatus::Pending);
    pending.any(|(recipient, _)| recipient.domain_text().eq_ignore_ascii_case(domain))
}

/// Writes the pair of a message that is not in any running core.
fn copy_offline(
    store: &Store,
    message: &Message,
    teller: &mut ExportReporter<'_>,
) -> Result<(), ToolError> {
    let id = message.id;
    let crc = match checksum(&message.body) {
        Ok(crc) => crc,
        Err(error) => return teller.note(id, "damaged", Some(&error.to_string())),
    };
    let mut draft = store.begin(id).map_err(not_written)?;
    let mut trouble = None;
    let read = each_piece(&message.body, |piece| match draft.write(&piece) {
        Ok(()) => true,
        Err(error) => {
            trouble = Some(error);
            false
        }
    });
    if let Some(error) = trouble {
        store.abandon(&draft);
        return Err(not_written(error));
    }
    if let Err(error) = read {
        store.abandon(&draft);
        return teller.note(id, "damaged", Some(&error.to_string()));
    }
    note_stored(store.finish(draft, &ExportedMessage::of(message, crc)), id, teller)
}

/// From the running core.
pub(super) async fn online(
    export: &ExportArgs,
    core: &Core,
    json: bool,
    out: &mut dyn Write,
    complaints: &mut dyn Write,
) -> Result<(), ToolError> {
    let _alone = export.moving.then(|| core.only_move()).transpose()?;
    let store = export.open()?;
    let mut teller = ExportReporter::new(json, out, complaints);
    let mut ids: BTreeSet<MessageId> = match export.ids.is_empty() {
        true => select(core, export.domain.as_deref(), &mut teller.progress)
            .await?
            .into_iter()
            .collect(),
        false => export.chosen().into_iter().collect(),
    };
    if export.moving {
        // Messages that an earlier attempt did not finish.
        ids.extend(store.marks().map_err(not_written)?);
    }
    teller.total = ids.len();
    for (place, id) in ids.into_iter().enumerate() {
        if export.moving {
            take_out(core, &store, id, &mut teller).await?;
        } else {
            match copy(core, &store, id, None).await? {
                Copied::Stored(stored, _) => note_stored(stored, id, &mut teller)?,
                Copied::Not(result, words) => teller.note(id, result, Some(&words))?,
            }
            if place % BATCH == BATCH - 1 {
                store.sync().map_err(not_written)?;
            }
        }
    }
    store.sync().map_err(not_written)?;
    teller.end(&export.directory, !export.ids.is_empty())
}

/// The ids of all messages, or of those with a pending recipient in a domain.
async fn select(
    core: &Core,
    domain: Option<&str>,
    progress: &mut ProgressReporter<'_>,
) -> Result<Vec<MessageId>, ToolError> {
    let (mut ids, mut after) = (Vec::new(), String::new());
    loop {
        let page: PageView = core.get(&format!("/api/v1/queue?limit={PAGE}&after={after}")).await?;
        for message in page.messages {
            let wanted = match domain {
                None => true,
                // A page shows only a few recipients of each.
                Some(domain) if message.recipients.len() < message.recipients_pending => {
                    match core.get::<MessageView>(&format!("/api/v1/queue/{}", message.id)).await {
                        Ok(whole) => waits_for(&whole, domain),
                        Err(trouble) if trouble.code == EX_NOINPUT => false,
                        Err(trouble) => return Err(trouble),
                    }
                }
                Some(domain) => waits_for(&message, domain),
            };
            if wanted {
                ids.push(message.id.parse().map_err(|()| {
                    ToolError::new(EX_SOFTWARE, "unexpected response: no queue id")
                })?);
            }
        }
        progress.tell(|| format!("looking through the queue: {} found", count(ids.len() as u64)));
        match page.next {
            Some(next) => after = next,
            None => return Ok(ids),
        }
    }
}

fn waits_for(message: &MessageView, domain: &str) -> bool {
    let pending =
        message.recipients.iter().filter(|recipient| recipient.status == DeliveryStatus::Pending);
    let mut domains = pending.filter_map(|recipient| recipient.address.rsplit_once('@'));
    domains.any(|(_, there)| there.eq_ignore_ascii_case(domain))
}

//! `postern queue export`: writes mail of the queue to files in a documented format.
//!
//! During a move a mail is always in at least one place, and afterwards in exactly one: a mark is
//! written, the message is held and the end of its attempts awaited, the pair of files is written
//! and synced, the core removes the message from the queue if its progress still equals the pair's,
//! the mark is removed. After an interruption the command is repeated; if the message is not in the
//! queue any more, the history shows whether it was moved. There is one move at a time
//! ([`Core::only_move`]).

use super::call::Core;
use super::order::one_way;
use super::progress::Progress;
use super::store::{ASIDE, Mark, Store, Stored};
use super::trouble::{
    EX_CANTCREAT, EX_DATAERR, EX_NOINPUT, EX_SOFTWARE, EX_TEMPFAIL, EX_UNAVAILABLE, EX_USAGE,
    Trouble,
};
use super::volume::{self, Volumes};
use super::words::{PAGE, check_id, messages, to_json};
use crate::api::transfer::{checksum, each_piece};
use crate::api::{FinishedView, HitView, MessageView, OrderView, PageView};
use crate::export::Record;
use crate::ground::words::{count, harmless};
use crate::mail::model::{MessageId, Status};
use clap::Args;
use serde::Serialize;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Pairs between two syncs of the directory.
const BATCH: usize = 100;

/// How long a move waits for the attempts of one message to end.
const STILL_PATIENCE: Duration = Duration::from_secs(120);

/// How long a move waits before it asks again.
const BUSY_PAUSE: Duration = Duration::from_millis(500);

/// The arguments of an export.
#[derive(Debug, Args)]
pub(super) struct Export {
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

impl Export {
    /// Checks the arguments.
    pub(super) fn check(&self) -> Result<(), Trouble> {
        let ways = [
            ("queue ids", !self.ids.is_empty()),
            ("--domain", self.domain.is_some()),
            ("--all", self.all),
        ];
        one_way("export", "queue ids, or --domain DOMAIN, or --all", &ways)?;
        if self.moving && self.volume.is_some() {
            let words = "--move changes the queue, and with --volume the volume is only read; \
            export without --move, then keep or remove the volume";
            return Err(Trouble::new(EX_USAGE, words));
        }
        self.ids.iter().try_for_each(|id| check_id(id))
    }

    fn open(&self) -> Result<Store, Trouble> {
        Store::open(&self.directory).map_err(|error| {
            Trouble::new(
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

/// The result for one message.
#[derive(Debug, Serialize)]
struct ExportedView<'a> {
    id: String,
    /// `exported`, `moved`, `identical`, `left`, `busy`, `unclear`, `conflict` or `damaged`.
    result: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

/// How many messages had each result.
#[derive(Debug, Default, Serialize)]
struct Tally {
    exported: u64,
    moved: u64,
    identical: u64,
    left: u64,
    busy: u64,
    unclear: u64,
    conflicts: u64,
    damaged: u64,
}

/// Where the results of an export are printed.
struct Teller<'a> {
    json: bool,
    out: &'a mut dyn Write,
    progress: Progress<'a>,
    tally: Tally,
    total: usize,
    done: usize,
}

impl<'a> Teller<'a> {
    fn new(json: bool, out: &'a mut dyn Write, complaints: &'a mut dyn Write) -> Self {
        Self {
            json,
            out,
            progress: Progress::new(complaints),
            tally: Tally::default(),
            total: 0,
            done: 0,
        }
    }

    /// Prints the result for one message.
    fn note(
        &mut self,
        id: MessageId,
        result: &'static str,
        reason: Option<&str>,
    ) -> Result<(), Trouble> {
        let tally = &mut self.tally;
        *match result {
            "exported" => &mut tally.exported,
            "moved" => &mut tally.moved,
            "identical" => &mut tally.identical,
            "left" => &mut tally.left,
            "busy" => &mut tally.busy,
            "unclear" => &mut tally.unclear,
            "conflict" => &mut tally.conflicts,
            _ => &mut tally.damaged,
        } += 1;
        self.done += 1;
        if self.json {
            writeln!(
                self.out,
                "{}",
                to_json(&ExportedView { id: id.to_string(), result, reason })?
            )?;
        } else if let Some(reason) = reason {
            writeln!(self.out, "{id} {result}: {}", harmless(reason))?;
        }
        let (done, total) = (self.done, self.total);
        self.progress.tell(|| format!("{} of {}", count(done as u64), messages(total as u64)));
        Ok(())
    }

    /// The end: the totals, and the exit code.
    fn end(self, export: &Export) -> Result<(), Trouble> {
        let tally = &self.tally;
        if self.json {
            writeln!(self.out, "{}", to_json(tally)?)?;
        } else {
            let directory = export.directory.display().to_string();
            writeln!(
                self.out,
                "{} exported to {}.",
                messages(tally.exported + tally.moved),
                harmless(&directory)
            )?;
            let rows = [
                (tally.moved, "taken out of the queue"),
                (tally.identical, "already there, identical"),
                (tally.left, "had left the queue"),
                (
                    tally.busy,
                    "being delivered or released just now, and left in the queue; try again later",
                ),
                (tally.unclear, "not in the queue, and possibly not moved"),
                (tally.conflicts, "not exported: another file has the name"),
                (tally.damaged, "not exported: damaged"),
            ];
            for (number, words) in rows.into_iter().filter(|(number, _)| *number > 0) {
                writeln!(self.out, "{} {words}.", count(number))?;
            }
        }
        let code = match tally {
            Tally { damaged: 1.., .. } => EX_DATAERR,
            Tally { conflicts: 1.., .. } | Tally { unclear: 1.., .. } => EX_CANTCREAT,
            Tally { busy: 1.., .. } => EX_UNAVAILABLE,
            Tally { left: 1.., .. } if !export.ids.is_empty() => EX_NOINPUT,
            _ => return Ok(()),
        };
        Err(Trouble::new(code, ""))
    }
}

/// From a volume that no core uses.
pub(super) fn offline(
    export: &Export,
    volumes: &dyn Volumes,
    json: bool,
    out: &mut dyn Write,
    complaints: &mut dyn Write,
) -> Result<(), Trouble> {
    let (_, rest) = volume::open(volumes, export.volume.clone())?;
    let store = export.open()?;
    let mut teller = Teller::new(json, out, complaints);
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
        let wanted = export.domain.as_ref().is_none_or(|domain| {
            let recipients = message.envelope.recipients.iter().zip(&message.progress);
            let mut pending = recipients.filter(|(_, progress)| progress.status == Status::Pending);
            pending.any(|(recipient, _)| recipient.domain_text().eq_ignore_ascii_case(domain))
        });
        if !wanted {
            teller.total -= 1;
            continue;
        }
        let crc = match checksum(&message.body) {
            Ok(crc) => crc,
            Err(error) => {
                teller.note(id, "damaged", Some(&error.to_string()))?;
                continue;
            }
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
        match read {
            Err(error) => {
                store.abandon(&draft);
                teller.note(id, "damaged", Some(&error.to_string()))?;
            }
            Ok(()) => {
                note_stored(store.finish(draft, &Record::of(&message, crc)), id, &mut teller)?
            }
        }
    }
    store.sync().map_err(not_written)?;
    teller.end(export)
}

/// From the running core.
pub(super) async fn online(
    export: &Export,
    core: &Core,
    json: bool,
    out: &mut dyn Write,
    complaints: &mut dyn Write,
) -> Result<(), Trouble> {
    let _alone = export.moving.then(|| core.only_move()).transpose()?;
    let store = export.open()?;
    let mut teller = Teller::new(json, out, complaints);
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
    teller.end(export)
}

/// The ids of all messages, or of those with a pending recipient in a domain.
async fn select(
    core: &Core,
    domain: Option<&str>,
    progress: &mut Progress<'_>,
) -> Result<Vec<MessageId>, Trouble> {
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
                ids.push(
                    message.id.parse().map_err(|()| {
                        Trouble::new(EX_SOFTWARE, "unexpected response: no queue id")
                    })?,
                );
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
    let pending = message.recipients.iter().filter(|recipient| recipient.status == "pending");
    let mut domains = pending.filter_map(|recipient| recipient.address.rsplit_once('@'));
    domains.any(|(_, there)| there.eq_ignore_ascii_case(domain))
}

enum Copied {
    /// With the version of the message that the pair contains.
    Stored(std::io::Result<Stored>, String),
    /// Why there is no pair: a result, and a text.
    Not(&'static str, String),
}

/// Writes the pair of a message. `held`: whether an operator held it before this tool did; then
/// every attempt of it has ended, too.
async fn copy(
    core: &Core,
    store: &Store,
    id: MessageId,
    held: Option<bool>,
) -> Result<Copied, Trouble> {
    let (mut view, version, mut content) = match core.mail(id, held.is_some()).await {
        Ok(mail) => mail,
        Err(trouble) => {
            return Ok(match trouble.code {
                EX_NOINPUT => Copied::Not("left", trouble.words),
                EX_TEMPFAIL => Copied::Not("busy", trouble.words),
                EX_DATAERR => Copied::Not("damaged", trouble.words),
                _ => return Err(trouble),
            });
        }
    };
    if let Some(held) = held {
        view.held = held;
    }
    let mut draft = store.begin(id).map_err(not_written)?;
    loop {
        match content.next().await {
            Ok(None) => break,
            Ok(Some(piece)) => {
                if let Err(error) = draft.write(&piece) {
                    store.abandon(&draft);
                    return Err(not_written(error));
                }
            }
            Err(trouble) => {
                store.abandon(&draft);
                return Err(trouble);
            }
        }
    }
    Ok(Copied::Stored(store.finish(draft, &view), version))
}

/// Moves one message out of the queue.
async fn take_out(
    core: &Core,
    store: &Store,
    id: MessageId,
    teller: &mut Teller<'_>,
) -> Result<(), Trouble> {
    let shown = match core.get::<MessageView>(&format!("/api/v1/queue/{id}")).await {
        Err(trouble) if trouble.code == EX_NOINPUT => return gone(core, store, id, teller).await,
        other => other?,
    };
    let mark = match store.marked(id).map_err(not_written)? {
        Some(mark) => mark,
        None => {
            let mark = Mark::new(shown.held, store.has_any(id));
            store.mark(id, &mark).map_err(not_written)?;
            mark
        }
    };
    let stays = match hold_and_copy(core, store, id, mark.held).await {
        Ok(Copied::Stored(Ok(Stored::Written | Stored::Identical), version)) => {
            store.sync().map_err(not_written)?;
            match move_out(core, id, version, &mark).await {
                Ok(_) => {
                    store.unmark(id).map_err(not_written)?;
                    return teller.note(id, "moved", None);
                }
                Err(trouble) if trouble.code == EX_NOINPUT => {
                    return gone(core, store, id, teller).await;
                }
                Err(trouble) if trouble.code == EX_TEMPFAIL => {
                    Ok(Copied::Not("busy", trouble.words))
                }
                Err(trouble) => return Err(trouble),
            }
        }
        Ok(Copied::Not("left", _)) => return gone(core, store, id, teller).await,
        other => other,
    };
    // It stays in the queue unchanged; or not, because the order is executed after a move of an
    // earlier attempt that was still waiting.
    match order(core, if mark.held { "hold" } else { "release" }, id).await {
        Err(trouble) if trouble.code == EX_NOINPUT => return gone(core, store, id, teller).await,
        Ok(HitView { messages: 0, .. }) => return gone(core, store, id, teller).await,
        other => drop(other?),
    }
    // A pair of this attempt, or of one before it, has an old state of the message: it must not be
    // imported while the message is still delivered here. The pair of an export without a move
    // belongs to the operator, and of a damaged message it may be the only intact copy.
    match &stays {
        Ok(Copied::Stored(Ok(Stored::Conflict), _)) => {}
        Ok(Copied::Not("damaged", _)) if !mark.exported => {
            store.set_aside(id).map_err(not_written)?;
        }
        _ if mark.exported => {}
        _ => store.discard(id).map_err(not_written)?,
    }
    store.unmark(id).map_err(not_written)?;
    match stays? {
        Copied::Stored(stored, _) => note_stored(stored, id, teller),
        Copied::Not(result, words) => teller.note(id, result, Some(&words)),
    }
}

/// A message that is not in the queue any more: an earlier attempt has moved it, or it was
/// delivered, bounced or deleted.
async fn gone(
    core: &Core,
    store: &Store,
    id: MessageId,
    teller: &mut Teller<'_>,
) -> Result<(), Trouble> {
    let Some(mark) = store.marked(id).map_err(not_written)?.filter(|_| store.has_pair(id)) else {
        store.unmark(id).map_err(not_written)?;
        return teller.note(id, "left", Some("no such message in the queue"));
    };
    let (result, words) = match core.get::<FinishedView>(&format!("/api/v1/history/{id}")).await {
        Ok(end) => match how_it_left(&end, &mark) {
            None => ("moved", None),
            Some(how) => {
                store.set_aside(id).map_err(not_written)?;
                ("left", Some(format!("{how}; its files are {id}.json{ASIDE} and .eml{ASIDE} now")))
            }
        },
        Err(trouble) if trouble.code == EX_NOINPUT => {
            // A duplicate is better than a loss.
            let words = format!(
                "the history does not know (any more) whether it was moved, or delivered from \
                here. Look for {id} in the log of \
                 this appliance. Only where it tells of every recipient that {id}.json calls \
                 pending that mail was sent, bounced \
                 or deleted, and nowhere status=moved, remove all three files. Else remove \
                 {id}.moving, and import the pair"
            );
            return teller.note(id, "unclear", Some(&words));
        }
        Err(trouble) if trouble.code == EX_UNAVAILABLE => {
            let words = format!(
                "whether it was moved is not known, for the history could not be asked ({}). Its \
                files are kept; repeat the \
                 command later",
                trouble.words
            );
            return teller.note(id, "unclear", Some(&words));
        }
        Err(trouble) => return Err(trouble),
    };
    store.unmark(id).map_err(not_written)?;
    teller.note(id, result, words.as_deref())
}

/// How a message left the queue, unless it was by the move with this mark.
fn how_it_left(end: &FinishedView, mark: &Mark) -> Option<String> {
    let mut ends: Vec<&str> =
        end.recipients.iter().map(|recipient| recipient.status.as_str()).collect();
    if !ends.contains(&"moved") {
        ends.sort_unstable();
        ends.dedup();
        return Some(format!("it was not moved but {}", ends.join(", ")));
    }
    // Marks of older versions have no word.
    let ours = mark.word.is_empty() || mark.word == end.mark;
    (!ours).then(|| "another export has moved it".to_owned())
}

async fn hold_and_copy(
    core: &Core,
    store: &Store,
    id: MessageId,
    held: bool,
) -> Result<Copied, Trouble> {
    match order(core, "hold", id).await {
        Err(trouble) if trouble.code == EX_NOINPUT => {
            return Ok(Copied::Not("left", trouble.words));
        }
        other => drop(other?),
    }
    let end = Instant::now() + STILL_PATIENCE;
    loop {
        match copy(core, store, id, Some(held)).await? {
            // It is being attempted, or the core is restarting.
            Copied::Not("busy", _) if Instant::now() < end => tokio::time::sleep(BUSY_PAUSE).await,
            other => return Ok(other),
        }
    }
}

async fn order(core: &Core, word: &str, id: MessageId) -> Result<HitView, Trouble> {
    let order =
        OrderView { order: word.to_owned(), id: Some(id.to_string()), ..OrderView::default() };
    core.post("/api/v1/orders", &order).await
}

async fn move_out(
    core: &Core,
    id: MessageId,
    version: String,
    mark: &Mark,
) -> Result<HitView, Trouble> {
    let order = OrderView {
        order: "move".to_owned(),
        id: Some(id.to_string()),
        version: Some(version),
        mark: Some(mark.word.clone()).filter(|word| !word.is_empty()),
        ..OrderView::default()
    };
    core.post("/api/v1/orders", &order).await
}

fn note_stored(
    stored: std::io::Result<Stored>,
    id: MessageId,
    teller: &mut Teller<'_>,
) -> Result<(), Trouble> {
    match stored {
        Ok(Stored::Written) => teller.note(id, "exported", None),
        Ok(Stored::Identical) => teller.note(id, "identical", None),
        Ok(Stored::Conflict) => teller.note(
            id,
            "conflict",
            Some("its files exist with different contents; use another directory"),
        ),
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            teller.note(id, "damaged", Some(&error.to_string()))
        }
        Err(error) => Err(not_written(error)),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it takes the place of a closure's error")]
fn not_written(error: std::io::Error) -> Trouble {
    Trouble::new(
        EX_CANTCREAT,
        format!(
            "cannot write the files: {error}; what was exported before is complete, repeat the \
            command"
        ),
    )
}

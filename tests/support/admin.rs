//! The queue in memory, for handlers: the same answers as the real one, with messages that a test
//! chooses.
#![allow(dead_code, reason = "each test program uses its own part of this")]

use postern::ground::clock;
use postern::mail::model::{
    Address, AddressError, AdminError, AdminFuture, Body, BodyType, ContentPieces, Deliveries,
    Destination, DestinationSummary, Envelope, Filter, Grouping, ImportedMessage, Message,
    MessageContext, MessageId, MessageKind, MessageState, NoUpstreamTest, OrderResult, Origin,
    Paused, Preview, Principal, QueueAdmin, QueueGroup, QueueGroups, QueueOrder, QueuePage,
    QueueSummary, Refusal, Reply, Resubmission, RouteQuestion, RouteReport, RouteTest, Selection,
    StoredContent, Submission, Submitted, SubmittedEnvelope, Target, TargetProgress, TargetStatus,
    UpstreamQuestion, UpstreamTest, UpstreamTestFuture,
};
use postern::mail::parse::lenient_mailbox;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The queue, in the order of ids.
#[derive(Default)]
pub struct MemoryDesk {
    /// How often the page was made: each one requests the destinations once.
    pub pages: AtomicU32,
    /// The results of deliveries.
    pub deliveries: Mutex<Vec<Deliveries>>,
    /// The users who gave orders.
    pub askers: Mutex<Vec<Principal>>,
    /// Paused destinations.
    pub paused: Mutex<BTreeSet<Destination>>,
    /// The mails submitted by programs.
    pub letters: Mutex<Vec<(SubmittedEnvelope, Vec<u8>)>>,
    /// The prepared answers to route tests, and the requests.
    pub route: Mutex<Option<RouteReport>>,
    pub questions: Mutex<Vec<RouteQuestion>>,
    /// Milliseconds that a route test takes.
    slow_route: AtomicU64,
    /// Milliseconds that a search takes.
    slow: AtomicU64,
    messages: Mutex<BTreeMap<MessageId, Message>>,
}

impl Submission for MemoryDesk {
    fn mailbox(&self, text: &str) -> Result<Address, AddressError> {
        lenient_mailbox(text, "mta.example")
    }

    fn submit(
        &self,
        submitted: SubmittedEnvelope,
        mut content: Box<dyn ContentPieces>,
    ) -> Submitted<'_> {
        Box::pin(async move {
            let mut octets = Vec::new();
            while let Some(piece) = content.next().await {
                octets.extend_from_slice(&piece.map_err(|error| {
                    (Reply::new(451, (4, 4, 2), error.to_string()), Refusal::Limit)
                })?);
            }
            let mut letters = self.letters.lock().unwrap();
            letters.push((submitted, octets));
            Ok(MessageId(letters.len() as u64))
        })
    }

    fn resubmit(&self, again: Resubmission) -> Submitted<'_> {
        Box::pin(async move {
            let octets = again.kept.body.head(usize::MAX).unwrap();
            assert_eq!(crc32fast::hash(&octets), again.kept.crc);
            let submitted = SubmittedEnvelope {
                client: again.principal.address,
                authenticated: true,
                sender: again.kept.envelope.sender,
                recipients: again.recipients,
            };
            let mut letters = self.letters.lock().unwrap();
            letters.push((submitted, octets.to_vec()));
            Ok(MessageId(letters.len() as u64))
        })
    }
}

impl UpstreamTest for MemoryDesk {
    fn test(&self, _question: UpstreamQuestion) -> UpstreamTestFuture<'_> {
        Box::pin(async { Err(NoUpstreamTest::Unknown) })
    }
}

impl RouteTest for MemoryDesk {
    fn test(&self, question: RouteQuestion) -> AdminFuture<'_, RouteReport> {
        Box::pin(async move {
            self.questions.lock().unwrap().push(question);
            let takes = Duration::from_millis(self.slow_route.load(Ordering::Relaxed));
            tokio::time::sleep(takes).await;
            let nothing =
                RouteReport { client: None, queue: Ok(()), redirected: false, targets: Vec::new() };
            Ok(self.route.lock().unwrap().clone().unwrap_or(nothing))
        })
    }
}

/// Stored content, generated while it is read.
struct Repeated(&'static [u8], u64);

impl StoredContent for Repeated {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.1 - offset).unwrap().min(buffer.len());
        for (place, byte) in buffer[..left].iter_mut().enumerate() {
            *byte = self.0[(usize::try_from(offset).unwrap() + place) % self.0.len()];
        }
        Ok(left)
    }
}

/// A line that stored contents repeat.
pub const LINE: &[u8] = b"The quick brown fox jumps over the lazy dog, again and again.\r\n";

impl MemoryDesk {
    /// From now on every search takes so long.
    pub fn slow(&self, takes: Duration) {
        self.slow.store(u64::try_from(takes.as_millis()).unwrap(), Ordering::Relaxed);
    }

    /// From now on every route test takes so long.
    pub fn slow_route(&self, takes: Duration) {
        self.slow_route.store(u64::try_from(takes.as_millis()).unwrap(), Ordering::Relaxed);
    }

    pub fn new(messages: impl IntoIterator<Item = Message>) -> Arc<Self> {
        let messages = messages.into_iter().map(|message| (message.id, message)).collect();
        Arc::new(Self { messages: Mutex::new(messages), ..Self::default() })
    }

    pub fn len(&self) -> usize {
        self.messages.lock().unwrap().len()
    }
}

/// A message to `recipients` that was accepted `age` seconds ago.
pub fn message(id: u64, age: u32, sender: Option<&str>, recipients: &[&str]) -> Message {
    let content = format!(
        "Subject: Message {id}\r\nFrom: a@example.org\r\n\r\nHello, this is number {id}.\r\n"
    );
    let places = 0..u16::try_from(recipients.len()).unwrap();
    Message {
        id: MessageId(id),
        arrived: clock::now() - age,
        envelope: Envelope {
            sender: sender.map(|sender| Address::parse(sender).unwrap()),
            recipients: recipients
                .iter()
                .map(|recipient| Address::parse(recipient).unwrap())
                .collect(),
            body: BodyType::SevenBit,
            smtputf8: false,
            dsn: None,
        },
        origin: Origin {
            peer: Some(IpAddr::from([192, 0, 2, 7])),
            helo: "app.example.org".into(),
            may_relay: false,
        },
        kind: MessageKind::Mail,
        progress: places.map(|place| TargetProgress::new(Target::Recipient(place))).collect(),
        held: false,
        delay_warning_sent: false,
        body: Body::Memory(content.into()),
    }
}

/// The same message after `attempts` attempts, the last of which failed with `reason`; the next one
/// is `wait` seconds away.
pub fn deferred(mut message: Message, attempts: u16, wait: u32, reason: &str) -> Message {
    for progress in &mut message.progress {
        (progress.attempts, progress.due, progress.reason) =
            (attempts, clock::now() + wait, reason.to_owned());
    }
    message
}

/// The same message with `len` octets of stored content.
pub fn stored(mut message: Message, len: u64) -> Message {
    message.body = Body::Stored(Arc::new(Repeated(LINE, len)), len);
    message
}

/// The domains of a message's pending recipients, without duplicates.
fn domains(message: &Message) -> Vec<Destination> {
    let mut domains: Vec<Destination> =
        pending(message).map(|(address, _)| Destination::domain_of(address)).collect();
    domains.sort();
    domains.dedup();
    domains
}

fn pending(message: &Message) -> impl Iterator<Item = (&Address, &TargetProgress)> {
    message.progress.iter().filter(|progress| progress.status == TargetStatus::Pending).filter_map(
        |progress| match progress.target {
            Target::Recipient(place) => {
                Some((&message.envelope.recipients[usize::from(place)], progress))
            }
            Target::Copy => None,
        },
    )
}

impl QueueAdmin for MemoryDesk {
    fn summary(&self) -> QueueSummary {
        let messages = self.messages.lock().unwrap();
        let tried =
            |message: &&Message| pending(message).any(|(_, progress)| progress.attempts > 0);
        QueueSummary {
            messages: messages.len() as u64,
            bytes: messages.values().map(|message| message.body.len()).sum(),
            active: messages.values().filter(|message| !message.held && !tried(message)).count()
                as u64,
            deferred: messages.values().filter(|message| !message.held).filter(tried).count()
                as u64,
            held: messages.values().filter(|message| message.held).count() as u64,
            oldest: messages.values().map(|message| message.arrived).min(),
            oldest_in_transit: messages
                .values()
                .filter(|message| !message.held)
                .map(|message| message.arrived)
                .min(),
        }
    }

    fn deliveries(&self, limit: usize) -> Vec<Deliveries> {
        self.deliveries.lock().unwrap().iter().take(limit).cloned().collect()
    }

    fn destinations(&self, limit: usize) -> Vec<DestinationSummary> {
        self.pages.fetch_add(1, Ordering::Relaxed);
        let messages = self.messages.lock().unwrap();
        let mut found: BTreeMap<Destination, DestinationSummary> = BTreeMap::new();
        for message in messages.values() {
            for domain in domains(message) {
                let entry = found.entry(domain.clone()).or_insert_with(|| DestinationSummary {
                    destination: domain.clone(),
                    messages: 0,
                    active: 0,
                    oldest: None,
                    next_attempt: None,
                    last_error: String::new(),
                    deferred: 0,
                    agents: 0,
                    idle: 0,
                    window: 5,
                    suspended_until: None,
                    unreachable_since: None,
                    rate_wait: None,
                    paused: false,
                    ages: [0; 6],
                });
                entry.messages += 1;
                entry.paused = self.paused.lock().unwrap().contains(&domain);
                let age = clock::now() - message.arrived;
                entry.ages
                    [DestinationSummary::AGES.iter().filter(|bound| age > **bound).count()] += 1;
                entry.oldest = Some(
                    entry.oldest.map_or(message.arrived, |oldest| oldest.min(message.arrived)),
                );
                for (_, progress) in pending(message)
                    .filter(|(address, _)| Destination::domain_of(address) == domain)
                {
                    if progress.attempts == 0 && !message.held {
                        entry.active += 1;
                    } else if progress.attempts > 0 && !message.held {
                        entry.next_attempt = Some(
                            entry.next_attempt.map_or(progress.due, |next| next.min(progress.due)),
                        );
                        entry.last_error.clone_from(&progress.reason);
                        entry.deferred += 1;
                    }
                }
            }
        }
        let mut all: Vec<_> = found.into_values().collect();
        all.sort_by_key(|destination| std::cmp::Reverse(destination.messages));
        all.truncate(limit);
        all
    }

    fn ages(&self, bounds: &[u32]) -> (Vec<u64>, u64) {
        let messages = self.messages.lock().unwrap();
        let ages: Vec<u32> =
            messages.values().map(|message| clock::now() - message.arrived).collect();
        let within = |bound: &u32| ages.iter().filter(|age| *age <= bound).count() as u64;
        (bounds.iter().map(within).collect(), ages.iter().map(|age| u64::from(*age)).sum())
    }

    fn show(&self, id: MessageId) -> AdminFuture<'_, Message> {
        Box::pin(async move {
            self.messages.lock().unwrap().get(&id).cloned().ok_or(AdminError::Unknown)
        })
    }

    fn export(&self, id: MessageId, _still: bool) -> AdminFuture<'_, Message> {
        self.show(id)
    }

    fn import(
        &self,
        imported: ImportedMessage,
        mut content: Box<dyn ContentPieces>,
    ) -> AdminFuture<'_, MessageId> {
        Box::pin(async move {
            let mut octets = Vec::new();
            while let Some(piece) = content.next().await {
                octets.extend_from_slice(
                    &piece.map_err(|error| AdminError::Refused(error.to_string()))?,
                );
            }
            let mut messages = self.messages.lock().unwrap();
            let id = MessageId(messages.keys().last().map_or(1, |last| last.0 + 1));
            let ImportedMessage {
                arrived,
                kind,
                envelope,
                origin,
                progress,
                held,
                delay_warning_sent,
                ..
            } = imported;
            let body = Body::Memory(octets.into());
            messages.insert(
                id,
                Message {
                    id,
                    arrived,
                    envelope,
                    origin,
                    kind,
                    progress,
                    held,
                    delay_warning_sent,
                    body,
                },
            );
            Ok(id)
        })
    }

    fn order(
        &self,
        order: QueueOrder,
        selection: Selection,
        principal: Principal,
    ) -> AdminFuture<'_, OrderResult> {
        Box::pin(async move {
            self.askers.lock().unwrap().push(principal);
            let hit = self.hit(&selection)?;
            let mut messages = self.messages.lock().unwrap();
            let paused = self.paused.lock().unwrap();
            let rests = |message: &Message| {
                message.held || domains(message).iter().all(|domain| paused.contains(domain))
            };
            let untried = hit
                .iter()
                .filter(|id| order == QueueOrder::Retry && messages.get(id).is_some_and(rests))
                .count() as u64;
            for id in &hit {
                match (order, messages.get_mut(id)) {
                    (QueueOrder::Delete, _) => drop(messages.remove(id)),
                    (QueueOrder::Hold, Some(message)) => message.held = true,
                    (QueueOrder::Release, Some(message)) => message.held = false,
                    (QueueOrder::Retry, Some(message)) => {
                        message.progress.iter_mut().for_each(|progress| progress.due = 0)
                    }
                    (_, None) => {}
                }
            }
            Ok(OrderResult { messages: hit.len() as u64, untried })
        })
    }

    fn move_out(
        &self,
        id: MessageId,
        version: u64,
        _mark: String,
        principal: Principal,
    ) -> AdminFuture<'_, ()> {
        Box::pin(async move {
            self.askers.lock().unwrap().push(principal);
            let mut messages = self.messages.lock().unwrap();
            let message = messages.get(&id).ok_or(AdminError::Unknown)?;
            if !message.held || message.version() != version {
                return Err(AdminError::Changed("it is not as it was"));
            }
            messages.remove(&id);
            Ok(())
        })
    }

    fn find(
        &self,
        filter: Filter,
        after: Option<MessageId>,
        limit: usize,
        _patience: Duration,
    ) -> AdminFuture<'_, QueuePage> {
        Box::pin(async move {
            let slow = self.slow.load(Ordering::Relaxed);
            if slow > 0 {
                tokio::time::sleep(Duration::from_millis(slow)).await;
            }
            let messages = self.messages.lock().unwrap();
            let mut found = QueuePage { next: after, ..QueuePage::default() };
            for message in
                messages.values().filter(|message| after.is_none_or(|after| message.id > after))
            {
                if found.messages.len() == limit {
                    return Ok(found);
                }
                (found.next, found.scanned) = (Some(message.id), found.scanned + 1);
                if passes(&filter, message) {
                    found.messages.push((message.clone(), standing(message)));
                }
            }
            Ok(QueuePage { complete: true, ..found })
        })
    }

    fn groups(&self, by: Grouping) -> AdminFuture<'_, QueueGroups> {
        Box::pin(async move {
            let messages = self.messages.lock().unwrap();
            let mut groups: BTreeMap<String, QueueGroup> = BTreeMap::new();
            for message in messages.values() {
                let names = match by {
                    Grouping::Sender => vec![message.envelope.sender_text().to_owned()],
                    Grouping::RecipientDomain => {
                        domains(message).iter().map(ToString::to_string).collect()
                    }
                    Grouping::SenderDomain => {
                        message.envelope.sender.iter().map(Address::domain_key).collect()
                    }
                    Grouping::Reason => message
                        .progress
                        .first()
                        .map(|progress| progress.reason.clone())
                        .into_iter()
                        .collect(),
                };
                for name in names.into_iter().filter(|name| !name.is_empty()) {
                    let group =
                        QueueGroup { name: name.clone(), messages: 0, oldest: message.arrived };
                    groups.entry(name).or_insert(group).messages += 1;
                }
            }
            let (seen, mut groups) =
                (messages.len() as u64, groups.into_values().collect::<Vec<_>>());
            groups.sort_by_key(|group| std::cmp::Reverse(group.messages));
            Ok(QueueGroups { groups, seen, total: seen, as_of: clock::now() })
        })
    }

    fn preview(
        &self,
        _order: QueueOrder,
        selection: Selection,
        _patience: Duration,
    ) -> AdminFuture<'_, Preview> {
        Box::pin(async move {
            let hit = self.hit(&selection)?;
            let sample = hit.iter().copied().take(Preview::SAMPLE).collect();
            Ok(Preview { messages: hit.len() as u64, sample, complete: true })
        })
    }

    fn find_destination(&self, name: &str, paused: bool) -> Result<Destination, AdminError> {
        let none = || AdminError::NoDestination(format!("none to {name}"));
        Destination::domain(name).filter(|_| !paused || !name.contains(':')).ok_or_else(none)
    }

    fn pause(
        &self,
        destination: Destination,
        paused: bool,
        principal: Principal,
    ) -> AdminFuture<'_, Paused> {
        Box::pin(async move {
            self.askers.lock().unwrap().push(principal);
            let mut all = self.paused.lock().unwrap();
            let waits = |message: &Message| domains(message).contains(&destination);
            let waiting =
                self.messages.lock().unwrap().values().filter(|message| waits(message)).count()
                    as u64;
            Ok(Paused {
                changed: if paused { all.insert(destination) } else { all.remove(&destination) },
                waiting,
            })
        })
    }
}

impl MemoryDesk {
    fn hit(&self, selection: &Selection) -> Result<Vec<MessageId>, AdminError> {
        let messages = self.messages.lock().unwrap();
        Ok(match selection {
            Selection::One(id) => messages
                .contains_key(id)
                .then_some(*id)
                .map(|id| vec![id])
                .ok_or(AdminError::Unknown)?,
            Selection::Some(ids) => {
                ids.iter().copied().filter(|id| messages.contains_key(id)).collect()
            }
            Selection::All => messages.keys().copied().collect(),
            Selection::Matching(filter) => messages
                .values()
                .filter(|message| passes(filter, message))
                .map(|message| message.id)
                .collect(),
            Selection::Domain(domain) => messages
                .values()
                .filter(|message| domains(message).iter().any(|one| one.has_name(domain)))
                .map(|message| message.id)
                .collect(),
        })
    }
}

fn standing(message: &Message) -> MessageState {
    let tried = pending(message).any(|(_, progress)| progress.attempts > 0);
    if message.held {
        MessageState::Held
    } else if tried {
        MessageState::Deferred
    } else {
        MessageState::Waiting
    }
}

fn passes(filter: &Filter, message: &Message) -> bool {
    let head = message.body.head(4096).unwrap();
    let subject = String::from_utf8_lossy(&head)
        .lines()
        .find_map(|line| line.strip_prefix("Subject: ").map(str::to_owned));
    let (standing, destinations) = (standing(message), domains(message));
    filter.passes(
        message,
        &MessageContext { standing, destinations: &destinations },
        &subject.unwrap_or_default(),
        clock::now(),
    )
}

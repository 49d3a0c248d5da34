//! DKIM signatures in the corridor: which messages are signed, with which keys, and once for all
//! their recipients.
//!
//! In: messages that are about to be sent, and key files. Out: the prefix with the signatures, or
//! the outcome of an attempt that cannot be made without them. A message is signed when it is sent
//! and not when it is accepted: the content then has its last form (7 bits for this next hop), the
//! keys are those of now, and a key that is missing delays the mail instead of refusing it. The
//! prefix of a message with several targets is kept for the others.
//!
//! Limits: [`KEPT_MAX`] prefixes for [`KEPT_TIME`]. Content is read in pieces of [`PIECE`], and
//! signing is done on a thread that may block: an RSA signature takes about a millisecond.
//! Security: only mail of clients that may relay, and our own notifications.

use crate::ground::clock;
use crate::ground::lock::Lock;
use crate::mail::model::{Body, Message, MessageId, MessageKind, Outcome, Reply};
use crate::mail::sign::counters::SignCounters;
use crate::mail::sign::{
    ContentDigest, DomainKeys, HeaderSummary, KeyRing, Lookup, Rotations, SignatureError,
    SigningDomain, signature_fields,
};
use bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::OnceCell;

/// Prefixes that are kept for further targets of their messages.
const KEPT_MAX: usize = 1000;

/// How long a prefix is kept: later attempts sign with the keys and the time of then.
const KEPT_TIME: Duration = Duration::from_secs(300);

/// Octets of content that are read at once.
const PIECE: usize = 64 * 1024;

/// Settings of the signatures.
#[derive(Debug, Clone, Default)]
pub struct SigningConfig {
    /// The domains that sign; empty = every domain with a key.
    pub domains: Vec<SigningDomain>,
    /// Mail that cannot be signed is sent without a signature; otherwise it waits.
    pub send_unsigned: bool,
    /// Mail that has a signature of the same domain is signed as well.
    pub sign_again: bool,
}

/// The form of a content that is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum ContentForm {
    /// As it was accepted.
    Original,
    /// Converted to 7 bits, so that former signatures do not hold any more.
    SevenBit,
}

/// Signs messages.
pub struct MailSigner {
    config: SigningConfig,
    /// Whether no domain signs: then nothing is done for any mail.
    idle: AtomicBool,
    ring: Lock<Arc<KeyRing>>,
    kept: Lock<KeptPrefixes>,
    counters: Arc<SignCounters>,
}

type Prefix = Arc<OnceCell<Option<Bytes>>>;

/// Prefixes of messages with several targets, the oldest first.
#[derive(Default)]
struct KeptPrefixes {
    prefixes: HashMap<(MessageId, ContentForm), Prefix>,
    order: VecDeque<(Instant, (MessageId, ContentForm))>,
}

/// The signatures of a content, and the keys that made them.
type Signed = (Vec<u8>, Arc<DomainKeys>);

/// Why a message that needs a signature has none.
enum Unsigned {
    Key(String),
    Header(SignatureError),
    Storage(io::Error),
}

impl MailSigner {
    /// A signer without keys: mail of the configured domains waits for them.
    pub fn new(config: SigningConfig, counters: Arc<SignCounters>) -> Arc<Self> {
        let ring = KeyRing::new(&config.domains, &[], &Rotations::default());
        Arc::new(Self {
            config,
            idle: AtomicBool::new(ring.is_empty()),
            ring: Lock::leaf(Arc::new(ring)),
            kept: Lock::leaf(KeptPrefixes::default()),
            counters,
        })
    }

    /// The keys that are in use.
    pub fn ring(&self) -> Arc<KeyRing> {
        self.ring.lock().clone()
    }

    /// Signs with these keys from now on. Problems are logged.
    pub fn use_keys(&self, ring: KeyRing) {
        // A volume that is gone for a while must not let mail go unsigned.
        if ring.is_empty() && !self.idle.load(Ordering::Acquire) {
            tracing::error!(
                target: "mta",
                "no DKIM key is left; the former ones stay in use until the relay starts again"
            );
            return;
        }
        let mut failing = 0;
        for keys in ring.domains() {
            let domain = &*keys.signing.domain;
            let selectors: Vec<&str> = keys.keys.iter().map(|(selector, _)| &**selector).collect();
            if let Some(cause) = &keys.problem {
                failing += 1;
                tracing::error!(target: "mta", domain, cause, "mail cannot be signed with DKIM");
            } else {
                let selectors = selectors.join(", ");
                tracing::info!(target: "mta", domain, selectors, "mail is signed with DKIM");
            }
        }
        self.counters.dkim_domains_failing.set(failing);
        self.idle.store(ring.is_empty(), Ordering::Release);
        *self.ring.lock() = Arc::new(ring);
        *self.kept.lock() = KeptPrefixes::default();
    }

    /// The prefix with the signatures for a message with this content; `None`: it is sent without.
    ///
    /// # Errors
    /// The outcome of an attempt that must not be made.
    pub(super) async fn prefix(
        &self,
        message: &Message,
        body: &Body,
        form: ContentForm,
    ) -> Result<Option<Bytes>, Outcome> {
        let is_ours = message.origin.may_relay || message.kind == MessageKind::Notification;
        if self.idle.load(Ordering::Acquire) || !is_ours {
            return Ok(None);
        }
        let signed = if message.progress.len() > 1 {
            let prefix = self.kept.lock().prefix((message.id, form));
            prefix.get_or_try_init(|| self.sign(body, form)).await.cloned()
        } else {
            self.sign(body, form).await
        };
        signed.or_else(|unsigned| self.without(message, unsigned))
    }

    async fn sign(&self, body: &Body, form: ContentForm) -> Result<Option<Bytes>, Unsigned> {
        let (ring, body) = (self.ring.lock().clone(), body.clone());
        // The conversion has broken the signatures that were there.
        let sign_again = self.config.sign_again || form == ContentForm::SevenBit;
        let signing = tokio::task::spawn_blocking(move || signed(&ring, &body, sign_again));
        let signed = signing
            .await
            .unwrap_or_else(|error| Err(Unsigned::Storage(io::Error::other(error))))?;
        let Some((prefix, keys)) = signed else { return Ok(None) };
        for (_, key) in &keys.keys {
            let algorithm = key.algorithm().as_str();
            self.counters.dkim_signatures_total.with_label_values(&[algorithm]).inc();
        }
        Ok(Some(prefix.into()))
    }

    /// What becomes of a message that cannot be signed.
    fn without(&self, message: &Message, unsigned: Unsigned) -> Result<Option<Bytes>, Outcome> {
        let (reason, code, enhanced, text) = match unsigned {
            Unsigned::Key(why) => {
                ("key", 451, (4, 7, 5), format!("the message waits for its DKIM key: {why}"))
            }
            Unsigned::Header(why) => {
                ("header", 554, (5, 6, 0), format!("the message cannot be signed with DKIM: {why}"))
            }
            Unsigned::Storage(error) => {
                let text = format!("the content could not be read from the data volume: {error}");
                let outcome = Outcome::own(Reply::new(451, (4, 3, 0), text));
                self.counters.dkim_failures_total.with_label_values(&["storage"]).inc();
                return Err(outcome);
            }
        };
        self.counters.dkim_failures_total.with_label_values(&[reason]).inc();
        if self.config.send_unsigned {
            self.counters.dkim_unsigned_total.inc();
            tracing::warn!(
                target: "mta", queue_id = %message.id, cause = %text,
                "sent without a DKIM signature (dkim_failure=send)"
            );
            return Ok(None);
        }
        Err(Outcome::own(Reply::new(code, enhanced, text)))
    }
}

impl KeptPrefixes {
    /// The place for the prefix of a content, which may have it already.
    fn prefix(&mut self, content: (MessageId, ContentForm)) -> Prefix {
        while let Some((since, oldest)) = self.order.front()
            && (self.order.len() >= KEPT_MAX || since.elapsed() > KEPT_TIME)
        {
            self.prefixes.remove(oldest);
            self.order.pop_front();
        }
        if !self.prefixes.contains_key(&content) {
            self.order.push_back((Instant::now(), content));
        }
        self.prefixes.entry(content).or_default().clone()
    }
}

/// The signatures of a content, and the keys that made them; `None`: its domain does not sign, or
/// it has a signature already.
fn signed(ring: &KeyRing, body: &Body, sign_again: bool) -> Result<Option<Signed>, Unsigned> {
    let mut digest = ContentDigest::default();
    let mut keys = None;
    let mut reader = BodyReader { body, offset: 0, buffer: Vec::new() };
    while let Some(piece) = reader.next().map_err(Unsigned::Storage)? {
        digest.take(piece);
        if keys.is_none()
            && let Some(header) = digest.header()
        {
            // Content of others is not read further.
            let Some(found) = keys_for(ring, header, sign_again)? else { return Ok(None) };
            keys = Some(found);
        }
    }
    let content = digest.finish();
    let keys = match keys {
        Some(keys) => keys,
        None => match keys_for(ring, &content.header, sign_again)? {
            Some(keys) => keys,
            None => return Ok(None),
        },
    };
    let prefix = signature_fields(&content, &keys, clock::now()).map_err(|error| match error {
        SignatureError::Failed => Unsigned::Key(error.to_string()),
        error => Unsigned::Header(error),
    })?;
    Ok(Some((prefix, keys)))
}

fn keys_for(
    ring: &KeyRing,
    header: &HeaderSummary,
    sign_again: bool,
) -> Result<Option<Arc<DomainKeys>>, Unsigned> {
    let Some(author) = &header.author else { return Ok(None) };
    let Lookup::Signs(keys) = ring.lookup(author) else { return Ok(None) };
    if header.is_too_large() {
        return Err(Unsigned::Header(SignatureError::HeaderTooLarge));
    }
    if !sign_again && header.signed_by.contains(&keys.signing.domain) {
        return Ok(None);
    }
    match &keys.problem {
        Some(problem) => Err(Unsigned::Key(problem.clone())),
        None => Ok(Some(keys)),
    }
}

/// A content in pieces. Reading stored content blocks.
struct BodyReader<'a> {
    body: &'a Body,
    offset: u64,
    buffer: Vec<u8>,
}

impl BodyReader<'_> {
    fn next(&mut self) -> io::Result<Option<&[u8]>> {
        let left = self.body.len().saturating_sub(self.offset);
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE);
        if wanted == 0 {
            return Ok(None);
        }
        let start = self.offset;
        self.offset += wanted as u64;
        match self.body {
            Body::Memory(octets) => {
                let start = usize::try_from(start).map_err(io::Error::other)?;
                Ok(octets.get(start..start + wanted))
            }
            Body::Stored(content, _) => {
                self.buffer.resize(wanted, 0);
                let mut filled = 0;
                while filled < wanted {
                    match content.read_at(start + filled as u64, &mut self.buffer[filled..])? {
                        0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                        more => filled += more,
                    }
                }
                Ok(Some(&self.buffer))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::model::{Address, BodyType, Envelope, Origin, Target, TargetProgress};
    use crate::mail::sign::{Algorithm, SelectorFile, generate};

    fn message(number: u64, may_relay: bool, kind: MessageKind, targets: u16) -> Message {
        Message {
            id: MessageId(number),
            arrived: 0,
            envelope: Envelope {
                sender: None,
                recipients: vec![Address::parse("r@there.example").unwrap()],
                body: BodyType::SevenBit,
                smtputf8: false,
                dsn: None,
            },
            origin: Origin { peer: None, helo: "".into(), may_relay },
            kind,
            progress: (0..targets).map(Target::Recipient).map(TargetProgress::new).collect(),
            held: false,
            delay_warning_sent: false,
            body: Body::Memory("From: a@here.example\r\n\r\nhello\r\n".into()),
        }
    }

    fn ring() -> KeyRing {
        let key = generate(Algorithm::Ed25519).unwrap();
        let file = SelectorFile::read("here.example", "postern-ed25519", true, Ok(&key));
        KeyRing::new(&[], &[file], &Rotations::default())
    }

    async fn prefix(signer: &MailSigner, message: &Message) -> Result<Option<Bytes>, Outcome> {
        signer.prefix(message, &message.body, ContentForm::Original).await
    }

    #[tokio::test]
    async fn what_strangers_bring_in_is_never_signed() {
        let signer = MailSigner::new(SigningConfig::default(), SignCounters::alone().unwrap());
        signer.use_keys(ring());
        for (may_relay, kind, signs) in [
            (true, MessageKind::Mail, true),
            (false, MessageKind::Notification, true),
            (false, MessageKind::Mail, false),
        ] {
            let prefix = prefix(&signer, &message(1, may_relay, kind, 1)).await.unwrap();
            assert_eq!(prefix.is_some(), signs, "{may_relay} {kind:?}");
        }
    }

    #[tokio::test]
    async fn one_signature_serves_all_targets_until_the_keys_change() {
        let counters = SignCounters::alone().unwrap();
        let signer = MailSigner::new(SigningConfig::default(), counters.clone());
        signer.use_keys(ring());
        let made = || counters.dkim_signatures_total.with_label_values(&["ed25519-sha256"]).get();
        let many = message(1, true, MessageKind::Mail, 2);
        let first = prefix(&signer, &many).await.unwrap().unwrap();
        assert_eq!((prefix(&signer, &many).await.unwrap(), made()), (Some(first.clone()), 1));
        let seven = signer.prefix(&many, &many.body, ContentForm::SevenBit).await.unwrap();
        assert_eq!((seven.is_some(), made()), (true, 2), "another form is another content");
        signer.use_keys(ring());
        assert_ne!(prefix(&signer, &many).await.unwrap(), Some(first));
        for number in 0..2 * KEPT_MAX as u64 {
            prefix(&signer, &message(number, true, MessageKind::Mail, 2)).await.unwrap();
        }
        assert_eq!(signer.kept.lock().prefixes.len(), KEPT_MAX);
        assert_eq!(signer.kept.lock().order.len(), KEPT_MAX);
    }

    #[tokio::test]
    async fn a_domain_of_the_list_waits_for_its_key() {
        let config = SigningConfig {
            domains: vec![SigningDomain::new("here.example", Some("postern"))],
            ..SigningConfig::default()
        };
        let signer = MailSigner::new(config, SignCounters::alone().unwrap());
        let waiting = message(1, true, MessageKind::Mail, 2);
        let outcome = prefix(&signer, &waiting).await.unwrap_err();
        assert_eq!(
            outcome.words(),
            "the message waits for its DKIM key: there is no key postern for here.example"
        );
        assert_eq!((outcome.reply.code, outcome.remote), (451, false));
        signer.use_keys(ring());
        assert!(prefix(&signer, &waiting).await.unwrap().is_some());
    }
}

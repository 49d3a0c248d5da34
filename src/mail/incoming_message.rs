//! A mail whose content is coming in: its Received field, its changes, its place in the queue.
//!
//! In: octets of content, checked by `parse`. Out: what a session hands to the queue, or the reply
//! why it does not. Limits: those of the [`ContentParser`]; nothing but header fields is held back.
//! Security: after an error nothing more is stored.

use super::authentication::LoginState;
use super::author_fields::AuthorFields;
use super::intake::{Intake, PendingContent, log_unread_sender, store};
use super::model::{Encryption, Envelope, Protocol, Refusal, Reply};
use super::parse::ContentParser;
use super::received::{ReceivedFrom, header_field};
use super::rewrite::HeaderSection;
use super::spool::{IncomingContent, Spool};
use crate::ground::clock;
use std::net::IpAddr;
use tokio::time::Instant;

/// The client that a mail comes from.
pub(super) struct MailSource<'a> {
    /// Its name in EHLO or HELO, and whether it was EHLO.
    pub(super) hello: (&'a str, bool),
    /// Its address.
    pub(super) address: IpAddr,
    /// What its session is encrypted with.
    pub(super) encryption: Option<Encryption>,
    /// Whether it may relay: then header fields are dropped and added.
    pub(super) may_relay: bool,
    /// Its login, if it has logged in.
    pub(super) login: Option<LoginState>,
}

/// A mail whose content is coming in.
pub(super) struct IncomingMessage<'a, S: Spool> {
    /// Checks the content.
    pub(super) content: ContentParser,
    /// When it began.
    pub(super) start: Instant,
    /// A chunk of it has been answered with its error.
    pub(super) told: bool,
    pending: PendingContent<S::Writer>,
    section: HeaderSection<'a>,
    /// The octets before the next ones that are passed on unchanged.
    ahead: Vec<u8>,
    /// Whose authors must be checked.
    authors: Option<AuthorCheck<'a, S>>,
}

/// May the client send as the authors of the mail?
struct AuthorCheck<'a, S: Spool> {
    intake: &'a Intake<S>,
    login: Option<LoginState>,
    fields: AuthorFields,
}

impl<'a, S: Spool> IncomingMessage<'a, S> {
    /// One without content.
    pub(super) fn new(
        intake: &'a Intake<S>,
        envelope: &Envelope,
        source: &MailSource<'_>,
        content: ContentParser,
    ) -> Self {
        let writer = intake.spool.begin();
        let (id, date) = (writer.id(), clock::rfc5322(clock::now()));
        let (name, extended) = source.hello;
        let client = ReceivedFrom {
            name,
            protocol: if extended { Protocol::Esmtp } else { Protocol::Smtp },
            address: source.address,
            encryption: source.encryption,
            has_logged_in: source.login.is_some(),
        };
        let trace = header_field(envelope, &client, &intake.rules.hostname, id, &date);
        let section = match source.may_relay {
            true => intake.header_section(envelope, id, &date),
            false => HeaderSection::foreign(),
        };
        let start = Instant::now();
        let ahead = trace.into_bytes();
        let authors = AuthorCheck::of(intake, source);
        Self { content, start, told: false, pending: Ok(writer), section, ahead, authors }
    }

    /// Takes content as it comes with DATA; gives how many octets of `input` are used, and whether
    /// the data has ended.
    pub(super) async fn take(&mut self, input: &[u8]) -> (usize, bool) {
        let step = self.content.next(input);
        if self.still_good() {
            self.keep(step.piece).await;
        }
        (step.taken, step.end)
    }

    /// Takes octets of a chunk.
    pub(super) async fn take_chunk(&mut self, octets: &[u8]) {
        self.content.next_chunk(octets);
        if self.still_good() {
            self.keep(octets).await;
        }
    }

    /// The last chunk has ended.
    pub(super) async fn end_chunks(&mut self) {
        let rest = self.content.end_chunks();
        if self.still_good() {
            self.keep(rest).await;
        }
    }

    /// The content has ended: its place in the queue, or why it has none.
    pub(super) async fn finish(mut self) -> (PendingContent<S::Writer>, ContentParser) {
        if self.authors.as_mut().is_some_and(|authors| authors.fields.finish()) {
            self.judge_authors();
        }
        self.section.finish(&mut self.ahead);
        log_unread_sender(&self.section, &self.pending);
        store(&mut self.pending, &self.ahead).await;
        (self.pending, self.content)
    }

    /// What is wrong with it so far, as the reply to a chunk.
    pub(super) fn refusal(&mut self) -> Option<(Reply, Refusal)> {
        self.still_good();
        self.pending.as_ref().err().cloned()
    }

    /// Whether no error was found; the first one ends what is stored.
    fn still_good(&mut self) -> bool {
        match self.content.error() {
            None => true,
            Some(error) => {
                if self.pending.is_ok() {
                    self.pending = Err((error.reply(), error.refusal()));
                }
                false
            }
        }
    }

    async fn keep(&mut self, piece: &[u8]) {
        if self.authors.as_mut().is_some_and(|authors| authors.fields.take(piece)) {
            self.judge_authors();
        }
        let rest = self.section.take(piece, &mut self.ahead);
        store(&mut self.pending, &self.ahead).await;
        self.ahead.clear();
        store(&mut self.pending, rest).await;
    }

    /// Refuses the mail if the client may not send as its authors.
    fn judge_authors(&mut self) {
        if let (Some(authors), true) = (&self.authors, self.pending.is_ok())
            && let Err(refused) = authors.judge()
        {
            self.pending = Err(refused);
        }
    }
}

impl<'a, S: Spool> AuthorCheck<'a, S> {
    /// `None`: every author is permitted, or the client may not relay anyway.
    fn of(intake: &'a Intake<S>, source: &MailSource<'_>) -> Option<Self> {
        let of_user = source.login.as_ref().is_some_and(|login| login.user.has_senders());
        let is_restricted = of_user || !intake.allowed_senders.is_empty();
        let login = source.login.clone();
        (source.may_relay && is_restricted).then(|| Self {
            intake,
            login,
            fields: AuthorFields::default(),
        })
    }

    fn judge(&self) -> Result<(), (Reply, Refusal)> {
        let refused = |words: String| (Reply::new(550, (5, 7, 1), words), Refusal::Sender);
        for (field, author) in self.fields.authors().map_err(refused)? {
            self.intake.may_send_as(&author)?;
            if let Some(login) = &self.login {
                let allowed = login.user.may_send_as(Some(&author));
                allowed.map_err(|words| refused(format!("{field} {words}")))?;
            }
        }
        Ok(())
    }
}

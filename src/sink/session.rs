//! One session of a client with a sink.

use super::failures::{InjectedFailure, InjectedReply, SinkStage};
use super::maildir::Letter;
use super::tally::{CONTENT_MAX, Sink};
use crate::ground::net::{Wire, WireError};
use crate::mail::model::{Address, Envelope, Refusal, Reply, Verdict};
use crate::mail::parse::{
    AccessPolicy, Command, CommandError, ContentParser, Dialogue, InputLine, LineSplitter,
    NextStep, Recipient, TlsState, write_reply,
};
use std::io::{self, Write};
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

pub(super) struct SinkSession<'a> {
    sink: &'a Sink,
    wire: Wire,
    peer: IpAddr,
    lines: LineSplitter,
    dialogue: Dialogue<'a>,
}

/// The session ends without a reply: the client has disconnected, or `--fail` requires it.
struct Gone;

impl From<WireError> for Gone {
    fn from(_: WireError) -> Self {
        Self
    }
}

impl<'a> SinkSession<'a> {
    pub(super) fn new(sink: &'a Sink, wire: Wire, peer: IpAddr) -> Self {
        Self {
            sink,
            wire,
            peer,
            lines: LineSplitter::default(),
            dialogue: Dialogue::new(&sink.rules, TlsState::Absent),
        }
    }

    pub(super) async fn run(mut self) {
        self.sink.tally.sessions.fetch_add(1, Ordering::Relaxed);
        if self.talk().await.is_ok() {
            self.wire.close().await;
        }
    }

    async fn talk(&mut self) -> Result<(), Gone> {
        self.injected(SinkStage::Connect, None).await?;
        match self.injected(SinkStage::Greeting, None).await? {
            Some(reply) => return self.turn_away(&reply).await,
            None => self.dialogue.greet(self.wire.output()),
        }
        loop {
            let command = self.command().await?;
            let stage = match &command {
                Ok(Command::Hello { extended: true, .. }) => Some((SinkStage::Hello, None)),
                Ok(Command::Mail(_)) => Some((SinkStage::Mail, None)),
                Ok(Command::Recipient(recipient, _)) => {
                    Some((SinkStage::Recipient, domain(recipient)))
                }
                Ok(Command::Data) => Some((SinkStage::Data, None)),
                _ => None,
            };
            if let Some((stage, domain)) = stage
                && let Some(reply) = self.injected(stage, domain.as_deref()).await?
            {
                write_reply(self.wire.output(), &reply);
                if reply.code == 421 {
                    return Ok(());
                }
                continue;
            }
            let mut next =
                self.dialogue.handle(command, &AcceptEverything, self.wire.output()).next;
            if let NextStep::Content(envelope) = next {
                next = self.content(&envelope).await?;
            }
            if next == NextStep::Close {
                return Ok(());
            }
            if self.wire.output().len() > Wire::OUTPUT_MAX {
                self.wire.flush().await?;
            }
        }
    }

    /// An error greeting: only QUIT is accepted after it (RFC 5321 §3.1).
    async fn turn_away(&mut self, greeting: &Reply) -> Result<(), Gone> {
        write_reply(self.wire.output(), greeting);
        while greeting.code != 421 && self.command().await? != Ok(Command::Quit) {
            write_reply(self.wire.output(), &Reply::new(503, (5, 5, 1), "Not after this greeting"));
        }
        Ok(())
    }

    async fn command(&mut self) -> Result<Result<Command, CommandError>, Gone> {
        let until = Instant::now() + self.sink.limits.connection.command;
        loop {
            match self.lines.next(self.wire.input()) {
                InputLine::Complete { text, taken } => {
                    let command = Command::parse(text);
                    self.wire.take(taken);
                    return Ok(command);
                }
                InputLine::Flawed { error, taken } => {
                    self.wire.take(taken);
                    return Ok(Err(error.into()));
                }
                InputLine::More { taken } => {
                    self.wire.take(taken);
                    self.wire.flush().await?;
                    self.wire.fill(until).await?;
                }
            }
        }
    }

    async fn content(&mut self, envelope: &Envelope) -> Result<NextStep, Gone> {
        self.wire.flush().await?;
        let mut content = ContentParser::new(CONTENT_MAX);
        let mut file = self.sink.maildir.as_ref().map(|maildir| Letter::new(maildir, envelope));
        'reading: loop {
            while !self.wire.input().is_empty() {
                let step = content.next(self.wire.input());
                if let Some(Ok(letter)) = &mut file
                    && let Err(error) = letter.file.write_all(step.piece)
                {
                    file = Some(Err(error));
                }
                let (taken, end) = (step.taken, step.end);
                self.wire.take(taken);
                if end {
                    break 'reading;
                }
            }
            self.wire.widen();
            self.wire.fill(Instant::now() + self.sink.limits.content).await?;
        }
        let result = match (content.error(), self.injected(SinkStage::Dot, None).await?) {
            (Some(error), _) => Err((error.reply(), error.refusal())),
            (None, Some(reply)) => Err((reply, Refusal::Storage)),
            (None, None) => self.keep(file, envelope, content.size()),
        };
        Ok(self.dialogue.end(result, self.wire.output()).next)
    }

    fn keep(
        &self,
        file: Option<io::Result<Letter>>,
        envelope: &Envelope,
        size: u64,
    ) -> Result<Reply, (Reply, Refusal)> {
        if let Some(letter) = file
            && let Err(error) = letter.and_then(Letter::deliver)
        {
            eprintln!("Error: the maildir: {error}");
            return Err((Reply::new(452, (4, 3, 1), "The maildir failed"), Refusal::Storage));
        }
        let tally = &self.sink.tally;
        let number = tally.mails.fetch_add(1, Ordering::Relaxed) + 1;
        tally.recipients.fetch_add(envelope.recipients.len() as u64, Ordering::Relaxed);
        tally.octets.fetch_add(size, Ordering::Relaxed);
        Ok(Reply::new(250, (2, 0, 0), format!("Ok: mail {number} from [{}]", self.peer)))
    }

    /// The failure that `--fail` requires at this stage: a reply instead of the usual one, the end,
    /// or nothing.
    async fn injected(
        &mut self,
        stage: SinkStage,
        domain: Option<&str>,
    ) -> Result<Option<Reply>, Gone> {
        let due = |failure: &&InjectedFailure| {
            failure.stage == stage
                && (failure.domain.is_none() || failure.domain.as_deref() == domain)
                && fastrand::u8(0..100) < failure.percent
        };
        let Some(failure) = self.sink.fail.iter().find(due) else { return Ok(None) };
        self.sink.tally.failures.fetch_add(1, Ordering::Relaxed);
        match failure.injected {
            InjectedReply::Reply(code) => {
                let class = if code < 500 { 4 } else { 5 };
                Ok(Some(Reply::new(code, (class, 0, 0), "As --fail asks")))
            }
            InjectedReply::Drop => Err(Gone),
            InjectedReply::Hang => loop {
                // Sends the replies of the group so far; then nothing, until the client gives up.
                self.wire.flush().await?;
                let input = self.wire.input().len();
                self.wire.take(input);
                self.wire.fill(Instant::now() + HANG_MAX).await?;
            },
        }
    }
}

/// How long a hanging session waits for a client that does not give up.
const HANG_MAX: Duration = Duration::from_secs(3600);

/// The domain of a recipient in lower case; `None` for `<Postmaster>`.
fn domain(recipient: &Recipient) -> Option<String> {
    match recipient {
        Recipient::Mailbox(address) => Some(address.domain_key()),
        Recipient::Postmaster => None,
    }
}

/// Accepts every mail.
struct AcceptEverything;

impl AccessPolicy for AcceptEverything {
    fn mail(&self) -> Verdict {
        Verdict::Accept
    }

    fn recipient(&self, _: &Address) -> Verdict {
        Verdict::Accept
    }
}

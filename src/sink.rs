//! `postern sink`: a destination for tests.
//!
//! Purpose: accepts every mail and discards it, or stores it in a maildir, or fails on demand.
//! Counts accepted mail. It uses the same modules as the relay's receiving side (accept, parse), so
//! its SMTP is the same, and nothing of it is durable. Limits: content up to 1 GiB, never held in
//! memory; no other limit, since it is made for load tests. Security: it accepts all mail from all
//! clients and relays nothing. For tests, not for the Internet.

use crate::mail::accept::counters::AcceptCounters;
use crate::mail::accept::{self, Limits, Listener, Wire, WireError};
use crate::mail::model::{Address, Envelope, Refusal, Reply, Verdict};
use crate::mail::parse::{
    Command, CommandError, Content, Dialogue, Gate, Line, Lines, Next, Recipient, Rules, Tls,
    write_reply,
};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::Instant;

/// Examples for `postern sink --help`.
const EXAMPLES: &str = "\
Failures on demand, --fail STAGE=WHAT[:PERCENT][@DOMAIN], comma separated:
  STAGE    connect   before the greeting (drop or hang only)
           greeting, mail, rcpt, data
           ehlo      but not HELO, so that a client can fall back to it
           dot       after the end of the content
  WHAT     a reply code from 400 to 599, drop (close without a word) or hang (never answer)
  PERCENT  share of the commands in percent, 1 to 100; default 100
  DOMAIN   for stage rcpt: only recipients of this domain

Examples:
  postern sink --listen 127.0.0.1:2525
  postern sink --maildir /tmp/mail            one file per message in /tmp/mail/new, envelope in \
  Return-Path and X-Original-To
  postern sink --fail rcpt=450:30             30 % of the recipients get a temporary error
  postern sink --fail rcpt=450@busy.example   recipients of one domain are asked to come again
  postern sink --fail mail=451:5,dot=554:1,dot=drop:1
  postern sink --fail greeting=554            a host that accepts no mail
  postern sink --fail connect=hang            a host that accepts connections and sends nothing

Counts go to standard output every five seconds while something happens, and once at the end \
(SIGINT or SIGTERM).";

/// The arguments of `postern sink`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct SinkArgs {
    /// Address and port, or a port alone
    #[arg(long, value_name = "A:P", default_value = "[::]:2525", value_parser = listen_address)]
    pub listen: SocketAddr,
    /// Store every message as a file in this maildir, with CR LF line ends
    #[arg(long, value_name = "DIR")]
    pub maildir: Option<PathBuf>,
    /// Fail on demand (see below)
    #[arg(long, value_name = "SPEC", value_delimiter = ',')]
    pub fail: Vec<Failure>,
}

/// One failure requested by `--fail`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    stage: Stage,
    mishap: Mishap,
    percent: u8,
    /// The domain of the recipients concerned, in lower case; `None` = all.
    domain: Option<Box<str>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Connect,
    Greeting,
    Hello,
    Mail,
    Recipient,
    Data,
    Dot,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mishap {
    Reply(u16),
    Drop,
    Hang,
}

impl Stage {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "connect" => Self::Connect,
            "greeting" => Self::Greeting,
            "ehlo" => Self::Hello,
            "mail" => Self::Mail,
            "rcpt" => Self::Recipient,
            "data" => Self::Data,
            "dot" => Self::Dot,
            _ => return None,
        })
    }
}

impl FromStr for Failure {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "'{text}' is not STAGE=WHAT[:PERCENT][@DOMAIN], such as rcpt=450:30, dot=drop or \
                greeting=554"
            )
        };
        let (stage, rest) = text.split_once('=').ok_or_else(wrong)?;
        let (rest, domain) = match rest.split_once('@') {
            Some((_, "")) => return Err(wrong()),
            Some((rest, domain)) => (rest, Some(domain.to_lowercase().into_boxed_str())),
            None => (rest, None),
        };
        let (what, percent) = match rest.split_once(':') {
            Some((what, percent)) => (
                what,
                percent
                    .parse()
                    .ok()
                    .filter(|percent| (1..=100).contains(percent))
                    .ok_or_else(wrong)?,
            ),
            None => (rest, 100),
        };
        let stage = Stage::named(stage).ok_or_else(wrong)?;
        if domain.is_some() && stage != Stage::Recipient {
            return Err(format!("'{text}': a domain is known at stage rcpt only"));
        }
        let mishap = match what {
            "drop" => Mishap::Drop,
            "hang" => Mishap::Hang,
            _ if stage == Stage::Connect => {
                return Err(format!("'{text}': before the greeting there is only drop or hang"));
            }
            code => Mishap::Reply(
                code.parse().ok().filter(|code| (400..=599).contains(code)).ok_or_else(wrong)?,
            ),
        };
        Ok(Self { stage, mishap, percent, domain })
    }
}

fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let port_alone = text
        .trim_start_matches(':')
        .parse()
        .map(|port: u16| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)));
    port_alone
        .or_else(|_| text.parse())
        .map_err(|_| format!("'{text}' is not address:port, such as 127.0.0.1:2525 or [::]:2525"))
}

/// Runs until SIGINT or SIGTERM. Exit codes: 69 the port cannot be opened, 70 no runtime, 73 the
/// maildir cannot be created.
pub fn run(args: SinkArgs) -> ExitCode {
    if let Some(maildir) = &args.maildir
        && let Err(error) = make_maildir(maildir)
    {
        eprintln!("Error: cannot make the maildir {}: {error}", maildir.display());
        return ExitCode::from(73);
    }
    // One thread is faster than any server that syncs, and leaves the other processors to the
    // measured program.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("Error: cannot start: {error}");
            return ExitCode::from(70);
        }
    };
    match runtime.block_on(serve(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {error}");
            ExitCode::from(69)
        }
    }
}

async fn serve(args: SinkArgs) -> io::Result<()> {
    let listener = accept::bind(args.listen).map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("cannot listen on {}: {error}; choose another --listen", args.listen),
        )
    })?;
    println!("postern sink: listening on {}", listener.local_addr()?);
    let sink = Arc::new(Sink {
        rules: Rules {
            recipients_limit: Envelope::RECIPIENTS_MAX,
            errors_limit: usize::MAX,
            mails_limit: usize::MAX,
            chatter_limit: usize::MAX,
            ..Rules::new("sink.postern", CONTENT_MAX)
        },
        limits: Limits {
            sessions: usize::MAX,
            sessions_per_address: usize::MAX,
            ..Limits::default()
        },
        fail: args.fail,
        maildir: args.maildir,
        tally: Tally::default(),
    });
    let counters = AcceptCounters::alone().map_err(io::Error::other)?;
    // The sessions of a sink are never stopped: this value is kept so that the channel stays open.
    let (_running, stop) = watch::channel(None);
    let shared = Arc::clone(&sink);
    let session = move |wire, peer: accept::Peer| {
        let sink = Arc::clone(&shared);
        async move { Session::new(&sink, wire, peer.address).run().await }
    };
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut pace = tokio::time::interval(Duration::from_secs(5));
    let serving = accept::serve(
        vec![Listener::plain(listener)],
        &sink.limits,
        &sink.rules.hostname,
        counters,
        stop,
        |_: IpAddr| accept::Source::Trusted,
        session,
    );
    tokio::pin!(serving);
    let mut told = sink.tally.to_string();
    loop {
        tokio::select! {
            () = &mut serving => break,
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            _ = pace.tick() => {
                let now = sink.tally.to_string();
                if now != told {
                    println!("{now}");
                    told = now;
                }
            }
        }
    }
    println!("{}", sink.tally);
    Ok(())
}

/// Octets of the content, at most.
const CONTENT_MAX: u64 = 1 << 30;

struct Sink {
    rules: Rules,
    limits: Limits,
    fail: Vec<Failure>,
    maildir: Option<PathBuf>,
    tally: Tally,
}

/// Counts so far.
#[derive(Debug, Default)]
struct Tally {
    sessions: AtomicU64,
    mails: AtomicU64,
    recipients: AtomicU64,
    octets: AtomicU64,
    failures: AtomicU64,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        write!(
            f,
            "sessions={} mails={} recipients={} octets={} failures={}",
            of(&self.sessions),
            of(&self.mails),
            of(&self.recipients),
            of(&self.octets),
            of(&self.failures)
        )
    }
}

struct Session<'a> {
    sink: &'a Sink,
    wire: Wire,
    peer: IpAddr,
    lines: Lines,
    dialogue: Dialogue<'a>,
}

/// The session ends without a reply: the client has disconnected, or `--fail` requires it.
struct Gone;

impl From<WireError> for Gone {
    fn from(_: WireError) -> Self {
        Self
    }
}

impl<'a> Session<'a> {
    fn new(sink: &'a Sink, wire: Wire, peer: IpAddr) -> Self {
        Self {
            sink,
            wire,
            peer,
            lines: Lines::default(),
            dialogue: Dialogue::new(&sink.rules, Tls::Absent),
        }
    }

    async fn run(mut self) {
        self.sink.tally.sessions.fetch_add(1, Ordering::Relaxed);
        if self.talk().await.is_ok() {
            self.wire.close().await;
        }
    }

    async fn talk(&mut self) -> Result<(), Gone> {
        self.mishap(Stage::Connect, None).await?;
        match self.mishap(Stage::Greeting, None).await? {
            Some(reply) => return self.turn_away(&reply).await,
            None => self.dialogue.greet(self.wire.output()),
        }
        loop {
            let command = self.command().await?;
            let stage = match &command {
                Ok(Command::Hello { extended: true, .. }) => Some((Stage::Hello, None)),
                Ok(Command::Mail(_)) => Some((Stage::Mail, None)),
                Ok(Command::Recipient(recipient)) => Some((Stage::Recipient, domain(recipient))),
                Ok(Command::Data) => Some((Stage::Data, None)),
                _ => None,
            };
            if let Some((stage, domain)) = stage
                && let Some(reply) = self.mishap(stage, domain.as_deref()).await?
            {
                write_reply(self.wire.output(), &reply);
                if reply.code == 421 {
                    return Ok(());
                }
                continue;
            }
            let mut next = self.dialogue.hear(command, &Anything, self.wire.output()).next;
            if let Next::Content(envelope) = next {
                next = self.content(&envelope).await?;
            }
            if next == Next::Close {
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
        let until = Instant::now() + self.sink.limits.command;
        loop {
            match self.lines.next(self.wire.input()) {
                Line::Complete { text, taken } => {
                    let command = Command::parse(text);
                    self.wire.take(taken);
                    return Ok(command);
                }
                Line::Flawed { flaw, taken } => {
                    self.wire.take(taken);
                    return Ok(Err(flaw.into()));
                }
                Line::More { taken } => {
                    self.wire.take(taken);
                    self.wire.flush().await?;
                    self.wire.fill(until).await?;
                }
            }
        }
    }

    async fn content(&mut self, envelope: &Envelope) -> Result<Next, Gone> {
        self.wire.flush().await?;
        let mut content = Content::new(CONTENT_MAX);
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
        let result = match (content.flaw(), self.mishap(Stage::Dot, None).await?) {
            (Some(flaw), _) => Err((flaw.reply(), flaw.refusal())),
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
    async fn mishap(&mut self, stage: Stage, domain: Option<&str>) -> Result<Option<Reply>, Gone> {
        let due = |failure: &&Failure| {
            failure.stage == stage
                && (failure.domain.is_none() || failure.domain.as_deref() == domain)
                && fastrand::u8(0..100) < failure.percent
        };
        let Some(failure) = self.sink.fail.iter().find(due) else { return Ok(None) };
        self.sink.tally.failures.fetch_add(1, Ordering::Relaxed);
        match failure.mishap {
            Mishap::Reply(code) => {
                let class = if code < 500 { 4 } else { 5 };
                Ok(Some(Reply::new(code, (class, 0, 0), "As --fail asks")))
            }
            Mishap::Drop => Err(Gone),
            Mishap::Hang => loop {
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
struct Anything;

impl Gate for Anything {
    fn mail(&self) -> Verdict {
        Verdict::Accept
    }

    fn recipient(&self, _: &Address) -> Verdict {
        Verdict::Accept
    }
}

/// A mail that is being written to the maildir.
struct Letter {
    file: BufWriter<File>,
    being_written: PathBuf,
    delivered: PathBuf,
}

impl Letter {
    fn new(maildir: &Path, envelope: &Envelope) -> io::Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name =
            format!("{}.P{}Q{number}.sink", crate::ground::clock::now_micros(), std::process::id());
        let being_written = maildir.join("tmp").join(&name);
        let mut file = BufWriter::new(File::create_new(&being_written)?);
        write!(file, "Return-Path: <{}>\r\n", envelope.sender_text())?;
        for recipient in &envelope.recipients {
            write!(file, "X-Original-To: {recipient}\r\n")?;
        }
        Ok(Self { file, being_written, delivered: maildir.join("new").join(name) })
    }

    fn deliver(mut self) -> io::Result<()> {
        self.file.flush()?;
        fs::rename(&self.being_written, &self.delivered)
    }
}

impl Drop for Letter {
    /// Removes an incomplete mail; a complete one has another name by now.
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.being_written);
    }
}

fn make_maildir(path: &Path) -> io::Result<()> {
    ["tmp", "new", "cur"].into_iter().try_for_each(|folder| fs::create_dir_all(path.join(folder)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_read_and_nonsense_is_not() {
        let read = |text: &str| text.parse::<Failure>();
        assert_eq!(
            read("rcpt=450:30"),
            Ok(Failure {
                stage: Stage::Recipient,
                mishap: Mishap::Reply(450),
                percent: 30,
                domain: None
            })
        );
        assert_eq!(
            read("rcpt=550:5@Busy.example"),
            Ok(Failure {
                stage: Stage::Recipient,
                mishap: Mishap::Reply(550),
                percent: 5,
                domain: Some("busy.example".into())
            })
        );
        assert_eq!(
            read("dot=drop"),
            Ok(Failure { stage: Stage::Dot, mishap: Mishap::Drop, percent: 100, domain: None })
        );
        assert_eq!(
            read("connect=hang:1"),
            Ok(Failure { stage: Stage::Connect, mishap: Mishap::Hang, percent: 1, domain: None })
        );
        for bad in [
            "",
            "rcpt",
            "rcpt=",
            "rcpt=250",
            "rcpt=600",
            "rcpt=450:0",
            "rcpt=450:101",
            "x=450",
            "connect=450",
            "dot=fall",
            "rcpt=450@",
            "dot=554@busy.example",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_are_read() {
        for (text, address) in [
            ("2525", "[::]:2525"),
            (":25", "[::]:25"),
            ("127.0.0.1:26", "127.0.0.1:26"),
            ("[::1]:27", "[::1]:27"),
        ] {
            assert_eq!(listen_address(text), Ok(address.parse().unwrap()), "{text}");
        }
        assert!(listen_address("localhost").is_err());
    }
}

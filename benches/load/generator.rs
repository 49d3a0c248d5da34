//! The generator: sessions that send as fast as they are answered, or at a given rate.
//!
//! A session knows which replies it waits for (RFC 2920: they come in order). When the last has
//! come it writes the next group. Every error ends the connection and starts another: a mail whose
//! content was not sent is sent again, one whose content was sent and not answered is counted,
//! because its state is unknown.

use crate::Outcome;
use crate::ledger::Ledger;
use crate::mail::{Mail, Tail};
use crate::options::{Grouping, Send};
use crate::report::{Sent, thread_cpu};
use crate::socket;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a session waits before it reconnects after an error.
const PAUSE: Duration = Duration::from_millis(100);
const QUIT: &[u8] = b"QUIT\r\n";
/// The replies to a whole envelope.
const ENVELOPE: [Awaited; 3] = [Awaited::Mail, Awaited::Rcpt, Awaited::Data];

pub struct Generator {
    plan: Plan,
    epoll: Epoll,
    sessions: Vec<Session>,
    buffer: Vec<u8>,
    acknowledged: Option<PathBuf>,
    patience: Duration,
}

/// What the sessions share.
struct Plan {
    to: SocketAddr,
    mail: Mail,
    ledger: Arc<Ledger>,
    grouping: Grouping,
    new_connections: bool,
    rate: Option<f64>,
    messages: u32,
    /// The next mail that was not sent yet.
    next: u32,
    /// Mails that were rejected before their content.
    again: Vec<u32>,
    begun: Instant,
    sent: Sent,
    /// Mails that are neither answered nor given up.
    open: u32,
}

/// What the next reply is for.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Awaited {
    #[default]
    Greeting,
    Ehlo,
    Mail,
    Rcpt,
    Data,
    Content,
    Quit,
}

#[derive(Default)]
struct Session {
    fd: Option<OwnedFd>,
    awaited: VecDeque<Awaited>,
    /// What the last reply was for.
    last: Awaited,
    may_pipeline: bool,
    /// The mail whose envelope or content was sent.
    current: Option<u32>,
    /// The next one, whose envelope was sent with the content of the current one.
    following: Option<u32>,
    /// What did not fit into the socket.
    unsent: Vec<u8>,
    /// The start of a reply line whose end has not come.
    partial: Vec<u8>,
    /// When to connect again.
    paused: Option<Instant>,
    /// Connected and waiting for a mail that may be sent.
    is_idle: bool,
}

/// Why a connection ends.
enum End {
    /// As agreed.
    Quit,
    Trouble(String),
    /// The server will never take this.
    Refused(String),
}

impl From<Errno> for End {
    fn from(error: Errno) -> Self {
        Self::Trouble(error.to_string())
    }
}

impl Generator {
    pub fn new(options: &Send, ledger: Arc<Ledger>) -> Outcome<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)
            .map_err(|error| format!("epoll: {error}"))?;
        let sessions = options.sessions.clamp(1, options.messages.max(1) as usize);
        Ok(Self {
            plan: Plan {
                to: options.to,
                mail: Mail::new(options, ledger.run),
                ledger,
                grouping: options.grouping,
                new_connections: options.new_connections,
                rate: options.rate,
                messages: options.messages,
                next: 0,
                again: Vec::new(),
                begun: Instant::now(),
                sent: Sent::default(),
                open: options.messages,
            },
            epoll,
            sessions: (0..sessions).map(|_| Session::default()).collect(),
            buffer: vec![0; 64 << 10],
            acknowledged: options.acknowledged.clone(),
            patience: Duration::from_secs(options.patience),
        })
    }

    /// Runs until each mail is answered or given up.
    pub fn run(mut self) -> Outcome<Sent> {
        let mut events = socket::events();
        self.plan.begun = Instant::now();
        let mut woken = Instant::now();
        let mut progress = (self.plan.open, Instant::now());
        for at in 0..self.sessions.len() {
            self.connect(at);
        }
        while self.plan.open > 0 {
            let told = match self.epoll.wait(&mut events, self.timeout()) {
                Ok(count) => count,
                Err(Errno::EINTR) => 0,
                Err(error) => return Err(format!("epoll: {error}")),
            };
            for event in &events[..told] {
                let at = usize::try_from(event.data()).unwrap_or(usize::MAX);
                let done = self.sessions[at].ready(
                    &mut self.plan,
                    &self.epoll,
                    at,
                    event.events(),
                    &mut self.buffer,
                );
                self.conclude(at, done);
            }
            if self.plan.rate.is_some() || woken.elapsed() > PAUSE {
                self.wake();
                woken = Instant::now();
            }
            if progress.0 != self.plan.open {
                progress = (self.plan.open, Instant::now());
            } else if progress.1.elapsed() > self.patience {
                let complaint = self.plan.sent.complaint.as_deref().unwrap_or("nothing");
                return Err(format!(
                    "no answer for {:?} with {} mails to go; last complaint: {complaint}",
                    self.patience, self.plan.open
                ));
            }
        }
        self.plan.ledger.close();
        if let Some(path) = &self.acknowledged {
            write_ids(path, self.plan.ledger.acknowledged())
                .map_err(|error| format!("{}: {error}", path.display()))?;
        }
        self.plan.sent.cpu_seconds = thread_cpu();
        Ok(self.plan.sent)
    }

    fn connect(&mut self, at: usize) {
        let done = self.sessions[at].connect(&mut self.plan, &self.epoll, at);
        self.conclude(at, done);
    }

    /// Handles a connection's end for the mails that were on it.
    fn conclude(&mut self, at: usize, done: Result<(), End>) {
        let Err(end) = done else { return };
        let (plan, session) = (&mut self.plan, &mut self.sessions[at]);
        let content_is_out = session.awaited.contains(&Awaited::Content);
        let old = std::mem::take(session);
        let mut refused = false;
        match end {
            End::Quit => {}
            End::Trouble(words) => {
                plan.sent.complaint = Some(words);
                session.paused = Some(Instant::now() + PAUSE);
            }
            End::Refused(words) => {
                refused = true;
                plan.sent.complaint = Some(words);
            }
        }
        if let Some(number) = old.current {
            if refused {
                plan.sent.refused += 1;
                plan.open -= 1;
            } else if content_is_out {
                plan.sent.unanswered += 1;
                plan.open -= 1;
            } else {
                plan.sent.tried_again += 1;
                plan.again.push(number);
            }
        }
        plan.again.extend(old.following);
        if session.paused.is_none() && plan.has_more() {
            self.connect(at);
        }
    }

    /// Idle sessions get the mails whose time has come, paused ones connect again.
    fn wake(&mut self) {
        for at in 0..self.sessions.len() {
            let session = &mut self.sessions[at];
            if session.is_idle {
                let done = session.next_mail(&mut self.plan, &self.epoll, at);
                self.conclude(at, done);
            } else if session.paused.is_some_and(|until| until <= Instant::now()) {
                session.paused = None;
                if self.plan.has_more() {
                    self.connect(at);
                }
            }
        }
    }

    fn timeout(&self) -> EpollTimeout {
        let pause =
            self.plan.until_next().filter(|_| self.sessions.iter().any(|session| session.is_idle));
        let wait = pause.unwrap_or(PAUSE).min(PAUSE);
        // Rounded up: a wait that ends too early would cause a useless iteration.
        EpollTimeout::try_from(wait + Duration::from_micros(999)).unwrap_or(EpollTimeout::ZERO)
    }
}

impl Plan {
    fn has_more(&self) -> bool {
        self.next < self.messages || !self.again.is_empty()
    }

    /// The next mail, if there is one and its time has come.
    fn take(&mut self) -> Option<u32> {
        if let Some(number) = self.again.pop() {
            return Some(number);
        }
        if self.next >= self.messages || self.until_next().is_some_and(|wait| !wait.is_zero()) {
            return None;
        }
        self.next += 1;
        Some(self.next - 1)
    }

    /// How long until the next mail may be sent; None without a rate.
    fn until_next(&self) -> Option<Duration> {
        let due = Duration::from_secs_f64(f64::from(self.next) / self.rate?);
        Some(due.saturating_sub(self.begun.elapsed()))
    }
}

impl Session {
    fn connect(&mut self, plan: &mut Plan, epoll: &Epoll, at: usize) -> Result<(), End> {
        let fd = socket::start_connect(plan.to)?;
        epoll.add(&fd, EpollEvent::new(EpollFlags::EPOLLIN, at as u64))?;
        self.fd = Some(fd);
        self.awaited.push_back(Awaited::Greeting);
        plan.sent.connections += 1;
        Ok(())
    }

    fn ready(
        &mut self,
        plan: &mut Plan,
        epoll: &Epoll,
        at: usize,
        what: EpollFlags,
        buffer: &mut [u8],
    ) -> Result<(), End> {
        if what.contains(EpollFlags::EPOLLOUT) {
            self.go_on_writing(plan, epoll, at)?;
        }
        if !what.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP) {
            return Ok(());
        }
        let Some(fd) = &self.fd else { return Ok(()) };
        match socket::read(fd, buffer)? {
            None => Ok(()),
            Some(0) => Err(End::Trouble("the server closed the connection".to_owned())),
            Some(count) => self.replies(plan, epoll, at, &buffer[..count]),
        }
    }

    fn replies(
        &mut self,
        plan: &mut Plan,
        epoll: &Epoll,
        at: usize,
        mut octets: &[u8],
    ) -> Result<(), End> {
        while let Some(end) = memchr::memchr(b'\n', octets) {
            let (line, rest) = octets.split_at(end + 1);
            octets = rest;
            if self.partial.is_empty() {
                self.line(plan, line)?;
            } else {
                let mut whole = std::mem::take(&mut self.partial);
                whole.extend_from_slice(line);
                self.line(plan, &whole)?;
            }
            if self.awaited.is_empty() {
                self.go_on(plan, epoll, at)?;
            }
        }
        self.partial.extend_from_slice(octets);
        Ok(())
    }

    /// One line of a reply. Only the last of a reply counts, and it has a blank after its code.
    fn line(&mut self, plan: &mut Plan, line: &[u8]) -> Result<(), End> {
        if self.awaited.front() == Some(&Awaited::Ehlo) && line.get(4..14) == Some(b"PIPELINING") {
            self.may_pipeline = true;
        }
        if line.get(3) == Some(&b'-') {
            return Ok(());
        }
        let words = || String::from_utf8_lossy(line).trim_end().to_owned();
        let Some(awaited) = self.awaited.pop_front() else { return Err(End::Trouble(words())) };
        let wanted = match awaited {
            Awaited::Data => b'3',
            _ => b'2',
        };
        if line.first() != Some(&wanted) {
            let is_final = line.first() == Some(&b'5') || awaited == Awaited::Content;
            return Err(if is_final { End::Refused(words()) } else { End::Trouble(words()) });
        }
        self.last = awaited;
        match awaited {
            Awaited::Content => {
                if let Some(number) = self.current.take() {
                    plan.ledger.answered(number, plan.ledger.now());
                    plan.open -= 1;
                }
                self.current = self.following.take();
                Ok(())
            }
            Awaited::Quit => Err(End::Quit),
            _ => Ok(()),
        }
    }

    /// All replies have come: writes the next part.
    fn go_on(&mut self, plan: &mut Plan, epoll: &Epoll, at: usize) -> Result<(), End> {
        match self.last {
            Awaited::Greeting => {
                self.put(epoll, at, b"EHLO load.example\r\n", b"", &[Awaited::Ehlo])
            }
            Awaited::Ehlo | Awaited::Content => self.next_mail(plan, epoll, at),
            Awaited::Mail => {
                self.put(epoll, at, &plan.mail.envelope(self.number()).rcpt, b"", &[Awaited::Rcpt])
            }
            Awaited::Rcpt => {
                self.put(epoll, at, &plan.mail.envelope(self.number()).data, b"", &[Awaited::Data])
            }
            Awaited::Data => self.content(plan, epoll, at),
            Awaited::Quit => Ok(()),
        }
    }

    fn next_mail(&mut self, plan: &mut Plan, epoll: &Epoll, at: usize) -> Result<(), End> {
        self.is_idle = false;
        if plan.new_connections && self.last == Awaited::Content {
            return self.put(epoll, at, QUIT, b"", &[Awaited::Quit]);
        }
        let Some(number) = plan.take() else {
            self.is_idle = plan.has_more();
            return if self.is_idle {
                Ok(())
            } else {
                self.put(epoll, at, QUIT, b"", &[Awaited::Quit])
            };
        };
        self.current = Some(number);
        let envelope = plan.mail.envelope(number);
        match self.grouping(plan) {
            Grouping::None => self.put(epoll, at, &envelope.mail, b"", &[Awaited::Mail]),
            Grouping::Commands | Grouping::Mails => {
                self.put(epoll, at, &envelope.group, b"", &ENVELOPE)
            }
        }
    }

    /// The content, followed by what may be in the same write.
    fn content(&mut self, plan: &mut Plan, epoll: &Epoll, at: usize) -> Result<(), End> {
        let number = self.number();
        let grouping = self.grouping(plan);
        let (tail, awaited) = if grouping == Grouping::None {
            (Tail::Nothing, &[Awaited::Content][..])
        } else if plan.new_connections {
            (Tail::Quit, &[Awaited::Content, Awaited::Quit][..])
        } else if let Some(following) = (grouping == Grouping::Mails).then(|| plan.take()).flatten()
        {
            self.following = Some(following);
            (
                Tail::Envelope(following),
                &[Awaited::Content, Awaited::Mail, Awaited::Rcpt, Awaited::Data][..],
            )
        } else {
            (Tail::Nothing, &[Awaited::Content][..])
        };
        let (content, tail) = plan.mail.content(number, tail);
        self.put(epoll, at, content, tail, awaited)?;
        if self.unsent.is_empty() {
            plan.ledger.written(number);
        }
        Ok(())
    }

    /// Writes two pieces, and records the expected replies.
    fn put(
        &mut self,
        epoll: &Epoll,
        at: usize,
        first: &[u8],
        second: &[u8],
        awaited: &[Awaited],
    ) -> Result<(), End> {
        let Some(fd) = &self.fd else { return Ok(()) };
        self.awaited.extend(awaited);
        let count = if second.is_empty() {
            socket::write(fd, first)?
        } else {
            socket::write_both(fd, first, second)?
        };
        if count < first.len() + second.len() {
            self.unsent.extend_from_slice(&first[count.min(first.len())..]);
            self.unsent.extend_from_slice(&second[count.saturating_sub(first.len())..]);
            epoll.modify(
                fd,
                &mut EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT, at as u64),
            )?;
        }
        Ok(())
    }

    /// Groups are for servers that announce PIPELINING.
    fn grouping(&self, plan: &Plan) -> Grouping {
        if self.may_pipeline { plan.grouping } else { Grouping::None }
    }

    fn number(&self) -> u32 {
        self.current.unwrap_or_default()
    }

    fn go_on_writing(&mut self, plan: &Plan, epoll: &Epoll, at: usize) -> Result<(), End> {
        let Some(fd) = &self.fd else { return Ok(()) };
        let count = socket::write(fd, &self.unsent)?;
        self.unsent.drain(..count);
        if self.unsent.is_empty() {
            plan.ledger.written(self.number());
            epoll.modify(fd, &mut EpollEvent::new(EpollFlags::EPOLLIN, at as u64))?;
        }
        Ok(())
    }
}

fn write_ids(path: &std::path::Path, ids: impl Iterator<Item = (u32, u32)>) -> std::io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for (run, number) in ids {
        writeln!(file, "{run:08x}-{number:08x}")?;
    }
    file.flush()
}

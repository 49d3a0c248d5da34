//! The sink: accepts everything, with prepared replies, and records the mails.

use crate::Outcome;
use crate::ledger::Ledger;
use crate::mail::{Id, IdFinder};
use crate::options;
use crate::report::{Taken, thread_cpu};
use crate::socket;
use memchr::memmem::Finder;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signalfd::SignalFd;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

const GREETING: &[u8] = b"220 sink.example ESMTP\r\n";
const EHLO: &[u8] = b"250-sink.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n\
    250-ENHANCEDSTATUSCODES\r\n250 SIZE 0\r\n";
const END: &[u8] = b"\r\n.\r\n";
/// The id is in the header line that the generator writes first; relays put their own lines above
/// it.
const ID_WITHIN: usize = 8 << 10;
/// How long the rest of the mails may take when the generator is finished.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the sink checks whether it is finished, when nothing comes.
const LOOK: Duration = Duration::from_millis(20);
/// Tokens of epoll: connections have smaller ones.
const LISTENERS: u64 = 1 << 32;
const STOP: u64 = 1 << 33;

pub struct Sink {
    shared: Shared,
    listeners: Vec<TcpListener>,
    epoll: Epoll,
    stop: Option<SignalFd>,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    buffer: Vec<u8>,
    expect: Option<u64>,
    /// Connections whose reply is delayed, and until when.
    late: BinaryHeap<Reverse<(Instant, usize)>>,
}

/// What the connections share.
struct Shared {
    ledger: Arc<Ledger>,
    end: Finder<'static>,
    ids: IdFinder,
    refuse: HashMap<Vec<u8>, Vec<u8>>,
    delay: HashMap<Vec<u8>, Duration>,
    /// One for each received mail, if they are written to a file.
    came: Option<Vec<Id>>,
    arrived: Option<PathBuf>,
    replies: Vec<u8>,
    taken: Taken,
}

struct Connection {
    stream: TcpStream,
    is_content: bool,
    /// Octets that were read and not yet parsed: part of a line, or the last ones of a content.
    carry: Vec<u8>,
    /// So many octets of `carry` are content that was examined.
    overlap: usize,
    /// The start of the content, until its id is known.
    head: Vec<u8>,
    id: Option<Id>,
    has_recipient: bool,
    delay: Option<Duration>,
}

/// What is to be done with a connection after its input.
enum Next {
    GoOn,
    Close,
    /// The rest of the input waits until the answer is due.
    Wait(Duration),
}

impl Sink {
    /// Listens; no connection is accepted yet.
    pub fn new(
        options: &options::Sink,
        ledger: Arc<Ledger>,
        stop: Option<SignalFd>,
    ) -> Outcome<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)
            .map_err(|error| format!("epoll: {error}"))?;
        let mut listeners = Vec::new();
        for (address, token) in options.listen.iter().zip(LISTENERS..) {
            let listener =
                TcpListener::bind(address).map_err(|error| format!("sink {address}: {error}"))?;
            epoll
                .add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, token))
                .map_err(|error| format!("epoll: {error}"))?;
            listeners.push(listener);
        }
        if let Some(stop) = &stop {
            epoll
                .add(stop, EpollEvent::new(EpollFlags::EPOLLIN, STOP))
                .map_err(|error| format!("epoll: {error}"))?;
        }
        let refusal = |code: u16| {
            format!("{code} {}.0.0 Refused, as the sink was told\r\n", code / 100).into_bytes()
        };
        Ok(Self {
            shared: Shared {
                ledger,
                end: Finder::new(END),
                ids: IdFinder::new(),
                refuse: options
                    .refuse
                    .iter()
                    .map(|(name, code)| (name.clone().into_bytes(), refusal(*code)))
                    .collect(),
                delay: options
                    .delay
                    .iter()
                    .map(|(name, ms)| (name.clone().into_bytes(), Duration::from_millis(*ms)))
                    .collect(),
                came: options.arrived.as_ref().map(|_| Vec::new()),
                arrived: options.arrived.clone(),
                replies: Vec::new(),
                taken: Taken::default(),
            },
            listeners,
            epoll,
            stop,
            connections: Vec::new(),
            free: Vec::new(),
            buffer: vec![0; 256 << 10],
            expect: options.expect,
            late: BinaryHeap::new(),
        })
    }

    /// Runs until all confirmed mails have come, or as many as expected, or a signal.
    pub fn run(mut self) -> Outcome<Taken> {
        let mut events = socket::events();
        let mut waiting_since = None;
        loop {
            let told = match self.epoll.wait(&mut events, self.timeout()) {
                Ok(count) => count,
                Err(Errno::EINTR) => 0,
                Err(error) => return Err(format!("epoll: {error}")),
            };
            for event in &events[..told] {
                match event.data() {
                    STOP => return self.finish(),
                    token if token >= LISTENERS => {
                        self.accept(usize::try_from(token - LISTENERS).unwrap_or(usize::MAX))?
                    }
                    token => self.ready(usize::try_from(token).unwrap_or(usize::MAX)),
                }
            }
            self.answer_the_late();
            if self.expect.is_some_and(|count| self.shared.taken.mails >= count) {
                return self.finish();
            }
            if self.stop.is_none() {
                if self.shared.ledger.is_complete() {
                    return self.finish();
                }
                // A mail that is missing when nothing has come for long is lost: the report shows
                // it.
                if told > 0 || !self.shared.ledger.is_all_sent() {
                    waiting_since = None;
                } else if waiting_since.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
                    return self.finish();
                }
            }
        }
    }

    fn finish(mut self) -> Outcome<Taken> {
        if let (Some(path), Some(came)) = (&self.shared.arrived, &self.shared.came) {
            let write = || {
                let mut file = BufWriter::new(File::create(path)?);
                came.iter()
                    .try_for_each(|(run, number)| writeln!(file, "{run:08x}-{number:08x}"))?;
                file.flush()
            };
            write().map_err(|error| format!("{}: {error}", path.display()))?;
        }
        self.shared.taken.cpu_seconds = thread_cpu();
        Ok(self.shared.taken)
    }

    fn timeout(&self) -> EpollTimeout {
        let late =
            self.late.peek().map(|Reverse((due, _))| due.saturating_duration_since(Instant::now()));
        let look = self.stop.is_none().then_some(LOOK);
        match late.into_iter().chain(look).min() {
            Some(wait) => EpollTimeout::try_from(wait + Duration::from_micros(999))
                .unwrap_or(EpollTimeout::ZERO),
            None => EpollTimeout::NONE,
        }
    }

    fn accept(&mut self, listener: usize) -> Outcome<()> {
        let Some(Ok((stream, _))) = self.listeners.get(listener).map(TcpListener::accept) else {
            return Ok(());
        };
        self.shared.taken.connections += 1;
        if socket::write(&stream, GREETING) != Ok(GREETING.len()) {
            return Ok(());
        }
        let at = self.free.pop().unwrap_or_else(|| {
            self.connections.push(None);
            self.connections.len() - 1
        });
        self.epoll
            .add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, at as u64))
            .map_err(|error| format!("epoll: {error}"))?;
        self.connections[at] = Some(Connection::new(stream));
        Ok(())
    }

    fn ready(&mut self, at: usize) {
        let Some(connection) = self.connections[at].as_mut() else { return };
        let next = match socket::read(&connection.stream, &mut self.buffer) {
            Ok(None) => Next::GoOn,
            Ok(Some(count)) if count > 0 => {
                connection.input(&self.buffer[..count], &mut self.shared)
            }
            _ => Next::Close,
        };
        self.conclude(at, next);
    }

    fn conclude(&mut self, at: usize, next: Next) {
        let Some(connection) = self.connections[at].as_mut() else { return };
        let replies = &mut self.shared.replies;
        let is_written =
            replies.is_empty() || socket::write(&connection.stream, replies) == Ok(replies.len());
        replies.clear();
        let next = if is_written { next } else { Next::Close };
        match next {
            Next::GoOn => {}
            Next::Close => {
                self.connections[at] = None;
                self.free.push(at);
            }
            Next::Wait(time) => {
                // Readable or not, it must wait.
                let _ = self.epoll.modify(
                    &connection.stream,
                    &mut EpollEvent::new(EpollFlags::empty(), at as u64),
                );
                self.late.push(Reverse((Instant::now() + time, at)));
            }
        }
    }

    fn answer_the_late(&mut self) {
        while let Some(Reverse((due, at))) = self.late.peek().copied() {
            if due > Instant::now() {
                return;
            }
            self.late.pop();
            let Some(connection) = self.connections[at].as_mut() else { continue };
            let _ = self
                .epoll
                .modify(&connection.stream, &mut EpollEvent::new(EpollFlags::EPOLLIN, at as u64));
            let rest = std::mem::take(&mut connection.carry);
            connection.take_mail(&mut self.shared);
            let next = connection.input(&rest, &mut self.shared);
            self.conclude(at, next);
        }
    }
}

impl Connection {
    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            is_content: false,
            carry: Vec::new(),
            overlap: 0,
            head: Vec::new(),
            id: None,
            has_recipient: false,
            delay: None,
        }
    }

    fn input(&mut self, octets: &[u8], shared: &mut Shared) -> Next {
        if self.carry.is_empty() {
            return self.understand(octets, shared);
        }
        let mut whole = std::mem::take(&mut self.carry);
        whole.extend_from_slice(octets);
        self.understand(&whole, shared)
    }

    fn understand(&mut self, mut octets: &[u8], shared: &mut Shared) -> Next {
        loop {
            if self.is_content {
                let end = shared.end.find(octets);
                self.look_for_id(&octets[..end.unwrap_or(octets.len())], shared);
                let Some(end) = end else {
                    // The end may be cut in two.
                    self.carry
                        .extend_from_slice(&octets[octets.len().saturating_sub(END.len() - 1)..]);
                    self.overlap = self.carry.len();
                    return Next::GoOn;
                };
                octets = &octets[end + END.len()..];
                self.is_content = false;
                if let Some(delay) = self.delay {
                    self.carry.extend_from_slice(octets);
                    return Next::Wait(delay);
                }
                self.take_mail(shared);
            } else {
                let Some(end) = memchr::memchr(b'\n', octets) else {
                    self.carry.extend_from_slice(octets);
                    return Next::GoOn;
                };
                let (line, rest) = octets.split_at(end + 1);
                octets = rest;
                if !self.command(line, shared) {
                    return Next::Close;
                }
                if self.is_content {
                    // An empty content ends with its first line.
                    self.carry.extend_from_slice(b"\r\n");
                    let rest = octets.to_vec();
                    return if rest.is_empty() { Next::GoOn } else { self.input(&rest, shared) };
                }
            }
        }
    }

    /// The whole of a mail is here.
    fn take_mail(&mut self, shared: &mut Shared) {
        shared.replies.extend_from_slice(b"250 2.0.0 Ok\r\n");
        shared.taken.mails += 1;
        shared.ledger.arrived(self.id);
        if let (Some(came), Some(id)) = (&mut shared.came, self.id) {
            came.push(id);
        }
        self.reset();
    }

    fn reset(&mut self) {
        self.has_recipient = false;
        self.delay = None;
        self.id = None;
        self.head.clear();
    }

    fn look_for_id(&mut self, octets: &[u8], shared: &Shared) {
        let octets = octets.get(std::mem::take(&mut self.overlap)..).unwrap_or_default();
        if self.id.is_some() || self.head.len() >= ID_WITHIN {
            return;
        }
        let start = &octets[..octets.len().min(ID_WITHIN)];
        if self.head.is_empty() {
            self.id = shared.ids.find(start);
        }
        if self.id.is_none() {
            self.head.extend_from_slice(start);
            self.id = shared.ids.find(&self.head);
        }
    }

    /// Answers one command; false when that was the last.
    fn command(&mut self, line: &[u8], shared: &mut Shared) -> bool {
        let verb = line.get(..4).map(|verb| verb.to_ascii_uppercase()).unwrap_or_default();
        match &verb[..] {
            b"EHLO" => shared.replies.extend_from_slice(EHLO),
            b"HELO" => shared.replies.extend_from_slice(b"250 sink.example\r\n"),
            b"MAIL" => {
                self.reset();
                shared.replies.extend_from_slice(b"250 2.1.0 Ok\r\n");
            }
            b"RCPT" => self.recipient(line, shared),
            b"DATA" if self.has_recipient => {
                self.is_content = true;
                shared.replies.extend_from_slice(b"354 Go ahead\r\n");
            }
            b"DATA" => shared.replies.extend_from_slice(b"554 5.5.1 No valid recipients\r\n"),
            b"RSET" | b"NOOP" => {
                self.reset();
                shared.replies.extend_from_slice(b"250 2.0.0 Ok\r\n");
            }
            b"QUIT" => {
                shared.replies.extend_from_slice(b"221 2.0.0 Bye\r\n");
                return false;
            }
            _ => shared.replies.extend_from_slice(b"502 5.5.1 What?\r\n"),
        }
        true
    }

    fn recipient(&mut self, line: &[u8], shared: &mut Shared) {
        // Names are compared only if some were configured.
        if !shared.refuse.is_empty() || !shared.delay.is_empty() {
            let domain = domain_of(line);
            if let Some(refusal) = shared.refuse.get(&domain) {
                shared.replies.extend_from_slice(refusal);
                shared.taken.refused += 1;
                return;
            }
            self.delay = shared.delay.get(&domain).copied().max(self.delay);
        }
        self.has_recipient = true;
        shared.replies.extend_from_slice(b"250 2.1.5 Ok\r\n");
    }
}

/// `there.example` of `RCPT TO:<user@there.example>`.
fn domain_of(line: &[u8]) -> Vec<u8> {
    let from = memchr::memrchr(b'@', line).map_or(0, |at| at + 1);
    let rest = &line[from..];
    rest[..memchr::memchr(b'>', rest).unwrap_or(rest.len())].to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    fn sink(ledger: &Arc<Ledger>) -> Sink {
        let options = options::Sink {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
            expect: None,
            refuse: vec![("dead.example".to_owned(), 450)],
            delay: Vec::new(),
            arrived: None,
        };
        Sink::new(&options, Arc::clone(ledger), None).unwrap()
    }

    fn connection(sink: &Sink) -> Connection {
        Connection::new(TcpStream::connect(sink.listeners[0].local_addr().unwrap()).unwrap())
    }

    #[test]
    fn a_mail_is_the_same_wherever_its_octets_are_cut() {
        let ledger = Arc::new(Ledger::new(1000));
        let mut sink = sink(&ledger);
        let commands = "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n";
        let received = "Received: from somewhere\r\n\tby a relay\r\n";
        let mail = |number: u32| {
            let run = ledger.run;
            format!(
                "{commands}{received}X-Load-Id: {run:08x}-{number:08x}\r\n\r\n..a dot\r\n.\r\nMAIL \
                FROM:<a@b>\r\nRSET\r\n"
            )
        };
        let length = mail(0).len();
        let mut connection = connection(&sink);
        for cut in 0..length {
            let mail = mail(u32::try_from(cut).unwrap());
            let (first, second) = mail.as_bytes().split_at(cut);
            connection.input(first, &mut sink.shared);
            connection.input(second, &mut sink.shared);
            assert_eq!(sink.shared.taken.mails, cut as u64 + 1, "cut at {cut}");
        }
        assert_eq!(
            (ledger.arrivals(), ledger.duplicates(), ledger.foreign()),
            (length as u64, 0, 0)
        );
    }

    #[test]
    fn empty_content_ends_and_named_domains_are_refused() {
        let ledger = Arc::new(Ledger::new(0));
        let mut sink = sink(&ledger);
        let mut connection = connection(&sink);
        connection.input(
            b"MAIL FROM:<a@b>\r\nRCPT TO:<c@DEAD.example>\r\nDATA\r\nRCPT TO:<c@d>\r\nDATA\r\n",
            &mut sink.shared,
        );
        connection.input(b".\r\nNOOP\r\n", &mut sink.shared);
        let replies = String::from_utf8(sink.shared.replies.clone()).unwrap();
        let codes: Vec<&str> = replies.lines().map(|line| &line[..3]).collect();
        assert_eq!(codes, ["250", "450", "554", "250", "354", "250", "250"]);
        assert_eq!((sink.shared.taken.mails, sink.shared.taken.refused), (1, 1));
    }
}

//! Clients that send numbered mails as fast as possible, and record the result of each.

use crate::{PATIENCE, mail};
use std::collections::{BTreeMap, HashMap};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{JoinHandle, ThreadId};
use std::time::{Duration, Instant};

/// No answer for so long counts as a hang.
const ANSWER: Duration = Duration::from_secs(30);
/// How long a client waits after a temporary rejection.
const TURNED_AWAY: Duration = Duration::from_millis(50);
/// Mails in one session, at most.
const MAILS: u32 = 20;

/// The result of one mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The end of its content was never sent, so it must not exist.
    Unfinished,
    /// The end was sent and no answer came: it may arrive or not.
    InDoubt,
    /// Answered 250: it must arrive.
    Accepted,
    /// Answered 4xx: it must not arrive.
    Refused,
}

#[derive(Default)]
pub struct Notes {
    pub fates: BTreeMap<u64, Fate>,
    /// Unexpected answers.
    pub surprises: Vec<String>,
    pub accepted: u64,
    pub last_accepted: Option<Instant>,
    /// 452 in reply to MAIL, and to the end of the content.
    pub full: (u64, u64),
    /// 421 while stopping.
    pub stopping: u64,
}

struct Shared {
    server: SocketAddr,
    next: AtomicU64,
    stop: AtomicBool,
    /// The open connections, to be ended from outside.
    open: Mutex<HashMap<ThreadId, TcpStream>>,
    notes: Mutex<Notes>,
    changed: Condvar,
}

pub struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    pub fn new(server: SocketAddr) -> Self {
        let shared = Shared {
            server,
            next: AtomicU64::new(1),
            stop: AtomicBool::new(false),
            open: Mutex::default(),
            notes: Mutex::default(),
            changed: Condvar::new(),
        };
        Self { shared: Arc::new(shared), clients: Vec::new() }
    }

    /// Sends with `clients` more sessions at a time.
    pub fn start(&mut self, clients: usize) {
        self.shared.stop.store(false, Ordering::Relaxed);
        self.clients.extend((0..clients).map(|_| {
            let shared = Arc::clone(&self.shared);
            std::thread::spawn(move || run(&shared))
        }));
    }

    /// Ends all sessions after their present mail.
    pub fn stop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for client in self.clients.drain(..) {
            client.join().unwrap();
        }
    }

    /// The same when the server's machine is off: not every connection is notified of its end.
    pub fn stop_alone(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for connection in self.shared.open.lock().unwrap().values() {
            let _ = connection.shutdown(Shutdown::Both);
        }
        self.stop();
    }

    pub fn notes(&self) -> MutexGuard<'_, Notes> {
        self.shared.notes.lock().unwrap()
    }

    /// Waits until the records show it. `None` after `patience`.
    pub fn wait<T>(
        &self,
        patience: Duration,
        mut what: impl FnMut(&Notes) -> Option<T>,
    ) -> Option<T> {
        let end = Instant::now() + patience;
        let mut notes = self.notes();
        loop {
            if let Some(found) = what(&notes) {
                return Some(found);
            }
            let left = end.checked_duration_since(Instant::now())?;
            notes = self.shared.changed.wait_timeout(notes, left).unwrap().0;
        }
    }

    /// Waits until so many more mails were answered 250.
    pub fn wait_accepted(&self, more: u64) {
        let goal = self.notes().accepted + more;
        let reached = self.wait(PATIENCE, |notes| (notes.accepted >= goal).then_some(()));
        assert!(
            reached.is_some(),
            "the appliance accepts nothing: {} of {goal} mails",
            self.notes().accepted
        );
    }

    /// A session in the middle of a mail's content.
    pub fn halfway(&self) -> Halfway {
        let mut session = Session::open(&self.shared).unwrap();
        self.shared.open.lock().unwrap().remove(&std::thread::current().id());
        let number = session.begin(&self.shared).unwrap();
        Halfway { session, number, shared: Arc::clone(&self.shared) }
    }
}

/// A mail whose content has not ended.
pub struct Halfway {
    session: Session,
    number: u64,
    shared: Arc<Shared>,
}

impl Halfway {
    /// Sends the content and its end; the answer.
    pub fn finish(mut self) -> String {
        self.session.say(&mail::stuffed(&mail::content(self.number))).unwrap();
        self.end()
    }

    /// The same with `octets` that the next hop does not expect, so that they must be refused.
    pub fn finish_with(mut self, octets: usize) -> String {
        self.session.say(&b"more and more of it\r\n".repeat(octets / 21)).unwrap();
        self.end()
    }

    fn end(&mut self) -> String {
        self.shared.note(self.number, Fate::InDoubt);
        self.session.say(b".\r\n").unwrap();
        let answer = self.session.answer().unwrap();
        let fate = if answer.starts_with("250 ") { Fate::Accepted } else { Fate::Refused };
        self.shared.note(self.number, fate);
        answer
    }
}

impl Shared {
    fn note(&self, number: u64, fate: Fate) {
        let mut notes = self.notes.lock().unwrap();
        notes.fates.insert(number, fate);
        if fate == Fate::Accepted {
            notes.accepted += 1;
            notes.last_accepted = Some(Instant::now());
        }
        drop(notes);
        self.changed.notify_all();
    }

    /// An unexpected answer: the session ends.
    fn refused(&self, stage: &str, answer: &str) -> io::Error {
        let mut notes = self.notes.lock().unwrap();
        match (stage, answer) {
            ("MAIL", full) if full.starts_with("452 4.3.1 ") => notes.full.0 += 1,
            (".", full) if full.starts_with("452 4.3.1 ") => notes.full.1 += 1,
            (_, stopping) if stopping.starts_with("421 4.3.2 ") => notes.stopping += 1,
            _ => notes.surprises.push(format!("{stage} was answered: {answer}")),
        }
        drop(notes);
        self.changed.notify_all();
        io::Error::other("turned away")
    }
}

fn run(shared: &Shared) {
    while !shared.stop.load(Ordering::Relaxed) {
        let outcome = session(shared);
        shared.open.lock().unwrap().remove(&std::thread::current().id());
        match outcome {
            Ok(()) => {}
            Err(error) => {
                if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) {
                    shared
                        .notes
                        .lock()
                        .unwrap()
                        .surprises
                        .push(format!("no answer for {} s", ANSWER.as_secs()));
                }
                std::thread::sleep(TURNED_AWAY);
            }
        }
    }
}

fn session(shared: &Shared) -> io::Result<()> {
    let mut session = Session::open(shared)?;
    for _ in 0..MAILS {
        if shared.stop.load(Ordering::Relaxed) {
            break;
        }
        session.mail(shared)?;
    }
    session.say(b"QUIT\r\n")
}

struct Session {
    reader: BufReader<TcpStream>,
}

impl Session {
    fn open(shared: &Shared) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&shared.server, ANSWER)?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.set_write_timeout(Some(ANSWER))?;
        stream.set_nodelay(true)?;
        shared.open.lock().unwrap().insert(std::thread::current().id(), stream.try_clone()?);
        let mut session = Self { reader: BufReader::new(stream) };
        session.expect(shared, "connecting", "220")?;
        session.say(b"EHLO client.example\r\n")?;
        session.expect(shared, "EHLO", "250")?;
        Ok(session)
    }

    fn mail(&mut self, shared: &Shared) -> io::Result<()> {
        let number = self.begin(shared)?;
        self.say(&mail::stuffed(&mail::content(number)))?;
        shared.note(number, Fate::InDoubt);
        self.say(b".\r\n")?;
        let answer = self.answer()?;
        if answer.starts_with("250 ") {
            shared.note(number, Fate::Accepted);
            return Ok(());
        }
        shared.note(number, Fate::Refused);
        Err(shared.refused(".", &answer))
    }

    /// The envelope of a new mail, up to where its content begins.
    fn begin(&mut self, shared: &Shared) -> io::Result<u64> {
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        shared.note(number, Fate::Unfinished);
        self.say(b"MAIL FROM:<load@client.example>\r\n")?;
        self.expect(shared, "MAIL", "250")?;
        for place in 0..mail::recipients(number) {
            self.say(format!("RCPT TO:<{}>\r\n", mail::address(number, place)).as_bytes())?;
            self.expect(shared, "RCPT", "250")?;
        }
        self.say(b"DATA\r\n")?;
        self.expect(shared, "DATA", "354")?;
        Ok(number)
    }

    fn say(&mut self, octets: &[u8]) -> io::Result<()> {
        self.reader.get_mut().write_all(octets)
    }

    /// The last line of the next reply.
    fn answer(&mut self) -> io::Result<String> {
        loop {
            let mut line = String::new();
            if self.reader.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            // A process that is killed in the middle of a line has sent nothing.
            let line = line.strip_suffix("\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(line.to_owned());
            }
        }
    }

    fn expect(&mut self, shared: &Shared, stage: &str, code: &str) -> io::Result<()> {
        let answer = self.answer()?;
        if answer.starts_with(code) { Ok(()) } else { Err(shared.refused(stage, &answer)) }
    }
}

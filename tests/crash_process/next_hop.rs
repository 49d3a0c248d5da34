//! The server that the appliance delivers to: records every copy and the time of its final reply.

use crate::mail;
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// One of so many recipients is deferred, so that the queue has progress to store.
const COME_AGAIN: u8 = 30;
/// The final reply takes up to so long, so that some are in flight when the appliance is killed.
const THINKS: Duration = Duration::from_millis(20);

/// The behaviour of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Mood {
    /// It accepts mail.
    Well,
    /// It defers every mail.
    Busy,
    /// It closes every connection.
    Away,
}

/// One copy of a mail for one recipient that was answered 250.
#[derive(Debug, Clone, Copy)]
pub struct Copy {
    /// All of it was here.
    pub received: Instant,
    /// The final reply was written right after this time.
    pub replied: Instant,
}

#[derive(Default)]
pub struct Notes {
    /// By mail and recipient.
    pub copies: BTreeMap<(u64, u8), Vec<Copy>>,
    /// Final replies, in the order of their times.
    pub replies: Vec<Instant>,
    /// Mails that are not what was sent.
    pub flaws: Vec<String>,
}

pub struct NextHop {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    mood: AtomicU8,
    refusals: AtomicU64,
    notes: Mutex<Notes>,
}

impl NextHop {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            mood: AtomicU8::new(Mood::Well as u8),
            refusals: AtomicU64::new(0),
            notes: Mutex::default(),
        });
        let serving = Arc::clone(&shared);
        // It runs until the test's process ends.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&serving);
                std::thread::spawn(move || drop(serve(&shared, stream)));
            }
        });
        Self { address, shared }
    }

    pub fn be(&self, mood: Mood) {
        self.shared.mood.store(mood as u8, Ordering::Relaxed);
    }

    pub fn notes(&self) -> MutexGuard<'_, Notes> {
        self.shared.notes.lock().unwrap()
    }

    /// Mails and recipients that were deferred.
    pub fn refusals(&self) -> u64 {
        self.shared.refusals.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn is(&self, mood: Mood) -> bool {
        self.mood.load(Ordering::Relaxed) == mood as u8
    }
}

fn serve(shared: &Shared, stream: TcpStream) -> io::Result<()> {
    if shared.is(Mood::Away) {
        return Ok(());
    }
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(600)))?;
    let mut reader = BufReader::new(stream);
    let say =
        |reader: &mut BufReader<TcpStream>, text: &str| reader.get_mut().write_all(text.as_bytes());
    say(&mut reader, "220 hop.example\r\n")?;
    // The mood may change within a transaction, and its commands come together: a recipient counts
    // only for an accepted sender (RFC 5321 §4.1.4); otherwise the empty content that ends such a
    // transaction would be a mail.
    let mut has_sender = false;
    let mut recipients = Vec::new();
    loop {
        let mut line = Vec::new();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let line = String::from_utf8_lossy(&line);
        let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
        let reply = match verb.as_str() {
            "EHLO" => "250-hop.example\r\n250-PIPELINING\r\n250-SIZE\r\n250 8BITMIME\r\n",
            "MAIL" if shared.is(Mood::Busy) => {
                shared.refusals.fetch_add(1, Ordering::Relaxed);
                has_sender = false;
                recipients.clear();
                "451 4.3.0 come again\r\n"
            }
            "MAIL" | "RSET" => {
                has_sender = verb == "MAIL";
                recipients.clear();
                "250 2.0.0 ok\r\n"
            }
            "RCPT" if !has_sender => "503 5.5.1 MAIL first\r\n",
            "RCPT" if shared.is(Mood::Busy) || fastrand::u8(..COME_AGAIN) == 0 => {
                shared.refusals.fetch_add(1, Ordering::Relaxed);
                "450 4.2.0 come again\r\n"
            }
            "RCPT" => {
                let address = line.split(['<', '>']).nth(1).unwrap_or_default();
                match mail::meaning(address) {
                    Some(meaning) => recipients.push(meaning),
                    None => shared
                        .notes
                        .lock()
                        .unwrap()
                        .flaws
                        .push(format!("mail for {address:?}, which nobody sent")),
                }
                "250 2.1.5 ok\r\n"
            }
            "DATA" if recipients.is_empty() => "554 5.5.1 no recipients\r\n",
            "DATA" => {
                say(&mut reader, "354 go on\r\n")?;
                let content = content(&mut reader)?;
                has_sender = false;
                answer(shared, reader.get_mut(), &content, &std::mem::take(&mut recipients))?;
                continue;
            }
            "QUIT" => return say(&mut reader, "221 bye\r\n"),
            _ => "502 5.5.2 what\r\n",
        };
        say(&mut reader, reply)?;
    }
}

/// Content up to the end, without dot-stuffing. A connection that ends before has delivered
/// nothing.
fn content(reader: &mut BufReader<TcpStream>) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    loop {
        let start = content.len();
        if reader.read_until(b'\n', &mut content)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if &content[start..] == b".\r\n" {
            content.truncate(start);
            return Ok(content);
        }
        if content.get(start) == Some(&b'.') {
            content.remove(start);
        }
    }
}

fn answer(
    shared: &Shared,
    stream: &mut TcpStream,
    content: &[u8],
    recipients: &[(u64, u8)],
) -> io::Result<()> {
    let received = Instant::now();
    let mut flaws: Vec<String> = Vec::new();
    for number in recipients.iter().map(|(number, _)| *number).take(1) {
        flaws.extend(mail::flaw(number, content).map(|flaw| format!("mail {number}: {flaw}")));
        if recipients.iter().any(|other| other.0 != number) {
            flaws.push(format!(
                "mail {number} came with the recipients of another one: {recipients:?}"
            ));
        }
    }
    std::thread::sleep(THINKS.mul_f64(fastrand::f64()));
    let mut notes = shared.notes.lock().unwrap();
    notes.flaws.extend(flaws);
    let replied = Instant::now();
    notes.replies.push(replied);
    for recipient in recipients {
        notes.copies.entry(*recipient).or_default().push(Copy { received, replied });
    }
    drop(notes);
    stream.write_all(b"250 2.0.0 kept\r\n")
}

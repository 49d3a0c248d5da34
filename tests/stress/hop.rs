//! Next hops, each difficult in its own way, on port 25 of an address of its own.

use crate::support::program::own_address;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The behaviour of a next hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nature {
    Takes,
    /// Defers every third mail.
    Defers,
    /// Accepts two connections at most, and refuses others with 421.
    Limits,
    /// Closes without a reply at any step; after the content, too, whether it has accepted it or
    /// not.
    Drops,
    /// Sends each octet separately.
    Drips,
    /// Is down every other second.
    Dies,
    /// Rejects mail of an even number, permanently.
    Refuses,
}

/// Connections of [`Nature::Limits`].
const LIMIT: usize = 2;

/// A next hop.
pub struct MailHost {
    pub nature: Nature,
    address: Ipv4Addr,
    shared: Arc<Shared>,
}

struct Shared {
    nature: Nature,
    well: AtomicBool,
    sessions: AtomicUsize,
    /// By recipient: how often it arrived, and how often the reply was withheld.
    taken: Mutex<HashMap<String, (usize, usize)>>,
}

impl MailHost {
    pub fn start(nature: Nature) -> Self {
        let (well, sessions) = (AtomicBool::new(false), AtomicUsize::new(0));
        let shared = Arc::new(Shared { nature, well, sessions, taken: Mutex::default() });
        let (address, inside) = (own_address(), shared.clone());
        let bind = move || TcpListener::bind((address, 25)).expect("port 25");
        let first = bind();
        std::thread::spawn(move || {
            let mut listener = Some(first);
            loop {
                let dead = inside.dead_now();
                if dead {
                    listener = None;
                    std::thread::sleep(Duration::from_millis(50));
                    continue;
                }
                let listener = listener.get_or_insert_with(bind);
                listener.set_nonblocking(true).unwrap();
                match listener.accept() {
                    Ok((stream, _)) => {
                        stream.set_nonblocking(false).unwrap();
                        let inside = inside.clone();
                        std::thread::spawn(move || {
                            inside.sessions.fetch_add(1, Ordering::Relaxed);
                            let _ = inside.session(&stream);
                            inside.sessions.fetch_sub(1, Ordering::Relaxed);
                        });
                    }
                    Err(_) => std::thread::sleep(Duration::from_millis(5)),
                }
            }
        });
        Self { nature, address, shared }
    }

    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// From now on it behaves normally; permanent rejections remain.
    pub fn mends(&self) {
        self.shared.well.store(true, Ordering::Relaxed);
    }

    /// How often a recipient's mail came.
    pub fn count(&self, name: &str) -> usize {
        self.shared.taken.lock().unwrap().get(name).map_or(0, |(taken, _)| *taken)
    }

    /// How often it came and was not answered.
    pub fn unanswered(&self, name: &str) -> usize {
        self.shared.taken.lock().unwrap().get(name).map_or(0, |(_, unanswered)| *unanswered)
    }
}

impl Shared {
    fn is(&self, nature: Nature) -> bool {
        self.nature == nature && !self.well.load(Ordering::Relaxed)
    }

    fn dead_now(&self) -> bool {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        self.is(Nature::Dies) && now.as_secs().is_multiple_of(2)
    }

    /// Whether a connection breaks here.
    fn breaks(&self) -> bool {
        (self.is(Nature::Drops) && fastrand::u8(..12) == 0) || self.dead_now()
    }

    fn say(&self, mut stream: &TcpStream, text: &str) -> std::io::Result<()> {
        let octets = format!("{text}\r\n").into_bytes();
        if !self.is(Nature::Drips) {
            return stream.write_all(&octets);
        }
        octets.iter().try_for_each(|octet| {
            std::thread::sleep(Duration::from_millis(5));
            stream.write_all(&[*octet])
        })
    }

    fn session(&self, stream: &TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        if self.is(Nature::Limits) && self.sessions.load(Ordering::Relaxed) > LIMIT {
            return self.say(stream, "421 4.7.0 too many connections");
        }
        self.say(stream, "220 hop.example ESMTP")?;
        let mut lines = BufReader::new(stream).take(u64::MAX);
        let (mut to, mut line) = (Vec::new(), String::new());
        loop {
            line.clear();
            if lines.read_line(&mut line)? == 0 || self.breaks() {
                return Ok(());
            }
            let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
            match verb.as_str() {
                "MAIL" => to.clear(),
                "RCPT" => to.push(local_part(&line)),
                _ => {}
            }
            let refused = verb == "RCPT"
                && self.nature == Nature::Refuses
                && to.last().is_some_and(|name| is_even(name));
            match verb.as_str() {
                "RCPT" if refused => {
                    to.pop();
                    self.say(stream, "550 5.1.1 nobody here")?;
                }
                "DATA" => {
                    self.say(stream, "354 go on")?;
                    loop {
                        line.clear();
                        if lines.read_line(&mut line)? == 0 {
                            return Ok(());
                        }
                        if line == ".\r\n" {
                            break;
                        }
                    }
                    if self.is(Nature::Defers) && fastrand::u8(..3) == 0 {
                        self.say(stream, "451 4.3.0 come again")?;
                        continue;
                    }
                    if self.breaks() {
                        return Ok(());
                    }
                    self.take(&to, stream)?;
                }
                "QUIT" => return self.say(stream, "221 2.0.0 bye"),
                _ => self.say(stream, "250 2.0.0 ok")?,
            }
        }
    }

    /// Accepts the mail, and replies unless the connection breaks just then.
    fn take(&self, to: &[String], stream: &TcpStream) -> std::io::Result<()> {
        let breaks = self.breaks();
        let count = |unanswered: bool| {
            let mut taken = self.taken.lock().unwrap();
            for name in to {
                let entry = taken.entry(name.clone()).or_default();
                *entry = if unanswered { (entry.0, entry.1 + 1) } else { (entry.0 + 1, entry.1) };
            }
        };
        count(false);
        let said = if breaks {
            Err(std::io::ErrorKind::BrokenPipe.into())
        } else {
            self.say(stream, "250 2.0.0 taken")
        };
        if said.is_err() {
            count(true);
        }
        said
    }
}

fn local_part(line: &str) -> String {
    line.split('<').nth(1).and_then(|rest| rest.split('@').next()).unwrap_or_default().to_owned()
}

/// Whether a name such as `n12` has an even number.
fn is_even(name: &str) -> bool {
    name.strip_prefix('n')
        .and_then(|number| number.parse::<usize>().ok())
        .is_some_and(|number| number.is_multiple_of(2))
}

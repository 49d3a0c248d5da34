//! A session: sends an input, and records the replies.

use crate::input::{Input, Step, Who};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

/// Longer than either relay takes for a reply.
const PATIENCE: Duration = Duration::from_secs(15);

/// The network that may relay; the clients of [`Who::Trusted`] and of [`Who::Own`] are in it.
pub const TRUSTED: &str = "127.0.0.0/24";

/// A reply, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// The command before it.
    pub said: String,
    /// Its code; `closed`; `silent`; `-` if there was nothing to reply to.
    pub code: String,
    /// The text after the code, line by line.
    pub lines: Vec<String>,
}

impl Heard {
    /// The id under which the mail was queued, if this reply says so.
    pub fn queued(&self) -> Option<&str> {
        self.lines.last()?.split_once("queued as ").map(|(_, id)| id.trim())
    }
}

/// Connects as this client. Each untrusted client has its own address, so that none is delayed
/// because of another.
fn connect_as(who: Who, number: usize, to: SocketAddr) -> TcpStream {
    let from = match who {
        Who::Own => Ipv4Addr::LOCALHOST,
        Who::Trusted => Ipv4Addr::new(127, 0, 0, 9),
        Who::Stranger => {
            let octet = |number: usize| u8::try_from(number).unwrap();
            Ipv4Addr::new(127, 0, octet(1 + number / 250), octet(1 + number % 250))
        }
    };
    let SocketAddr::V4(to) = to else { panic!("no address of IPv4: {to}") };
    let stream =
        socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    bind(stream.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(from, 0))).unwrap();
    connect(stream.as_raw_fd(), &SockaddrIn::from(to)).unwrap();
    TcpStream::from(stream)
}

/// Runs an input, and gives back every reply, the greeting first.
pub fn run(input: &Input, number: usize, to: SocketAddr) -> Vec<Heard> {
    let stream = connect_as(input.who, number, to);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut talk =
        Talk { reader: BufReader::new(stream), heard: Vec::new(), lines: Vec::new(), over: false };
    talk.listen("the greeting");
    for step in &input.steps {
        match step {
            Step::Send(octets, replies) => {
                talk.send(octets);
                let lines: Vec<&[u8]> = octets.split(|octet| *octet == b'\n').collect();
                for reply in 0..*replies {
                    talk.listen(&label(lines.get(reply).copied().unwrap_or_default()));
                }
            }
            Step::Content(octets) => {
                if talk.heard.last().is_some_and(|heard| heard.code == "354") {
                    talk.send(octets);
                    talk.listen("the end of the content");
                } else {
                    talk.note("the end of the content", "-");
                }
            }
        }
    }
    talk.heard
}

struct Talk {
    reader: BufReader<TcpStream>,
    heard: Vec<Heard>,
    lines: Vec<String>,
    over: bool,
}

impl Talk {
    fn send(&mut self, octets: &[u8]) {
        // A closed connection is noticed by its last reply.
        let _ = self.reader.get_mut().write_all(octets);
    }

    fn note(&mut self, said: &str, code: &str) {
        let lines = std::mem::take(&mut self.lines);
        self.heard.push(Heard { said: said.to_owned(), code: code.to_owned(), lines });
    }

    fn listen(&mut self, said: &str) {
        while !self.over {
            let mut line = Vec::new();
            match self.reader.read_until(b'\n', &mut line) {
                Ok(0) => break,
                Ok(_) => {
                    let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                    self.lines.extend(line.get(4..).map(str::to_owned));
                    if line.as_bytes().get(3) != Some(&b'-') {
                        return self.note(said, line.get(..3).unwrap_or(&line));
                    }
                }
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    return self.note(said, "silent");
                }
                Err(_) => break,
            }
        }
        self.over = true;
        self.note(said, "closed");
    }
}

/// A line in the form for reports.
fn label(line: &[u8]) -> String {
    shortened(line.strip_suffix(b"\r").unwrap_or(line))
}

/// Octets as text: escaped and shortened.
pub fn shortened(octets: &[u8]) -> String {
    let text = octets.escape_ascii().to_string().replace("\\\"", "\"").replace("\\'", "'");
    if text.len() <= 90 {
        return text;
    }
    format!("{}... of {}", &text[..40], octets.len())
}

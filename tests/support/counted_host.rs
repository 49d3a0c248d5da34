//! A next hop that counts: it greets on request, accepts so many connections at a time, and takes a
//! while for each mail.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// What it has counted.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen {
    /// Connections that it greeted.
    pub greeted: usize,
    /// Connections beyond its limit, which it closed without a reply.
    pub closed: usize,
    /// Mails that it took.
    pub mails: usize,
}

#[derive(Default)]
struct State {
    seen: Seen,
    open: bool,
    connections: usize,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// Connections at a time.
    most: usize,
    /// How long the reply to a mail takes.
    pause: Duration,
}

/// The host; its threads end with the test's process.
pub struct CountedHost {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

impl CountedHost {
    /// Listens, and sends no greeting before [`CountedHost::open`].
    pub fn start(address: SocketAddr, most: usize, pause: Duration) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let shared =
            Arc::new(Shared { state: Mutex::default(), changed: Condvar::new(), most, pause });
        let host = Self { address, shared: shared.clone() };
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = shared.clone();
                std::thread::spawn(move || shared.serve(stream));
            }
        });
        host
    }

    /// From now on it greets, waiting connections as well.
    pub fn open(&self) {
        self.shared.state.lock().unwrap().open = true;
        self.shared.changed.notify_all();
    }

    /// What it has seen so far.
    pub fn seen(&self) -> Seen {
        self.shared.state.lock().unwrap().seen
    }
}

impl Shared {
    fn serve(&self, stream: TcpStream) {
        let mut state = self.state.lock().unwrap();
        if state.connections >= self.most {
            state.seen.closed += 1;
            return;
        }
        state.connections += 1;
        drop(
            self.changed
                .wait_while(state, |state| !state.open)
                .unwrap_or_else(PoisonError::into_inner),
        );
        // A client that disconnects is not an error of the host.
        let _ = self.talk(stream);
        self.state.lock().unwrap().connections -= 1;
    }

    fn talk(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.write_all(b"220 at your service\r\n")?;
        self.state.lock().unwrap().seen.greeted += 1;
        let mut lines = BufReader::new(stream.try_clone()?);
        let (mut line, mut content) = (String::new(), false);
        while lines.read_line(&mut line)? > 0 {
            let reply = match (content, line.get(..4).unwrap_or_default()) {
                (true, _) if line == ".\r\n" => {
                    content = false;
                    std::thread::sleep(self.pause);
                    self.state.lock().unwrap().seen.mails += 1;
                    "250 taken\r\n"
                }
                (true, _) => "",
                (false, "DATA") => {
                    content = true;
                    "354 go on\r\n"
                }
                (false, "QUIT") => "221 bye\r\n",
                (false, _) => "250 well\r\n",
            };
            stream.write_all(reply.as_bytes())?;
            line.clear();
        }
        Ok(())
    }
}

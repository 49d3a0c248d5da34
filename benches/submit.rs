//! A load generator and a sink for SMTP with STARTTLS and AUTH, and a line with a delay: what
//! `benches/submission.py` measures with.
//!
//! In: the address of a server. Out: one line of JSON on stdout. A blocking thread for each
//! session, so it costs more than `benches/load`; its CPU time is reported, to be subtracted.
//!
//! ```text
//! cargo build --release --example submit
//! target/release/examples/submit send --to 127.0.0.1:587 --ca ca.pem --messages 2000
//! target/release/examples/submit sink --listen 127.0.0.1:2626 --cert cert.pem --key key.pem
//! target/release/examples/submit delay --listen 127.0.0.1:2727 --to 127.0.0.1:2626 --ms 25
//! ```

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Parser, Subcommand};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant};

/// A login for both sides.
const LOGIN: &str = "\0user\0secret";

/// Time limit of a read.
const PATIENCE: Duration = Duration::from_secs(60);

/// Pieces that are on the way through the delay at the same time, at most, in each direction.
const PIECES_MAX: usize = 4096;

/// Octets that a piece has at most.
const PIECE: usize = 64 * 1024;

#[derive(Parser)]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Send mail to a server, after STARTTLS and AUTH PLAIN
    Send(SendOptions),
    /// Take mail after STARTTLS and AUTH PLAIN, until so many have come
    Sink(SinkOptions),
    /// Pass connections on, each octet so many milliseconds late, in both directions
    Delay(DelayOptions),
}

#[derive(Args)]
struct SendOptions {
    #[arg(long)]
    to: SocketAddr,
    /// The authority of the server's certificate, which is for 127.0.0.1
    #[arg(long)]
    ca: PathBuf,
    #[arg(long, default_value_t = 2000)]
    messages: u32,
    #[arg(long, default_value_t = 5120)]
    size: usize,
    #[arg(long, default_value_t = 20)]
    sessions: usize,
    /// A new connection for each mail
    #[arg(long)]
    new_connections: bool,
}

#[derive(Args)]
struct SinkOptions {
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long)]
    cert: PathBuf,
    #[arg(long)]
    key: PathBuf,
    /// End after so many mails
    #[arg(long)]
    expect: u64,
    /// The file to which the first mail is written
    #[arg(long)]
    sample: Option<PathBuf>,
}

#[derive(Args)]
struct DelayOptions {
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long)]
    to: SocketAddr,
    #[arg(long)]
    ms: u64,
}

fn main() -> ExitCode {
    let done = match Options::parse().command {
        Command::Send(options) => send(&options),
        Command::Sink(options) => sink(&options),
        Command::Delay(options) => delay(&options),
    };
    match done {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("submit: {error}");
            ExitCode::FAILURE
        }
    }
}

/// CPU seconds of this process, user and system.
fn cpu_seconds() -> f64 {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else { return 0.0 };
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Duration::from_micros(micros.unsigned_abs()).as_secs_f64()
}

fn send(options: &SendOptions) -> io::Result<String> {
    let mut authorities = RootCertStore::empty();
    for certificate in certificates(&options.ca)? {
        authorities.add(certificate).map_err(io::Error::other)?;
    }
    let config = ClientConfig::builder().with_root_certificates(authorities).with_no_client_auth();
    let (config, next) = (Arc::new(config), AtomicU32::new(0));
    let begun = Instant::now();
    thread::scope(|scope| {
        let session = || client(options, &config, &next);
        let threads: Vec<_> = (0..options.sessions).map(|_| scope.spawn(session)).collect();
        threads.into_iter().try_for_each(|thread| {
            thread.join().unwrap_or_else(|_| Err(io::Error::other("a thread panicked")))
        })
    })?;
    let seconds = begun.elapsed().as_secs_f64();
    Ok(serde_json::json!({
        "seconds": seconds, "mails": options.messages, "cpu_seconds": cpu_seconds(),
    })
    .to_string())
}

/// One session after the other, until all mails are sent.
fn client(options: &SendOptions, config: &Arc<ClientConfig>, next: &AtomicU32) -> io::Result<()> {
    let mut number = next.fetch_add(1, Ordering::Relaxed);
    while number < options.messages {
        let mut session = Session::connect(options.to, config)?;
        loop {
            session.mail(number, options.size)?;
            number = next.fetch_add(1, Ordering::Relaxed);
            if options.new_connections || number >= options.messages {
                break;
            }
        }
        session.command("QUIT\r\n", '2')?;
    }
    Ok(())
}

type Secure<C> = BufReader<StreamOwned<C, TcpStream>>;

struct Session(Secure<ClientConnection>);

impl Session {
    fn connect(to: SocketAddr, config: &Arc<ClientConfig>) -> io::Result<Self> {
        let stream = TcpStream::connect(to)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut plain = BufReader::new(stream);
        reply(&mut plain, '2')?;
        for command in ["EHLO load.example\r\n", "STARTTLS\r\n"] {
            plain.get_mut().write_all(command.as_bytes())?;
            reply(&mut plain, '2')?;
        }
        let name = ServerName::IpAddress(to.ip().into());
        let tls = ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
        let mut session =
            Self(BufReader::with_capacity(8192, StreamOwned::new(tls, plain.into_inner())));
        session.command("EHLO load.example\r\n", '2')?;
        session.command(&format!("AUTH PLAIN {}\r\n", STANDARD.encode(LOGIN)), '2')?;
        Ok(session)
    }

    fn command(&mut self, text: &str, wanted: char) -> io::Result<()> {
        self.0.get_mut().write_all(text.as_bytes())?;
        reply(&mut self.0, wanted)
    }

    /// A mail; its envelope is pipelined.
    fn mail(&mut self, number: u32, size: usize) -> io::Result<()> {
        let envelope = "MAIL FROM:<from@load.example>\r\nRCPT TO:<to@there.example>\r\nDATA\r\n";
        self.0.get_mut().write_all(envelope.as_bytes())?;
        for wanted in ['2', '2', '3'] {
            reply(&mut self.0, wanted)?;
        }
        let mut content = format!(
            "From: from@load.example\r\nTo: to@there.example\r\nSubject: mail {number}\r\n\
            Date: Fri, 27 Nov 2026 12:00:00 +0000\r\nMessage-ID: <{number}@load.example>\r\n\r\n"
        );
        while content.len() < size {
            content += "a line of seventy octets, as most of those of a mail with much text in\r\n";
        }
        self.command(&(content + ".\r\n"), '2')
    }
}

/// Reads a reply, which must begin like this.
fn reply(stream: &mut impl BufRead, wanted: char) -> io::Result<()> {
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            return Err(io::Error::other("the server closed the connection"));
        }
        if line.as_bytes().get(3) != Some(&b'-') {
            break;
        }
    }
    if line.starts_with(wanted) { Ok(()) } else { Err(io::Error::other(line.trim().to_owned())) }
}

fn certificates(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let found = CertificateDer::pem_file_iter(path).map_err(io::Error::other)?;
    found.collect::<Result<_, _>>().map_err(io::Error::other)
}

fn sink(options: &SinkOptions) -> io::Result<String> {
    let key = PrivateKeyDer::from_pem_file(&options.key).map_err(io::Error::other)?;
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(certificates(&options.cert)?, key)
        .map_err(io::Error::other)?;
    let listener = TcpListener::bind(options.listen)?;
    let (config, mails) = (Arc::new(config), Arc::new(AtomicU64::new(0)));
    let (told, done) = sync_channel(1);
    let connections = Arc::new(AtomicU64::new(0));
    let (expect, sample) = (options.expect, options.sample.clone());
    let counted = connections.clone();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            counted.fetch_add(1, Ordering::Relaxed);
            let (config, mails) = (config.clone(), mails.clone());
            let (told, sample) = (told.clone(), sample.clone());
            thread::spawn(move || {
                let mail = |content: &[u8]| {
                    let number = mails.fetch_add(1, Ordering::Relaxed) + 1;
                    if let (1, Some(path)) = (number, &sample) {
                        std::fs::write(path, content)?;
                    }
                    if number == expect {
                        // Nobody waits any more where this fails.
                        let _ = told.try_send(Instant::now());
                    }
                    Ok(())
                };
                // The next hop of a server: a connection that breaks is its business.
                let _ = server(stream, &config, mail);
            });
        }
    });
    let begun = Instant::now();
    let last = done.recv().map_err(io::Error::other)?;
    let seconds = last.duration_since(begun).as_secs_f64();
    // The last reply is on its way.
    thread::sleep(Duration::from_millis(500));
    Ok(serde_json::json!({
        "seconds": seconds, "cpu_seconds": cpu_seconds(),
        "connections": connections.load(Ordering::Relaxed),
    })
    .to_string())
}

/// One connection to the sink.
fn server(
    stream: TcpStream,
    config: &Arc<ServerConfig>,
    mail: impl Fn(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut plain = BufReader::new(stream);
    plain.get_mut().write_all(b"220 sink\r\n")?;
    let mut line = String::new();
    loop {
        line.clear();
        if plain.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let starts = line.to_ascii_uppercase().starts_with("STARTTLS");
        let answer = if starts { "220 go\r\n" } else { "250-sink\r\n250 STARTTLS\r\n" };
        plain.get_mut().write_all(answer.as_bytes())?;
        if starts {
            break;
        }
    }
    let tls = ServerConnection::new(config.clone()).map_err(io::Error::other)?;
    let mut secure = BufReader::with_capacity(8192, StreamOwned::new(tls, plain.into_inner()));
    let mut content = Vec::new();
    loop {
        line.clear();
        if secure.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let answer = match line.get(..4).unwrap_or_default().to_ascii_uppercase().as_str() {
            "EHLO" => "250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 AUTH PLAIN\r\n",
            "AUTH" => "235 2.7.0 welcome\r\n",
            "QUIT" => "221 2.0.0 bye\r\n",
            "DATA" => {
                secure.get_mut().write_all(b"354 go\r\n")?;
                content.clear();
                while !content.ends_with(b"\r\n.\r\n") {
                    if secure.read_until(b'\n', &mut content)? == 0 {
                        return Ok(());
                    }
                }
                mail(&content)?;
                "250 2.0.0 taken\r\n"
            }
            _ => "250 2.0.0 fine\r\n",
        };
        secure.get_mut().write_all(answer.as_bytes())?;
    }
}

fn delay(options: &DelayOptions) -> io::Result<String> {
    let listener = TcpListener::bind(options.listen)?;
    let late = Duration::from_millis(options.ms);
    for here in listener.incoming().flatten() {
        let there = TcpStream::connect(options.to)?;
        for stream in [&here, &there] {
            stream.set_nodelay(true)?;
        }
        pass(here.try_clone()?, there.try_clone()?, late);
        pass(there, here, late);
    }
    Ok("{}".to_owned())
}

/// Passes what comes in on, so much later.
fn pass(mut from: TcpStream, mut to: TcpStream, late: Duration) {
    let (sender, pieces) = sync_channel::<(Instant, Vec<u8>)>(PIECES_MAX);
    thread::spawn(move || {
        let mut buffer = vec![0; PIECE];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            if sender.send((Instant::now() + late, buffer[..count].to_vec())).is_err() {
                break;
            }
        }
    });
    thread::spawn(move || {
        for (due, piece) in pieces {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&piece).is_err() {
                break;
            }
        }
        // The other side may have closed it.
        let _ = to.shutdown(std::net::Shutdown::Write);
    });
}

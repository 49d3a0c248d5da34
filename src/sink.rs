//! `postern sink`: a destination for tests.
//!
//! Purpose: accepts every mail and discards it, or stores it in a maildir, or fails on demand.
//! Counts accepted mail. It uses the same modules as the relay's receiving side (accept, parse), so
//! its SMTP is the same, and nothing of it is durable. Limits: content up to 1 GiB, never held in
//! memory; no other limit, since it is made for load tests. Security: it accepts all mail from all
//! clients and relays nothing. For tests, not for the Internet.

mod failures;
mod maildir;
mod session;
mod tally;

use crate::ground::net::{self, ConnectionLimits, Peer, PeerClass};
use crate::mail::accept::counters::AcceptCounters;
use crate::mail::accept::{self, Limits, SmtpListener};
use crate::mail::model::Envelope;
use crate::mail::parse::SessionLimits;
pub use failures::InjectedFailure;
use maildir::make_maildir;
use session::SinkSession;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tally::{CONTENT_MAX, Sink, Tally};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

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
    pub fail: Vec<InjectedFailure>,
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
    let listener = net::bind(args.listen).map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("cannot listen on {}: {error}; choose another --listen", args.listen),
        )
    })?;
    println!("postern sink: listening on {}", listener.local_addr()?);
    let sink = Arc::new(Sink {
        rules: SessionLimits {
            recipients_limit: Envelope::RECIPIENTS_MAX,
            errors_limit: usize::MAX,
            mails_limit: usize::MAX,
            idle_commands_limit: usize::MAX,
            ..SessionLimits::for_trials("sink.postern", CONTENT_MAX)
        },
        limits: Limits::from(ConnectionLimits {
            sessions: usize::MAX,
            sessions_per_address: usize::MAX,
            ..Limits::default().connection
        }),
        fail: args.fail,
        maildir: args.maildir,
        tally: Tally::default(),
    });
    let counters = AcceptCounters::alone().map_err(io::Error::other)?;
    // The sessions of a sink are never stopped: this value is kept so that the channel stays open.
    let (_running, stop) = watch::channel(None);
    let shared = Arc::clone(&sink);
    let session = move |wire, peer: Peer| {
        let sink = Arc::clone(&shared);
        async move { SinkSession::new(&sink, wire, peer.address).run().await }
    };
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut pace = tokio::time::interval(Duration::from_secs(5));
    let serving = accept::serve(
        vec![SmtpListener::plain(listener)],
        &sink.limits,
        &sink.rules.hostname,
        counters,
        stop,
        |_: IpAddr| PeerClass::Trusted,
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

#[cfg(test)]
mod tests {
    use super::*;

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

//! A load generator and a sink that cost less than the server between them: what
//! `benches/throughput.py` measures with.
//!
//! In: the address of a server, of a sink, or both. Out: one line of JSON on stdout. One thread
//! each, epoll, as few system calls a mail as SMTP allows, everything written beforehand but the
//! number of the mail. Each mail carries an id, so that the sink knows whether each came and came
//! once; in one process (`both`) they share a clock, so that it also knows when.
//!
//! ```text
//! cargo build --release --example load
//! target/release/examples/load both --to 127.0.0.1:2525 --sink 127.0.0.1:2626 --messages 20000
//! target/release/examples/load both --to 127.0.0.1:2525 --sink 127.0.0.1:2626 --messages 600 --sessions 4 --rate 20
//! target/release/examples/load sink --listen 127.0.0.1:2626 --refuse dead.example=450 --delay slow.example=5000
//! target/release/examples/load send --to 127.0.0.1:2525 --messages 1000000 --recipient 'to@d{}.example' --domains 1000
//! ```
//!
//! It ends with 1 when a mail was refused, got no answer, was lost or came twice.

mod generator;
mod ledger;
mod mail;
mod options;
mod report;
mod sink;
mod socket;

use clap::Parser;
use generator::Generator;
use ledger::Ledger;
use options::{Command, Options, Send};
use report::{Report, Side};
use sink::Sink;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// An error of the tool, as text.
type Outcome<T> = Result<T, String>;

fn main() -> ExitCode {
    let done = match Options::parse().command {
        Command::Send(send) => run(Some(&send), None),
        Command::Sink(sink) => run(None, Some(&sink)),
        Command::Both { send, sink } => run(Some(&send), Some(&sink)),
    };
    match done {
        Ok(report) => {
            println!("{}", report.json());
            if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(words) => {
            eprintln!("load: {words}");
            ExitCode::from(2)
        }
    }
}

/// Both sides are ready before the first starts; each runs in a thread of its own, whose CPU time
/// is reported.
fn run(send: Option<&Send>, sink: Option<&options::Sink>) -> Outcome<Report> {
    let ledger = Arc::new(Ledger::new(send.map_or(0, |send| send.messages)));
    let (told, results) = channel();
    let mut sides = 0;
    if let Some(options) = sink {
        // Without a generator it is not known when the last mail has come.
        let stop = if send.is_none() { Some(socket::stop_signals()?) } else { None };
        let sink = Sink::new(options, Arc::clone(&ledger), stop)?;
        let told = told.clone();
        thread::spawn(move || drop(told.send(Side::Sink(sink.run()))));
        sides += 1;
    }
    if let Some(options) = send {
        let generator = Generator::new(options, Arc::clone(&ledger))?;
        thread::spawn(move || drop(told.send(Side::Generator(generator.run()))));
        sides += 1;
    }
    let mut report = Report::default();
    while sides > 0 {
        match results.recv_timeout(Duration::from_secs(1)) {
            Ok(side) => {
                report.take(side)?;
                sides -= 1;
            }
            Err(RecvTimeoutError::Timeout) => progress(&ledger),
            Err(RecvTimeoutError::Disconnected) => {
                return Err("a thread ended without a word".to_owned());
            }
        }
    }
    report.close(&ledger, send.is_some(), sink.is_some());
    Ok(report)
}

fn progress(ledger: &Ledger) {
    if std::io::stderr().is_terminal() {
        eprintln!("load: {} answered, {} arrived", ledger.answers(), ledger.arrivals());
    }
}

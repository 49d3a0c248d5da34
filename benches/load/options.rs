//! The command line.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;

/// A load generator and a sink for SMTP, made to cost little.
#[derive(Parser)]
#[command(name = "load")]
pub struct Options {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Send mail to a server
    Send(Send),
    /// Take mail, until so many have come or until SIGTERM
    Sink(Sink),
    /// Send to a server that relays to the sink of this same process
    Both {
        #[command(flatten)]
        send: Send,
        #[command(flatten)]
        sink: Sink,
    },
}

#[derive(Args)]
pub struct Send {
    /// The server
    #[arg(long, value_name = "HOST:PORT")]
    pub to: SocketAddr,
    /// How many mails in all
    #[arg(long, default_value_t = 10_000)]
    pub messages: u32,
    /// Octets of each mail, header included
    #[arg(long, default_value_t = 5120)]
    pub size: usize,
    /// Sessions at the same time
    #[arg(long, default_value_t = 20)]
    pub sessions: usize,
    /// A new connection for each mail
    #[arg(long)]
    pub new_connections: bool,
    /// What is written at once
    #[arg(long, value_enum, default_value = "commands")]
    pub grouping: Grouping,
    /// Mails per second in all; as fast as the server answers without it
    #[arg(long)]
    pub rate: Option<f64>,
    /// The sender
    #[arg(long, default_value = "from@load.example")]
    pub sender: String,
    /// The recipient; {} stands for the number of the mail modulo --domains, in four digits
    #[arg(long, default_value = "to@load.example")]
    pub recipient: String,
    /// How many recipients {} makes
    #[arg(long, default_value_t = 1)]
    pub domains: u32,
    /// Give up after so many seconds in which nothing went on
    #[arg(long, default_value_t = 60)]
    pub patience: u64,
    /// Write the ids of the mails that were answered with 250, one a line
    #[arg(long, value_name = "FILE")]
    pub acknowledged: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Grouping {
    /// One command, one reply
    None,
    /// MAIL, RCPT and DATA in one write, the content in the next (RFC 2920)
    Commands,
    /// The content of one mail and the commands of the next in one write (RFC 2920, section 3.1)
    Mails,
}

#[derive(Args)]
pub struct Sink {
    /// Where to listen; may be given several times
    #[arg(long = "listen", visible_alias = "sink", value_name = "HOST:PORT", required = true)]
    pub listen: Vec<SocketAddr>,
    /// End after so many mails (without a generator beside it)
    #[arg(long)]
    pub expect: Option<u64>,
    /// Refuse recipients of a domain with this code
    #[arg(long, value_name = "DOMAIN=CODE", value_parser = named::<u16>)]
    pub refuse: Vec<(String, u16)>,
    /// Answer the content of mails to a domain so many milliseconds late
    #[arg(long, value_name = "DOMAIN=MS", value_parser = named::<u64>)]
    pub delay: Vec<(String, u64)>,
    /// Write the ids of the mails that came, one a line, one line for each time that it came
    #[arg(long, value_name = "FILE")]
    pub arrived: Option<PathBuf>,
}

fn named<T: std::str::FromStr>(text: &str) -> Result<(String, T), String> {
    let (name, value) = text.split_once('=').ok_or("it has the form DOMAIN=NUMBER")?;
    let value = value.parse().map_err(|_| format!("'{value}' is no number"))?;
    Ok((name.to_ascii_lowercase(), value))
}

//! The command line; nothing else.

use clap::{CommandFactory, Parser, Subcommand};
use postern::appliance::failure::Exit;
use postern::appliance::{class, property, supervise};
use postern::cli::QueueArgs;
use postern::cli::dkim::{self, DkimArgs};
use postern::cli::manual::{self, CompletionsArgs, ManArgs};
use postern::cli::route::{self, RouteArgs};
use postern::cli::upstream::{self, UpstreamArgs};
use postern::demo::DemoArgs;
use postern::ground::sys::Allocator;
use postern::sink::SinkArgs;
use std::io::Write as _;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

/// Postern, a mail relay appliance: one binary, set up by environment variables, that never loses a
/// mail it accepted.
#[derive(Parser)]
#[command(name = "postern", version, after_help = EXAMPLES, max_term_width = 100)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
All settings are environment variables that begin with MTA_; `postern describe` lists them.

See one running, with some undelivered mail, without root:
  postern demo

Try it on a laptop, without root, with all mail going to one server:
  mkdir data; export MTA_SMTP_PORT=2525 MTA_UI_PORT=8025 MTA_VOLUME_DATA=$PWD/data
  MTA_SMART_RELAY=mail.example.com postern init
  postern health && echo ready          (in another shell, same exports)

No mail server at hand? `postern sink --listen 127.0.0.1:2526` accepts and counts mail;
set MTA_SMART_RELAY=127.0.0.1:2526.

Something is wrong:
  postern check             are the properties right, and who may relay?
  postern health            is the appliance ready, and if not, why?
  postern queue list        which mail is queued, and what was the last error?
  postern route TO          where does mail to TO go, and may a client send it?
  postern upstream test default   why does the smart relay take no mail?
  postern queue verify      is the queue on an unused volume intact?
  /var/log/appliance/log    why did it not start? (not root: log/appliance/log in run_dir)

Exit codes: 64 wrong property or command line, 65 damaged or refused mail, 66 missing key or \
certificate,
69 a service or terminal is unavailable, 70 a defect, 73 cannot create, 75 try again shortly,
77 permission; 1: `check` expects a start to fail, or an action was not confirmed;
`init` ends with 128 + the signal that stopped it.";

#[derive(Subcommand)]
enum Command {
    /// Run the appliance: properties, volumes, terminals, then the SMTP core under supervision
    Init,
    /// The SMTP core alone; `postern init` starts it
    #[command(hide = true)]
    Core,
    /// Copy the mail log to its share; `postern init` starts it
    #[command(hide = true)]
    Carrier,
    /// Check every property; show its value, where it came from, and who may relay
    Check,
    /// Inspect and manage the queue of the running relay, export and import mail, verify a data
    /// volume
    Queue(Box<QueueArgs>),
    /// Test where a message would go, and whether its client may send it
    Route(RouteArgs),
    /// Show the DNS records of the DKIM keys, and check them in DNS
    Dkim(DkimArgs),
    /// List the upstreams and how each of them fares; test one
    Upstream(UpstreamArgs),
    /// Receive mail for trials and tests: count it, keep it, or fail on demand
    Sink(SinkArgs),
    /// Start a relay with some undelivered mail, to try its web UI and to send mail to
    Demo(DemoArgs),
    /// Ask the running appliance whether it is ready; exit 0 when it is
    Health {
        /// List what is wrong, ready or not
        #[arg(long, short)]
        verbose: bool,
    },
    /// Print the class of the appliance: its properties, terminals, volumes, counters, errors,
    /// software
    Describe {
        /// Output format
        #[arg(long, value_enum, default_value = "toml")]
        format: class::Format,
    },
    /// Print a script by which a shell completes commands and options
    Completions(CompletionsArgs),
    /// Print the manual page of the program or of a command, or write them all
    Man(ManArgs),
}

/// For `docker run IMAGE check`: the image's entry point is `postern init`, and the arguments after
/// IMAGE are appended to it.
fn image_hint() -> Option<String> {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let (first, second) = (words.first()?, words.get(1)?);
    let is_command = CommandLine::command().find_subcommand(second).is_some();
    (first == "init" && is_command).then(|| {
        format!(
            "In a container: docker run --rm --entrypoint postern IMAGE {second}; in a running \
            one: docker exec NAME postern {second}"
        )
    })
}

fn main() -> ExitCode {
    let line = match CommandLine::try_parse() {
        Ok(line) => line,
        Err(told) => {
            // Requests for help and version are not errors.
            let code = if told.use_stderr() { Exit::Property.code() } else { 0 };
            let _ = told.print();
            if let Some(hint) = image_hint() {
                let _ = writeln!(std::io::stderr(), "{hint}");
            }
            return ExitCode::from(code);
        }
    };
    match line.command {
        Command::Init => postern::init::run(),
        Command::Core => postern::core::run(),
        Command::Carrier => postern::carrier_process::run(),
        Command::Check => property::check::run(),
        Command::Queue(args) => postern::volumes::run(*args),
        Command::Route(args) => route::run(args),
        Command::Dkim(args) => dkim::run(args),
        Command::Upstream(args) => upstream::run(args),
        Command::Sink(args) => postern::sink::run(args),
        Command::Demo(args) => postern::demo::run(args),
        Command::Health { verbose } => supervise::health::run(verbose),
        Command::Describe { format } => class::run(format),
        Command::Completions(args) => manual::completions(args, &CommandLine::command()),
        Command::Man(args) => manual::man(&args, CommandLine::command()),
    }
}

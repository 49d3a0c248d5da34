//! `postern upstream`: the upstreams, how each of them fares, and a test of one.
//!
//! In: perhaps a name. Out: what the running relay answers to `GET /api/v1/upstreams`, for people
//! or as JSON; of `POST /api/v1/upstreams/NAME/test` the dialogue, line by line with its times.
//! Exit codes: 0 all is well, 1 an upstream is in trouble, and those of `postern queue`.

use super::api_client::Core;
use super::shared_text::print_json;
use super::table::TextTable;
use super::tool_error::{EX_DECLINED, EX_OK, EX_USAGE, ToolError, exit_code, flushed};
use super::{runtime, sockets};
use crate::api::{UpstreamTestOrder, UpstreamTestView, UpstreamView, UpstreamsView};
use crate::ground::display_text::{harmless, shorten};
use clap::{Args, Subcommand};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// Characters of an error.
const ERROR_SHOWN: usize = 400;

/// The text of `postern upstream --help`.
const EXAMPLES: &str = "\
  postern upstream list
  postern upstream test default
  postern upstream test default --from shop@example.com --to anna@example.org

A test looks the host up, connects, says EHLO, STARTTLS and AUTH, with --to also MAIL and RCPT, and
sends no mail.

Exit codes: 0 all is well, 1 an upstream is in trouble or the test found why it takes no mail, 64
wrong arguments, 66 there is no such upstream, 69 no relay is running.";

/// The arguments of `postern upstream`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct UpstreamArgs {
    #[command(subcommand)]
    command: UpstreamCommand,
    /// Print JSON on one line
    #[arg(long, global = true)]
    json: bool,
    /// The control socket of the running appliance [default: control.sock in MTA_RUN_DIR,
    /// /run/postern or the user's own run directory]
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum UpstreamCommand {
    /// List the upstreams, those in trouble first
    List,
    /// Run the dialogue of a delivery with one upstream, without a mail, and show it
    Test {
        /// Its name, as 'postern upstream list' shows it; smart_relay is 'default'
        name: String,
        /// The sender that is tried [default: the null sender]
        #[arg(long, value_name = "ADDRESS", default_value = "", hide_default_value = true)]
        from: String,
        /// The recipient that is tried; without it the test ends after the login
        #[arg(long, value_name = "ADDRESS", default_value = "", hide_default_value = true)]
        to: String,
    },
}

/// Runs the command.
pub fn run(args: UpstreamArgs) -> ExitCode {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let told = tell(args, &mut out);
    exit_code("postern upstream", told.and_then(|code| flushed(&mut out, code)))
}

fn tell(args: UpstreamArgs, out: &mut dyn Write) -> Result<u8, ToolError> {
    let core = Core::find(sockets(args.socket))?;
    match args.command {
        UpstreamCommand::List => {
            let view: UpstreamsView = runtime()?.block_on(core.get("/api/v1/upstreams"))?;
            if args.json {
                print_json(out, &view)?;
            } else {
                list(&view.upstreams, out)?;
            }
            let in_trouble = view.upstreams.iter().any(|upstream| upstream.state.is_trouble());
            Ok(if in_trouble { EX_DECLINED } else { EX_OK })
        }
        UpstreamCommand::Test { name, from, to } => {
            let order = UpstreamTestOrder { from, to };
            let path = format!("/api/v1/upstreams/{}/test", in_path(&name)?);
            let view: UpstreamTestView = runtime()?.block_on(core.post(&path, &order))?;
            if args.json {
                print_json(out, &view)?;
            } else {
                dialogue(&view, out)?;
            }
            Ok(if view.well { EX_OK } else { EX_DECLINED })
        }
    }
}

fn list(upstreams: &[UpstreamView], out: &mut dyn Write) -> io::Result<()> {
    if upstreams.is_empty() {
        return writeln!(out, "there is no upstream: see smart_relay and docs/upstreams.md");
    }
    let mut table = TextTable::new(
        &["NAME", "HOST", "STATE", "OPEN", "SENT 1H", "FAILED 1H", "LOGIN", "TLS"],
        &[20, 50, 16, 7, 9, 9, 60, 120],
    );
    for upstream in upstreams {
        let most = upstream.connections_max.map(|most| format!("/{most}")).unwrap_or_default();
        table.row(&[
            &upstream.name,
            &upstream.host,
            upstream.state.words(),
            &format!("{}{most}", upstream.connections),
            &upstream.last_hour.sent.to_string(),
            &upstream.last_hour.failed.to_string(),
            &login(upstream),
            &upstream.tls.words(),
        ]);
    }
    table.write(out)?;
    for upstream in upstreams.iter().filter(|upstream| upstream.state.is_trouble()) {
        trouble(upstream, out)?;
    }
    Ok(())
}

/// A name that can be a step of a path.
fn in_path(name: &str) -> Result<&str, ToolError> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if !name.is_empty() && name.chars().all(is_plain) {
        return Ok(name);
    }
    let words =
        format!("'{name}' is not the name of an upstream; 'postern upstream list' has them");
    Err(ToolError::new(EX_USAGE, words))
}

fn dialogue(view: &UpstreamTestView, out: &mut dyn Write) -> io::Result<()> {
    for step in &view.steps {
        let (mark, text) = (step.kind.mark(), harmless(&step.text));
        writeln!(out, "{:>8.3} {mark} {text}", step.seconds)?;
    }
    if view.well {
        return writeln!(out, "\n{} takes mail: all steps went well.", view.upstream);
    }
    writeln!(out, "\n{} takes no mail: {}", view.upstream, harmless(&view.problem))?;
    writeln!(out, "{}", view.advice)
}

fn login(upstream: &UpstreamView) -> String {
    let login = &upstream.login;
    match (&login.username, &login.mechanism) {
        (Some(name), Some(mechanism)) => format!("{name} by {mechanism}"),
        (Some(name), None) => name.clone(),
        _ => "none".to_owned(),
    }
}

fn trouble(upstream: &UpstreamView, out: &mut dyn Write) -> io::Result<()> {
    let since = upstream.since.as_ref().map(|since| format!(" since {since}"));
    write!(out, "\n{} {}{}", upstream.name, upstream.state.words(), since.unwrap_or_default())?;
    if let Some(until) = &upstream.paused_until {
        write!(out, ", asked again at {until}")?;
    }
    if upstream.refused_senders > 0 {
        write!(out, ", refused senders: {}", upstream.refused_senders)?;
    }
    writeln!(out)?;
    if !upstream.last_error.is_empty() {
        writeln!(out, "  {}", shorten(&harmless(&upstream.last_error), ERROR_SHOWN))?;
    }
    Ok(())
}

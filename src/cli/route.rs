//! `postern route`: where a mail would go, and whether its client might send it.
//!
//! In: addresses. Out: what the running relay answers to `GET /api/v1/route`, for people or as
//! JSON. Exit codes: 0 the message would be accepted and can be delivered, 1 it would not or
//! cannot, and those of `postern queue`.

use super::api_client::Core;
use super::shared_text::{null_sender, print_json};
use super::tool_error::{EX_DECLINED, EX_OK, ToolError};
use super::{runtime, sockets};
use crate::api::{NO_ACCOUNTS, RouteTestView, TargetView};
use crate::ground::display_text::{harmless, shorten};
use clap::Args;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// Characters of a line's value.
const SHOWN: usize = 500;

/// Of these, characters of the reason for which a host is not used.
const REFUSAL_SHOWN: usize = 200;

/// The text of `postern route --help`.
const EXAMPLES: &str = "\
  postern route anna@example.org
  postern route anna@example.org --from shop@example.com --client 192.0.2.7

Exit codes: 0 the message would be accepted and has a route, 1 it would be rejected or has none,
64 wrong arguments, 69 no relay is running.";

/// The arguments of `postern route`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct RouteArgs {
    /// The recipient
    #[arg(value_name = "TO")]
    to: String,
    /// The sender [default: the null sender, as of bounces]
    #[arg(long, value_name = "ADDRESS", default_value = "", hide_default_value = true)]
    from: String,
    /// The IP address of the client that would send the message; without it the test does not check
    /// whether it may
    #[arg(long, value_name = "IP", default_value = "", hide_default_value = true)]
    client: String,
    /// Print JSON on one line
    #[arg(long)]
    json: bool,
    /// The control socket of the running appliance [default: control.sock in MTA_RUN_DIR,
    /// /run/postern or the user's own run directory]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: RouteArgs) -> ExitCode {
    ExitCode::from(run_to(args, &mut io::stdout().lock(), &mut io::stderr().lock()))
}

/// The same with given outputs; returns the exit code.
pub fn run_to(args: RouteArgs, out: &mut dyn Write, complaints: &mut dyn Write) -> u8 {
    let mut out = io::BufWriter::new(out);
    let told = tell(args, &mut out);
    match told.and_then(|code| out.flush().map(|()| code).map_err(ToolError::from)) {
        Ok(code) => code,
        Err(trouble) => {
            if !trouble.words.is_empty() {
                // If standard error is closed, the message is not needed.
                let _ = writeln!(complaints, "postern route: {}", trouble.words);
            }
            trouble.code
        }
    }
}

fn tell(args: RouteArgs, out: &mut dyn Write) -> Result<u8, ToolError> {
    let query: String = form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("to", &args.to), ("from", &args.from), ("client", &args.client)])
        .finish();
    let view: RouteTestView = runtime()?.block_on(async {
        Core::find(sockets(args.socket))?.get(&format!("/api/v1/route?{query}")).await
    })?;
    if args.json {
        print_json(out, &view)?;
    } else {
        table(&view, out)?;
    }
    Ok(if view.would_go() { EX_OK } else { EX_DECLINED })
}

fn table(view: &RouteTestView, out: &mut dyn Write) -> io::Result<()> {
    line(out, "To", &view.to)?;
    line(out, "From", null_sender(&view.from))?;
    if let Some(client) = &view.client {
        line(out, "Client", &client.words())?;
    }
    if let Some(reply) = &view.queue_reply {
        line(out, "Queue", &format!("accepts no mail: {reply}"))?;
    }
    for account in &view.accounts {
        let may = if account.may_send { "may" } else { "may not" };
        line(out, "HTTP", &format!("{may} be sent {}", account.words()))?;
    }
    if view.accounts.is_empty() {
        line(out, "HTTP", NO_ACCOUNTS)?;
    }
    for target in &view.targets {
        writeln!(out)?;
        target_table(target, out)?;
    }
    Ok(())
}

fn target_table(target: &TargetView, out: &mut dyn Write) -> io::Result<()> {
    line(out, "Destination", &format!("{}, by {}", target.destination, target.rule_words()))?;
    if let Some(error) = &target.error {
        line(out, "Error", error)?;
    }
    line(out, "Hosts by", &target.lookup_words())?;
    for host in &target.hosts {
        let preference = host.preference.map(|preference| format!("{preference} "));
        let mut words = format!("{}{}", preference.unwrap_or_default(), host.host);
        // Before the addresses, because a long line is cut at its end.
        if let Some(refusal) = host.refusal() {
            words += &format!(" (not used: {})", shorten(&refusal, REFUSAL_SHOWN));
        }
        if !host.addresses.is_empty() {
            words += &format!(" {}", host.addresses.join(", "));
        }
        line(out, "Host", &words)?;
    }
    line(out, "TLS", &target.tls_words())?;
    let since = target.status.unreachable_since.as_ref();
    let since = since.map(|since| format!("; unreachable since {since}")).unwrap_or_default();
    line(out, "Now", &format!("{}{since}", target.status.words()))?;
    if !target.status.last_error.is_empty() {
        line(out, "Last error", &target.status.last_error)?;
    }
    Ok(())
}

fn line(out: &mut dyn Write, name: &str, value: &str) -> io::Result<()> {
    writeln!(out, "{name:<12} {}", shorten(&harmless(value), SHOWN))
}

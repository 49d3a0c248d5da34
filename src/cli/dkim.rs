//! `postern dkim`: the domains that sign, the records that they need in DNS, whether DNS has them,
//! and other keys for a domain.
//!
//! In: perhaps a domain. Out: what the running relay answers to `GET /api/v1/dkim` and
//! `POST /api/v1/dkim/rotate`, for people or as JSON. Exit codes: 0 all is well, 1 a domain cannot
//! sign or a record is not as it should be, and those of `postern queue`.

use super::api_client::Core;
use super::shared_text::print_json;
use super::table::TextTable;
use super::tool_error::{EX_DECLINED, EX_OK, ToolError, exit_code, flushed};
use super::{runtime, sockets};
use crate::api::{
    DkimDomainView, DkimKeyView, DkimRotateOrder, DkimRotationView, DkimView, RecordView,
};
use crate::ground::display_text::harmless;
use clap::{Args, Subcommand};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// The text of `postern dkim --help`.
const EXAMPLES: &str = "\
  postern dkim show example.org      the records to publish
  postern dkim check                 are they in DNS, and SPF, DMARC and the host name?
  postern dkim rotate example.org    new keys, which sign once their records are in DNS

Exit codes: 0 all is well, 1 a domain cannot sign or a record is not as it should be,
64 wrong arguments, 69 no relay is running.";

/// The arguments of `postern dkim`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DkimArgs {
    #[command(subcommand)]
    command: DkimCommand,
    /// Print JSON on one line
    #[arg(long, global = true)]
    json: bool,
    /// The control socket of the running appliance [default: control.sock in MTA_RUN_DIR,
    /// /run/postern or the user's own run directory]
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum DkimCommand {
    /// Print the DNS records of the keys, for a zone file and as plain values
    Show {
        /// One domain [default: all]
        domain: Option<String>,
    },
    /// Look up in DNS whether the records are there, and SPF, DMARC and the host name of the relay
    Check {
        /// One domain [default: the first twenty]
        domain: Option<String>,
    },
    /// Make new keys for a domain, and print their records: once DNS has these, they sign
    #[command(after_help = ROTATE_HELP)]
    Rotate {
        /// The domain
        domain: String,
        /// Sign with the new keys at once, even if DNS does not have their records: receivers
        /// cannot verify such signatures
        #[arg(long)]
        now: bool,
    },
}

/// The text below `postern dkim rotate --help`.
const ROTATE_HELP: &str = "\
The present keys go on signing until DNS has the records of the new ones, which the relay looks up
every five minutes, and 'postern dkim check' at once. The same command again prints the records
again. The records of the former keys must stay in DNS for a week after that. Keys on the key volume
are not touched: see docs/dkim.md.";

/// Runs the command.
pub fn run(args: DkimArgs) -> ExitCode {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let told = tell(args, &mut out);
    exit_code("postern dkim", told.and_then(|code| flushed(&mut out, code)))
}

fn tell(args: DkimArgs, out: &mut dyn Write) -> Result<u8, ToolError> {
    let (domain, check) = match args.command {
        DkimCommand::Show { domain } => (domain, "no"),
        DkimCommand::Check { domain } => (domain, "yes"),
        DkimCommand::Rotate { domain, now } => {
            let order = DkimRotateOrder { domain, now };
            let rotation: DkimRotationView = runtime()?.block_on(async {
                Core::find(sockets(args.socket))?.post("/api/v1/dkim/rotate", &order).await
            })?;
            match args.json {
                true => print_json(out, &rotation)?,
                false => rotated(&rotation, out)?,
            }
            return Ok(EX_OK);
        }
    };
    let query: String = form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("domain", domain.as_deref().unwrap_or_default()), ("check", check)])
        .finish();
    let view: DkimView = runtime()?.block_on(async {
        Core::find(sockets(args.socket))?.get(&format!("/api/v1/dkim?{query}")).await
    })?;
    match (args.json, check) {
        (true, _) => print_json(out, &view)?,
        (_, "no") => show(&view, out)?,
        _ => table(&view, out)?,
    }
    let records = view.domains.iter().filter_map(|domain| domain.records.as_ref()).flatten();
    let all_right = records.chain(&view.hosts).all(|record| record.verdict == "right");
    let all_sign = view.domains.iter().all(|domain| domain.problem.is_none());
    Ok(if all_right && all_sign { EX_OK } else { EX_DECLINED })
}

/// What became of an order to change keys.
fn rotated(rotation: &DkimRotationView, out: &mut dyn Write) -> io::Result<()> {
    let domain = &rotation.domain;
    let name = harmless(&domain.domain);
    if rotation.step == "switched" {
        writeln!(out, "; {name} signs with {} from now on", harmless(&domain.selector))?;
        writeln!(out, "; if DNS does not have these records yet, publish them now:\n")?;
        keys(domain, &domain.keys, out)?;
        return retired(domain, out);
    }
    next(domain, out)?;
    retired(domain, out)
}

/// The keys that sign next.
fn next(domain: &DkimDomainView, out: &mut dyn Write) -> io::Result<()> {
    let Some(next) = &domain.next else { return Ok(()) };
    let (name, present) = (harmless(&domain.domain), harmless(&domain.selector));
    writeln!(out, "; publish these records; {name} signs with {present} until DNS has them:\n")?;
    keys(domain, &next.keys, out)
}

/// The former keys.
fn retired(domain: &DkimDomainView, out: &mut dyn Write) -> io::Result<()> {
    for former in &domain.retired {
        let name = format!("{}._domainkey.{}", former.selector, domain.domain);
        let ed25519 = format!("{}-ed25519._domainkey.{}", former.selector, domain.domain);
        let (name, ed25519) = (harmless(&name), harmless(&ed25519));
        match former.removable {
            true => writeln!(out, "; out of use, remove: {name}, {ed25519}")?,
            false => {
                let until = &former.record_stays_until;
                writeln!(out, "; out of use, must stay until {until}: {name}, {ed25519}")?;
            }
        }
    }
    Ok(())
}

fn show(view: &DkimView, out: &mut dyn Write) -> io::Result<()> {
    if view.domains.is_empty() {
        return writeln!(out, "no domain signs: see dkim_domains and docs/dkim.md");
    }
    for domain in &view.domains {
        problem(domain, out)?;
        keys(domain, &domain.keys, out)?;
        next(domain, out)?;
        retired(domain, out)?;
    }
    Ok(())
}

/// The records of keys.
fn keys(domain: &DkimDomainView, keys: &[DkimKeyView], out: &mut dyn Write) -> io::Result<()> {
    for key in keys {
        writeln!(out, "; {}, {}", harmless(&domain.domain), key.algorithm)?;
        writeln!(out, "{}", harmless(&key.zone))?;
        writeln!(out, "; for a form: name {}, value", harmless(&key.name))?;
        writeln!(out, "; {}\n", harmless(&key.value))?;
    }
    Ok(())
}

fn problem(domain: &DkimDomainView, out: &mut dyn Write) -> io::Result<()> {
    match &domain.problem {
        Some(problem) => {
            writeln!(out, "; {} cannot sign: {}", harmless(&domain.domain), harmless(problem))
        }
        None => Ok(()),
    }
}

fn table(view: &DkimView, out: &mut dyn Write) -> io::Result<()> {
    for domain in &view.domains {
        problem(domain, out)?;
    }
    let mut table = TextTable::new(&["record", "name", "is", "what"], &[6, 80, 8, 200]);
    let records = view.domains.iter().filter_map(|domain| domain.records.as_ref()).flatten();
    let all: Vec<&RecordView> = records.chain(&view.hosts).collect();
    for record in &all {
        table.row(&[&record.kind, &record.name, &record.verdict, &record.words]);
    }
    table.write(out)?;
    for record in all.iter().filter(|record| record.verdict != "right") {
        writeln!(out, "\n{} should be\n  {}", harmless(&record.name), harmless(&record.expected))?;
        for found in &record.found {
            writeln!(out, "and is\n  {}", harmless(found))?;
        }
    }
    let left = view.domains.iter().filter(|domain| domain.records.is_none()).count();
    if left > 0 {
        writeln!(out, "\n{left} more domains: name one to look it up")?;
    }
    Ok(())
}

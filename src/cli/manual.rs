//! `postern completions` and `postern man`: shell completions and manual pages.
//!
//! In: clap's definition of the command line. Out: a script for a shell, or pages in roff, on
//! standard output or as files of a directory. Both are made from the definitions that parse the
//! arguments, so they always agree with the program. Exit codes: 64 no such command, 73 a page
//! cannot be written.

use super::tool_error::{EX_CANTCREAT, EX_OK, EX_USAGE};
use clap::{Args, Command, ValueEnum};
use clap_mangen::Man;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The command name for completion.
const NAME: &str = "postern";

/// Examples for `postern completions --help`.
const COMPLETIONS_EXAMPLES: &str = "\
For this user, for new shells:
  postern completions bash > ~/.local/share/bash-completion/completions/postern
  postern completions zsh > ~/.zfunc/_postern     with `fpath+=~/.zfunc` before compinit in .zshrc
  postern completions fish > ~/.config/fish/completions/postern.fish

For the current bash only:
  source <(postern completions bash)";

/// Examples for `postern man --help`.
const MAN_EXAMPLES: &str = "\
  postern man | man -l -                          the page of the program
  postern man queue list | man -l -               the page of one command
  postern man --directory ~/.local/share/man/man1 all pages, then `man postern-queue`";

/// The arguments of `postern completions`.
#[derive(Debug, Clone, Copy, Args)]
#[command(after_help = COMPLETIONS_EXAMPLES)]
pub struct CompletionsArgs {
    /// The shell to write the script for
    #[arg(value_enum)]
    shell: Shell,
}

/// The supported shells.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// The arguments of `postern man`.
#[derive(Debug, Clone, Args)]
#[command(after_help = MAN_EXAMPLES)]
pub struct ManArgs {
    /// The command to show the page of, such as `queue list` [default: the program itself]
    command: Vec<String>,
    /// Write the pages of all commands into this directory; it is created if it does not exist
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    directory: Option<PathBuf>,
}

/// Prints the script by which a shell completes the commands and options of `program`.
pub fn completions(args: CompletionsArgs, program: &Command) -> ExitCode {
    use clap_complete::{Shell as Script, generate};
    let script = match args.shell {
        Shell::Bash => Script::Bash,
        Shell::Zsh => Script::Zsh,
        Shell::Fish => Script::Fish,
    };
    let mut text = Vec::new();
    generate(script, &mut typed(program), NAME, &mut text);
    print(&text)
}

/// The program without the commands that users do not type, so that scripts do not offer them.
fn typed(program: &Command) -> Command {
    Command::new(NAME)
        .version(env!("CARGO_PKG_VERSION"))
        .args(program.get_arguments().cloned())
        .subcommands(shown(program).cloned())
}

/// Prints the manual page of `program` or of one of its commands, or writes them all.
pub fn man(args: &ManArgs, program: Command) -> ExitCode {
    // `help` repeats the pages, and has none.
    let mut program = program.disable_help_subcommand(true);
    program.build();
    if let Some(directory) = &args.directory {
        return match write_pages(&program, directory) {
            Ok(()) => ExitCode::from(EX_OK),
            Err(error) => {
                eprintln!("Error: cannot write the pages to {}: {error}", directory.display());
                ExitCode::from(EX_CANTCREAT)
            }
        };
    }
    let mut command = &program;
    for word in &args.command {
        let Some(next) = command.find_subcommand(word) else {
            eprintln!("Error: {} has no command '{word}'", command.get_name());
            return ExitCode::from(EX_USAGE);
        };
        command = next;
    }
    match page(command) {
        Ok(text) => print(&text),
        Err(error) => {
            eprintln!("Error: cannot make the page: {error}");
            ExitCode::from(EX_CANTCREAT)
        }
    }
}

/// A page for `command` and one for each command below it that help shows.
fn write_pages(command: &Command, directory: &Path) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    let man = Man::new(command.clone());
    std::fs::write(directory.join(man.get_filename()), page(command)?)?;
    shown(command).try_for_each(|below| write_pages(below, directory))
}

/// The commands below `command`, without those that users do not start.
fn shown(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|below| !below.is_hide_set())
}

fn page(command: &Command) -> io::Result<Vec<u8>> {
    let man = Man::new(command.clone()).source(concat!("Postern ", env!("CARGO_PKG_VERSION")));
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if shown(command).next().is_some() {
        man.render_subcommands_section(&mut text)?;
    }
    if command.get_after_help().is_some() {
        // Examples keep their lines, which a page would otherwise fill.
        let mut notes = Vec::new();
        man.render_extra_section(&mut notes)?;
        let notes = String::from_utf8_lossy(&notes).replacen("EXTRA", "EXAMPLES\n.nf", 1);
        text.extend(notes.as_bytes());
        text.extend(b".fi\n");
    }
    Ok(text)
}

/// A reader that closes the pipe (`| head`) is not an error.
fn print(text: &[u8]) -> ExitCode {
    match io::stdout().write_all(text) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("Error: {error}");
            ExitCode::from(EX_CANTCREAT)
        }
        _ => ExitCode::from(EX_OK),
    }
}

//! The client's command, for the case that it is rejected.

use crate::mail::model::{Address, Envelope};
use crate::mail::parse::{Command, CommandError, Recipient};

/// The client's command, for the case that it is rejected.
#[derive(Debug, Clone)]
pub struct CommandSummary {
    /// The command, or `END-OF-MESSAGE`, or `UNKNOWN`.
    pub command: &'static str,
    /// Its reverse-path.
    pub from: Option<Address>,
    /// Its forward-path.
    pub to: Option<Address>,
}

impl CommandSummary {
    /// Of a command; `verb` is the start of its line, for one that is not valid.
    pub fn by(command: &Result<Command, CommandError>, verb: Option<&'static str>) -> Self {
        let asked = |command| Self { command, from: None, to: None };
        match command {
            Ok(Command::Mail(mail)) => Self { from: mail.sender.clone(), ..asked("MAIL") },
            Ok(Command::Recipient(Recipient::Mailbox(to), _)) => {
                Self { to: Some(to.clone()), ..asked("RCPT") }
            }
            Ok(Command::Recipient(Recipient::Postmaster, _)) => asked("RCPT"),
            Ok(Command::Bdat(_)) => asked("BDAT"),
            Ok(Command::Auth { .. }) => asked("AUTH"),
            Ok(Command::Data) => asked("DATA"),
            Ok(Command::Hello { extended, .. }) => asked(if *extended { "EHLO" } else { "HELO" }),
            Ok(Command::Help) => asked("HELP"),
            Ok(Command::Noop) => asked("NOOP"),
            Ok(Command::Quit) => asked("QUIT"),
            Ok(Command::Reset) => asked("RSET"),
            Ok(Command::StartTls) => asked("STARTTLS"),
            Ok(Command::Verify) => asked("VRFY"),
            Ok(Command::Xclient(_)) => asked("XCLIENT"),
            Err(_) => asked(verb.unwrap_or("UNKNOWN")),
        }
    }

    /// Of a login that has failed.
    pub fn of_auth() -> Self {
        Self { command: "AUTH", from: None, to: None }
    }

    /// Of the end of its content.
    pub fn at_the_end(envelope: &Envelope) -> Self {
        let to = match &envelope.recipients[..] {
            [only] => Some(only.clone()),
            _ => None,
        };
        Self { command: "END-OF-MESSAGE", from: envelope.sender.clone(), to }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_recipient_is_named() {
        let by = |line: &[u8]| CommandSummary::by(&Command::parse(line), Command::verb(line));
        let asked = by(b"RCPT TO:<a@b.example>");
        assert_eq!(
            (asked.command, asked.to.map(|to| to.to_string()).as_deref()),
            ("RCPT", Some("a@b.example"))
        );
        assert_eq!(by(b"RCPT TO:<a@@b>").command, "RCPT");
        assert_eq!(by(b"GET / HTTP/1.1").command, "UNKNOWN");
    }

    #[test]
    fn a_command_that_makes_no_sense_keeps_its_verb() {
        let by = |line: &'static str| {
            CommandSummary::by(&Command::parse(line.as_bytes()), Command::verb(line.as_bytes()))
                .command
        };
        assert_eq!(
            ["EHLO", "helo ", "Mail a@b", "RCPT\tx", "QUIT now", "AUTH PLAIN x"].map(by),
            ["EHLO", "HELO", "MAIL", "RCPT", "QUIT", "AUTH"]
        );
        assert_eq!(["", "EHLOx y", "EXPLODE"].map(by), ["UNKNOWN"; 3]);
    }
}

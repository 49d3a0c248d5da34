#![no_main]
//! No line makes [`Command::parse`] panic, and what untrusted clients may send has the same meaning
//! as from clients that may relay.

use libfuzzer_sys::fuzz_target;
use postern::mail::model::{Address, ReplyClass};
use postern::mail::parse::{Command, CommandError, Grammar, Recipient};

const LENIENT: Grammar<'_> = Grammar::Lenient { origin_domain: "origin.example" };

fuzz_target!(|line: &[u8]| {
    let strict = Command::parse(line);
    let lenient = Command::parse_with(line, LENIENT);
    judge(line, &strict);
    judge(line, &lenient);
    match (&strict, &lenient) {
        // A mailbox for untrusted clients, which get no default domain; complete for the others.
        (
            Ok(Command::Recipient(Recipient::Postmaster, _)),
            Ok(Command::Recipient(Recipient::Mailbox(mailbox), _)),
        ) => {
            assert!(mailbox.as_str().eq_ignore_ascii_case("postmaster@origin.example"));
        }
        (Ok(strict), lenient) => assert_eq!(Ok(strict), lenient.as_ref()),
        _ => {}
    }
});

fn judge(line: &[u8], said: &Result<Command, CommandError>) {
    match said {
        Ok(Command::Hello { name, .. }) => {
            assert!(
                (1..=Command::HELLO_MAX).contains(&name.len())
                    && !name.contains(char::is_control)
                    && !name.contains(' ')
            );
        }
        Ok(Command::Mail(mail)) => {
            if let Some(sender) = &mail.sender {
                is_of(line, sender);
            }
        }
        Ok(Command::Recipient(Recipient::Mailbox(address), _)) => is_of(line, address),
        Ok(_) => {}
        Err(error) => {
            let reply = error.reply();
            assert!(reply.class() == ReplyClass::Permanent || reply.code == 421);
            assert!(
                reply.enhanced.is_some()
                    && !reply.text.contains(char::is_control)
                    && reply.text.len() < 400
            );
        }
    }
}

/// It is contained in the line, except an added domain, and the case of `postmaster`, which needs
/// none.
fn is_of(line: &[u8], address: &Address) {
    let text = address.as_str().to_ascii_lowercase();
    let text = text.strip_suffix("@origin.example").unwrap_or(&text);
    assert!(
        line.to_ascii_lowercase().windows(text.len()).any(|window| window == text.as_bytes()),
        "{address}"
    );
    assert_eq!(Address::parse(address.as_str()).as_ref(), Ok(address));
}

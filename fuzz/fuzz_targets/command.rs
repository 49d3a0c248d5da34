#![no_main]
//! No line is too odd for [`Command::parse`].

use libfuzzer_sys::fuzz_target;
use postern::mail::model::Class;
use postern::mail::parse::{Command, Recipient};

fuzz_target!(|line: &[u8]| match Command::parse(line) {
    Ok(Command::Hello { name, .. }) => {
        assert!((1..=255).contains(&name.len()) && !name.contains(char::is_control) && !name.contains(' '));
    }
    Ok(Command::Mail(mail)) => {
        if let Some(sender) = mail.sender {
            assert!(line.windows(sender.as_str().len()).any(|window| window == sender.as_str().as_bytes()));
        }
    }
    Ok(Command::Recipient(Recipient::Mailbox(address))) => {
        assert!(line.windows(address.as_str().len()).any(|window| window == address.as_str().as_bytes()));
    }
    Ok(_) => {}
    Err(error) => {
        let reply = error.reply();
        assert!(reply.class() == Class::Permanent || reply.code == 421);
        assert!(reply.enhanced.is_some() && !reply.text.contains(char::is_control) && reply.text.len() < 400);
    }
});

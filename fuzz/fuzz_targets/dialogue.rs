#![no_main]
//! Any commands in any order: one reply for each command, and content only for a whole envelope,
//! after DATA or in the chunks of BDAT, never both.

use libfuzzer_sys::fuzz_target;
use postern::mail::model::{Address, Refusal, Reply, Verdict};
use postern::mail::parse::{AccessPolicy, Command, Dialogue, NextStep, SessionLimits, TlsState};

struct Fickle;

impl AccessPolicy for Fickle {
    fn mail(&self) -> Verdict {
        Verdict::Accept
    }

    fn recipient(&self, recipient: &Address) -> Verdict {
        match recipient.as_str().len() % 2 {
            0 => Verdict::Accept,
            _ => Verdict::Refuse(Reply::new(554, (5, 7, 1), "no"), Refusal::Relay),
        }
    }
}

fuzz_target!(|session: &[u8]| {
    let rules = SessionLimits { recipients_limit: 3, ..SessionLimits::new("mta.example", 1000) };
    let mut dialogue = Dialogue::new(&rules, TlsState::Offered);
    let mut errors = 0;
    for line in session.split(|byte| *byte == b'\n') {
        let mut out = Vec::new();
        let mut result = dialogue.handle(Command::parse(line), &Fickle, &mut out);
        if let NextStep::Content(envelope) = result.next {
            assert!(
                out.starts_with(b"354 ")
                    && !dialogue.hello().0.is_empty()
                    && dialogue.mail().is_none()
            );
            assert!((1..=3).contains(&envelope.recipients.len()));
            assert!(
                envelope.smtputf8
                    || envelope.recipients.iter().chain(&envelope.sender).all(Address::is_ascii)
            );
            out.clear();
            errors = 0;
            result = dialogue.end(Ok(Reply::new(250, (2, 0, 0), "Ok")), &mut out);
        }
        if let NextStep::Chunk(chunk, accepted) = result.next {
            assert!(out.is_empty() && (accepted.is_err() || dialogue.is_chunking()));
            let kept = dialogue.mail().is_some_and(|mail| !mail.recipients.is_empty());
            assert_eq!(accepted.is_ok(), kept);
            let result_of = accepted.map(|()| Reply::new(250, (2, 0, 0), "Ok"));
            result = dialogue.end_chunk(chunk, result_of, false, &mut out);
            assert!(!chunk.last || dialogue.mail().is_none() && !dialogue.is_chunking());
            if out.starts_with(b"250") && chunk.last {
                errors = 0;
            }
        }
        let text = std::str::from_utf8(&out).expect("replies are text");
        assert!(
            text.ends_with("\r\n") && text.lines().all(|line| !line.contains(char::is_control))
        );
        assert_eq!(text.lines().filter(|line| line.as_bytes()[3] == b' ').count(), 1, "{text}");
        errors += usize::from(text.starts_with('5'));
        assert!(errors < rules.errors_limit || result.next == NextStep::Close);
        assert!(result.next != NextStep::Secure || dialogue.mail().is_none());
        if result.next == NextStep::Close {
            return;
        }
    }
});

//! Whether a rejection is about the mail or about this relay; pure.
//!
//! A next hop that rejects the session, or this relay, has not judged the mail. Such a rejection is
//! temporary for the mail whatever its class: the next host is tried, else the mail waits. A server
//! that is misconfigured for an hour must not bounce the mail of that hour. `queue_lifetime` ends
//! the wait.
//!
//! Rules, in this order:
//! * instead of a greeting, or in reply to EHLO and HELO: always about the relay;
//! * codes that are about the session only ([`is_of_session`]: authentication or TLS required, bad
//!   sequence of commands): about the relay at MAIL, and those that mean nothing else
//!   ([`is_of_login`]) at RCPT and DATA as well;
//! * other replies to MAIL: the enhanced code decides ([`by_enhanced`]), and where there is none,
//!   the reply code ([`by_code`]);
//! * what remains unclear at MAIL ("554 5.7.1 access denied" may be about the relay or about the
//!   sender) is about the relay, except for the null sender: a host that accepts other mail and
//!   rejects bounces rejects the bounce.
//!
//! Source: RFC 5321 §4.2 and §4.3.2, RFC 3463 §3, RFC 4954 §6, RFC 3207 §4, RFC 7504, the registry
//! of enhanced status codes.

use crate::mail::model::{Enhanced, Outcome, Reply, ReplyClass};

/// In which state of the session a reply came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReplyStage {
    /// Instead of the greeting.
    Greeting,
    /// In reply to EHLO or HELO.
    Hello,
    /// In reply to STARTTLS.
    Starttls,
    /// In reply to AUTH.
    Login,
    /// In reply to MAIL.
    Mail,
    /// In reply to RCPT.
    Recipient,
    /// In reply to DATA or to the end of data.
    Data,
}

impl ReplyStage {
    /// The label of `mta_next_hop_refusals_total`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Greeting => "greeting",
            Self::Hello => "hello",
            Self::Starttls => "starttls",
            Self::Login => "auth",
            Self::Mail => "mail",
            Self::Recipient => "recipient",
            Self::Data => "data",
        }
    }

    /// The state as text for people.
    pub fn words(self) -> &'static str {
        match self {
            Self::Greeting => "instead of a greeting",
            Self::Hello => "in reply to EHLO",
            Self::Starttls => "in reply to STARTTLS",
            Self::Login => "in reply to AUTH",
            Self::Mail => "in reply to MAIL",
            Self::Recipient => "in reply to RCPT",
            Self::Data => "in reply to DATA",
        }
    }
}

/// What a rejection is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RefusalScope {
    Relay,
    Mail,
    Unclear,
}

/// Whether a reply rejects the session or this relay, as opposed to the mail. `null_sender`: MAIL
/// has the null sender.
pub(super) fn is_about_relay(stage: ReplyStage, reply: &Reply, null_sender: bool) -> bool {
    if reply.class() == ReplyClass::Success {
        return false;
    }
    if reply.code == 421 {
        return true;
    }
    match stage {
        ReplyStage::Greeting | ReplyStage::Hello | ReplyStage::Starttls | ReplyStage::Login => true,
        // A 4xx there is temporary anyway, and may be about the sender.
        ReplyStage::Mail if reply.class() == ReplyClass::Temporary => false,
        ReplyStage::Mail => match classify_mail(reply) {
            RefusalScope::Relay => true,
            RefusalScope::Mail => false,
            RefusalScope::Unclear => !null_sender,
        },
        ReplyStage::Recipient | ReplyStage::Data => is_of_login(reply),
    }
}

/// The outcome of such a rejection: temporary, with the peer's reply in the text.
pub(super) fn outcome(stage: ReplyStage, relay: &str, reply: Reply) -> Outcome {
    if reply.class() == ReplyClass::Temporary {
        return Outcome::said(reply);
    }
    // RFC 3463 §2: the same subject and detail with the temporary class.
    let Enhanced(_, subject, detail) = reply.enhanced.unwrap_or(Enhanced(5, 3, 2));
    let text = format!("{relay} rejected this relay {}: {reply}", stage.words());
    Outcome::own(Reply::new(451, (4, subject, detail), text))
}

fn classify_mail(reply: &Reply) -> RefusalScope {
    if is_of_session(reply.code) || is_of_login(reply) {
        return RefusalScope::Relay;
    }
    // A mailbox name that is not allowed, an unknown parameter, a size: in reply to MAIL these
    // codes have no other meaning.
    if matches!(reply.code, 501 | 504 | 551 | 552 | 553 | 555 | 556)
        && reply.enhanced != Some(Enhanced(5, 3, 2))
    {
        return RefusalScope::Mail;
    }
    match reply.enhanced {
        Some(Enhanced(_, subject, detail)) if (subject, detail) != (0, 0) => {
            by_enhanced(subject, detail)
        }
        _ => by_code(reply.code),
    }
}

/// Codes about the state of the session.
fn is_of_session(code: u16) -> bool {
    // 500, 502: MAIL is not known there. 503: not now. 521: the host accepts no mail (RFC 7504).
    // The others: see is_of_login.
    matches!(code, 500 | 502 | 503 | 521 | 530 | 534 | 535 | 538)
}

/// Authentication or encryption is required, or failed (RFC 4954 §6, RFC 3207 §4): this holds for
/// every mail of the session.
fn is_of_login(reply: &Reply) -> bool {
    let by_code = matches!(reply.code, 530 | 534 | 535 | 538);
    by_code || matches!(reply.enhanced, Some(Enhanced(5, 7, 8..=14 | 57)))
}

/// Subject and detail of RFC 3463 in reply to MAIL.
fn by_enhanced(subject: u16, detail: u16) -> RefusalScope {
    match (subject, detail) {
        // The system: a too large message, or features that this message needs; everything else is
        // the system's state.
        (3, 3 | 4) => RefusalScope::Mail,
        (3, _) => RefusalScope::Relay,
        // Network and routing: what the peer cannot reach does not depend on the mail.
        (4, _) => RefusalScope::Relay,
        // Protocol: a wrong command is about the session, its syntax and arguments are about the
        // sender and the message.
        (5, 1 | 5) => RefusalScope::Relay,
        // Policy: priority, owner and authentication of the message and its domain.
        (7, 15..=19 | 20..=24 | 26..=27 | 29..=30 | 60) => RefusalScope::Mail,
        // No reverse DNS name for this relay's address, or too much mail from it.
        (7, 25 | 28) => RefusalScope::Relay,
        // Details of three digits are used by large providers for addresses and senders that they
        // have blocked.
        (7, _) => RefusalScope::Unclear,
        // Addresses, mailboxes, the rest of the protocol, content.
        (1 | 2 | 5 | 6, _) => RefusalScope::Mail,
        _ => RefusalScope::Unclear,
    }
}

/// The reply code alone, in reply to MAIL.
fn by_code(code: u16) -> RefusalScope {
    match code {
        // RFC 5321 §4.3.2 lists 550 for MAIL: the mailbox, which is the sender.
        550 => RefusalScope::Mail,
        _ => RefusalScope::Unclear,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(text: &str, null_sender: bool) -> bool {
        let (code, words) = text.split_once(' ').unwrap();
        let enhanced = Enhanced::parse(words);
        let reply = Reply { code: code.parse().unwrap(), enhanced, text: words.to_owned().into() };
        is_about_relay(ReplyStage::Mail, &reply, null_sender)
    }

    #[test]
    fn greetings_and_hellos_never_speak_of_the_mail() {
        for stage in [ReplyStage::Greeting, ReplyStage::Hello] {
            for code in [421, 450, 500, 521, 550, 554, 556] {
                assert!(is_about_relay(stage, &Reply::plain(code, "no"), false), "{code}");
            }
            assert!(!is_about_relay(stage, &Reply::plain(220, "yes"), false));
        }
    }

    /// Replies to MAIL that real servers send about the relay: the mail waits, a bounce as well.
    #[test]
    fn mail_refused_because_of_the_session() {
        for text in [
            "530 5.7.57 Client not authenticated to send mail",
            "530 5.7.0 Must issue a STARTTLS command first",
            "530-5.5.1 Authentication Required",
            "530 5.7.1 Client was not authenticated",
            "530 authentication required",
            "534 5.7.9 mechanism too weak",
            "535 5.7.8 bad credentials",
            "538 5.7.11 Encryption required",
            "550 5.7.10 Encryption needed",
            "550 5.7.13 account disabled",
            "550 5.7.14 trust relationship required",
            "554 5.7.57 not authenticated",
            "550 5.7.25 no reverse name for your address",
            "550 5.7.28 flood",
            "503 5.5.1 Error: send HELO/EHLO first",
            "503 5.7.0 Error: access denied",
            "503 bad sequence",
            "502 5.5.2 not implemented",
            "500 what?",
            "521 5.3.2 this host takes no mail",
            "554 5.3.0 mailer configuration error",
            "554 5.3.2 shutting down",
            "550 5.3.5 system incorrectly configured",
            "554 5.4.4 unable to route",
            "550 5.5.1 not now",
        ] {
            let text = text.replacen("530-", "530 ", 1);
            assert!(about(&text, false) && about(&text, true), "{text}");
        }
    }

    /// Replies that may be about the relay or about the sender: mail waits; a bounce fails.
    #[test]
    fn mail_refused_for_a_reason_that_is_not_clear() {
        for text in [
            "554 5.7.1 access denied",
            "550 5.7.1 not you",
            "550 5.7.0 no",
            "554 no",
            "554 5.0.0 no",
            "550 5.7.606 banned sending IP",
            "550 5.7.708 traffic not accepted from this IP",
        ] {
            assert!(about(text, false) && !about(text, true), "{text}");
        }
    }

    /// Replies about the sender or the message: permanent.
    #[test]
    fn mail_refused_because_of_the_message() {
        for text in [
            "552 5.3.4 message size exceeds fixed limit",
            "552 too large",
            "552 5.2.3 too long",
            "554 5.3.4 too big",
            "554 5.3.3 SMTPUTF8 needed",
            "553 5.1.7 bad sender syntax",
            "501 5.1.7 bad sender address syntax",
            "550 5.1.8 sender's domain does not exist",
            "550 5.1.0 address rejected",
            "550 5.1.1 no such sender",
            "550 5.2.1 mailbox disabled",
            "553 5.7.1 sender not owned by user",
            "553 5.1.3 syntax",
            "553 no such mailbox name",
            "550 sender unknown",
            "550 5.0.0 sender unknown",
            "501 invalid MAIL FROM",
            "501 5.5.4 syntax",
            "555 5.5.4 unsupported option",
            "504 parameter",
            "556 5.1.10 null MX",
            "550 5.6.7 no SMTPUTF8",
            "554 5.6.1 media not supported",
            "550 5.7.23 SPF",
            "550 5.7.26 unauthenticated",
            "550 5.7.27 sender has a null MX",
            "550 5.7.30 REQUIRETLS",
            "550 5.7.60 no permission to send as this sender",
            "550 5.5.2 syntax",
            // Temporary already; nothing to change.
            "451 4.7.1 later",
            "452 4.3.1 disk full",
        ] {
            assert!(!about(text, false) && !about(text, true), "{text}");
        }
    }

    #[test]
    fn recipients_and_content_are_judged_except_for_a_missing_login() {
        for stage in [ReplyStage::Recipient, ReplyStage::Data] {
            for (code, enhanced, expected) in [
                (530, (5, 7, 0), true),
                (550, (5, 7, 57), true),
                (421, (4, 7, 0), true),
                (550, (5, 7, 1), false),
                (554, (5, 7, 1), false),
                (503, (5, 5, 1), false),
                (550, (5, 1, 1), false),
            ] {
                assert_eq!(
                    is_about_relay(stage, &Reply::new(code, enhanced, "x"), false),
                    expected,
                    "{code} {enhanced:?}"
                );
            }
        }
    }

    #[test]
    fn the_outcome_is_temporary_and_keeps_the_words() {
        let said = outcome(
            ReplyStage::Greeting,
            "mx[192.0.2.1]:25",
            Reply::new(554, (5, 7, 1), "access denied"),
        );
        assert_eq!(
            (said.class(), said.remote, said.reply.enhanced),
            (ReplyClass::Temporary, false, Some(Enhanced(4, 7, 1)))
        );
        assert_eq!(
            said.reply.text,
            "mx[192.0.2.1]:25 rejected this relay instead of a greeting: 554 5.7.1 access denied"
        );
        let said = outcome(ReplyStage::Mail, "mx", Reply::plain(421, "later"));
        assert_eq!((said.reply.code, said.remote), (421, true));
    }
}

//! The catalogue of replies by which upstreams refuse us, a sender, or more for now.
//!
//! In: a reply, and in which state of the session it came. Out: what is refused; `None`: the mail
//! itself, as everywhere. One row is one reply; `example` is how it looks, and a test judges each.
//! Limits: it is asked about upstreams only, never about the hosts of a domain. Source: the
//! documentation of the providers and reports of their users, November 2026; RFC 4954 §6.

use crate::mail::model::{Enhanced, Reply, ReplyClass, UpstreamRefusal, UpstreamStage};
use UpstreamRefusal::{Relay, Sender, Throttle};

/// A reply that is about something else than the mail.
struct KnownReply {
    /// Who sends it.
    provider: &'static str,
    code: u16,
    /// The enhanced code; `None`: any, or none.
    enhanced: Option<Enhanced>,
    /// A part of the text, in lower case; empty: any text.
    words: &'static str,
    meaning: UpstreamRefusal,
}

const fn row(
    provider: &'static str,
    code: u16,
    enhanced: Option<(u8, u16, u16)>,
    words: &'static str,
    meaning: UpstreamRefusal,
) -> KnownReply {
    let enhanced = match enhanced {
        Some((class, subject, detail)) => Some(Enhanced(class, subject, detail)),
        None => None,
    };
    KnownReply { provider, code, enhanced, words, meaning }
}

/// Replies to MAIL, RCPT, DATA and the end of data. The first row that fits counts.
const REPLIES: &[KnownReply] = &[
    row("Amazon SES", 454, None, "throttling failure", Throttle),
    row("Amazon SES", 454, None, "maximum sending rate exceeded", Throttle),
    row("Amazon SES", 454, None, "message quota exceeded", Throttle),
    row("Amazon SES", 421, None, "too many concurrent smtp connections", Throttle),
    row("Amazon SES", 554, None, "access denied: user", Relay),
    row("Postfix", 554, Some((5, 7, 1)), "client host rejected: access denied", Relay),
    row("Postfix", 554, Some((5, 7, 1)), "relay access denied", Relay),
    row("Postfix", 554, Some((5, 7, 1)), "sender address rejected: access denied", Sender),
    row("Amazon SES", 554, None, "email address is not verified", Sender),
    row("Microsoft 365", 432, Some((4, 3, 2)), "", Throttle),
    row("Microsoft 365", 554, Some((5, 2, 0)), "submissionquotaexceeded", Throttle),
    row("Microsoft 365", 554, Some((5, 2, 0)), "sendasdenied", Sender),
    row("Microsoft 365", 550, Some((5, 7, 60)), "", Sender),
    row("Microsoft 365", 550, Some((5, 7, 30)), "basic authentication", Relay),
    row("Microsoft 365", 530, Some((5, 7, 57)), "", Relay),
    row("Gmail", 550, Some((5, 4, 5)), "", Throttle),
    row("Gmail", 454, Some((4, 7, 0)), "", Throttle),
    row("Google Workspace relay", 450, Some((4, 2, 1)), "smtp relay limit", Throttle),
    row("Google Workspace relay", 550, Some((5, 7, 1)), "smtp relay limit", Throttle),
    row("Google Workspace relay", 550, Some((5, 7, 1)), "credentials for relay", Relay),
    row("SendGrid", 403, None, "not authorized to send from", Sender),
    row("SendGrid", 550, None, "does not match a verified sender identity", Sender),
    row("Postfix", 553, Some((5, 7, 1)), "not owned by user", Sender),
    row("Postfix", 550, Some((5, 7, 1)), "not owned by user", Sender),
    row("many", 421, Some((4, 7, 0)), "", Throttle),
    row("many", 421, Some((4, 7, 28)), "", Throttle),
    row("many", 421, None, "too many", Throttle),
    row("many", 450, Some((4, 7, 1)), "rate limit", Throttle),
    row("many", 451, Some((4, 7, 1)), "rate limit", Throttle),
    // A login is required, or was not good enough (RFC 4954 §6).
    row("many", 530, None, "", Relay),
    row("many", 534, None, "", Relay),
    row("many", 535, None, "", Relay),
    row("many", 538, None, "", Relay),
];

/// What a reply of an upstream refuses, and whose reply that is.
pub fn judge(stage: UpstreamStage, reply: &Reply) -> Option<(UpstreamRefusal, &'static str)> {
    match (stage, reply.class()) {
        (_, ReplyClass::Success) => None,
        // Before there is a mail, everything is about us.
        (UpstreamStage::Session | UpstreamStage::Login, ReplyClass::Temporary) => {
            Some((Throttle, "any"))
        }
        (UpstreamStage::Session | UpstreamStage::Login, ReplyClass::Permanent) => {
            Some((Relay, "any"))
        }
        (UpstreamStage::Mail, _) => {
            let text = reply.text.to_lowercase();
            REPLIES.iter().find(|row| row.fits(reply, &text)).map(|row| (row.meaning, row.provider))
        }
    }
}

impl KnownReply {
    fn fits(&self, reply: &Reply, text: &str) -> bool {
        self.code == reply.code
            && (self.enhanced.is_none() || self.enhanced == reply.enhanced)
            && text.contains(self.words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One real reply for each row, in their order.
    const EXAMPLES: &[&str] = &[
        "454 Throttling failure: Maximum sending rate exceeded.",
        "454 Maximum sending rate exceeded.",
        "454 Daily message quota exceeded.",
        "421 Too many concurrent SMTP connections",
        "554 Access denied: User `arn:aws:iam::1:user/x' is not authorized to perform \
         `ses:SendRawEmail'",
        "554 5.7.1 <a.example[192.0.2.1]>: Client host rejected: Access denied",
        "554 5.7.1 <box@there.example>: Relay access denied",
        "554 5.7.1 <anna@here.example>: Sender address rejected: Access denied",
        "554 Message rejected: Email address is not verified. The following identities failed",
        "432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded",
        "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException",
        "554 5.2.0 STOREDRV.Submission.Exception:SendAsDeniedException.MapiExceptionSendAsDenied",
        "550 5.7.60 SMTP; Client does not have permissions to send as this sender",
        "550 5.7.30 Basic authentication is not supported for Client Submission.",
        "530 5.7.57 Client not authenticated to send mail.",
        "550 5.4.5 Daily user sending limit exceeded.",
        "454 4.7.0 Too many login attempts, please try again later.",
        "450 4.2.1 Peak SMTP relay limit exceeded for customer.",
        "550 5.7.1 Daily SMTP relay limit exceeded for customer.",
        "550 5.7.1 Invalid credentials for relay [192.0.2.1].",
        "403 You are not authorized to send from that email address",
        "550 The from address does not match a verified Sender Identity.",
        "553 5.7.1 <a@here.example>: Sender address rejected: not owned by user relay",
        "550 5.7.1 <a@here.example>: Sender address rejected: not owned by user relay",
        "421 4.7.0 Try again later, closing connection.",
        "421 4.7.28 Our system has detected an unusual rate",
        "421 too many messages on this connection",
        "450 4.7.1 Rate limit of this account",
        "451 4.7.1 rate limit",
        "530 Authentication required",
        "534 5.7.9 Application-specific password required",
        "535 Authentication Credentials Invalid",
        "538 5.7.11 Encryption required",
    ];

    fn reply(text: &str) -> Reply {
        let (code, rest) = text.split_once(' ').unwrap();
        Reply {
            code: code.parse().unwrap(),
            enhanced: Enhanced::parse(rest),
            text: rest.to_owned().into(),
        }
    }

    #[test]
    fn every_row_is_found_by_its_example_and_means_what_it_says() {
        assert_eq!(REPLIES.len(), EXAMPLES.len());
        for (row, example) in REPLIES.iter().zip(EXAMPLES) {
            let reply = reply(example);
            let text = reply.text.to_lowercase();
            assert!(row.fits(&reply, &text), "{}: {example}", row.provider);
            let told = judge(UpstreamStage::Mail, &reply);
            assert_eq!(told, Some((row.meaning, row.provider)), "{example}");
        }
    }

    #[test]
    fn refusals_of_a_mail_stay_refusals_of_the_mail() {
        for text in [
            "550 5.1.1 no such user",
            "450 4.2.1 The user you are trying to contact is receiving mail too quickly",
            "452 4.5.3 Too many recipients",
            "552 5.3.4 message too large",
            "554 5.7.1 Message rejected as spam by content filtering",
            "554 5.7.1 <box@there.example>: Recipient address rejected: Access denied",
            "550 5.7.1 Unsolicited mail",
            "450 4.7.1 greylisted",
            "554 5.2.0 something else",
            "550 5.7.30 REQUIRETLS support required",
            "250 2.0.0 Ok: access denied",
        ] {
            assert_eq!(judge(UpstreamStage::Mail, &reply(text)), None, "{text}");
        }
    }

    #[test]
    fn before_a_mail_everything_is_about_us() {
        for (text, meaning) in [
            (
                "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled",
                Relay,
            ),
            ("550 5.7.30 Basic authentication is not supported", Relay),
            ("554 5.7.1 access denied", Relay),
            ("534 5.7.9 Application-specific password required", Relay),
            ("454 4.7.0 Temporary authentication failure", Throttle),
            ("421 4.7.0 too many logins", Throttle),
            ("432 4.3.2 Concurrent connections limit exceeded", Throttle),
        ] {
            for stage in [UpstreamStage::Session, UpstreamStage::Login] {
                let told = judge(stage, &reply(text)).map(|(meaning, _)| meaning);
                assert_eq!(told, Some(meaning), "{text}");
            }
        }
    }
}

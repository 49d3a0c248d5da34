//! Which recipients a staging system may write to, and what becomes of mail to others.
//!
//! Purpose: the properties `recipient_allow`, `recipient_others` and `capture`. In: a recipient, or
//! the recipients of a mail. Out: a refusal at RCPT, or why a mail is held. Rules: an entry is an
//! address, a domain, or `*.` and a domain for its subdomains; letters count the same in both
//! cases. With `capture` everything is held, and nothing is refused for its recipient. Limits: the
//! entries are walked through for each recipient. Pure. Source: RFC 3463 §3.8 (5.7.1).

use crate::mail::model::{Address, Refusal, Reply, Verdict};

/// The rules of a staging system; the default allows everything.
#[derive(Debug, Clone, Default)]
pub struct StagingRules {
    /// Entries in lower case; empty = every recipient is allowed.
    pub allow: Vec<String>,
    /// Mail to others is held; otherwise it is refused.
    pub capture_others: bool,
    /// All mail is held.
    pub capture: bool,
}

/// Why a mail is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HoldReason {
    /// `capture=yes`.
    Capture,
    /// This recipient is not in `recipient_allow`.
    Recipient(Address),
}

impl StagingRules {
    /// Whether no rule is set.
    pub fn is_off(&self) -> bool {
        self.allow.is_empty() && !self.capture
    }

    /// Whether a client may name this recipient.
    pub fn at_recipient(&self, recipient: &Address) -> Verdict {
        if self.capture || self.capture_others || self.allows(recipient) {
            return Verdict::Accept;
        }
        let text = format!(
            "<{recipient}>: this is a staging system, and the recipient is not in its \
            recipient_allow; add it there, or set recipient_others=capture to hold such mail"
        );
        Verdict::Refuse(Reply::new(550, (5, 7, 1), text), Refusal::Relay)
    }

    /// Why mail to these recipients is held; `None` = it is not. What is refused at RCPT is held
    /// where nobody can be told: mail that was queued before, and bounces.
    pub fn hold<'a>(
        &self,
        mut recipients: impl Iterator<Item = &'a Address>,
    ) -> Option<HoldReason> {
        match self.capture {
            true => Some(HoldReason::Capture),
            false => recipients.find(|to| !self.allows(to)).cloned().map(HoldReason::Recipient),
        }
    }

    /// Whether mail may go to this recipient.
    pub fn allows(&self, recipient: &Address) -> bool {
        if self.allow.is_empty() {
            return true;
        }
        let (whole, domain) = (recipient.as_str().to_lowercase(), recipient.domain_key());
        self.allow.iter().any(|entry| match entry.strip_prefix("*.") {
            Some(parent) => domain
                .strip_suffix(parent)
                .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
            None => *entry == whole || *entry == domain,
        })
    }
}

impl HoldReason {
    /// The reason as text, for the recipients of the held mail.
    pub fn words(&self) -> String {
        let then = "it is sent when an operator releases it";
        match self {
            Self::Capture => format!("captured by capture=yes; {then}"),
            Self::Recipient(to) => format!("captured: <{to}> is not in recipient_allow; {then}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rules(allow: &[&str]) -> StagingRules {
        let allow = allow.iter().map(|entry| (*entry).to_owned()).collect();
        StagingRules { allow, ..StagingRules::default() }
    }

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    #[test]
    fn entries_are_addresses_domains_and_subdomains() {
        let rules = rules(&["anna@one.example", "two.example", "*.three.example"]);
        for to in ["Anna@ONE.example", "x@two.example", "x@Two.Example", "x@a.b.three.example"] {
            assert!(rules.allows(&address(to)), "{to}");
            assert_eq!(rules.at_recipient(&address(to)), Verdict::Accept);
        }
        for to in [
            "bert@one.example",
            "x@sub.two.example",
            "x@three.example",
            "x@xthree.example",
            "two.example@four.example",
            "x@[192.0.2.1]",
        ] {
            assert!(!rules.allows(&address(to)), "{to}");
            let Verdict::Refuse(reply, _) = rules.at_recipient(&address(to)) else {
                panic!("{to}")
            };
            assert!(reply.to_string().starts_with("550 5.7.1 <"), "{reply}");
            assert!(reply.text.contains("recipient_allow"), "{reply}");
        }
        assert!(StagingRules::default().allows(&address("x@anywhere.example")));
    }

    #[test]
    fn what_is_not_refused_is_held() {
        let (here, other) = (address("x@here.example"), address("x@other.example"));
        let refusing = rules(&["here.example"]);
        let capturing = StagingRules { capture_others: true, ..refusing.clone() };
        for rules in [&refusing, &capturing] {
            assert_eq!(rules.hold([&here].into_iter()), None);
            let reason = rules.hold([&here, &other].into_iter());
            assert_eq!(reason, Some(HoldReason::Recipient(other.clone())));
        }
        assert_eq!(capturing.at_recipient(&other), Verdict::Accept);
        let all = StagingRules { capture: true, ..refusing };
        assert_eq!(all.at_recipient(&other), Verdict::Accept);
        assert_eq!(all.hold([&here].into_iter()), Some(HoldReason::Capture));
        assert!(!all.is_off() && StagingRules::default().is_off());
    }

    proptest! {
        /// Of whatever is accepted at RCPT and not allowed, nothing is sent.
        #[test]
        fn no_recipient_slips_through(
            local in "[a-z]{1,4}", domain in "([a-c]\\.){0,3}example", capture: bool, others: bool,
            allow in proptest::collection::vec("(\\*\\.)?([a-c]\\.){0,2}example", 1..4),
        ) {
            let to = address(&format!("{local}@{domain}"));
            let rules = StagingRules { allow, capture_others: others, capture };
            let accepted = rules.at_recipient(&to) == Verdict::Accept;
            let held = rules.hold([&to].into_iter()).is_some();
            prop_assert!(!accepted || held || rules.allows(&to));
            prop_assert!(!capture || held);
        }
    }
}

//! Which upstreams take a mail: by its sender, by its recipient, or by default.
//!
//! In: the upstreams with the senders and recipients that their properties name. Out: the group of
//! a mail. Rules: upstreams whose senders include that of the mail come first; then those whose
//! recipients include its recipient; then those without either. An upstream with both takes mail
//! only where both match. Of several matches the closest counts: an address, then a domain, then
//! the longest `*.domain`. Upstreams that match equally well are one group. A recipient for which
//! there is no group goes by its domain. Pure.

use crate::mail::model::{Address, UpstreamGroup};
use std::sync::Arc;

/// An upstream, and the mail that it is for.
#[derive(Debug, Clone)]
pub struct UpstreamRule {
    /// Its name.
    pub name: Arc<str>,
    /// Addresses, domains, and `*.` with a domain for those below it; in lower case. Empty = any.
    pub senders: Vec<String>,
    /// The same of recipients.
    pub recipients: Vec<String>,
}

/// All upstreams with their rules.
#[derive(Debug, Clone)]
pub struct UpstreamRules {
    rules: Vec<UpstreamRule>,
    /// The group of mail that no rule is about.
    default: Option<Arc<UpstreamGroup>>,
    look_at_recipients: bool,
}

impl UpstreamRules {
    /// Rules of these upstreams; those for all mail are the default group if `default` is set.
    pub fn new(rules: Vec<UpstreamRule>, default: bool) -> Self {
        let is_for_all =
            |rule: &&UpstreamRule| rule.senders.is_empty() && rule.recipients.is_empty();
        let names: Vec<_> = rules.iter().filter(is_for_all).map(|rule| rule.name.clone()).collect();
        let default = (default && !names.is_empty()).then(|| UpstreamGroup::new(names).into());
        let look_at_recipients = rules.iter().any(|rule| !rule.recipients.is_empty());
        Self { rules, default, look_at_recipients }
    }

    /// The group that takes a mail from a sender, `None` for the null sender, to a recipient.
    pub fn group(
        &self,
        sender: Option<&Address>,
        recipient: &Address,
    ) -> Option<Arc<UpstreamGroup>> {
        // Most relays have no upstream for some mail only.
        if self.rules.iter().all(|rule| rule.senders.is_empty() && rule.recipients.is_empty()) {
            return self.default.clone();
        }
        let sender = sender.map(lower).unwrap_or_default();
        let recipient = if self.look_at_recipients { lower(recipient) } else { String::new() };
        let takes = |rule: &UpstreamRule| match rule.recipients.is_empty() {
            true => Some(Closeness::default()),
            false => closest(&rule.recipients, &recipient),
        };
        let by_sender = self.best(|rule| takes(rule).and(closest(&rule.senders, &sender)));
        by_sender
            .or_else(|| {
                self.best(|rule| {
                    let of_recipients = rule.senders.is_empty() && !rule.recipients.is_empty();
                    takes(rule).filter(|_| of_recipients)
                })
            })
            .or_else(|| self.default.clone())
    }

    /// The group of mail that no rule is about; `None`: it goes by domain.
    pub fn default_group(&self) -> Option<&Arc<UpstreamGroup>> {
        self.default.as_ref()
    }

    /// The group of the same upstreams as it is written; `None`: one of them does not exist.
    pub fn known(&self, group: &UpstreamGroup) -> Option<UpstreamGroup> {
        let names = self.rules.iter().map(|rule| &rule.name);
        let names: Vec<_> = names.filter(|name| group.names().contains(name)).cloned().collect();
        (names.len() == group.names().len()).then(|| UpstreamGroup::new(names))
    }

    /// Whether recipients of one mail may go to different upstreams.
    pub fn look_at_recipients(&self) -> bool {
        self.look_at_recipients
    }

    /// The groups that an operator knows: the default one, and each of upstreams that are for the
    /// same mail.
    pub fn groups(&self) -> Vec<Arc<UpstreamGroup>> {
        let mut groups: Vec<Arc<UpstreamGroup>> = self.default.iter().cloned().collect();
        for rule in &self.rules {
            if rule.senders.is_empty() && rule.recipients.is_empty() {
                continue;
            }
            let is_same = |other: &&UpstreamRule| {
                other.senders == rule.senders && other.recipients == rule.recipients
            };
            let names = self.rules.iter().filter(is_same).map(|other| other.name.clone());
            let group = UpstreamGroup::new(names.collect());
            if !groups.iter().any(|known| **known == group) {
                groups.push(Arc::new(group));
            }
        }
        groups
    }

    /// The upstreams that match best.
    fn best(
        &self,
        matching: impl Fn(&UpstreamRule) -> Option<Closeness>,
    ) -> Option<Arc<UpstreamGroup>> {
        let matches: Vec<_> =
            self.rules.iter().filter_map(|rule| Some((matching(rule)?, &rule.name))).collect();
        let best = matches.iter().map(|(closeness, _)| *closeness).max()?;
        let names = matches.into_iter().filter(|(closeness, _)| *closeness == best);
        Some(UpstreamGroup::new(names.map(|(_, name)| name.clone()).collect()).into())
    }
}

/// How closely a pattern fits: its kind (address, domain, subdomains), then its length.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Closeness(u8, usize);

/// The closest of the patterns that fit an address in lower case.
fn closest(patterns: &[String], address: &str) -> Option<Closeness> {
    let domain = address.rsplit_once('@')?.1;
    let fits = |pattern: &String| match pattern.strip_prefix('*') {
        Some(below) => domain.ends_with(below).then_some(Closeness(1, pattern.len())),
        None if pattern == domain => Some(Closeness(2, 0)),
        None => (pattern == address).then_some(Closeness(3, 0)),
    };
    patterns.iter().filter_map(fits).max()
}

fn lower(address: &Address) -> String {
    address.to_string().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: &str, senders: &[&str], recipients: &[&str]) -> UpstreamRule {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        UpstreamRule { name: name.into(), senders: texts(senders), recipients: texts(recipients) }
    }

    fn group(rules: &UpstreamRules, sender: &str, recipient: &str) -> String {
        let address = |text: &str| Address::parse(text).unwrap();
        let sender = (!sender.is_empty()).then(|| address(sender));
        let group = rules.group(sender.as_ref(), &address(recipient));
        group.map_or("by domain".to_owned(), |group| group.to_string())
    }

    #[test]
    fn senders_come_before_recipients_and_both_before_the_rest() {
        let rules = UpstreamRules::new(
            vec![
                rule("rest", &[], &[]),
                rule("spare", &[], &[]),
                rule("shop", &["shop.example"], &[]),
                rule("shop2", &["shop.example", "other.example"], &[]),
                rule("news", &["News@shop.example"].map(|_| "news@shop.example"), &[]),
                rule("below", &["*.shop.example"], &[]),
                rule("deep", &["*.deep.shop.example"], &[]),
                rule("partner", &[], &["partner.example"]),
                rule("both", &["shop.example"], &["partner.example"]),
            ],
            true,
        );
        for (sender, recipient, expected) in [
            ("a@else.example", "b@x.example", "upstream:rest+spare"),
            ("", "b@x.example", "upstream:rest+spare"),
            ("", "b@partner.example", "upstream:partner"),
            ("a@Shop.example", "b@x.example", "upstream:shop+shop2"),
            ("a@shop.example", "b@Partner.example", "upstream:shop+shop2+both"),
            ("NEWS@shop.example", "b@partner.example", "upstream:news"),
            ("a@other.example", "b@x.example", "upstream:shop2"),
            ("a@one.shop.example", "b@x.example", "upstream:below"),
            ("a@one.deep.shop.example", "b@x.example", "upstream:deep"),
            ("a@notshop.example", "b@x.example", "upstream:rest+spare"),
            ("a@else.example", "b@partner.example", "upstream:partner"),
        ] {
            assert_eq!(group(&rules, sender, recipient), expected, "{sender} {recipient}");
        }
        let names: Vec<String> = rules.groups().iter().map(ToString::to_string).collect();
        assert_eq!(names[0], "upstream:rest+spare");
        assert!(names.contains(&"upstream:both".to_owned()), "{names:?}");
    }

    #[test]
    fn without_a_default_the_rest_goes_by_domain() {
        let rules = vec![rule("shop", &["shop.example"], &[]), rule("rest", &[], &[])];
        for (default, expected) in [(true, "upstream:rest"), (false, "by domain")] {
            let rules = UpstreamRules::new(rules.clone(), default);
            assert_eq!(group(&rules, "a@else.example", "b@x.example"), expected);
            assert_eq!(group(&rules, "a@shop.example", "b@x.example"), "upstream:shop");
        }
    }
}

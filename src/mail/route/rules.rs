//! The routing rules: the destination is decided at intake, from the properties alone.
//!
//! Upstreams with senders or recipients of their own come first ([`UpstreamRules`]). Of the rest a
//! smart relay gets everything; without one mail goes by the domains of its recipients, and
//! `cc_mta` gets a copy of each. A decision under other properties [is not valid any
//! more](RouteRules::stands), and is made again. `redirect_all_to` changes no decision: while it is
//! set, all mail [goes](RouteRules::destination) where that address is.

use super::upstream_rules::UpstreamRules;
use crate::ground::host::HostSpec;
use crate::mail::model::{
    Address, ConfiguredHost, Destination, Envelope, Target, TargetProgress, UpstreamGroup,
};
use std::sync::Arc;

/// The rules from the properties; without any, all mail goes by domain.
#[derive(Debug, Clone, Default)]
pub struct RouteRules {
    relay: Option<Arc<ConfiguredHost>>,
    /// Empty while all mail goes to a smart relay or to upstreams.
    copy: Option<Arc<ConfiguredHost>>,
    /// The port of hosts without an explicit one.
    port: u16,
    /// Upstreams with names of their own; `None`: there are none.
    upstreams: Option<Arc<UpstreamRules>>,
    /// The address that gets all mail.
    redirect: Option<Arc<Address>>,
}

impl RouteRules {
    /// The rules of these properties; `port` is that of hosts without an explicit one.
    pub fn new(smart_relay: Option<HostSpec>, cc_mta: Option<HostSpec>, port: u16) -> Self {
        let configured = |spec| Arc::new(ConfiguredHost::from(spec));
        let relay = smart_relay.map(configured);
        let copy = cc_mta.filter(|_| relay.is_none()).map(configured);
        Self { relay, copy, port, upstreams: None, redirect: None }
    }

    /// The same rules with upstreams that have names of their own.
    pub(super) fn with_upstreams(self, rules: UpstreamRules) -> Self {
        let all = rules.default_group().is_some();
        Self {
            // The smart relay is one of the default group.
            relay: self.relay.filter(|_| !all),
            copy: self.copy.filter(|_| !all),
            upstreams: Some(Arc::new(rules)),
            ..self
        }
    }

    /// The same rules, by which all mail goes to one address if there is one.
    pub fn redirecting(self, to: Option<Address>) -> Self {
        Self { redirect: to.map(Arc::new), ..self }
    }

    /// The address that gets all mail, whatever its recipients.
    pub fn redirect(&self) -> Option<&Address> {
        self.redirect.as_deref()
    }

    /// Where mail goes now that was decided to go to `decided`.
    pub fn redirected(&self, sender: Option<&Address>, decided: Destination) -> Destination {
        self.redirect().map_or(decided, |to| self.of(sender, to))
    }

    /// The destination of each target of a mail: its recipients in their order, then the copy, if
    /// it gets one and there is a host for it.
    pub fn decide(&self, envelope: &Envelope, copy: bool) -> Vec<Destination> {
        let mut all: Vec<Destination> = Vec::with_capacity(envelope.recipients.len() + 1);
        for recipient in &envelope.recipients {
            let same = all.last().filter(|last| self.is_where(recipient, last)).cloned();
            all.push(same.unwrap_or_else(|| self.of(envelope.sender.as_ref(), recipient)));
        }
        all.extend(self.copy().filter(|_| copy));
        all
    }

    /// The destination of mail from a sender, `None` for the null sender, to a recipient.
    pub fn of(&self, sender: Option<&Address>, recipient: &Address) -> Destination {
        let rules = self.upstreams.as_ref();
        if let Some(group) = rules.and_then(|rules| rules.group(sender, recipient)) {
            return Destination::Upstreams(group);
        }
        match &self.relay {
            Some(relay) => Destination::SmartRelay(relay.clone()),
            None => Destination::domain_of(recipient),
        }
    }

    /// The destination of carbon copies; `None` without `cc_mta`, or while all mail goes to a smart
    /// relay or to upstreams.
    pub fn copy(&self) -> Option<Destination> {
        self.copy.clone().map(Destination::Copy)
    }

    /// Where a target goes now: to the address that gets all mail if there is one, else as
    /// [`RouteRules::decided`].
    pub fn destination(
        &self,
        envelope: &Envelope,
        progress: &TargetProgress,
    ) -> Option<Destination> {
        match self.redirect() {
            Some(to) => Some(self.of(envelope.sender.as_ref(), to)),
            None => self.decided(envelope, progress),
        }
    }

    /// The destination of a target, to be stored: as it was decided, if that is still valid; else
    /// as it is decided now. `None` for a copy that has no destination any more.
    pub fn decided(&self, envelope: &Envelope, progress: &TargetProgress) -> Option<Destination> {
        match (&progress.destination, progress.target) {
            (Some(decided), _) if self.stands(decided) => Some(decided.clone()),
            (_, Target::Recipient(place)) => {
                let recipient = envelope.recipients.get(usize::from(place))?;
                Some(self.of(envelope.sender.as_ref(), recipient))
            }
            (_, Target::Copy) => self.copy(),
        }
    }

    /// Whether the properties still send mail there, whatever its envelope. While there are rules
    /// for senders or recipients, only the envelope tells.
    pub fn stands(&self, destination: &Destination) -> bool {
        match destination {
            Destination::Domain(_) => self.relay.is_none() && self.upstreams.is_none(),
            Destination::SmartRelay(host) => {
                self.relay.as_ref() == Some(host) && self.upstreams.is_none()
            }
            Destination::Upstreams(_) => false,
            Destination::Copy(host) => self.copy.as_ref() == Some(host),
        }
    }

    /// The destinations that an operator configured: the smart relay, upstreams, or the host for
    /// carbon copies.
    pub fn named(&self) -> impl Iterator<Item = Destination> {
        let groups = self.upstreams.iter().flat_map(|rules| rules.groups());
        let groups = groups.map(Destination::Upstreams);
        self.relay.clone().map(Destination::SmartRelay).into_iter().chain(groups).chain(self.copy())
    }

    /// The destination that an operator means by `name`: its own name, or another form of the host
    /// in a property.
    ///
    /// # Errors
    /// Nothing ever goes there; the text gives the valid names.
    pub fn destination_named(&self, name: &str) -> Result<Destination, String> {
        if let Some(same) = self.named().find(|named| named.has_name(name)) {
            return Ok(same);
        }
        if let Some(group) = self.group_named(name) {
            return Ok(Destination::Upstreams(group));
        }
        let bare = name.strip_prefix(Destination::COPY).unwrap_or(name);
        let is_host_of = |spec: &Option<Arc<ConfiguredHost>>| {
            let (Some(spec), Ok(given)) = (spec, bare.parse::<HostSpec>()) else { return false };
            given.host == spec.host
                && given.port.is_none_or(|port| port == spec.port.unwrap_or(self.port))
        };
        if let Some(relay) = self.relay.as_ref().filter(|_| bare == name && is_host_of(&self.relay))
        {
            return Ok(Destination::SmartRelay(relay.clone()));
        }
        // A recipient's domain has precedence: its mail and the copies of all mail are two
        // destinations.
        if bare == name
            && self.goes_by_domain()
            && let Some(domain) = Destination::domain(name)
        {
            return Ok(domain);
        }
        let copy = self.copy().filter(|_| is_host_of(&self.copy));
        copy.ok_or_else(|| self.no_destination(name))
    }

    /// The destination with this whole name, perhaps under other properties; `None` when there
    /// never was one.
    pub fn named_once(&self, name: &str) -> Option<Destination> {
        let host = |text: &str| text.parse::<ConfiguredHost>().ok().map(Arc::new);
        if let Some(named) = self.named().find(|named| named.has_name(name)) {
            return Some(named);
        }
        if let Some(group) = UpstreamGroup::parse(name) {
            return Some(Destination::Upstreams(Arc::new(group)));
        }
        match name.strip_prefix(Destination::COPY) {
            Some(copy) => host(copy).map(Destination::Copy),
            None => Destination::domain(name).or_else(|| host(name).map(Destination::SmartRelay)),
        }
    }

    /// A group of upstreams that exist, by its text; their order in it does not matter.
    fn group_named(&self, name: &str) -> Option<Arc<UpstreamGroup>> {
        let (rules, group) = (self.upstreams.as_ref()?, UpstreamGroup::parse(name)?);
        rules.known(&group).map(Arc::new)
    }

    /// Whether some mail goes by the domains of its recipients.
    fn goes_by_domain(&self) -> bool {
        let all = self.upstreams.as_ref().and_then(|rules| rules.default_group());
        self.relay.is_none() && all.is_none()
    }

    /// What to say of a name to which nothing goes.
    fn no_destination(&self, name: &str) -> String {
        match (&self.relay, &self.upstreams) {
            (Some(relay), None) => format!(
                "all mail goes to {relay} (property smart_relay), and none to {name}; name {relay}"
            ),
            (_, Some(_)) => {
                let names: Vec<String> = self.named().map(|named| named.to_string()).collect();
                let domain = if self.goes_by_domain() { ", or a domain" } else { "" };
                format!("no mail goes to {name}; name one of {}{domain}", names.join(", "))
            }
            (None, None) => format!(
                "mail goes by the domain of its recipients, and none to {name}; name a domain"
            ),
        }
    }

    /// Whether mail to the recipient goes to this destination, which is still valid and that of
    /// another recipient of the same mail.
    fn is_where(&self, recipient: &Address, destination: &Destination) -> bool {
        if self.upstreams.as_ref().is_some_and(|rules| rules.look_at_recipients()) {
            return false;
        }
        match destination {
            Destination::Domain(domain) => domain.as_str() == recipient.domain_text(),
            Destination::SmartRelay(_) | Destination::Upstreams(_) => true,
            Destination::Copy(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::model::BodyType;

    fn rules(smart_relay: Option<&str>, cc_mta: Option<&str>) -> RouteRules {
        let host = |text: Option<&str>| text.map(|text| text.parse().unwrap());
        RouteRules::new(host(smart_relay), host(cc_mta), 25)
    }

    fn envelope(recipients: &[&str]) -> Envelope {
        let recipients = recipients.iter().map(|to| Address::parse(to).unwrap()).collect();
        Envelope { sender: None, recipients, body: BodyType::SevenBit, smtputf8: false, dsn: None }
    }

    fn names(decided: &[Destination]) -> Vec<String> {
        decided.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_target_goes_by_one_rule() {
        let mail = envelope(&["a@One.example", "b@one.example", "c@two.example"]);
        let by_domain = rules(None, Some("copies.example")).decide(&mail, true);
        let expected = ["one.example", "one.example", "two.example", "cc:copies.example"];
        assert_eq!(names(&by_domain), expected);
        assert_eq!(by_domain[0], by_domain[1]);
        let relayed = rules(Some("[hub]:26"), Some("copies.example")).decide(&mail, true);
        assert_eq!(names(&relayed), ["[hub]:26"; 3]);
    }

    #[test]
    fn what_was_decided_counts_while_the_properties_say_so() {
        let mail = envelope(&["a@one.example"]);
        let (hub, other) = (rules(Some("hub"), None), rules(Some("other"), None));
        let (plain, copied) = (RouteRules::default(), rules(None, Some("copies.example")));
        let where_to = |rules: &RouteRules, target, decided: Option<Destination>| {
            let progress = TargetProgress { destination: decided, ..TargetProgress::new(target) };
            rules.destination(&mail, &progress).map(|destination| destination.to_string())
        };
        let recipient = Target::Recipient(0);
        for (then, now, name) in [
            (&hub, &hub, "hub"),
            (&hub, &other, "other"),
            (&hub, &plain, "one.example"),
            (&plain, &hub, "hub"),
            (&copied, &plain, "one.example"),
        ] {
            let decided = then.decide(&mail, false).pop();
            assert_eq!(now.stands(decided.as_ref().unwrap()), then.relay == now.relay);
            assert_eq!(where_to(now, recipient, decided).as_deref(), Some(name));
        }
        // No decision was recorded then.
        assert_eq!(where_to(&hub, recipient, None).as_deref(), Some("hub"));
        // A map may have given another destination than its own domain, and that stays.
        let elsewhere = Destination::domain("mapped.example");
        assert_eq!(where_to(&plain, recipient, elsewhere).as_deref(), Some("mapped.example"));
        for (now, name) in [(&copied, Some("cc:copies.example")), (&plain, None), (&hub, None)] {
            assert_eq!(where_to(now, Target::Copy, copied.copy()).as_deref(), name);
        }
    }

    #[test]
    fn names_of_other_days_are_known() {
        let known = |rules: RouteRules, name: &str| rules.named_once(name);
        for name in ["one.example", "[192.0.2.1]", "[hub]:26", "hub:26", "cc:hub", "cc:[hub]:26"] {
            assert_eq!(known(RouteRules::default(), name).unwrap().name(), name);
        }
        let relay = known(rules(Some("hub.example"), None), "hub.example");
        assert!(matches!(relay, Some(Destination::SmartRelay(_))));
        let domain = known(rules(None, None), "hub.example");
        assert!(matches!(domain, Some(Destination::Domain(_))));
        assert_eq!(
            (known(rules(None, None), "x y"), known(rules(None, None), "cc:")),
            (None, None)
        );
    }
}

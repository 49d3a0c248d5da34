//! Facts about the appliance for pages and the API that do not change while it runs.

use crate::api::setting::{Setting, SettingGroup, SettingOrigin};
use crate::api::state::{Facts, UpstreamFacts};
use crate::appliance::class::PropertyGroup;
use crate::appliance::property::secret::MASK;
use crate::appliance::property::upstream::ConfiguredUpstream;
use crate::appliance::property::{
    AddressMasking, Settings, ShownProperty, ValueOrigin, relay_summary,
};
use crate::appliance::resources::Resources;
use crate::ground::clock;
use crate::ground::gateway::default_gateways;
use crate::monitor::components::{ComponentStatus, Condition};

/// From the properties, after everything was mounted.
pub(super) fn facts(settings: &Settings, resources: &Resources) -> Facts {
    Facts {
        hostname: settings.hostname.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        who_may_relay: who_may_relay(settings, resources),
        modes: settings.staging_modes().into_iter().map(|mode| (mode.words, mode.public)).collect(),
        started: clock::now(),
        masks_subjects: settings.address_masking != AddressMasking::None,
        settings: settings.shown().into_iter().map(setting).collect(),
        upstreams: upstreams(settings),
    }
}

fn upstreams(settings: &Settings) -> Vec<UpstreamFacts> {
    let all = settings.upstreams();
    let (is_alone, by_domain) = (all.len() == 1, settings.goes_by_domain());
    all.into_iter().map(|one| upstream(one, is_alone, by_domain)).collect()
}

fn upstream(upstream: ConfiguredUpstream, is_alone: bool, by_domain: bool) -> UpstreamFacts {
    let host_property = upstream.host_property();
    UpstreamFacts {
        rules: rules(&upstream, is_alone, by_domain),
        name: upstream.name,
        host: upstream.host.to_string(),
        host_property,
        prefix: upstream.prefix,
        tls: upstream.tls.as_str().to_owned(),
        // Some providers take one token as both.
        username: upstream.login.map(|(name, password)| match name == password.expose() {
            true => MASK.to_owned(),
            false => name,
        }),
        connections_max: upstream.connections,
    }
}

/// Which mail goes to an upstream. `by_domain`: some mail goes to the hosts of its domain.
fn rules(upstream: &ConfiguredUpstream, is_alone: bool, by_domain: bool) -> String {
    let mut words = Vec::new();
    if upstream.is_for_all() {
        words.push(match (by_domain, is_alone) {
            (true, _) => "mail that the hosts of its domain do not take".to_owned(),
            (false, true) => "all mail".to_owned(),
            (false, false) => "all other mail".to_owned(),
        });
    }
    if !upstream.senders.is_empty() {
        words.push(format!("mail of {}", upstream.senders.join(", ")));
    }
    if !upstream.recipients.is_empty() {
        words.push(format!("mail to {}", upstream.recipients.join(", ")));
    }
    if !is_alone {
        words.push(format!("priority {}, weight {}", upstream.priority, upstream.weight));
    }
    words.join("; ")
}

fn setting(shown: ShownProperty) -> Setting {
    Setting {
        variable: shown.variable(),
        source: shown.origin(),
        origin: match shown.source {
            ValueOrigin::Default => SettingOrigin::Default,
            ValueOrigin::Environment | ValueOrigin::Imported(_) => SettingOrigin::Environment,
            ValueOrigin::File(_) => SettingOrigin::File,
        },
        name: shown.name,
        value: shown.value,
        kind: shown.kind,
        list: shown.list,
        group: match shown.group {
            PropertyGroup::Founding => SettingGroup::Founding,
            PropertyGroup::Container => SettingGroup::Container,
        },
        masked: shown.masked,
        changed: shown.changed,
        summary: shown.summary,
    }
}

/// The property or file that names the name servers.
pub(super) fn name_servers(settings: &Settings) -> &'static str {
    if settings.dns_servers.is_empty() {
        "/etc/resolv.conf (or of dns_servers, once it is set)"
    } else {
        "dns_servers"
    }
}

/// The statement, and which clients share a limit.
fn who_may_relay(settings: &Settings, resources: &Resources) -> String {
    let (trusted, gateways) = (&settings.smtpd_trusted_networks, default_gateways());
    let mut words = relay_summary::who_may_relay(trusted, &gateways).statement;
    if let Some(share) = relay_summary::gateway_share(trusted, &gateways, resources.for_strangers())
    {
        let mut rest = share.chars();
        words.extend([' '].into_iter().chain(rest.next().into_iter().flat_map(char::to_uppercase)));
        words += rest.as_str();
        words.push('.');
    }
    if let Some(devices) = settings.devices() {
        words += &format!(" {devices}");
    }
    words
}

/// The terminals.
pub(super) fn terminals(settings: &Settings) -> Vec<ComponentStatus> {
    let smtp = if settings.ssl_disabled {
        format!("SMTP on port {}", settings.smtp_port)
    } else {
        format!(
            "SMTP with STARTTLS on port {}, SMTPS (implicit TLS) on port {}",
            settings.smtp_port, settings.smtps_port
        )
    };
    let smtp = match settings.smtp_users.len() {
        0 => smtp,
        _ => format!("{smtp}, logins on port {}", settings.submission_port),
    };
    let mut net = outgoing(settings);
    if let Some(gateway) = &settings.terminal_net {
        net += &format!(", through gateway {gateway}");
    }
    let connected = |name, text| ComponentStatus { name, condition: Condition::Connected, text };
    vec![
        connected("in", format!("{smtp}, this web UI on port {}", settings.ui_port)),
        connected("net", net),
        optional("mon", Condition::Connected, settings.terminal_mon.clone()),
        optional("log", Condition::Mounted, settings.terminal_log.clone()),
        optional("fs", Condition::Mounted, settings.terminal_fs.clone()),
    ]
}

/// Where mail goes.
fn outgoing(settings: &Settings) -> String {
    let upstreams = settings.upstreams();
    let named = |all: bool| {
        let names = upstreams.iter().filter(|one| one.is_for_all() == all);
        names.map(|one| one.host.to_string()).collect::<Vec<_>>().join(", ")
    };
    let (all, some) = (named(true), named(false));
    let mut words = match (settings.goes_by_domain(), &settings.cc_mta) {
        (false, _) => format!("all mail to {all}"),
        (true, Some(copy)) => format!("mail to each domain's MX, copies to {copy}"),
        (true, None) => "mail to each domain's MX".to_owned(),
    };
    if settings.goes_by_domain() && !all.is_empty() {
        words += &format!(", what fails to {all}");
    }
    if !some.is_empty() {
        words += &format!(", mail of some senders or recipients to {some}");
    }
    words
}

/// The volumes.
pub(super) fn volumes(settings: &Settings) -> Vec<ComponentStatus> {
    let key = settings.volume_key.as_ref().map(|path| path.display().to_string());
    vec![
        optional("data", Condition::Mounted, Some(settings.volume_data.display().to_string())),
        optional("key", Condition::Mounted, key),
    ]
}

fn optional(name: &'static str, condition: Condition, wired_to: Option<String>) -> ComponentStatus {
    match wired_to {
        Some(text) => ComponentStatus { name, condition, text },
        None => ComponentStatus {
            name,
            condition: Condition::NotConnected,
            text: "not connected".to_owned(),
        },
    }
}

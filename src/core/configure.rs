//! The configuration of each module, from the properties.

use super::process_resources::ProcessResources;
use super::start_failures::{data_volume, internal};
use super::upstreams;
use crate::appliance::failure::Failure;
use crate::appliance::property::account::Account;
use crate::appliance::property::destination_rate::DestinationRate;
use crate::appliance::property::{
    AddressMasking, OtherRecipients, SenderRewrite, Settings, SmartRelayMode,
};
use crate::appliance::resources::{Resources, Shortage};
use crate::appliance::supervise::status::CoreHealth;
use crate::directory::UserList;
use crate::ground::credential::name_secret::NameSecret;
use crate::ground::credential::verifier::Verifier;
use crate::ground::dns;
use crate::ground::gateway::default_gateways;
use crate::ground::memory::Gauge;
use crate::ground::net::{ConnectionLimits, WIDE_MAX};
use crate::http::Login;
use crate::http::access::Access;
use crate::http::allowed_hosts::AllowedHosts;
use crate::http::token::Token;
use crate::mail::accept::{Conduct, Limits, SmtpTls};
use crate::mail::admit::{Policy, StagingRules};
use crate::mail::authentication::Authenticator;
use crate::mail::deliver;
use crate::mail::device::{self, DeviceRules};
use crate::mail::events::MailEvents;
use crate::mail::history::{self, Masking};
use crate::mail::intake::Intake;
use crate::mail::model::{Address, SenderList};
use crate::mail::outbound::{self, Outbound};
use crate::mail::parse::SessionLimits;
use crate::mail::rewrite;
use crate::mail::route::counters::RouteCounters;
use crate::mail::route::{self, Router};
use crate::mail::schedule;
use crate::mail::sessions::SessionRegistry;
use crate::mail::spool::{self, SegmentLog};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

pub(super) fn open_spool(process: &ProcessResources) -> Result<Arc<SegmentLog>, Failure> {
    let resources = &process.resources;
    let tell = |progress: String| {
        // The supervisor ends a start that reports nothing for long.
        process.status.health(&CoreHealth::Alive);
        tracing::info!(target: "mta", "{progress}");
    };
    let config = spool::SpoolConfig {
        buffer_own: resources.buffer_own.min(spool::BUFFER_OWN),
        buffer_shared: resources.buffer_shared.min(spool::BUFFER_SHARED),
        ..spool::SpoolConfig::default()
    };
    SegmentLog::open(process.disk.clone(), config, process.counters.spool.clone(), &tell)
        .map(Arc::new)
        .map_err(|error| data_volume(error.to_string()))
}

pub(super) fn router<'a>(
    settings: &Settings,
    listeners: impl Iterator<Item = &'a TcpListener>,
    counters: &Arc<RouteCounters>,
) -> Result<Router, Failure> {
    let resolver = dns::system(&settings.dns_servers).map_err(|error| internal("DNS", &error))?;
    let config = route::RouteConfig {
        smart_relay: settings.smart_relay_host(),
        cc_mta: settings.cc_mta.clone(),
        fallback: settings.smart_relay_mode == SmartRelayMode::Fallback,
        hostname: settings.hostname.clone(),
        own_addresses: listeners.filter_map(|listener| listener.local_addr().ok()).collect(),
        port: 25,
    };
    let router = Router::new(config, resolver)
        .local_mail_hosts(settings.local_mail_hosts.clone())
        .redirecting(redirect(settings)?);
    Ok(router.upstreams(upstreams::routed(settings)).counted(counters.clone()))
}

pub(super) fn deliver_config(settings: &Settings) -> deliver::DeliverConfig {
    deliver::DeliverConfig {
        hostname: settings.hostname.clone(),
        timeouts: deliver::Timeouts::default(),
        bind: None,
        recipients_max: settings.destination_recipient_limit as usize,
    }
}

pub(super) fn history_config(settings: &Settings) -> history::HistoryConfig {
    history::HistoryConfig {
        enabled: settings.history_enabled,
        size: settings.history_size,
        time: settings.history_time,
        content: settings.history_content,
        masking: masking(settings),
    }
}

pub(super) fn masking(settings: &Settings) -> Masking {
    match settings.address_masking {
        AddressMasking::None => Masking::None,
        AddressMasking::Smart => Masking::Smart,
        AddressMasking::Hash => Masking::Hash,
    }
}

pub(super) fn outbound_config(
    settings: &Settings,
    resources: &Resources,
) -> outbound::OutboundConfig {
    outbound::OutboundConfig {
        hostname: settings.hostname.clone(),
        staging: Arc::new(staging(settings)),
        bounce_address: mailbox(settings.bounce_address.as_deref()),
        schedule: schedule_config(settings, resources),
        fresh_max: resources.fresh.min(outbound::FRESH_MAX),
    }
}

/// How many mails go to a destination in a time.
pub(super) fn destination_rates(settings: &Settings) -> schedule::RateRules {
    let rule = |rate: &DestinationRate| (rate.domain.clone(), rate.limit.clone());
    schedule::RateRules::new("destination_rates", settings.destination_rates.iter().map(rule))
}

/// Which senders become which.
fn senders(settings: &Settings) -> rewrite::SenderRules {
    let entry = |entry: &SenderRewrite| (entry.old.clone(), entry.new.clone());
    rewrite::SenderRules {
        rewrites: settings.sender_rewrites.iter().map(entry).collect(),
        all: mailbox(settings.rewrite_from.as_deref()),
    }
}

/// Which recipients may get mail, and what is held.
fn staging(settings: &Settings) -> StagingRules {
    StagingRules {
        allow: settings.recipient_allow.clone(),
        capture_others: settings.recipient_others == OtherRecipients::Capture,
        capture: settings.capture,
    }
}

/// The address that gets all mail. One that could not be used must not send mail to others.
fn redirect(settings: &Settings) -> Result<Option<Address>, Failure> {
    let parsed = settings.redirect_all_to.as_deref().map(Address::parse).transpose();
    parsed.map_err(|error| internal("redirect_all_to", &error))
}

/// An address of a property, whose form was checked when it was read.
fn mailbox(text: Option<&str>) -> Option<Address> {
    text.and_then(|address| Address::parse(address).ok())
}

fn schedule_config(settings: &Settings, resources: &Resources) -> schedule::ScheduleConfig {
    let seconds = |duration: Duration| u32::try_from(duration.as_secs()).unwrap_or(u32::MAX);
    schedule::ScheduleConfig {
        concurrency: settings.destination_concurrency_limit,
        agents_max: resources.agents.min(outbound::AGENTS_MAX),
        overtime_max: resources.overtime,
        minimal_backoff: seconds(settings.minimal_backoff_time).max(1),
        maximal_backoff: seconds(settings.maximal_backoff_time).max(1),
        lifetime: seconds(settings.queue_lifetime),
        delay_warning: seconds(settings.delay_warning_time),
    }
}

/// Which clients may relay; one policy for all users, so that it follows the default routes
/// everywhere.
pub(super) fn policy(settings: &Settings) -> Arc<Policy> {
    let policy = Policy::new(settings.smtpd_trusted_networks.clone(), default_gateways());
    Arc::new(with_proxies(policy, settings))
}

/// The proxies are the same at every port for mail.
fn with_proxies(policy: Policy, settings: &Settings) -> Policy {
    let policy = policy.with_proxies(settings.smtp_proxies());
    policy.with_xclient(settings.xclient_networks.clone())
}

pub(super) fn intake(
    process: &ProcessResources,
    (policy, authenticator): (&Arc<Policy>, Option<Authenticator>),
    (spool, outbound): (&Arc<SegmentLog>, &Arc<Outbound<SegmentLog>>),
    (registry, events): (&Arc<SessionRegistry>, &Arc<MailEvents>),
    tls: Option<Arc<SmtpTls>>,
) -> Intake<SegmentLog> {
    let ProcessResources { settings, counters, resources, memory, .. } = process;
    let onward = outbound.clone();
    Intake {
        spool: spool.clone(),
        onward: Box::new(move |message| onward.enqueue(message)),
        authenticator,
        allowed_senders: SenderList::new(settings.allowed_sender_domains.clone()),
        policy: policy.clone(),
        device: None,
        staging: Arc::new(staging(settings)),
        rules: SessionLimits::new(settings.hostname.clone(), settings.message_size_limit),
        rewriting: rewrite::RewriteConfig {
            origin_domain: settings.origin_domain.as_ref().unwrap_or(&settings.hostname).clone(),
            drop_headers: settings.message_drop_headers.0.clone(),
            add_missing_headers: settings.always_add_missing_headers,
            senders: senders(settings),
        },
        route_rules: outbound.route_rules().clone(),
        tls,
        counters: counters.accept.clone(),
        events: events.clone(),
        registry: registry.clone(),
        conduct: Conduct::new(),
        limits: smtp_limits(settings, resources, memory),
    }
}

/// The intake of the listener for devices: only `device_networks` are served there.
pub(super) fn device_intake(
    process: &ProcessResources,
    onward: (&Arc<SegmentLog>, &Arc<Outbound<SegmentLog>>),
    consumers: (&Arc<SessionRegistry>, &Arc<MailEvents>),
    tls: Option<Arc<SmtpTls>>,
) -> Intake<SegmentLog> {
    let settings = &process.settings;
    let policy = Policy::new(settings.device_networks.clone(), default_gateways());
    let policy = Arc::new(with_proxies(policy, settings));
    let intake = intake(process, (&policy, None), onward, consumers, tls);
    let sessions = intake.limits.connection.sessions.min(device::SESSIONS_MAX);
    // Some are left to tell everybody else why they are refused.
    let reserve = sessions - sessions / 5;
    let connection = ConnectionLimits { sessions, reserve, ..intake.limits.connection.clone() };
    Intake {
        device: Some(DeviceRules::new(settings.device_user.clone(), settings.device_rate)),
        limits: Limits { connection, ..intake.limits },
        ..intake
    }
}

/// How the users log in by SMTP.
pub(super) fn logins(
    settings: &Settings,
    (users, secret): (Arc<UserList>, NameSecret),
    verifier: &Arc<Verifier>,
) -> Authenticator {
    let smtps = (!settings.ssl_disabled).then_some(settings.smtps_port);
    let ports = smtps.into_iter().chain([settings.submission_port]).collect();
    let plaintext = settings.plaintext_auth_networks.clone();
    Authenticator::new((users, secret), verifier.clone(), plaintext, ports)
}

/// The limits of SMTP sessions that properties and resources set; the others are those of SMTP.
fn smtp_limits(settings: &Settings, resources: &Resources, memory: &Arc<Gauge>) -> Limits {
    let limits = Limits::default();
    Limits {
        connection: ConnectionLimits {
            sessions: resources.sessions as usize,
            reserve: resources.reserve as usize,
            scarce: resources.scarce == Some(Shortage::Memory),
            memory: memory.clone(),
            input: resources.input,
            wide: resources.wide.min(WIDE_MAX),
            sessions_per_address: settings.session_limit_per_address as usize,
            ..limits.connection
        },
        ..limits
    }
}

/// The permissions at `ui_port`.
pub(super) fn access(
    settings: &Settings,
    policy: &Arc<Policy>,
    verifier: &Arc<Verifier>,
) -> Access {
    let password =
        || settings.password.as_ref().map(|password| password.expose()).unwrap_or_default();
    let outside = settings.ui_url.as_ref().map(|url| url.host.as_str());
    let near = policy.clone();
    let names = [settings.hostname.as_str()].into_iter().chain(outside);
    Access {
        login: settings.username.as_ref().map(|username| Login::new(username, password())),
        tokens: settings.api_tokens.iter().filter_map(token).collect(),
        public: settings.ui_public,
        read_only: settings.ui_read_only,
        hosts: AllowedHosts::new(names.chain(settings.ui_hosts.iter().map(String::as_str))),
        outside: settings.ui_url.clone(),
        proxies: settings.http_proxies(),
        near: Some(Box::new(move |address| near.may_relay(address))),
        verifier: verifier.clone(),
    }
}

fn token(account: &Account) -> Option<Token> {
    // Its hash was checked when the properties were read.
    let token = Token::new(&account.name, account.hash.expose()).ok()?;
    Some(token.limited(account.senders.clone(), account.networks.clone(), account.rate))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::appliance::property;

    fn settings() -> Settings {
        let Ok(loaded) = property::load() else { panic!("the defaults are right") };
        loaded.settings
    }

    #[test]
    fn sessions_have_the_limits_of_smtp_where_no_property_sets_another() {
        let settings = Settings { session_limit_per_address: 7, ..settings() };
        let resources = Resources::of(&settings, None, 100_000);
        let limits = smtp_limits(&settings, &resources, &Gauge::shared());
        let connection = limits.connection;
        assert_eq!(connection.command, Duration::from_secs(300), "RFC 5321 §4.5.3.2.7");
        assert_eq!(connection.handshake_trusted, connection.command);
        assert_eq!(limits.content, Duration::from_secs(180), "RFC 5321 §4.5.3.2.5");
        assert_eq!((connection.sessions, connection.sessions_per_address), (1000, 7));
    }

    #[test]
    fn a_gateway_that_comes_later_is_a_stranger_at_every_port() {
        let settings =
            Settings { smtpd_trusted_networks: vec!["10.7.0.0/16".parse().unwrap()], ..settings() };
        let policy = policy(&settings);
        let near = access(&settings, &policy, &Arc::default()).near.unwrap();
        let gateway = "10.7.0.1".parse().unwrap();
        assert!(near(gateway) && policy.may_relay(gateway));
        policy.set_gateways(vec![gateway]);
        assert!(!near(gateway) && !policy.may_relay(gateway));
    }
}

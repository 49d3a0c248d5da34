//! Upstreams in the core: their access from properties and files, and newer files at run time.
//!
//! In: [`Settings`], and the content of files, which the supervisor reads. Out: the accesses of
//! `deliver`, the keepers of their access tokens, and the upstreams of `route`. Security: content
//! that cannot be used is not used; the former stays.

use crate::appliance::failure::Failure;
use crate::appliance::property::oauth::ConfiguredOAuth;
use crate::appliance::property::upstream::{ConfiguredUpstream, DEFAULT};
use crate::appliance::property::{Secret, Settings};
use crate::appliance::supervise::orders::{UpstreamFileContents, UpstreamFileMap};
use crate::appliance::supervise::status::StatusWriter;
use crate::appliance::supervise::upstream_files::UpstreamFiles;
use crate::ground::credential::sasl::ClientCredentials;
use crate::ground::credential::token_source::TokenSource;
use crate::ground::disk::Disk;
use crate::ground::tls::{UpstreamTlsError, authorities, upstream_client, verifying_client};
use crate::mail::deliver::{UpstreamAccess, UpstreamAccesses, UpstreamLimits, UpstreamSecrets};
use crate::mail::model::{
    Destination, Principal, QueueAdmin, QueueOrder, Selection, UpstreamMonitor,
};
use crate::mail::outbound::Outbound;
use crate::mail::route::RoutedUpstream;
use crate::mail::spool::SegmentLog;
use crate::mail::upstream::UpstreamHealth;
use crate::mail::upstream::counters::UpstreamCounters;
use crate::mail::upstream_test::TestedUpstream;
use crate::oauth::counters::OAuthCounters;
use crate::oauth::{TokenConfig, TokenKeeper};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The keepers of access tokens by the names of their upstreams; those without OAuth2 have none.
pub(super) type TokenKeepers = BTreeMap<String, Arc<TokenKeeper>>;

/// The health of the upstreams: nothing is known against any.
pub(super) fn health(settings: &Settings, counters: &Arc<UpstreamCounters>) -> Arc<UpstreamHealth> {
    let upstreams = settings.upstreams();
    let names = upstreams.iter().map(|upstream| upstream.name.as_str());
    let limited = |health: UpstreamHealth, upstream: &ConfiguredUpstream| match &upstream.rate {
        Some(rate) => health.limited(&upstream.name, &format!("{}_rate", upstream.prefix), rate),
        None => health,
    };
    let health = UpstreamHealth::new(names, counters.clone());
    Arc::new(upstreams.iter().fold(health, limited))
}

/// The keepers of access tokens, with the first content of their files.
///
/// # Errors
/// A file holds something else than it should.
pub(super) fn keepers(
    settings: &Settings,
    files: &UpstreamFileMap,
    disk: &Arc<dyn Disk>,
    counters: &Arc<OAuthCounters>,
) -> Result<TokenKeepers, Failure> {
    let mut keepers = TokenKeepers::new();
    for upstream in settings.upstreams() {
        let Some(oauth) = &upstream.oauth else { continue };
        let config = token_config(oauth, files.get(&upstream.name))
            .map_err(|error| UpstreamFiles::failure(format!("{}: {error}", upstream.prefix)))?;
        let keeper = TokenKeeper::new(&upstream.name, config, disk.clone(), counters.clone());
        keepers.insert(upstream.name, Arc::new(keeper));
    }
    Ok(keepers)
}

/// The accesses, with the first content of their files.
///
/// # Errors
/// A file holds something else than it should.
pub(super) fn accesses(
    settings: &Settings,
    files: &UpstreamFileMap,
    keepers: &TokenKeepers,
    monitor: &Arc<UpstreamHealth>,
) -> Result<UpstreamAccesses, Failure> {
    let access = |upstream: ConfiguredUpstream| {
        let secrets = secrets(&upstream, files.get(&upstream.name), keepers)
            .map_err(|error| UpstreamFiles::failure(format!("{}: {error}", upstream.prefix)))?;
        let limits = UpstreamLimits {
            recipients: upstream.recipient_limit.map(|most| most as usize),
            mails: upstream.mails_per_connection,
        };
        let (name, prefix) = (upstream.name.as_str(), upstream.prefix.as_str());
        let monitor = monitor.clone();
        let access = UpstreamAccess::new(name, prefix, upstream.tls, limits, monitor, secrets)
            .with_connections_max(upstream.connections);
        Ok((access.name.clone(), Arc::new(access)))
    };
    settings.upstreams().into_iter().map(access).collect()
}

/// Uses newer content of files from the next connection on. A new login ends the pause of an
/// upstream that has refused the former one.
pub(super) fn take(
    (accesses, keepers, health): (&UpstreamAccesses, &TokenKeepers, &UpstreamHealth),
    settings: &Settings,
    files: &UpstreamFileMap,
    status: &StatusWriter,
) {
    for upstream in settings.upstreams() {
        let Some(access) = accesses.get(upstream.name.as_str()) else { continue };
        let files = files.get(&upstream.name);
        let renewed = upstream.oauth.as_ref().zip(keepers.get(&upstream.name));
        let taken = secrets(&upstream, files, keepers).and_then(|secrets| {
            let has_other_tokens = match renewed {
                Some((oauth, keeper)) => keeper.replace(token_config(oauth, files)?),
                None => false,
            };
            Ok(access.replace(secrets) || has_other_tokens)
        });
        match taken {
            Ok(true) => health.renewed(&upstream.name),
            Ok(false) => {}
            Err(error) => {
                let text = format!(
                    "the new files of {} cannot be used, their former content stays in use: \
                    {error}",
                    upstream.prefix
                );
                tracing::error!(target: "mta", "{text}");
                status.event(&text);
            }
        }
    }
}

/// The upstreams as tests know them.
pub(super) fn tested(settings: &Settings, accesses: &UpstreamAccesses) -> Vec<TestedUpstream> {
    let tested = |upstream: ConfiguredUpstream| {
        let access = accesses.get(upstream.name.as_str())?.clone();
        let host_property = upstream.host_property();
        Some(TestedUpstream { access, host: upstream.host.into(), host_property })
    };
    settings.upstreams().into_iter().filter_map(tested).collect()
}

/// Offers the mail of upstreams whose pause was ended before its time, at once.
pub(super) async fn offer_again(
    health: Arc<UpstreamHealth>,
    admin: Arc<dyn QueueAdmin>,
    outbound: Arc<Outbound<SegmentLog>>,
) {
    loop {
        for name in health.next_renewed().await {
            let places = outbound.route_rules().named();
            let places: Vec<Destination> =
                places.filter(|place| is_of_upstream(place, &name)).collect();
            for place in places {
                let principal = Principal { user: format!("upstream {name}"), address: None };
                let all_there = Selection::Domain(place.to_string());
                if let Err(error) = admin.order(QueueOrder::Retry, all_there, principal).await {
                    tracing::warn!(
                        target: "mta", upstream = name, cause = %error,
                        "its mail is offered again only when its turn comes"
                    );
                }
            }
        }
    }
}

/// Whether mail for a destination may go to an upstream.
fn is_of_upstream(place: &Destination, name: &str) -> bool {
    match place {
        Destination::SmartRelay(_) => name == DEFAULT,
        Destination::Upstreams(group) => group.names().iter().any(|one| **one == *name),
        Destination::Domain(_) | Destination::Copy(_) => false,
    }
}

/// The upstreams as routing knows them.
pub(super) fn routed(settings: &Settings) -> Vec<RoutedUpstream> {
    let routed = |upstream: ConfiguredUpstream| RoutedUpstream {
        name: upstream.name.as_str().into(),
        property: upstream.host_property(),
        host: upstream.host,
        tls: upstream.tls,
        connections: upstream.connections,
        senders: upstream.senders,
        recipients: upstream.recipients,
        priority: upstream.priority,
        weight: upstream.weight,
    };
    settings.upstreams().into_iter().map(routed).collect()
}

fn secrets(
    upstream: &ConfiguredUpstream,
    files: Option<&UpstreamFileContents>,
    keepers: &TokenKeepers,
) -> Result<UpstreamSecrets, UpstreamTlsError> {
    let authorities = files.and_then(|files| files.authorities.as_deref());
    let pair = files.and_then(UpstreamFileContents::pair);
    let has_certificate = pair.is_some();
    let client = upstream_client(authorities.map(str::as_bytes), pair)?;
    let of_file = files.and_then(|files| files.password.clone()).map(Secret::new);
    let login = upstream.login.clone();
    let login = login.map(|(name, password)| (name, Some(of_file.unwrap_or(password))));
    // The token comes when a connection is made.
    let mailbox = upstream.oauth.as_ref().map(|oauth| (oauth.mailbox.clone(), None));
    let credentials = login.or(mailbox).map(|(name, password)| {
        Arc::new(ClientCredentials { name, password, token: None, has_certificate })
    });
    let keeper = keepers.get(&upstream.name).cloned();
    let tokens = keeper.map(|keeper| keeper as Arc<dyn TokenSource>);
    Ok(UpstreamSecrets { client, credentials, tokens })
}

fn token_config(
    oauth: &ConfiguredOAuth,
    files: Option<&UpstreamFileContents>,
) -> Result<TokenConfig, UpstreamTlsError> {
    let pem = files.and_then(|files| files.authorities.as_deref());
    let own = pem.map(|pem| authorities(pem.as_bytes()).ok_or(UpstreamTlsError::Authorities));
    let tls = verifying_client(own.transpose()?.unwrap_or_default())
        .map_err(|error| UpstreamTlsError::Build(error.to_string()))?;
    let secret_file = files.and_then(|files| files.client_secret.clone()).map(Secret::new);
    let token_file = files.and_then(|files| files.refresh_token.clone()).map(Secret::new);
    Ok(TokenConfig {
        endpoint: oauth.token_url.clone(),
        tls,
        client_id: oauth.client_id.clone(),
        client_secret: secret_file.or_else(|| oauth.client_secret.clone()),
        refresh_token: token_file.or_else(|| oauth.refresh_token.clone()),
        scope: oauth.scope.clone(),
    })
}

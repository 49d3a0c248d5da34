//! `GET /api/v1/upstreams`: the upstreams, and how each of them fares.
//!
//! In: what its properties say, and what its monitor has seen. Out: [`UpstreamView`]s, those in
//! trouble first. Security: a password or token is never known here; user names are for those who
//! may see the settings; replies, names of certificates and issuers are untrusted text.

use super::HttpResponse;
use super::state::{AppState, UpstreamFacts};
use crate::ground::clock;
use crate::http::request::RequestHead;
use crate::http::response;
use crate::http::rights::RequiredRight;
use crate::mail::model::{
    UpstreamCertificate, UpstreamMails, UpstreamRefusal, UpstreamSession, UpstreamStatus,
};
use hyper::StatusCode;
use serde::{Deserialize, Serialize};

/// All upstreams.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UpstreamsView {
    /// Those in trouble first.
    pub upstreams: Vec<UpstreamView>,
}

/// One upstream.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UpstreamView {
    /// Its name: `default` is `smart_relay`.
    pub name: String,
    /// How the names of its properties begin.
    pub prefix: String,
    /// Its host, as in the property.
    pub host: String,
    /// Which mail goes there, in words.
    pub rules: String,
    /// Its state.
    pub state: UpstreamState,
    /// Since when it is in trouble, RFC 3339; `null`: it is not.
    pub since: Option<String>,
    /// What it said, or why no connection was ready; empty where it is not in trouble.
    pub last_error: String,
    /// When it is asked again, RFC 3339; `null` where it gets mail.
    pub paused_until: Option<String>,
    /// Senders whose mail it does not take now.
    pub refused_senders: u64,
    /// Connections that are open now.
    pub connections: u32,
    /// Connections that may be open, by its own limit; `null` without one.
    pub connections_max: Option<u32>,
    /// Mails of this hour and of the one before.
    pub last_hour: UpstreamMailsView,
    /// Mails of this hour and of the 23 before.
    pub last_day: UpstreamMailsView,
    /// The login.
    pub login: UpstreamLoginView,
    /// TLS with it.
    pub tls: UpstreamTlsView,
}

/// The state of an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpstreamState {
    /// It refuses this relay.
    Refused,
    /// TLS failed, or its certificate could not be verified.
    TlsFailed,
    /// No connection is ready for mail.
    Unreachable,
    /// It takes no more for now.
    Throttled,
    /// It takes mail, but not that of some senders.
    SendersRefused,
    /// It was not used since the start.
    Unused,
    /// It takes mail.
    Good,
}

/// Mails in some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamMailsView {
    /// It took them, for one recipient at least.
    pub sent: u64,
    /// It was offered them and did not; each attempt.
    pub failed: u64,
}

/// The login at an upstream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamLoginView {
    /// Whether there is one.
    pub used: bool,
    /// The user name; `null` without one, or for those who may not see the settings.
    pub username: Option<String>,
    /// The mechanism of the last connection that was ready; `null` where none was.
    pub mechanism: Option<String>,
}

/// TLS with an upstream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamTlsView {
    /// `none`, `opportunistic`, `required` or `implicit`.
    pub level: String,
    /// The host of the last connection that was ready, `name[address]:port`; empty: there was none.
    pub relay: String,
    /// When that was, RFC 3339.
    pub time: Option<String>,
    /// Its protocol version and cipher suite; empty in plain text, or without a connection.
    pub session: String,
    /// Whether its certificate was verified.
    pub verified: bool,
    /// Why not; empty where it was, or without a connection.
    pub unverified_reason: String,
    /// Its certificate; `null` where it showed none.
    pub certificate: Option<UpstreamCertificateView>,
}

/// The certificate of an upstream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamCertificateView {
    /// Its first few names.
    pub names: Vec<String>,
    /// Who issued it.
    pub issuer: String,
    /// The first second of its validity, RFC 3339.
    pub valid_from: String,
    /// The last second of its validity, RFC 3339.
    pub valid_until: String,
}

impl UpstreamState {
    /// The state in a word or two.
    pub fn words(self) -> &'static str {
        match self {
            Self::Refused => "refuses us",
            Self::TlsFailed => "TLS fails",
            Self::Unreachable => "unreachable",
            Self::Throttled => "throttled",
            Self::SendersRefused => "refuses senders",
            Self::Unused => "not used yet",
            Self::Good => "takes mail",
        }
    }

    /// Whether mail waits because of it.
    pub fn is_trouble(self) -> bool {
        !matches!(self, Self::Unused | Self::Good)
    }
}

impl UpstreamTlsView {
    /// The last session in words, for people.
    pub fn words(&self) -> String {
        match (self.relay.is_empty(), self.session.is_empty(), self.verified) {
            (true, ..) => format!("{}, no connection yet", self.level),
            (_, true, _) => "plain text".to_owned(),
            (_, _, true) => format!("{}, certificate verified", self.session),
            _ => format!("{}, certificate {}", self.session, self.unverified_reason),
        }
    }
}

impl From<UpstreamMails> for UpstreamMailsView {
    fn from(mails: UpstreamMails) -> Self {
        Self { sent: mails.sent, failed: mails.failed }
    }
}

impl From<UpstreamCertificate> for UpstreamCertificateView {
    fn from(certificate: UpstreamCertificate) -> Self {
        let date = |seconds| clock::rfc3339(u32::try_from(seconds).unwrap_or(u32::MAX));
        let (from, until) = certificate.validity;
        Self {
            names: certificate.names,
            issuer: certificate.issuer,
            valid_from: date(from),
            valid_until: date(until),
        }
    }
}

/// `GET /api/v1/upstreams`
pub(super) fn upstreams(app: &AppState, visit: &RequestHead<'_>) -> HttpResponse {
    response::json(StatusCode::OK, &upstreams_view(app, visit))
}

/// For programs and for the page.
pub(crate) fn upstreams_view(app: &AppState, visit: &RequestHead<'_>) -> UpstreamsView {
    let known = app.monitor.upstreams.list();
    let names_users = visit.right(RequiredRight::Settings).is_ok();
    let mut upstreams: Vec<UpstreamView> = app
        .facts
        .upstreams
        .iter()
        .filter_map(|facts| {
            let status = known.iter().find(|status| status.name == facts.name)?;
            Some(view(facts, status.clone(), names_users))
        })
        .collect();
    // Those of one state stay in the order of the properties.
    upstreams.sort_by_key(|upstream| upstream.state as u8);
    UpstreamsView { upstreams }
}

fn view(facts: &UpstreamFacts, status: UpstreamStatus, names_user: bool) -> UpstreamView {
    let state = state(&status);
    let (since, last_error) = match (state, &status.failure) {
        (UpstreamState::Refused | UpstreamState::Throttled, _)
        | (UpstreamState::Unreachable, None) => (Some(status.since), status.last_error.clone()),
        (_, Some(failure)) => (Some(failure.since), failure.error.clone()),
        _ => (None, String::new()),
    };
    let used = status.session.is_some();
    let (time, session) = status.session.unwrap_or_default();
    UpstreamView {
        name: facts.name.clone(),
        prefix: facts.prefix.clone(),
        host: facts.host.clone(),
        rules: facts.rules.clone(),
        state,
        since: since.map(clock::rfc3339),
        last_error,
        paused_until: status.paused_until.map(clock::rfc3339),
        refused_senders: status.senders as u64,
        connections: status.connections,
        connections_max: facts.connections_max,
        last_hour: status.hour.into(),
        last_day: status.day.into(),
        login: UpstreamLoginView {
            used: facts.username.is_some(),
            username: facts.username.clone().filter(|_| names_user),
            mechanism: session.mechanism.map(str::to_owned),
        },
        tls: tls(facts, used.then(|| clock::rfc3339(time)), session),
    }
}

fn state(status: &UpstreamStatus) -> UpstreamState {
    match (status.refusal, &status.failure) {
        (Some(UpstreamRefusal::Relay), _) => UpstreamState::Refused,
        (Some(UpstreamRefusal::Throttle | UpstreamRefusal::Sender), _) => UpstreamState::Throttled,
        (_, Some(failure)) if failure.tls => UpstreamState::TlsFailed,
        (Some(UpstreamRefusal::Connection), _) | (None, Some(_)) => UpstreamState::Unreachable,
        (None, None) if status.senders > 0 => UpstreamState::SendersRefused,
        (None, None) if status.session.is_none() => UpstreamState::Unused,
        (None, None) => UpstreamState::Good,
    }
}

fn tls(facts: &UpstreamFacts, time: Option<String>, session: UpstreamSession) -> UpstreamTlsView {
    let reason = match (session.verified, session.tls.is_empty()) {
        (false, false) => format!("not verified ({}_tls={})", facts.prefix, facts.tls),
        _ => String::new(),
    };
    UpstreamTlsView {
        level: facts.tls.clone(),
        relay: session.relay,
        time,
        session: session.tls,
        verified: session.verified,
        unverified_reason: reason,
        certificate: session.certificate.map(UpstreamCertificateView::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::model::UpstreamFailure;

    fn status() -> UpstreamStatus {
        UpstreamStatus {
            name: "default".into(),
            refusal: None,
            since: 100,
            last_error: "535 no".into(),
            senders: 0,
            paused_until: None,
            failure: None,
            session: None,
            connections: 0,
            hour: UpstreamMails::default(),
            day: UpstreamMails::default(),
            rate: None,
        }
    }

    #[test]
    fn the_worst_that_is_known_is_the_state() {
        let failure = |tls| Some(UpstreamFailure { since: 50, error: "closed".into(), tls });
        let facts = UpstreamFacts { name: "default".into(), ..Default::default() };
        for (status, state, since, error) in [
            (status(), UpstreamState::Unused, None, ""),
            (
                UpstreamStatus {
                    refusal: Some(UpstreamRefusal::Relay),
                    failure: failure(true),
                    ..status()
                },
                UpstreamState::Refused,
                Some(100),
                "535 no",
            ),
            (
                UpstreamStatus { refusal: Some(UpstreamRefusal::Throttle), ..status() },
                UpstreamState::Throttled,
                Some(100),
                "535 no",
            ),
            (
                UpstreamStatus { refusal: Some(UpstreamRefusal::Connection), ..status() },
                UpstreamState::Unreachable,
                Some(100),
                "535 no",
            ),
            (
                UpstreamStatus { failure: failure(true), senders: 1, ..status() },
                UpstreamState::TlsFailed,
                Some(50),
                "closed",
            ),
            (
                UpstreamStatus { failure: failure(false), ..status() },
                UpstreamState::Unreachable,
                Some(50),
                "closed",
            ),
            (UpstreamStatus { senders: 2, ..status() }, UpstreamState::SendersRefused, None, ""),
            (
                UpstreamStatus { session: Some((1, UpstreamSession::default())), ..status() },
                UpstreamState::Good,
                None,
                "",
            ),
        ] {
            let view = view(&facts, status, true);
            assert_eq!((view.state, &*view.last_error), (state, error));
            assert_eq!(view.since, since.map(clock::rfc3339));
        }
    }
}

//! Incoming SMTP: listeners, and a session for each client.
//!
//! In: listening sockets. Out: mail, which the sessions pass to the [`Intake`]. Limits:
//! [`Limits`](super::accept::Limits) on sessions; those within a session are in `session`. Source:
//! RFC 5321 §4.5.3 (limits).

use super::accept::{self, ClientClassifier, SmtpListener, Summary};
use super::intake::Intake;
use super::model::MailEvent;
use super::session::Session;
use super::spool::Spool;
use crate::ground::log;
use crate::ground::net::{Peer, PeerClass};
use crate::ground::stop::Stop;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::time::Duration;

/// How often it is checked whether a minute has ended whose rejections are to be summarized.
const SUMMARY_PACE: Duration = Duration::from_secs(5);

/// Serves all listeners until `stop`, and returns when the last session has ended.
pub async fn serve<S: Spool>(intake: Arc<Intake<S>>, listeners: Vec<SmtpListener>, stop: Stop) {
    let shared = Arc::clone(&intake);
    let stopping = stop.clone();
    let session = move |wire, peer: Peer| {
        let (intake, stop) = (Arc::clone(&shared), stopping.clone());
        async move {
            let guest = intake.registry.enter(peer.address, peer.port);
            Session::new(&intake, wire, peer, stop, guest).run().await;
        }
    };
    let (counters, clients) = (Arc::clone(&intake.counters), Clients(Arc::clone(&intake)));
    let serving = accept::serve(
        listeners,
        &intake.limits,
        &intake.rules.hostname,
        counters,
        stop,
        clients,
        session,
    );
    tokio::select! {
        () = serving => {}
        () = log_summaries(&intake) => {}
    }
    log_summary(intake.conduct.rest());
}

/// Classifies clients by the policy, and reports those that get no session.
struct Clients<S: Spool>(Arc<Intake<S>>);

impl<S: Spool> ClientClassifier for Clients<S> {
    fn classify(&self, client: IpAddr) -> PeerClass {
        self.0.class(client)
    }

    fn is_proxy(&self, address: IpAddr) -> bool {
        self.0.policy.is_proxy(address)
    }

    fn emit(&self, event: MailEvent<'_>) {
        self.0.events.emit(event);
    }
}

/// Logs after each minute a summary of what was not logged.
async fn log_summaries<S: Spool>(intake: &Intake<S>) {
    let mut pace = tokio::time::interval(SUMMARY_PACE);
    let (mut minute, mut left_out) = (0, log::left_out());
    for ticks in 1.. {
        pace.tick().await;
        log_summary(intake.conduct.due());
        minute += log::left_out() - std::mem::replace(&mut left_out, log::left_out());
        if ticks % 12 == 0 && minute > 0 {
            tracing::warn!(target: "mta", "{minute} more lines about unknown clients were left out \
            of the log in the last minute");
            minute = 0;
        }
    }
}

/// Logs rejections that were counted instead of logged one by one.
fn log_summary(summaries: Vec<Summary>) {
    for Summary { client, more } in summaries {
        let client =
            client.map_or_else(|| "other clients".to_owned(), |client| format!("client {client}"));
        tracing::info!(target: "mta", "{client}: {more} more refusals in the last minute");
    }
}

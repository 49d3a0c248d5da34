//! A delivery agent: one connection to a destination, and the jobs it delivers.

mod connect;
mod job;
mod send;

use super::Outbound;
use crate::mail::deliver::{Connection, RouteAttempt};
use crate::mail::model::{Destination, ReplyClass};
use crate::mail::schedule::DestinationId;
use crate::mail::spool::Spool;
use connect::Unconnected;
use job::Courier;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a connection is used at most while other destinations wait for a connection to its
/// host.
const REUSE_WANTED: Duration = Duration::from_secs(10);

/// How long a connection is used at most: next hops move, and load is spread only by new
/// connections.
const REUSE_MAX: Duration = Duration::from_secs(300);

/// Delivers jobs until there is nothing to do.
pub async fn run<S: Spool>(
    outbound: Arc<Outbound<S>>,
    id: DestinationId,
    destination: Destination,
) {
    let mut courier = Courier::new(outbound, id, destination);
    let mut connection: Option<(Connection, Instant)> = None;
    loop {
        if connection.as_ref().is_some_and(|(_, since)| since.elapsed() > REUSE_MAX) {
            courier.quit(connection.take()).await;
        }
        let used_long = connection.as_ref().filter(|(_, since)| since.elapsed() > REUSE_WANTED);
        if used_long.is_some_and(|(connection, _)| connection.gives_way()) {
            break;
        }
        courier.note_open(connection.is_some());
        let Some(job) = courier.take().await else {
            match &connection {
                Some((connection, _)) if courier.wait_for_work(connection).await => continue,
                _ => break,
            }
        };
        let Some((message, targets)) = courier.begin(job).await else { continue };
        if connection.as_mut().is_some_and(|(connection, _)| connection.is_stale()) {
            connection = None;
            courier.note_open(false);
        }
        let (open, attempt) = match connection.take() {
            Some(open) => {
                let attempt = RouteAttempt::beside(&open.0);
                (open, attempt)
            }
            None => match courier.connected().await {
                Ok((connection, attempt)) => ((connection, Instant::now()), attempt),
                Err(Unconnected::HostsFull(hosts)) => {
                    courier.wait_for_host(job, &hosts).await;
                    break;
                }
                Err(Unconnected::GivenUp(_)) if courier.is_cut_off() => break,
                Err(Unconnected::GivenUp(outcome)) => {
                    if !courier.others_carry_on(job, &outcome) {
                        courier.given_up_connecting(job, &message, &targets, &outcome).await;
                    }
                    break;
                }
                Err(Unconnected::Failed(outcome, down)) => {
                    if down && courier.others_carry_on(job, &outcome) {
                        break;
                    }
                    courier.unreachable(job, &message, &targets, &outcome, down).await;
                    if down {
                        break;
                    }
                    continue;
                }
            },
        };
        courier.note_open(true);
        let mut report;
        (connection, report) = courier.carry(open, attempt, job, &message, &targets).await;
        if courier.given_up && courier.is_cut_off() {
            courier.settle_ahead(job, &message, &mut report, &[ReplyClass::Success]).await;
            break;
        }
        courier.finish(job, &message, report).await;
        if courier.given_up || courier.watch.must_leave() {
            break;
        }
    }
    courier.quit(connection).await;
}

//! A delivery agent: one connection to a destination, and the jobs it delivers.

mod connect;
mod job;
mod send;

use super::Outbound;
use crate::mail::deliver::{Connection, RouteAttempt};
use crate::mail::model::{Destination, ReplyClass};
use crate::mail::schedule::DestinationId;
use crate::mail::spool::Spool;
use job::DeliveryAgent;
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
    let mut agent = DeliveryAgent::new(outbound, id, destination);
    let mut connection: Option<(Connection, Instant)> = None;
    loop {
        if connection.as_ref().is_some_and(|(_, since)| since.elapsed() > REUSE_MAX) {
            agent.quit(connection.take()).await;
        }
        let used_long = connection.as_ref().filter(|(_, since)| since.elapsed() > REUSE_WANTED);
        if used_long.is_some_and(|(connection, _)| connection.yields_slot()) {
            break;
        }
        agent.count_open(connection.is_some());
        let Some(job) = agent.take().await else {
            match &connection {
                Some((connection, _)) if agent.wait_for_work(connection).await => continue,
                _ => break,
            }
        };
        connection = agent.usable(connection);
        // Before it is signed: that is costly, and in vain where the mail must wait.
        if !agent.has_permit(&mut connection) {
            agent.put_back(job, false);
            continue;
        }
        let Some((message, targets)) = agent.begin_signed(job).await else { continue };
        let (open, attempt) = match connection.take() {
            Some(open) => {
                let attempt = RouteAttempt::on_connection(&open.0);
                (open, attempt)
            }
            None => match agent.connected().await {
                Ok((connection, attempt)) => ((connection, Instant::now()), attempt),
                Err(why) => {
                    if agent.goes_on_without_connection(job, &message, &targets, why).await {
                        continue;
                    }
                    break;
                }
            },
        };
        agent.count_open(true);
        connection = Some(open);
        agent.has_permit(&mut connection);
        let Some(open) = connection.take_if(|(open, _)| open.has_permit()) else {
            agent.put_back(job, true);
            continue;
        };
        let mut report;
        (connection, report) = agent.carry(open, attempt, job, &message, &targets).await;
        if agent.given_up && agent.is_out_of_time() {
            agent.record_final_outcomes(job, &message, &mut report, &[ReplyClass::Success]).await;
            break;
        }
        agent.finish(job, &message, report).await;
        if agent.ends_after_attempt().await {
            break;
        }
    }
    agent.quit(connection).await;
}

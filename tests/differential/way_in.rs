//! All inputs of the receiving side.

use crate::compare::{Outcome, announced, differences};
use crate::hop::{GOOD, Mail, MailHost};
use crate::input::Input;
use crate::inputs;
use crate::judge::judge;
use crate::session::{Heard, TRUSTED, run};
use crate::support::appliance::Appliance;
use crate::support::patience::until_within;
use crate::support::postfix::Postfix;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// The listed differences.
pub const TABLE: &str = include_str!("way_in.txt");

/// How many sessions there are at once with each relay.
const SESSIONS: usize = 8;

/// Longer than a mail takes to the next hop.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The settings of Postfix and of this relay, with the same meaning.
pub fn postfix_settings() -> String {
    // No lookups and no delays: neither changes a reply. Notices to the postmaster would be
    // additional mails.
    format!(
        "mynetworks = {TRUSTED}\nmessage_size_limit = 1000000\nsmtpd_peername_lookup = \
        no\nsmtpd_error_sleep_time = 0\n\
         in_flow_delay = 0\nnotify_classes =\nsmtpd_tls_security_level = none\n"
    )
}

/// The same for this relay.
pub const SETTINGS: [(&str, &str); 5] = [
    ("MTA_HOSTNAME", "mx.example"),
    ("MTA_ORIGIN_DOMAIN", "here.example"),
    ("MTA_SMTPD_TRUSTED_NETWORKS", TRUSTED),
    ("MTA_MESSAGE_SIZE_LIMIT", "1000000"),
    ("MTA_ALWAYS_ADD_MISSING_HEADERS", "yes"),
];

/// Runs all inputs, and gives back the replies of each session.
pub fn sessions(inputs: &[Input], relay: SocketAddr) -> Vec<Vec<Heard>> {
    let (next, heard) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        for _ in 0..SESSIONS {
            scope.spawn(|| {
                while let Some((number, input)) = Some(next.fetch_add(1, Ordering::Relaxed))
                    .and_then(|at| Some((at, inputs.get(at)?)))
                {
                    let replies = run(input, number, relay);
                    heard.lock().unwrap().insert(number, replies);
                }
            });
        }
    });
    heard.into_inner().unwrap().into_values().collect()
}

/// What the next hop got of the mails queued in these sessions.
pub fn outcomes(sessions: Vec<Vec<Heard>>, hop: &MailHost) -> Vec<Outcome> {
    let wanted: BTreeSet<String> =
        sessions.iter().flatten().filter_map(Heard::queued).map(str::to_owned).collect();
    let by_id = || {
        hop.mails()
            .into_iter()
            .filter_map(|mail| Some((mail.id()?, mail)))
            .collect::<BTreeMap<String, Mail>>()
    };
    let came = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        until_within(PATIENCE, "the next hop has every mail", || {
            let came = by_id();
            let missing: Vec<&String> =
                wanted.iter().filter(|id| !came.contains_key(*id)).collect();
            if missing.is_empty() { Ok(came) } else { Err(format!("{missing:?} are missing")) }
        })
    }));
    let came = came.unwrap_or_else(|_| by_id());
    let outcome = |heard: Vec<Heard>| {
        let mails =
            heard.iter().filter_map(Heard::queued).map(|id| came.get(id).cloned()).collect();
        Outcome { heard, mails }
    };
    sessions.into_iter().map(outcome).collect()
}

#[test]
fn the_same_octets_come_to_the_same() {
    let local = SocketAddr::from(([127, 0, 0, 1], 0));
    let (their_hop, our_hop) = (MailHost::start(local, GOOD), MailHost::start(local, GOOD));
    let appliance = Appliance::start(
        &[&SETTINGS[..], &[("MTA_SMART_RELAY", &our_hop.address.to_string())]].concat(),
    );
    let postfix = Postfix::sender_with(their_hop.address, &postfix_settings());
    let inputs = inputs::all();
    assert!(inputs.len() >= 150, "{} inputs", inputs.len());
    let (theirs, ours) = std::thread::scope(|scope| {
        let theirs = scope.spawn(|| outcomes(sessions(&inputs, postfix.address), &their_hop));
        let ours = outcomes(sessions(&inputs, appliance.smtp), &our_hop);
        (theirs.join().unwrap(), ours)
    });
    let mut found: Vec<(&str, Vec<String>)> = inputs
        .iter()
        .zip(theirs.iter().zip(&ours))
        .map(|(input, (theirs, ours))| (&*input.name, differences(theirs, ours)))
        .collect();
    // After the greeting, the first input sends EHLO.
    found.push(("what EHLO announces", announced(&theirs[0].heard[1], &ours[0].heard[1])));
    judge(&postfix.version(), TABLE, &found);
}

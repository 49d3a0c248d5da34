//! `/status`: plain text in the format of nginx' stub_status, for monitors that read it and for
//! people with curl.
//!
//! The first four lines have exactly the format of stub_status. A connection is an SMTP session, a
//! request an accepted mail; `Reading` counts the sessions, `Writing` the connections to next hops,
//! `Waiting` the messages that wait for another attempt. Then the three founding counters by their
//! names, and a few more.

use crate::api::state::AppState;
use crate::http::response::{self, HttpResponse, TEXT};
use crate::mail::model::Refusal;
use crate::monitor::counters::Counters;
use crate::monitor::gauges;
use std::fmt::Write;

/// The answer.
pub(super) async fn status(app: &AppState) -> HttpResponse {
    gauges::refresh(&app.monitor).await;
    response::found(TEXT, text(app))
}

/// The text; the gauges have been updated.
fn text(app: &AppState) -> String {
    let c: &Counters = &app.monitor.counters;
    let (active, sessions) =
        (c.accept.smtp_active_sessions.get(), c.accept.smtp_sessions_total.get());
    let refused: u64 = Refusal::ALL
        .iter()
        .map(|reason| c.accept.refused_total.with_label_values(&[reason.as_str()]).get())
        .sum();
    let mut text = format!(
        "Active connections: {active} \nserver accepts handled requests\n {sessions} \
        {sessions} {} \n\
         Reading: {active} Writing: {} Waiting: {} \n",
        c.accept.accepted_total.get(),
        c.deliver.connections_out_active.get(),
        c.spool.mqueue_deferred_messages.get(),
    );
    let lines: [(&str, i128); 12] = [
        ("Mqueue Messages", c.spool.mqueue_messages.get().into()),
        ("Mqueue Kbytes", c.spool.mqueue_kbytes.get().into()),
        ("SMTP Active Sessions", active.into()),
        ("Accepted", c.accept.accepted_total.get().into()),
        ("Refused", refused.into()),
        ("Delivered", c.outbound.delivered_total.get().into()),
        ("Deferred", c.outbound.deferred_total.get().into()),
        ("Bounced", c.outbound.bounced_total.get().into()),
        ("Held Messages", c.spool.mqueue_held_messages.get().into()),
        ("Disk Free Bytes", c.spool.disk_free_bytes.get().into()),
        ("Memory Resident Bytes", c.monitor.memory_resident_bytes.get().into()),
        ("Start Time Seconds", c.monitor.start_time_seconds.get().into()),
    ];
    for (name, value) in lines {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{name}: {value}");
    }
    text
}

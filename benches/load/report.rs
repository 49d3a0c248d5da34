//! The report at the end of a run.

use crate::Outcome;
use crate::ledger::Ledger;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use serde::Serialize;

/// CPU seconds of the calling thread, user and system.
pub fn thread_cpu() -> f64 {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_THREAD) else { return 0.0 };
    [usage.user_time(), usage.system_time()]
        .iter()
        .map(|time| micros(time.num_microseconds()))
        .sum()
}

fn micros(count: i64) -> f64 {
    count as f64 / 1e6
}

/// One side is finished.
pub enum Side {
    Generator(Outcome<Sent>),
    Sink(Outcome<Taken>),
}

/// What the generator did.
#[derive(Default, Serialize)]
pub struct Sent {
    pub cpu_seconds: f64,
    pub connections: u64,
    /// Mails that the server rejected permanently, or after their content.
    pub refused: u64,
    /// Mails whose content was sent and whose reply never came.
    pub unanswered: u64,
    /// Rejections before the content, after which the mail was sent again.
    pub tried_again: u64,
    /// The last error reply of the server.
    pub complaint: Option<String>,
}

/// What the sink did.
#[derive(Default, Serialize)]
pub struct Taken {
    pub cpu_seconds: f64,
    pub connections: u64,
    pub mails: u64,
    pub refused: u64,
}

#[derive(Default, Serialize)]
pub struct Report {
    /// From the start to the last arrival; without a sink, to the last answer.
    seconds: f64,
    answered: u64,
    mails_per_second: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    generator: Option<Sent>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sink: Option<Taken>,
    lost: u64,
    duplicates: u64,
    /// Mails that came to the sink and are not of this run.
    foreign: u64,
    /// Milliseconds; only where generator and sink share the clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    latency: Option<Latencies>,
}

/// The parts of a mail's delay.
#[derive(Serialize)]
struct Latencies {
    /// From the content's last octet to 250.
    content_to_250: Latency,
    /// From 250 to the sink; below zero when the mail was there before its sender had read the
    /// answer.
    answer_to_sink: Latency,
    content_to_sink: Latency,
}

#[derive(Serialize)]
struct Latency {
    p50: f64,
    p90: f64,
    p99: f64,
    max: f64,
}

impl Report {
    pub fn take(&mut self, side: Side) -> Outcome<()> {
        match side {
            Side::Generator(sent) => self.generator = Some(sent?),
            Side::Sink(taken) => self.sink = Some(taken?),
        }
        Ok(())
    }

    pub fn close(&mut self, ledger: &Ledger, has_generator: bool, has_sink: bool) {
        let end = if has_sink { ledger.last_arrival() } else { ledger.now() };
        self.seconds = end as f64 / 1e9;
        self.answered = ledger.answers();
        let mails = if has_generator { ledger.answers() } else { ledger.foreign() };
        self.mails_per_second = if self.seconds > 0.0 { mails as f64 / self.seconds } else { 0.0 };
        self.duplicates = ledger.duplicates();
        if has_generator {
            self.foreign = ledger.foreign();
        }
        if has_generator && has_sink {
            self.lost = ledger.lost();
            self.latency = Latencies::of(ledger);
        }
    }

    /// Every mail was accepted, and arrived once.
    pub fn is_clean(&self) -> bool {
        let sent = self.generator.as_ref().is_none_or(|sent| sent.refused + sent.unanswered == 0);
        sent && self.lost == 0 && self.duplicates == 0
    }

    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|error| format!("{{\"error\": \"{error}\"}}"))
    }
}

impl Latencies {
    fn of(ledger: &Ledger) -> Option<Self> {
        let times: Vec<_> = ledger.times().collect();
        let column = |between: fn(&(u64, u64, u64)) -> (u64, u64)| {
            Latency::of(times.iter().map(|row| {
                let (from, to) = between(row);
                (to as f64 - from as f64) / 1e6
            }))
        };
        Some(Self {
            content_to_250: column(|(written, answered, _)| (*written, *answered))?,
            answer_to_sink: column(|(_, answered, arrived)| (*answered, *arrived))?,
            content_to_sink: column(|(written, _, arrived)| (*written, *arrived))?,
        })
    }
}

impl Latency {
    fn of(millis: impl Iterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = millis.collect();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().checked_sub(1)?;
        let at = |part: usize| sorted[last * part / 100];
        Some(Self { p50: at(50), p90: at(90), p99: at(99), max: sorted[last] })
    }
}

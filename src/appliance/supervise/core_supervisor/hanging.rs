//! A core that hangs, during its start or later: what is logged, and when it is ended.

use super::super::hang_report::CoreTermination;
use super::super::orders::CoreOrder;
use super::super::watchdog::{ProcessSample, SILENT, WatchdogAction};
use super::{CoreSupervisor, GRACE, START_LINE, end_core};
use crate::appliance::event::Severity;
use std::time::{Duration, Instant};

impl CoreSupervisor<'_> {
    /// Checks whether the core hangs. During a stop, only its deadline counts.
    pub(super) fn watch_core(&mut self) {
        let Some(core) = self.core.as_mut().filter(|_| self.stop.is_none()) else { return };
        if let Some(ending) = &mut core.ending {
            if ending.poll(self.event_log, core.child.pid, Instant::now()) {
                let done = end_core(core);
                self.event_log.record(Severity::Error, format!("the SMTP core that hangs {done}"));
            }
            return;
        }
        let pid = core.child.pid;
        let Some(watchdog) = &mut core.watchdog else { return self.watch_start() };
        let step = watchdog.poll(Instant::now(), || ProcessSample::at(pid));
        self.act_on_watchdog(step);
    }

    /// How long a start may report nothing: a former core may keep the data volume locked that
    /// long. `None` = it is never ended.
    pub(super) fn start_limit(&self) -> Option<Duration> {
        let limit = self.settings.watchdog_time;
        (!limit.is_zero()).then(|| limit + self.settings.drain_time + GRACE)
    }

    /// Checks whether a core that is not ready yet hangs: a start reports its progress, however
    /// long the queue is.
    fn watch_start(&mut self) {
        let limit = self.start_limit();
        let Some(core) = self.core.as_mut().filter(|core| !core.ends && !core.ready) else {
            return;
        };
        let Some(limit) = limit.filter(|limit| core.heard.elapsed() >= *limit) else { return };
        if !std::mem::replace(&mut core.suspected, true) {
            core.heard += SILENT;
            return;
        }
        let look = ProcessSample::at(core.child.pid);
        let (state, silent) = (look.to_string(), core.heard.elapsed().as_secs());
        if let Some(why) = look.is_beyond_help() {
            if !std::mem::replace(&mut core.spared, true) {
                let text = format!(
                    "the SMTP core has made no progress in its start for {silent} s and is not \
                    killed: {why}"
                );
                self.event_log.record(Severity::Error, text);
            }
            core.heard = Instant::now();
            return;
        }
        let text = format!(
            "the SMTP core has made no progress in its start for {silent} s (watchdog_time and \
            what a former core may take, {} s) and is killed: {state}; accepted mail is safe on \
            the data volume",
            limit.as_secs()
        );
        core.cause = Some(format!("it hung before it was ready: {state}"));
        core.error.get_or_insert_with(|| START_LINE.to_owned());
        let can_answer = look.can_answer();
        self.event_log.record(Severity::Error, text);
        if can_answer {
            core.child.orders.say(&CoreOrder::Stacks);
        }
        core.ending = Some(CoreTermination::begin(can_answer, Instant::now()));
    }

    pub(super) fn act_on_watchdog(&mut self, step: WatchdogAction) {
        let Some(core) = self.core.as_mut().filter(|core| self.stop.is_none() && !core.ends) else {
            return;
        };
        if matches!(step, WatchdogAction::Well(_) | WatchdogAction::DiskIsSlow(_))
            && core.ending.take().is_some()
        {
            self.event_log.record(
                Severity::Info,
                "the SMTP core answered while its stacks were collected; it is not killed",
            );
        }
        if core.ending.is_some() {
            return;
        }
        match step {
            WatchdogAction::Wait => {}
            WatchdogAction::Hangs(why) => {
                self.readiness.clear_because(&why);
                self.event_log.record(
                    Severity::Error,
                    format!("the SMTP core hangs and is not ready: {why}"),
                );
            }
            WatchdogAction::DiskIsSlow(why) => {
                self.readiness.clear_because(&why);
                let text = format!(
                    "the data volume does not answer, the SMTP core accepts no mail: {why}"
                );
                self.event_log.record(Severity::Error, text);
            }
            WatchdogAction::Well(after) => {
                self.announce_ready();
                let text = format!(
                    "the SMTP core answers and is ready again, after {} s",
                    after.as_secs()
                );
                self.event_log.record(Severity::Info, text);
            }
            WatchdogAction::Spare(why) => {
                self.event_log.record(
                    Severity::Error,
                    format!("the SMTP core hangs and is not killed: {why}"),
                );
            }
            WatchdogAction::End(why) => {
                self.readiness.clear_because(&why);
                let text = format!(
                    "the SMTP core has hung for {} s and is killed and restarted: {why}; \
                    accepted mail is safe on the \
                     data volume",
                    self.settings.watchdog_time.as_secs()
                );
                self.event_log.record(Severity::Error, text);
                let can_answer = ProcessSample::at(core.child.pid).can_answer();
                if can_answer {
                    core.child.orders.say(&CoreOrder::Stacks);
                }
                core.ending = Some(CoreTermination::begin(can_answer, Instant::now()));
            }
        }
    }
}

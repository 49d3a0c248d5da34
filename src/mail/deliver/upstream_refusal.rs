//! What an upstream refuses: the mail, or us, or a sender, or more for now.
//!
//! In: a reply of a host that belongs to an upstream. Out: a temporary outcome where the reply is
//! not about the mail; `None` where it is, and for all other hosts. The judgement is that of
//! [`UpstreamMonitor`](crate::mail::model::UpstreamMonitor), which remembers it.

use super::client::{Connection, SmtpClient};
use super::reply_classification::ReplyStage;
use crate::mail::model::{
    Enhanced, Outcome, Reply, ReplyClass, TransactionReport, UpstreamRateWait, UpstreamRefusal,
    UpstreamStage,
};

impl SmtpClient {
    /// None of an upstream's addresses is ready for mail.
    pub(super) fn note_unreachable(&self, upstream: &str, outcome: &Outcome) {
        if let Some(access) = self.upstream_named(upstream) {
            access.monitor.unreachable(upstream, &outcome.words());
        }
    }
}

impl Connection {
    /// The upstream is ready for mail.
    pub(super) fn note_reached(&self) {
        if let Some(access) = self.upstream() {
            access.monitor.reached(&access.name);
        }
    }

    /// The outcome for a reply to MAIL, RCPT, DATA or the end of data that is not about the mail.
    pub(super) fn refused_by_upstream(
        &mut self,
        stage: ReplyStage,
        reply: &Reply,
        sender: &str,
    ) -> Option<Outcome> {
        let access = self.upstream()?;
        let refusal = access.monitor.judge(&access.name, UpstreamStage::Mail, reply, sender)?;
        let outcome = self.words(refusal, reply, sender);
        self.judged = true;
        if refusal != UpstreamRefusal::Sender {
            self.client.refused(stage);
            self.refused_session = Some(outcome.clone());
        }
        Some(outcome)
    }

    /// The outcome for a last reply that refuses the session, before there is a mail.
    pub(super) fn session_refused(&self, stage: UpstreamStage) -> Option<Outcome> {
        let access = self.upstream()?;
        let reply = self.wire.last_reply();
        let refusal = access.monitor.judge(&access.name, stage, &reply, "")?;
        Some(self.words(refusal, &reply, ""))
    }

    /// Why the sender's mail is not offered to the upstream now.
    pub(super) fn sender_waits(&self, sender: &str) -> Option<Outcome> {
        let access = self.upstream()?;
        let said = access.monitor.refused_sender(&access.name, sender)?;
        let text = format!("the sender {sender} waits: {} refused it lately: {said}", self.relay);
        Some(Outcome::own(Reply::new(451, (4, 7, 1), text)))
    }

    /// Takes a permit of the upstream's rate for the next transaction, if it has a rate and there
    /// is none yet.
    ///
    /// # Errors
    /// The rate is used up; the next transaction must not begin.
    pub fn take_permit(&mut self) -> Result<(), UpstreamRateWait> {
        let Some(access) = self.upstream().filter(|_| !self.has_permit) else { return Ok(()) };
        access.monitor.take(&access.name)?;
        self.has_permit = true;
        Ok(())
    }

    /// Whether the next transaction may begin, as far as the upstream's rate says.
    pub fn has_permit(&self) -> bool {
        self.has_permit || self.upstream().is_none()
    }

    /// Whether its upstream takes no further mail over this connection.
    pub fn is_used_up(&self) -> bool {
        let most = self.upstream().and_then(|access| access.limits.mails);
        most.is_some_and(|most| self.transactions >= most)
    }

    /// The outcome of what needs a further transaction, which the upstream's rate does not permit.
    pub(super) fn rate_used_up(&self) -> Outcome {
        let why = self.upstream().and_then(|access| access.monitor.paused(&access.name));
        let why = why.map_or_else(|| "a rate is used up".to_owned(), |(_, why)| why);
        Outcome::own(Reply::new(451, (4, 7, 0), why))
    }

    /// After a mail: an upstream that has judged it as such takes mail of us.
    pub(super) fn note_judged(&self, report: &TransactionReport) {
        let Some(access) = self.upstream() else { return };
        let is_taken = |outcome: &Outcome| outcome.class() == ReplyClass::Success;
        let sent = report.outcomes.iter().any(|(_, outcome)| is_taken(outcome));
        access.monitor.mail(&access.name, sent);
        let is_of_mail =
            |outcome: &Outcome| outcome.remote && outcome.class() != ReplyClass::Temporary;
        if !self.judged && report.outcomes.iter().any(|(_, outcome)| is_of_mail(outcome)) {
            access.monitor.accepted(&access.name, self.mark);
        }
    }

    fn words(&self, refusal: UpstreamRefusal, reply: &Reply, sender: &str) -> Outcome {
        let relay = &self.relay;
        let text = match refusal {
            UpstreamRefusal::Relay => format!("{relay} refuses this relay: {reply}"),
            UpstreamRefusal::Throttle => format!("{relay} takes no more for now: {reply}"),
            UpstreamRefusal::Sender => format!("{relay} refuses the sender {sender}: {reply}"),
            UpstreamRefusal::Connection => format!("{relay} is not ready for mail: {reply}"),
        };
        let Enhanced(_, subject, detail) = reply.enhanced.unwrap_or(Enhanced(4, 7, 0));
        Outcome::own(Reply::new(451, (4, subject, detail), text))
    }
}

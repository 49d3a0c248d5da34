//! The corridor's way in for a finished message that an operator sends once more.
//!
//! In: what the history kept of it, and to whom. Out: a new message on its way, with the content
//! as it was and one Received field more.
//! Security: the content passed the rules of DATA when it came; here its checksum must fit, before
//! anything is durable.
//! Source: RFC 5321 §4.4 (trace fields). Resent fields (RFC 5322 §3.6.6) are for a person who
//! sends a message on, and not for its redelivery.

use super::intake::{Intake, PendingContent, store};
use super::model::{
    Address, Body, Envelope, MailEvent, MessageId, Origin, Refusal, Reply, Resubmission,
};
use super::received::resent;
use super::spool::{IncomingContent, Spool};
use crate::ground::clock;
use bytes::Bytes;
use crc32fast::Hasher;
use std::io;

/// Octets that are read at once.
const PIECE: usize = 64 * 1024;

impl<S: Spool> Intake<S> {
    /// Takes a finished message once more. `Ok` says what a 250 says.
    pub(super) async fn send_again(
        &self,
        again: Resubmission,
    ) -> Result<MessageId, (Reply, Refusal)> {
        self.ready(|| false)?;
        let Resubmission { kept, recipients, principal } = again;
        let writer = self.spool.begin();
        let (id, of, size) = (writer.id(), kept.id, kept.body.len());
        let may_relay = kept.may_relay;
        let date = clock::rfc5322(clock::now());
        let mut pending = Ok(writer);
        store(&mut pending, resent(&self.rules.hostname, of, id, &date).as_bytes()).await;
        if copied(&mut pending, kept.body).await != Some(kept.crc) && pending.is_ok() {
            let words = format!("The content that was kept of {of} is damaged");
            return Err((Reply::new(554, (5, 6, 0), words), Refusal::Storage));
        }
        let number = recipients.len();
        let all = kept.envelope.sender.iter().chain(&recipients);
        let smtputf8 = kept.envelope.smtputf8 || !all.into_iter().all(Address::is_ascii);
        let envelope = Envelope { recipients, smtputf8, dsn: None, ..kept.envelope };
        let origin = Origin { peer: principal.address, helo: "".into(), may_relay };
        let new =
            self.queue(self.entry(envelope, origin), pending?, size, None, None, None).await?;
        let at = clock::now();
        let recipients = number;
        self.events.emit(MailEvent::Resent {
            message: new,
            of,
            recipients,
            principal: &principal,
            at,
        });
        Ok(new)
    }
}

/// Gives the content to the queue, and tells its checksum; `None` when it could not be read.
async fn copied<W: IncomingContent>(pending: &mut PendingContent<W>, body: Body) -> Option<u32> {
    let (mut crc, mut done) = (Hasher::new(), 0);
    while done < body.len() && pending.is_ok() {
        let piece = read(body.clone(), done).await.ok().filter(|piece| !piece.is_empty())?;
        crc.update(&piece);
        store(pending, &piece).await;
        done += piece.len() as u64;
    }
    Some(crc.finalize())
}

async fn read(body: Body, offset: u64) -> io::Result<Bytes> {
    let read = move || body.piece(offset, PIECE);
    tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?
}

//! From a TCP connection to one that is ready for mail, and what an upstream's monitor hears of it.
//!
//! In: a connection, the form of TLS, and secrets. Out: the connection, encrypted and logged in as
//! its upstream asks for. Security: what is secret is masked before the peer has said a word.

use super::client::{Connection, Failed};
use super::login::searched_secrets;
use super::upstream::{ReadyUpstream, UpstreamAccess, UpstreamSecrets};
use crate::ground::tls::{PeerCertificate, TlsLevel};
use crate::mail::model::{UpstreamCertificate, UpstreamSession};

impl Connection {
    /// The greeting, EHLO, TLS, and the login.
    pub(super) async fn prepare(
        &mut self,
        level: TlsLevel,
        secrets: Option<&UpstreamSecrets>,
    ) -> Result<(), Failed> {
        let login = secrets.and_then(|secrets| secrets.credentials.clone());
        if let Some(credentials) = &login {
            self.wire.mask(searched_secrets(credentials));
        }
        self.begin(level, secrets.filter(|_| level.verifies())).await?;
        if let (Some(access), Some(credentials)) = (self.upstream().cloned(), login) {
            self.log_in(&access, &credentials).await?;
        }
        Ok(())
    }

    /// The connection, counted by the monitor of its upstream.
    pub(super) fn of_ready_upstream(mut self) -> Self {
        self.ready = self.upstream().cloned().map(ReadyUpstream::new);
        self
    }

    /// What was agreed on.
    pub(super) fn session(&self) -> UpstreamSession {
        UpstreamSession {
            relay: self.relay.clone(),
            tls: self.security.clone(),
            verified: self.verified,
            certificate: self.certificate.as_ref().map(of_certificate),
            mechanism: self.mechanism,
        }
    }
}

impl UpstreamAccess {
    /// Tells the monitor how a connection began.
    pub(super) fn note_opened(&self, opened: &Result<Connection, Failed>) {
        match opened {
            Ok(connection) => self.monitor.connected(&self.name, connection.session()),
            Err(Failed::Tls(cause)) => self.monitor.failed(&self.name, cause, true),
            Err(Failed::Token(refused)) => {
                self.monitor.failed(&self.name, &refused.reply.text, false);
            }
            Err(Failed::Otherwise(outcome)) => {
                self.monitor.failed(&self.name, &outcome.reply.text, false);
            }
        }
    }
}

fn of_certificate(certificate: &PeerCertificate) -> UpstreamCertificate {
    UpstreamCertificate {
        names: certificate.names.clone(),
        issuer: certificate.issuer.clone(),
        validity: (certificate.not_before, certificate.not_after),
    }
}

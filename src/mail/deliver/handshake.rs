//! From the greeting to an encrypted connection: EHLO, STARTTLS, the TLS handshake, the second
//! EHLO.
//!
//! In: a connection, and the configuration of TLS. Out: the connection, encrypted, or the reason
//! why not, in words. Limits: [`super::Timeouts`]. Security: what a peer sends in plain text after
//! its reply to STARTTLS ends the connection; after the handshake nothing that was said before it
//! counts any more (RFC 3207 §4.2). Source: RFC 5321 §3.2, RFC 3207, RFC 8314 §3.3.

use super::client::{Connection, Failed};
use super::extensions::Extensions;
use super::reply_classification::{self, ReplyStage};
use super::upstream::UpstreamSecrets;
use super::wire::{SmtpError, error_text};
use crate::ground::tls::{self, PeerCertificate, TlsLevel};
use crate::mail::model::{Outcome, Reply, UpstreamStage};
use rustls::{CertificateError, ClientConfig};
use std::io;
use std::sync::Arc;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// Parts of texts by which a test knows why TLS failed.
pub(super) const NO_STARTTLS: &str = "it does not offer STARTTLS";
pub(super) const NOT_TLS: &str = "it does not speak TLS there";
pub(super) const UNKNOWN_AUTHORITY: &str = "its certificate is of no known authority";
pub(super) const OTHER_NAME: &str = "its certificate is for another name";
pub(super) const EXPIRED: &str = "its certificate has expired";

impl Connection {
    /// The greeting, EHLO, and TLS of this level. `verifying`: the secrets of an upstream whose
    /// certificate is verified.
    pub(super) async fn begin(
        &mut self,
        level: TlsLevel,
        verifying: Option<&UpstreamSecrets>,
    ) -> Result<(), Failed> {
        if let (TlsLevel::Implicit, Some(secrets)) = (level, verifying) {
            self.handshake(&secrets.client, true).await?;
        }
        let limit = self.client.timeouts().greeting;
        let code = self.wire.reply(limit).await;
        self.has_greeted(code.is_ok());
        let code =
            code.map_err(|trouble| trouble.outcome(&self.relay, "before its greeting", 1))?;
        self.welcome(code, ReplyStage::Greeting)?;
        self.hello().await?;
        match (level, verifying) {
            (TlsLevel::Required, Some(secrets)) => self.secure(&secrets.client).await,
            (TlsLevel::Opportunistic, _) if self.extensions.starttls => self.encrypt().await,
            // Whatever a caller has mixed up: never without what the upstream asks for.
            (TlsLevel::Required | TlsLevel::Implicit, _) if !self.verified => {
                Err(tls_failed(&self.relay, "it is not set up"))
            }
            _ => Ok(()),
        }
    }

    /// EHLO, and HELO for a peer that does not know EHLO (RFC 5321 §3.2).
    pub(super) async fn hello(&mut self) -> Result<(), Outcome> {
        match self.ask("EHLO").await? {
            code if code < 300 => self.extensions = Extensions::parse(self.wire.last_lines()),
            code if code >= 500 => {
                let code = self.ask("HELO").await?;
                self.welcome(code, ReplyStage::Hello)?;
                self.extensions = Extensions::default();
            }
            code => self.welcome(code, ReplyStage::Hello)?,
        }
        Ok(())
    }

    async fn ask(&mut self, verb: &str) -> Result<u16, Outcome> {
        let command = format!("{verb} {}\r\n", self.client.hostname());
        let limit = self.client.timeouts().hello;
        let asked = async {
            self.wire.say(command.as_bytes(), limit).await?;
            self.wire.reply(limit).await
        };
        asked.await.map_err(|trouble: SmtpError| {
            trouble.outcome(&self.relay, &format!("in reply to {verb}"), 2)
        })
    }

    /// Accepts 2xx; 4xx and 5xx are a rejection of this relay, and not of the mail.
    pub(super) fn welcome(&self, code: u16, stage: ReplyStage) -> Result<(), Outcome> {
        match code {
            200..300 => Ok(()),
            400.. => {
                self.client.refused(stage);
                if let Some(refused) = self.session_refused(UpstreamStage::Session) {
                    return Err(refused);
                }
                Err(reply_classification::outcome(stage, &self.relay, self.wire.last_reply()))
            }
            _ => {
                let text = format!("{} answered {code} {}", self.relay, stage.words());
                Err(Outcome::own(Reply::new(451, (4, 5, 0), text)))
            }
        }
    }

    /// STARTTLS with any certificate, and the second EHLO (RFC 3207 §4). A peer that announces it
    /// and then refuses is used in plain text.
    pub(super) async fn encrypt(&mut self) -> Result<(), Failed> {
        if self.start_tls().await? {
            let any = self.client.opportunistic().clone();
            self.handshake(&any, false).await?;
            let failed = |relay: &str, said: &Reply| tls_failed(relay, &said.to_string());
            self.hello().await.map_err(|outcome| failed(&self.relay, &outcome.reply))?;
        }
        Ok(())
    }

    /// STARTTLS with a verified certificate, and the second EHLO: this or nothing.
    pub(super) async fn secure(&mut self, config: &Arc<ClientConfig>) -> Result<(), Failed> {
        if !self.extensions.starttls {
            return Err(tls_failed(&self.relay, NO_STARTTLS));
        }
        if !self.start_tls().await? {
            let said = self.wire.last_reply();
            return Err(tls_failed(&self.relay, &format!("it refuses STARTTLS: {said}")));
        }
        self.handshake(config, true).await?;
        Ok(self.hello().await?)
    }

    /// The command. `false`: the peer refused it.
    async fn start_tls(&mut self) -> Result<bool, Failed> {
        let limit = self.client.timeouts().hello;
        let asked = async {
            self.wire.say(b"STARTTLS\r\n", limit).await?;
            self.wire.reply(limit).await
        };
        match asked.await {
            Ok(220) => {}
            Ok(421) => {
                self.client.refused(ReplyStage::Starttls);
                return Err(Outcome::said(self.wire.last_reply()).into());
            }
            Ok(_) => return Ok(false),
            Err(trouble) => {
                let outcome = trouble.outcome(&self.relay, "in reply to STARTTLS", 2);
                return Err(tls_failed(&self.relay, &outcome.reply.text));
            }
        }
        if self.wire.has_leftover() {
            let text = format!(
                "{} sent plain text after its reply to STARTTLS, which looks like an attack",
                self.relay
            );
            return Err(Outcome::own(Reply::new(451, (4, 7, 0), text)).into());
        }
        Ok(true)
    }

    /// The handshake. `verifies`: the configuration accepts only a certificate of a known authority
    /// for the host's name.
    pub(super) async fn handshake(
        &mut self,
        config: &Arc<ClientConfig>,
        verifies: bool,
    ) -> Result<(), Failed> {
        let limit = self.client.timeouts().handshake;
        let name = tls::server_name(self.host(), self.address().ip());
        let plain = self.wire.take_stream();
        let handshake = TlsConnector::from(config.clone()).connect(name, plain);
        let mut stream = match timeout(limit, handshake).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                let prefix = self.upstream().map_or("", |upstream| &upstream.prefix);
                return Err(tls_failed(&self.relay, &words(&error, prefix)));
            }
            Err(_) => {
                return Err(tls_failed(&self.relay, &format!("no handshake within {limit:?}")));
            }
        };
        stream.get_mut().1.set_buffer_limit(Some(tls::BUFFER_MAX));
        self.security = tls::facts(stream.get_ref().1);
        if self.upstream().is_some() {
            self.certificate = PeerCertificate::of(stream.get_ref().1);
        }
        self.wire.put_stream(stream);
        let checked = if verifies { ", certificate verified" } else { "" };
        self.wire.transcript.note(&format!("{}{checked}", self.security));
        if let Some(certificate) =
            self.certificate.as_ref().filter(|_| self.wire.transcript.is_timed())
        {
            let words = certificate.to_string();
            self.wire.transcript.note(&words);
        }
        (self.tls, self.verified) = (true, verifies);
        self.extensions = Extensions::default();
        Ok(())
    }
}

fn tls_failed(relay: &str, cause: &str) -> Failed {
    Failed::Tls(format!("TLS with {relay}: {cause}"))
}

/// Why a handshake failed, and what an operator can do about it. `prefix`: how the properties of
/// the upstream begin.
fn words(error: &io::Error, prefix: &str) -> String {
    use CertificateError as Certificate;
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        // A bad signature: of an authority with the name of a known one.
        Some(rustls::Error::InvalidCertificate(
            Certificate::UnknownIssuer | Certificate::BadSignature,
        )) => format!(
            "{UNKNOWN_AUTHORITY}; if that authority is your own, name its \
            file in {prefix}_ca"
        ),
        Some(rustls::Error::InvalidCertificate(
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. },
        )) => format!("{OTHER_NAME} than the one of this host"),
        Some(rustls::Error::InvalidCertificate(
            Certificate::Expired | Certificate::ExpiredContext { .. },
        )) => EXPIRED.to_owned(),
        Some(rustls::Error::InvalidMessage(_)) => {
            format!("{NOT_TLS}; see whether port and form of TLS belong together")
        }
        _ => error_text(error),
    }
}

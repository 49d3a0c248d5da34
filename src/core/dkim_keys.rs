//! The DKIM keys in the core: those of the key volume, before anything is sent and whenever they
//! change.
//!
//! In: `dkim` orders of the supervisor, which alone may read the key volume. Out: the keys of the
//! [`MailSigner`]. Security: the texts are dropped as soon as the library has the keys; they are in
//! no log and no error text.

use super::start_failures::internal;
use crate::appliance::failure::Failure;
use crate::appliance::property::Settings;
use crate::appliance::property::dkim::DkimFailure;
use crate::appliance::supervise::orders::{CoreOrder, DkimKeyFile, OrderReader};
use crate::mail::outbound::{MailSigner, SigningConfig};
use crate::mail::sign::counters::SignCounters;
use crate::mail::sign::{SelectorFile, SigningDomain};
use std::io::{self, Read};
use std::sync::Arc;

/// Waits for the keys, which every core gets.
///
/// # Errors
/// The supervisor has ended, or stopped the core before it sent them.
pub(super) fn first<R: Read>(orders: &mut OrderReader<R>) -> Result<Vec<DkimKeyFile>, Failure> {
    match orders.next() {
        Some(Ok(CoreOrder::Dkim(files))) => Ok(files),
        Some(Err(error)) => Err(internal("the DKIM keys", &error)),
        _ => Err(internal("the DKIM keys", &io::Error::other("stopped before they were received"))),
    }
}

/// The signer of the relay, with its first keys.
pub(super) fn signer(
    settings: &Settings,
    files: Vec<DkimKeyFile>,
    counters: &Arc<SignCounters>,
) -> Arc<MailSigner> {
    let domains = settings.dkim_domains.iter();
    let config = SigningConfig {
        domains: domains
            .map(|one| SigningDomain::new(&one.domain, one.selector.as_deref()))
            .collect(),
        send_unsigned: settings.dkim_failure == DkimFailure::Send,
        sign_again: settings.dkim_sign_again,
    };
    let signer = MailSigner::new(config, counters.clone());
    take(&signer, files);
    signer
}

/// Signs with these keys from now on.
pub(super) fn take(signer: &MailSigner, files: Vec<DkimKeyFile>) {
    let files = files.into_iter().map(|file| SelectorFile {
        domain: file.domain,
        selector: file.selector,
        content: file.content,
    });
    signer.use_keys(&files.collect::<Vec<_>>());
}

//! The DKIM keys in the core: those of the key volume, before anything is sent and whenever they
//! change, and the store of all keys.
//!
//! In: `dkim` orders of the supervisor, which alone may read the key volume. Out: the
//! [`MailSigner`] and its [`DkimKeyStore`]. Security: the texts are dropped as soon as the library
//! has the keys; they are in no log and no error text.

use super::start_failures::internal;
use crate::appliance::failure::Failure;
use crate::appliance::property::Settings;
use crate::appliance::property::dkim::DkimFailure;
use crate::appliance::supervise::orders::{CoreOrder, DkimKeyFile, OrderReader};
use crate::ground::disk::Disk;
use crate::ground::dns;
use crate::mail::dkim_keys::DkimKeyStore;
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

/// The signer of the relay and its keys; with `dkim_generate` those that are missing are made.
///
/// # Errors
/// No resolver can be made for its reports.
pub(super) fn open(
    settings: &Settings,
    files: Vec<DkimKeyFile>,
    counters: &Arc<SignCounters>,
    disk: Arc<dyn Disk>,
) -> Result<(Arc<MailSigner>, DkimKeyStore), Failure> {
    let domains = settings.dkim_domains.iter();
    let config = SigningConfig {
        domains: domains
            .map(|one| SigningDomain::new(&one.domain, one.selector.as_deref()))
            .collect(),
        send_unsigned: settings.dkim_failure == DkimFailure::Send,
        sign_again: settings.dkim_sign_again,
    };
    let domains = config.domains.clone();
    let resolver = dns::system(&settings.dns_servers).map_err(|error| internal("DNS", &error))?;
    let resolver = Some((resolver, settings.hostname.clone()));
    let signer = MailSigner::new(config, counters.clone());
    let keys = DkimKeyStore::open(domains, signer.clone(), disk, resolver, counters.clone());
    keys.take(selector_files(files), settings.dkim_generate);
    Ok((signer, keys))
}

/// Signs with these keys from now on, and with those of the data volume.
pub(super) fn take(keys: &DkimKeyStore, files: Vec<DkimKeyFile>) {
    keys.take(selector_files(files), false);
}

fn selector_files(files: Vec<DkimKeyFile>) -> Vec<SelectorFile> {
    let read = |file: DkimKeyFile| {
        let content = file.content.as_deref().map_err(Clone::clone);
        SelectorFile::read(&file.domain, &file.selector, false, content)
    };
    files.into_iter().map(read).collect()
}

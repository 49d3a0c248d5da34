//! The DKIM keys in the core: those of the key volume, before anything is sent and whenever they
//! change, and those that the relay has made itself, on the data volume.
//!
//! In: `dkim` orders of the supervisor, which alone may read the key volume; the files
//! `dkim/SELECTOR._domainkey.DOMAIN.pem` of the data volume. Out: the keys of the [`MailSigner`].
//! Of two files for one key that of the key volume counts. Security: the texts are dropped as soon
//! as the library has the keys; they are in no log and no error text. Files of the data volume have
//! mode 600, in a directory of mode 700.

use super::start_failures::internal;
use crate::appliance::failure::Failure;
use crate::appliance::property::Settings;
use crate::appliance::property::dkim::DkimFailure;
use crate::appliance::supervise::orders::{CoreOrder, DkimKeyFile, OrderReader};
use crate::ground::disk::Disk;
use crate::ground::dns;
use crate::mail::outbound::{MailSigner, SigningConfig};
use crate::mail::sign::counters::SignCounters;
use crate::mail::sign::{KEY_FILE_MAX, SelectorFile, SigningDomain, generate};
use std::io::{self, Read};
use std::sync::Arc;

/// The directory on the data volume.
const DIRECTORY: &str = "dkim";

/// Between selector and domain in the name of a file, as in DNS.
const BETWEEN: &str = "._domainkey.";

/// What the name of a file ends in.
const EXTENSION: &str = ".pem";

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

/// The signer of the relay, with its first keys; with `dkim_generate` those that are missing are
/// made.
///
/// # Errors
/// No resolver can be made for its reports.
pub(super) fn signer(
    settings: &Settings,
    files: Vec<DkimKeyFile>,
    counters: &Arc<SignCounters>,
    disk: &dyn Disk,
) -> Result<Arc<MailSigner>, Failure> {
    let domains = settings.dkim_domains.iter();
    let config = SigningConfig {
        domains: domains
            .map(|one| SigningDomain::new(&one.domain, one.selector.as_deref()))
            .collect(),
        send_unsigned: settings.dkim_failure == DkimFailure::Send,
        sign_again: settings.dkim_sign_again,
    };
    if settings.dkim_generate {
        make_missing(&config.domains, &files, disk);
    }
    let resolver = dns::system(&settings.dns_servers).map_err(|error| internal("DNS", &error))?;
    let resolver = Some((resolver, settings.hostname.clone()));
    let signer = MailSigner::asking(config, counters.clone(), resolver);
    take(&signer, files, disk);
    Ok(signer)
}

/// Signs with these keys from now on, and with those of the data volume.
pub(super) fn take(signer: &MailSigner, files: Vec<DkimKeyFile>, disk: &dyn Disk) {
    let files = files.into_iter().map(|file| SelectorFile {
        domain: file.domain,
        selector: file.selector,
        content: file.content,
    });
    match own(disk) {
        Ok(own) => signer.use_keys(&files.chain(own).collect::<Vec<_>>()),
        Err(error) => tracing::error!(
            target: "mta", cause = %error,
            "the DKIM keys of the data volume cannot be read; the former ones stay in use"
        ),
    }
}

/// The keys of the data volume.
fn own(disk: &dyn Disk) -> io::Result<Vec<SelectorFile>> {
    let names = match disk.list(DIRECTORY) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let file = |name: &String| {
        let (selector, domain) = name.strip_suffix(EXTENSION)?.split_once(BETWEEN)?;
        Some(SelectorFile {
            domain: domain.to_owned(),
            selector: selector.to_owned(),
            content: read(disk, name).map_err(|error| format!("{DIRECTORY}/{name}: {error}")),
        })
    };
    Ok(names.iter().filter_map(file).collect())
}

fn read(disk: &dyn Disk, name: &str) -> io::Result<String> {
    let file = disk.open(&format!("{DIRECTORY}/{name}"))?;
    let mut content = vec![0; KEY_FILE_MAX];
    let got = file.read_at(0, &mut content)?;
    content.truncate(got);
    String::from_utf8(content).map_err(|_| io::Error::other("it is no text"))
}

/// Makes the keys of domains that have none at all. What fails is logged: mail then waits.
fn make_missing(domains: &[SigningDomain], files: &[DkimKeyFile], disk: &dyn Disk) {
    let Ok(own) = own(disk) else { return };
    for domain in domains {
        let selectors = domain.selectors();
        let has = |found: &str, selector: &str| {
            found == domain.domain && selectors.iter().any(|(one, _)| one == selector)
        };
        let exists = files.iter().any(|file| has(&file.domain, &file.selector))
            || own.iter().any(|file| has(&file.domain, &file.selector));
        if exists {
            continue;
        }
        for (selector, algorithm) in selectors {
            let name = format!("{selector}{BETWEEN}{}", domain.domain);
            let made = generate(algorithm)
                .ok_or_else(|| io::Error::other("the library failed"))
                .and_then(|key| write(disk, &format!("{name}{EXTENSION}"), &key));
            match made {
                Ok(()) => tracing::warn!(
                    target: "mta", record = name,
                    "a DKIM key was made; publish its record: postern dkim show"
                ),
                Err(error) => tracing::error!(
                    target: "mta", record = name, cause = %error, "a DKIM key cannot be made"
                ),
            }
        }
    }
}

/// Writes a file that must survive a power cut. Its parts that a crash leaves are named otherwise.
fn write(disk: &dyn Disk, name: &str, content: &str) -> io::Result<()> {
    disk.create_dir(DIRECTORY)?;
    let (path, new) = (format!("{DIRECTORY}/{name}"), format!("{DIRECTORY}/{name}.new"));
    match disk.remove(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.create(&new)?;
    file.write_at(0, content.as_bytes())?;
    file.sync()?;
    disk.rename(&new, &path)?;
    disk.sync_dir(DIRECTORY)?;
    disk.sync_dir("")
}

//! The DKIM keys that the relay has made, and the state of their rotations, on the data volume.
//!
//! In: the files `dkim/SELECTOR._domainkey.DOMAIN.pem` and `dkim/rotations.json`. Out: keys, and
//! files that survive a power cut as a whole: each is written beside its place, synced and renamed.
//! Limits: a key file has [`KEY_FILE_MAX`] octets. Security: mode 600, in a directory of mode 700;
//! a key's text is dropped as soon as the library has it, and is in no error text.

use crate::ground::disk::Disk;
use crate::mail::sign::{
    Algorithm, KEY_FILE_MAX, Rotations, STATE_MAX, SelectorFile, SigningDomain, generate,
};
use std::io;

/// The directory on the data volume.
const DIRECTORY: &str = "dkim";

/// Between selector and domain in the name of a file, as in DNS.
const BETWEEN: &str = "._domainkey.";

/// What the name of a key file ends in.
const EXTENSION: &str = ".pem";

/// The file of the rotations.
const ROTATIONS: &str = "rotations.json";

/// The keys of the data volume. One that cannot be read says why.
///
/// # Errors
/// The directory cannot be read.
pub(super) fn keys(disk: &dyn Disk) -> io::Result<Vec<SelectorFile>> {
    let names = match disk.list(DIRECTORY) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let file = |name: &String| {
        let (selector, domain) = name.strip_suffix(EXTENSION)?.split_once(BETWEEN)?;
        let content =
            text(disk, name, KEY_FILE_MAX).map_err(|error| format!("{DIRECTORY}/{name}: {error}"));
        let content = content.as_deref().map_err(Clone::clone);
        Some(SelectorFile::read(domain, selector, true, content))
    };
    Ok(names.iter().filter_map(file).collect())
}

/// The state of the rotations; the initial one without a file.
///
/// # Errors
/// It cannot be read: what to do.
pub(super) fn rotations(disk: &dyn Disk) -> Result<Rotations, String> {
    let told = |why: String| {
        format!("{DIRECTORY}/{ROTATIONS} on the data volume says which key signs, and {why}")
    };
    match text(disk, ROTATIONS, STATE_MAX) {
        Ok(text) => Rotations::from_json(text.as_bytes())
            .map_err(|error| told(format!("is damaged ({error}): restore it or remove it"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Rotations::default()),
        Err(error) => Err(told(format!("cannot be read: {error}"))),
    }
}

/// Makes the state of the rotations durable.
///
/// # Errors
/// The volume's; the former state is there then, or this one.
pub(super) fn write_rotations(disk: &dyn Disk, rotations: &Rotations) -> io::Result<()> {
    write(disk, ROTATIONS, &rotations.to_json())
}

/// Makes the keys of a domain and its selectors that are not among these.
///
/// # Errors
/// The volume's, or the library's; some keys may have been made.
pub(super) fn make_keys(
    disk: &dyn Disk,
    signing: &SigningDomain,
    there: &[SelectorFile],
) -> io::Result<()> {
    for (selector, algorithm) in signing.selectors() {
        let is_it =
            |file: &&SelectorFile| file.domain == signing.domain && file.selector == selector;
        if there.iter().find(is_it).is_none() {
            make_key(disk, &selector, &signing.domain, algorithm)?;
        }
    }
    Ok(())
}

fn make_key(disk: &dyn Disk, selector: &str, domain: &str, algorithm: Algorithm) -> io::Result<()> {
    let key = generate(algorithm).ok_or_else(|| io::Error::other("the library failed"))?;
    let record = format!("{selector}{BETWEEN}{domain}");
    write(disk, &format!("{record}{EXTENSION}"), &key)?;
    tracing::warn!(
        target: "mta", record, "a DKIM key was made; publish its record: postern dkim show"
    );
    Ok(())
}

/// Removes the keys of a domain and its selectors that are among these; durable.
///
/// # Errors
/// The volume's; some keys may be gone.
pub(super) fn remove_keys(
    disk: &dyn Disk,
    signing: &SigningDomain,
    there: &[SelectorFile],
) -> io::Result<()> {
    for file in there.iter().filter(|file| file.own && file.is_of(signing)) {
        let name = format!("{}{BETWEEN}{}{EXTENSION}", file.selector, file.domain);
        match disk.remove(&format!("{DIRECTORY}/{name}")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    disk.sync_dir(DIRECTORY)
}

fn text(disk: &dyn Disk, name: &str, most: usize) -> io::Result<String> {
    let file = disk.open(&format!("{DIRECTORY}/{name}"))?;
    let length = usize::try_from(file.length()?).unwrap_or(usize::MAX).min(most);
    let mut content = vec![0; length];
    let got = file.read_at(0, &mut content)?;
    content.truncate(got);
    String::from_utf8(content).map_err(|_| io::Error::other("it is no text"))
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

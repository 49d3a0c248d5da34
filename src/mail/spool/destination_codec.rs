//! Destinations in the heads of records, documented in `docs/queue-format.md`.
//!
//! A table of the different destinations, then the table index of each target: most mails go to one
//! destination, and those of a smart relay all go to the same. Upstreams are not stored: by which
//! rule a mail goes to some of them is in the properties alone, and follows from its envelope.

use super::byte_codec::{HeadReader, put_text, put_u16};
use crate::mail::model::Destination;
use std::collections::HashMap;
use std::sync::Arc;

/// The index of a target whose destination was not decided, or follows from the envelope.
const NOWHERE: u16 = u16::MAX;

const DOMAIN: u8 = 1;
const SMART_RELAY: u8 = 2;
const COPY: u8 = 3;

/// Appends the destinations of all targets, in their order.
pub fn put<'a>(out: &mut Vec<u8>, targets: impl Iterator<Item = Option<&'a Destination>>) {
    let (mut table, mut known) = (Vec::<&Destination>::new(), HashMap::new());
    let mut place = |destination: &'a Destination| {
        // Most mails have one destination, and need no map for it.
        if table.is_empty() {
            table.push(destination);
        }
        if table.first() == Some(&destination) {
            return 0;
        }
        *known.entry(destination).or_insert_with(|| {
            table.push(destination);
            table.len() - 1
        })
    };
    let places: Vec<usize> =
        targets.map(|target| stored(target).map_or(usize::from(NOWHERE), &mut place)).collect();
    put_u16(out, table.len());
    for destination in table {
        let (kind, text) = match destination {
            Destination::Domain(domain) => (DOMAIN, domain.as_str()),
            Destination::SmartRelay(host) => (SMART_RELAY, host.as_str()),
            Destination::Copy(host) => (COPY, host.as_str()),
            Destination::Upstreams(_) => continue,
        };
        out.push(kind);
        put_text(out, text);
    }
    put_u16(out, places.len());
    places.into_iter().for_each(|place| put_u16(out, place));
}

/// The destination as it is written, if it is.
fn stored(destination: Option<&Destination>) -> Option<&Destination> {
    destination.filter(|destination| !matches!(destination, Destination::Upstreams(_)))
}

/// Reads what [`put`] has written; `None` when it is something else.
pub fn read(reader: &mut HeadReader<'_>) -> Option<Vec<Option<Destination>>> {
    let count = reader.u16()?;
    let table = (0..count).map(|_| one(reader)).collect::<Option<Vec<_>>>()?;
    let count = reader.u16()?;
    let target = |_| match reader.u16()? {
        NOWHERE => Some(None),
        place => table.get(usize::from(place)).cloned().map(Some),
    };
    (0..count).map(target).collect()
}

fn one(reader: &mut HeadReader<'_>) -> Option<Destination> {
    let (kind, name) = (reader.u8()?, reader.text()?);
    let host = || name.parse().ok().map(Arc::new);
    match kind {
        DOMAIN => Destination::domain(name),
        SMART_RELAY => host().map(Destination::SmartRelay),
        COPY => host().map(Destination::Copy),
        _ => None,
    }
}

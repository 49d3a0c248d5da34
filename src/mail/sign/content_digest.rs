//! What a signature needs of a content that is read once: the fields and the hash of the body.

use super::author::author_domain;
use super::canonical::BodyHash;
use super::existing::signing_domain;
use super::header_scan::{HeaderScan, KeptField, SIGNATURE};

/// The header section of a content, as far as a signature needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderSummary {
    /// The fields to sign, from the top; `None`: they are larger than
    /// [`FIELDS_MAX`](super::FIELDS_MAX).
    pub(super) fields: Option<Vec<KeptField>>,
    /// The domain of the first mailbox of the first From field, in lower case and A-labels; `None`:
    /// there is none, or it cannot be read.
    pub author: Option<String>,
    /// The domains of the signatures that the content has already, in lower case.
    pub signed_by: Vec<String>,
}

impl HeaderSummary {
    /// Whether the fields to sign are larger than [`FIELDS_MAX`](super::FIELDS_MAX): then nothing
    /// is known of them.
    pub fn is_too_large(&self) -> bool {
        self.fields.is_none()
    }
}

/// A content that was read to its end.
pub struct DigestedContent {
    /// Its header section.
    pub header: HeaderSummary,
    /// The SHA-256 of its body in relaxed form.
    pub body_hash: [u8; 32],
}

/// Reads a content in pieces of any size.
#[derive(Default)]
pub struct ContentDigest {
    scan: HeaderScan,
    header: Option<HeaderSummary>,
    body: BodyHash,
}

impl ContentDigest {
    /// Takes the next octets.
    pub fn take(&mut self, piece: &[u8]) {
        let body = if self.header.is_some() { piece } else { self.scan.take(piece) };
        if self.header.is_none() && self.scan.has_ended() {
            self.end_header();
        }
        self.body.take(body);
    }

    /// The header section, once its end was read.
    pub fn header(&self) -> Option<&HeaderSummary> {
        self.header.as_ref()
    }

    /// The content has ended.
    pub fn finish(mut self) -> DigestedContent {
        let scan = std::mem::take(&mut self.scan);
        let header = self.header.unwrap_or_else(|| summary(scan));
        DigestedContent { header, body_hash: self.body.finish() }
    }

    fn end_header(&mut self) {
        self.header = Some(summary(std::mem::take(&mut self.scan)));
    }
}

fn summary(scan: HeaderScan) -> HeaderSummary {
    let (fields, is_too_large) = scan.finish();
    let (signatures, fields): (Vec<_>, Vec<_>) =
        fields.into_iter().partition(|field| field.name == SIGNATURE);
    let from = fields.iter().find(|field| field.name == "from");
    HeaderSummary {
        author: from.and_then(|field| author_domain(value(&field.raw))),
        signed_by: signatures
            .iter()
            .filter_map(|field| signing_domain(value(&field.raw)))
            .collect(),
        fields: (!is_too_large).then_some(fields),
    }
}

/// What follows the colon of a field.
fn value(raw: &[u8]) -> &[u8] {
    let colon = raw.iter().position(|octet| *octet == b':');
    colon.map_or(&[], |colon| &raw[colon + 1..])
}

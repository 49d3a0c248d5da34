//! The second pass: writes the message by the plan.

use super::analysis::{Action, Decision, EncodingPlan};
use super::encode::{Base64, Mend, QuotedPrintable};
use super::lines::ContentLine;
use super::mime_fields::{Field, Header};
use super::mime_walker::{MimePart, PartKind, PartVisitor};
use std::sync::Arc;

/// Writes the events of the walk into a buffer.
#[derive(Debug)]
pub(super) struct PartWriter {
    plan: Arc<EncodingPlan>,
    decision: Decision,
    /// The present part is covered by a signature.
    signed: bool,
    /// The label of the present part has been written.
    labelled: bool,
    body: Body,
    around: Mend,
    out: Vec<u8>,
}

/// How the body of a leaf part is written.
#[derive(Debug)]
enum Body {
    Plain,
    QuotedPrintable(QuotedPrintable),
    Base64(Base64),
    Mend(Mend),
}

impl PartWriter {
    pub fn new(plan: Arc<EncodingPlan>) -> Self {
        let decision = Decision::default();
        Self {
            plan,
            decision,
            signed: false,
            labelled: false,
            body: Body::Plain,
            around: Mend::default(),
            out: Vec::new(),
        }
    }

    /// The output since it was last emptied.
    pub fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    pub fn into_octets(self) -> Vec<u8> {
        self.out
    }

    /// The label that replaces the existing one.
    fn label(&self) -> Option<&'static [u8]> {
        match self.decision.action {
            Action::Keep | Action::Mend => None,
            Action::Relabel => Some(b"Content-Transfer-Encoding: 7bit\r\n"),
            Action::QuotedPrintable => Some(b"Content-Transfer-Encoding: quoted-printable\r\n"),
            Action::Base64 => Some(b"Content-Transfer-Encoding: base64\r\n"),
        }
    }

    fn plain(&mut self, line: ContentLine<'_>) {
        self.out.extend_from_slice(line.octets);
        if line.ends {
            self.out.extend_from_slice(b"\r\n");
        }
    }
}

impl PartVisitor for PartWriter {
    fn part(&mut self, part: MimePart) {
        self.decision = self.plan.parts.get(part.place).copied().unwrap_or_default();
        self.signed = part.signed;
        self.labelled = false;
        self.body = Body::Plain;
    }

    fn header_line(&mut self, field: Field, line: ContentLine<'_>) {
        match self.label() {
            Some(label) if field == Field::Encoding => {
                if !std::mem::replace(&mut self.labelled, true) {
                    self.out.extend_from_slice(label);
                }
            }
            _ => self.plain(line),
        }
    }

    fn header_end(&mut self, _: &Header, _: PartKind, blank: bool) {
        let label = self.label().filter(|_| !self.labelled);
        if self.decision.add_version {
            self.out.extend_from_slice(b"MIME-Version: 1.0\r\n");
        }
        if self.decision.add_type {
            self.out.extend_from_slice(b"Content-Type: text/plain; charset=unknown-8bit\r\n");
        }
        self.out.extend_from_slice(label.unwrap_or_default());
        // An empty line must end the added fields. Where there was none, the first body line might
        // look like a field once it is encoded.
        if blank
            || !self.signed
            || label.is_some()
            || self.decision.add_version
            || self.decision.add_type
        {
            self.out.extend_from_slice(b"\r\n");
        }
        self.body = match self.decision.action {
            Action::Keep | Action::Relabel => Body::Plain,
            Action::QuotedPrintable => Body::QuotedPrintable(QuotedPrintable::default()),
            Action::Base64 => Body::Base64(Base64::default()),
            Action::Mend => Body::Mend(Mend::default()),
        };
    }

    fn body(&mut self, octets: &[u8]) {
        match &mut self.body {
            Body::Plain => self.out.extend_from_slice(octets),
            Body::QuotedPrintable(encoder) => encoder.write(octets, &mut self.out),
            Body::Base64(encoder) => encoder.write(octets, &mut self.out),
            Body::Mend(encoder) => encoder.write(octets, &mut self.out),
        }
    }

    fn body_line_end(&mut self) {
        match &mut self.body {
            Body::Plain => self.out.extend_from_slice(b"\r\n"),
            Body::QuotedPrintable(encoder) => encoder.line_end(&mut self.out),
            Body::Base64(encoder) => encoder.write(b"\r\n", &mut self.out),
            Body::Mend(encoder) => encoder.line_end(&mut self.out),
        }
    }

    fn body_end(&mut self, last: bool) {
        match std::mem::replace(&mut self.body, Body::Plain) {
            Body::QuotedPrintable(mut encoder) => encoder.finish(&mut self.out),
            Body::Base64(mut encoder) => {
                encoder.finish(&mut self.out);
                // Otherwise the line end before the boundary ends the line.
                if last {
                    self.out.extend_from_slice(b"\r\n");
                }
            }
            Body::Plain | Body::Mend(_) => {}
        }
    }

    fn around(&mut self, line: ContentLine<'_>, _: bool) {
        self.around.write(line.octets, &mut self.out);
        if line.ends {
            self.around.line_end(&mut self.out);
        }
    }

    fn boundary(&mut self, before: &[u8], line: &[u8]) {
        self.around = Mend::default();
        self.out.extend_from_slice(before);
        self.out.extend_from_slice(line);
        self.out.extend_from_slice(b"\r\n");
    }
}

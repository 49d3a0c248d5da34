//! What a client asked about notifications, in the supplements of an accept record.

use super::byte_codec::{HeadReader, put_text, put_u16};
use crate::mail::model::{
    DsnNotify, DsnRequest, RecipientDsn, ReturnedContent, is_envelope_id, is_original_recipient,
};

/// RET and ENVID.
pub fn mail(dsn: &DsnRequest) -> Vec<u8> {
    let mut out = Vec::new();
    put_text(&mut out, dsn.ret.map_or("", ReturnedContent::as_str));
    put_text(&mut out, dsn.envelope_id.as_deref().unwrap_or_default());
    out
}

/// NOTIFY and ORCPT of the recipient at this place.
pub fn recipient(place: usize, recipient: &RecipientDsn) -> Vec<u8> {
    let mut out = Vec::new();
    put_u16(&mut out, place);
    put_text(&mut out, &recipient.notify.map(DsnNotify::to_text).unwrap_or_default());
    put_text(&mut out, recipient.original.as_deref().unwrap_or_default());
    out
}

/// Reads [`mail`].
pub fn read_mail(octets: &[u8], dsn: &mut DsnRequest) -> Option<()> {
    let mut reader = HeadReader::new(octets);
    dsn.ret = ReturnedContent::parse(reader.text()?);
    let id = Some(reader.text()?).filter(|text| is_envelope_id(text));
    dsn.envelope_id = id.map(Into::into);
    Some(())
}

/// Reads [`recipient`], whose places rise and are below `count`. One with another place is left
/// out: the mail matters more than what is reported of it.
pub fn read_recipient(octets: &[u8], count: usize, dsn: &mut DsnRequest) -> Option<()> {
    let mut reader = HeadReader::new(octets);
    let place = usize::from(reader.u16()?);
    let notify = DsnNotify::parse(reader.text()?);
    let original = Some(reader.text()?).filter(|text| is_original_recipient(text));
    if place >= count || place < dsn.recipients.len() {
        return Some(());
    }
    dsn.note(place, RecipientDsn { notify, original: original.map(Into::into) });
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_place_costs_the_request_and_not_the_mail() {
        let asks = RecipientDsn { notify: DsnNotify::parse("NEVER"), original: None };
        let mut dsn = DsnRequest::default();
        assert_eq!(read_recipient(&recipient(3, &asks), 3, &mut dsn), Some(()));
        assert_eq!(dsn, DsnRequest::default());
        assert_eq!(read_recipient(&recipient(1, &asks), 3, &mut dsn), Some(()));
        assert_eq!(dsn.recipients, [RecipientDsn::default(), asks]);
    }
}

//! MAIL and RCPT: their paths and parameters.

use super::command_error::CommandError;
use super::grammar::Grammar;
use super::path::{argument, mailbox};
use crate::mail::model::{
    Address, BodyType, DsnNotify, DsnRequest, RecipientDsn, ReturnedContent, is_envelope_id,
    is_original_recipient,
};

/// The parameters of MAIL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// The reverse-path; `None` is `<>`.
    pub sender: Option<Address>,
    /// SIZE in octets (RFC 1870 §5), where given.
    pub size: Option<u64>,
    /// BODY (RFC 6152 §2).
    pub body: BodyType,
    /// SMTPUTF8 (RFC 6531 §3.4).
    pub smtputf8: bool,
    /// RET and ENVID (RFC 3461 §4.3, §4.4), where given.
    pub dsn: Option<Box<DsnRequest>>,
}

/// The recipient in RCPT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recipient {
    /// A mailbox with a domain.
    Mailbox(Address),
    /// `<postmaster>`, which needs no domain (RFC 5321 §4.1.1.3).
    Postmaster,
}

const MAIL_FORM: &str = "Write MAIL FROM:<address>";
const NOTIFY_FORM: &str = "Write NOTIFY=NEVER, or SUCCESS, FAILURE, DELAY between commas";
const ORCPT_FORM: &str = "Write ORCPT=rfc822; and the address in xtext";
const RCPT_FORM: &str = "Write RCPT TO:<address>";

/// The argument of MAIL (RFC 5321 §4.1.1.2).
///
/// # Errors
/// No path, no mailbox in it, or a parameter that is wrong or was not announced.
pub(super) fn mail(rest: &str, grammar: Grammar<'_>) -> Result<Mail, CommandError> {
    let (path, parameters) =
        argument(rest, "FROM:", grammar).ok_or(CommandError::Syntax(MAIL_FORM))?;
    let sender = match path {
        "" => None,
        _ => Some(mailbox(path, grammar).map_err(CommandError::Sender)?),
    };
    let mut mail =
        Mail { sender, size: None, body: BodyType::SevenBit, smtputf8: false, dsn: None };
    let (mut body, mut submitter) = (None, None);
    for parameter in parameters.split(' ').filter(|parameter| !parameter.is_empty()) {
        let (keyword, value) = match parameter.split_once('=') {
            Some((keyword, value)) => (keyword, Some(value)),
            None => (parameter, None),
        };
        if keyword.eq_ignore_ascii_case("SIZE") {
            let size = value.and_then(size).ok_or(CommandError::Syntax("Write SIZE=octets"))?;
            once(mail.size.replace(size).is_none())?;
        } else if keyword.eq_ignore_ascii_case("BODY") {
            let value = match value {
                Some(value) if value.eq_ignore_ascii_case("7BIT") => BodyType::SevenBit,
                Some(value) if value.eq_ignore_ascii_case("8BITMIME") => BodyType::EightBitMime,
                // BINARYMIME needs BDAT (RFC 3030 §3), which is not announced.
                Some(value) if value.eq_ignore_ascii_case("BINARYMIME") => {
                    return Err(CommandError::Parameter);
                }
                _ => return Err(CommandError::Syntax("Write BODY=7BIT or BODY=8BITMIME")),
            };
            once(body.replace(value).is_none())?;
        } else if keyword.eq_ignore_ascii_case("SMTPUTF8") {
            if value.is_some() {
                return Err(CommandError::Syntax("SMTPUTF8 takes no value"));
            }
            once(!std::mem::replace(&mut mail.smtputf8, true))?;
        } else if keyword.eq_ignore_ascii_case("RET") {
            let ret = value.and_then(ReturnedContent::parse);
            let ret = ret.ok_or(CommandError::Syntax("Write RET=FULL or RET=HDRS"))?;
            once(mail.dsn.get_or_insert_default().ret.replace(ret).is_none())?;
        } else if keyword.eq_ignore_ascii_case("ENVID") {
            let id = value.filter(|value| is_envelope_id(value));
            let id = id.ok_or(CommandError::Syntax("Write ENVID= and xtext"))?;
            once(mail.dsn.get_or_insert_default().envelope_id.replace(id.into()).is_none())?;
        } else if keyword.eq_ignore_ascii_case("AUTH") {
            // RFC 4954 §5: the original submitter. It is not used here, but some clients send it
            // although AUTH is not offered.
            let value = value
                .filter(|value| *value == "<>" || is_xtext(value))
                .ok_or(CommandError::Syntax("Write AUTH=<>"))?;
            once(submitter.replace(value).is_none())?;
        } else {
            return Err(CommandError::Parameter);
        }
    }
    mail.body = body.unwrap_or(BodyType::SevenBit);
    Ok(mail)
}

/// The argument of RCPT (RFC 5321 §4.1.1.3).
///
/// # Errors
/// No path, no mailbox in it, or a parameter that is wrong or was not announced.
pub(super) fn recipient(
    rest: &str,
    grammar: Grammar<'_>,
) -> Result<(Recipient, Option<Box<RecipientDsn>>), CommandError> {
    let (path, parameters) =
        argument(rest, "TO:", grammar).ok_or(CommandError::Syntax(RCPT_FORM))?;
    if path.is_empty() {
        return Err(CommandError::Syntax(RCPT_FORM));
    }
    let recipient = match grammar {
        Grammar::Strict if path.eq_ignore_ascii_case("postmaster") => Recipient::Postmaster,
        _ => Recipient::Mailbox(mailbox(path, grammar).map_err(CommandError::Recipient)?),
    };
    Ok((recipient, recipient_dsn(parameters)?))
}

/// NOTIFY and ORCPT (RFC 3461 §4.1, §4.2), where given.
fn recipient_dsn(parameters: &str) -> Result<Option<Box<RecipientDsn>>, CommandError> {
    let mut dsn: Option<Box<RecipientDsn>> = None;
    for parameter in parameters.split(' ').filter(|parameter| !parameter.is_empty()) {
        let (keyword, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        if keyword.eq_ignore_ascii_case("NOTIFY") {
            let notify = DsnNotify::parse(value).ok_or(CommandError::Syntax(NOTIFY_FORM))?;
            once(dsn.get_or_insert_default().notify.replace(notify).is_none())?;
        } else if keyword.eq_ignore_ascii_case("ORCPT") {
            let original = Some(value).filter(|value| is_original_recipient(value));
            let original = original.ok_or(CommandError::Syntax(ORCPT_FORM))?;
            once(dsn.get_or_insert_default().original.replace(original.into()).is_none())?;
        } else {
            return Err(CommandError::Parameter);
        }
    }
    Ok(dsn)
}

fn once(first: bool) -> Result<(), CommandError> {
    if first { Ok(()) } else { Err(CommandError::Syntax("A parameter is given twice")) }
}

/// Up to twenty digits (RFC 1870 §3); a value above 64 bits is over every limit anyway.
fn size(digits: &str) -> Option<u64> {
    let well_formed =
        (1..=20).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    well_formed.then(|| digits.parse().unwrap_or(u64::MAX))
}

/// One or more characters of RFC 3461 §4: printable ASCII except `+` and `=`, which are written as
/// `+` and two hexadecimal digits.
fn is_xtext(text: &str) -> bool {
    let mut octets = text.bytes();
    let digit = |octets: &mut std::str::Bytes<'_>| {
        octets.next().is_some_and(|octet| b"0123456789ABCDEF".contains(&octet))
    };
    while let Some(octet) = octets.next() {
        let fits = match octet {
            b'+' => digit(&mut octets) && digit(&mut octets),
            _ => octet.is_ascii_graphic() && octet != b'=',
        };
        if !fits {
            return false;
        }
    }
    !text.is_empty()
}

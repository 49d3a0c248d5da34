//! Paths of MAIL and RCPT (RFC 5321 §4.1.2), and mailboxes in the forms that people write.

use super::grammar::Grammar;
use crate::mail::model::{Address, AddressError};

/// A mailbox that a client with permission to relay gives outside of SMTP, by the lenient grammar:
/// with or without angle brackets, with blanks around it, a dot after the domain, or no domain.
///
/// # Errors
/// As [`Address::parse`].
pub fn lenient_mailbox(text: &str, origin_domain: &str) -> Result<Address, AddressError> {
    let text = text.trim_matches([' ', '\t']);
    let inside = text
        .strip_prefix('<')
        .and_then(|text| text.strip_suffix('>'))
        .map(|text| text.trim_matches([' ', '\t']));
    mailbox(inside.unwrap_or(text), Grammar::Lenient { origin_domain })
}

/// Splits `FROM:<path> parameters` into the path and the parameters. A space after the colon is
/// accepted, as all servers do.
pub(super) fn argument<'a>(
    rest: &'a str,
    keyword: &str,
    grammar: Grammar<'_>,
) -> Option<(&'a str, &'a str)> {
    let (head, tail) = rest.split_at_checked(keyword.len())?;
    let tail = head.eq_ignore_ascii_case(keyword).then_some(tail)?.trim_start_matches(' ');
    let Some(inside) = tail.strip_prefix('<') else {
        let end = unquoted(tail, b' ').unwrap_or(tail.len());
        let (path, parameters) = tail.split_at(end);
        let is_path =
            grammar != Grammar::Strict && !path.is_empty() && unquoted(path, b'>').is_none();
        return is_path.then(|| (path, parameters.trim_start_matches(' ')));
    };
    let end = unquoted(inside, b'>')?;
    let (path, parameters) = (&inside[..end], &inside[end + 1..]);
    let path = if grammar == Grammar::Strict { path } else { path.trim_matches(' ') };
    (parameters.is_empty() || parameters.starts_with(' '))
        .then(|| (path, parameters.trim_start_matches(' ')))
}

/// The position of the first such octet outside a quoted string.
fn unquoted(text: &str, wanted: u8) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    text.bytes().position(|byte| {
        let literally = std::mem::take(&mut escaped);
        match byte {
            _ if literally => {}
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if byte == wanted => return !quoted,
            _ => {}
        }
        false
    })
}

/// A mailbox. The lenient grammar accepts a dot after the domain, and adds a domain where none is
/// given.
pub(super) fn mailbox(path: &str, grammar: Grammar<'_>) -> Result<Address, AddressError> {
    let Grammar::Lenient { origin_domain } = grammar else { return without_source_route(path) };
    without_source_route(path).or_else(|error| match path.strip_suffix('.') {
        Some(path) if path.contains('@') => without_source_route(path).map_err(|_| error),
        // All of it is the local part: an `@` in it can only be in a quoted string.
        _ => Address::parse(&format!("{path}@{origin_domain}")).map_err(|_| error),
    })
}

/// A mailbox, with or without a source route; the route is checked and ignored (RFC 5321 §3.6.1 and
/// appendix C).
fn without_source_route(path: &str) -> Result<Address, AddressError> {
    if !path.starts_with('@') {
        return Address::parse(path);
    }
    let mut bracketed = false;
    let end = path.bytes().position(|byte| {
        match byte {
            b'[' => bracketed = true,
            b']' => bracketed = false,
            _ => {}
        }
        byte == b':' && !bracketed
    });
    let (route, mailbox) = path.split_at(end.ok_or(AddressError::Syntax)?);
    for mail_host in route.split(',') {
        let domain = mail_host.strip_prefix('@').ok_or(AddressError::Syntax)?;
        Address::parse(&format!("x@{domain}"))?;
    }
    Address::parse(&mailbox[1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mailboxes_are_read_as_people_write_them() {
        for (text, expected) in [
            ("a@x.test", Some("a@x.test")),
            (" <a@x.test>\t", Some("a@x.test")),
            ("< a@x.test. >", Some("a@x.test")),
            ("root", Some("root@mta.example")),
            ("<root>", Some("root@mta.example")),
            ("<\"a b\"@x.test>", Some("\"a b\"@x.test")),
            ("", None),
            ("<>", None),
            ("<a@x.test", None),
            ("<<a@x.test>>", None),
            ("A <a@x.test>", None),
            ("a@x.test,b@x.test", None),
            ("a@x.test\r\nDATA", None),
            ("root\r\nDATA", None),
        ] {
            let found = lenient_mailbox(text, "mta.example");
            assert_eq!(found.as_ref().ok().map(Address::as_str), expected, "{text:?}");
        }
    }
}

//! The Received field that every mail gets at intake.
//!
//! In: envelope, client, the relay's host name. Out: `Received:` for the top of the content.
//! Security: the HELO name is untrusted; if it is neither a domain nor a literal, it becomes an
//! atom with question marks, so that every parser can read the field. A single recipient is named;
//! with several, each would learn of the others. Source: RFC 5321 §4.4; the protocol names after
//! `with`: RFC 3848 (the S of TLS), RFC 6531 §4.3 (UTF8SMTP).

use super::model::{Address, Domain, Encryption, Envelope, MessageId, Protocol};
use std::borrow::Cow;
use std::fmt::Write;
use std::net::IpAddr;

/// The client of a mail.
#[derive(Clone, Copy)]
pub(super) struct ReceivedFrom<'a> {
    /// Its HELO name.
    pub name: &'a str,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its address.
    pub address: IpAddr,
    /// Its TLS parameters.
    pub encryption: Option<Encryption>,
    /// Whether it has logged in.
    pub has_logged_in: bool,
}

impl<'a> ReceivedFrom<'a> {
    /// A client in plain text that has not logged in.
    pub(super) fn without_tls(name: &'a str, protocol: Protocol, address: IpAddr) -> Self {
        Self { name, protocol, address, encryption: None, has_logged_in: false }
    }
}

/// The field for a mail, with its CR LF. `date` is the time of receipt in the form of RFC 5322.
pub(super) fn header_field(
    envelope: &Envelope,
    client: &ReceivedFrom<'_>,
    hostname: &str,
    id: MessageId,
    date: &str,
) -> String {
    let ReceivedFrom { name, protocol, address, encryption, has_logged_in } = client;
    let with = match (protocol, envelope.smtputf8, encryption) {
        // Not registered, but in common use.
        (Protocol::Http, _, _) => "HTTP",
        (_, true, None) => "UTF8SMTP",
        (_, true, Some(_)) => "UTF8SMTPS",
        (Protocol::Esmtp, false, None) => "ESMTP",
        (Protocol::Esmtp, false, Some(_)) => "ESMTPS",
        // There is no registered name for HELO under TLS; the comment has it.
        (Protocol::Smtp, false, _) => "SMTP",
    };
    // RFC 3848: the A of AUTH.
    let login = if *has_logged_in { "A" } else { "" };
    let mut field = String::with_capacity(256);
    field.push_str("Received: from ");
    push_name(&mut field, name);
    // Writing to a string cannot fail.
    let _ = match address {
        IpAddr::V4(address) => write!(field, " ([{address}])"),
        IpAddr::V6(address) => write!(field, " ([IPv6:{address}])"),
    };
    if let Some(Encryption { version, cipher }) = encryption {
        let _ = write!(field, "\r\n\t(using {version} with cipher {cipher})");
    }
    let _ = write!(field, "\r\n\tby {hostname} (Postern) with {with}{login} id {id}");
    if let [only] = &envelope.recipients[..] {
        // Of two forms of a domain the one that every next hop accepts: a mail must not need
        // SMTPUTF8 because of its trace field.
        let form = only.ascii_form().unwrap_or(Cow::Borrowed(only.as_str()));
        let _ = write!(field, "\r\n\tfor <{form}>");
    }
    let _ = write!(field, ";\r\n\t{date}\r\n");
    field
}

/// The field of a finished message that an operator sends again. There is no client: the comment
/// names the former message.
pub(super) fn resent(hostname: &str, of: MessageId, id: MessageId, date: &str) -> String {
    format!("Received: by {hostname} (Postern, resent from {of}) id {id};\r\n\t{date}\r\n")
}

/// A domain or a literal as it is; of anything else the characters that are allowed in a dot-atom
/// (RFC 5322 §3.2.3), and a question mark for each other character and for dots at the ends and
/// next to each other.
fn push_name(field: &mut String, name: &str) {
    let is_literal = Address::parse(&format!("x@{name}"))
        .is_ok_and(|address| matches!(address.domain(), Domain::Literal(_)));
    if is_literal {
        field.push_str(name);
        return;
    }
    let last = name.chars().count().saturating_sub(1);
    let mut after_dot = true;
    for (place, c) in name.chars().enumerate() {
        let fits = c.is_ascii_alphanumeric()
            || c == '-'
            || c == '_'
            || (c == '.' && !after_dot && place < last);
        field.push(if fits { c } else { '?' });
        after_dot = fits && c == '.';
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::model::BodyType;

    fn envelope(recipients: &[&str], smtputf8: bool) -> Envelope {
        Envelope {
            sender: None,
            recipients: recipients.iter().map(|text| Address::parse(text).unwrap()).collect(),
            body: BodyType::SevenBit,
            smtputf8,
            dsn: None,
        }
    }

    #[test]
    fn whatever_a_client_calls_itself_the_field_stays_readable() {
        for (name, written) in [
            ("client.example", "client.example"),
            ("my_pc", "my_pc"),
            ("[192.0.2.1]", "[192.0.2.1]"),
            ("[IPv6:2001:db8::1]", "[IPv6:2001:db8::1]"),
            ("[127.0.0.1", "?127.0.0.1"),
            ("[IPv6:1::2::3]", "?IPv6?1??2??3?"),
            ("Büro-PC", "B?ro-PC"),
            ("..a..b.", "?.a.?b?"),
            (".", "?"),
            ("a;(b)\"\\", "a??b???"),
        ] {
            let mut field = String::new();
            push_name(&mut field, name);
            assert_eq!(field, written, "{name}");
        }
    }

    #[test]
    fn the_trace_field_says_who_and_how() {
        let date = "Sun, 22 Nov 2026 12:00:00 +0000";
        let (one, two) =
            (envelope(&["a@b.example"], false), envelope(&["a@b.example", "c@d.example"], false));
        let address = IpAddr::from([192, 0, 2, 1]);
        let client = ReceivedFrom::without_tls("client.example", Protocol::Esmtp, address);
        assert_eq!(
            header_field(&one, &client, "mta.example", MessageId(1), date),
            "Received: from client.example ([192.0.2.1])\r\n\tby mta.example (Postern) with ESMTP \
            id 0000000000001\r\n\tfor <a@b.example>;\r\n\t\
             Sun, 22 Nov 2026 12:00:00 +0000\r\n"
        );
        let there = "2001:db8::1".parse().unwrap();
        let hostile = ReceivedFrom::without_tls("[x](y;z)", Protocol::Smtp, there);
        assert_eq!(
            header_field(&two, &hostile, "mta.example", MessageId(1), date),
            "Received: from ?x??y?z? ([IPv6:2001:db8::1])\r\n\tby mta.example (Postern) with SMTP \
            id 0000000000001;\r\n\t\
             Sun, 22 Nov 2026 12:00:00 +0000\r\n"
        );
        let encryption = Some(Encryption { version: "TLSv1.3", cipher: "TLS_AES_256_GCM_SHA384" });
        let secured = ReceivedFrom { encryption, ..client };
        let field = |client| header_field(&two, client, "mta.example", MessageId(1), date);
        let logged_in = ReceivedFrom { has_logged_in: true, ..secured };
        assert!(field(&logged_in).contains("with ESMTPSA id"), "RFC 3848");
        let logged_in = ReceivedFrom { has_logged_in: true, ..client };
        assert!(field(&logged_in).contains("with ESMTPA id"));
        assert_eq!(
            header_field(&two, &secured, "mta.example", MessageId(1), date),
            "Received: from client.example ([192.0.2.1])\r\n\t(using TLSv1.3 with cipher \
            TLS_AES_256_GCM_SHA384)\r\n\t\
             by mta.example (Postern) with ESMTPS id 0000000000001;\r\n\tSun, 22 Nov 2026 12:00:00 \
             +0000\r\n"
        );
        let international = envelope(&["é@b.example"], true);
        for (client, with) in [(client, "UTF8SMTP"), (secured, "UTF8SMTPS")] {
            let field = header_field(&international, &client, "mta.example", MessageId(1), date);
            assert!(
                field.contains(&format!(" with {with} id 0000000000001\r\n\tfor <é@b.example>;")),
                "{field}"
            );
        }
        let domain = header_field(
            &envelope(&["info@b\u{fc}cher.example"], true),
            &client,
            "mta.example",
            MessageId(1),
            date,
        );
        assert!(
            domain.is_ascii() && domain.contains("\r\n\tfor <info@xn--bcher-kva.example>;"),
            "{domain}"
        );
    }
}

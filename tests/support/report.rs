//! Delivery status notifications, as their receiver reads them.

use super::letter::Letter;
use mail_parser::{MessageParser, MimeHeaders};

/// The content of a report about one recipient.
#[derive(Debug, PartialEq, Eq)]
pub struct Report {
    /// Its recipient.
    pub to: String,
    /// The recipient that it is about.
    pub about: String,
    /// `failed` or `delayed`.
    pub action: String,
    /// The enhanced code.
    pub status: String,
}

impl Report {
    /// Reads a mail that must be an RFC 3464 report about one recipient.
    pub fn read(mail: &Letter) -> Self {
        assert_eq!(mail.from, "", "a report has the null sender: {}", mail.text());
        let [to] = &mail.to[..] else { panic!("a report has one recipient: {:?}", mail.to) };
        let parsed = MessageParser::default().parse(&mail.content).expect("a mail");
        let top = parsed.content_type().expect("a Content-Type");
        assert_eq!((top.ctype(), top.subtype()), ("multipart", Some("report")), "{}", mail.text());
        assert_eq!(top.attribute("report-type"), Some("delivery-status"));
        assert_eq!(parsed.header_raw("Auto-Submitted").map(str::trim), Some("auto-replied"));
        let status = parsed.parts.iter().find(|part| {
            part.content_type().is_some_and(|kind| {
                kind.ctype() == "message" && kind.subtype() == Some("delivery-status")
            })
        });
        let status = status
            .and_then(|part| part.text_contents())
            .expect("a message/delivery-status")
            .to_owned();
        let value = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            line.unwrap_or_else(|| panic!("no {name} in {status}")).to_owned()
        };
        assert!(value("Reporting-MTA").starts_with("dns; "), "{status}");
        let about = value("Final-Recipient");
        let about = about.strip_prefix("rfc822; ").expect("rfc822").to_owned();
        Self { to: to.clone(), about, action: value("Action"), status: value("Status") }
    }
}

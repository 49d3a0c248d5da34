//! The content of a mail as plain text, for display.
//!
//! Limits: [`READ_MAX`] octets of a content are parsed, [`TEXT_MAX`] characters of text shown,
//! [`HEADERS_MAX`] header fields of [`VALUE_MAX`] characters, [`PARTS_MAX`] parts. Security: HTML
//! becomes text; the result is still untrusted, and must be escaped by the code that shows it.
//! Source: RFC 5322, RFC 2045 to 2047.

use super::message_parts::{READ_MAX, html_of};
use super::{ADMIN_PATIENCE, HttpResponse, ask, error};
use crate::api::state::AppState;
use crate::http::response;
use crate::mail::model::MessageId;
use hyper::StatusCode;
use mail_parser::{HeaderValue, MessageParser, MimeHeaders};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

/// Characters of text.
pub const TEXT_MAX: usize = 100_000;

/// Header fields.
pub const HEADERS_MAX: usize = 100;

/// Characters of a header field's value.
pub const VALUE_MAX: usize = 2000;

/// Parts that are listed.
pub const PARTS_MAX: usize = 100;

/// The content of a mail.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextView {
    /// The header fields in their order.
    pub headers: Vec<HeaderView>,
    /// The text; made from HTML if there is no other.
    pub text: String,
    /// Whether the mail contains more than was read, or is shown.
    pub truncated: bool,
    /// Whether it has an HTML part; `text` is made from it if there is no other.
    #[serde(default)]
    pub has_html: bool,
    /// Attachments and other parts.
    pub parts: Vec<AttachmentView>,
}

/// A header field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderView {
    /// Its name.
    pub name: String,
    /// Its value, decoded if it is text.
    pub value: String,
}

/// An attachment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachmentView {
    /// Its media type.
    pub kind: String,
    /// Its file name; empty when it has none.
    pub name: String,
    /// Its size, decoded.
    pub size_bytes: u64,
}

/// `GET /api/v1/queue/ID/text`
pub(super) async fn text(app: &AppState, id: MessageId) -> HttpResponse {
    match view(app, id).await {
        Ok(view) => response::json(StatusCode::OK, &view),
        Err(answer) => answer,
    }
}

/// The text, for programs and for the page.
pub(crate) async fn view(app: &AppState, id: MessageId) -> Result<TextView, HttpResponse> {
    let message = ask(app.views.admin.show(id)).await?;
    let whole = message.body.len() <= READ_MAX as u64;
    let read = tokio::task::spawn_blocking(move || {
        let mut view = read(&message.body.head(READ_MAX)?);
        view.truncated |= !whole;
        Ok::<_, std::io::Error>(view)
    });
    match timeout(ADMIN_PATIENCE, read).await {
        Ok(Ok(Ok(view))) => Ok(view),
        Ok(Ok(Err(fault))) => Err(error(
            StatusCode::SERVICE_UNAVAILABLE,
            &format!("the content cannot be read: {fault}"),
        )),
        // A panic of the parser costs only this answer.
        Ok(Err(_)) => Err(error(
            StatusCode::UNPROCESSABLE_ENTITY,
            "the content cannot be shown as text; download it instead",
        )),
        Err(_) => Err(error(
            StatusCode::GATEWAY_TIMEOUT,
            "the content was not read in time; is the data volume slow or failing?",
        )),
    }
}

/// Makes text of a content, or of its beginning. Pure; accepts any octets.
pub fn read(content: &[u8]) -> TextView {
    let Some(mail) = MessageParser::new().parse(content) else { return TextView::default() };
    let mut headers: Vec<HeaderView> = mail
        .headers()
        .iter()
        .take(HEADERS_MAX)
        .map(|header| {
            let raw = content
                .get(header.offset_start() as usize..header.offset_end() as usize)
                .unwrap_or_default();
            let value = match header.value() {
                HeaderValue::Text(text) => text.to_string(),
                _ => String::from_utf8_lossy(raw).into_owned(),
            };
            HeaderView {
                name: cut(header.name(), 100),
                value: cut(unfolded(&value).trim(), VALUE_MAX),
            }
        })
        .collect();
    headers.shrink_to_fit();
    let body = mail.body_text(0).unwrap_or_default();
    let text = cut(body.trim_end(), TEXT_MAX);
    let parts = mail.attachments().take(PARTS_MAX).map(|part| AttachmentView {
        kind: part.content_type().map_or_else(
            || "application/octet-stream".to_owned(),
            |kind| cut(&format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or("*")), 100),
        ),
        name: cut(part.attachment_name().unwrap_or_default(), 200),
        size_bytes: part.len() as u64,
    });
    TextView {
        truncated: text.len() < body.trim_end().len(),
        headers,
        text,
        has_html: html_of(&mail).is_some(),
        parts: parts.collect(),
    }
}

/// A field's value on one line: folds are line breaks before white space (RFC 5322 §2.2.3), and
/// tabs in them are replaced by blanks.
fn unfolded(value: &str) -> String {
    value.replace("\r\n", "\n").replace("\n ", " ").replace("\n\t", " ").replace('\t', " ")
}

fn cut(text: &str, characters: usize) -> String {
    text.chars().take(characters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_becomes_text_and_attachments_are_listed() {
        let mail = b"From: a@b\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nX-Odd: one\r\n \
        two\r\nMIME-Version: 1.0\r\n\
            Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: text/html\r\n\r\n\
            <p>Hello <b>you</b></p><script>alert(1)</script>\r\n--x\r\nContent-Type: \
            application/pdf\r\n\
            Content-Disposition: attachment; filename=\"bill.pdf\"\r\nContent-Transfer-Encoding: \
            base64\r\n\r\nAAAA\r\n--x--\r\n";
        let view = read(mail);
        assert!(
            view.headers.iter().any(|header| header.name == "Subject" && header.value == "Grüße"),
            "{view:?}"
        );
        assert!(
            view.text.contains("Hello") && view.text.contains("you") && !view.text.contains('<'),
            "{}",
            view.text
        );
        let pdf = AttachmentView {
            kind: "application/pdf".into(),
            name: "bill.pdf".into(),
            size_bytes: 3,
        };
        assert_eq!(view.parts, [pdf]);
        assert!(!view.truncated && view.has_html);
        assert!(!read(b"Subject: plain\r\n\r\nHello <b>you</b>\r\n").has_html);
    }

    #[test]
    fn folded_fields_are_on_one_line() {
        let mail = b"Received: from a\r\n\tby b;\r\n  Thu, 26 Nov 2026\nX-Tab: one\ttwo\r\nTo: \
        a@b,\r\n c@d\r\n\r\n";
        let view = read(mail);
        let value = |name: &str| {
            view.headers.iter().find(|header| header.name == name).unwrap().value.clone()
        };
        assert_eq!(value("Received"), "from a by b;  Thu, 26 Nov 2026");
        assert_eq!(value("X-Tab"), "one two");
        assert_eq!(value("To"), "a@b, c@d");
    }

    #[test]
    fn the_text_has_an_end() {
        let mail = format!("Subject: long\r\n\r\n{}\r\n", "ü".repeat(TEXT_MAX + 1));
        let view = read(mail.as_bytes());
        assert!(view.truncated && view.text.chars().count() == TEXT_MAX);
        assert_eq!(read(b""), TextView::default());
    }
}

//! Single parts of a mail for display: its HTML, and its attachments as files.
//!
//! Limits: HTML comes from the first [`READ_MAX`] octets of a content; attachments are taken out of
//! contents of at most [`TAKEN_APART_MAX`] octets, one content at a time for each visitor.
//! Security: all of it is untrusted. [`html`] removes elements that have an effect before the
//! browser's policy applies, and the code that serves it must sandbox it; an attachment is never
//! served with its declared type. Source: RFC 2045 to 2047, RFC 2183.

use super::{ADMIN_PATIENCE, HttpResponse, ask, error};
use crate::api::state::AppState;
use crate::mail::model::{Body, MessageId};
use hyper::StatusCode;
use mail_parser::{Message, MessageParser, MimeHeaders, PartType};
use std::io;
use tokio::time::timeout;

/// Octets of a content that are read, at most.
pub const READ_MAX: usize = 1 << 20;

/// Octets of a content whose attachments can be extracted; larger mail must be downloaded as a
/// whole.
pub(crate) const TAKEN_APART_MAX: u64 = 32 << 20;

/// Characters of a file name, at most.
const NAME_MAX: usize = 200;

/// Elements that load, navigate or run something. A browser's sandbox and policy forbid that, too,
/// except what begins before they apply, such as a connection announced by a `link`.
const DISARMED: [&str; 10] =
    ["link", "meta", "base", "form", "iframe", "frame", "object", "embed", "portal", "area"];

/// A link; many other element names begin with this letter, too. The policy forbids to follow it,
/// but a browser connects as soon as a user presses on it.
const LINK: &str = "a";

/// It is replaced by a `template`, of which nothing is shown, loaded or run (HTML §4.12.3).
const SCRIPT: &str = "script";

/// An attachment.
pub(crate) struct Attachment {
    /// The name in the mail; untrusted, empty if it has none.
    pub(crate) name: String,
    /// Decoded.
    pub(crate) content: Vec<u8>,
}

/// The HTML of a mail without elements that load, navigate or run something; `None` when it has
/// none.
pub(crate) async fn html(app: &AppState, id: MessageId) -> Result<Option<String>, HttpResponse> {
    let message = ask(app.views.admin.show(id)).await?;
    taken_apart(message.body, READ_MAX, |mail| html_of(mail).map(disarmed)).await
}

/// The attachment at an index in the list of [`super::TextView::parts`]; `None` when there is none.
pub(crate) async fn attachment(
    app: &AppState,
    id: MessageId,
    place: u32,
) -> Result<Option<Attachment>, HttpResponse> {
    let message = ask(app.views.admin.show(id)).await?;
    if message.body.len() > TAKEN_APART_MAX {
        return Err(error(
            StatusCode::UNPROCESSABLE_ENTITY,
            "the message is too large to take an attachment out of it; download the .eml file",
        ));
    }
    taken_apart(message.body, usize::MAX, move |mail| {
        mail.attachment(place).map(|part| Attachment {
            name: part.attachment_name().unwrap_or_default().chars().take(NAME_MAX).collect(),
            content: part.contents().to_vec(),
        })
    })
    .await
}

/// The result of `take` for a content, or its beginning, on a thread that may block.
async fn taken_apart<T: Send + 'static>(
    body: Body,
    limit: usize,
    take: impl FnOnce(&Message<'_>) -> Option<T> + Send + 'static,
) -> Result<Option<T>, HttpResponse> {
    let read = tokio::task::spawn_blocking(move || {
        let content = body.head(limit)?;
        Ok::<_, io::Error>(MessageParser::new().parse(&content[..]).as_ref().and_then(take))
    });
    match timeout(ADMIN_PATIENCE, read).await {
        Ok(Ok(Ok(found))) => Ok(found),
        Ok(Ok(Err(fault))) => Err(error(
            StatusCode::SERVICE_UNAVAILABLE,
            &format!("the content cannot be read: {fault}"),
        )),
        // A panic of the parser costs only this answer.
        Ok(Err(_)) => {
            Err(error(StatusCode::UNPROCESSABLE_ENTITY, "the content cannot be taken apart"))
        }
        Err(_) => Err(error(
            StatusCode::GATEWAY_TIMEOUT,
            "the content was not read in time; is the data volume slow or failing?",
        )),
    }
}

/// The first part that is HTML and not an attachment.
pub(super) fn html_of<'x>(mail: &'x Message<'_>) -> Option<&'x str> {
    mail.html_bodies().find_map(|part| match &part.body {
        PartType::Html(html) => Some(html.as_ref()),
        _ => None,
    })
}

/// HTML in which no tag begins with the name of an element of [`DISARMED`]: `<link` becomes
/// `<x-link`, which has no meaning; and a script becomes a template. A tag begins with `<` directly
/// followed by its name (HTML §13.2.5.6), so none is missed, and a replacement inside of text,
/// comments and values does little harm.
fn disarmed(html: &str) -> String {
    let mut safe = String::with_capacity(html.len() + 64);
    let mut rest = html;
    while let Some(place) = rest.find('<') {
        let (before, mut after) = rest.split_at(place + 1);
        safe.push_str(before);
        let begins = |text: &str, name: &str| {
            text.get(..name.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(name))
        };
        if let Some(end) = after.strip_prefix('/').filter(|end| begins(end, SCRIPT)) {
            safe.push_str("/template");
            after = &end[SCRIPT.len()..];
        } else if begins(after, SCRIPT) {
            safe.push_str("template");
            after = &after[SCRIPT.len()..];
        } else if DISARMED.iter().any(|name| begins(after, name)) || is_link(after) {
            safe.push_str("x-");
        }
        rest = after;
    }
    safe + rest
}

/// Whether a tag with this beginning is a link: its name ends at white space, `/` or `>`.
fn is_link(after: &str) -> bool {
    let name = after.split([' ', '\t', '\n', '\r', '\u{c}', '/', '>']).next().unwrap_or_default();
    name.eq_ignore_ascii_case(LINK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_tag_loads_leads_or_runs() {
        assert_eq!(
            disarmed("<p>a < b</p><LINK rel=preconnect href=//t.example><Script a>x</SCRIPT >"),
            "<p>a < b</p><x-LINK rel=preconnect href=//t.example><template a>x</template >"
        );
        assert_eq!(disarmed("<meta><base><form><iframe><object><embed>é<"), {
            "<x-meta><x-base><x-form><x-iframe><x-object><x-embed>é<"
        });
        assert_eq!(disarmed("<<link><p title='<link'>"), "<<x-link><p title='<x-link'>");
        assert_eq!(disarmed("<lin"), "<lin");
        assert_eq!(
            disarmed("<a\nhref=x>b</a><A/href=x><area href=x><abbr><article>"),
            "<x-a\nhref=x>b</a><x-A/href=x><x-area href=x><abbr><article>"
        );
    }

    #[test]
    fn html_is_the_part_that_is_shown_and_no_attachment() {
        let find = |mail: &str| {
            let mail = MessageParser::new().parse(mail.as_bytes())?;
            html_of(&mail).map(str::to_owned)
        };
        let of = |kind: &str| {
            format!("From: a@b\r\nMIME-Version: 1.0\r\nContent-Type: {kind}\r\n\r\n<b>x</b>\r\n")
        };
        assert_eq!(find(&of("text/html")).as_deref(), Some("<b>x</b>\r\n"));
        assert_eq!(find(&of("text/plain")), None, "text is not made to HTML");
        assert_eq!(find(&of("application/pdf")), None);
    }
}

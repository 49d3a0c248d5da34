//! One line on top of a page about the executed order: it is encoded in the query string, as
//! numbers and words of a closed list.

use crate::api::{MatchedView, Remark};
use crate::ground::display_text::counted;

/// The query of a page without the notice, and the notice as text.
pub(super) fn split(query: &str) -> (String, Option<String>) {
    let (mut order, mut hit) = (None, 0u64);
    let mut rest = form_urlencoded::Serializer::new(String::new());
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "done" => order = words(&value),
            "n" => hit = value.parse().unwrap_or_default(),
            _ => drop(rest.append_pair(&name, &value)),
        }
    }
    let messages = counted(hit, "message");
    (rest.finish(), order.map(|words| words.replace("{}", &messages)))
}

/// The query that makes a page show it.
pub(super) fn query(order: &str, hit: &MatchedView) -> String {
    let done = match hit.remark {
        Some(Remark::NoMailWaits) => "no_mail_waits",
        Some(Remark::PausedAlready) => "paused_already",
        Some(Remark::NotPaused) => "not_paused",
        None if hit.untried.is_some() => "untried",
        None => order,
    };
    format!("done={done}&n={}", hit.untried.unwrap_or(hit.messages))
}

fn words(order: &str) -> Option<String> {
    let remark = |remark: Remark| Some(format!("Note: {}.", remark.words("that destination")));
    let words = match order {
        "no_mail_waits" => return remark(Remark::NoMailWaits),
        "paused_already" => return remark(Remark::PausedAlready),
        "not_paused" => return remark(Remark::NotPaused),
        "retry" => "{} will be retried now.",
        "untried" => "Note: {} not retried: held, or the destination is paused.",
        "hold" => "{} held.",
        "release" => "{} released.",
        "delete" => "{} deleted.",
        "resend" => "Sent again: this is the new message.",
        "pause" => "Delivery to that destination is paused until you resume it.",
        "resume" => "Delivery to that destination is resumed.",
        _ => return None,
    };
    Some(words.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_says_only_what_is_on_the_list() {
        assert_eq!(
            split("sender=a+b&done=hold&n=1"),
            ("sender=a+b".into(), Some("1 message held.".into()))
        );
        let hit = MatchedView {
            messages: 1200,
            untried: None,
            preview: false,
            sample: Vec::new(),
            incomplete: false,
            remark: None,
        };
        assert_eq!(
            split(&query("retry", &hit)),
            (String::new(), Some("1,200 messages will be retried now.".into()))
        );
        let paused = MatchedView { untried: Some(3), ..hit.clone() };
        let words = "Note: 3 messages not retried: held, or the destination is paused.";
        assert_eq!(split(&query("retry", &paused)), (String::new(), Some(words.into())));
        let not = MatchedView { remark: Some(Remark::NotPaused), ..hit };
        let words = "Note: that destination was not paused; nothing has changed.";
        assert_eq!(split(&query("resume", &not)), (String::new(), Some(words.into())));
        assert_eq!(split("done=%3Cb%3E&n=1"), (String::new(), None));
    }
}

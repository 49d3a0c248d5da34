//! One line on top of a page about what was just done: it travels in the query string, as numbers and words of a closed list.

use crate::window::words::count;

/// The query of a page without the notice, and the notice in words.
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
    let messages = if hit == 1 { "1 message".to_owned() } else { format!("{} messages", count(hit)) };
    (rest.finish(), order.map(|words| words.replace("{}", &messages)))
}

/// The query that makes a page say so.
pub(super) fn query(order: &str, hit: u64) -> String {
    format!("done={order}&n={hit}")
}

fn words(order: &str) -> Option<&'static str> {
    Some(match order {
        "retry" => "{} will be tried now.",
        "hold" => "{} held.",
        "release" => "{} released.",
        "delete" => "{} deleted.",
        "pause" => "Paused: nothing goes to that destination until you resume it.",
        "resume" => "Resumed: mail goes to that destination again.",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_says_only_what_is_on_the_list() {
        assert_eq!(split("sender=a+b&done=hold&n=1"), ("sender=a+b".into(), Some("1 message held.".into())));
        assert_eq!(split(&query("retry", 1200)), (String::new(), Some("1,200 messages will be tried now.".into())));
        assert_eq!(split("done=%3Cb%3E&n=1"), (String::new(), None));
    }
}

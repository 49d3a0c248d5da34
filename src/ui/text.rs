//! Hostile text as it stands on a page: short, and harmless even before it is escaped.

use crate::ground::words::{harmless, shorten};

/// Characters in the tip above a shortened text.
const TIP_SHOWN: usize = 400;

/// A text as it stands on the page, and all of it where that is more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Text {
    pub(super) shown: String,
    pub(super) tip: Option<String>,
}

/// A text of at most so many characters.
pub(super) fn text(hostile: &str, limit: usize) -> Text {
    let whole = harmless(hostile);
    let shown = shorten(&whole, limit);
    let tip = (shown != whole).then(|| shorten(&whole, TIP_SHOWN));
    Text { shown, tip }
}

/// A value in a query string.
pub(super) fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_is_short_and_cannot_turn_the_page_around() {
        let text = text(&format!("<b>\u{202e}{}", "x".repeat(500)), 10);
        assert_eq!(text.shown, "<b>\u{fffd}xxxxx…");
        assert_eq!(text.tip.unwrap().chars().count(), TIP_SHOWN);
    }
}

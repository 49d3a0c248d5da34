//! Untrusted text for a page: shortened, and without control characters even before it is escaped.

use crate::ground::display_text::{harmless, shorten};

/// Characters in the tooltip of a shortened text.
const TIP_SHOWN: usize = 400;

/// The text on the page, and the whole text if that is longer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ShortText {
    pub(super) shown: String,
    pub(super) tip: Option<String>,
}

/// A text of at most so many characters.
pub(super) fn text(hostile: &str, limit: usize) -> ShortText {
    let whole = harmless(hostile);
    let shown = shorten(&whole, limit);
    let tip = (shown != whole).then(|| shorten(&whole, TIP_SHOWN));
    ShortText { shown, tip }
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

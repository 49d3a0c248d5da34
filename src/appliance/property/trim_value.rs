//! Removes what is around a value without being part of it: byte order marks, line ends, blanks,
//! quotes.
//!
//! Purpose: a value means the same whether it comes from a shell, a YAML block, an `--env-file` or
//! a file from Windows. What cannot be removed with certainty is an error with its reason. In: the
//! original text. Out: the value, a warning, or an error. Limits: none of its own; texts are
//! bounded by [`super::VALUE_LIMIT`].

use super::name_lookup::Named;
use super::value_source::ValueOrigin;

/// U+FEFF at the start of a text: some Windows editors write it (RFC 3629 §6).
const BYTE_ORDER_MARK: char = '\u{feff}';

/// A valid value, and a warning about it.
#[derive(Debug, PartialEq, Eq)]
pub struct Clean {
    /// The value; empty = none.
    pub value: String,
    /// A warning: the value is used as it is.
    pub warning: Option<String>,
}

/// What is wrong with a value, and what to do.
#[derive(Debug, PartialEq, Eq)]
pub struct Dirty {
    /// Continues the variable's name: "has quotes around its value".
    pub what: String,
    /// What to do.
    pub advice: String,
}

/// Removes what is not part of a value. In a list, line breaks separate entries as blanks do. Of a
/// secret only a byte order mark and the line ends at the end are removed: every other character
/// counts.
///
/// # Errors
/// The value has line breaks, control or invisible characters inside, or quotes around it.
pub fn clean(named: &Named<'_>, source: &ValueOrigin, text: &str) -> Result<Clean, Dirty> {
    let property = named.property;
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text).replace("\r\n", "\n");
    let text = text.trim_end_matches(['\n', '\r']);
    let text = if property.secret { text } else { text.trim() };
    let value = if property.list { text.replace(['\n', '\r', '\t'], " ") } else { text.to_owned() };
    if let Some(found) = value.chars().find(|c| c.is_control()) {
        let what = match found {
            '\n' | '\r' => "contains control characters: it has more than one line",
            _ => "contains control characters",
        };
        return Err(dirty(what, "write one line, without control characters"));
    }
    if let Some(found) = value.chars().find(|c| is_invisible(*c)) {
        let what = format!("contains the invisible character U+{:04X}", u32::from(found));
        return Err(dirty(
            &what,
            "type the value by hand: copied text often contains such characters",
        ));
    }
    let quoted = is_quoted(&value);
    if quoted && (*source == ValueOrigin::Environment || !property.secret) {
        // `docker run --env-file` and compose's env_file keep quotes that a shell would have
        // removed.
        return Err(dirty(
            "has quotes around its value",
            "remove the quotes: the value is taken as it is written",
        ));
    }
    let odd = match () {
        () if quoted => Some("has quotes around it; they count as part of it"),
        () if property.secret && value.trim() != value => {
            Some("begins or ends with a blank, which counts as part of it")
        }
        () => None,
    };
    let warning = odd.map(|odd| format!("the value of {} {odd}", named.variable()));
    Ok(Clean { value, warning })
}

fn dirty(what: &str, advice: &str) -> Dirty {
    Dirty { what: what.to_owned(), advice: advice.to_owned() }
}

/// Invisible characters: they make a value differ from one that looks the same. Joiners (U+200C,
/// U+200D) are allowed, because some scripts need them.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffc}' | '\u{e0000}'..='\u{e007f}')
}

/// The same quotes at both ends, also typographic ones.
fn is_quoted(value: &str) -> bool {
    const PAIRS: [(char, char); 7] =
        [('"', '"'), ('\'', '\''), ('`', '`'), ('“', '”'), ('‘', '’'), ('„', '“'), ('«', '»')];
    let mut chars = value.chars();
    let ends = (chars.next(), chars.next_back());
    PAIRS.iter().any(|(open, close)| ends == (Some(*open), Some(*close)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::appliance::property::name_lookup::PropertyNames;

    fn cleaned(name: &str, text: &str) -> Result<String, String> {
        let source = ValueOrigin::Environment;
        clean(&PropertyNames::of_class().name(name).unwrap(), &source, text)
            .map(|clean| clean.value)
            .map_err(|dirty| dirty.what)
    }

    #[test]
    fn line_ends_blanks_and_byte_order_marks_go() {
        let right = Ok("relay.example".to_owned());
        for text in [
            "relay.example\n",
            "relay.example\r\n",
            "\u{feff}relay.example",
            "\n relay.example \n\n",
            "\trelay.example\u{a0}",
        ] {
            assert_eq!(cleaned("hostname", text), right, "{text:?}");
        }
        assert_eq!(cleaned("password", "\u{feff} a b \r\n"), Ok(" a b ".to_owned()));
        assert_eq!(cleaned("hostname", "\n"), Ok(String::new()));
    }

    #[test]
    fn lines_separate_the_entries_of_lists_alone() {
        let block = "10.0.0.0/8\r\n2001:db8::/32\n\t192.0.2.1\n";
        assert_eq!(
            cleaned("smtpd_trusted_networks", block),
            Ok("10.0.0.0/8 2001:db8::/32  192.0.2.1".to_owned())
        );
        assert!(
            cleaned("hostname", "a.example\nb.example").unwrap_err().contains("more than one line")
        );
        assert!(cleaned("password", "a\nb").unwrap_err().contains("more than one line"));
        assert!(cleaned("password", "a\tb").unwrap_err().contains("control characters"));
    }

    #[test]
    fn quotes_and_invisible_characters_are_named() {
        for text in
            ["\"a.example\"", "'a.example'", "“a.example”", "`a.example`", "\"a.example\"\r\n"]
        {
            assert_eq!(
                cleaned("smart_relay", text),
                Err("has quotes around its value".to_owned()),
                "{text:?}"
            );
        }
        assert_eq!(
            cleaned("hostname", "a\u{200b}.example"),
            Err("contains the invisible character U+200B".to_owned())
        );
        assert_eq!(
            cleaned("username", "anna\u{202e}"),
            Err("contains the invisible character U+202E".to_owned())
        );
        assert_eq!(cleaned("username", "\""), Ok("\"".to_owned()), "one character is no pair");
    }

    #[test]
    fn what_is_odd_about_a_secret_is_said() {
        let password = PropertyNames::of_class().name("password").unwrap();
        let file = ValueOrigin::File("/run/secrets/password".into());
        let warned = |text: &str| clean(&password, &file, text).unwrap().warning;
        assert_eq!(warned("hunter2\n"), None);
        assert!(
            warned("hunter2 \n")
                .unwrap()
                .ends_with("begins or ends with a blank, which counts as part of it")
        );
        assert!(
            warned("\"hunter2\"")
                .unwrap()
                .ends_with("has quotes around it; they count as part of it")
        );
        assert!(!warned("\"hunter2\"").unwrap().contains("hunter2"));
    }
}

//! The tokens of a Rust file, without comments, strings, and code for tests only.

/// Words, `::`, and single characters. Strings, numbers and lifetimes are left out.
pub fn words(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            length_of_comment(rest)
        } else if let Some(length) = length_of_raw_text(rest) {
            length
        } else if first == '"' {
            length_of_text(rest)
        } else if first == '\'' {
            length_of_quote(rest)
        } else if is_word(first) {
            let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            found.push(rest[..length].to_owned());
            length
        } else if rest.starts_with("::") {
            found.push("::".to_owned());
            2
        } else {
            if !first.is_whitespace() {
                found.push(first.to_string());
            }
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    found
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn length_of_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if text[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// `r"…"`, `br#"…"#` and the like; `None` where none begins.
fn length_of_raw_text(text: &str) -> Option<usize> {
    let start = ["r", "br", "cr"].into_iter().find(|start| {
        let rest = text.strip_prefix(start);
        rest.is_some_and(|rest| rest.trim_start_matches('#').starts_with('"'))
    })?;
    let quote = text.find('"')?;
    let end = format!("\"{}", "#".repeat(quote - start.len()));
    Some(text[quote + 1..].find(&end).map_or(text.len(), |at| quote + 1 + at + end.len()))
}

fn length_of_text(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// A character literal, or the start of a lifetime.
fn length_of_quote(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((at, c))) => {
            let after = at + c.len_utf8();
            text[after..].find('\'').map_or(text.len(), |end| after + end + 1)
        }
        (Some(_), Some((at, '\''))) => at + 1,
        (Some(_), _) => text[1..].find(|c| !is_word(c)).map_or(text.len(), |end| end + 1),
        (None, _) => text.len(),
    }
}

/// The tokens without each item that is compiled only for tests or documentation, and the files
/// that are declared so.
pub fn without_tests(words: &[String]) -> (Vec<String>, Vec<String>) {
    let (mut kept, mut files) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < words.len() {
        let is_apart = ["test", "doc"]
            .iter()
            .any(|cause| starts_with(&words[at..], &["#", "[", "cfg", "(", cause, ")", "]"]));
        if !is_apart {
            kept.push(words[at].clone());
            at += 1;
            continue;
        }
        let end = at + length_of_item(&words[at..]);
        if let [.., keyword, name, mark] = &words[at..end]
            && keyword == "mod"
            && mark == ";"
        {
            files.push(name.clone());
        }
        at = end;
    }
    (kept, files)
}

/// Whether the tokens begin with these.
pub fn starts_with(words: &[String], start: &[&str]) -> bool {
    words.len() >= start.len() && words.iter().zip(start).all(|(word, wanted)| word == wanted)
}

/// Up to the `;` that ends an item, or its closing brace, including its attributes.
fn length_of_item(words: &[String]) -> usize {
    let mut depth = 0_usize;
    for (at, word) in words.iter().enumerate() {
        match word.as_str() {
            "{" | "(" | "[" => depth += 1,
            ")" | "]" => depth = depth.saturating_sub(1),
            "}" => {
                depth = depth.saturating_sub(1);
                let is_use = words.get(at + 1).is_some_and(|next| next == ";");
                if depth == 0 && !is_use {
                    return at + 1;
                }
            }
            ";" | "," if depth == 0 => return at + 1,
            _ => {}
        }
    }
    words.len()
}

#[test]
fn texts_comments_and_tests_are_left_out() {
    let text = r##"
        use a::b; // use a::c;
        /* use /* a */ d; */
        fn f<'a>(x: &'a str) -> char { g(r#"" use e; "#, "\" use h;", 'x', '\'', '"') }
        #[cfg(test)]
        mod more;
        #[cfg(test)]
        mod tests { use super::f; }
        #[cfg(doc)]
        use {k, l};
    "##;
    let (kept, files) = without_tests(&words(text));
    let expected = "use a :: b ; fn f < > ( x : & str ) - > char { g ( , , , , ) }"
        .split(' ')
        .collect::<Vec<_>>();
    assert_eq!(kept, expected);
    assert_eq!(files, ["more"]);
}

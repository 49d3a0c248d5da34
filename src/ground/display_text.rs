//! Numbers, ages and sizes as text for people, and untrusted text shortened and escaped.

pub(crate) use crate::ground::text::harmless;

/// A duration in its two largest units: `45 s`, `3 min`, `2 h 5 min`, `4 d 3 h`.
pub(crate) fn span(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, _, _) => two(hours, "h", minutes % 60, "min"),
        _ => two(days, "d", hours % 24, "h"),
    }
}

/// A duration below a minute with its fraction: `4 ms`, `0.5 s`.
pub(crate) fn fine_span(seconds: f64) -> String {
    match seconds {
        s if s < 0.001 => format!("{:.0} µs", s * 1e6),
        s if s < 0.1 => format!("{} ms", trim(format!("{:.1}", s * 1e3))),
        s if s < 60.0 => format!("{} s", trim(format!("{s:.1}"))),
        s => span(std::time::Duration::try_from_secs_f64(s).unwrap_or_default().as_secs()),
    }
}

/// Octets: `812 B`, `3.4 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB", "TiB"] {
        if value < 999.5 || unit == "TiB" {
            let digits = if unit != "B" && value < 9.95 {
                format!("{value:.1}")
            } else {
                format!("{value:.0}")
            };
            return format!("{digits} {unit}");
        }
        value /= 1024.0;
    }
    String::new()
}

/// A count with separated thousands: `12,345`.
pub(crate) fn count(number: impl TryInto<u64>) -> String {
    let digits = number.try_into().unwrap_or(0u64).to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number with a noun: `1 entry`, `1,200 entries`. Of `one`, only the last word gets the plural.
pub(crate) fn counted(number: impl TryInto<u64>, one: &str) -> String {
    let number = number.try_into().unwrap_or(0u64);
    match one.strip_suffix('y') {
        _ if number == 1 => format!("1 {one}"),
        Some(stem) => format!("{} {stem}ies", count(number)),
        None => format!("{} {one}s", count(number)),
    }
}

/// `was` or `were`, for this number.
pub(crate) fn were(number: u64) -> &'static str {
    if number == 1 { "was" } else { "were" }
}

/// The states of the queue's messages: `11 waiting · 1 deferred`; states without a message are left
/// out.
pub(crate) fn states(messages: u64, active: u64, deferred: u64, held: u64) -> String {
    // The numbers are read one after the other, so a message may be counted twice for a moment.
    let waiting = messages.saturating_sub(active).saturating_sub(deferred).saturating_sub(held);
    let states =
        [(active, "delivering"), (waiting, "waiting"), (deferred, "deferred"), (held, "held")];
    let parts: Vec<String> = states
        .into_iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, state)| format!("{} {state}", count(number)))
        .collect();
    if parts.is_empty() { "the queue is empty".to_owned() } else { parts.join(" · ") }
}

/// The first `limit` characters of untrusted text, with a mark where something was left out.
pub(crate) fn shorten(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        None => text.to_owned(),
        Some(_) => text.chars().take(limit.saturating_sub(1)).chain(['…']).collect(),
    }
}

fn two(large: u64, large_unit: &str, small: u64, small_unit: &str) -> String {
    match small {
        0 => format!("{large} {large_unit}"),
        _ => format!("{large} {large_unit} {small} {small_unit}"),
    }
}

fn trim(number: String) -> String {
    number.strip_suffix(".0").map(str::to_owned).unwrap_or(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_it_short() {
        let spans = [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (3599, "59 min"),
            (3600, "1 h"),
            (7500, "2 h 5 min"),
            (356_400, "4 d 3 h"),
        ];
        for (seconds, words) in spans {
            assert_eq!(span(seconds), words);
        }
        for (seconds, words) in [
            (0.0005, "500 µs"),
            (0.005, "5 ms"),
            (0.0025, "2.5 ms"),
            (0.5, "0.5 s"),
            (2.0, "2 s"),
            (300.0, "5 min"),
        ] {
            assert_eq!(fine_span(seconds), words);
        }
        for (bytes, words) in [
            (0, "0 B"),
            (812, "812 B"),
            (1024, "1.0 KiB"),
            (3_565_158, "3.4 MiB"),
            (1 << 40, "1.0 TiB"),
            (u64::MAX, "16777216 TiB"),
        ] {
            assert_eq!(size(bytes), words);
        }
        for (number, words) in [(0, "0"), (999, "999"), (1000, "1,000"), (12_345_678, "12,345,678")]
        {
            assert_eq!(count(number), words);
        }
        assert_eq!(count(-1i64), "0");
        let words = [
            counted(0, "entry"),
            counted(1, "entry"),
            counted(1200, "entry"),
            counted(1, "line"),
            counted(2, "line"),
        ];
        assert_eq!(words, ["0 entries", "1 entry", "1,200 entries", "1 line", "2 lines"]);
        assert_eq!(states(1012, 10, 1, 0), "10 delivering · 1,001 waiting · 1 deferred");
        assert_eq!(
            (states(0, 0, 0, 0), states(1, 2, 0, 1)),
            ("the queue is empty".into(), "2 delivering · 1 held".into())
        );
        assert_eq!(shorten("grün", 4), "grün");
        assert_eq!(shorten("grüner", 4), "grü…");
    }
}

//! The grammars of property values: text in, typed value or an error out. Pure. Those of hosts and
//! other names are in `name`, those of networks in `network`.

use std::path::PathBuf;
use std::time::Duration;

/// What is wrong with a value: a text that continues the property's name, such as "must be yes or
/// no".
pub type ValueError = String;

/// The longest duration: times of the queue have 32 bits.
const LONGEST: Duration = Duration::from_secs(1000 * 86_400);

/// Any text.
pub fn text(text: &str) -> Result<String, ValueError> {
    Ok(text.to_owned())
}

/// `yes`/`no`, or another common pair, in any case.
pub fn flag(text: &str) -> Result<bool, ValueError> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "true" | "1" | "on" => Ok(true),
        "no" | "false" | "0" | "off" => Ok(false),
        _ => Err("value must be yes or no".into()),
    }
}

/// A TCP port.
pub fn port(text: &str) -> Result<u16, ValueError> {
    match digits(text).and_then(|text| text.parse().ok()) {
        Some(port) if port != 0 => Ok(port),
        _ => Err("value must be between 1 and 65535".into()),
    }
}

/// The same, or 0 for none.
pub fn port_or_zero(text: &str) -> Result<u16, ValueError> {
    match digits(text).and_then(|text| text.parse().ok()) {
        Some(port) => Ok(port),
        None => Err("value must be between 0 and 65535".into()),
    }
}

/// A number from 1 to a million.
pub fn count(text: &str) -> Result<u32, ValueError> {
    match digits(text).and_then(|text| text.parse().ok()) {
        Some(count @ 1..=1_000_000) => Ok(count),
        _ => Err("value must be between 1 and 1000000".into()),
    }
}

/// The same, or zero.
pub fn count_or_zero(text: &str) -> Result<u32, ValueError> {
    match digits(text).and_then(|text| text.parse().ok()) {
        Some(count @ 0..=1_000_000) => Ok(count),
        _ => Err("value must be between 0 and 1000000".into()),
    }
}

/// Threads for mail, at most: more of them only wait for each other.
pub const THREADS_MAX: usize = 256;

/// Threads, from 1 to [`THREADS_MAX`]; 0 means half of the processors.
pub fn threads(text: &str) -> Result<usize, ValueError> {
    match digits(text).and_then(|text| text.parse().ok()) {
        Some(0) => Ok(usual_threads()),
        Some(count @ 1..=THREADS_MAX) => Ok(count),
        _ => Err(format!(
            "value must be between 1 and {THREADS_MAX}, or 0 for half of the processors"
        )),
    }
}

/// Half of the processors, rounded up. The committer, the log and the kernel's network code need
/// the other half, and each further thread adds synchronization.
fn usual_threads() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    processors.div_ceil(2).min(THREADS_MAX)
}

/// Octets: plain digits, or with K, M or G for powers of 1024.
pub fn size(text: &str) -> Result<u64, ValueError> {
    let complaint =
        || "value must be a size such as 25M, 512K or 1G (or a number of octets)".to_owned();
    let (number, unit) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 1 << 10),
        Some((at, 'm' | 'M')) => (&text[..at], 1 << 20),
        Some((at, 'g' | 'G')) => (&text[..at], 1 << 30),
        _ => (text, 1_u64),
    };
    let octets = digits(number)
        .and_then(|number| number.parse::<u64>().ok())
        .and_then(|number| number.checked_mul(unit));
    match octets {
        Some(octets) if octets > 0 && octets <= i64::MAX as u64 => Ok(octets),
        _ => Err(complaint()),
    }
}

/// The size of a buffer: below 64K it would be useless.
pub fn buffer_limit(text: &str) -> Result<u64, ValueError> {
    match size(text)? {
        octets if octets < 64 << 10 => Err("value must be at least 64K".into()),
        octets => Ok(octets),
    }
}

/// A duration; `0` is valid.
pub fn duration_or_zero(text: &str) -> Result<Duration, ValueError> {
    // It would mean months, but 25M is probably meant as a size.
    if text.contains('M') {
        return Err("value must have m for minutes or d for days; M would be months".into());
    }
    match humantime::parse_duration(text) {
        Ok(duration) if duration <= LONGEST => Ok(duration),
        Ok(_) => Err("value must not be longer than 1000d".into()),
        Err(_) => Err("value must be a duration such as 10s, 5m, 1h30m or 5d".into()),
    }
}

/// How long a core may hang: longer than the time to detect it; `0` = for ever.
pub fn watchdog_time(text: &str) -> Result<Duration, ValueError> {
    match duration_or_zero(text)? {
        Duration::ZERO => Ok(Duration::ZERO),
        time if time < Duration::from_secs(15) => Err("value must be 0 or at least 15s".into()),
        time => Ok(time),
    }
}

/// A duration above zero.
pub fn duration(text: &str) -> Result<Duration, ValueError> {
    match duration_or_zero(text)? {
        Duration::ZERO => Err("value must be longer than 0".into()),
        duration => Ok(duration),
    }
}

/// Octets of the path of a socket, without the zero at its end, at most (unix(7)).
const SOCKET_PATH_MAX: usize = 107;

/// The directory of the control socket, whose path length the kernel limits.
pub fn run_dir(text: &str) -> Result<PathBuf, ValueError> {
    let path = absolute_path(text)?;
    let socket = path.join("control.sock").as_os_str().len();
    match socket.checked_sub(SOCKET_PATH_MAX) {
        None | Some(0) => Ok(path),
        Some(more) => {
            Err(format!("is too long for the path of a socket: make it {more} octets shorter"))
        }
    }
}

/// An absolute path.
pub fn absolute_path(text: &str) -> Result<PathBuf, ValueError> {
    if text.starts_with('/') {
        Ok(PathBuf::from(text))
    } else {
        Err("must be an absolute path, beginning with /".into())
    }
}

/// Items separated by commas, blanks or line breaks, each read by `item`.
pub(super) fn list<T>(
    text: &str,
    item: impl Fn(&str) -> Result<T, ValueError>,
) -> Result<Vec<T>, ValueError> {
    match text
        .split(|c: char| c == ',' || c.is_whitespace())
        .filter(|part| !part.is_empty())
        .map(item)
        .collect::<Result<Vec<T>, _>>()
    {
        Ok(items) if items.is_empty() => Err("holds nothing but commas".into()),
        items => items,
    }
}

/// Only digits: `u16::from_str` alone would accept a sign.
fn digits(text: &str) -> Option<&str> {
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_ports_and_counts() {
        for (text, value) in [
            ("yes", true),
            ("ON", true),
            ("1", true),
            ("False", false),
            ("off", false),
            ("0", false),
        ] {
            assert_eq!(flag(text), Ok(value));
        }
        assert!(flag("maybe").is_err());
        assert_eq!(port("65535"), Ok(65535));
        for bad in ["0", "65536", "+25", "-1", "25 ", "", "x"] {
            assert_eq!(port(bad), Err("value must be between 1 and 65535".to_owned()), "{bad:?}");
        }
        assert_eq!(count("20"), Ok(20));
        assert!(count("0").is_err() && count("1000001").is_err());
    }

    #[test]
    fn sizes_are_binary() {
        assert_eq!(size("25M"), Ok(25 << 20));
        assert_eq!(size("1k"), Ok(1024));
        assert_eq!(size("2G"), Ok(2 << 30));
        assert_eq!(size("12345"), Ok(12345));
        for bad in ["", "M", "0", "0K", "-1", "1.5M", "25MB", "99999999999G", "1é"] {
            assert!(size(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn durations_need_a_unit_and_paths_a_root() {
        assert!(absolute_path("data").is_err());
        assert_eq!(duration("5d"), Ok(Duration::from_secs(432_000)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(duration_or_zero("0"), Ok(Duration::ZERO));
        for bad in ["", "5", "0s", "soon", "-5s", "2000d", "1M", "1h5M"] {
            assert!(duration(bad).is_err(), "{bad:?}");
        }
    }
}

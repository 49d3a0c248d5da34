//! The time of day, and how it is written.
//!
//! Rooms that decide by time ([`crate::mail::schedule`] above all) take the moment as an argument; this file is where the
//! moment comes from.

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

static ZONE: OnceLock<TimeZone> = OnceLock::new();

/// Sets the zone of all written times, once, at start (property `timezone`). Later calls change nothing.
///
/// # Errors
/// The IANA name is not known.
pub fn set_zone(name: &str) -> Result<(), jiff::Error> {
    let zone = TimeZone::get(name)?;
    let _ = ZONE.set(zone);
    Ok(())
}

/// Seconds since 1970, which fit 32 bits until 2106.
pub fn now() -> u32 {
    u32::try_from(since_1970().as_secs()).unwrap_or(u32::MAX)
}

/// Microseconds since 1970.
pub fn now_micros() -> u64 {
    u64::try_from(since_1970().as_micros()).unwrap_or(u64::MAX)
}

/// A moment as mail headers write it (RFC 5322 §3.3), in the zone of the appliance.
pub fn rfc5322(seconds: u32) -> String {
    local(seconds).strftime("%a, %d %b %Y %H:%M:%S %z").to_string()
}

/// A moment as logs and interfaces write it (RFC 3339), in the zone of the appliance.
pub fn rfc3339(seconds: u32) -> String {
    local(seconds).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
}

/// The second that a moment of RFC 3339 means, from 1970 to 2106; `None` when the text is none.
pub fn from_rfc3339(text: &str) -> Option<u32> {
    u32::try_from(text.parse::<Timestamp>().ok()?.as_second()).ok()
}

/// A moment as syslog writes it (RFC 3164 §4.1.2), in the zone of the appliance.
pub fn rfc3164(seconds: u32) -> String {
    local(seconds).strftime("%b %e %H:%M:%S").to_string()
}

fn local(seconds: u32) -> Zoned {
    let zone = ZONE.get_or_init(TimeZone::system).clone();
    Timestamp::from_second(i64::from(seconds)).unwrap_or(Timestamp::UNIX_EPOCH).to_zoned(zone)
}

fn since_1970() -> std::time::Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_have_the_shape_that_mail_headers_want() {
        let text = rfc5322(1_763_800_000);
        assert!(text.contains(" Nov 2025 "), "{text}");
        assert_eq!(text.split(' ').next_back().map(str::len), Some(5), "{text}");
        assert!(rfc3339(0).starts_with("19"), "{}", rfc3339(0));
        assert_eq!(from_rfc3339(&rfc3339(1_763_800_000)), Some(1_763_800_000));
        assert_eq!(from_rfc3339("2025-11-22T09:26:40+01:00"), Some(1_763_800_000));
        for bad in ["", "1969-12-31T23:59:59Z", "yesterday", "2200-01-01T00:00:00Z", "2025-11-22"] {
            assert_eq!(from_rfc3339(bad), None, "{bad}");
        }
        let text = rfc3164(1_762_300_000);
        assert!(text.starts_with("Nov  ") && text.len() == "Nov  4 17:22:14".len(), "{text}");
    }
}

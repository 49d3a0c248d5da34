//! Values as texts: for `postern check`, and for the core.
//!
//! In: a typed value. Out: its text, in the form in which a person would write it, which the
//! property's reader parses to the same value. Security: it may contain a secret; code that shows
//! it masks it.

use super::mail_address::SenderRewrite;
use super::name::HeaderNames;
use super::network;
use crate::ground::host::HostSpec;
use crate::ground::rate_limit::RateLimit;
use crate::ground::token_bucket::Rate;
use crate::ground::web_address::WebAddress;
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// A type of property values.
pub trait Written: Sized {
    /// Whether its values are masked in every output.
    const SECRET: bool = false;

    /// The separator of the entries of a list.
    const BETWEEN: &'static str = ", ";

    /// As a person would write it; empty = none.
    fn to_text(&self) -> String;

    /// The value without a text, if it may be empty. `default` is that of the class.
    fn empty(_default: &str) -> Option<Self> {
        None
    }
}

impl<T: Written> Written for Option<T> {
    const SECRET: bool = T::SECRET;

    fn to_text(&self) -> String {
        self.as_ref().map(T::to_text).unwrap_or_default()
    }

    fn empty(_: &str) -> Option<Self> {
        Some(None)
    }
}

/// A list with a default always has entries.
impl<T: Written> Written for Vec<T> {
    const SECRET: bool = T::SECRET;

    fn to_text(&self) -> String {
        self.iter().map(T::to_text).collect::<Vec<_>>().join(T::BETWEEN)
    }

    fn empty(default: &str) -> Option<Self> {
        default.is_empty().then(Self::new)
    }
}

/// Types that are written as they are displayed.
macro_rules! displayed {
    ($($type:ty),*) => {
        $(impl Written for $type {
            fn to_text(&self) -> String {
                self.to_string()
            }
        })*
    };
}

displayed!(
    String,
    u16,
    u32,
    usize,
    HostSpec,
    WebAddress,
    SocketAddr,
    SenderRewrite,
    Rate,
    RateLimit
);

impl Written for bool {
    fn to_text(&self) -> String {
        if *self { "yes" } else { "no" }.to_owned()
    }
}

impl Written for PathBuf {
    fn to_text(&self) -> String {
        self.display().to_string()
    }
}

impl Written for IpNet {
    fn to_text(&self) -> String {
        network::text(self)
    }
}

impl Written for IpAddr {
    fn to_text(&self) -> String {
        match self {
            Self::V4(address) => address.to_string(),
            Self::V6(address) => format!("[{address}]"),
        }
    }
}

/// `no` is none, because the empty text means the default.
impl Written for HeaderNames {
    fn to_text(&self) -> String {
        if self.0.is_empty() { "no".to_owned() } else { self.0.join(", ") }
    }
}

/// `5d`, `1h30m`.
impl Written for Duration {
    fn to_text(&self) -> String {
        const UNITS: [(u128, &str); 7] = [
            (86_400_000_000_000, "d"),
            (3_600_000_000_000, "h"),
            (60_000_000_000, "m"),
            (1_000_000_000, "s"),
            (1_000_000, "ms"),
            (1_000, "us"),
            (1, "ns"),
        ];
        let mut rest = self.as_nanos();
        let mut text = String::new();
        for (length, unit) in UNITS {
            if rest >= length {
                text += &format!("{}{unit}", rest / length);
                rest %= length;
            }
        }
        if text.is_empty() { "0".to_owned() } else { text }
    }
}

/// Octets: `25M`. Zero octets are no size.
impl Written for u64 {
    fn to_text(&self) -> String {
        match self {
            n if n % (1 << 30) == 0 => format!("{}G", n >> 30),
            n if n % (1 << 20) == 0 => format!("{}M", n >> 20),
            n if n % (1 << 10) == 0 => format!("{}K", n >> 10),
            n => n.to_string(),
        }
    }
}

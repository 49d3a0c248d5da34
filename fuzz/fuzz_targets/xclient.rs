#![no_main]
//! The attributes of XCLIENT: no argument panics, what is taken is within its limits and prints as
//! one line, and a plain address means what it says.

use libfuzzer_sys::fuzz_target;
use postern::mail::model::ReplyClass;
use postern::mail::parse::{Given, XclientOverride};
use std::net::IpAddr;

fuzz_target!(|argument: &str| {
    match XclientOverride::parse(argument) {
        Ok(found) => {
            for text in [&found.helo, &found.login] {
                if let Given::Value(text) = text {
                    assert!((1..=XclientOverride::TEXT_MAX).contains(&text.len()));
                    assert!(!text.contains(|c: char| c.is_control() || c.is_whitespace()));
                }
            }
            if let Given::Value(address) = found.address {
                assert_eq!(address, address.to_canonical());
                assert_eq!(alone(address).map(|again| again.address), Some(Given::Value(address)));
            }
            // The order makes no difference.
            let words: Vec<&str> = argument.split(' ').rev().collect();
            assert_eq!(XclientOverride::parse(&words.join(" ")), Ok(found));
        }
        Err(error) => assert_eq!(error.reply().class(), ReplyClass::Permanent),
    }
    if let Ok(address) = argument.parse::<IpAddr>() {
        let found = alone(address).map(|found| found.address);
        assert_eq!(found, Some(Given::Value(address.to_canonical())));
    }
});

fn alone(address: IpAddr) -> Option<XclientOverride> {
    let prefix = if address.is_ipv6() { "IPV6:" } else { "" };
    XclientOverride::parse(&format!("ADDR={prefix}{address}")).ok()
}

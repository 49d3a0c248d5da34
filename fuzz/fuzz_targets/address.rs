#![no_main]
//! What [`Address::parse`] accepts is within the limits and reads back as itself.

use libfuzzer_sys::fuzz_target;
use postern::mail::model::Address;

fuzz_target!(|text: &str| {
    let Ok(address) = Address::parse(text) else { return };
    assert_eq!(address.as_str(), text);
    assert_eq!(format!("{}@{}", address.local_part(), address.domain_text()), text);
    assert!(text.len() <= 254);
    assert!(!address.local_part().is_empty() && !address.domain_text().is_empty());
    assert!(
        !text.contains(char::is_control) && !address.domain_text().contains(['<', '>', ' ', '"'])
    );
    let _ = (address.domain(), address.domain_key());
});

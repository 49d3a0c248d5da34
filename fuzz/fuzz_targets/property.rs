#![no_main]
//! For any environment, the start reports the errors, or accepts values that read back as
//! themselves. Lines `NAME=value`; a value may contain any octet except the line feed, which is
//! written as a vertical tab.

use libfuzzer_sys::fuzz_target;
use postern::appliance::property::{Machine, Settings, read};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

fuzz_target!(|environment: &[u8]| {
    let machine = Machine { uid: 2525, key_volume: false, writable_run: true, runtime_dir: None };
    let vars = environment.split(|octet| *octet == b'\n').filter_map(|line| {
        let equals = line.iter().position(|octet| *octet == b'=')?;
        // Values from files: a fuzzer must not open files of random names.
        if line[..equals].ends_with(b"_FILE") {
            return None;
        }
        let value = line[equals + 1..]
            .iter()
            .map(|octet| if *octet == 0x0b { b'\n' } else { *octet })
            .collect();
        Some((OsString::from_vec(line[..equals].to_vec()), OsString::from_vec(value)))
    });
    match read(vars, &machine) {
        Ok(loaded) => {
            let json = loaded.settings.to_json();
            assert_eq!(Settings::from_json(&json).expect("what was taken is good").to_json(), json);
        }
        Err(refused) => assert!(!refused.problems.is_empty()),
    }
});

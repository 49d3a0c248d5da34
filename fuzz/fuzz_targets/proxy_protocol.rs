#![no_main]
//! The header of the PROXY protocol in pieces of any size: the pieces make no difference, nothing
//! behind the header is taken, the limits hold, and a well-formed line means what a simple reading
//! of it says.

use libfuzzer_sys::fuzz_target;
use postern::ground::net::{
    BINARY_MAX, LINE_MAX, ProxyHeader, ProxyHeaderError, ProxyHeaderParser,
};
use std::net::{IpAddr, SocketAddr};

fuzz_target!(|input: (u8, &[u8])| {
    let (size, octets) = input;
    let whole = read(octets, usize::MAX);
    assert_eq!(whole, read(octets, usize::from(size) + 1));
    if let Ok((header, length)) = whole {
        let line = octets.starts_with(b"PROXY ");
        assert!(length <= if line { LINE_MAX } else { BINARY_MAX });
        // What follows makes no difference.
        assert_eq!(read(&octets[..length], usize::MAX), Ok((header, length)));
        if line {
            assert!(octets[..length].ends_with(b"\r\n"));
        }
    }
    if let Some((address, length)) = by_words(octets) {
        assert_eq!(whole, Ok((ProxyHeader::Client(address), length)));
    }
});

fn read(octets: &[u8], size: usize) -> Result<(ProxyHeader, usize), ProxyHeaderError> {
    let mut parser = ProxyHeaderParser::default();
    let (mut from, mut to) = (0, 0);
    while to < octets.len() {
        to = to.saturating_add(size).min(octets.len());
        let (taken, header) = parser.next(&octets[from..to])?;
        assert!(taken <= to - from);
        from += taken;
        match header {
            Some(header) => return Ok((header, from)),
            None => assert_eq!(from, to),
        }
    }
    Err(ProxyHeaderError::Closed)
}

/// A line of version 1 as a person reads it.
fn by_words(octets: &[u8]) -> Option<(SocketAddr, usize)> {
    let end = octets.windows(2).position(|two| two == b"\r\n")?;
    let words: Vec<&str> = std::str::from_utf8(&octets[..end]).ok()?.split(' ').collect();
    let ["PROXY", family, source, destination, port, to] = words[..] else { return None };
    let source: IpAddr = source.parse().ok()?;
    let destination: IpAddr = destination.parse().ok()?;
    let fits = match family {
        "TCP4" => source.is_ipv4() && destination.is_ipv4(),
        "TCP6" => source.is_ipv6() && destination.is_ipv6(),
        _ => false,
    };
    let number = |text: &str| text.parse::<u16>().ok().filter(|port| port.to_string() == text);
    let (port, _) = (number(port)?, number(to)?);
    (fits && end + 2 <= LINE_MAX).then(|| (SocketAddr::new(source.to_canonical(), port), end + 2))
}

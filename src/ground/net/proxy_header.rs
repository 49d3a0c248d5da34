//! The header of the PROXY protocol, versions 1 and 2: whose connection a proxy passes on.
//!
//! In: the first octets of a connection, in pieces of any size. Out: one [`ProxyHeader`], and how
//! many octets belong to it; what follows is the client's. Limits: a line of [`LINE_MAX`] octets in
//! version 1, [`BINARY_MAX`] octets in version 2. TLVs of version 2 are skipped. Security: pure,
//! no sockets; whoever sends a header chooses the address, so the caller reads one only from
//! listed proxies. Addresses other than those of TCP over IPv4 and IPv6 are refused. Source: "The
//! PROXY protocol, versions 1 & 2" of HAProxy (doc/proxy-protocol.txt), §2.1 and §2.2.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest line of version 1 with its CR LF (§2.1).
pub const LINE_MAX: usize = 107;

/// The longest header of version 2 that is read, its TLVs included. HAProxy's largest TLVs, the
/// names in a client certificate, stay far below it.
pub const BINARY_MAX: usize = 4096;

/// The first octets of version 2 (§2.2). They are no command of any line-based protocol.
pub const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// The first octets of version 1.
const LINE_START: &[u8] = b"PROXY ";

/// Signature, version and command, family, length.
const FIXED: usize = 16;

/// The longest block of addresses that is used: two of IPv6 with two ports.
const ADDRESSES_MAX: usize = 36;

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyHeader {
    /// The proxy passes on the connection of this client.
    Client(SocketAddr),
    /// The proxy itself has connected, mostly for a health check (`LOCAL`).
    Local,
    /// The proxy does not know or does not say whose connection it is (`UNKNOWN`, `AF_UNSPEC`).
    Unknown,
}

/// Why a listed proxy's connection is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProxyHeaderError {
    /// It ended before the end of the header.
    #[error("the connection ended inside it")]
    Closed,
    /// It is too long.
    #[error("it is too long")]
    Long,
    /// It is not well-formed.
    #[error("it is not well-formed")]
    Malformed,
    /// The first octets are not those of a header.
    #[error("the connection begins with something else")]
    Missing,
    /// It names no address of TCP over IPv4 or IPv6, but of Unix sockets or UDP.
    #[error("its addresses are not those of TCP over IPv4 or IPv6")]
    Family,
    /// It did not arrive in time.
    #[error("it did not come in time")]
    Late,
    /// Too many connections of proxies wait for their headers.
    #[error("too many other connections wait for theirs")]
    Crowded,
}

/// Reads one header.
#[derive(Debug, Default)]
pub struct ProxyHeaderParser {
    /// The header so far, without what is skipped.
    head: Vec<u8>,
    /// Octets still to be skipped: TLVs.
    skip: usize,
}

impl ProxyHeaderParser {
    /// Takes octets from the start of `input`, and gives how many, and the header once it is
    /// complete. It takes none that follow the header. It must not be called again after that.
    ///
    /// # Errors
    /// What arrives is no header that is accepted; then nothing more should be read.
    pub fn next(&mut self, input: &[u8]) -> Result<(usize, Option<ProxyHeader>), ProxyHeaderError> {
        let mut taken = 0;
        loop {
            let wanted = self.wanted()?;
            let rest = &input[taken..];
            let (count, complete) = match wanted {
                Wanted::Octets(count) => (count.min(rest.len()), count <= rest.len()),
                Wanted::Line(room) => match rest.iter().take(room).position(|o| *o == b'\n') {
                    Some(end) => (end + 1, true),
                    None if rest.len() >= room => return Err(ProxyHeaderError::Long),
                    None => (rest.len(), false),
                },
                Wanted::Skip => {
                    let count = self.skip.min(rest.len());
                    self.skip -= count;
                    taken += count;
                    let end = (self.skip == 0).then(|| binary(&self.head)).transpose()?;
                    return Ok((taken, end));
                }
            };
            self.head.extend_from_slice(&rest[..count]);
            taken += count;
            if !could_begin(&self.head) {
                return Err(ProxyHeaderError::Missing);
            }
            if !complete {
                return Ok((taken, None));
            }
            if matches!(wanted, Wanted::Line(_)) {
                return Ok((taken, Some(line(&self.head)?)));
            }
        }
    }

    /// Whether nothing has arrived yet.
    pub fn is_untouched(&self) -> bool {
        self.head.is_empty()
    }

    /// What can be taken next without a look behind the header.
    fn wanted(&mut self) -> Result<Wanted, ProxyHeaderError> {
        let have = self.head.len();
        // The shortest line of version 1, `PROXY UNKNOWN` and CR LF, is longer than the signature.
        if have < SIGNATURE.len() {
            return Ok(Wanted::Octets(SIGNATURE.len() - have));
        }
        if self.head.starts_with(LINE_START) {
            return Ok(Wanted::Line(LINE_MAX - have));
        }
        if have < FIXED {
            return Ok(Wanted::Octets(FIXED - have));
        }
        let length = usize::from(u16::from_be_bytes([self.head[14], self.head[15]]));
        if self.head[12] >> 4 != 2 {
            return Err(ProxyHeaderError::Malformed);
        }
        if FIXED + length > BINARY_MAX {
            return Err(ProxyHeaderError::Long);
        }
        let used = FIXED + length.min(ADDRESSES_MAX);
        if have < used {
            return Ok(Wanted::Octets(used - have));
        }
        if self.skip == 0 {
            self.skip = length - length.min(ADDRESSES_MAX);
        }
        Ok(Wanted::Skip)
    }
}

/// What the parser takes next.
enum Wanted {
    /// So many octets.
    Octets(usize),
    /// The rest of a line of at most so many.
    Line(usize),
    /// What is not used.
    Skip,
}

/// Whether a header of either version can begin with this.
fn could_begin(head: &[u8]) -> bool {
    let begins = |whole: &[u8]| {
        let common = whole.len().min(head.len());
        whole[..common] == head[..common]
    };
    begins(SIGNATURE) || begins(LINE_START)
}

/// Version 1: `PROXY TCP4 source destination source-port destination-port` and CR LF.
fn line(head: &[u8]) -> Result<ProxyHeader, ProxyHeaderError> {
    let text = head.strip_prefix(LINE_START).and_then(|rest| rest.strip_suffix(b"\r\n"));
    let text = text.and_then(|text| std::str::from_utf8(text).ok());
    let mut words = text.ok_or(ProxyHeaderError::Malformed)?.split(' ');
    let v4 = match words.next() {
        Some("TCP4") => true,
        Some("TCP6") => false,
        // What follows is to be ignored.
        Some("UNKNOWN") => return Ok(ProxyHeader::Unknown),
        _ => return Err(ProxyHeaderError::Family),
    };
    let words: Vec<&str> = words.collect();
    let [source, destination, source_port, destination_port] = words[..] else {
        return Err(ProxyHeaderError::Malformed);
    };
    let address = |text: &str| {
        let address = if v4 {
            text.parse::<Ipv4Addr>().ok().map(IpAddr::V4)
        } else {
            text.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
        };
        address.ok_or(ProxyHeaderError::Malformed)
    };
    let (source, _) = (address(source)?, address(destination)?);
    let (port, _) = (port(source_port)?, port(destination_port)?);
    Ok(ProxyHeader::Client(SocketAddr::new(source.to_canonical(), port)))
}

/// Decimal digits without a sign or leading zeros (§2.1).
fn port(text: &str) -> Result<u16, ProxyHeaderError> {
    let digits = !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit());
    let plain = digits && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain).ok_or(ProxyHeaderError::Malformed)
}

/// Version 2; `head` has the fixed part and as much of the rest as addresses can take.
fn binary(head: &[u8]) -> Result<ProxyHeader, ProxyHeaderError> {
    let (fixed, rest) = head.split_at(FIXED);
    match fixed[12] & 0x0f {
        0 => return Ok(ProxyHeader::Local),
        1 => {}
        _ => return Err(ProxyHeaderError::Malformed),
    }
    let (address, ports): (IpAddr, &[u8]) = match fixed[13] {
        0x00 => return Ok(ProxyHeader::Unknown),
        0x11 => {
            let octets: [u8; 4] = part(rest, 0)?;
            (Ipv4Addr::from(octets).into(), rest.get(8..12).ok_or(ProxyHeaderError::Malformed)?)
        }
        0x21 => {
            let octets: [u8; 16] = part(rest, 0)?;
            (Ipv6Addr::from(octets).into(), rest.get(32..36).ok_or(ProxyHeaderError::Malformed)?)
        }
        _ => return Err(ProxyHeaderError::Family),
    };
    let port = u16::from_be_bytes(part(ports, 0)?);
    Ok(ProxyHeader::Client(SocketAddr::new(address.to_canonical(), port)))
}

fn part<const N: usize>(octets: &[u8], from: usize) -> Result<[u8; N], ProxyHeaderError> {
    let part = octets.get(from..from + N).and_then(|part| part.try_into().ok());
    part.ok_or(ProxyHeaderError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The header at the start of `octets`, which come in pieces of `size`, and what is left.
    fn read(octets: &[u8], size: usize) -> Result<(ProxyHeader, Vec<u8>), ProxyHeaderError> {
        let mut parser = ProxyHeaderParser::default();
        let (mut from, mut to) = (0, 0);
        while to < octets.len() {
            to = to.saturating_add(size).min(octets.len());
            let (taken, header) = parser.next(&octets[from..to])?;
            from += taken;
            match header {
                Some(header) => return Ok((header, octets[from..].to_vec())),
                None => assert_eq!(from, to, "all of a header is taken"),
            }
        }
        Err(ProxyHeaderError::Closed)
    }

    fn both(octets: &[u8]) -> Result<(ProxyHeader, Vec<u8>), ProxyHeaderError> {
        let whole = read(octets, usize::MAX);
        for size in [1, 2, 7, 16, 40] {
            assert_eq!(read(octets, size), whole, "by {size}: {octets:?}");
        }
        whole
    }

    /// A header of version 2 with this command, family and rest.
    fn binary_header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[0x20 | command, family], &length, rest].concat()
    }

    fn client(address: &str) -> ProxyHeader {
        ProxyHeader::Client(address.parse().unwrap())
    }

    #[test]
    fn a_line_names_the_client_and_nothing_behind_it_is_taken() {
        for (line, expected) in [
            ("PROXY TCP4 192.0.2.7 10.0.0.1 4711 25", client("192.0.2.7:4711")),
            ("PROXY TCP6 2001:db8::7 2001:db8::1 65535 25", client("[2001:db8::7]:65535")),
            ("PROXY TCP6 ::ffff:192.0.2.7 ::1 1 25", client("192.0.2.7:1")),
            ("PROXY UNKNOWN", ProxyHeader::Unknown),
            ("PROXY UNKNOWN ffff::1 whatever", ProxyHeader::Unknown),
        ] {
            let octets = [line.as_bytes(), b"\r\nEHLO x\r\n"].concat();
            assert_eq!(both(&octets), Ok((expected, b"EHLO x\r\n".to_vec())), "{line}");
        }
        let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(LINE_MAX - 16));
        assert_eq!(longest.len(), LINE_MAX);
        assert_eq!(both(longest.as_bytes()), Ok((ProxyHeader::Unknown, Vec::new())));
    }

    #[test]
    fn a_line_that_is_none_is_refused() {
        use ProxyHeaderError::{Closed, Family, Long, Malformed, Missing};
        let long = "PROXY TCP4 ".to_owned() + &"1".repeat(200);
        for (line, expected) in [
            ("EHLO client.example\r\n", Missing),
            ("PROXY\r\nEHLO client.example\r\n", Missing),
            ("proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n", Missing),
            ("PROXY TCP4 192.0.2.7", Closed),
            ("PROXY TCP4 192.0.2.7 10.0.0.1 4711 25\n", Malformed),
            ("PROXY TCP4 192.0.2.7 10.0.0.1 4711\r\n", Malformed),
            ("PROXY TCP4 192.0.2.7 10.0.0.1 4711 25 \r\n", Malformed),
            ("PROXY TCP4  192.0.2.7 10.0.0.1 4711 25\r\n", Malformed),
            ("PROXY TCP4 192.0.2.7 10.0.0.1 +711 25\r\n", Malformed),
            ("PROXY TCP4 192.0.2.7 10.0.0.1 0711 25\r\n", Malformed),
            ("PROXY TCP4 192.0.2.7 10.0.0.1 65536 25\r\n", Malformed),
            ("PROXY TCP4 2001:db8::7 10.0.0.1 4711 25\r\n", Malformed),
            ("PROXY TCP6 192.0.2.7 ::1 4711 25\r\n", Malformed),
            ("PROXY UDP4 192.0.2.7 10.0.0.1 4711 25\r\n", Family),
            (&long, Long),
        ] {
            assert_eq!(both(line.as_bytes()), Err(expected), "{line}");
        }
    }

    #[test]
    fn version_2_names_the_client_and_its_tlvs_are_skipped() {
        let v4 = [192, 0, 2, 7, 10, 0, 0, 1, 0x12, 0x67, 0, 25];
        let v6 = {
            let address = |text: &str| text.parse::<Ipv6Addr>().unwrap().octets();
            [&address("2001:db8::7")[..], &address("::1"), &[0x12, 0x67, 0, 25]].concat()
        };
        let tlvs = [4, 0, 3, b'a', b'b', b'c'].repeat(200);
        for (header, expected) in [
            (binary_header(1, 0x11, &v4), client("192.0.2.7:4711")),
            (binary_header(1, 0x21, &v6), client("[2001:db8::7]:4711")),
            (binary_header(1, 0x11, &[&v4[..], &tlvs].concat()), client("192.0.2.7:4711")),
            (binary_header(1, 0x21, &[&v6[..], &tlvs].concat()), client("[2001:db8::7]:4711")),
            (binary_header(0, 0, &[]), ProxyHeader::Local),
            (binary_header(0, 0x31, &[0; 216]), ProxyHeader::Local),
            (binary_header(1, 0, &tlvs), ProxyHeader::Unknown),
        ] {
            let octets = [&header[..], b"\x16\x03\x01"].concat();
            assert_eq!(both(&octets), Ok((expected, b"\x16\x03\x01".to_vec())), "{header:?}");
        }
    }

    #[test]
    fn version_2_that_is_none_is_refused() {
        use ProxyHeaderError::{Closed, Family, Long, Malformed};
        let mut third = binary_header(1, 0x11, &[0; 12]);
        third[12] = 0x31;
        for (header, expected) in [
            (binary_header(1, 0x31, &[0; 216]), Family),
            (binary_header(1, 0x12, &[0; 12]), Family),
            (binary_header(1, 0x11, &[0; 11]), Malformed),
            (binary_header(1, 0x21, &[0; 35]), Malformed),
            (binary_header(2, 0x11, &[0; 12]), Malformed),
            (third, Malformed),
            (binary_header(1, 0x11, &[0; BINARY_MAX - 15]), Long),
            (binary_header(1, 0x11, &[0; 12])[..20].to_vec(), Closed),
        ] {
            assert_eq!(both(&header), Err(expected), "{header:?}");
        }
        assert!(both(&binary_header(1, 0x11, &[1; BINARY_MAX - 16])).is_ok());
    }
}

//! The grammars of property values: text in, typed value or a complaint out. Pure.

use ipnet::{IpNet, Ipv4Net};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// What is wrong with a value: words that follow the property's name, such as "must be yes or no".
pub type Complaint = String;

/// No duration may be longer: times of the queue are kept in 32 bits.
const LONGEST: Duration = Duration::from_secs(1000 * 86_400);

/// `yes`/`no`, or another usual pair, in any case.
pub fn flag(text: &str) -> Result<bool, Complaint> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "true" | "1" | "on" => Ok(true),
        "no" | "false" | "0" | "off" => Ok(false),
        _ => Err("value must be yes or no".into()),
    }
}

/// A TCP port.
pub fn port(text: &str) -> Result<u16, Complaint> {
    match digits(text).and_then(|text| text.parse().ok()) {
        Some(port) if port != 0 => Ok(port),
        _ => Err("value must be between 1 and 65535".into()),
    }
}

/// How many, from 1 to a million.
pub fn count(text: &str) -> Result<u32, Complaint> {
    match digits(text).and_then(|text| text.parse().ok()) {
        Some(count @ 1..=1_000_000) => Ok(count),
        _ => Err("value must be between 1 and 1000000".into()),
    }
}

/// The same, or none.
pub fn count_or_zero(text: &str) -> Result<u32, Complaint> {
    match digits(text).and_then(|text| text.parse().ok()) {
        Some(count @ 0..=1_000_000) => Ok(count),
        _ => Err("value must be between 0 and 1000000".into()),
    }
}

/// A mail address with its domain; what it may be made of in detail is for those who use it.
pub fn mailbox(text: &str) -> Result<String, Complaint> {
    let well = |(local, domain): (&str, &str)| {
        !local.is_empty() && !domain.is_empty() && !domain.starts_with('.')
    };
    let clean = !text
        .contains(|c: char| c.is_control() || c.is_whitespace() || matches!(c, '<' | '>' | ','));
    if clean && text.len() <= 254 && text.rsplit_once('@').is_some_and(well) {
        return Ok(text.to_owned());
    }
    Err("must be an address such as postmaster@example.org".into())
}

/// The most threads that carry mail: more of them wait for each other.
pub const THREADS_MAX: usize = 256;

/// Threads, from 1 to [`THREADS_MAX`]; 0 is nobody's wish.
pub fn threads(text: &str) -> Result<Option<usize>, Complaint> {
    match digits(text).and_then(|text| text.parse().ok()) {
        Some(0) => Ok(None),
        Some(count @ 1..=THREADS_MAX) => Ok(Some(count)),
        _ => Err(format!(
            "value must be between 1 and {THREADS_MAX}, or 0 for half of the processors"
        )),
    }
}

/// Half of the processors, rounded up. The committer, the log and the kernel's network need the
/// other half, and each thread more costs hand-overs between them.
pub fn usual_threads() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    processors.div_ceil(2).min(THREADS_MAX)
}

/// Octets: plain digits, or with K, M or G for powers of 1024.
pub fn size(text: &str) -> Result<u64, Complaint> {
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

/// The room of a buffer: less than 64K would hold nothing worth waiting for.
pub fn buffer_limit(text: &str) -> Result<u64, Complaint> {
    match size(text)? {
        octets if octets < 64 << 10 => Err("value must be at least 64K".into()),
        octets => Ok(octets),
    }
}

/// The name of a program in syslog, or of a group of programs: what readers of logs take for one
/// word.
pub fn syslog_name(text: &str) -> Result<String, Complaint> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match text {
        text if text.len() <= 48 && text.chars().all(fits) => Ok(text.to_owned()),
        _ => {
            Err("must be a word of at most 48 letters, digits, dots, hyphens and underscores"
                .into())
        }
    }
}

/// A time of some length; `0` is a valid one.
pub fn duration_or_zero(text: &str) -> Result<Duration, Complaint> {
    // It would be months, which nobody means who writes 25M for a size.
    if text.contains('M') {
        return Err("value must have m for minutes or d for days; M would be months".into());
    }
    match humantime::parse_duration(text) {
        Ok(duration) if duration <= LONGEST => Ok(duration),
        Ok(_) => Err("value must not be longer than 1000d".into()),
        Err(_) => Err("value must be a duration such as 10s, 5m, 1h30m or 5d".into()),
    }
}

/// How long a core may hang: longer than it takes to be sure that it does; `0` = for ever.
pub fn watchdog_time(text: &str) -> Result<Duration, Complaint> {
    match duration_or_zero(text)? {
        Duration::ZERO => Ok(Duration::ZERO),
        time if time < Duration::from_secs(15) => Err("value must be 0 or at least 15s".into()),
        time => Ok(time),
    }
}

/// A time of some length, more than none.
pub fn duration(text: &str) -> Result<Duration, Complaint> {
    match duration_or_zero(text)? {
        Duration::ZERO => Err("value must be longer than 0".into()),
        duration => Ok(duration),
    }
}

/// Networks or single addresses; an address alone is a network of its own. The address of a network
/// has no bits behind its prefix, as with Postfix: who writes 10.1.2.3/8 may mean 16 million hosts,
/// or one.
pub fn networks(text: &str) -> Result<Vec<IpNet>, Complaint> {
    list(text, |item| {
        // Brackets around the address of an IPv6 network are a habit of the field: [2001:db8::]/32.
        let bare = item.strip_prefix('[').and_then(|rest| rest.split_once(']'));
        let item =
            bare.map_or_else(|| item.to_owned(), |(address, length)| format!("{address}{length}"));
        // Who writes 010.0.0.0/8 may mean octal numbers or not: `IpNet` takes them for decimal
        // ones.
        let network = match item.parse::<IpAddr>() {
            Ok(address) => Some(IpNet::from(address)),
            Err(_)
                if item.split(['.', '/']).any(|part| part.len() > 1 && part.starts_with('0'))
                    && !item.contains(':') =>
            {
                None
            }
            Err(_) => item.parse::<IpNet>().ok(),
        };
        if let Some(network) = network.filter(|network| *network != network.trunc()) {
            let (whole, host) = (network.trunc(), network.addr());
            return Err(format!(
                "contains '{item}', an address inside a network: write {whole} for the whole \
                network, or {host} for that address alone"
            ));
        }
        let network = network.map(unmapped);
        network.ok_or_else(|| {
            format!(
                "contains '{item}', which is no network: write 10.0.0.0/8, \
        192.0.2.7 or 2001:db8::/32"
            )
        })
    })
}

/// IPv4 in IPv6 clothes (RFC 4291 §2.5.5.2) is IPv4, so that `::ffff:0:0/96` is seen for the open
/// relay it makes.
fn unmapped(network: IpNet) -> IpNet {
    match network {
        IpNet::V6(v6) if v6.prefix_len() >= 96 => match v6.addr().to_ipv4_mapped() {
            Some(address) => Ipv4Net::new(address, v6.prefix_len() - 96).map_or(network, IpNet::V4),
            None => network,
        },
        _ => network,
    }
}

/// Addresses to listen on.
pub fn addresses(text: &str) -> Result<Vec<IpAddr>, Complaint> {
    list(text, |item| {
        let bare = item.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let address = match bare {
            Some(inner) => inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            None => item.parse().ok(),
        };
        address.ok_or_else(|| {
            format!(
                "contains '{item}', which is no address: write 0.0.0.0, [::] or \
            an address of this machine"
            )
        })
    })
}

/// Name servers; the port is 53 unless given.
pub fn servers(text: &str) -> Result<Vec<SocketAddr>, Complaint> {
    list(text, |item| {
        let with_port = item.parse::<SocketAddr>().ok().filter(|server| server.port() != 0);
        let bare = || item.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
        with_port.or_else(|| bare().map(|address| SocketAddr::new(address, 53))).ok_or_else(|| {
            format!(
                "contains '{item}', which is no name server: write an address, \
            address:port or [IPv6]:port"
            )
        })
    })
}

/// The name by which a relay calls itself (RFC 5321 §2.3.5).
pub fn host_name(text: &str) -> Result<String, Complaint> {
    let label_is_good = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    let is_number = name.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if name.len() <= 253 && !is_number && name.split('.').all(label_is_good) {
        Ok(name.to_ascii_lowercase())
    } else {
        Err("must be a host name such as mail.example.com (letters, digits and hyphens \
        between dots)"
            .into())
    }
}

/// Host names.
pub fn host_names(text: &str) -> Result<Vec<String>, Complaint> {
    let bad = |item: &str| {
        format!(
            "contains '{item}', which is no host name: write mail.example.com, without port or path"
        )
    };
    list(text, |item| host_name(item).map_err(|_| bad(item)))
}

/// The most header fields that may be dropped: each is compared with every field of every mail.
const HEADER_NAMES_MAX: usize = 100;

/// Names of header fields (RFC 5322 §2.2), in lower case; `no` is none of them.
pub fn header_names(text: &str) -> Result<Vec<String>, Complaint> {
    const WORDS: &str =
        "must be names of header fields such as bcc, or no; left empty it has its default";
    match flag(text) {
        Ok(false) => return Ok(Vec::new()),
        Ok(true) => return Err(WORDS.into()),
        Err(_) => {}
    }
    let names = list(text, |name| {
        let is_name = name.len() <= 76 && name.bytes().all(|b| b.is_ascii_graphic() && b != b':');
        if is_name { Ok(name.to_ascii_lowercase()) } else { Err(WORDS.to_owned()) }
    })?;
    if names.iter().any(|name| name == "received") {
        return Err(
            "must not contain Received: without it a mail that goes in circles is never found"
                .into(),
        );
    }
    if names.len() > HEADER_NAMES_MAX {
        return Err(format!("must not hold more than {HEADER_NAMES_MAX} names"));
    }
    Ok(names)
}

/// What [`header_names`] reads.
pub(super) fn header_names_text(names: &[String]) -> String {
    if names.is_empty() { "no".to_owned() } else { names.join(", ") }
}

/// The longest path of a socket in octets, without the zero at its end (unix(7)).
const SOCKET_PATH_MAX: usize = 107;

/// The directory of the control socket, which the kernel wants to be short.
pub fn run_dir(text: &str) -> Result<PathBuf, Complaint> {
    let path = absolute_path(text)?;
    let socket = path.join("control.sock").as_os_str().len();
    match socket.checked_sub(SOCKET_PATH_MAX) {
        None | Some(0) => Ok(path),
        Some(more) => {
            Err(format!("is too long for the path of a socket: make it {more} octets shorter"))
        }
    }
}

/// A path from the root.
pub fn absolute_path(text: &str) -> Result<PathBuf, Complaint> {
    if text.starts_with('/') {
        Ok(PathBuf::from(text))
    } else {
        Err("must be an absolute path, beginning with /".into())
    }
}

/// `http://host[:port][/path]`, without user, query or fragment.
pub fn http_url(text: &str) -> Result<String, Complaint> {
    let complaint = || "must be http://host, http://host:port or http://host:port/path".to_owned();
    let rest = text.strip_prefix("http://").ok_or_else(complaint)?;
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host: crate::ground::host::HostSpec = host.parse().map_err(|_| complaint())?;
    let path_is_good =
        path.bytes().all(|b| b.is_ascii_graphic() && b != b'?' && b != b'#' && b != b'"');
    if path_is_good {
        Ok(format!("http://{}{}", bare_host(&host), path.trim_end_matches('/')))
    } else {
        Err(complaint())
    }
}

fn bare_host(spec: &crate::ground::host::HostSpec) -> String {
    let plain = crate::ground::host::HostSpec {
        exact: matches!(spec.host, crate::ground::host::Host::Address(_)),
        ..spec.clone()
    };
    plain.to_string()
}

/// Items between commas, blanks or line breaks, each read by `item`.
pub(super) fn list<T>(
    text: &str,
    item: impl Fn(&str) -> Result<T, Complaint>,
) -> Result<Vec<T>, Complaint> {
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

/// Only digits: `u16::from_str` alone would take a sign.
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
    fn durations_need_a_unit() {
        assert_eq!(duration("5d"), Ok(Duration::from_secs(432_000)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(duration_or_zero("0"), Ok(Duration::ZERO));
        for bad in ["", "5", "0s", "soon", "-5s", "2000d", "1M", "1h5M"] {
            assert!(duration(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn networks_are_lists_with_single_addresses() {
        let read = networks("127.0.0.1, 10.0.0.0/8 2001:db8::/32,[::1] [2001:db8:1::]/48").unwrap();
        let text: Vec<_> = read.iter().map(ToString::to_string).collect();
        assert_eq!(
            text,
            ["127.0.0.1/32", "10.0.0.0/8", "2001:db8::/32", "::1/128", "2001:db8:1::/48"]
        );
        assert!(networks("1[0].0.0.0/8").is_err() && networks("[::1").is_err());
        assert_eq!(
            networks("::ffff:0:0/96 ::ffff:192.0.2.1").unwrap(),
            networks("0.0.0.0/0 192.0.2.1").unwrap()
        );
        assert!(networks(" , ").unwrap_err().contains("nothing"));
        assert!(networks("10.0.0.0/33").unwrap_err().contains("10.0.0.0/33"));
        assert!(networks("example.com").is_err());
        for (inside, written) in [
            (
                "10.1.2.3/8",
                "write 10.0.0.0/8 for the whole network, or 10.1.2.3 for that address alone",
            ),
            ("192.0.2.7/0", "write 0.0.0.0/0 for"),
            ("[2001:db8::7]/32", "write 2001:db8::/32 for"),
        ] {
            let complaint = networks(inside).unwrap_err();
            assert!(complaint.contains(written), "{complaint}");
        }
        assert_eq!(networks("10.1.2.3/32 2001:db8::7/128").map(|read| read.len()), Ok(2));
        for octal in ["010.0.0.0/8", "10.0.0.01/32", "10.0.0.0/08", "010.0.0.1"] {
            assert!(networks(octal).is_err(), "{octal}");
        }
    }

    #[test]
    fn addresses_and_servers() {
        assert_eq!(addresses("[::]").unwrap(), ["::".parse::<IpAddr>().unwrap()]);
        assert_eq!(addresses("0.0.0.0 ::1").unwrap().len(), 2);
        assert!(addresses("[0.0.0.0]").is_err() && addresses("localhost").is_err());
        let read = servers("192.0.2.1, 192.0.2.2:5353, 2001:db8::1, [2001:db8::2]:54").unwrap();
        let text: Vec<_> = read.iter().map(ToString::to_string).collect();
        assert_eq!(
            text,
            ["192.0.2.1:53", "192.0.2.2:5353", "[2001:db8::1]:53", "[2001:db8::2]:54"]
        );
    }

    #[test]
    fn names_paths_and_urls() {
        assert_eq!(host_name("Mail.Example.COM."), Ok("mail.example.com".to_owned()));
        for bad in ["", "a b", "-a", "a..b", "a_b", "192.0.2.1", "mail.example.com:25", "ü.example"]
        {
            assert!(host_name(bad).is_err(), "{bad:?}");
        }
        assert!(absolute_path("data").is_err());
        assert_eq!(http_url("http://mon:9091/").as_deref(), Ok("http://mon:9091"));
        assert_eq!(
            http_url("http://[2001:db8::1]:9091/push").as_deref(),
            Ok("http://[2001:db8::1]:9091/push")
        );
        for bad in [
            "mon:9091",
            "https://mon",
            "http://",
            "http://a/?q",
            "http://user@mon",
            "http://mon/a b",
        ] {
            assert!(http_url(bad).is_err(), "{bad:?}");
        }
    }
}

//! Values that are names: of hosts, mailboxes, header fields, programs, time zones, and URLs.

use super::value::{ValueError, flag, list};
use crate::ground::clock;
use crate::ground::host::{Host, HostSpec};

/// A host with or without a port, see [`HostSpec`].
pub fn host(text: &str) -> Result<HostSpec, ValueError> {
    text.parse().map_err(|_| {
        "must be a host: write host, host:port, [host]:port, an IPv4 address or [IPv6]:port".into()
    })
}

/// The host name of the relay (RFC 5321 §2.3.5).
pub fn host_name(text: &str) -> Result<String, ValueError> {
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
pub fn host_names(text: &str) -> Result<Vec<String>, ValueError> {
    let bad = |item: &str| {
        format!(
            "contains '{item}', which is not a host name: write mail.example.com, without port \
            or path"
        )
    };
    list(text, |item| host_name(item).map_err(|_| bad(item)))
}

/// A mail address with its domain; the details are checked where it is used.
pub fn mailbox(text: &str) -> Result<String, ValueError> {
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

/// The name of a program in syslog, or of a group of programs: one word for log readers.
pub fn syslog_name(text: &str) -> Result<String, ValueError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match text {
        text if text.len() <= 48 && text.chars().all(fits) => Ok(text.to_owned()),
        _ => {
            Err("must be a word of at most 48 letters, digits, dots, hyphens and underscores"
                .into())
        }
    }
}

/// In HTTP basic authentication a user name cannot contain a colon (RFC 7617 §2).
pub fn user_name(text: &str) -> Result<String, ValueError> {
    if text.contains(':') { Err("must not contain a colon".into()) } else { Ok(text.to_owned()) }
}

/// An IANA name; it becomes the time zone of this process.
pub fn time_zone(text: &str) -> Result<String, ValueError> {
    match clock::set_zone(text) {
        Ok(()) => Ok(text.to_owned()),
        Err(_) => {
            Err("is not a known time zone: write an IANA name such as Europe/Berlin or UTC".into())
        }
    }
}

/// Names of header fields (RFC 5322 §2.2), in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderNames(pub Vec<String>);

/// Header fields that may be dropped, at most: each is compared with every field of every mail.
const HEADER_NAMES_MAX: usize = 100;

/// Names of header fields; `no` means none.
pub fn header_names(text: &str) -> Result<HeaderNames, ValueError> {
    const WORDS: &str =
        "must be names of header fields such as bcc, or no; left empty it has its default";
    match flag(text) {
        Ok(false) => return Ok(HeaderNames(Vec::new())),
        Ok(true) => return Err(WORDS.into()),
        Err(_) => {}
    }
    let names = list(text, |name| {
        let is_name = name.len() <= 76 && name.bytes().all(|b| b.is_ascii_graphic() && b != b':');
        if is_name { Ok(name.to_ascii_lowercase()) } else { Err(WORDS.to_owned()) }
    })?;
    if names.iter().any(|name| name == "received") {
        return Err("must not contain Received: without it mail loops are not detected".into());
    }
    if names.len() > HEADER_NAMES_MAX {
        return Err(format!("must not hold more than {HEADER_NAMES_MAX} names"));
    }
    Ok(HeaderNames(names))
}

/// `http://host[:port][/path]`, without user, query or fragment.
pub fn http_url(text: &str) -> Result<String, ValueError> {
    let complaint = || "must be http://host, http://host:port or http://host:port/path".to_owned();
    let rest = text.strip_prefix("http://").ok_or_else(complaint)?;
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host: HostSpec = host.parse().map_err(|_| complaint())?;
    let path_is_good =
        path.bytes().all(|b| b.is_ascii_graphic() && b != b'?' && b != b'#' && b != b'"');
    if path_is_good {
        Ok(format!("http://{}{}", bare_host(&host), path.trim_end_matches('/')))
    } else {
        Err(complaint())
    }
}

fn bare_host(spec: &HostSpec) -> String {
    let plain = HostSpec { exact: matches!(spec.host, Host::Address(_)), ..spec.clone() };
    plain.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_paths_and_urls() {
        assert_eq!(host_name("Mail.Example.COM."), Ok("mail.example.com".to_owned()));
        for bad in ["", "a b", "-a", "a..b", "a_b", "192.0.2.1", "mail.example.com:25", "ü.example"]
        {
            assert!(host_name(bad).is_err(), "{bad:?}");
        }
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

//! Recognizes variables that Kubernetes and Docker make for services whose name begins with `mta`.
//!
//! Purpose: a service named `mta` puts `MTA_PORT=tcp://…` and a dozen more into every container of
//! its namespace, one named `mta-smtp` even `MTA_SMTP_PORT`. They are not properties and must not
//! stop a start. They are recognized by name and value together, so that a misspelt property is not
//! mistaken for one. Source: Kubernetes, "Service", environment variables; Docker, legacy container
//! links.

use std::net::IpAddr;

/// Whether a variable is a service link, by the form of its name and its value.
pub fn is_service_link(variable: &str, value: &str) -> bool {
    let Some(rest) = variable.strip_prefix("MTA_") else { return false };
    // A service named mta-relay: MTA_RELAY_PORT and so on.
    let ends = |name: &str| rest == name || rest.ends_with(&format!("_{name}"));
    if ends("SERVICE_HOST") {
        return is_host(value);
    }
    if ends("SERVICE_PORT") || contains(rest, "SERVICE_PORT_") {
        return is_number(value);
    }
    if ends("PORT") && is_address(value) {
        return true;
    }
    // MTA_PORT_25_TCP, MTA_PORT_25_TCP_ADDR; Docker has ranges: MTA_PORT_25_TCP_START.
    let Some(port) = tail(rest, "PORT_") else { return ends("NAME") && is_link_name(value) };
    let mut parts = port.split('_');
    let named =
        parts.next().is_some_and(is_number) && matches!(parts.next(), Some("TCP" | "UDP" | "SCTP"));
    named
        && match (parts.next(), parts.next()) {
            (None, _) => is_address(value),
            (Some("ADDR"), None) => is_host(value),
            (Some("PROTO"), None) => ["tcp", "udp", "sctp"].contains(&value),
            (Some("PORT"), None) => is_number(value),
            (Some("START" | "END"), _) => is_address(value) || is_number(value),
            _ => false,
        }
}

/// The text after `part`, which is at the start of a name or after one of its underscores.
fn tail<'a>(rest: &'a str, part: &str) -> Option<&'a str> {
    rest.strip_prefix(part).or_else(|| rest.rsplit_once(&format!("_{part}")).map(|(_, tail)| tail))
}

fn contains(rest: &str, part: &str) -> bool {
    tail(rest, part).is_some_and(|name| !name.is_empty())
}

/// `tcp://10.0.0.7:25`, `tcp://[2001:db8::7]:25`.
fn is_address(value: &str) -> bool {
    let schemes = ["tcp://", "udp://", "sctp://"];
    let Some(rest) = schemes.iter().find_map(|scheme| value.strip_prefix(scheme)) else {
        return false;
    };
    rest.rsplit_once(':').is_some_and(|(host, port)| is_host(host) && is_number(port))
}

fn is_host(value: &str) -> bool {
    value.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok() || value == "None"
}

fn is_number(value: &str) -> bool {
    value.parse::<u16>().is_ok()
}

/// `/webapp/mta`: this container, and its name for the other.
fn is_link_name(value: &str) -> bool {
    value
        .strip_prefix('/')
        .is_some_and(|names| names.split('/').filter(|name| !name.is_empty()).count() == 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_every_service_are_known() {
        for (variable, value) in [
            ("MTA_PORT", "tcp://10.43.0.7:25"),
            ("MTA_PORT", "tcp://[fd00::7]:25"),
            ("MTA_PORT", "udp://10.43.0.7:53"),
            ("MTA_SERVICE_HOST", "10.43.0.7"),
            ("MTA_SERVICE_HOST", "fd00::7"),
            ("MTA_SERVICE_PORT", "25"),
            ("MTA_SERVICE_PORT_SMTP", "25"),
            ("MTA_SERVICE_PORT_UI_TLS", "443"),
            ("MTA_PORT_25_TCP", "tcp://10.43.0.7:25"),
            ("MTA_PORT_25_TCP_PROTO", "tcp"),
            ("MTA_PORT_25_TCP_PORT", "25"),
            ("MTA_PORT_25_TCP_ADDR", "10.43.0.7"),
            ("MTA_SMTP_PORT", "tcp://10.43.0.8:25"),
            ("MTA_UI_PORT", "tcp://10.43.0.9:80"),
            ("MTA_RELAY_SERVICE_HOST", "10.43.0.8"),
            ("MTA_RELAY_PORT_25_TCP_ADDR", "10.43.0.8"),
            ("MTA_NAME", "/webapp/mta"),
        ] {
            assert!(is_service_link(variable, value), "{variable}={value}");
        }
    }

    #[test]
    fn properties_and_slips_of_the_pen_are_no_links() {
        for (variable, value) in [
            ("MTA_PORT", "25"),
            ("MTA_SMTP_PORT", "2525"),
            ("MTA_UI_PORT", "0"),
            ("MTA_SERVICE_HOST", "mail.example"),
            ("MTA_SERVICE_PORT", "smtp"),
            ("MTA_SERVICE_PORT_", "25"),
            ("MTA_HOSTNAME", "/a/b"),
            ("MTA_TERMINAL_MON", "http://10.0.0.1:9091"),
            ("MTA_PORT_25_TCP_FOO", "x"),
            ("MTA_NAME", "mta"),
            ("OTHER_PORT", "tcp://10.0.0.1:25"),
        ] {
            assert!(!is_service_link(variable, value), "{variable}={value}");
        }
    }
}

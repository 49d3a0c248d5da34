//! Values of other images in the form that properties take.
//!
//! Out: the text for the property; `None`: it asks for what happens here anyway; or what is to be
//! done, as text that does not contain the value. Source: postconf(5) for Postfix's units.

/// A host and a port as `host:port`. A host that has a port keeps it.
pub fn host_and_port(host: &str, port: &str) -> Result<String, String> {
    let has_port = match host.rsplit_once(']') {
        Some((_, rest)) => rest.starts_with(':'),
        None => host.matches(':').count() == 1,
    };
    if has_port || port.is_empty() {
        return Ok(host.to_owned());
    }
    // An IPv6 address without brackets.
    let host = if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]")
    } else {
        host.to_owned()
    };
    match port.parse::<u16>() {
        Ok(port) if port > 0 => Ok(format!("{host}:{port}")),
        _ => Err("its port is not a number between 1 and 65535".to_owned()),
    }
}

/// Postfix's `mynetworks`: CIDR, IPv6 in brackets.
pub fn networks(text: &str) -> Result<Option<String>, String> {
    let entries = text.split([',', ' ', '\n', '\t']).filter(|entry| !entry.is_empty());
    let network = |entry: &str| {
        if entry.starts_with(['!', '$', '/']) || entry.contains(":/") {
            return Err("it has tables, exceptions or parameters; write the networks into \
                        MTA_SMTPD_TRUSTED_NETWORKS"
                .to_owned());
        }
        Ok(entry.replace(['[', ']'], ""))
    };
    entries.map(network).collect::<Result<Vec<_>, _>>().map(|all| Some(all.join(" ")))
}

/// Exim's list with colons, `:10.0.0.0/8:192.168.0.0/16`; a colon of IPv6 is doubled there.
pub fn colon_networks(text: &str) -> Result<Option<String>, String> {
    let text = text.replace("::::", "\u{1}\u{1}").replace("::", "\u{1}");
    let entries = text.split([':', ' ', ';', '\n']).filter(|entry| !entry.is_empty());
    networks(&entries.collect::<Vec<_>>().join(" ").replace('\u{1}', ":"))
}

/// `name:password,name:password`.
pub fn users(text: &str) -> Result<Option<String>, String> {
    let entry = |entry: &str| match entry.split_once(':') {
        Some((name, password)) if !name.is_empty() && !password.is_empty() => {
            if password.contains([' ', ';']) {
                let words = "a password has a blank or a semicolon; write the users into a file \
                             and name it in MTA_SMTP_USERS_FILE";
                return Err(words.to_owned());
            }
            Ok(format!("{name}:{{PLAIN}}{password}"))
        }
        _ => Err("an entry is not name:password; write MTA_SMTP_USERS".to_owned()),
    };
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    entries.map(entry).collect::<Result<Vec<_>, _>>().map(|all| Some(all.join(" ")))
}

/// Postfix's level of TLS for next hops. `encrypt` does not look at the certificate; here a
/// connection that must be encrypted is verified too.
pub fn tls_level(text: &str) -> Result<Option<String>, String> {
    match text.to_ascii_lowercase().as_str() {
        "none" => Ok(Some("none".to_owned())),
        "may" => Ok(None),
        "encrypt" | "verify" | "secure" => Ok(Some("required".to_owned())),
        _ => Err("only none, may, encrypt, verify and secure have a counterpart; write \
                  MTA_SMART_RELAY_TLS"
            .to_owned()),
    }
}

/// A flag: `yes` where the text is one of the usual words for it, `None` where it says no.
pub fn switch(text: &str) -> Result<Option<String>, String> {
    match super::super::value::flag(text) {
        Ok(true) => Ok(Some("yes".to_owned())),
        Ok(false) => Ok(None),
        Err(_) => Err("it is neither yes nor no".to_owned()),
    }
}

/// A time in Postfix's form; a number alone has the parameter's own unit.
fn time(text: &str, unit: char) -> Result<Option<String>, String> {
    let bare = text.bytes().all(|octet| octet.is_ascii_digit());
    Ok(Some(if bare { format!("{text}{unit}") } else { text.to_owned() }))
}

/// A time in days.
pub fn days(text: &str) -> Result<Option<String>, String> {
    time(text, 'd')
}

/// A time in hours.
pub fn hours(text: &str) -> Result<Option<String>, String> {
    time(text, 'h')
}

/// A time in seconds.
pub fn seconds(text: &str) -> Result<Option<String>, String> {
    time(text, 's')
}

/// A number of octets; 0 is no limit in Postfix.
pub fn size(text: &str) -> Result<Option<String>, String> {
    if text == "0" {
        return Err("0 is no limit there; a limit is needed here: write \
                    MTA_MESSAGE_SIZE_LIMIT, for example 50M"
            .to_owned());
    }
    Ok(Some(text.to_owned()))
}

/// A number; 0 is no limit in Postfix.
pub fn count(text: &str) -> Result<Option<String>, String> {
    if text == "0" {
        return Err("0 is no limit there; a limit is needed here".to_owned());
    }
    Ok(Some(text.to_owned()))
}

/// Postfix's `inet_interfaces`.
pub fn interfaces(text: &str) -> Result<Option<String>, String> {
    match text {
        "all" => Ok(None),
        "loopback-only" => Ok(Some("127.0.0.1 ::1".to_owned())),
        addresses => Ok(Some(addresses.replace(['[', ']'], ""))),
    }
}

/// Postfix's `inet_protocols`.
pub fn protocols(text: &str) -> Result<Option<String>, String> {
    match text {
        "all" => Ok(None),
        "ipv4" => Ok(Some("0.0.0.0".to_owned())),
        _ => Err("write MTA_LISTEN".to_owned()),
    }
}

/// `"Name" <address>`, or an address.
pub fn address(text: &str) -> Result<Option<String>, String> {
    let address = match text.rsplit_once('<') {
        Some((_, rest)) => rest.trim_end().strip_suffix('>').unwrap_or_default().trim(),
        None => text,
    };
    let is_one = address.contains('@') && !address.contains([' ', '"', ',']);
    if is_one { Ok(Some(address.to_owned())) } else { Err("it is not one address".to_owned()) }
}

/// `plain` and `json` are there, other forms are not.
pub fn log_format(text: &str) -> Result<Option<String>, String> {
    match text {
        "plain" => Ok(None),
        "json" => Ok(Some("json".to_owned())),
        _ => Err("the forms of log lines are plain and json; write MTA_LOG_FORMAT".to_owned()),
    }
}

/// Selectors of signing domains, `domain=selector`. One for all domains cannot be taken over.
pub fn selectors(text: &str) -> Result<Option<String>, String> {
    let entries: Vec<&str> =
        text.split([',', ' ']).map(str::trim).filter(|entry| !entry.is_empty()).collect();
    if entries.iter().all(|entry| entry.contains('=')) {
        Ok(Some(entries.join(" ")))
    } else {
        Err("a selector without its domain; write MTA_DKIM_DOMAINS=domain=selector".to_owned())
    }
}

/// The region of Amazon SES.
pub fn ses_region(text: &str) -> Result<Option<String>, String> {
    Ok(Some(format!("ses:{text}")))
}
